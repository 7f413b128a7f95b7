import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from app.metrics.contrast import contrast
from app.metrics.ttest import find_p
from tests.metrics.cases import assert_close, by_loop, cases, scored, smallest_by_loop

score = scored("ttest")


@settings(deadline=None)
@given(cases(), st.booleans())
def test_against_scipy(case, equal_variance):
    responses, chosen = case

    def test(target, other):
        if np.ptp(target) == 0 and np.ptp(other) == 0:
            return np.nan, np.nan
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # nearly constant data
            result = stats.ttest_ind(target, other, equal_var=equal_variance)
        return result.statistic, result.pvalue

    statistic, p = np.moveaxis(by_loop(test, responses, chosen), -1, 0)
    result = score(responses, chosen, equal_variance=equal_variance)
    assert_close(result.statistic, statistic)
    assert_close(result.score, smallest_by_loop(statistic))
    assert_close(result.p, p)


@pytest.mark.parametrize("equal_variance", [True, False])
def test_small_p_values_against_scipy(equal_variance):
    random = np.random.default_rng(0)
    responses = random.normal(size=(300, 20)) * random.uniform(0.5, 2, 20)
    responses[:100] += np.linspace(0, 9, 20)
    chosen = contrast(list("aab" * 100), {"a": ["a"], "b": ["b"]}, "b")
    chosen_first = contrast(["a"] * 100 + ["b"] * 200, {"a": ["a"], "b": ["b"]}, "a")
    for one in (chosen, chosen_first):
        expected = stats.ttest_ind(
            responses[one.target], responses[one.others[0]], equal_var=equal_variance
        )
        result = score(responses, one, equal_variance=equal_variance)
        np.testing.assert_allclose(result.statistic[0], expected.statistic, rtol=1e-9)
        np.testing.assert_allclose(result.p[0], expected.pvalue, rtol=1e-9)
    assert result.p.min() < 1e-50


@pytest.mark.parametrize("freedom", [3, 249, 250, 286, 1438])
def test_p_is_as_scipy_has_it_on_both_sides_of_where_its_formula_changes(freedom: int):
    t = np.append(np.linspace(-30, 30, 6001), np.nan)[None]
    expected = 2 * stats.t.sf(np.abs(t), freedom)
    np.testing.assert_allclose(find_p(t, np.array([[freedom]])), expected, rtol=1e-9)


def test_zero_variance_is_undefined_also_where_scipy_is_infinite():
    chosen = contrast(list("aabbcc"), {k: [k] for k in "abc"}, "a")
    responses = np.array(
        [[5, 5, 0, 0, 1, 3], [5, 5, 0, 0, 1, 1], [2, 2, 2, 2, 2, 2]], dtype=float
    ).T
    result = score(responses, chosen)
    undefined = [[True, True, True], [False, True, True]]
    np.testing.assert_array_equal(np.isnan(result.statistic), undefined)
    np.testing.assert_array_equal(np.isnan(result.p), undefined)
    np.testing.assert_allclose(result.score, [3, np.nan, np.nan])


def test_equal_variance_is_the_default():
    random = np.random.default_rng(1)
    responses = np.concatenate([random.normal(size=(5, 3)), random.normal(size=(50, 3)) * 9])
    chosen = contrast(["a"] * 5 + ["b"] * 50, {"a": ["a"], "b": ["b"]}, "a")
    default, student = score(responses, chosen), score(responses, chosen, equal_variance=True)
    np.testing.assert_array_equal(default.p, student.p)
    assert not np.isclose(default.p, score(responses, chosen, equal_variance=False).p).any()
