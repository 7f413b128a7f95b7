"""How sure numbers are, against plain loops over the images of each draw."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from math import isnan, nan
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from app.findings.certainty import (
    Certainty,
    compute_p,
    find_ceiling,
    find_interval,
    find_intervals,
    lengthen,
)
from app.findings.consistency import spearman
from app.findings.lesion import LesionEffects, Performance
from app.findings.lesion_certainty import certify_lesions
from app.findings.lesioned import GreedySearch, Lesioned
from app.findings.resampled import (
    NULL_RATE,
    Inquiry,
    Plan,
    certify,
    certify_kernels,
    certify_layer,
)
from app.findings.selection import Criterion, measure
from app.metrics import Question, Scores, load
from app.metrics.contrast import Contrast, contrast
from app.metrics.draws import TEST_IMAGES, Draws, draw_halves, draw_resamples
from app.metrics.scores import find_function
from app.responses.hardware import Hardware
from app.responses.units import fit_rows
from app.stimuli.classes import OwnClasses
from app.stimuli.images import drawn
from tests.findings.sites import compute

DOMAINS = {"faces": ["adult", "child"], "bodies": ["body"], "places": ["house"]}
CATEGORIES = [c for c in ("adult", "body", "child", "house") for _ in range(9)]
KINDS = {"fsi": "pooled", "dprime": "pooled", "wilcoxon": "each", "ttest": "each"}
CRITERIA = {
    "fsi": Criterion("above", 0.3),
    "dprime": Criterion("above", 0.65),
    "wilcoxon": Criterion("p", 0.05),
    "ttest": Criterion("fdr_bh", 0.1),
}
PLAN = Plan(resamples=40, splits=6, shuffles=25)
UNITS = 30
HARDWARE = Hardware(torch.device("cpu"), threads=2)


def ask(categories: list[str | None] = CATEGORIES, plan: Plan = PLAN, seed: int = 5) -> Inquiry:
    questions = {}
    for name, kind in KINDS.items():
        chosen = contrast([str(c) for c in categories], DOMAINS, "faces", kind=kind)
        faster = (find_function(name, way) for way in ("from_moments", "from_pairs"))
        questions[name] = Question(load(name), chosen, {}, *faster)
    return Inquiry(questions, CRITERIA, categories, plan, seed)


def respond(categories: list[str | None] = CATEGORIES, units: int = UNITS) -> np.ndarray:
    """Sparse responses, some more to faces; the last units are constant, or silent but once."""
    random = np.random.default_rng(0)
    faces = np.isin(np.array(categories, dtype=str), DOMAINS["faces"])
    responses = random.normal(size=(len(categories), units))
    responses += np.outer(faces, np.linspace(-0.5, 2, units)) - 0.3
    responses = np.maximum(responses, 0)
    responses[:, -1] = 0.7
    responses[:, -2] = 0
    responses[3, -2] = 1
    return responses.astype(np.float32)


def score_draw(inquiry: Inquiry, responses: np.ndarray, draws: Draws, number: int):
    """Each metric's scores and selection of the images of one draw, by `score` and statsmodels."""
    images = np.repeat(np.arange(len(responses)), draws.times[number])
    place = draws.label_of[number, images]
    scores, selected = {}, {}
    for name, question in inquiry.questions.items():
        asked = question.contrast
        groups = tuple(mask[place] for mask in asked.others)
        drawn = Contrast(asked.target[place], groups, asked.names)
        found = question.conclude(question.score(responses[images], drawn), None)
        scores[name] = found.score.astype(np.float32)  # as they are kept, with the ties that makes
        selected[name] = select(name, found)
    return scores, selected


