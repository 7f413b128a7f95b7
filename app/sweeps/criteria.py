"""What moves with the criterion: panels g to j of a sweep over thresholds.

Of each metric against its own criterion: how many units it selects, how far its selection and the
other metrics' overlap, what identity decoding gives, and what the lesion of its selection leaves.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from app import names
from app.choices import TASKS
from app.figures.criteria_panels import at_criteria
from app.sweeps import groups
from app.sweeps.groups import SELECTION, Group, Missing, Panel

OWN = {"params.metric.criterion.threshold": "criterion", "tags.criterion.paper": "paper"}
KEYS = ("aggregation", "layer", "metric")
BELOW = (
    " Each metric against its own criterion, the stricter the further right; the line is the "
    "paper's. All layers and aggregations asked are in the table; the deepest layer is drawn, by "
    "L2 where it was asked; where the others' criteria moved too, the first of each."
)


def are_swept(group: Group) -> bool:
    """Whether a metric was asked with two criteria."""
    own = next(iter(OWN))
    if own not in group.criteria:
        return False
    asked = group.criteria.groupby([f"params.{key}" for key in KEYS])[own].nunique()
    return bool((asked > 1).any())


def make_panel_g(group: Group) -> Panel:
    """Percent that each metric selects at each of its criteria."""
    table = _table(group, SELECTION, names.PERCENT)
    of = [
        f"{label} {_range(part['percent'], ' %')}{_at_papers(part, 'percent', ' %')}"
        for label, part in _by_metric(group, table)
    ]
    says = f"{_where(table)}, from the most liberal to the strictest criterion asked, the metrics "
    says += f"select: {groups.join_words(of)}."
    caption = "Percent of units or kernels that each metric's criterion selects; counts are in the "
    return Panel("g", "Selection", table, says, f"{caption}table.{BELOW}")


def make_panel_h(group: Group) -> Panel:
    """Overlap of each metric's selection with the others'."""
    others = [
        name for name in group.styles if f"metrics.{names.JACCARD_WITH}{name}" in group.criteria
    ]
    if not others:
        raise Missing("one metric alone has no overlap")
    values = {f"{names.JACCARD_WITH}{other}": other for other in others}
    wide = _table(group, values, *values)
    kept = [name for name in wide if name not in others]
    # A row a point; a metric's overlap with itself is none, and not in its runs.
    table = wide.melt(kept, others, "other", "jaccard", ignore_index=False)
    table = table[table["metric"] != table["other"]].sort_index(kind="stable")
    table = table.reset_index(drop=True)
    of = []
    for label, part in _by_metric(group, table):
        mean = part.groupby(["criterion", "paper"], sort=False)["jaccard"].mean().reset_index()
        of.append(f"{label} {_range(mean['jaccard'])}{_at_papers(mean, 'jaccard')}")
    says = (
        f"{_where(table)}, the mean Jaccard index of a metric's selection with the others' is: "
        f"{groups.join_words(of)}."
    )
    caption = (
        "Jaccard's index of what a metric selects and what each other one does (by colour): both "
        "over either, 1 where they are the same; none where both select nothing."
    )
    return Panel("h", "Overlap of selections", table, says, caption + BELOW)


def make_panel_i(group: Group) -> Panel:
    """Identity decoded at each criterion."""
    table = _table(group, groups.DECODING, names.ACCURACY, step="decoding")
    of = []
    for label, part in _by_metric(group, table):
        apart = (part["accuracy"] - part["random_kernels"]).abs().max()
        kernels = part["kernels"]
        of.append(
            f"{label} {_range(100 * part['accuracy'].sort_values(), ' %')} (N = {kernels.min()} to "
            f"{kernels.max()}, at most {100 * apart:.1f} points from as many random kernels)"
        )
    says = f"{_where(table)}, identity is decoded from equally many kernels a metric with: "
    caption = (
        "Identity decoding with the 95 % interval of the mean over folds, from as many kernels (N) "
        "as the metric that selects fewest (N rises again where that one selects none); beside it "
        "N random kernels, all, and chance."
    )
    return Panel(
        "i", "Identity decoding", table, f"{says}{groups.join_words(of)}.", caption + BELOW
    )


def make_panel_j(group: Group) -> Panel:
    """What the lesion of all that a metric selects leaves of both tasks."""
    values = {}
    for task in TASKS:
        values[names.selection_lesioned(task)] = f"{task}_top1"
        values[names.random_lesioned(task)] = f"random_{task}_top1"
        values[names.intact(f"{task}_top1")] = f"intact_{task}_top1"
    values[names.PERCENT] = "percent"
    table = _table(group, values, *map(names.selection_lesioned, TASKS), step="lesion")
    of = []
    for label, part in _by_metric(group, table):
        costs = []
        for task in TASKS:
            lost = (
                part[f"intact_{task}_top1"].to_numpy()[:, None]
                - part[[f"{task}_top1", f"random_{task}_top1"]].to_numpy()
            )
            if not np.isnan(lost).all():
                own, random = 100 * np.nanmax(lost, axis=0)
                costs.append(f"{own:.1f} points of {task} accuracy (random: {random:.1f})")
        of.append(f"{label} up to {groups.join_words(costs)}")
    says = (
        f"{_where(table)}, lesioning all that a metric selects, or as many random kernels, costs: "
        f"{groups.join_words(of)}."
    )
    caption = (
        "Top-1 accuracy of both tasks without all kernels that the metric selects, and without as "
        "many random ones (mean over draws); at the strict end nothing is selected."
    )
    return Panel("j", "Selection lesioned", table, says, caption + BELOW)


MAKERS: dict[str, Callable[[Group], Panel]] = {
    "g": make_panel_g,
    "h": make_panel_h,
    "i": make_panel_i,
    "j": make_panel_j,
}


# --- parts ----------------------------------------------------------------------------------------


def _table(group: Group, values: dict[str, str], *needed: str, step: str = "") -> pd.DataFrame:
    """A row a run that has one of the measures `needed`: its criterion, the paper's, the values."""
    columns = [f"metrics.{name}" for name in needed if f"metrics.{name}" in group.criteria]
    runs = group.criteria[group.criteria[columns].notna().any(axis=1)]
    if runs.empty:
        of_kernels = group.criteria[group.criteria["params.aggregation"] != "unit"]
        reason = groups.find_note(of_kernels, step) or groups.find_note(group.criteria, step)
        raise Missing(reason or "nothing of it was measured")
    table = groups.make_table(group, runs, KEYS, values, OWN)
    rules = runs.drop_duplicates("params.metric").set_index("params.metric")
    rule = table["metric"].map(rules["params.metric.criterion.rule"])
    table.insert(table.columns.get_loc("criterion"), "rule", rule)  # type: ignore[arg-type]
    return table


def _by_metric(group: Group, table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The label of each metric, and what is drawn of it, from its most liberal criterion on."""
    return [(group.label(name), part) for name, part in at_criteria(table)]


def _where(table: pd.DataFrame) -> str:
    part = at_criteria(table)[0][1].iloc[0]
    return f"In {part['layer']} ({groups.name_aggregation(part['aggregation'])})"


def _range(values: pd.Series, unit: str = "") -> str:
    """From the first to the last that is defined."""
    found = values.dropna()
    if found.empty:
        return "undefined"
    digits = 1 if unit else 2
    return f"{found.iloc[0]:.{digits}f} to {found.iloc[-1]:.{digits}f}{unit}"


def _at_papers(part: pd.DataFrame, column: str, unit: str = "") -> str:
    """The value at the paper's criterion, where that was asked."""
    values = part.loc[part["criterion"] == part["paper"], column].dropna()
    digits = 1 if unit else 2
    return f" (the paper's {part['paper'].iloc[0]:g}: {values.iloc[0]:.{digits}f}{unit})" if len(
        values
    ) else ""  # fmt: skip
