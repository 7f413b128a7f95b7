import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from sklearn.feature_selection import mutual_info_classif

from app.errors import InputError
from app.metrics.contrast import contrast
from tests.metrics.cases import assert_close, by_loop, cases, scored, smallest_by_loop

score = scored("mutual_information")
auc = scored("auc")


def by_sums(neighbours):
    """From all distances of all images, ties as the metric says."""

    def plain(target, other):
        values, mine = np.concatenate([target, other]), np.arange(len(target) + len(other))
        mine = mine < len(target)
        if np.ptp(values) == 0:
            return np.nan
        terms = []
        for value, group in zip(values, mine, strict=True):
            own, distance = mine == group, np.abs(values - value)
            k = min(neighbours, own.sum() - 1)
            radius = np.sort(distance[own])[k]  # the image itself is the first
            near = distance < radius if radius else distance == 0
            both = special.digamma([np.sum(near & own), own.sum(), near.sum()])
            terms.append(special.digamma(len(values)) + both @ [1, -1, -1])
        pairs = sum(float(np.sign(t - o)) for t in target for o in other)
        return np.sign(pairs) * max(0, np.mean(terms)) / np.log(2)

    return plain


@pytest.mark.slow
@settings(deadline=None)
@given(cases(), st.integers(1, 5))
def test_against_a_plain_loop(case, neighbours):
    responses, chosen = case
    expected = by_loop(by_sums(neighbours), responses, chosen)
    result = score(responses, chosen, neighbours=neighbours)
    assert_close(result.statistic, expected)
    assert_close(result.score, smallest_by_loop(expected))
    assert result.p is None


def as_floc(random):
    responses = random.normal(size=(1440, 12))
    responses[:288] += np.linspace(-1, 3, 12)
    domains = {k: [k] for k in "abcde"}
    chosen = contrast([c for c in "abcde" for _ in range(288)], domains, "a", kind="pooled")
    return responses, chosen


@pytest.mark.parametrize("neighbours", [1, 3, 10])
def test_without_ties_against_sklearn(neighbours):
    responses, chosen = as_floc(np.random.default_rng(0))
    found = score(responses, chosen, neighbours=neighbours)
    nats = mutual_info_classif(responses, chosen.target, n_neighbors=neighbours, random_state=0)
    assert_close(np.abs(found.score), nats / np.log(2), rtol=1e-6)
    signs = np.sign(auc(responses, chosen).statistic)
    assert (signs == -1).any() and (signs == 1).any()
    np.testing.assert_array_equal(np.sign(found.statistic), signs * (nats > 0))


def test_ties_are_near_sklearns_with_noise():
    responses, chosen = as_floc(np.random.default_rng(0))
    responses = np.maximum(responses - 0.5, 0)  # most are 0
    nats = mutual_info_classif(responses, chosen.target, random_state=0)
    np.testing.assert_allclose(np.abs(score(responses, chosen).score), nats / np.log(2), atol=0.05)


def test_what_is_known_of_distributions():
    """Two responses without and with overlap: the entropy of the groups, and what is left of it."""
    chosen = contrast(list("ab") * 2000, {k: [k] for k in "ab"}, "a")
    random = np.random.default_rng(0)
    apart = np.where(chosen.target, 2.0, 0) + random.random(4000)
    half = np.where(chosen.target, 0.5, 0) + random.random(4000)  # half of each is ambiguous
    coins = np.where(chosen.target, random.random(4000) < 0.9, random.random(4000) < 0.1)
    p = np.array([0.9, 0.1])
    expected = [1, 0.5, 1 + p @ np.log2(p)]
    found = score(np.array([apart, half, coins], dtype=float).T, chosen).score
    np.testing.assert_allclose(found, expected, atol=0.04)


def test_no_neighbours():
    with pytest.raises(InputError, match=r"metric.options.neighbours=0 is not 1 or more"):
        score(np.ones((4, 1)), contrast(list("aabb"), {k: [k] for k in "ab"}, "a"), neighbours=0)
