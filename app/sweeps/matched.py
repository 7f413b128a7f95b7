"""Panel k: what metrics select by their criteria, at an equal false-positive rate, equally many.

Criteria differ in how much they let pass when there is nothing to find. What is left of metrics'
disagreement when they do not?
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.figures.render import format_number
from app.findings.certainty import average
from app.findings.consistency import jaccard
from app.findings.decoding import find_top
from app.sweeps import groups
from app.sweeps.groups import Group, Missing, Panel, find_preferred

CASES = {"criterion": "by their own criteria", "matched": "at an equal false-positive rate",
         "equal": "equally many"}  # fmt: skip
Selections = dict[str, NDArray[np.bool_]]  # (kernels,) by metric


def make_panel_k(group: Group) -> Panel:
    """What each metric selects in three cases, and the overlap with the others'."""
    runs = find_preferred(group.runs[group.runs["matched_threshold"].notna()])
    runs = runs[runs["layer"] == runs["layer"].iloc[-1]] if len(runs) else runs
    runs = runs[~runs["baseline"]]
    if len(runs) < 2:
        raise Missing("fewer than two metrics have a null (certainty.shuffles)")
    rows = []
    for network, own in enumerate(group.list_networks(runs)):
        for case, selected in select(group, own).items():
            for name, mask in selected.items():
                others = [jaccard(mask, other) for key, other in selected.items() if key != name]
                shares = 100 * float(mask.mean()), average(others)
                rows.append((network, name, case, int(mask.sum()), *shares))
    columns = ["network", "metric", "case", "count", "percent", "jaccard"]
    found = groups.average_networks(pd.DataFrame(rows, columns=columns), ["metric", "case"])
    point = group.table(runs, groups.POINT).drop(columns="networks", errors="ignore")
    table = groups.sort_rows(point.merge(found, on="metric"), {"case": [*CASES]})
    told = []
    for which, part in table.groupby("case", sort=False):
        percent, shared = part["percent"], format_number(part["jaccard"].mean())
        told.append(
            f"{CASES[str(which)]} {percent.min():.1f} to {percent.max():.1f} %, of which two "
            f"metrics share {shared} on average"
        )
    says = f"{groups.name_place(table)}, metrics select {'; '.join(told)}."
    caption = (
        "What each metric selects by its criterion; above the score that 0.1 % of units exceed "
        "when labels are shuffled; and from the top of its ranking, as many as the metric that "
        "selects fewest; with the mean Jaccard index with the others' selections, "
        "undefined where both are empty."
    )
    return Panel("k", "Selection at equal rates", table.reset_index(drop=True), says, caption)


def select(group: Group, runs: pd.DataFrame) -> dict[str, Selections]:
    """Select by each metric in each of `CASES`, from the runs' tables of scores."""
    cases: dict[str, Selections] = {case: {} for case in CASES}
    scores: dict[str, NDArray[np.float64]] = {}
    for place, run in runs.iterrows():
        table, name = group.read(place, "scores"), str(run["metric"])
        if table is None:
            raise Missing("the runs' tables of scores are not at hand")
        scores[name] = table[name].to_numpy(np.float64)
        cases["criterion"][name] = table[f"selected_{name}"].to_numpy(bool)
        cases["matched"][name] = scores[name] > run["matched_threshold"]
    count = min(filter(None, (int(mask.sum()) for mask in cases["criterion"].values())), default=0)
    for name, score in scores.items():
        cases["equal"][name] = np.isin(np.arange(len(score)), find_top(score, count))
    return cases


MAKERS = dict(k=make_panel_k)
