import warnings

import numpy as np
from hypothesis import given, settings
from scipy import stats

from app.metrics.contrast import contrast
from tests.metrics.cases import assert_close, by_loop, cases, scored, smallest_by_loop

score = scored("welch_t")


def by_scipy(target, other):
    if np.ptp(target) == 0 and np.ptp(other) == 0:
        return np.nan, np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # nearly constant data
        result = stats.ttest_ind(target, other, equal_var=False)
    return result.statistic, result.pvalue


def plain(target, other):
    error = target.var(ddof=1) / len(target) + other.var(ddof=1) / len(other)
    constant = np.ptp(target) == 0 and np.ptp(other) == 0
    return np.nan if constant else (target.mean() - other.mean()) / np.sqrt(error)


@settings(deadline=None)
@given(cases())
def test_against_scipy_and_a_plain_loop(case):
    responses, chosen = case
    statistic, p = np.moveaxis(by_loop(by_scipy, responses, chosen), -1, 0)
    result = score(responses, chosen)
    assert_close(result.statistic, statistic)
    assert_close(result.statistic, by_loop(plain, responses, chosen))
    assert_close(result.score, smallest_by_loop(statistic))
    assert_close(result.p, p)


def test_known_values():
    chosen = contrast(list("aaabbc"), {k: [k] for k in "abc"}, "a", kind="pooled")
    responses = np.array([[4, 5, 6, 1, 2, 3], [5, 5, 5, 2, 2, 2]], dtype=float).T
    np.testing.assert_allclose(score(responses, chosen).score, [3 / np.sqrt(2 / 3), np.nan])


def test_not_what_the_pooled_variance_gives():
    responses = np.random.default_rng(0).normal(size=(60, 5))
    responses[:6] *= 5
    chosen = contrast(["a"] * 6 + ["b"] * 54, {"a": ["a"], "b": ["b"]}, "a")
    assert (
        np.abs(score(responses, chosen).score) < np.abs(scored("ttest")(responses, chosen).score)
    ).all()