def select(name: str, found: Scores) -> np.ndarray:
    if CRITERIA[name].rule == "above":
        return found.score > CRITERIA[name].number
    passed = []
    for p, statistic in zip(found.p, found.statistic, strict=True):
        small, defined = p < CRITERIA[name].number, ~np.isnan(statistic)
        if CRITERIA[name].rule == "fdr_bh":
            small = np.zeros(len(p), dtype=bool)
            if defined.any():
                small[defined] = multipletests(p[defined], CRITERIA[name].number, "fdr_bh")[0]
        passed.append(small & defined & (statistic > 0))
    return np.all(passed, axis=0)


def loop(inquiry: Inquiry, responses: np.ndarray) -> dict[str, list]:
    """By kind of draws, what `score_draw` finds in each."""
    return {
        kind: [score_draw(inquiry, responses, draws, n) for n in range(len(draws))]
        for kind, draws in inquiry.draw().items()
    }


def same(found, expected, rtol: float = 1e-6) -> None:
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=1e-6)


@pytest.fixture(scope="module")
def inquiry() -> Inquiry:
    return ask()


@pytest.fixture(scope="module")
def looped(inquiry: Inquiry) -> dict[str, list]:
    return loop(inquiry, respond())


@pytest.fixture(scope="module")
def found(inquiry: Inquiry) -> Certainty:
    return certify_kernels(inquiry, respond(), HARDWARE)


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:All-NaN")
@pytest.mark.parametrize("metric", KINDS)
def test_a_metric_against_plain_loops(metric, inquiry, looped, found):
    own = found[metric]
    scores = {kind: np.array([each[metric] for each, _ in looped[kind]]) for kind in looped}
    chosen = {kind: np.array([each[metric] for _, each in looped[kind]]) for kind in looped}

    same(own.resampled, scores["resample"])
    for unit in range(UNITS):
        values = scores["resample"][:, unit]
        values = values[~np.isnan(values)]
        expected = np.percentile(values, [2.5, 97.5]) if len(values) else [nan, nan]
        same([own.low[unit], own.high[unit]], expected, 1e-5)
    some = np.isnan(scores["resample"]).sum(axis=0)
    assert own.unsure == np.sum((some > 0) & (some < PLAN.resamples)) > 0
    same(own.percent, 100 * chosen["resample"].mean(axis=1))
    same(own.null, 100 * chosen["shuffle"].mean(axis=1))

    same(own.both_halves, [scores["first"][0], scores["second"][0]])
    same(own.split_half, (scores["first"] + scores["second"]).mean(axis=0) / 2, 1e-5)
    for n in range(PLAN.splits):
        a, b, c, d = (
            scores["first"][n],
            scores["second"][n],
            chosen["first"][n],
            chosen["second"][n],
        )
        both = ~np.isnan(a) & ~np.isnan(b)
        same(own.halves[n], stats.spearmanr(a[both], b[both]).statistic)
        same(own.jaccard[n], (c & d).sum() / (c | d).sum() if (c | d).any() else nan)
        same(own.replication[n], np.nanmean([d[c].mean(), c[d].mean()]))
        same(own.crossvalidated[n], np.nanmean([np.nanmean(b[c]), np.nanmean(a[d])]))

    null, matched = scores["shuffle"][~np.isnan(scores["shuffle"])], np.float32(own.matched)
    assert matched in null
    most = NULL_RATE * scores["shuffle"].size
    above = null > matched
    assert above.sum() <= most < np.sum(null >= matched)


@pytest.mark.parametrize("metric", ["precision", "auc"])
def test_units_that_tie_with_a_matched_criterion_are_not_above_it(metric):
    """Of few images there are few scores, and what a float32 makes of one may lie below it."""
    responses = np.random.default_rng(0).normal(size=(len(CATEGORIES), 200)).astype(np.float32)
    chosen = contrast(CATEGORIES, DOMAINS, "faces", kind="pooled")
    question = Question(load(metric), chosen, {}, from_pairs=find_function(metric, "from_pairs"))
    criteria = {metric: Criterion("above", 0.7)}
    asked = Inquiry({metric: question}, criteria, CATEGORIES, Plan(0, 0, 20), 0)
    null = []
    for place in asked.draw()["shuffle"].label_of:
        drawn = Contrast(chosen.target[place], (chosen.others[0][place],), chosen.names)
        null += [*question.score(responses, drawn).score[0]]
    matched = sorted(null)[-1 - int(NULL_RATE * len(null))]
    own = certify_kernels(asked, responses, HARDWARE)[metric]
    assert own.matched == matched
    assert own.metrics(np.full(UNITS, matched), 0)["matched/percent"] == 0


