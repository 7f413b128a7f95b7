"""Tables for the terminal: one job's result, and all jobs of a sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from app.config.schema import LEADING_PARAMETERS

# Shown first, in this order; the rest of the config follows under dotted names.
SELECTION = {
    "count": "selectivity/count",
    "%": "selectivity/percent",
    "undefined": "selectivity/undefined",
    "consistency": "consistency/mean",
    "lesion r": "lesion/spearman",
}
DECODING = {
    "decoding": "decoding/accuracy",
    "chance": "decoding/chance",
    "random": "decoding/random_kernels",
    "all": "decoding/all_kernels",
}
WHOLE = {
    "selectivity/count",
    "selectivity/units",
    "selectivity/undefined",
    "lesion/greedy_dropped",
    "decoding/kernels",
}
NONE = "-"


def show(renderable: RenderableType) -> None:
    """Print to standard output; without a terminal the width is COLUMNS, or 80."""
    Console().print(renderable)


def job_table(result: Mapping[str, Any]) -> RenderableType:
    """What one job found: a line a finding, headed by what it was asked."""
    params, metrics = result["params"], result["metrics"]
    asked = [str(params[name]) for name in LEADING_PARAMETERS if params.get(name) is not None]
    table = Table.grid(padding=(0, 2))
    for finding, values in _found(metrics).items():
        table.add_row(finding, Text(", ".join(f"{name} {text}" for name, text in values.items())))
    parts: list[RenderableType] = [Text(" / ".join(asked), style="bold"), table]
    parts += [Text(f"note: {note}") for note in result.get("notes", ())]
    if result["status"] == "failed":
        parts.append(Text(f"failed: {_line(result.get('reason'))}", style="red"))
    return Group(*parts, "")


def _found(metrics: Mapping[str, float]) -> dict[str, dict[str, str]]:
    """The metrics by finding, in words; the end points of an interval with its middle."""
    found: dict[str, dict[str, str]] = {}
    for name, value in metrics.items():
        finding, _, measure = name.partition("/")
        if name in ("decoding/ci95_low", "decoding/ci95_high") or measure.startswith("top10_"):
            continue
        words = measure.removeprefix("spearman_" if finding == "consistency" else "")
        text = _accuracy(metrics) if name == "decoding/accuracy" else _value(name, value)
        found.setdefault(finding, {})[words.replace("_", " ")] = text
    return found


def sweep_table(results: Sequence[Mapping[str, Any]]) -> RenderableType:
    """One row a job: the params that differ and the main metrics; below, the jobs that failed."""
    return _Sweep(results)


class _Sweep:
    """One table where it fits the width, else one for selection and one for decoding."""

    def __init__(self, results: Sequence[Mapping[str, Any]]) -> None:
        self._results = results
        self._params = differing([result["params"] for result in results])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        both = self._table(SELECTION | DECODING)
        if (
            Measurement.get(console, options.update(width=10_000), both).maximum
            <= options.max_width
        ):
            yield both
        else:
            yield self._table(SELECTION)
            yield ""
            yield self._table(DECODING)
        yield ""
        failed = [result for result in self._results if result["status"] == "failed"]
        yield Text(f"{len(self._results) - len(failed)} of {len(self._results)} jobs finished")
        for result in failed:
            asked = self._params or [
                name for name in LEADING_PARAMETERS if name in result["params"]
            ]
            job = ", ".join(f"{name}={result['params'].get(name, NONE)}" for name in asked)
            yield Text(f"failed: {job}: {_line(result.get('reason'))}", style="red")

    def _table(self, columns: Mapping[str, str]) -> Table:
        table = _table()
        for name in self._params:
            table.add_column(name, overflow="fold")
        for header, name in columns.items():
            title = "decoding [95 % CI]" if header == "decoding" else header
            # Where room is short, names are folded, numbers never.
            width = max(len(title), *(len(_cell(name, r["metrics"])) for r in self._results))
            table.add_column(title, justify="right", no_wrap=True, min_width=width)
        if not self._params:
            table.add_column("")  # a row needs at least a place to say that it failed
        for result in self._results:
            metrics = result["metrics"]
            cells = [str(result["params"].get(name, NONE)) for name in self._params]
            cells += [_cell(name, metrics) for name in columns.values()]
            table.add_row(*cells, style="red" if result["status"] == "failed" else None)
        return table


def _table() -> Table:
    from rich import box

    return Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)


def differing(params: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the params that tell the jobs apart.

    A dotted name is left out where the names before it already decide its value, as the metric
    does its own settings.
    """
    names = list(dict.fromkeys(name for each in params for name in each))
    main = [name for name in LEADING_PARAMETERS if name in names]
    chosen: list[str] = []
    for name in [*main, *(name for name in names if name not in LEADING_PARAMETERS)]:
        values = [str(each.get(name, NONE)) for each in params]
        if len(set(values)) < 2:
            continue
        if name not in LEADING_PARAMETERS:
            before = [tuple(str(each.get(key, NONE)) for key in chosen) for each in params]
            if len(set(before)) == len(set(zip(before, values, strict=True))):
                continue
        chosen.append(name)
    return chosen


def _value(name: str, value: float | None) -> str:
    if value is None:
        return NONE
    if math.isnan(value):
        return "undefined"
    if name in WHOLE:
        return f"{value:,.0f}"
    if name == "selectivity/percent":
        return f"{value:.2f}"
    return f"{value:.3f}"


def _cell(name: str, metrics: Mapping[str, float]) -> str:
    return _accuracy(metrics) if name == "decoding/accuracy" else _value(name, metrics.get(name))


def _accuracy(metrics: Mapping[str, float]) -> str:
    text = _value("decoding/accuracy", metrics.get("decoding/accuracy"))
    low, high = (metrics.get(f"decoding/ci95_{end}") for end in ("low", "high"))
    return text if low is None or high is None else f"{text} [{low:.3f}, {high:.3f}]"


def _line(reason: Any) -> str:
    """The first line of a reason: a table is no place for a traceback."""
    return (str(reason or "").strip() or "no reason given").splitlines()[0]
