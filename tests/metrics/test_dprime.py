import numpy as np
import pytest
from hypothesis import given, settings

from app.metrics import load
from app.metrics.contrast import contrast
from tests.metrics.cases import assert_close, by_loop, cases, scored, smallest_by_loop

score = scored("dprime")


def plain(target, other):
    if np.ptp(target) == 0 and np.ptp(other) == 0:
        return np.nan
    return (target.mean() - other.mean()) / np.sqrt((target.var(ddof=1) + other.var(ddof=1)) / 2)


@settings(deadline=None)
@given(cases())
def test_against_a_plain_loop(case):
    responses, chosen = case
    expected = by_loop(plain, responses, chosen)
    result = score(responses, chosen)
    assert_close(result.statistic, expected)
    assert_close(result.score, smallest_by_loop(expected))
    assert result.p is None


def test_known_values():
    chosen = contrast(list("aaabbb"), {"a": ["a"], "b": ["b"]}, "a", kind="pooled")
    responses = np.array(
        [
            [4, 5, 6, 1, 2, 3],  # variances 1 and 1
            [4, 5, 6, 2, 2, 2],  # 1 and 0
            [5, 5, 5, 2, 2, 2],  # 0 and 0: undefined however far apart
            [0.3, 0.3, 0.3, 0.1, 0.1, 0.1],  # the same, where sums are rounded
        ]
    ).T
    expected = [3, 3 / np.sqrt(0.5), np.nan, np.nan]
    np.testing.assert_allclose(score(responses, chosen).score, expected, rtol=1e-12)


def test_a_contrast_of_two_constant_groups_leaves_the_others():
    chosen = contrast(list("aabbcc"), {k: [k] for k in "abc"}, "a")
    result = score(np.array([[5, 5, 0, 0, 1, 3]], dtype=float).T, chosen)
    np.testing.assert_array_equal(result.statistic, [[np.nan], [3]])
    np.testing.assert_array_equal(result.score, [3])


def test_large_mean_small_variance():
    values = np.random.default_rng(0).integers(-8, 9, size=(100, 50)) / 1024
    values[:50] += 1 / 128
    chosen = contrast(["a"] * 50 + ["b"] * 50, {"a": ["a"], "b": ["b"]}, "a", kind="pooled")
    # Binary fractions: moving them by 2^20 loses nothing, so neither may the score.
    np.testing.assert_allclose(
        score(values + 2**20, chosen).score, score(values, chosen).score, rtol=1e-6
    )


@pytest.mark.parametrize("power", [-1060, -700, -200, 200, 700, 1015])
@pytest.mark.parametrize("name", ["dprime", "ttest", "welch_t", "cohens_d", "fsi"])
def test_a_power_of_two_changes_no_bit(name, power):
    """A unit for itself: its neighbours keep their size."""
    values = np.random.default_rng(0).integers(-8, 9, size=(12, 3)).astype(float)
    chosen = contrast(["a"] * 5 + ["b"] * 7, {"a": ["a"], "b": ["b"]}, "a", kind="pooled")
    scaled = values * [1, 2.0**power, 1]
    for one, other in zip(
        load(name)(values, chosen)[:2], load(name)(scaled, chosen)[:2], strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(("kind", "spread"), [(np.float32, 3e-7), (np.float64, 1e-14)])
def test_rounding_within_each_group_is_no_deviation(kind, spread):
    """However far the groups lie apart; what is above rounding is as it was."""
    chosen = contrast(list("aaabbb"), {"a": ["a"], "b": ["b"]}, "a", kind="pooled")
    shape = np.array([[0, 1, 0, 2, 0, 1]]).T
    base = np.array([[5, 5, 5, 2, 2, 2]]).T
    assert np.isnan(score((base + spread * shape).astype(kind), chosen).score)
    wide = (base + 1e4 * spread * shape).astype(kind)
    assert_close(score(wide, chosen).statistic, by_loop(plain, wide, chosen))
