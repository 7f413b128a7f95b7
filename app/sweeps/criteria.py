"""What moves with the criterion: panels g to j of a sweep over thresholds.

Of each metric against its own criterion: how many units it selects, how far its selection and the
other metrics' overlap, what identity decoding gives, and what the lesion of its selection leaves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from app.choices import TASKS
from app.figures.axes import FEW
from app.figures.criteria import at_criteria
from app.spelling import tell_count
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
        "Jaccard's index of what a metric selects and what each other one does (by marker): both "
        "over either, 1 where they are the same; none where both select nothing.",
        "the mean Jaccard index of a metric's selection with the others' is",
    ),
    "i": (
        "Identity decoding",
        "Identity decoding with the 95 % interval of the mean over folds, from as many kernels "
        "(N, printed where it changes) as the metric that selects fewest (N rises again where "
        "that one selects none); beside it N random kernels, all, and chance.",
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
    return _panel(group, "g", table, lambda part: _tell_range(part, "percent", " %"))


def make_panel_h(group: Group) -> Panel:
    """Overlap of each metric's selection with the others'."""
    columns = [f"jaccard_{name}" for name in group.styles if f"jaccard_{name}" in group.criteria]
    if not columns:
        raise Missing("one metric alone has no overlap")
    wide = _tabulate_criteria(group, columns, columns)
    # A row a point; a metric's overlap with itself is none, and not in its runs.
    kept = [name for name in wide if not str(name).startswith("jaccard_")]
    table = wide.melt(kept, columns, "other", "jaccard", ignore_index=False)
    table["other"] = table["other"].str.removeprefix("jaccard_")
    table = table[table["metric"] != table["other"]].sort_index(kind="stable")

    def tell(part: pd.DataFrame) -> str:
        by_criterion = part.groupby("criterion", sort=False)
        return _tell_range(by_criterion.agg({"paper": "first", "jaccard": "mean"}).reset_index(),
                           "jaccard")  # fmt: skip

    panel = _panel(group, "h", table.reset_index(drop=True), tell)
    if table["other"].nunique() <= FEW:
        return panel
    return replace(panel, caption=panel.caption.replace("by marker", "a row of shades each"))


def make_panel_i(group: Group) -> Panel:
    """Identity decoded at each criterion."""

    def tell(part: pd.DataFrame) -> str:
        low, high = 100 * part["accuracy"].agg(["min", "max"])
        apart = 100 * (part["accuracy"] - part["random_kernels"]).abs().max()
        return (
            f"{low:.1f} to {high:.1f} % (N = {tell_count(part['kernels'].min())} to "
            f"{tell_count(part['kernels'].max())}, "
            f"at most {apart:.1f} points from as many random kernels)"
        )

    table = _tabulate_criteria(group, ["accuracy"], groups.DECODING, "decoding")
    return _panel(group, "i", table, tell)


def make_panel_j(group: Group) -> Panel:
    """What the lesion of all that a metric selects leaves of both tasks."""

    def tell(part: pd.DataFrame) -> str:
        costs = []
        for task in TASKS:
            left = part[[f"{task}_top1", f"random_{task}_top1"]]
            own, random = 100 * left.rsub(part[f"intact_{task}_top1"], axis="index").max()
            if not np.isnan([own, random]).all():
                costs.append(f"{own:z.1f} points of {task} accuracy (random: {random:z.1f})")
        return f"up to {groups.join_words(costs)}"

    needed = [f"{task}_top1" for task in TASKS]
    table = _tabulate_criteria(group, needed, [*groups.SETS, "percent"], "lesion")
    return _panel(group, "j", table, tell)


def _tabulate_criteria(
    group: Group, needed: list[str], values: Sequence[str], step: str = ""
) -> pd.DataFrame:
    """A row a run that has one of the measures `needed`: its criterion, the paper's, the values."""
    runs = group.criteria.dropna(subset=needed, how="all")
    if runs.empty:
        raise Missing(groups.find_note(group.criteria, step) or "nothing of it was measured")
    return group.table(runs, [*groups.POINT, *groups.CRITERION, *values])


def _panel(
    group: Group, letter: str, table: pd.DataFrame, tell: Callable[[pd.DataFrame], str]
) -> Panel:
    """A panel that tells what was found of each metric, where it is drawn."""
    title, caption, says = TEXTS[letter]
    drawn = dict(at_criteria(table))
    found = {metric: tell(part) for metric, part in drawn.items()}
    where = groups.name_place(next(iter(drawn.values())))
    told = f"{where}, {says}: {groups.list_metrics(group, found)}."
    return Panel(letter, title, table, told, f"{caption} {BELOW}")


def _tell_range(part: pd.DataFrame, column: str, unit: str = "") -> str:
    """From the first to the last that is defined, and the paper's; percent with one digit."""
    values, digits = part.set_index("criterion")[column].dropna(), 1 if unit else 2
    if values.empty:
        return "undefined"
    told = f"{values.iloc[0]:.{digits}f} to {values.iloc[-1]:.{digits}f}{unit}"
    paper = part["paper"].iloc[0]
    for value in values[values.index == paper]:
        told += f" (the paper's {paper:g}: {value:.{digits}f}{unit})"
    return told


MAKERS = dict(g=make_panel_g, h=make_panel_h, i=make_panel_i, j=make_panel_j)