def test_what_is_logged_of_a_metric_by_hand(found, looped):
    own, score = found["fsi"], np.linspace(-1, 1, UNITS)
    logged = own.metrics(score, 50.0)
    r = np.nanmean(own.halves)
    expected = {
        "selectivity/percent_ci95_low": np.percentile(own.percent, 2.5),
        "selectivity/percent_ci95_high": np.percentile(own.percent, 97.5),
        "reliability/score": 2 * r / (1 + r),
        "reliability/selection_jaccard": np.nanmean(own.jaccard),
        "reliability/replication": np.nanmean(own.replication),
        "crossvalidated/score": np.nanmean(own.crossvalidated),
        "null/percent": own.null.mean(),
        "null/percent_p95": np.percentile(own.null, 95),
        "null/p": (1 + np.sum(own.null >= 50)) / 26,
        "matched/threshold": own.matched,
        "matched/percent": 100 * np.mean(score > own.matched),
    }
    assert logged == pytest.approx(expected)
    numbers = {f"consistency/spearman_{other}": 0.5 for other in KINDS if other != "fsi"}
    named = found.name_consistency("fsi", numbers)
    for other in numbers:
        metric = other.removeprefix("consistency/spearman_")
        ceiling = np.sqrt(own.reliability * found[metric].reliability)
        values = found.find_others("fsi")[metric]
        assert named[f"{other}_ci95_low"] == pytest.approx(np.percentile(values, 2.5))
        assert named[f"consistency/ceiling_{metric}"] == pytest.approx(ceiling)
        assert named[f"consistency/disattenuated_{metric}"] == pytest.approx(0.5 / ceiling)
    assert named["consistency/mean_ci95_high"] == pytest.approx(np.percentile(found.mean, 97.5))


@pytest.mark.parametrize("kind", ["resamples", "splits", "shuffles"])
def test_without_a_kind_of_draws_the_others_numbers_are_the_same(kind, inquiry, found):
    """As of single units by the million, of which there are no resamples."""
    fewer = replace(inquiry, plan=replace(PLAN, **{kind: 0}))
    less = certify_kernels(fewer, respond(), HARDWARE)
    whole = {f"consistency/spearman_{other}": 0.5 for other in KINDS if other != "fsi"}
    score = np.linspace(-1, 1, UNITS)
    for ask_for in (
        lambda sure: sure["fsi"].metrics(score, 50) | sure.name_consistency("fsi", whole),
        lambda sure: sure.columns(),
    ):
        every, left = ask_for(found), ask_for(less)
        for name, value in left.items():
            np.testing.assert_array_equal(value, every[name])
        gone = {"resamples": "ci95", "splits": "split_half", "shuffles": "null"}[kind]
        assert not any(gone in name for name in left)
    rows = less.table("fsi")["draw"]
    assert set(rows) == {"resample", "split", "shuffle"} - {kind.removesuffix("s")}


def test_one_metric_has_no_other_to_agree_with(inquiry):
    alone = replace(inquiry, **{name: {"fsi": getattr(inquiry, name)["fsi"]}
                                for name in ("questions", "criteria")})  # fmt: skip
    found = certify_kernels(alone, respond(), HARDWARE)
    assert np.isnan(found.mean).all() and len(found.mean) == PLAN.resamples
    rows = found.table("fsi")
    assert rows["percent"].notna().sum() == PLAN.resamples + PLAN.shuffles
    assert rows["consistency_mean"].isna().all()


