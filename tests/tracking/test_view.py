"""The view of a sweep that MLflow's pages open, in the form that it was tried with."""

from __future__ import annotations

import json
import zlib
from base64 import b64decode
from urllib.parse import parse_qs

import pytest

from app.tracking.view import TAG_LENGTH, View, make_query, make_tag

VIEW = View("sweep -m", "abc", ["layer"], ["a/b", "layer/depth"], "layer/depth", {"t/x": "t/y"},
            ["t/z"])  # fmt: skip


def test_a_view_for_the_versions_it_was_tried_with():
    made = make_tag(VIEW, "3.17.2", 5)
    assert made is not None
    name, value = made
    view = json.loads(value)
    assert name == "mlflow.sharedViewState.abc"
    assert (view["name"], view["createdAt"], view["updatedAt"]) == ("sweep -m", 5, 5)
    kind, _, packed = view["state"].partition(";")
    state = json.loads(zlib.decompress(b64decode(packed)))
    assert kind == "deflate" and state["searchFilter"] == "tags.`mlflow.parentRunId` = 'abc'"
    columns = ["attributes.`Run Name`", "params.`layer`", "metrics.`a/b`", "metrics.`layer/depth`"]
    assert (
        state["selectedColumns"] == state["columnOrder"] == list(state["columnWidths"]) == columns
    )
    (section,) = state["compareRunSections"]
    charts = {chart["metricKey"]: chart for chart in state["compareRunCharts"]}
    assert {chart["metricSectionId"] for chart in charts.values()} == {section["uuid"]}
    assert {name for name, chart in charts.items() if chart["deleted"]} == {"t/x", "t/z"}
    assert charts["t/y"]["selectedXAxisMetricKey"] == "t/x"
    assert len({chart["uuid"] for chart in charts.values()}) == 3
    assert make_query(VIEW, saved=True) == "viewStateShareKey=abc"


@pytest.mark.parametrize("version", ["", "3.1.7", "3.170.0", "4.0.0", "2.17.2"])
def test_no_view_for_others_but_an_address(version: str):
    assert make_tag(VIEW, version, 5) is None
    assert parse_qs(make_query(VIEW, saved=False)) == {
        "searchFilter": ["tags.`mlflow.parentRunId` = 'abc'"],
        "orderByKey": ["metrics.`layer/depth`"],
        "orderByAsc": ["true"],
    }


def test_a_view_that_no_tag_can_hold_is_none():
    view = View("x" * TAG_LENGTH, "abc", [], [], "a", {})
    assert make_tag(view, "3.17.2", 5) is None
