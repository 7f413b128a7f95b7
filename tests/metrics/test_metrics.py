"""What holds for every metric."""

import sys
import warnings
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings

from app import metrics
from app.errors import InputError
from app.metrics import Question, load, scoring, smallest
from app.metrics.contrast import contrast
from app.metrics.moments import compute_moments
from tests.metrics.cases import assert_close, cases, scored

CONTROLS = ["target_mean", "lifetime_sparseness"]  # which compare nothing
NAMES = [
    "fsi", "dprime", "wilcoxon", "ttest", "auc", "cohens_d", "welch_t", "ccmas",
    "class_selectivity", "precision", "mutual_information", *CONTROLS,
]  # fmt: skip


def arrays(scores):
    return [array for array in scores[:3] if array is not None]


def ask(name, responses, chosen):
    """The metric by itself, as the program asks it."""
    units = responses.shape[1]
    question = Question(load(name), chosen, {})
    return scoring.score_blocks([(np.arange(units), responses)], units, {name: question})


def assert_same_bits(first, second):
    for one, other in zip(arrays(first), arrays(second), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(np.signbit(one), np.signbit(other))


@pytest.mark.parametrize("name", NAMES)
def test_load(name):
    assert load(name) is sys.modules[f"app.metrics.{name}"].score


@pytest.mark.parametrize("name", ["contrast", "moments", "nonesuch", "", "os", "app.metrics.fsi"])
def test_load_refuses_what_is_no_metric(name):
    with pytest.raises(
        InputError, match="there are: auc, ccmas, class_selectivity, .*, ttest, welch_t, wilcoxon$"
    ) as error:
        load(name)
    assert "moments" not in str(error.value).split("there are")[1]


def test_a_new_metric_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "novel.py").write_text("def score(responses, contrast):\n    return 'novel'\n")
    monkeypatch.setattr(metrics, "__path__", [*metrics.__path__, str(tmp_path)])
    try:
        assert load("novel")(None, None) == "novel"
    finally:
        sys.modules.pop("app.metrics.novel", None)


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(cases())
def test_shapes_and_undefined_units(name, case):
    responses, chosen = case
    result = scored(name)(responses, chosen)
    shape = (len(chosen.others), responses.shape[1])
    assert result.score.shape == shape[1:]
    assert result.statistic.shape == shape
    assert all(array.dtype == np.float64 for array in arrays(result))
    assert not any(np.isinf(array).any() for array in arrays(result))
    included = responses[chosen.included]
    constant = included.min(axis=0) == included.max(axis=0)
    assert constant.sum() >= 3
    assert np.isnan(result.score[constant]).all()
    assert np.isnan(result.statistic[:, constant]).all()
    if result.p is not None:
        assert result.p.shape == shape
        assert ((result.p >= 0) & (result.p <= 1) | np.isnan(result.p)).all()
        assert not np.isnan(result.p[~np.isnan(result.statistic)]).any()


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=25)
@given(case=cases())
def test_layout_and_neighbours_change_no_bit(name, case):
    responses, chosen = case
    score = scored(name)
    whole = score(responses, chosen)
    for layout in (np.ascontiguousarray, np.asfortranarray):
        assert_same_bits(whole, score(layout(responses), chosen))
    alone = [score(responses[:, [unit]], chosen) for unit in range(responses.shape[1])]
    for index, array in enumerate(arrays(whole)):
        np.testing.assert_array_equal(array, np.concatenate([one[index] for one in alone], axis=-1))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_images_in_many_blocks_change_no_bit(name, dtype):
    # Enough images for a sum to be split, enough units for several blocks.
    random = np.random.default_rng(0)
    responses = np.maximum(random.normal(size=(1000, 2400)), 0).astype(dtype)
    chosen = contrast(["a", "b", "c", "d"] * 250, {k: [k] for k in "abcd"}, "a")
    assert responses.size > 2 * scoring.CHUNK_VALUES
    (found,) = ask(name, responses, chosen).values()
    whole = found.scores
    for unit in (0, 255, 256, 1047, 1048, 1049, 2399):
        alone = scored(name)(responses[:, unit : unit + 1], chosen)
        assert_same_bits([array[..., unit : unit + 1] for array in arrays(whole)], arrays(alone))


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=40)
@given(cases(dtype=np.float32))
def test_single_precision_is_not_rounded_further(name, case):
    responses, chosen = case
    for one, other in zip(
        arrays(scored(name)(responses, chosen)),
        arrays(scored(name)(responses.astype(np.float64), chosen)),
        strict=True,
    ):
        assert_close(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_images_of_no_domain_do_not_count(name):
    random = np.random.default_rng(1)
    responses = random.normal(size=(40, 7))
    categories = random.permutation(["a", "b", "c", "scrambled"] * 10).tolist()
    kept = np.array(categories) != "scrambled"
    domains = {"a": ["a"], "b": ["b"], "c": ["c"]}
    without = contrast([c for c in categories if c != "scrambled"], domains, "b")
    assert_same_bits(
        scored(name)(responses, contrast(categories, domains, "b")),
        scored(name)(responses[kept], without),
    )


@pytest.mark.parametrize("name", NAMES)
def test_larger_means_more_selective(name):
    responses = np.random.default_rng(2).normal(size=(20, 3))
    responses[:10] += [10, 0, -10]
    chosen = contrast(["a"] * 10 + ["b"] * 10, {"a": ["a"], "b": ["b"]}, "a")
    result = scored(name)(responses + 20, chosen)
    score = result.score
    assert score[0] > score[1] > score[2] or name == "lifetime_sparseness"
    if name not in CONTROLS:
        assert result.statistic[:, 0].min() > 0 > result.statistic[:, 2].max()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_not_finite(name, bad, dtype):
    responses = np.ones((8, 9), dtype=dtype)
    responses[5, 7] = responses[2, 4] = responses[3, 4] = bad
    chosen = contrast(["a", "b"] * 4, {"a": ["a"], "b": ["b"]}, "a")
    with pytest.raises(InputError, match="^3 responses are NaN or infinite, the first in unit 4;"):
        ask(name, responses, chosen)


def test_responses_to_images_that_are_not_compared_may_be_anything():
    responses = np.arange(10.0).reshape(5, 2) % 3
    responses[4] = np.nan
    chosen = contrast(["a", "b", "a", "b", "c"], {"a": ["a"], "b": ["b"]}, "a")
    assert np.isfinite(ask("fsi", responses, chosen)["fsi"].scores.score).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(7, 3), (8,), (8, 3, 1)])
