"""Tables for the terminal: one job's result, and all jobs of a sweep."""

from __future__ import annotations

import math
import shutil
import textwrap
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from app import names
from app.config.parameters import LEADING_PARAMETERS
from app.spelling import shorten
from app.sweeps.results import Result, count, find_differing, list_params, sort_layers

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
NOTES = 10  # at most, that a sweep tells at its end


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
    """Say what one job found: a line a finding, then what is to be known of it."""
    counted = names.name_units(result.params.get("aggregation", ""))
    found = _findings(result.metrics, counted)
    width = max(map(len, found), default=0) + 2
    lines = [f"{finding:{width}}{', '.join(values)}" for finding, values in found.items()]
    lines += [f"note: {note}" for note in result.notes]
    if result.failed:
        lines.append(f"failed: {result.reason_line}")
    return wrap(lines, " " * width) + "\n"


def summarise_job(result: Result, jobs: int) -> str:
    """Say in a line what one job of a sweep of so many found, or why it failed."""
    heads = {**SELECTION, "decoding": names.ACCURACY}
    found = [f"{head} {_cell(name, result.metrics)}" for head, name in heads.items()
             if name in result.metrics]  # fmt: skip
    said = f"failed: {result.reason_line}" if result.failed else ", ".join(found)
    return f"job {result.job} ({result.job + 1} of {jobs}): {result.name}: {said}"


def _findings(metrics: Mapping[str, float], counted: str) -> dict[str, list[str]]:
    """The metrics by finding, in words; the end points of an interval with its middle.

    `counted` is what was scored: units or kernels.
    """
    found: dict[str, list[str]] = {}
    for name in metrics:
        finding, _, measure = name.partition("/")
        if name.endswith(("ci95_low", "ci95_high")) or name.startswith(names.TOP_WITH):
            continue
        words = measure.removeprefix("spearman_" if finding == "consistency" else "")
        words = counted if name == names.UNITS else words
        found.setdefault(finding, []).append(f"{words.replace('_', ' ')} {_cell(name, metrics)}")
    return found


def describe_sweep(results: Sequence[Result]) -> str:
    """Lay out a row a job, by depth of the layer, with the params that differ and the findings.

    In one table where it fits the terminal, else one for selection and one for decoding; below, the
    jobs that failed, and what is to be known of the others.
    """
    jobs = _sort_by_depth(results)
    asked = list_params(jobs).fillna(NONE)
    params = find_differing(asked)
    told = asked[params].apply(lambda values: values.map(shorten(values)))

    def table(columns: Mapping[str, str], width: int | None = None) -> str:
        found = {
            head: [_cell(name, each.metrics) for each in jobs] for head, name in columns.items()
        }
        filled = {head: cells for head, cells in found.items() if {*cells} != {NONE}}
        return lay_out(told.assign(**filled), params, width) if filled else ""

    text = table(SELECTION | DECODING)
    if len(text.partition("\n")[0]) > (width := find_width()):
        text = "\n\n".join(filter(None, (table(SELECTION, width), table(DECODING, width))))
    finished, failed = count(results)
    lines = [f"{finished} of {finished + failed} jobs finished"]
    named = params or [name for name in LEADING_PARAMETERS if name in asked]
    for job, values in zip(jobs, asked[named].to_dict("records"), strict=True):
        if job.failed:
            what = ", ".join(f"{name}={value}" for name, value in values.items())
            lines.append(f"failed: {what}: {job.reason_line}")
    noted = Counter(note for job in jobs for note in dict.fromkeys(job.notes))
    for note, times in noted.most_common(NOTES):
        lines.append(f"note ({times} of {finished + failed} jobs): {note}")
    if len(noted) > NOTES:
        lines.append(f"{len(noted) - NOTES} more notes are in the report's jobs.csv")
    return f"{text}\n\n{wrap(lines)}" if text else wrap(lines)


def _sort_by_depth(results: Sequence[Result]) -> list[Result]:
    """Sort jobs by network, as it comes, and by the depth of their layer."""
    networks = defaultdict[str, dict[str, list[Result]]](lambda: defaultdict(list))  # by layer
    for job in sorted(results, key=lambda result: result.job):
        networks[str(job.params.get("model"))][str(job.params.get("layer"))].append(job)
    found: list[Result] = []
    for by_layer in networks.values():
        depths = {layer: job.metrics[names.DEPTH] for layer, jobs in by_layer.items()
                  for job in jobs if names.DEPTH in job.metrics}  # fmt: skip
        for layer in sort_layers(by_layer, depths):
            found += by_layer[layer]
    return found


def _cell(name: str, metrics: Mapping[str, float]) -> str:
    value = metrics.get(name)
    if value is None:
        return NONE
    if math.isnan(value):
        return "undefined"
    if name in names.WHOLE:
        return f"{value:,.0f}"
    digits = 2 if name == names.PERCENT else 3
    low, high = (f"{name}{end}" for end in names.CI95)
    if name == names.ACCURACY:
        low, high = names.ACCURACY_LOW, names.ACCURACY_HIGH
    text = f"{value:z.{digits}f}"  # no -0
    if low in metrics:
        text += f" [{metrics[low]:z.{digits}f}, {metrics[high]:z.{digits}f}]"
    return text
