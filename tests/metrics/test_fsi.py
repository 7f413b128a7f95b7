import numpy as np
import pytest
from hypothesis import given, settings

from app.metrics import Scores, note_signs
from app.metrics.contrast import contrast
from tests.metrics.cases import assert_close, by_loop, cases, scored, smallest_by_loop

score = scored("fsi")


def plain(target, other):
    top, bottom = target.mean() - other.mean(), abs(target.mean()) + abs(other.mean())
    return top / bottom if bottom else np.nan


@settings(deadline=None)
@given(cases())
def test_against_a_plain_loop(case):
    responses, chosen = case
    expected = by_loop(plain, responses, chosen)
    included = responses[chosen.included]
    expected[:, included.min(axis=0) == included.max(axis=0)] = np.nan
    result = score(responses, chosen)
    # Where both means are 0 but for rounding, the order of the sums decides what is defined.
    unsure = by_loop(lambda *groups: sum(abs(g.mean()) for g in groups) < 1e-12, responses, chosen)
    assert_close(result.statistic[unsure == 0], expected[unsure == 0])
    sure = ~unsure.any(axis=0)
    assert_close(result.score[sure], smallest_by_loop(expected)[sure])
    assert result.p is None
    defined = result.score[~np.isnan(result.score)]
    assert (np.abs(defined) <= 1).all()


@pytest.mark.parametrize(
    ("target", "other", "expected"),
    [
        ([2, 2], [1, 1], 1 / 3),  # constant in each group, not in all: defined
        ([4, 0], [0, 0], 1),
        ([0, 0], [4, 0], -1),
        ([1, 1], [-1, -1], 1),
        ([1, -1], [2, -2], np.nan),  # both means are 0
        ([3, 3], [3, 3], np.nan),
        ([0, 0], [0, 0], np.nan),
    ],
)
def test_known_values(target, other, expected):
    chosen = contrast(["a", "a", "b", "b"], {"a": ["a"], "b": ["b"]}, "a", kind="pooled")
    responses = np.array([target + other], dtype=float).T
    np.testing.assert_allclose(score(responses, chosen).score, [expected], rtol=1e-15)


def test_a_contrast_of_two_silent_groups_leaves_the_others():
    chosen = contrast(list("aabbcc"), {k: [k] for k in "abc"}, "a")
    result = score(np.array([[0, 0, 0, 0, 1, 2]], dtype=float).T, chosen)
    np.testing.assert_array_equal(result.statistic, [[np.nan], [-1]])
    np.testing.assert_array_equal(result.score, [-1])


def test_pooled_weighs_images_not_domains():
    chosen = contrast(list("aabbcccc"), {k: [k] for k in "abc"}, "a", kind="pooled")
    result = score(np.array([[3, 3, 0, 0, 3, 3, 3, 3]], dtype=float).T, chosen)
    np.testing.assert_allclose(result.score, [(3 - 2) / (3 + 2)])


def test_means_of_two_signs_are_told_apart_from_silence():
    chosen = contrast(list("aabbcc"), {k: [k] for k in "abc"}, "a")
    units = [
        [1, 3, 0, 0, 0, 0],
        [1, 3, -1, 0, 1, 1],
        [-1, -1, 1, 1, -2, -2],
        [-1, -1, -2, 0, -3, 0],
    ]
    result = score(np.array(units, dtype=float).T, chosen)
    np.testing.assert_allclose(result.score, [1, 1 / 3, -1, -0.0], atol=1e-15)
    assert result.signed.tolist() == [False, True, True, False]
    (note,) = note_signs({"fsi": result, "other": Scores(result.score, result.statistic)})
    assert note.startswith("fsi: 2 of 4 units")
    assert not note_signs({"fsi": score(np.abs(units).T.astype(float), chosen)})
