"""Scores of many draws at once against asking a metric of the images of each draw."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from app.metrics import Question, Scores, load
from app.metrics.contrast import Contrast, contrast
from app.metrics.draws import TOGETHER, Draws, draw_halves, draw_resamples, draw_shuffles, join
from app.metrics.resampling import Sample, resample
from app.metrics.scores import find_function
from tests.metrics.cases import VALUES

METRICS = {
    "target_mean": {},
    "fsi": {},
    "dprime": {},
    "wilcoxon": {},
    "ttest": {},
    "ttest welch": {"equal_variance": False},
    "auc": {},
    "cohens_d": {},
    "cohens_d hedges": {"correction": "hedges"},
    "welch_t": {},
    "ttest mean": {},
    "wilcoxon mean": {},
    "ccmas": {},
    "class_selectivity": {},
    "lifetime_sparseness": {},
}


def ask(metric: str, chosen: Contrast) -> Question:
    name = metric.split()[0]
    faster = (find_function(name, way) for way in ("from_moments", "from_pairs"))
    reduction = "mean" if metric.endswith(" mean") else "smallest"
    return Question(load(name), chosen, METRICS[metric], *faster, reduction)


def score_draw(question: Question, responses: np.ndarray, draws: Draws, number: int) -> Scores:
    """What the metric itself says of the images of one draw, as often as each is in it."""
    images = [i for i, times in enumerate(draws.times[number]) for _ in range(times)]
    asked = question.contrast
    place = draws.label_of[number, images]
    groups = tuple(mask[place] for mask in asked.others)
    drawn = Contrast(asked.target[place], groups, asked.names)
    return replace(question, contrast=drawn).ask(responses[images])


@st.composite
def samples(draw):
    """Responses (images, units), the category of each image, and its contrast."""
    sizes = draw(st.lists(st.integers(4, 9), min_size=2, max_size=5))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    names = [f"c{i}" for i, size in enumerate(sizes) for _ in range(size)]
    names = random.permutation([*names, *["scrambled"] * draw(st.integers(0, 3))]).tolist()
    domains = {f"d{i}": [f"c{i}"] for i in range(len(sizes))}
    chosen = contrast(names, domains, "d0", kind=draw(st.sampled_from(["pooled", "each"])))
    shape = (len(names), 3)
    values = {kind: VALUES[kind](random, shape).astype(float) for kind in sorted(VALUES)}
    odd = np.zeros((len(names), 7))
    odd[:, 1] = 0.1  # constant, and no binary fraction
    odd[:, 2] = np.where(chosen.target, 0.7, 0.1)  # constant in each group
    odd[:, 3] = np.where(chosen.included, 0, random.random(len(names)))  # silent if included
    odd[random.integers(len(names)), 4] = 1  # silent but for an image, which a draw may lack
    odd[:, 5] = 1e5 + random.normal(size=len(names))
    odd[:, 6] = 0.1
    odd[random.integers(len(names)), 6] = 0.3
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    # Sums of such tied numbers are exact, whatever they are made of, and so is whether they are 0.
    values |= {"signed ties": values["signed ties"].astype(np.float32), "odd": odd.astype("f4")}
    responses = np.concatenate(list(values.values()), axis=1).astype(dtype)
    return responses, [None if name == "scrambled" else name for name in names], chosen


def draw_all(categories: list[str | None], seed: int = 0) -> dict[str, Draws]:
    first, second = draw_halves(3, categories, seed)
    return {
        "resample": draw_resamples(6, categories, seed),
        "first": first,
        "second": second,
        "shuffle": draw_shuffles(6, categories, seed),
    }


@pytest.mark.parametrize("metric", METRICS)
@settings(deadline=None, max_examples=12)
@given(case=samples())
def test_all_draws_at_once_are_the_metrics_own_scores_of_each(metric, case):
    responses, categories, chosen = case
    question = ask(metric, chosen)
    assert question.from_moments or question.from_pairs
    for draws in draw_all(categories).values():
        found = resample(question, Sample(responses), draws)
        for number in range(len(draws)):
            expected = score_draw(question, responses, draws, number)
            for name, values, own in zip(Scores._fields, found, expected, strict=True):
                if own is None:
                    assert values is None
                    continue
                # A difference of means may cancel to 0 ± rounding.
                np.testing.assert_allclose(
                    values[number], own, rtol=1e-7, atol=1e-9, err_msg=f"{name} {number}"
                )


@pytest.mark.parametrize("metric", ["ttest", "wilcoxon", "own"])
def test_where_the_targets_mean_is_the_highest_in_every_draw(metric):
    random = np.random.default_rng(0)
    categories = ["a"] * 6 + ["b"] * 5 + ["c"] * 7
    chosen = contrast(categories, {name: [name] for name in "abc"}, "a")
    responses = random.exponential(size=(18, 40))
    slow = Question(lambda given, groups: load("dprime")(given, groups), chosen, {})
    question = replace(slow if metric == "own" else ask(metric, chosen), preferred=True)
    for draws in draw_all([*categories]).values():
        found = resample(question, Sample(responses), draws).preferred
        assert found.any() and not found.all()
        for number in range(len(draws)):
            expected = score_draw(question, responses, draws, number).preferred
            np.testing.assert_array_equal(found[number], expected)


def test_squares_are_summed_only_for_metrics_that_need_them():
    random = np.random.default_rng(0)
    categories = list("aaaabbbb")
    chosen = contrast(categories, {k: [k] for k in "ab"}, "a")
    sample, draws = Sample(random.normal(size=(8, 3))), draw_resamples(4, categories, 0)
    for metric, needed in {"fsi": False, "target_mean": False, "dprime": True}.items():
        resample(ask(metric, chosen), sample, draws)
        assert ("squared" in vars(sample)) is needed


def test_a_metric_that_offers_nothing_faster_is_asked_of_each_draw():
    random = np.random.default_rng(0)
    categories = ["a"] * 6 + ["b"] * 5 + [None]
    chosen = contrast([str(name) for name in categories], {"a": ["a"], "b": ["b"]}, "a")
    responses = random.normal(size=(12, 4))

    def mean_target(responses, contrast, *, factor=1.0):
        mean = factor * responses[contrast.target].mean(axis=0)
        return Scores(mean, mean[None])

    question = Question(mean_target, chosen, {"factor": 2.0})
    for draws in draw_all(categories).values():
        found = resample(question, Sample(responses), draws)
        assert found.p is None and found.statistic.shape == (len(draws), 1, 4)
        for number in range(len(draws)):
            weight = np.zeros(12)
            for image, times in enumerate(draws.times[number]):
                weight[image] = times * chosen.target[draws.label_of[number, image]]
            np.testing.assert_allclose(found.score[number], 2 * weight @ responses / weight.sum())


@pytest.mark.parametrize("metric", METRICS)
def test_more_draws_than_are_counted_together(metric):
    random = np.random.default_rng(0)
    categories = list("aaaabbbbcccc")
    chosen = contrast(categories, {k: [k] for k in "abc"}, "a", kind="each")
    question, sample = ask(metric, chosen), Sample(np.maximum(random.normal(size=(12, 3)), 0))
    many = draw_resamples(TOGETHER + 3, categories, 0)
    found = resample(question, sample, many)
    last = Draws(many.times[-5:], many.label_of[-5:])
    np.testing.assert_allclose(found.score[-5:], resample(question, sample, last).score, rtol=1e-12)


def test_p_of_shuffled_scores_is_that_of_scipys_permutation_test():
    """The same p-value, within what as many draws may differ by chance."""
    spread = stats.norm.ppf(np.arange(1, 13) / 13)
    responses = np.concatenate([spread[2:10] + 0.8, spread])
    categories = ["a"] * 8 + ["b"] * 12
    chosen = contrast(categories, {"a": ["a"], "b": ["b"]}, "a", kind="pooled")
    question, count = ask("dprime", chosen), 4000
    observed = question.ask(responses[:, None]).score[0]
    null = resample(question, Sample(responses[:, None]), draw_shuffles(count, categories, 0)).score
    p = (1 + np.sum(null >= observed)) / (1 + count)

    def dprime(first, second, axis):
        spread = np.sqrt((first.var(axis=axis, ddof=1) + second.var(axis=axis, ddof=1)) / 2)
        return (first.mean(axis=axis) - second.mean(axis=axis)) / spread

    test = stats.permutation_test(
        (responses[:8], responses[8:]), dprime, vectorized=True, alternative="greater",
        n_resamples=count,
    )  # fmt: skip
    assert 0.01 < p < 0.2
    assert abs(p - test.pvalue) < 5 * np.sqrt(2 * p * (1 - p) / count)


# ------------------------------------------------------------------------------- the draws

CATEGORIES = list("aaaaabbbbbbccc") + [None, None]


def test_resamples_are_stratified():
    draws = draw_resamples(50, CATEGORIES, 7)
    for category, size in Counter(name for name in CATEGORIES if name).items():
        own = np.array(CATEGORIES, dtype=object) == category
        np.testing.assert_array_equal(draws.times[:, own].sum(axis=1), size)
    assert not draws.times[:, -2:].any()
    # Each image comes once on average, and is left out of (1 - 1/n)^n of the draws.
    many = draw_resamples(4000, CATEGORIES, 0).times[:, :5]
    assert abs(many.mean(axis=0) - 1).max() < 0.08
    assert abs((many == 0).mean() - 0.8**5) < 0.02


def test_halves_are_disjoint_and_complete():
    first, second = draw_halves(40, CATEGORIES, 7)
    expected = np.array([name is not None for name in CATEGORIES]).astype(int)
    np.testing.assert_array_equal(first.times + second.times, np.tile(expected, (40, 1)))
    for category, size in Counter(name for name in CATEGORIES if name).items():
        own = np.array(CATEGORIES, dtype=object) == category
        counts = first.times[:, own].sum(axis=1)
        assert set(counts) == {size // 2, (size + 1) // 2}
    assert len(np.unique(first.times, axis=0)) > 35


def test_labels_are_shuffled_among_labelled_images_alone():
    draws = draw_shuffles(40, CATEGORIES, 7)
    assert (draws.times == 1).all()
    for label_of in draws.label_of:
        assert sorted(label_of) == list(range(len(CATEGORIES)))
        np.testing.assert_array_equal(label_of[-2:], [14, 15])
    assert len(np.unique(draws.label_of, axis=0)) == 40


@pytest.mark.parametrize("draw", [draw_resamples, draw_halves, draw_shuffles])
def test_the_first_of_many_draws_are_those_of_few(draw):
    def drawn(count, seed=7):
        found = draw(count, CATEGORIES, seed)
        return found if isinstance(found, tuple) else (found,)

    for few, many, other in zip(drawn(5), drawn(9), drawn(5, 8), strict=True):
        np.testing.assert_array_equal(few.times, many.times[:5])
        np.testing.assert_array_equal(few.label_of, many.label_of[:5])
        assert (few.times != other.times).any() or (few.label_of != other.label_of).any()
    for nothing in drawn(0):
        assert len(nothing) == 0


@pytest.mark.parametrize("kind", ["pooled", "each"])
def test_contrasts_share_the_draws(kind):
    """Images are counted by what they are drawn as, whatever they are compared with."""
    categories = list("aabbccdd")
    draws = draw_shuffles(5, categories, 0)
    domains = {"x": ["a", "b"], "y": ["c"], "z": ["d"]}
    chosen = contrast(categories, domains, "x", kind=kind)
    (members,) = draws.find_members(chosen)
    counts = np.zeros((members.groups, *draws.times.shape))
    for groups, images, times in members.weights:
        counts[groups][..., images] = times
    np.testing.assert_array_equal(counts.sum(axis=0), draws.times)
    np.testing.assert_array_equal(members.sizes.T, counts.sum(axis=2))
    for number, label_of in enumerate(draws.label_of):
        np.testing.assert_array_equal(counts[0, number], chosen.target[label_of])
    halved = replace(draws, times=np.zeros_like(draws.times))
    assert not halved.find_members(chosen)[0].sizes.any()


def test_draws_with_own_labels_are_by_themselves():
    categories = list("aabbccdd")
    chosen = contrast(categories, {k: [k] for k in "abcd"}, "a")
    draws = join([draw_resamples(TOGETHER + 1, categories, 0), draw_shuffles(3, categories, 0)])
    members = draws.find_members(chosen)
    assert [len(part.sizes) for part in members] == [129, 128, 3]
    assert [(part.group == part.group[:, :1]).all() for part in members] == [True, True, False]
