"""Groups of runs that differ in their target alone, side by side: a figure, a table, sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from app.figures.render import format_number
from app.figures.targets import SHOWN
from app.sweeps import groups
from app.sweeps.groups import Group, Panel, Section

TABLE = [*groups.POINT, *groups.SELECTION, *groups.LESION, *groups.CONSISTENCY]
CAPTION = (
    "Each target's own panels on the same axes. Metrics, criteria, images and resamples are the "
    "same, so that targets differ in what is contrasted alone; panel d is about the face task, "
    "whatever the target."
)


@dataclass(frozen=True)
class Compared:
    """Sections that differ in their target alone."""

    heading: str  # what they have in common, as far as it tells them from others
    sections: Mapping[str, Section]  # by target

    @property
    def table(self) -> pd.DataFrame:
        """A row a run, of all targets."""
        of = [section.group for section in self.sections.values()]
        return pd.concat([group.table(group.runs, TABLE) for group in of], ignore_index=True)

    @property
    def sentences(self) -> list[str]:
        """What is found of each target."""
        return [
            f"{target}: {'; '.join(_tell(each.group, each.panels))}."
            for target, each in self.sections.items()
        ]


def compare_targets(sections: Sequence[Section]) -> list[Compared]:
    """Find the sections that differ in their target alone, and have panels to be compared."""
    alike: dict[str, dict[str, Section]] = {}
    for section in sections:
        swept = {"model": section.group.criteria["model"].iloc[0], **section.group.swept}
        target = swept.pop("target", None)
        if target is not None and any(panel.letter in SHOWN for panel in section.panels):
            told = [value if name == "model" else f"{name}={value}"
                    for name, value in swept.items()]  # fmt: skip
            alike.setdefault(", ".join(told), {})[target] = section
    return [Compared(heading, own) for heading, own in alike.items() if len(own) > 1]


def _tell(group: Group, panels: Sequence[Panel]) -> list[str]:
    """The peaks of b and c, the deepest layer's r of d, and the course of f."""
    tables, told = {panel.letter: panel.table for panel in panels}, []
    for letter, what in (("b", "single units"), ("c", "kernels")):
        if letter in tables:
            peaks = tables[letter].groupby("metric", sort=False)["percent"].max()
            each = {str(name): f"up to {percent:.1f} %" for name, percent in peaks.items()}
            told.append(f"of {what}, {groups.list_metrics(group, each)} are selective")
    if "d" in tables:
        last = tables["d"][tables["d"]["layer"] == tables["d"]["layer"].iloc[-1]]
        r = {str(name): format_number(value)
             for name, value in last.set_index("metric")["spearman"].items()}  # fmt: skip
        told.append(
            f"what lesions leave of the face task has, in {last['layer'].iloc[0]}, the r "
            f"{groups.list_metrics(group, r)}"
        )
    if "f" in tables:
        course = tables["f"][tables["f"]["aggregation"] == tables["f"]["aggregation"].iloc[0]]
        course = course[course["trained"] == course["trained"].iloc[0]]
        ends = [f"{format_number(row['mean'])} in {row['layer']}"
                for _, row in course.iloc[[0, -1]].iterrows()]  # fmt: skip
        told.append(f"the metrics' mean rank correlation goes from {' to '.join(ends)}")
    return told
