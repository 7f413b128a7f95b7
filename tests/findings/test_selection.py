import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from app import choices
from app.errors import InputError
from app.findings import selection
from app.findings.selection import RULES, Criterion, measure, measure_selectivity
from app.metrics import Scores, smallest


def select(scores, rule, number):
    return Criterion(rule, number).select(measure(scores, rule))


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


@settings(deadline=None, max_examples=80)
@given(scores(), st.sampled_from(["fdr_bh", "fdr_by"]), st.sampled_from([0.0123, 0.0567, 0.3]))
def test_false_discovery_rate_against_statsmodels(scores, rule, rate):
    """What its procedure rejects at one rate is what the adjusted p-values say at every rate."""
    expected = np.ones(scores.score.shape, dtype=bool)
    for p, statistic in zip(scores.p, scores.statistic, strict=True):
        defined = np.flatnonzero(~np.isnan(statistic))
        reject = np.zeros(len(p), dtype=bool)
        if len(defined):
            reject[defined] = multipletests(p[defined], rate, rule)[0]
        expected &= reject & (statistic > 0)
    result = select(scores, rule, rate)
    assert result.dtype == bool
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("rule", ["fdr_bh", "fdr_by"])
def test_the_step_up_procedure_by_hand(rule):
    """The largest rank k with p <= k/n * rate (over the harmonic sum) rejects all up to it."""
    p = np.random.default_rng(0).random(60) ** 3
    harmonic = np.sum(1 / np.arange(1, 61)) if rule == "fdr_by" else 1
    for rate in (0.01, 0.05, 0.2, 0.5):
        passing = [k for k in range(1, 61) if np.sort(p)[k - 1] <= k / 60 * rate / harmonic]
        cutoff = np.sort(p)[max(passing) - 1] if passing else -1
        made = Scores(np.ones(60), np.ones((1, 60)), p[None])
        np.testing.assert_array_equal(select(made, rule, rate), p <= cutoff)


def test_above_is_strict_and_skips_undefined():
    score = np.array([0.29, 0.3, 0.31, np.nan])
    result = select(Scores(score, score[None]), "above", 0.3)
    np.testing.assert_array_equal(result, [False, False, True, False])
    assert not select(Scores(score, score[None]), "above", -np.inf)[3]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, np.nan]), max_size=30),
    st.sampled_from([0.01, 0.1, 0.25, 0.5, 0.9]),
)
def test_top_by_a_plain_loop(values, fraction):
    """A unit and all that score as high or higher are no more than the fraction of all units."""
    score = np.array(values, dtype=float)
    expected = [sum(b >= a for b in values) <= fraction * len(values) and a == a for a in values]
    result = select(Scores(score, score[None]), "top", fraction)
    np.testing.assert_array_equal(result, np.array(expected, dtype=bool))


def test_top_selects_the_fraction_where_nothing_is_tied():
    score = np.random.default_rng(0).permutation(120.0 + np.arange(120))
    result = select(Scores(score, score[None]), "top", 0.1)
    assert result.sum() == 12 and score[result].min() > score[~result].max()


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


def test_rules_by_name():
    assert tuple(RULES) == choices.RULES


@settings(deadline=None, max_examples=80)
@given(scores(), st.sampled_from(choices.RULES))
def test_a_curve_is_what_select_says_at_each_number(scores, rule):
    number = 0.3 if rule == "above" else 0.05
    criterion, presets = Criterion(rule, number), {"strict": 0.01, "paper": 0.02}
    values = measure(scores, rule)
    np.testing.assert_array_equal(criterion.select(values), select(scores, rule, number))
    curve = criterion.trace(values, presets)
    np.testing.assert_array_equal(
        curve.criteria, selection.space_numbers(rule, [0.02, 0.01, 0.02, number], (-np.inf, np.inf))
    )
    if scores.score.size:
        expected = [100 * select(scores, rule, value).mean() for value in curve.criteria]
        np.testing.assert_array_equal(curve.percent, expected)
    else:
        assert np.isnan(curve.percent).all()
    assert list(curve.metrics()) == ["threshold/criterion", "threshold/percent"]
    assert len(set(curve.steps())) == len(curve.criteria), "MLflow keeps a value a step"


