import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InputError
from app.metrics.cohens_d import correct_as_hedges
from app.metrics.contrast import contrast
from tests.metrics.cases import assert_close, by_loop, cases, scored, smallest_by_loop

score = scored("cohens_d")


def plain(target, other):
    if np.ptp(target) == 0 and np.ptp(other) == 0:
        return np.nan
    n, m = len(target), len(other)
    pooled = ((n - 1) * target.var(ddof=1) + (m - 1) * other.var(ddof=1)) / (n + m - 2)
    return (target.mean() - other.mean()) / math.sqrt(pooled)


def plain_g(target, other):
    freedom = len(target) + len(other) - 2
    factor = math.exp(math.lgamma(freedom / 2) - math.lgamma((freedom - 1) / 2))
    return plain(target, other) * factor / math.sqrt(freedom / 2)


@settings(deadline=None)
@given(cases(), st.sampled_from([("none", plain), ("hedges", plain_g)]))
def test_against_a_plain_loop(case, way):
    responses, chosen = case
    correction, formula = way
    expected = by_loop(formula, responses, chosen)
    result = score(responses, chosen, correction=correction)
    assert_close(result.statistic, expected)
    assert_close(result.score, smallest_by_loop(expected))
    assert result.p is None


def test_known_values():
    chosen = contrast(list("aaabbbbb"), {"a": ["a"], "b": ["b"]}, "a", kind="pooled")
    responses = np.array(
        [
            [4, 5, 6, 1, 1, 2, 3, 3],  # sums of squares 2 and 4
            [5, 5, 5, 2, 2, 2, 2, 2],  # zero variance: undefined however far apart
        ],
        dtype=float,
    ).T
    np.testing.assert_allclose(score(responses, chosen).score, [3, np.nan], rtol=1e-12)
    with_six = math.gamma(3) / (math.sqrt(3) * math.gamma(2.5))
    corrected = score(responses, chosen, correction="hedges").score
    np.testing.assert_allclose(corrected, [3 * with_six, np.nan], rtol=1e-12)


def test_the_factor_is_exact_and_near_the_usual_approximation():
    for freedom in range(2, 300):
        exact = math.gamma(freedom / 2) / math.gamma((freedom - 1) / 2) / math.sqrt(freedom / 2)
        assert correct_as_hedges(freedom) == pytest.approx(exact, rel=1e-12)
        assert correct_as_hedges(freedom) == pytest.approx(
            1 - 3 / (4 * freedom - 1), abs=0.03 / freedom
        )
    assert 1 - correct_as_hedges(1438) == pytest.approx(3 / (4 * 1438 - 1), rel=1e-4)


def test_the_factor_takes_the_bias_away():
    random = np.random.default_rng(0)
    responses = random.normal(size=(10, 200_000))
    responses[:5] += 1
    chosen = contrast(["a"] * 5 + ["b"] * 5, {"a": ["a"], "b": ["b"]}, "a")
    assert score(responses, chosen).score.mean() == pytest.approx(1.107, abs=0.01)
    assert score(responses, chosen, correction="hedges").score.mean() == pytest.approx(1, abs=0.01)


def test_groups_of_one_size_have_the_d_prime_of_the_same_images():

    responses = np.random.default_rng(1).normal(size=(20, 30))
    chosen = contrast(["a", "b"] * 10, {"a": ["a"], "b": ["b"]}, "a")
    np.testing.assert_allclose(
        score(responses, chosen).score, scored("dprime")(responses, chosen).score, rtol=1e-12
    )


def test_another_correction():
    chosen = contrast(list("aabb"), {"a": ["a"], "b": ["b"]}, "a")
    with pytest.raises(InputError, match="no correction 'Hedges'; there are: none, hedges"):
        score(np.ones((4, 1)), chosen, correction="Hedges")
