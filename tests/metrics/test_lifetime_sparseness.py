from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from app.metrics.contrast import contrast
from tests.metrics.cases import assert_close, cases, scored

score = scored("lifetime_sparseness")


@settings(deadline=None)
@given(cases())
def test_against_a_plain_loop(case):
    responses, chosen = case
    result = score(responses, chosen)
    for unit, values in enumerate(responses.T.astype(float)):
        shown, n = values[chosen.included], chosen.included.sum()
        if np.ptp(shown) == 0:
            assert np.isnan(result.score[unit])
            continue
        activity = sum(r / n for r in shown) ** 2 / sum(r**2 / n for r in shown)
        assert_close(result.score[unit], (1 - activity) / (1 - 1 / n))
    assert result.p is None
    for row in result.statistic:
        np.testing.assert_array_equal(row, result.score)


@pytest.mark.parametrize(
    ("responses", "expected"),
    [([1, 0, 0, 0], 1), ([0, 0, 0, 7], 1), ([1, 1, 0, 0], 2 / 3), ([2, 2, 2, 2], np.nan),
     ([0, 0, 0, 0], np.nan), ([1, -1, 1, -1], 4 / 3)],
)  # fmt: skip
def test_known_values(responses, expected):
    chosen = contrast(list("aabb"), {k: [k] for k in "ab"}, "a")
    found = score(np.array([responses], dtype=float).T, chosen).score
    np.testing.assert_allclose(found, [expected])


def test_it_knows_no_category():
    random = np.random.default_rng(0)
    responses = np.maximum(random.normal(size=(30, 20)), 0)
    chosen = contrast(list("abc") * 10, {k: [k] for k in "abc"}, "a")
    order = random.permutation(30)
    others = tuple(mask[order] for mask in chosen.others)
    mixed = replace(chosen, target=chosen.target[order], others=others)
    assert_close(score(responses, chosen).score, score(responses, mixed).score)