@pytest.mark.parametrize(
    ("rule", "number", "step", "axis"),
    [
        ("above", 0.3, 300, "threshold/criterion_x"),
        ("above", -1.5, -1500, "threshold/criterion_x"),
        ("above", 0.0003, 300, "threshold/criterion_x"),  # close: millionths
        ("p", 0.001, 300, "threshold/log10_criterion_x"),
        ("fdr_bh", 0.05, 130, "threshold/log10_criterion_x"),
    ],
)
def test_steps_say_the_criterion(rule, number, step, axis):
    curve = Criterion(rule, number).trace(np.zeros(3), {"paper": number})
    at = curve.criteria.tolist().index(number)
    assert curve.steps()[at] == step
    logged = curve.logged("x")
    assert set(logged) == {"threshold/criterion", "threshold/percent", axis}
    assert logged["threshold/criterion"][step] == number
    assert logged[axis][step] == pytest.approx(number if rule == "above" else np.log10(number))


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
    values = selection.space_numbers(rule, numbers, limits)
    assert len(values) == 50 and (np.diff(values) > 0).all()
    assert values[0] == pytest.approx(first) and values[-1] == pytest.approx(last)
    assert next(n for n in numbers if rule == "above" or 0 < n < 1) in values


@pytest.mark.parametrize(
    ("rule", "words", "axis", "mark"),
    [
        ("above", "score > 0.05", "score", 0.05),
        ("top", "the highest 0.05 of the layer", "fraction", 2.0),
        ("p", "p < 0.05, every contrast", "p", 2.0),
        ("fdr_bh", "Benjamini-Hochberg at 0.05, every contrast", "FDR", 2.0),
        ("fdr_by", "Benjamini-Yekutieli at 0.05, every contrast", "FDR", 2.0),
    ],
)
def test_what_a_criterion_says_of_itself(rule, words, axis, mark):
    criterion = Criterion(rule, 0.05)
    assert str(criterion) == words
    assert RULES[rule].axis == axis
    score, selected = np.array([3.0, 1.0, 2.0, np.nan]), np.array([True, False, True, False])
    assert criterion.mark(score, selected) == mark
    nothing = criterion.mark(score, np.zeros(4, dtype=bool))
    assert nothing == (0.05 if rule == "above" else None)


@pytest.mark.parametrize("rule", choices.RULES)
def test_the_scale_runs_from_liberal_to_strict(rule):
    random = np.random.default_rng(0)
    statistic = random.normal(2, 1, (1, 200))
    made = Scores(statistic[0], statistic, random.random((1, 200)) ** 4)
    numbers = [0.01, 0.1, 0.5][:: RULES[rule].stricter]
    counts = [select(made, rule, number).sum() for number in numbers]
    assert counts == sorted(counts, reverse=True) and counts[0] > counts[-1]
    assert RULES[rule].scale == ("linear" if rule == "above" else "log")


@pytest.mark.parametrize(
    ("rule", "number", "limits", "message"),
    [
        ("above", 7, (-1, 1), "threshold.x=7 is out of range: a score between -1 and 1"),
        ("above", -1, (-1, 1), "a score between -1 and 1"),
        ("above", np.nan, (-np.inf, np.inf), "a score between -inf and inf"),
        ("top", 0, (-np.inf, np.inf), "a fraction below 1, or a whole number of units"),
        ("top", 1.5, (-np.inf, np.inf), "threshold.x=1.5 is out of range: a fraction below 1, or"),
        ("p", 1, (-np.inf, np.inf), "a probability between 0 and 1"),
        ("fdr_bh", 0, (-np.inf, np.inf), "a probability between 0 and 1"),
        ("fdr_by", 0.5, (0, 0.4), "a probability between 0 and 0.4"),
    ],
)
def test_numbers_out_of_range(rule, number, limits, message):
    with pytest.raises(InputError, match=message):
        Criterion(rule, number).check(limits, "threshold.x")
    Criterion(rule, 0.3).check(limits)


