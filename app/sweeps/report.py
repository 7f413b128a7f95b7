"""What a sweep found, told in panels: the paper's Figure 1, b to f (`app.sweeps.figure1`), and what
moves with the criterion, g to j (`app.sweeps.criteria`), as far as the sweep allows.

A pure function of the table of its runs (`app.sweeps.runs`): the same table gives the same bytes.
Every panel is a tidy table, a picture, and what its numbers say, beside the paper's result. Whether
both agree is decided by the rules that are the panels' claims.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from app import files
from app.config.schema import LEADING_PARAMETERS
from app.figures import panels
from app.figures import single as figures
from app.figures.panels import Style
from app.sweeps import criteria, figure1, groups
from app.sweeps.groups import Group, Missing, Panel
from app.sweeps.tables import differing

if TYPE_CHECKING:
    from rich.console import RenderableType

MOST = 6  # groups of runs that are drawn


@dataclass(frozen=True)
class Section:
    """A group of runs, its panels, and a line for each that it does not allow."""

    group: Group
    panels: tuple[Panel, ...]
    missing: tuple[str, ...]

    @property
    def heading(self) -> str:
        """The network and what else tells the group apart."""
        others = [f"{name}={value}" for name, value in self.group.swept.items() if name != "model"]
        return ", ".join([self.group.runs["params.model"].iloc[0], *others])


@dataclass(frozen=True)
class Report:
    """Everything that `save` writes."""

    title: str
    jobs: pd.DataFrame
    failed: tuple[str, ...]
    swept: Mapping[str, int]  # dimension to number of values
    sections: tuple[Section, ...]
    styles: Mapping[str, Style]
    notes: tuple[str, ...] = field(default=())

    @property
    def summary(self) -> RenderableType:
        """The panels' sentences for the terminal."""
        from rich.console import Group as Lines
        from rich.text import Text

        lines: list[RenderableType] = []
        for section in self.sections:
            if len(self.sections) > 1 and section.panels:
                lines.append(Text(section.heading, style="bold"))
            lines += [Text(f"{each.letter}: {each.sentence}") for each in section.panels]
        return Lines(*lines)


def of_runs(runs: pd.DataFrame, title: str) -> Report:
    """The report of a sweep.

    Args:
        runs: A row a job, as `app.sweeps.runs.table` makes it.
        title: What the sweep is called.
    """
    finished = runs[runs["status"] == "finished"]
    dimensions = differing(groups.params(runs))
    found, notes = groups.groups_of(finished)
    if len(found) > MOST:
        notes.append(
            f"The first {MOST} of {len(found)} groups of runs are told; all are in jobs.csv."
        )
    failed = [
        f"{row['run']}: {str(row['reason']).strip() or 'no reason given'}"
        for row in runs.to_dict("records")
        if row["status"] != "finished"
    ]
    return Report(
        title,
        _jobs(runs, dimensions),
        tuple(failed),
        {name: runs[f"params.{name}"].astype(str).nunique() for name in dimensions},
        tuple(_section(group) for group in found[:MOST]),
        groups.styles_of(finished),
        tuple(notes),
    )


def save(report: Report, folder: Path) -> Path:
    """Write report.md, the tables of jobs and panels, and the panels' pictures; the folder."""
    with files.writing("write the report to", folder, "another output folder"):
        folder.mkdir(parents=True, exist_ok=True)
        _write(report.jobs, folder / "jobs")
        for letter, table in _tables(report).items():
            _write(table, folder / f"panel_{letter}")
        for number, section in enumerate(report.sections, start=1):
            suffix = _suffix(number)
            if not section.panels:
                continue
            drawn = [(each.letter, each.title, each.table) for each in section.panels]
            whole = panels.figure(drawn, report.styles, section.heading)
            figures.save(figures.render(whole), folder, f"figure{suffix}")
            for each in drawn:
                alone = panels.alone(*each, report.styles)
                figures.save(figures.render(alone), folder, f"panel_{each[0]}{suffix}")
        with files.whole(folder / "report.md") as file:
            file.write_text(_markdown(report), encoding="utf-8")
    return folder


