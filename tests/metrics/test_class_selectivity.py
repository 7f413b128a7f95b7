"""The class selectivity index and CCMAS, which differ in what the mean of the others is of."""

import numpy as np
import pytest
from hypothesis import given, settings

from app.metrics.contrast import contrast
from tests.metrics.cases import assert_close, cases, scored

ccmas, class_selectivity, fsi = map(scored, ("ccmas", "class_selectivity", "fsi"))


def index(means, sizes, by_image):
    """Of one unit; None where rounding decides which class is preferred, or whether all are 0."""
    preferred = max(range(len(means)), key=means.__getitem__)
    rest = [place for place in range(len(means)) if place != preferred]
    top = means[preferred]
    if any(means[place] != top and abs(means[place] - top) < 1e-9 for place in rest):
        return None
    if by_image:
        other = sum(sizes[p] * means[p] for p in rest) / sum(sizes[p] for p in rest)
    else:
        other = sum(means[p] for p in rest) / len(rest)
    if abs(top) + abs(other) < 1e-9:
        return None
    found = (top - other) / (abs(top) + abs(other))
    return found if preferred == 0 else -found


@pytest.mark.parametrize("metric", [class_selectivity, ccmas])
@settings(deadline=None)
@given(cases())
def test_against_a_plain_loop(metric, case):
    responses, chosen = case
    result = metric(responses, chosen)
    for unit, values in enumerate(responses.T.astype(float)):
        groups = [values[mask] for mask in (chosen.target, *chosen.others)]
        means = [group.mean() if np.ptp(group) else group[0] for group in groups]
        if np.ptp(np.concatenate(groups)) == 0:
            assert np.isnan(result.score[unit])
            continue
        expected = index(means, list(map(len, groups)), metric is ccmas)
        if expected is not None:
            assert_close(result.score[unit], expected)
    np.testing.assert_array_equal(result.statistic, np.stack([result.score] * len(chosen.others)))
    assert result.p is None
    assert (np.abs(result.score[~np.isnan(result.score)]) <= 1).all()


@pytest.mark.parametrize(
    ("units", "by_class", "by_image"),
    [
        ([4, 4, 2, 2, 1, 1, 1, 1], (4 - 1.5) / (4 + 1.5), (4 - 8 / 6) / (4 + 8 / 6)),
        ([2, 2, 4, 4, 1, 1, 1, 1], -(4 - 1.5) / (4 + 1.5), -(4 - 8 / 6) / (4 + 8 / 6)),
        ([4, 4, 4, 4, 1, 1, 1, 1], (4 - 2.5) / (4 + 2.5), (4 - 2) / (4 + 2)),  # the target's
        ([1, 1, 0, 0, 0, 0, 0, 0], 1, 1),
        ([0, 0, 1, 1, 0, 0, 0, 0], -1, -1),
        ([1, 3, 2, 2, 1, 3, 1, 3], 0, 0),
        ([0, 0, 0, 0, 0, 0, 0, 0], np.nan, np.nan),
    ],
)
def test_known_values(units, by_class, by_image):
    chosen = contrast(list("aabbcccc"), {k: [k] for k in "abc"}, "a")
    responses = np.array([units], dtype=float).T
    found = [metric(responses, chosen).score[0] for metric in (class_selectivity, ccmas)]
    np.testing.assert_allclose(found, [by_class, by_image], rtol=1e-14)


def test_ccmas_of_a_preferred_target_is_fsi():
    """Of as many images a class both indices are one."""
    responses = np.maximum(np.random.default_rng(0).normal(size=(40, 200)), 0)
    responses[:10] += 0.2
    chosen, pooled = (
        contrast(list("abcd") * 10, {k: [k] for k in "abcd"}, "a", kind=kind)
        for kind in ("each", "pooled")
    )
    score = ccmas(responses, chosen).score
    assert_close(score, class_selectivity(responses, chosen).score)
    means = [responses[mask].mean(axis=0) for mask in (chosen.target, *chosen.others)]
    preferred = np.argmax(means, axis=0) == 0
    assert 20 < preferred.sum() < 180 and (score[~preferred] < 0).all()
    assert_close(score[preferred], fsi(responses, pooled).score[preferred])


def test_means_of_two_signs_are_told():
    chosen = contrast(list("aabb"), {k: [k] for k in "ab"}, "a")
    responses = np.array([[1.0, 3, -1, -1], [-1, -1, 1, 3], [1, 3, 0, 0], [-1, -3, -3, -4]]).T
    result = class_selectivity(responses, chosen)
    np.testing.assert_allclose(result.score, [1, -1, 1, 1.5 / 5.5])
    assert result.signed.tolist() == [True, True, False, False]
