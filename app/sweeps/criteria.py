"""What moves with the criterion: panels g to j of a sweep over thresholds.

Of each metric against its own criterion: how many units it selects, how far its selection and the
other metrics' overlap, what identity decoding gives, and what the lesion of its selection leaves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from app.choices import TASKS
from app.figures.panels import at_criteria
from app.sweeps import groups
from app.sweeps.groups import Group, Missing, Panel

# Of each panel: its title, what is shown, and how its sentence begins.
TEXTS = {
    "g": (
        "Selection",
        "Percent of units or kernels that each metric's criterion selects; counts are in the "
        "table.",
        "from the most liberal to the strictest criterion asked, the metrics select",
    ),
    "h": (
        "Overlap of selections",
        "Jaccard's index of what a metric selects and what each other one does (by colour): both "
        "over either, 1 where they are the same; none where both select nothing.",
        "the mean Jaccard index of a metric's selection with the others' is",
    ),
    "i": (
        "Identity decoding",
        "Identity decoding with the 95 % interval of the mean over folds, from as many kernels "
        "(N) as the metric that selects fewest (N rises again where that one selects none); "
        "beside it N random kernels, all, and chance.",
        "identity is decoded from equally many kernels a metric with",
    ),
    "j": (
        "Selection lesioned",
        "Top-1 accuracy of both tasks without all kernels that the metric selects, and without as "
        "many random ones (mean over draws); at the strict end nothing is selected.",
        "lesioning all that a metric selects, or as many random kernels, costs",
    ),
}
BELOW = (
    "Each metric against its own criterion, the stricter the further right; the line is the "
    "paper's. All layers and aggregations asked are in the table; the deepest layer is drawn, by "
    "L2 where it was asked; where the others' criteria moved too, the first of each."
)


def are_swept(group: Group) -> bool:
    """Whether a metric was asked with two criteria."""
    return bool((group.criteria.groupby(groups.POINT)["criterion"].nunique() > 1).any())


def make_panel_g(group: Group) -> Panel:
    """Percent that each metric selects at each of its criteria."""
    table = _tabulate_criteria(group, ["percent"], groups.SELECTION)
    found = {
        metric: f"{_range(part['percent'], ' %')}{_at_papers(part, 'percent', ' %')}"
        for metric, part in at_criteria(table)
    }
    return _panel(group, "g", table, found)


def make_panel_h(group: Group) -> Panel:
    """Overlap of each metric's selection with the others'."""
    others = [name for name in group.styles if f"jaccard_{name}" in group.criteria]
    if not others:
        raise Missing("one metric alone has no overlap")
    columns = [f"jaccard_{name}" for name in others]
    wide = _tabulate_criteria(group, columns, columns)
    # A row a point; a metric's overlap with itself is none, and not in its runs.
    kept = [name for name in wide if name not in columns]
    table = wide.melt(kept, columns, "other", "jaccard", ignore_index=False)
    table["other"] = table["other"].str.removeprefix("jaccard_")
    table = table[table["metric"] != table["other"]].sort_index(kind="stable")
    table = table.reset_index(drop=True)
    found = {}
    for metric, part in at_criteria(table):
        mean = part.groupby(["criterion", "paper"], sort=False)["jaccard"].mean().reset_index()
        found[metric] = f"{_range(mean['jaccard'])}{_at_papers(mean, 'jaccard')}"
    return _panel(group, "h", table, found)


def make_panel_i(group: Group) -> Panel:
    """Identity decoded at each criterion."""
    table = _tabulate_criteria(group, ["accuracy"], groups.DECODING, "decoding")
    found = {}
    for metric, part in at_criteria(table):
        apart = 100 * (part["accuracy"] - part["random_kernels"]).abs().max()
        found[metric] = (
            f"{_range(100 * part['accuracy'].sort_values(), ' %')} (N = {part['kernels'].min()} to "
            f"{part['kernels'].max()}, at most {apart:.1f} points from as many random kernels)"
        )
    return _panel(group, "i", table, found)


def make_panel_j(group: Group) -> Panel:
    """What the lesion of all that a metric selects leaves of both tasks."""
    needed = [f"{task}_top1" for task in TASKS]
    table = _tabulate_criteria(group, needed, [*groups.SETS, "percent"], "lesion")
    found = {}
    for metric, part in at_criteria(table):
        costs = []
        for task in TASKS:
            left = part[[f"{task}_top1", f"random_{task}_top1"]]
            own, random = 100 * left.rsub(part[f"intact_{task}_top1"], axis="index").max()
            if not np.isnan([own, random]).all():
                costs.append(f"{own:.1f} points of {task} accuracy (random: {random:.1f})")
        found[metric] = f"up to {groups.join_words(costs)}"
    return _panel(group, "j", table, found)


def _tabulate_criteria(
    group: Group, needed: list[str], values: Sequence[str], step: str = ""
) -> pd.DataFrame:
    """A row a run that has one of the measures `needed`: its criterion, the paper's, the values."""
    runs = group.criteria.dropna(subset=needed, how="all")
    if runs.empty:
        raise Missing(groups.find_note(group.criteria, step) or "nothing of it was measured")
    return group.table(runs, [*groups.POINT, *groups.CRITERION, *values])


def _panel(group: Group, letter: str, table: pd.DataFrame, found: Mapping[str, str]) -> Panel:
    """A panel that says what was found of each metric, where it is drawn."""
    title, caption, says = TEXTS[letter]
    where = groups.name_place(at_criteria(table)[0][1])
    told = f"{where}, {says}: {groups.list_metrics(group, found)}."
    return Panel(letter, title, table, told, f"{caption} {BELOW}")


def _range(values: pd.Series, unit: str = "") -> str:
    """From the first to the last that is defined; in percent with one digit, else with two."""
    found = values.dropna()
    if found.empty:
        return "undefined"
    digits = 1 if unit else 2
    return f"{found.iloc[0]:.{digits}f} to {found.iloc[-1]:.{digits}f}{unit}"


def _at_papers(part: pd.DataFrame, column: str, unit: str = "") -> str:
    """The value at the paper's criterion, where that was asked."""
    values = part.loc[part["criterion"] == part["paper"], column].dropna()
    if values.empty:
        return ""
    digits = 1 if unit else 2
    return f" (the paper's {part['paper'].iloc[0]:g}: {values.iloc[0]:.{digits}f}{unit})"


MAKERS = dict(g=make_panel_g, h=make_panel_h, i=make_panel_i, j=make_panel_j)