def _section(group: Group) -> Section:
    made, missing = [], []
    makers = {**figure1.MAKERS, **(criteria.MAKERS if criteria.are_swept(group) else {})}
    for letter, make in makers.items():
        try:
            made.append(make(group))
        except Missing as reason:
            missing.append(f"Panel {letter} is left out: {reason}.")
    return Section(group, tuple(made), tuple(missing))


# --- what is written ------------------------------------------------------------------------------


def _jobs(runs: pd.DataFrame, dimensions: Sequence[str]) -> pd.DataFrame:
    """A row a job: its run, what became of it, what tells it apart, and all that it found."""
    names = list(dict.fromkeys([*LEADING_PARAMETERS, *dimensions]))
    columns = {name: runs[name] for name in ("job", "run", "run_id", "status", "reason")}
    columns |= {name: runs[f"params.{name}"] for name in names if f"params.{name}" in runs}
    for kind in ("metrics.", "tags."):
        of = [name for name in groups.columns(runs, kind) if name != "tags.metrics.styles"]
        columns |= {name.removeprefix(kind): runs[name] for name in of}
    return pd.DataFrame(columns).dropna(axis="columns", how="all").reset_index(drop=True)


def _tables(report: Report) -> dict[str, pd.DataFrame]:
    """Each panel's table, over all groups."""
    found: dict[str, list[pd.DataFrame]] = {}
    for section in report.sections:
        for panel in section.panels:
            found.setdefault(panel.letter, []).append(panel.table)
    return {letter: pd.concat(tables, ignore_index=True) for letter, tables in found.items()}


def _write(table: pd.DataFrame, path: Path) -> None:
    with files.whole(path.with_name(f"{path.name}.csv")) as file:
        table.to_csv(file, index=False, lineterminator="\n")
    with files.whole(path.with_name(f"{path.name}.parquet")) as file:
        table.to_parquet(file, index=False)


def _suffix(number: int) -> str:
    return "" if number == 1 else f"_{number}"


def _markdown(report: Report) -> str:
    jobs, failed = len(report.jobs), len(report.failed)
    swept = [f"{name} ({count})" for name, count in report.swept.items()]
    lines = [f"# {report.title}", ""]
    what = groups.listed(swept) or "nothing"
    lines += [f"{jobs - failed} of {jobs} jobs finished. Swept: {what}.", ""]
    if failed:
        lines += ["## Failed jobs", "", *(f"- {line}" for line in report.failed), ""]
    for note in report.notes:
        lines += [note, ""]
    for number, section in enumerate(report.sections, start=1):
        if len(report.sections) > 1:
            lines += [f"## {section.heading}", ""]
        if section.panels:
            lines += [f"![All panels](figure{_suffix(number)}.png)", ""]
        for panel in section.panels:
            letter = panel.letter
            picture = f"panel_{letter}{_suffix(number)}.png"
            lines += [f"### {letter}. {panel.title}", "", f"![{panel.title}]({picture})", ""]
            lines += [panel.caption, "", panel.sentence, ""]
            lines += [*_pipe_table(panel.table), ""]
        for line in section.missing:
            lines += [line, ""]
    lines += ["## Jobs", "", *_pipe_table(_short(report)), ""]
    return "\n".join(lines)


def _short(report: Report) -> pd.DataFrame:
    """Of the table of jobs what fits a page: what was swept and the main findings."""
    columns = ["job", *report.swept, "status"]
    columns += [
        name
        for name in (
            "selectivity/count", "selectivity/percent", "selectivity/undefined",
            "consistency/mean", "lesion/spearman", "decoding/accuracy",
        )
        if name in report.jobs
    ]  # fmt: skip
    return report.jobs[columns]


def _pipe_table(table: pd.DataFrame) -> list[str]:
    rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    heads = [str(name) for name in table.columns]
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]


def _cell(value: Any) -> str:
    if isinstance(value, float) and not np.isnan(value):
        return f"{value:.4g}"
    return "" if pd.isna(value) else str(value).replace("|", "\\|").replace("\n", " ")
