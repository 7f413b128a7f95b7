from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from app.findings.consistency import correlate_draws, measure_consistency, spearman


@st.composite
def tables(draw):
    """Scores of four metrics by name, with ties and undefined units."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    units = draw(st.integers(0, 30))
    common = random.random(units) < 0.2
    share = draw(st.sampled_from([0, 0.3, 0.9]))
    table = {}
    for name in ("fsi", "dprime", "wilcoxon", "ttest"):
        score = random.normal(size=units)
        if draw(st.booleans()):
            score = np.round(score)
        score[common | (random.random(units) < share)] = np.nan
        table[name] = score
    return table


def by_scipy(a, b):
    defined = ~np.isnan(a) & ~np.isnan(b)
    if defined.sum() < 3 or np.ptp(a[defined]) == 0 or np.ptp(b[defined]) == 0:
        return np.nan
    return stats.spearmanr(a[defined], b[defined]).statistic


@settings(deadline=None, max_examples=60)
@given(tables())
def test_against_scipy(table):
    result = measure_consistency(table).pairs
    assert list(result) == list(combinations(table, 2))
    for (first, second), value in result.items():
        expected = by_scipy(table[first], table[second])
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(
            spearman(table[first], table[second]), expected, rtol=1e-9, atol=1e-12
        )


@settings(deadline=None, max_examples=60)
@given(st.lists(tables(), min_size=1, max_size=4), st.booleans())
def test_draws_at_once_are_each_by_itself(drawn, alike):
    """Whether scores leave the same units undefined (`alike`), some do, or a draw leaves two."""
    units = min(len(each["fsi"]) for each in drawn)
    scores = {name: np.array([each[name][:units] for each in drawn]) for name in drawn[0]}
    if alike:
        for each in scores.values():
            each[...] = np.where(np.isnan(scores["fsi"]), np.nan, np.nan_to_num(each))
    for (a, b), found in correlate_draws(scores).items():
        expected = list(map(spearman, scores[a], scores[b]))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert not correlate_draws({"fsi": scores["fsi"]})


def test_spearman_by_hand():
    assert spearman([1, 2, 3, np.nan], [10, 20, 1000, 5]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert isinstance(spearman([1, 2, 3], [3, 2, 1]), float)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([], []),
        ([1, 2], [1, 2]),
        ([1, 2, np.nan, 3], [1, np.nan, 2, 3]),
        ([1, 1, 1, 2], [1, 2, 3, np.nan]),
        ([1, 2, 3], [4, 4, 4]),
    ],
)
def test_spearman_undefined(a, b):
    assert np.isnan(spearman(a, b))


def test_the_mean_is_over_pairs_that_are_defined():
    random = np.random.default_rng(0)
    table = {name: random.normal(size=20) for name in ("fsi", "dprime", "ttest")}
    table["flat"] = np.ones(20)
    found = measure_consistency(table)
    known = [value for pair, value in found.pairs.items() if "flat" not in pair]
    assert len(known) == 3 and np.isnan(found.pairs["fsi", "flat"])
    assert (found.mean, found.sem) == pytest.approx((np.mean(known), stats.sem(known)))
    assert list(found.metrics("dprime")) == [
        "consistency/spearman_fsi",
        "consistency/spearman_ttest",
        "consistency/spearman_flat",
        "consistency/mean",
        "consistency/sem",
    ]
    assert found.metrics("dprime")["consistency/spearman_fsi"] == found.pairs["fsi", "dprime"]


def test_baselines_are_correlated_and_not_in_the_mean():
    random = np.random.default_rng(0)
    table = {name: random.normal(size=20) for name in ("fsi", "dprime", "ttest", "mean")}
    found = measure_consistency(table, baselines=["mean"])
    del table["mean"]
    without = measure_consistency(table)
    assert (found.mean, found.sem) == (without.mean, without.sem)
    assert found.pairs == {**found.pairs, **without.pairs} and len(found.pairs) == 6
    own = found.metrics("mean")
    assert own["consistency/mean"] == without.mean and "consistency/spearman_fsi" in own


def test_few_pairs():
    two = measure_consistency({"a": np.arange(9.0), "b": np.arange(9.0)})
    np.testing.assert_allclose((two.mean, two.sem), (1, np.nan))
    flat = measure_consistency({"a": np.arange(9.0), "b": np.ones(9)})
    np.testing.assert_equal((flat.mean, flat.sem), (np.nan, np.nan))
    one = measure_consistency({"a": np.arange(9.0)})
    np.testing.assert_equal((one.mean, one.sem), (np.nan, np.nan))
