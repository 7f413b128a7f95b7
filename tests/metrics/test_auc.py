import numpy as np
import pytest
from hypothesis import given, settings
from scipy import stats
from sklearn.metrics import roc_auc_score

from app.metrics.contrast import contrast
from tests.metrics.cases import assert_close, by_loop, cases, scored, smallest_by_loop

score = scored("auc")


def constant(target, other):
    return np.ptp(np.concatenate([target, other])) == 0


def by_sklearn(target, other):
    if constant(target, other):
        return np.nan
    is_target = np.repeat([1, 0], [len(target), len(other)])
    return roc_auc_score(is_target, np.concatenate([target, other]))


def by_scipy(target, other):
    if constant(target, other):
        return np.nan
    u = stats.mannwhitneyu(target, other, method="asymptotic").statistic
    return u / (len(target) * len(other))


def by_pairs(target, other):
    if constant(target, other):
        return np.nan
    pairs = [(t > o) + (t == o) / 2 for t in target for o in other]
    return sum(pairs) / len(pairs)


@pytest.mark.parametrize(
    "plain", [pytest.param(by_sklearn, marks=pytest.mark.slow), by_scipy, by_pairs]
)
@settings(deadline=None, max_examples=60)
@given(case=cases())
def test_against(plain, case):
    responses, chosen = case
    expected = by_loop(plain, responses, chosen)
    result = score(responses, chosen)
    assert_close(result.statistic + 0.5, expected)
    assert_close(result.score, smallest_by_loop(expected))
    assert result.p is None


def test_against_sklearn_with_as_many_images_as_floc():
    random = np.random.default_rng(0)
    responses = np.maximum(random.normal(-0.5, 1, size=(1440, 20)), 0)
    responses[:288] += np.linspace(0, 2, 20)
    chosen = contrast([c for c in "abcde" for _ in range(288)], {k: [k] for k in "abcde"}, "a",
                      kind="pooled")  # fmt: skip
    expected = [roc_auc_score(chosen.target, unit) for unit in responses.T]
    np.testing.assert_allclose(score(responses, chosen).score, expected, rtol=1e-12)


def test_known_values():
    chosen = contrast(list("aaabbb"), {"a": ["a"], "b": ["b"]}, "a")
    responses = np.array(
        [
            [4, 5, 6, 1, 2, 3],
            [1, 2, 3, 4, 5, 6],
            [1, 2, 3, 1, 2, 3],  # 3 of 9 pairs won, 3 tied
            [0, 0, 9, 0, 0, 0],  # 3 won, 6 tied
            [7, 7, 7, 7, 7, 7],
            [5, 5, 5, 2, 2, 2],  # constant in each group, not in all: defined
        ],
        dtype=np.float32,
    ).T
    np.testing.assert_array_equal(score(responses, chosen).score, [1, 0, 0.5, 6 / 9, np.nan, 1])


def test_a_contrast_of_one_response_leaves_the_others():
    chosen = contrast(list("aabbcc"), {k: [k] for k in "abc"}, "a")
    result = score(np.array([[0, 0, 0, 0, 1, 0]], dtype=float).T, chosen)
    np.testing.assert_array_equal(result.statistic, [[np.nan], [-0.25]])
    np.testing.assert_array_equal(result.score, [0.25])


@settings(deadline=None, max_examples=60)
@given(cases())
def test_torch_gives_the_same_bits(case):
    responses, chosen = case
    here, there = score(responses, chosen), score(responses, chosen, device="cpu:0")
    np.testing.assert_array_equal(here.score, there.score)
    np.testing.assert_array_equal(here.statistic, there.statistic)
