import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from app.errors import InputError
from app.findings.selection import RULES, grid, percent_selected, rejected, select
from app.metrics import Scores, smallest


@st.composite
def scores(draw):
    """Scores with p-values near the criteria, tied, tiny and undefined ones among them."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 4)), draw(st.integers(0, 40)))
    p = random.choice([0, 1e-300, 0.01, 0.02, 0.05, 1], shape)
    p = np.where(random.random(shape) < 0.7, random.random(shape) ** 3, p)
    statistic = random.normal(1, 1, shape)
    undefined = random.random(shape) < draw(st.sampled_from([0, 0.2, 1]))
    statistic[undefined] = np.nan
    p[undefined] = draw(st.sampled_from([1, np.nan]))  # as the rank-sum and the t-test have it
    return Scores(smallest(statistic), statistic, p)


@settings(deadline=None)
@given(scores(), st.sampled_from([0.001, 0.05, 0.2]))
def test_uncorrected(scores, threshold):
    expected = [
        all(p < threshold and s > 0 for p, s in zip(ps, ss, strict=True))
        for ps, ss in zip(scores.p.T, scores.statistic.T, strict=True)
    ]
    np.testing.assert_array_equal(select(scores, "p", threshold), expected)


@settings(deadline=None, max_examples=200)
@given(scores(), st.sampled_from(["fdr_bh", "fdr_by"]), st.sampled_from([0.01, 0.05, 0.3]))
def test_false_discovery_rate_against_statsmodels(scores, rule, rate):
    expected = np.ones(scores.score.shape, dtype=bool)
    for p, statistic in zip(scores.p, scores.statistic, strict=True):
        defined = np.flatnonzero(~np.isnan(statistic))
        reject = np.zeros(len(p), dtype=bool)
        if len(defined):
            reject[defined] = multipletests(p[defined], rate, rule)[0]
        np.testing.assert_array_equal(rejected(p, statistic, rule, rate), reject)
        expected &= reject & (statistic > 0)
    result = select(scores, rule, rate)
    assert result.dtype == bool
    np.testing.assert_array_equal(result, expected)


@settings(deadline=None)
@given(st.integers(1, 200), st.sampled_from([0.05, 0.1]), st.sampled_from(["fdr_bh", "fdr_by"]))
def test_p_values_on_the_line_itself(count, rate, rule):
    rank = np.arange(1, count + 1)
    p = rank / count * rate / (np.sum(1 / rank) if rule == "fdr_by" else 1)
    expected = multipletests(p, rate, rule)[0]
    np.testing.assert_array_equal(rejected(p, np.ones(count), rule, rate), expected)


def test_above_is_strict_and_skips_undefined():
    score = np.array([0.29, 0.3, 0.31, np.nan])
    result = select(Scores(score, score[None]), "above", 0.3)
    np.testing.assert_array_equal(result, [False, False, True, False])
    assert not select(Scores(score, score[None]), "above", -np.inf)[3]


@pytest.mark.parametrize("rule", ["p", "fdr_bh", "fdr_by"])
def test_every_contrast_must_agree(rule):
    # both; wrong sign in one; insignificant in one; undefined in one; undefined in both; z = 0
    statistic = np.array(
        [[4, 4, 4, 4, np.nan, 0], [5, -5, 0.1, np.nan, np.nan, 5]], dtype=np.float64
    )
    p = np.array([[1e-6] * 4 + [1, 1e-6], [1e-6, 1e-6, 0.9, 1, 1, 1e-6]])
    result = select(Scores(smallest(statistic), statistic, p), rule, 0.05)
    np.testing.assert_array_equal(result, [True, False, False, False, False, False])


def test_undefined_units_are_not_in_the_family():
    statistic = np.array([[3.0, 3.0] + [np.nan] * 98])
    p = np.array([[0.02, 0.04] + [1.0] * 98])
    result = select(Scores(statistic[0], statistic, p), "fdr_bh", 0.05)
    assert result.sum() == 2
    statistic[:] = 3.0  # a family of 100 instead of 2
    assert select(Scores(statistic[0], statistic, p), "fdr_bh", 0.05).sum() == 0


def test_by_is_stricter_than_bh():
    p, statistic = np.linspace(0.001, 0.049, 50)[None], np.ones((1, 50))
    made = Scores(statistic[0], statistic, p)
    assert select(made, "fdr_bh", 0.05).all()
    assert not select(made, "fdr_by", 0.05).any()


@pytest.mark.parametrize("rule", ["p", "fdr_bh", "fdr_by"])
def test_a_metric_without_p_values(rule):
    score = np.ones(3)
    with pytest.raises(InputError, match=f"'{rule}' needs p-values.*'above'"):
        select(Scores(score, score[None]), rule, 0.05)


def test_unknown_rule():
    with pytest.raises(InputError, match="'bonferroni'; there are: above, p, fdr_bh, fdr_by"):
        select(Scores(np.ones(3), np.ones((1, 3))), "bonferroni", 0.05)
    assert RULES == ("above", "p", "fdr_bh", "fdr_by")


@settings(deadline=None, max_examples=200)
@given(scores(), st.sampled_from(RULES), st.integers(1, 20))
def test_a_curve_is_what_select_says_at_each_threshold(scores, rule, points):
    if rule == "above":
        thresholds = np.sort(np.append(np.linspace(-1, 3, points), scores.score[:3])).tolist()
        thresholds = [value for value in thresholds if not np.isnan(value)]
    else:
        thresholds = sorted({0.01, 0.05, *np.geomspace(1e-6, 0.9, points).tolist()})
    found = percent_selected(scores, rule, thresholds)
    if scores.score.size:
        expected = [100 * select(scores, rule, value).mean() for value in thresholds]
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    else:
        assert np.isnan(found).all()


@pytest.mark.parametrize("rule", ["fdr_bh", "fdr_by"])
def test_a_curve_of_p_values_on_the_lines_themselves(rule):
    rates = np.geomspace(1e-3, 0.5, 50)
    rank = np.arange(1, 51)
    harmonic = np.sum(1 / rank) if rule == "fdr_by" else 1
    p = np.random.default_rng(0).permutation(rank / 50 / harmonic * rates)[None]
    scores = Scores(np.ones(50), np.ones((1, 50)), p)
    expected = [100 * select(scores, rule, rate).mean() for rate in rates]
    np.testing.assert_allclose(percent_selected(scores, rule, rates.tolist()), expected)


def test_a_curve_needs_p_values_where_the_rule_does():
    with pytest.raises(InputError, match="needs p-values"):
        percent_selected(Scores(np.ones(3), np.ones((1, 3))), "p", [0.1])


@pytest.mark.parametrize(
    ("rule", "limits", "numbers", "first", "last"),
    [
        ("above", (-1, 1), [0.3, 0.2, 0.5], -1, 1),
        ("above", (-np.inf, np.inf), [0.65, 0.5, 1.0], 0, 2),
        ("above", (-np.inf, np.inf), [0.5, -1.0], -2, 2),
        ("above", (0, np.inf), [3.0], 0, 6),
        ("above", (-np.inf, 0), [-3.0], -6, 0),
        ("above", (-np.inf, np.inf), [0.0], 0, 1),
        ("p", (0, 1), [0.001, 0.01], 1e-6, 0.5),
        ("fdr_bh", (-np.inf, np.inf), [10, 0.05], 1e-6, 0.5),
        ("p", (0, 1), [0.9], 1e-6, 0.9),
    ],
)
def test_grids(rule, limits, numbers, first, last):
    values = grid(rule, limits, numbers)
    assert len(values) == 50 and (np.diff(values) > 0).all()
    assert values[0] == pytest.approx(first) and values[-1] == pytest.approx(last)
    assert next(n for n in numbers if rule == "above" or 0 < n < 1) in values
