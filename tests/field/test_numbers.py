"""Numbers at the edge, and arrays of every make, as `app.notebook.ask` is given them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from app.errors import InputError
from app.notebook import ask
from app.tracking.outputs import write_run
from tests.composing import check_config

X, Y = [2.0, 3.0, 4.0], [1.0, 1.5, 2.0, 2.2]
RESPONSES = np.array([X + Y]).T
LABELS = ["x"] * 3 + ["y"] * 4
# By hand, and by scipy 1.16: ttest_ind, mannwhitneyu's z.
RIGHT = {"dprime": 1.6503511, "ttest": 2.2908190, "welch_t": 2.0804320, "cohens_d": 1.7496419,
         "fsi": 0.2834225, "auc": 0.875, "wilcoxon": 1.4270121}  # fmt: skip


def score(metric: str, responses, labels=LABELS, target="x", **options) -> float:
    return float(ask(metric, responses, labels, target, **options).score[0])


@pytest.mark.parametrize("metric", RIGHT)
def test_scores_are_those_of_the_formulas(metric: str):
    assert score(metric, RESPONSES) == pytest.approx(RIGHT[metric], rel=1e-6)


@pytest.mark.parametrize("metric", RIGHT)
@pytest.mark.parametrize("power", [600, -600])
def test_a_factor_changes_nothing(metric: str, power: int):
    """A power of two, which float64 multiplies by without rounding."""
    found = score(metric, RESPONSES * 2.0**power)
    assert found == pytest.approx(RIGHT[metric], rel=1e-6)


@pytest.mark.parametrize("metric", RIGHT)
def test_numbers_near_the_largest_have_a_score(metric: str):
    found = score(metric, RESPONSES * 2.0**1021)
    assert found == pytest.approx(RIGHT[metric], rel=1e-6)


@pytest.mark.parametrize("metric", ["fsi", "dprime", "wilcoxon", "ttest"])
@pytest.mark.parametrize(("kind", "spread"), [("float64", 1e-14), ("float32", 1e-7)])
def test_rounding_noise_alone_is_no_response(metric: str, kind: str, spread: float):
    """Seven responses of 1 that differ in their last bits: as a silent unit, undefined."""
    assert np.isnan(score(metric, (1 + spread * RESPONSES).astype(kind)))


def test_a_small_spread_is_a_response():
    assert score("dprime", 1 + 1e-9 * RESPONSES) == pytest.approx(RIGHT["dprime"], rel=1e-5)


def test_the_index_of_signed_responses_is_told(told):
    """(μT − μN) / (|μT| + |μN|) is 1 or -1 wherever the means have two signs."""
    answer = ask("fsi", RESPONSES - 2.5, LABELS, "x")
    assert answer.score[0] == 1
    assert "negative" in told(answer)


ODD = [
    ("integers", RESPONSES, np.array([1, 1, 1, 0, 0, 0, 0]), 1),
    ("integer_text", RESPONSES, np.array([1, 1, 1, 0, 0, 0, 0]), "1"),
    ("list_of_integers", RESPONSES, [1, 1, 1, 0, 0, 0, 0], 1),
    ("booleans", RESPONSES, np.array(LABELS) == "x", True),
    ("whole_numbers", RESPONSES, [1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0], 1),
    ("tensor_labels", RESPONSES, torch.tensor([1, 1, 1, 0, 0, 0, 0]), 1),
    ("categorical", RESPONSES, pd.Series(LABELS, dtype="category"), "x"),
    ("series", RESPONSES, pd.Series(LABELS, index=range(7, 0, -1)), "x"),
    ("frame", pd.DataFrame(RESPONSES), LABELS, "x"),
    ("tensor", torch.tensor(RESPONSES), LABELS, "x"),
    ("gradient", torch.tensor(RESPONSES, requires_grad=True), LABELS, "x"),
    ("lists", RESPONSES.tolist(), LABELS, "x"),
    ("integers_as_responses", (RESPONSES * 10).round().astype(int), LABELS, "x"),
    ("big_endian", RESPONSES.astype(">f8"), LABELS, "x"),
    ("fortran", np.asfortranarray(np.repeat(RESPONSES, 2, 1)), LABELS, "x"),
    ("every_second", np.repeat(RESPONSES, 2, 0)[::2], LABELS, "x"),
    ("bytes", RESPONSES, np.array(LABELS, dtype="S"), "x"),
    ("tensor_target", RESPONSES, torch.tensor([1, 1, 1, 0, 0, 0, 0]), torch.tensor(1)),
    ("objects", RESPONSES.astype(object), LABELS, "x"),
    ("nothing_masked", np.ma.masked_array(RESPONSES), LABELS, "x"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("responses", "labels", "target"),
    [pytest.param(*row[1:], id=row[0]) for row in ODD],
)
def test_arrays_of_every_make_are_taken(responses, labels, target):
    assert score("dprime", responses, labels, target) == pytest.approx(RIGHT["dprime"], rel=1e-6)


HOLES = np.ma.masked_array(RESPONSES, np.arange(7)[:, None] == 0)
WRONG = [
    ("masked", HOLES, LABELS, "(?i)mask"),
    ("masked_rows", list(HOLES), LABELS, "(?i)mask"),
    ("text_among_numbers", [["2"], *RESPONSES[1:].tolist()], LABELS, "(?i)number"),
    ("text_among_objects", np.array([["2"], *RESPONSES[1:].tolist()], object), LABELS, "number"),
    ("none", [[None], *RESPONSES[1:].tolist()], LABELS, "NaN"),
    ("not_available", pd.DataFrame(RESPONSES, dtype="Float64").replace(2, pd.NA), LABELS, "number"),
    ("bfloat16", torch.tensor(RESPONSES).bfloat16(), LABELS, "(?i)number"),
    ("meta", torch.tensor(RESPONSES).to("meta"), LABELS, "(?i)no data"),
    ("complex", RESPONSES + 1j, LABELS, "(?i)complex"),
    ("nan", np.where(RESPONSES == 2, np.nan, RESPONSES), LABELS, "(?i)not finite|nan"),
    ("infinite", np.where(RESPONSES == 2, np.inf, RESPONSES), LABELS, "(?i)not finite|inf"),
    ("text", RESPONSES.astype(str), LABELS, "(?i)number"),
    ("words", np.array([LABELS]).T, LABELS, "(?i)number"),
    ("dates", RESPONSES.astype("datetime64[D]"), LABELS, "(?i)number"),
    ("missing", pd.DataFrame(RESPONSES).where(RESPONSES != 2, None), LABELS, "(?i)finite|nan"),
    ("ragged", [[1.0], [2.0, 3.0]], ["x", "y"], r"\(images, units\)"),
    ("one_axis", RESPONSES[:, 0], LABELS, r"\(images, units\)"),
    ("transposed", RESPONSES.T, LABELS, r"\(images, units\)"),
    ("column", RESPONSES, np.array([LABELS]).T, r"shape \(7, 1\).*ravel"),
    ("one_hot", RESPONSES, torch.eye(2)[[0, 0, 0, 1, 1, 1, 1]], r"shape \(7, 2\).*argmax"),
    ("nan_label", RESPONSES, [*LABELS[:6], np.nan], "1 labels are missing, .* 6"),
    ("missing_label", RESPONSES, [None, *LABELS[1:]], "(?i)None|missing|label"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("responses", "labels", "words"),
    [pytest.param(*row[1:], id=row[0]) for row in WRONG],
)
def test_what_is_no_response_is_refused(responses, labels, words):
    with pytest.raises(InputError, match=words) as caught:
        ask("fsi", responses, labels, "x")
    assert "\n" not in str(caught.value)


def test_an_undefined_number_is_written_as_json_has_it(tmp_path: Path):
    numbers = {"a": float("nan"), "b": 1.0}
    found = SimpleNamespace(
        metrics=lambda: numbers, tables=lambda _: {}, list_selected=lambda *_: pd.DataFrame()
    )
    write_run(tmp_path, check_config("stimuli=folder", "stimuli.root=x"), found, (1, 1, 1))
    text = (tmp_path / "metrics.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"a": None, "b": 1.0}