def test_agreement_against_plain_loops(found, looped):
    for n, (scores, _) in enumerate(looped["resample"]):
        pairs = {}
        for a, b in combinations(KINDS, 2):
            both = ~np.isnan(scores[a]) & ~np.isnan(scores[b])
            pairs[f"{a} {b}"] = stats.spearmanr(scores[a][both], scores[b][both]).statistic
        for pair, value in pairs.items():
            same(found.pairs[pair][n], value)
        same(found.mean[n], np.mean(list(pairs.values())))


def test_an_interval_is_that_of_scipys_bootstrap():
    """Of one unit's d' with a category each: the same resampling, within what chance does."""
    random = np.random.default_rng(1)
    groups = [random.gamma(3, size=(n, 1)) for n in (40, 60)]
    categories = ["adult"] * 40 + ["body"] * 60
    chosen = contrast(categories, {"faces": ["adult"], "bodies": ["body"]}, "faces", kind="pooled")
    question = Question(load("dprime"), chosen, {}, find_function("dprime", "from_moments"))
    asked = Inquiry({"dprime": question}, CRITERIA, categories, Plan(4000, 0, 0), 0)
    asked = replace(asked, criteria={"dprime": CRITERIA["dprime"]})
    own = certify_kernels(asked, np.concatenate(groups).astype(np.float32), HARDWARE)["dprime"]

    def dprime(first, second, axis):
        spread = np.sqrt((first.var(axis=axis, ddof=1) + second.var(axis=axis, ddof=1)) / 2)
        return (first.mean(axis=axis) - second.mean(axis=axis)) / spread

    by_scipy = stats.bootstrap(
        [group[:, 0] for group in groups], dprime, method="percentile", n_resamples=4000,
    )  # fmt: skip
    error = by_scipy.standard_error
    assert abs(own.resampled.std() / error - 1) < 0.08
    low, high = by_scipy.confidence_interval
    assert abs(own.low[0] - low) < 0.25 * error and abs(own.high[0] - high) < 0.25 * error


# ------------------------------------------------------------------------------- blocks of units


@pytest.mark.slow
@pytest.mark.parametrize("width", [1, 7, UNITS])
@pytest.mark.parametrize("values", [1, 5000, 2**19])
def test_units_in_blocks_are_kernels_in_one(width, values, inquiry, found, monkeypatch):
    """In any order of blocks and any width of what a thread takes; to the bit but for sums."""
    monkeypatch.setattr("app.findings.resampled.VALUES", values)
    responses = respond()
    numbers = np.random.default_rng(width).permutation(UNITS)
    parts = np.split(numbers, range(width, UNITS, width))
    blocks = ((part, responses[:, part]) for part in parts)
    again = certify(blocks, UNITS, inquiry, HARDWARE, True)
    for metric in KINDS:
        one, other = vars(found[metric]), vars(again[metric])
        for name in one:
            np.testing.assert_allclose(other[name], one[name], rtol=1e-5, err_msg=name)
    for pair, values_ in found.pairs.items():
        np.testing.assert_allclose(again.pairs[pair], values_, rtol=1e-9)


def test_only_kernels_keep_the_scores_of_resamples(inquiry):
    found = certify([(np.arange(UNITS), respond())], UNITS, inquiry, HARDWARE, False)
    assert found["fsi"].resampled.shape == (0, UNITS)


def test_same_seed_same_bits(inquiry, found):
    again = certify_kernels(ask(), respond(), HARDWARE)
    other = certify_kernels(ask(seed=6), respond(), HARDWARE)
    for metric in KINDS:
        for name, values in vars(found[metric]).items():
            np.testing.assert_array_equal(getattr(again[metric], name), values)
    assert (other["fsi"].percent != found["fsi"].percent).any()


