from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_score

from app.errors import InputError
from app.metrics.contrast import contrast
from tests.metrics.cases import assert_close, by_loop, cases, scored, smallest_by_loop

score = scored("precision")


def by_images(top):
    def plain(target, other):
        if np.ptp(np.concatenate([target, other])) == 0:
            return np.nan
        count, places = min(top, len(target)), 0.0
        ranked = sorted({*target.tolist(), *other.tolist()}, reverse=True)
        found = 0.0
        for value in ranked:
            own, tied = sum(target == value), sum(target == value) + sum(other == value)
            room = min(count - places, tied)
            found += room * own / tied
            places += room
        return found / count

    return plain


@settings(deadline=None)
@given(cases(), st.integers(1, 12))
def test_against_a_plain_loop(case, top):
    responses, chosen = case
    expected = by_loop(by_images(top), responses, chosen)
    result = score(responses, chosen, images=top)
    chance = [chosen.target.sum() / (chosen.target | mask).sum() for mask in chosen.others]
    assert_close(result.statistic + np.array(chance)[:, None], expected)
    assert_close(result.score, smallest_by_loop(expected))
    assert result.p is None


@pytest.mark.parametrize("top", [1, 60, 100, 288])
def test_without_ties_against_sklearn(top):
    random = np.random.default_rng(0)
    responses = random.normal(size=(1440, 20))
    responses[:288] += np.linspace(0, 3, 20)
    domains = {k: [k] for k in "abcde"}
    chosen = contrast([c for c in "abcde" for _ in range(288)], domains, "a", kind="pooled")
    found = score(responses, chosen, images=top).score
    highest = np.argsort(-responses, axis=0).argsort(axis=0) < top
    expected = [precision_score(chosen.target, unit) for unit in highest.T]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_ties_are_the_mean_over_all_orders():
    values = np.array([2.0, 1, 1, 1, 1, 0])
    chosen = contrast(list("aabbab"), {k: [k] for k in "ab"}, "a")
    orders = [p for p in permutations(range(6)) if (np.diff(values[list(p)]) <= 0).all()]
    expected = np.mean([chosen.target[list(order[:3])].mean() for order in orders])
    np.testing.assert_allclose(score(values[:, None], chosen).score, [expected])


def test_no_more_images_than_the_target_has():
    chosen = contrast(list("aabbb"), {k: [k] for k in "ab"}, "a")
    responses = np.array([[5.0, 4, 3, 2, 1]]).T
    assert score(responses, chosen).score == 1
    with pytest.raises(InputError, match=r"metric.options.images=0 is not 1 or more"):
        score(responses, chosen, images=0)
