"""Targets side by side: a figure of their panels on the same axes, a table, a sentence each."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from app.figures.targets import plot_targets
from app.sweeps import report
from app.sweeps.targets import compare_targets
from tests.figures.test_figures import list_illegible
from tests.sweeps.test_report import told

TARGETS = ("faces", "bodies", "characters", "places", "objects")
LAYERS = ("conv7", "conv13")


def by_target(row: dict[str, Any]) -> None:
    """Each target selects twice as many as the one before."""
    row["metrics"]["selectivity/percent"] = 2.0 ** TARGETS.index(row["params"]["target"])


def compare(models=("mini",), targets=TARGETS, aggregations=("unit", "l2"), **kwargs: Any):
    change = kwargs.pop("change", by_target)
    return told(models, LAYERS, aggregations, target=targets, change=change, **kwargs)


def drawn(made: report.Report) -> dict[str, list[report.panels.Drawn]]:
    (compared,) = made.compared
    return {target: report.list_drawn(each) for target, each in compared.sections.items()}


@pytest.mark.slow
def test_panels_stand_side_by_side_on_the_same_axes():
    made = compare()
    figure = plot_targets(drawn(made), made.sections[0].group.styles, "mini")
    rows = [np.reshape(part.axes, (-1, 5)) for part in figure.subfigs]
    assert [len(row) for row in rows] == [1, 1, 1, 2]  # b, c, d, f of units and kernels
    for row in rows:
        assert len({ax.get_ylim() for ax in row.flat}) == 1
        assert [ax.get_ylabel() != "" for ax in row[0]] == [True] + [False] * 4
        heads = [ax.get_title("center").split("\n")[0] for ax in row[0]]
        assert heads == list(TARGETS)
    highest = [line.get_ydata().max() for ax in rows[0].flat for line in ax.lines[:1]]
    assert highest == [1, 2, 4, 8, 16] and rows[0][0, 0].get_ylim()[1] > 16


def test_the_table_and_the_sentences():
    (compared,) = compare().compared
    assert compared.heading == "mini"
    table = compared.table
    assert len(table) == 5 * 2 * 2 * 4 and list(table["target"].unique()) == list(TARGETS)
    assert list(table.groupby("target", sort=False)["percent"].max()) == [1, 2, 4, 8, 16]
    first, *_, last = compared.sentences
    assert first.startswith("faces: of single units, FSI up to 1.0 %, d′ up to 1.0 %, ")
    assert "r FSI −0.29, d′ −0.10" in first and "from" not in last.split(":")[0]
    assert last.startswith("objects: of single units, FSI up to 16.0 %")
    assert last.endswith("mean rank correlation goes from 0.27 in conv7 to 0.50 in conv13.")


@pytest.mark.slow
def test_each_network_has_its_own_and_one_target_has_none():
    made = compare(models=("a", "b"), targets=TARGETS[:2], aggregations=("l2",))
    assert [each.heading for each in made.compared] == ["a", "b"]
    assert not compare(targets=TARGETS[:1]).compared
    assert not compare(targets=TARGETS[:1], seed=["0", "1"]).compared
    seeds = compare(targets=TARGETS[:2], aggregations=["l2"], seed=["0", "1"]).compared
    assert [each.heading for each in seeds] == ["mini, seed=0", "mini, seed=1"]


def test_panels_of_no_column_are_not_compared():
    """A sweep over recipes has panel l alone."""
    told = [replace(each, panels=[replace(each.panels[0], letter="l")])
            for each in compare(targets=TARGETS[:2]).sections]  # fmt: skip
    assert len(told) == 2 and not compare_targets(told)


def test_a_panel_that_one_target_lacks_leaves_room():
    def change(row: dict[str, Any]) -> None:
        if row["params"]["target"] == "bodies":
            row["metrics"] = {k: v for k, v in row["metrics"].items() if "lesion" not in k}

    made = compare(change=change, aggregations=("l2",))
    figure = plot_targets(drawn(made), made.sections[0].group.styles)
    lesions = figure.subfigs[1].axes
    assert [ax.axison for ax in lesions] == [True, False, True, True, True]
    bodies = made.compared[0].sentences[1]
    assert bodies.startswith("bodies") and "lesions" not in bodies


@pytest.mark.slow
def test_what_is_written(tmp_path: Path):
    made = compare(aggregations=("l2",), metrics=("fsi", "ttest"), targets=TARGETS[:2])
    files = report.write_report(made, tmp_path)
    assert set(files) == {path.name for path in tmp_path.iterdir()}
    for suffix in ("png", "svg", "csv", "parquet"):
        assert (tmp_path / f"targets.{suffix}").stat().st_size > 100
    page = (tmp_path / "report.md").read_text()
    assert "![Targets](targets.png)" in page and "\n- faces: of kernels, FSI up to 1.0 %" in page
    assert any(line.startswith("bodies: ") for line in made.summary)
    table = pd.read_parquet(tmp_path / "targets.parquet")
    pd.testing.assert_frame_equal(table, made.compared[0].table)


@pytest.mark.slow
def test_nothing_is_cut_off_of_a_dozen_metrics():
    names = [f"metric{number:02}" for number in range(13)]
    made = compare(metrics=names, spread=0.0, aggregations=["l2"])
    styles, panels = made.sections[0].group.styles, report.list_drawn(made.sections[0])
    assert list_illegible(plot_targets(drawn(made), styles, "mini")) == []
    found = list_illegible(report.panels.plot_panels(panels, styles))
    # A panel's heading has blank lines, where the axes' own titles are.
    assert [line for line in found if not re.search("(^| on )[cdef]   ", line)] == []