def test_more_draws_begin_with_the_same(found):
    more = certify_kernels(ask(plan=Plan(60, 9, 30)), respond(), HARDWARE)
    for metric in KINDS:
        for name in ("percent", "halves", "jaccard", "null"):
            values = getattr(found[metric], name)
            same(getattr(more[metric], name)[: len(values)], values)


# ------------------------------------------------------------------------------- single formulas


@st.composite
def p_values(draw):
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 30)))
    p = random.random(shape) ** draw(st.sampled_from([1, 4]))
    statistic = random.choice([-2.0, 0.0, 1.0, 3.0, nan], shape)
    p[statistic == 0] = 1  # as two-sided tests have it
    return Scores(statistic[0], statistic, p)


@settings(deadline=None)
@given(p_values(), st.sampled_from(["fdr_bh", "fdr_by"]), st.sampled_from([0.05, 0.3]))
def test_a_draw_is_judged_as_a_layer_is(scores, rule, number):
    criterion = Criterion(rule, number)
    expected = criterion.select(measure(scores, rule))
    kept = []  # of two draws, some units after others
    for some in np.array_split(np.arange(len(expected)), 3):
        parts = [(each[..., some], each[..., ::-1][..., some]) for each in scores[:3]]
        kept.append(criterion.keep(Scores(*map(np.stack, parts))))
    np.testing.assert_array_equal(criterion.judge(kept), [expected, expected[::-1]])


def test_p_is_never_0():
    assert compute_p(5.0, np.zeros(99)) == 1 / 100  # nothing is selected by chance
    assert compute_p(0.0, np.zeros(99)) == 1  # nor without
    assert compute_p(1.0, np.array([0.0, 1.0, 2.0])) == 3 / 4


def test_formulas_where_they_end():
    assert lengthen(0.5) == pytest.approx(2 / 3) and lengthen(1.0) == 1 and lengthen(0.0) == 0
    assert isnan(lengthen(-1.0)) and isnan(lengthen(nan))
    assert find_ceiling(0.81, 0.25) == pytest.approx(0.45)
    assert isnan(find_ceiling(-0.1, 0.5)) and isnan(find_ceiling(nan, 0.5))
    assert np.isnan(find_interval(np.full(3, nan))).all()
    assert find_interval(np.array([nan, 2.0, 2.0])) == (2, 2)
    low, high = find_intervals(np.empty((0, 3), np.float32))
    assert np.isnan(low).all() and np.isnan(high).all() and len(low) == 3


# ------------------------------------------------------------------------------- few images


def test_groups_too_small_to_halve_are_told():
    categories = ["adult"] * 2 + ["child"] * 2 + ["body"] * 3 + ["house"] * 6
    inquiry, notes = ask(categories).spare_halves()
    assert inquiry.plan == replace(PLAN, splits=0)
    (note,) = notes
    assert "no split halves" in note and "3 images" in note
    assert ask().spare_halves()[1] == []


def certify_responses(inquiry: Inquiry, responses: np.ndarray) -> list[str]:
    """The notes of a layer whose kernels respond so."""
    reader = SimpleNamespace(memo=compute, hardware=HARDWARE, read=lambda _: {"l2": responses},
                             stream=lambda _: None)  # fmt: skip
    return certify_layer(inquiry, reader, None, "l2")[1]


class Cramped:
    """Units for whose draws there is no room."""

    def __len__(self) -> int:
        return 1000

    def read(self, images: None, hardware: Hardware, bytes_a_unit: int) -> None:
        needed = 1 + bytes_a_unit / 1e9
        fit_rows(1.0, (1000, 1, 1), 10, (int(needed * 1e9), 0), bytes_a_unit, "the units of x")


def test_draws_that_do_not_fit_the_memory_are_left_out_with_a_note():
    reader = SimpleNamespace(memo=compute, hardware=HARDWARE, stream=lambda _: Cramped())
    sure, notes = certify_layer(ask(), reader, None, "unit")
    assert sure is None
    assert notes == [
        "certainty: left out: memory_gb=1 is too little for the units of x: at least 1.4 is needed"
    ]


