"""Overlap of selections and of the tops of rankings, against plain sets."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.findings import consistency
from app.findings.decoding import find_top


@st.composite
def scores(draw, metrics: int):
    """Scores (metrics, units) with ties and undefined ones."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = random.integers(
        0, draw(st.sampled_from([3, 1000])), (metrics, draw(st.integers(1, 30)))
    )
    undefined = random.random(values.shape) < draw(st.sampled_from([0, 0.3, 1]))
    return np.where(undefined, np.nan, values.astype(float))


@settings(deadline=None)
@given(scores(4), st.integers(0, 3))
def test_selections_against_sets(values, criterion):
    masks = dict(zip("abcd", values > criterion, strict=True))
    chosen = {name: set(np.flatnonzero(mask)) for name, mask in masks.items()}
    for a, b in combinations(masks, 2):
        union = chosen[a] | chosen[b]
        expected = len(chosen[a] & chosen[b]) / len(union) if union else math.nan
        assert consistency.jaccard(masks[a], masks[b]) == pytest.approx(expected, nan_ok=True)
    places = consistency.count_intersections(list(masks.values()))
    found = {tuple("abcd"[place] for place in inside): n for inside, n in places.items()}
    for size in range(1, 5):
        for names in combinations("abcd", size):
            inside = set.intersection(*(chosen[name] for name in names))
            outside = set().union(*(chosen[name] for name in "abcd" if name not in names))
            assert found.get(names, 0) == len(inside - outside)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert 0 not in found.values()


@settings(deadline=None, max_examples=80)
@given(scores(2))
def test_shared_tops_against_sets(values):
    a, b = values
    both = np.flatnonzero(~np.isnan(a) & ~np.isnan(b))
    masks = {"a": a > 1, "b": b > 1}
    found = consistency.measure_overlap({"a": a, "b": b}, masks)
    curve = found.shared["a", "b"]
    assert len(curve) == len(both)
    for k in range(1, len(both) + 1):
        shared = set(find_top(a[both], k)) & set(find_top(b[both], k))
        assert curve[k - 1] == pytest.approx(len(shared) / k)
    index = consistency.jaccard(masks["a"], masks["b"])
    tenth = curve[max(1, round(len(both) / 10)) - 1] if len(both) else math.nan
    for metric, other in ("ab", "ba"):
        np.testing.assert_equal(
            found.metrics(metric),
            {f"agreement/jaccard_{other}": index, f"agreement/top10_percent_{other}": tenth},
        )
    assert curve[-1:].tolist() == [1][: len(both)]


def test_chance_is_k_of_all():
    random = np.random.default_rng(0)
    curves = [consistency.share_tops(*random.random((2, 40))) for _ in range(2000)]
    np.testing.assert_allclose(np.mean(curves, axis=0), np.arange(1, 41) / 40, atol=0.03)
