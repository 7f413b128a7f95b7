"""Tables for the terminal: one job's result, and all jobs of a sweep."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from app import names
from app.config.parameters import LEADING_PARAMETERS
from app.spelling import shorten
from app.sweeps.results import Result, count, find_differing, list_params

if TYPE_CHECKING:
    import pandas as pd

# What a sweep's table shows beside what was swept: heading and name.
SELECTION = {
    "count": names.COUNT,
    "%": names.PERCENT,
    "undefined": names.UNDEFINED,
    "consistency": names.CONSISTENCY,
    "lesion r": names.LESION_SPEARMAN["face"],
}
DECODING = {
    "decoding [95 % CI]": names.ACCURACY,
    "chance": names.CHANCE,
    "random": names.RANDOM_KERNELS,
    "all": names.ALL_KERNELS,
}
NONE = "-"


def find_width() -> int:
    """Find how wide lines may be: the terminal, or COLUMNS, or 80."""
    return shutil.get_terminal_size().columns


def wrap(lines: Sequence[str], indent: str = "") -> str:
    """Break lines at words where the terminal ends; what follows a break is indented."""
    return "\n".join(
        textwrap.fill(line, find_width(), subsequent_indent=indent, break_on_hyphens=False)
        for line in lines
    )


def lay_out(table: pd.DataFrame, left: Sequence[str] = (), width: int | None = None) -> str:
    """Lay a table of text out in columns: those of `left` from the left, the others from the right.

    What is too wide for `width` goes on below.
    """
    import pandas as pd

    columns, sizes = {}, []
    for name, column in zip(map(str, table.columns), table.to_numpy().T, strict=True):
        sizes.append(max(map(len, [name, *column])) + 1)
        at_left = sizes[-1] - 1 if name in left else 0
        columns[name.ljust(at_left)] = [cell.ljust(at_left) for cell in column]
    text = pd.DataFrame(columns).to_string(index=False, line_width=width, col_space=sizes)
    return "\n".join(line.strip() for line in text.splitlines())


def describe_job(result: Result) -> str:
    """Say what one job found: a line a finding, headed by what it was asked."""
    asked = [result.params.get(name) for name in LEADING_PARAMETERS]
    counted = "units" if result.params.get("aggregation") == "unit" else "kernels"
    found = _findings(result.metrics, counted)
    width = max(map(len, found), default=0) + 2
    lines = [" / ".join(str(value) for value in asked if value is not None)]
    lines += [f"{finding:{width}}{', '.join(values)}" for finding, values in found.items()]
    lines += [f"note: {note}" for note in result.notes]
    if result.failed:
        lines.append(f"failed: {result.reason_line}")
    return wrap(lines, " " * width) + "\n"


def _findings(metrics: Mapping[str, float], counted: str) -> dict[str, list[str]]:
    """The metrics by finding, in words; the end points of an interval with its middle.

    `counted` is what was scored: units or kernels.
    """
    found: dict[str, list[str]] = {}
    for name in metrics:
        finding, _, measure = name.partition("/")
        if name in (names.ACCURACY_LOW, names.ACCURACY_HIGH) or name.startswith(names.TOP_WITH):
            continue
        words = measure.removeprefix("spearman_" if finding == "consistency" else "")
        words = counted if name == names.UNITS else words
        found.setdefault(finding, []).append(f"{words.replace('_', ' ')} {_cell(name, metrics)}")
    return found


def describe_sweep(results: Sequence[Result]) -> str:
    """Lay out a row a job, with the params that differ and the main findings.

    In one table where it fits the terminal, else one for selection and one for decoding; below, the
    jobs that failed.
    """
    jobs = sorted(results, key=lambda result: result.job)
    asked = list_params(jobs).fillna("-")
    params = find_differing(asked)
    told = asked[params].apply(lambda values: values.map(shorten(values)))

    def table(columns: Mapping[str, str], width: int | None = None) -> str:
        found = {
            head: [_cell(name, each.metrics) for each in jobs] for head, name in columns.items()
        }
        return lay_out(told.assign(**found), params, width)

    text = table(SELECTION | DECODING)
    if len(text.partition("\n")[0]) > (width := find_width()):
        text = f"{table(SELECTION, width)}\n\n{table(DECODING, width)}"
    finished, failed = count(results)
    lines = [f"{finished} of {finished + failed} jobs finished"]
    named = params or [name for name in LEADING_PARAMETERS if name in asked]
    for job, values in zip(jobs, asked[named].to_dict("records"), strict=True):
        if job.failed:
            what = ", ".join(f"{name}={value}" for name, value in values.items())
            lines.append(f"failed: {what}: {job.reason_line}")
    return f"{text}\n\n{wrap(lines)}"


def _cell(name: str, metrics: Mapping[str, float]) -> str:
    value = metrics.get(name)
    if value is None:
        return NONE
    if math.isnan(value):
        return "undefined"
    if name in names.WHOLE:
        return f"{value:,.0f}"
    text = f"{value:.{2 if name == names.PERCENT else 3}f}"
    if name == names.ACCURACY and names.ACCURACY_LOW in metrics:
        text += f" [{metrics[names.ACCURACY_LOW]:.3f}, {metrics[names.ACCURACY_HIGH]:.3f}]"
    return text
