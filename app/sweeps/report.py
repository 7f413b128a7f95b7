"""What a sweep found, told in panels, as far as the sweep allows.

The paper's Figure 1, b to f (`app.sweeps.figure1`), and what moves with the criterion, g to j
(`app.sweeps.criteria`). A pure function of the results of its jobs: the same results give the same
bytes. Every panel is a tidy table, a picture, and what its numbers say, beside the paper's result.
Whether both agree is decided by the rules that are the panels' claims.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app import names
from app.config.parameters import LEADING_PARAMETERS
from app.figures import panels, render
from app.figures.targets import plot_targets
from app.files import whole, writing
from app.spelling import shorten
from app.sweeps import criteria, definitions, figure1, matched, multiverse, tables
from app.sweeps.groups import Group, Missing, Panel, Section, find_groups, join_words
from app.sweeps.results import Result, find_differing, list_params, read_table, tabulate
from app.sweeps.targets import CAPTION, Compared, compare_targets
from app.tracking.record import TAG_LENGTH

MOST = 6  # groups of runs that are drawn
# What captions say of a sweep over `model.seed`.
INSTANCES = (
    "Of several networks that differ in their initialisation alone (model.seed) the mean is shown, "
    "with the SD over them as error bar; their intervals, which decide, are those of the mean over "
    "networks (Student's t), of differences within each."
)
FAILED_TOLD = 5  # jobs that failed, on MLflow's page of the sweep
HEAD = """<head><meta charset="utf-8"><title>Report</title><style>
body { font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }
img { max-width: 100% }
h1 { font-size: 1.4em }
table { border-collapse: collapse; font-size: 13px; display: block; overflow-x: auto }
th, td { border-bottom: 1px solid #ddd; padding: 2px 8px; text-align: left; white-space: nowrap }
</style></head>"""
# What the page's table of jobs shows beside what was swept; jobs.csv has the rest.
MAIN = (*tables.SELECTION.values(), names.ACCURACY)


@dataclass(frozen=True)
class Report:
    """Everything that `write_report` writes."""

    title: str
    jobs: pd.DataFrame  # a row a job: what became of it, what tells it apart, and all that it found
    failed: Sequence[str]
    swept: Mapping[str, int]  # dimension to number of values
    sections: Sequence[Section]
    notes: Sequence[str] = ()

    @property
    def compared(self) -> list[Compared]:
        """Sections that differ in their target alone, side by side."""
        return compare_targets(self.sections)

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The panels' tables by their letters, those of several sections one below another."""
        every = [panel for section in self.sections for panel in section.panels]
        return {
            letter: pd.concat([each.table for each in every if each.letter == letter],
                              ignore_index=True)
            for letter in dict.fromkeys(panel.letter for panel in every)
        }  # fmt: skip

    @property
    def summary(self) -> list[str]:
        """The panels' sentences for the terminal."""
        lines = []
        for section in self.sections:
            if len(self.sections) > 1 and section.panels:
                lines.append(section.heading)
            lines += [f"{each.letter}: {each.sentence}" for each in section.panels]
        for each in self.compared:
            lines += [f"Targets side by side, {each.heading}", *each.sentences]
        return lines


def make_report(
    results: Sequence[Result],
    title: str,
    jobs_had: int = 0,
    read: Callable[[Result, str], pd.DataFrame | None] = read_table,
) -> Report:
    """Make the report of a sweep with that title from the results of its jobs.

    `jobs_had` is how many it had, where that is known; `read` finds a table of a run by its name.
    """
    results = sorted(results, key=lambda result: result.job)
    jobs, params = tabulate(results), list_params(results)
    dimensions = find_differing(params)
    finished = jobs["status"] == "finished"

    @functools.cache
    def find(place: int, name: str) -> pd.DataFrame | None:
        return read(results[place], name)

    found, notes = find_groups(jobs[finished], find_differing(params[finished]), find)
    if len(found) > MOST:
        notes.append(
            f"The first {MOST} of {len(found)} groups of runs are told; all are in jobs.csv."
        )
    if jobs_had > len(jobs):
        less = jobs_had - len(jobs)
        notes.append(f"{less} of the sweep's {jobs_had} jobs have no run: deleted, or never begun.")
    failed = jobs[~finished]
    reasons = failed["reason"].str.strip().replace("", "no reason given")
    untold = params.columns.difference([*LEADING_PARAMETERS, *dimensions])
    return Report(
        title,
        jobs.drop(columns=[*untold, "metrics.styles"]).dropna(axis="columns", how="all"),
        list(failed["run"] + ": " + reasons),
        {name: params[name].fillna("-").nunique() for name in dimensions},
        list(map(_make_section, found[:MOST], _name_groups(found[:MOST]))),
        notes,
    )


def _name_groups(groups: Sequence[Group]) -> list[str]:
    """The network of each group, and what else tells it apart, as short as that is."""
    models = [group.criteria["model"].iloc[0] for group in groups]
    swept = pd.DataFrame([group.swept for group in groups]).drop(columns="model", errors="ignore")
    told = [f"{name}=" + swept[name].map(shorten(swept[name])) for name in swept]
    return [", ".join(words) for words in zip(models, *told, strict=True)]


def _make_section(group: Group, heading: str) -> Section:
    made, missing = [], []
    swept = criteria.MAKERS if criteria.are_swept(group) else {}
    explored = multiverse.MAKERS if multiverse.is_explored(group) else {}
    makers = {**figure1.MAKERS, **swept, **matched.MAKERS, **explored}
    if definitions.are_swept(group):  # the others tell metrics apart, not recipes
        makers = definitions.MAKERS
    for letter, make in makers.items():
        try:
            made.append(_count_networks(make(group)))
        except Missing as reason:
            missing.append(f"Panel {letter} is left out: {reason}.")
    return Section(group, heading, made, missing)


def _count_networks(panel: Panel) -> Panel:
    """Say of how many networks a panel's numbers are means, where they are."""
    if "networks" not in panel.table:
        return panel
    count = int(panel.table["networks"].max())
    says = f"{panel.says} Numbers with ± are means and SD over {count} networks."
    return replace(panel, says=says, caption=f"{panel.caption} {INSTANCES}")


# --- what is written ------------------------------------------------------------------------------


def write_report(report: Report, folder: Path) -> list[str]:
    """Write report.md and report.html, the tables of jobs and panels, the pictures; their names."""
    tables = {"jobs": report.jobs}
    tables |= {f"panel_{letter}": table for letter, table in report.tables.items()}
    pictures: dict[str, NDArray[np.uint8]] = {}
    for number, section in enumerate(report.sections, start=1):
        if section.panels:
            pictures |= _draw_section(section, _suffix(number))
    for number, each in enumerate(report.compared, start=1):
        tables[f"targets{_suffix(number)}"] = each.table
        pictures |= _draw_targets(each, _suffix(number))
    with writing("write the report to", folder, "another output folder"):
        folder.mkdir(parents=True, exist_ok=True)
        names = [name for each, table in tables.items()
                 for name in _write_table(table, folder / each)]  # fmt: skip
        render.save(pictures, folder)
        page = _write_page(report)
        pages = {"report.md": page, "report.html": _make_html(page, folder)}
        for name, text in pages.items():
            with whole(folder / name) as file:
                file.write_text(text, encoding="utf-8")
    return [*names, *pictures, *pages]


def _write_table(table: pd.DataFrame, path: Path) -> list[str]:
    names = [f"{path.name}.csv", f"{path.name}.parquet"]
    with whole(path.with_name(names[0])) as file:
        table.to_csv(file, index=False, lineterminator="\n")
    with whole(path.with_name(names[1])) as file:
        table.to_parquet(file, index=False)
    return names


def list_drawn(section: Section) -> list[panels.Drawn]:
    """List a section's panels as figures take them: layers in their order, missing jobs or not."""
    depth = {"layer": pd.CategoricalDtype(list(section.group.layers))}
    return [(each.letter, each.title, each.table.astype(depth)) for each in section.panels]


def _draw_section(section: Section, suffix: str) -> dict[str, NDArray[np.uint8]]:
    """All panels in one figure, and each in one of its own."""
    drawn = list_drawn(section)
    styles = section.group.styles
    pictures = {f"figure{suffix}": panels.plot_panels(drawn, styles, section.heading)}
    for each in drawn:
        pictures[f"panel_{each[0]}{suffix}"] = panels.plot_panel(each, styles)
    return render.render(pictures)


def _draw_targets(compared: Compared, suffix: str) -> dict[str, NDArray[np.uint8]]:
    drawn = {target: list_drawn(section) for target, section in compared.sections.items()}
    styles = next(iter(compared.sections.values())).group.styles
    figure = plot_targets(drawn, styles, f"{compared.heading}, by target")
    return render.render({f"targets{suffix}": figure})


def _suffix(number: int) -> str:
    return "" if number == 1 else f"_{number}"


def _list_main(jobs: pd.DataFrame) -> list[str]:
    return [name for name in MAIN if name in jobs]


def _write_page(report: Report) -> str:
    """The text of report.md."""
    jobs, failed = len(report.jobs), len(report.failed)
    swept = join_words([f"{name} ({count})" for name, count in report.swept.items()])
    parts = [
        f"# {report.title}",
        f"{jobs - failed} of {jobs} jobs finished. Swept: {swept or 'nothing'}.",
    ]
    if failed:
        parts += ["## Failed jobs", "\n".join(f"- {line}" for line in report.failed)]
    parts += report.notes
    for number, each in enumerate(report.compared, start=1):
        parts += [f"## Targets side by side: {each.heading}"]
        parts += [f"![Targets](targets{_suffix(number)}.png)", CAPTION]
        parts += ["\n".join(f"- {line}" for line in each.sentences), _pipe_table(each.table)]
    for number, section in enumerate(report.sections, start=1):
        if len(report.sections) > 1:
            parts.append(f"## {section.heading}")
        if section.panels:
            parts.append(f"![All panels](figure{_suffix(number)}.png)")
        for panel in section.panels:
            picture = f"![{panel.title}](panel_{panel.letter}{_suffix(number)}.png)"
            parts += [f"### {panel.letter}. {panel.title}", picture, panel.caption, panel.sentence]
            parts.append(_pipe_table(panel.table))
        parts += section.missing
    table = report.jobs[["job", *report.swept, "status", *_list_main(report.jobs)]]
    return "\n\n".join([*parts, "## Jobs", _pipe_table(table)]) + "\n"


def _make_html(page: str, folder: Path) -> str:
    """The page as HTML that stands alone, the pictures of `folder` inside."""
    from markdown_it import MarkdownIt

    def include(found: re.Match[str]) -> str:
        content = base64.b64encode((folder / found[1]).read_bytes()).decode()
        return f'src="data:image/png;base64,{content}"'

    body = re.sub(r'src="([\w.]+\.png)"', include, MarkdownIt("js-default").render(page))
    return f'<!DOCTYPE html>\n<html lang="en">\n{HEAD}\n<body>\n{body}</body>\n</html>\n'


def describe(report: Report, run_id: str) -> str:
    """What MLflow's page of the sweep's run says, in Markdown, as far as it has room."""
    jobs = report.jobs[report.jobs["status"] == "finished"]
    parts = [f"{len(jobs)} of {len(report.jobs)} jobs finished; `report.html` has all of this."]
    parts += [f"- {line}" for line in report.failed[:FAILED_TOLD]]
    for number, section in enumerate(report.sections, start=1):
        parts += [f"\n### {section.heading}"] if len(report.sections) > 1 else []
        parts += [f"\n**{each.letter}. {each.title}.** {each.sentence}" for each in section.panels]
        if section.panels:
            figure = f"figure{_suffix(number)}.png"
            parts.append(f"\n![figure](get-artifact?path={figure}&run_uuid={run_id})")
    rows = _pipe_table(jobs[[*report.swept, *_list_main(jobs)]]).splitlines()
    # MLflow's pages leave no gaps between columns.
    rows = [row if row.startswith("| ---") else row.replace(" |", "&emsp;|") for row in rows]
    text, rest = "", "\nThe rest is in `report.html`."
    for line in (*parts, "", *rows):
        if len(text) + len(line) + 1 + len(rest) >= TAG_LENGTH:
            return text + rest
        text += f"{line}\n"
    return text


def _pipe_table(table: pd.DataFrame) -> str:
    """A table as GitHub reads it, numbers with four digits, long texts shortened."""
    columns = [list(map(_cell, table[name])) for name in table]
    short = [map(shorten(column).get, column) for column in columns]
    rows = zip(*short, strict=True)
    heads = [str(name) for name in table.columns]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows))


def _cell(value: Any) -> str:
    if isinstance(value, float) and not np.isnan(value):
        return f"{value:.4g}"
    return "" if pd.isna(value) else str(value).replace("|", "\\|").replace("\n", " ")
