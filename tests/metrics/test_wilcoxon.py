import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats

from app.metrics.contrast import contrast
from app.metrics.ranks import count_pairs, count_pairs_by_torch
from tests.metrics.cases import assert_close, by_loop, cases, scored, smallest_by_loop

score = scored("wilcoxon")


def by_scipy(target, other):
    """z with its sign, by the definition of U as pairs won; scipy's U and p."""
    with np.errstate(divide="ignore", invalid="ignore"):
        u, p = stats.mannwhitneyu(target, other, method="asymptotic", use_continuity=True)
    everything = np.concatenate([target, other])
    size, other_size, total = len(target), len(other), len(everything)
    _, runs = np.unique(everything, return_counts=True)
    ties = np.sum(runs**3.0 - runs)
    if len(runs) == 1:
        return np.nan, p
    s = np.sqrt(size * other_size / 12 * (total + 1 - ties / (total * (total - 1))))
    distance = u - size * other_size / 2
    return np.sign(distance) * (abs(distance) - 0.5) / s, p


@settings(deadline=None, max_examples=80)
@given(cases())
def test_against_scipy(case):
    responses, chosen = case
    statistic, p = np.moveaxis(by_loop(by_scipy, responses, chosen), -1, 0)
    result = score(responses, chosen)
    assert_close(result.statistic, statistic)
    assert_close(result.score, smallest_by_loop(statistic))
    assert_close(result.p, p)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_groups_and_small_p_values_against_scipy(dtype):
    random = np.random.default_rng(0)
    responses = random.normal(-0.5, 1, size=(1440, 30))
    responses[:288] += np.linspace(-1, 3, 30)
    responses = np.maximum(responses, 0).astype(dtype)
    chosen = contrast([c for c in "abcde" for _ in range(288)], {k: [k] for k in "abcde"}, "a")
    result = score(responses, chosen)
    for row, other in enumerate(chosen.others):
        values = responses.astype(float)
        expected = stats.mannwhitneyu(values[chosen.target], values[other], method="asymptotic")
        np.testing.assert_allclose(result.p[row], expected.pvalue, rtol=1e-9)
        size = np.sqrt(stats.norm.isf(expected.pvalue / 2) ** 2)
        np.testing.assert_allclose(np.abs(result.statistic[row]), size, rtol=1e-9)
    assert result.p.min() < 1e-60


def test_signed_z():
    chosen = contrast(list("aaabbb"), {"a": ["a"], "b": ["b"]}, "a")
    up, down, level = [4, 5, 6, 1, 2, 3], [1, 2, 3, 4, 5, 6], [1, 2, 3, 1, 2, 3]
    result = score(np.array([up, down, level], dtype=float).T, chosen)
    z = (4.5 - 0.5) / np.sqrt(9 / 12 * 7)
    np.testing.assert_allclose(result.score, [z, -z, 0], rtol=1e-12)
    assert not np.signbit(result.score[2])
    assert result.p[0, 2] == 1


def test_all_tied_is_undefined_with_p_1():
    chosen = contrast(list("aabbcc"), {k: [k] for k in "abc"}, "a")
    result = score(np.array([[0, 0, 0, 0, 1, 3], [7] * 6], dtype=np.float32).T, chosen)
    np.testing.assert_array_equal(np.isnan(result.statistic), [[True, True], [False, True]])
    np.testing.assert_array_equal(result.p[0], [1, 1])
    assert result.p[1, 1] == 1
    assert result.score[0] == result.statistic[1, 0] < 0


# With negative responses, after a ReLU, and with ranges that 32 bits do not hold: signed, wide.
LEVELS = {
    "signed": [-3e38, -2, -1e-45, -0.0, 0.0, 1e-45, 3, 3e38],
    "near": [-3, -1 - 2e-7, -1, -0.0, 0.0, 1, 1 + 2e-7, 3],
    "negative": [-3e6, -3, -2, -1.5, -1 - 2e-7, -1, -0.0, 0.0],
    "positive": [-0.0, 0.0, 1, 1 + 2e-7, 1.5, 2, 3, 3e6],
    "wide": [-0.0, 0.0, 1e-45, 1e-30, 1, 2, 3, 3e38],
}


@pytest.mark.parametrize("kind", LEVELS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pairs_are_counted_exactly(dtype, kind):
    levels = np.array(LEVELS[kind], dtype=dtype)
    random = np.random.default_rng(1)
    target, first, second = (levels[random.integers(0, 8, (200, size))] for size in (3, 4, 2))
    place = random.permutation(9)  # of each response among the images
    responses = np.empty((9, 200), dtype=dtype)
    responses[place] = np.concatenate([target, first, second], axis=1).T
    twice_u, ties = count_pairs(responses, np.split(place, [3, 7]))
    for row, other in enumerate((first, second)):
        left, right = target[:, :, None], other[:, None, :]
        expected = 2 * (left > right).sum(axis=(1, 2)) + (left == right).sum(axis=(1, 2))
        np.testing.assert_array_equal(twice_u[row], expected)
        for unit in range(200):
            both = np.concatenate([target[unit], other[unit]])
            runs = np.unique(both, return_counts=True)[1]
            assert ties[row, unit] == np.sum(runs**3 - runs)


def test_values_that_single_precision_cannot_tell_apart():
    chosen = contrast(list("aabb"), {"a": ["a"], "b": ["b"]}, "a")
    responses = np.array([[1 + 1e-12, 1 + 2e-12, 1, 1 - 1e-12]]).T
    assert score(responses, chosen).score > 0
    assert np.isnan(score(responses.astype(np.float32), chosen).score)


@settings(deadline=None, max_examples=60)
@given(cases())
def test_torch_counts_the_same_integers(case):
    responses, chosen = case
    here = count_pairs(responses, chosen.images)
    there = count_pairs_by_torch(responses, chosen.images, "cpu")
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one, other)