@pytest.mark.parametrize("limits", [(-1, 1), (0, 1), (-np.inf, np.inf)])
def test_of_the_highest_any_number_may_be_asked_for(limits):
    Criterion("top", 5).check(limits)


def test_selectivity():
    score, selected = np.array([1, 2, np.nan, 3]), np.array([False, True, False, False])
    found = measure_selectivity(score, selected)
    assert (found.count, found.percent, found.units, found.undefined) == (1, 25.0, 4, 1)
    assert found.metrics() == {
        "selectivity/count": 1,
        "selectivity/percent": 25,
        "selectivity/units": 4,
        "selectivity/undefined": 1,
    }


def make(score, p=None, preferred=None):
    statistic = np.asarray(score)[None]
    return Scores(statistic[0], statistic, p, preferred=preferred)


def test_top_takes_a_number_of_units():
    scores = make(np.random.default_rng(0).normal(size=50))
    for number in (1, 7, 50):
        criterion = Criterion("top", number).settle(scores)
        selected = criterion.select(measure(scores, "top"))
        highest = np.argsort(-scores.score)[:number]
        np.testing.assert_array_equal(np.flatnonzero(selected), np.sort(highest))
        assert str(criterion) == f"the highest {number} of the layer"
    with pytest.raises(InputError, match="^threshold.x=51 is more than the 50 units there are$"):
        Criterion("top", 51).settle(scores, setting="threshold.x")


@pytest.mark.parametrize("number", [0.1, 9])
def test_top_of_all_layers_is_that_of_one_layer_of_their_units(number):
    random = np.random.default_rng(1)
    layers = [make(random.normal(size=size)) for size in (20, 30, 40)]
    layers[0].score[:3] = np.nan
    together = make(np.concatenate([each.score for each in layers]))
    whole = Criterion("top", number).settle(together).select(measure(together, "top"))
    found = []
    for place, own in enumerate(layers):
        others = layers[:place] + layers[place + 1 :]
        criterion = Criterion("top", number, "layers").settle(own, *others)
        selected = criterion.select(measure(own, "top", others))
        held = criterion.hold(own.score, selected)
        np.testing.assert_array_equal(held.select(measure(own, held.rule)), selected)
        found.append(selected)
    np.testing.assert_array_equal(np.concatenate(found), whole)
    assert whole.sum() == 9 and str(criterion).endswith("of all layers asked")


@pytest.mark.parametrize("rule", choices.RULES)
def test_only_what_prefers_the_target(rule):
    """A test's direction is then what means say, whatever the statistic's sign."""
    random = np.random.default_rng(2)
    statistic, p = random.normal(size=40), random.random((1, 40)) ** 4
    preferred = random.random(40) < 0.5
    statistic[:2], preferred[:2] = np.nan, True
    number = 0.2
    scores = make(statistic, p, preferred)
    criterion = Criterion(rule, number, preferred=True).settle(scores)
    selected = criterion.select(measure(scores, rule))
    if rule == "above":
        expected = preferred & (statistic > number)
    elif rule == "top":
        own = np.where(preferred, statistic, -np.inf)
        expected = preferred & (own >= np.sort(np.nan_to_num(own, nan=-np.inf))[::-1][7])
    else:
        small = p[0].copy()
        if rule != "p":
            small[2:] = multipletests(p[0, 2:], method=rule)[1]
        expected = preferred & (small < number) & ~np.isnan(statistic)
        assert (expected & (statistic < 0)).any() or rule == "fdr_by"
    np.testing.assert_array_equal(selected, expected)
    kept = criterion.keep(Scores._make(each if each is None else each[None] for each in scores))
    np.testing.assert_array_equal(criterion.judge([kept])[0], expected)
    assert str(criterion).endswith(", the target's mean the highest")