def test_responses_of_another_shape(name, shape):
    chosen = contrast(["a", "b"] * 4, {"a": ["a"], "b": ["b"]}, "a")
    with pytest.raises((ValueError, IndexError)):
        scored(name)(np.ones(shape), chosen)


@pytest.mark.parametrize("name", NAMES)
def test_no_units(name):
    chosen = contrast(["a", "b"] * 4, {"a": ["a"], "b": ["b"]}, "a")
    assert scored(name)(np.ones((8, 0)), chosen).score.shape == (0,)
    assert ask(name, np.ones((8, 0)), chosen)[name].scores.score.shape == (0,)


def test_smallest_skips_undefined():
    statistic = np.array([[1.0, np.nan, np.nan], [2.0, -3.0, np.nan]])
    np.testing.assert_array_equal(smallest(statistic), [1.0, -3.0, np.nan])


@pytest.mark.parametrize(("dtype", "mean", "sd"), [(np.float64, 1e6, 1e-3), (np.float32, 1e4, 0.1)])
def test_moments_of_a_large_mean_and_a_small_variance(dtype, mean, sd):
    values = np.random.default_rng(3).normal(mean, sd, size=(4, 500)).astype(dtype)
    result = compute_moments(values.T, [np.arange(500)])
    for unit, row in enumerate(values.tolist()):
        exact = [Fraction(value) for value in row]
        centre = sum(exact) / len(exact)
        squares = float(sum((value - centre) ** 2 for value in exact))
        assert result.squares[0, unit] == pytest.approx(squares, rel=1e-9)
        assert result.mean[0, unit] == pytest.approx(float(centre), rel=1e-14)


def test_moments_of_a_constant_are_exact():
    result = compute_moments(np.full((7, 1), 0.1), [np.arange(7)])
    assert result.mean == 0.1
    assert result.squares == 0


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=25)
@given(case=cases(kind="each"))
def test_the_mean_over_contrasts_by_numpy(name, case):
    responses, chosen = case
    found, question = load(name)(responses, chosen), Question(load(name), chosen, {})
    question = replace(question, reduction="mean")
    if name in CONTROLS:
        with pytest.raises(InputError, match="^metric.score=mean: this metric's score is one for"):
            question.conclude(found, None)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of units without any
        expected = np.nanmean(found.score, axis=0)
    assert_close(question.conclude(found, None).score, expected)


def test_a_target_is_preferred_where_its_mean_is_the_highest():
    random = np.random.default_rng(0)
    responses = random.exponential(size=(12, 50))
    chosen = contrast(["a", "b", "c"] * 4, {name: [name] for name in "abc"}, "b")
    question = replace(Question(load("wilcoxon"), chosen, {}), preferred=True)
    blocks = [(np.arange(50), responses)]
    found = scoring.score_blocks(blocks, 50, {"wilcoxon": question})["wilcoxon"].scores
    means = np.array([responses[first::3].mean(axis=0) for first in range(3)])
    np.testing.assert_array_equal(found.preferred, means.argmax(axis=0) == 1)
    assert ask("wilcoxon", responses, chosen)["wilcoxon"].scores.preferred is None