def test_what_an_interval_cannot_tell_is_noted():
    assert [note for note in certify_responses(ask(), respond()[:, :20])] == []
    (note,) = certify_responses(ask(), respond())[:1]
    assert note == (
        "certainty: fsi is undefined for 1 kernels in some of 40 resamples; their intervals rest "
        "on the others"
    )
    notes = certify_responses(ask(), respond()[:, :9])
    assert len(notes) == 4 and all("fewer than 10 kernels" in note for note in notes)
    categories = CATEGORIES[:-9] + ["house"] * 2
    (note,) = certify_responses(ask(categories, replace(PLAN, splits=0)), respond()[:-7, :20])
    assert "a category has 2 images" in note and "too narrow" in note


def test_categories_of_one_image_each_are_not_halved_into_nothing():
    """Four images of the target, which the halves of its categories give to one side."""
    names = [f"{place}{kind}" for place in range(4) for kind in ("face", "body")]
    domains = {kind: [n for n in names if n.endswith(kind)] for kind in ("face", "body")}
    chosen = contrast(names, domains, "face", kind="pooled")
    question = Question(load("dprime"), chosen, {}, find_function("dprime", "from_moments"))
    asked = Inquiry({"dprime": question}, {"dprime": CRITERIA["dprime"]}, names, PLAN, 0)
    left, notes = asked.spare_halves()
    first, second = (left.draw()[kind] for kind in ("first", "second"))
    if not len(first):
        assert notes
        return
    for half in (first, second):
        for members in chosen.images:
            assert half.times[:, members].sum(axis=1).min() >= 2


# ------------------------------------------------------------------------------- lesions

OUTPUTS = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4])  # faces below 2


def lesion(outputs: np.ndarray = OUTPUTS, greedy: bool = False) -> tuple[Lesioned, OwnClasses]:
    random = np.random.default_rng(2)
    losses = random.gamma(2, size=(UNITS, len(outputs))).astype(np.float32)
    own = outputs < 2
    measures = losses[:, own].mean(axis=1), losses[:, ~own].mean(axis=1)
    nothing = np.zeros(UNITS)
    without = Performance(measures[0], nothing, measures[1], nothing)
    effects = LesionEffects(without, Performance(*np.zeros(4)), losses)
    searches = {}
    if greedy:
        path = Performance(*np.zeros((4, 2)))
        searches = {"face": GreedySearch(random.permutation(UNITS), np.array([0, 1]), path)}
    shown = OwnClasses(drawn(np.zeros((1, 4, 4), np.uint8), ["x"], "drawn"), outputs, 2)
    return Lesioned(("face", "object"), effects, searches, (), without), shown


def test_lesions_against_plain_loops(inquiry, found):
    lesions, shown = lesion()
    sure = certify_lesions(lesions, shown, found["dprime"], inquiry)
    assert sure.notes == ()
    classes = [str(output) for output in OUTPUTS]
    drawn_again = draw_resamples(PLAN.resamples, classes, inquiry.seed, TEST_IMAGES)
    halves = draw_halves(PLAN.splits, classes, inquiry.seed, TEST_IMAGES)

    def remain(kernel, times, task):
        left = [
            -loss
            for loss, count, output in zip(
                lesions.effects.losses[kernel].astype(float), times, OUTPUTS, strict=True
            )
            if (output < 2) == (task == "face")
            for _ in range(count)
        ]
        return np.mean(left)

    for task in ("face", "object"):
        for n, scores in enumerate(found["dprime"].resampled):
            left = [remain(kernel, drawn_again.times[n], task) for kernel in range(UNITS)]
            both = ~np.isnan(scores)
            expected = stats.spearmanr(scores[both], np.array(left)[both]).statistic
            same(sure.spearman[task][n], expected)
        for n in range(PLAN.splits):
            first, second = (
                [remain(kernel, half.times[n], task) for kernel in range(UNITS)] for half in halves
            )
            same(sure.halves[task][n], stats.spearmanr(first, second).statistic)
    logged = sure.metrics(0.49)
    own = np.mean(sure.halves["face"])
    own = 2 * own / (1 + own)
    assert logged["lesion/spearman_ci95_low"] == np.percentile(sure.spearman["face"], 2.5)
    assert logged["lesion/spearman_object_ci95_high"] == np.percentile(
        sure.spearman["object"], 97.5
    )
    assert logged["lesion/reliability"] == pytest.approx(own)
    assert (
        np.isnan(own * 0.49)
        or own < 0
        or logged["lesion/ceiling"] == pytest.approx(np.sqrt(own * 0.49))
    )


