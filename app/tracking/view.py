"""MLflow's table of runs for a sweep: its children flat, what differs, what was found, the curves.

A saved view is a tag of the experiment, which MLflow's pages open by its key. Its form is not
documented: it is used for the versions that it was tried with, for others the address says less.
"""

from __future__ import annotations

import base64
import json
import urllib.parse
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TRIED = ("3.17",)  # versions of MLflow
KEY = "viewStateShareKey"  # in the address
TAG = "mlflow.sharedViewState.{key}"
TAG_LENGTH = 5000  # characters of an experiment's tag
NAMES = "attributes.`Run Name`"  # the column that says what differs
SECTION = {
    "uuid": "curves", "name": "threshold: what each criterion would select", "display": True,
    "isReordered": False, "deleted": False, "isGenerated": False,
}  # fmt: skip
WIDTHS = {"params": 110, "metrics": 140}  # of columns, in pixels


@dataclass(frozen=True)
class View:
    """What the table shows of a sweep. Names are those that are logged."""

    name: str
    parent: str  # MLflow's id of the sweep's run
    params: Sequence[str]
    metrics: Sequence[str]
    order: str  # the metric that rows are sorted by
    curves: Mapping[str, str]  # what is an axis, and what is drawn against it
    hidden: Sequence[str] = ()  # further metrics that have no chart of their own

    @property
    def search(self) -> dict[str, Any]:
        """Which runs are shown, and in which order."""
        return {
            "searchFilter": f"tags.`mlflow.parentRunId` = '{self.parent}'",
            "orderByKey": f"metrics.`{self.order}`",
            "orderByAsc": True,
        }


def make_query(view: View, *, saved: bool) -> str:
    """Make what opens a view, to be added to the address of the table: by its key where `saved`."""
    asked = {KEY: view.parent} if saved else {**view.search, "orderByAsc": "true"}
    return urllib.parse.urlencode(asked, quote_via=urllib.parse.quote)


def make_tag(view: View, version: str, at: int) -> tuple[str, str] | None:
    """Make the experiment's tag that saves a view, at a time in milliseconds since 1970.

    None for a version of MLflow's pages that it was not tried with, or where it would be too long.
    """
    text = json.dumps(_make_state(view), separators=(",", ":")).encode()
    state = "deflate;" + base64.b64encode(zlib.compress(text, 9)).decode()
    value = json.dumps({"name": view.name, "createdAt": at, "updatedAt": at, "state": state})
    tried = ".".join(version.split(".")[:2]) in TRIED
    return (TAG.format(key=view.parent), value) if tried and len(value) <= TAG_LENGTH else None


def _make_state(view: View) -> dict[str, Any]:
    """The pages' state: columns, and charts before those that MLflow makes of every metric."""
    columns = {NAMES: 300} | {
        f"{kind}.`{name}`": WIDTHS[kind]
        for kind, names in (("params", view.params), ("metrics", view.metrics))
        for name in names
    }
    charts = [
        _make_chart(drawn, uuid=against, xAxisKey="metric", useGlobalXaxisKey=False,
                    selectedXAxisMetricKey=against, selectedMetricKeys=[drawn])
        for against, drawn in view.curves.items()
    ]  # fmt: skip
    hidden = (*view.curves, *view.hidden)
    charts += [_make_chart(name, uuid=f"no {name}", deleted=True) for name in hidden]
    return {
        **view.search,
        "selectedColumns": list(columns),
        "columnOrder": list(columns),
        "columnWidths": columns,
        "runsHiddenMode": "FIRST_20_RUNS",
        "isAccordionReordered": True,
        "compareRunSections": [SECTION],
        "compareRunCharts": charts,
    }


def _make_chart(metric: str, **settings: Any) -> dict[str, Any]:
    """A line chart of a metric, as MLflow's pages make one, but for the settings."""
    return {
        "type": "LINE",
        "runsCountToCompare": 10,
        "metricSectionId": SECTION["uuid"],
        "deleted": False,
        "isGenerated": True,
        "metricKey": metric,
        "lineSmoothness": 0,
        "scaleType": "linear",
        "xAxisScaleType": "linear",
        "range": {},
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalLineSmoothing": True,
        **settings,
    }
