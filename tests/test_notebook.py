"""The rooms from Python: the guide's own lines, and the same answers as the rooms one by one."""

from __future__ import annotations

import doctest
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from app.errors import InputError
from app.findings.selection import Criterion, measure
from app.metrics import load
from app.metrics.contrast import contrast
from app.notebook import ask
from tests.metrics.cases import scored

REPOSITORY = Path(__file__).parents[1]
DOMAINS = {"a": ["a1", "a2"], "b": ["b1"], "c": ["c1", "c2"]}
CATEGORIES = np.repeat(["a1", "a2", "b1", "c1", "c2", "scrambled"], 6)


def guide_block() -> str:
    """What stands after Python's prompt on the guide's page."""
    text = (REPOSITORY / "docs/python.md").read_text()
    return "\n".join(re.findall(r"^```pycon\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))


def failures(block: str) -> tuple[int, int]:
    """How many examples of the block fail, and how many there are."""
    test = doctest.DocTestParser().get_doctest(block, {}, "python.md", "python.md", 0)
    result = doctest.DocTestRunner(verbose=False).run(test)
    return result.failed, result.attempted


def test_what_the_guide_shows_is_what_comes_out():
    block = guide_block()
    failed, examples = failures(block)
    assert failed == 0
    assert examples >= 15
    assert failures(block.replace("0.885", "0.886")) == (1, examples), "it can fail"


@pytest.fixture(scope="module")
def responses() -> np.ndarray:
    random = np.random.default_rng(1)
    values = np.maximum(random.normal(size=(36, 40)), 0).astype(np.float32)
    values[:12, :10] += np.linspace(0, 3, 10, dtype=np.float32)
    values[:, 11] = 0
    return values


@pytest.mark.parametrize(
    ("metric", "kind", "rule", "number"),
    [
        ("fsi", "pooled", "above", 0.3),
        ("dprime", "pooled", "above", 0.65),
        ("wilcoxon", "each", "p", 0.001),
        ("ttest", "each", "fdr_bh", 0.05),
        ("auc", "pooled", "above", 0.68),
        ("cohens_d", "pooled", "above", 0.8),
        ("welch_t", "pooled", "above", 10),
        ("target_mean", "pooled", "top", 0.1),
        ("ccmas", "each", "top", 0.1),
        ("precision", "pooled", "above", 0.75),
        ("mutual_information", "pooled", "top", 0.1),
    ],
)
def test_the_same_as_room_by_room(responses, metric, kind, rule, number):
    scores = scored(metric)(responses, contrast(CATEGORIES.tolist(), DOMAINS, "a", kind=kind))
    answer = ask(metric, responses, CATEGORIES, "a", domains=DOMAINS)
    np.testing.assert_array_equal(answer.score, scores.score)
    np.testing.assert_array_equal(answer.scores.statistic, scores.statistic)
    np.testing.assert_array_equal(
        answer.selected, Criterion(rule, number).select(measure(scores, rule))
    )
    assert np.isnan(answer.score[11]) and not answer.selected[11]
    assert answer.selected.dtype == bool


@pytest.mark.parametrize(
    ("metric", "rule", "number"),
    [("ttest", "above", 2.5), ("wilcoxon", "above", 2), ("fsi", "top", 5)],
)
def test_a_rule_that_is_not_the_metric_s_own_has_its_numbers(responses, metric, rule, number):
    how = {"domains": DOMAINS, "rule": rule, "threshold": number}
    answer = ask(metric, responses, CATEGORIES, "a", **how)
    ranked = np.sort(answer.score[~np.isnan(answer.score)])
    expected = number if rule == "above" else ranked[-number - 1]
    np.testing.assert_array_equal(answer.selected, answer.score > expected)
    assert 0 < answer.selected.sum() < 40


def test_what_is_given_goes_before_the_metric_s_own(responses):
    answer = ask(
        "ttest", responses, CATEGORIES, "c", domains=DOMAINS, threshold=0.3, rule="fdr_by",
        over="categories", equal_variance=False,
    )  # fmt: skip
    asked = contrast(CATEGORIES.tolist(), DOMAINS, "c", kind="each", over="categories")
    expected = load("ttest")(responses, asked, equal_variance=False)
    np.testing.assert_array_equal(answer.scores.p, expected.p)
    np.testing.assert_array_equal(
        answer.selected, Criterion("fdr_by", 0.3).select(measure(expected, "fdr_by"))
    )
    assert answer.contrast.names == ("a1", "a2", "b1")
    assert (answer.settings.criterion.rule, answer.settings.criterion.threshold) == ("fdr_by", 0.3)


@pytest.mark.parametrize("metric", ["fsi", "auc", "ttest"])
def test_another_rule_has_numbers_of_its_own(responses, metric):
    """Not those that the metric's own score, or rate, may have."""
    of = metric, responses, CATEGORIES, "a"
    assert ask(*of, domains=DOMAINS, rule="top", threshold=5).selected.sum() == 5
    if metric == "ttest":
        answer = ask(*of, domains=DOMAINS, rule="above", threshold=3)
        np.testing.assert_array_equal(answer.selected, answer.score > 3)


def test_a_domain_of_one_category_may_be_its_name(responses):
    plain = DOMAINS | {"b": "b1"}
    of = "ttest", responses, CATEGORIES, "a"
    found, expected = (ask(*of, domains=each) for each in (plain, DOMAINS))
    np.testing.assert_array_equal(found.score, expected.score)


def test_presets_by_name(responses):
    counts = [
        ask("dprime", responses, CATEGORIES, "a", domains=DOMAINS, threshold=preset).selected.sum()
        for preset in ("liberal", "paper", "strict")
    ]
    assert counts[0] > counts[1] > counts[2] > 0


def test_without_domains_each_category_is_its_own_and_lists_will_do():
    answer = ask("fsi", [[3, 0], [1, 0], [1, 2], [1, 4]], ["cat", "cat", "dog", "dog"], "cat")
    np.testing.assert_allclose(answer.score, [1 / 3, -1])
    assert answer.selected.tolist() == [True, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"metric": "fsy"},
            "no metric is called 'fsy'; there are: auc, ccmas, class_selectivity, co",
        ),
        ({"responses": np.ones((35, 2))}, r"responses \(35, 2\) do not fit 36 categories"),
        ({"responses": np.ones(36)}, r"responses \(36,\) do not fit 36 categories"),
        ({"responses": np.full((36, 2), np.nan)}, "60 responses are NaN or infinite"),
        ({"target": "z"}, "target 'z' is no domain; domains are: a, b, c"),
        (
            {"threshold": "mild"},
            "fsi has no number for threshold=mild: .*liberal, .*strict",
        ),
        ({"threshold": 7}, "threshold.fsi=7.0 is out of range: a score between -1 and 1"),
        ({"rule": "top", "threshold": 1.5}, "a whole number of units, between 0 and inf"),
        ({"rule": "top", "threshold": 41}, "more than the 40 units"),
        ({"domains": {"a": ["a1"], "b": ["b2"]}}, "b has the category 'b2', which no image has"),
        ({"rule": "best"}, "criterion.rule=best is unknown"),
        ({"rule": "p", "threshold": 0.01}, "needs p-values, which this metric does not have"),
        ({"kind": "all"}, "contrast=all is unknown"),
        ({"over": "images"}, "over=images is unknown"),
        ({"metric": "ttest", "equal_varianc": False}, "ttest has no option 'equal_varianc'"),
        ({"metric": "ttest", "equal_variance": "no"}, "equal_variance=no must be of the type bool"),
    ],
)
def test_refused_in_one_line(responses, arguments, message):
    whole = {"metric": "fsi", "responses": responses, "target": "a", **arguments}
    with pytest.raises(InputError, match=message) as error:
        ask(categories=CATEGORIES, **{"domains": DOMAINS, **whole})
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_neither_torch_nor_mlflow_is_imported():
    code = (
        "import sys, numpy as np\n"
        "from app.findings import consistency, decoding, selection\n"
        "from app.notebook import ask\n"
        "for metric in ('fsi', 'auc', 'wilcoxon'):\n"
        "    ask(metric, np.eye(4), ['a', 'a', 'b', 'b'], 'a')\n"
        "print({'torch', 'mlflow', 'matplotlib'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "set()", done.stderr