@pytest.mark.parametrize("single", [False, True])
def test_test_images_are_drawn_within_classes_or_tasks(single, inquiry, found):
    outputs = np.append(OUTPUTS, 5) if single else OUTPUTS
    lesions, shown = lesion(outputs)
    sure = certify_lesions(lesions, shown, found["dprime"], inquiry)
    assert [note for note in sure.notes if "one test image" in note] == list(sure.notes)
    assert len(sure.notes) == single
    for task in ("face", "object"):
        assert not np.isnan(sure.spearman[task]).any()


def test_localizer_and_test_images_are_drawn_apart():
    """As many images of as many categories are not drawn alike in both."""
    localizer = draw_resamples(20, CATEGORIES, 0)
    test = draw_resamples(20, CATEGORIES, 0, TEST_IMAGES)
    assert (localizer.times != test.times).any(axis=1).all()


def test_a_greedy_search_is_not_made_again(inquiry, found):
    lesions, shown = lesion(greedy=True)
    sure = certify_lesions(lesions, shown, found["dprime"], inquiry)
    place = lesions.searches["face"].place
    expected = [spearman(scores, place) for scores in found["dprime"].resampled]
    same(sure.spearman["face"], expected)
    assert "face" not in sure.halves and any("greedy" in note for note in sure.notes)


def test_of_lesions_nothing_is_logged_that_was_not_drawn(inquiry, found):
    lesions, shown = lesion()
    asked = replace(inquiry, plan=replace(PLAN, splits=0))
    logged = certify_lesions(lesions, shown, found["dprime"], asked).metrics(0.5)
    assert {name for name in logged if "ci95" not in name} == set()
    asked = replace(inquiry, plan=replace(PLAN, resamples=0))
    scores = replace(found["dprime"], resampled=np.empty((0, UNITS), np.float32))
    logged = certify_lesions(lesions, shown, scores, asked).metrics(0.5)
    assert {name for name in logged if "ci95" in name} == set()
    assert "lesion/reliability" in logged and "lesion/ceiling" in logged


def test_only_fsis_null_grows_with_sparseness():
    """What is not selective: units that are silent for more and more images."""
    random = np.random.default_rng(0)
    categories = [c for c in ("adult", "body", "child", "house") for _ in range(36)]
    asked = ask(categories, Plan(0, 0, 20))
    asked = replace(asked, criteria={**CRITERIA, "wilcoxon": Criterion("p", 0.001)})
    drive = random.normal(size=(len(categories), 400))
    null = {name: [] for name in KINDS}
    for silent in (0.5, 0.8, 0.97):
        responses = np.maximum(drive - stats.norm.ppf(silent), 0).astype(np.float32)
        found = certify_kernels(asked, responses, HARDWARE)
        for name, own in null.items():
            own.append(found[name].null.mean())
    few, some, many = null["fsi"]
    assert few < 1 and few < some < many and many > 10, null
    for name in ("dprime", "wilcoxon", "ttest"):
        assert max(null[name]) < 0.5, null
