"""Panel l: published definitions of selectivity side by side, of a sweep over recipes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.choices import AGGREGATIONS, TASKS
from app.figures.render import format_number
from app.findings.certainty import average
from app.findings.consistency import jaccard
from app.sweeps import groups
from app.sweeps.groups import Group, Missing, Panel

PLACE = ["aggregation", "layer"]
TOLD = [*groups.SELECTION, "null_percent_p95", *groups.DECODING]  # by a recipe's own criterion
SEARCHED = "dobs2022"  # the recipe whose kernels are those that a greedy search drops
SEARCH = "face_search_step"


def are_swept(group: Group) -> bool:
    """Whether the group's runs are of several recipes."""
    return "recipe" in group.criteria and group.criteria["recipe"].nunique() > 1


def make_panel_l(group: Group) -> Panel:
    """What each recipe selects, and the overlap of every pair of them."""
    if group.instances:
        raise Missing("networks of several seeds have no kernels in common")
    runs = group.criteria.dropna(subset="recipe").drop_duplicates([*PLACE, "recipe"])
    ranks = {"layer": group.layers, "aggregation": AGGREGATIONS}
    runs = groups.sort_rows(runs, ranks, "recipe")
    chosen = {place: find_chosen(group, place, run) for place, run in runs.iterrows()}
    if all(mask is None for mask in chosen.values()):
        raise Missing("the runs' tables are not at hand")
    named = [f"jaccard_{name}" for name in sorted(set(runs["recipe"]))]
    found = []
    for _, part in runs.groupby(PLACE, sort=False):
        beside = {run["recipe"]: chosen[place] for place, run in part.iterrows()}
        for place, run in part.iterrows():
            own = beside[run["recipe"]]
            pairs = {
                f"jaccard_{name}": jaccard(own, other)
                for name, other in beside.items()
                if own is not None and other is not None and name != run["recipe"]
            }
            found.append(_describe(group, place, run, own) | dict.fromkeys(named, np.nan) | pairs)
    told = group.table(runs, [*PLACE, "recipe", "metric"])
    table = pd.concat([told, pd.DataFrame(found)], axis="columns")
    table.loc[table["recipe"] == SEARCHED, "metric"] = None  # that of its run chose nothing
    part = table[table["layer"] == table["layer"].iloc[-1]]
    part = part[part["aggregation"] == part["aggregation"].iloc[-1]]
    says = " ".join(_tell(run, run[named].to_numpy(float)) for _, run in part.iterrows())
    caption = (
        "What each recipe (conf/recipe) selects, with the 95 % interval over resamples of the "
        "images, and when labels are shuffled; the Jaccard index of every two selections, none "
        "where both are empty; the accuracy that is lost without all that is selected, and without "
        "as many random kernels. The deepest layer is drawn; all are in the table. Identity is "
        "decoded from as many kernels as the metric of a run selects that selects fewest: the "
        f"number at each bar. {SEARCHED} chooses by a greedy search and has no null."
    )
    says = f"{groups.name_place(part)}: {says}"
    return Panel("l", "Published definitions", table, says, caption)


def _describe(
    group: Group, place: Any, run: pd.Series, own: NDArray[np.bool_] | None
) -> dict[str, float]:
    """The numbers of a recipe's selection (units,), and the accuracy that its lesion costs."""
    searched = run["recipe"] == SEARCHED
    found = {name: np.nan if searched else run.get(name, np.nan) for name in TOLD}
    if own is not None:
        found |= {"count": own.sum(), "percent": 100 * own.mean(), "units": own.size}
    sets = group.read(place, "lesion_sets") if searched else None
    for task in TASKS:
        left = {of: run.get(f"{of}{task}_top1", np.nan) for of in ("", "random_")}
        if searched:
            left = {"": run.get(f"greedy_face_search_{task}_top1", np.nan), "random_": np.nan}
        if sets is not None and own is not None:
            alike = (sets["set"] == "random") & (sets["kernels"] == own.sum())
            left["random_"] = sets.loc[alike, f"{task}_top1"].mean()
        for of, remains in left.items():
            found[f"{of}{task}_cost"] = 100 * (run.get(f"intact_{task}_top1", np.nan) - remains)
    return found


def find_chosen(group: Group, place: Any, run: pd.Series) -> NDArray[np.bool_] | None:
    """Find what a run's recipe chooses, (units,); None where its tables are not at hand."""
    searched = run["recipe"] == SEARCHED
    table = group.read(place, "lesion" if searched else "scores")
    column = SEARCH if searched else f"selected_{run['metric']}"
    if table is None or column not in table:
        return None
    return np.asarray(table[column].notna() if searched else table[column], dtype=bool)


def _tell(run: pd.Series, pairs: NDArray[np.float64]) -> str:
    """A recipe in a sentence; `pairs` are its Jaccard indices with the others."""
    if np.isnan(run["percent"]):
        return f"{run['recipe']} was not asked there."
    shared = average(pairs)
    told = f"{run['recipe']} selects {run['percent']:.1f} %"
    if not np.isnan(run["null_percent"]):
        told += f" ({run['null_percent']:.1f} % with shuffled labels)"
    if not np.isnan(shared):
        told += f", shares {format_number(shared)} with another recipe on average"
    if not np.isnan(run["face_cost"]):
        random = format_number(run["random_face_cost"])
        told += f", costs {run['face_cost']:z.1f} points of face accuracy (random: {random})"
    if not np.isnan(run["accuracy"]):
        told += (
            f", decodes identity from {run['kernels']} kernels at {100 * run['accuracy']:.1f} % "
            f"(random: {100 * run['random_kernels']:.1f})"
        )
    return f"{told}."


MAKERS = dict(l=make_panel_l)
