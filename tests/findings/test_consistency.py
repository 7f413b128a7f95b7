from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from app.findings.consistency import Summary, pairwise, spearman, summary


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


@settings(deadline=None, max_examples=200)
@given(tables())
def test_against_scipy(table):
    result = pairwise(table)
    assert list(result) == list(combinations(table, 2))
    for (first, second), value in result.items():
        expected = by_scipy(table[first], table[second])
        np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(
            spearman(table[first], table[second]), expected, rtol=1e-9, atol=1e-12
        )


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


def test_summary():
    pairs = {("a", "b"): 0.2, ("a", "c"): 0.4, ("b", "c"): 0.9, ("c", "d"): np.nan}
    values = [0.2, 0.4, 0.9]
    assert summary(pairs) == pytest.approx(Summary(np.mean(values), stats.sem(values)))


def test_summary_of_few_pairs():
    np.testing.assert_equal(tuple(summary({("a", "b"): 0.5})), (0.5, np.nan))
    np.testing.assert_equal(tuple(summary({("a", "b"): np.nan})), (np.nan, np.nan))
    np.testing.assert_equal(tuple(summary({})), (np.nan, np.nan))
