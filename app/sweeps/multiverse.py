"""Panel m: which choices the disagreement of all specifications comes from, layer by layer."""

from __future__ import annotations

import pandas as pd

from app.findings.multiverse import OUTCOMES
from app.names import TRAINED
from app.sweeps.groups import Group, Missing, Panel, join_words

NAMED = 3  # choices that a sentence names


def is_explored(group: Group) -> bool:
    """Whether a run asked its kernels in every other way."""
    return "specifications" in group.criteria


def make_panel_m(group: Group) -> Panel:
    """What choices explain of each outcome, in each layer, trained and untrained."""
    parts = []
    for runs, trained in ((group.criteria, group.state), (group.untrained, False)):
        for layer, own in runs.groupby("layer", sort=False):
            found = (group.read(place, "multiverse_shares") for place in own.index)
            table = next((each for each in found if each is not None), None)
            if table is not None:
                parts.append(table.assign(model=own["model"].iloc[0], trained=trained, layer=layer))
    if not parts:
        raise Missing("no run asked the kernels in every other way (multiverse=true)")
    table = pd.concat(parts, ignore_index=True)
    told = []
    for (is_trained, outcome), part in table.groupby(["trained", "outcome"], sort=False):
        last = part[part["layer"] == part["layer"].iloc[-1]]
        most = last.sort_values("share", ascending=False, kind="stable").iloc[:NAMED]
        shares = [f"{row.choice} {100 * row.share:.0f} %" for row in most.itertuples()]
        metric = last.loc[last["choice"] == "metric", "share"].iloc[0]
        if "metric" not in set(most["choice"]):
            shares.append(f"metric {100 * metric:.0f} %")
        told.append(f"{OUTCOMES[str(outcome)]} ({TRAINED[is_trained]}) {join_words(shares)}")
    says = f"In {table['layer'].iloc[-1]}, of the variance over specifications: {'; '.join(told)}."
    caption = (
        "The share of each outcome's variance over all specifications that each choice explains, "
        "with its part of the interactions: Shapley effects, which add up to 100 %, however little "
        "an outcome varies. A run's multiverse.parquet has every specification."
    )
    columns = ["model", "trained", "layer", "outcome", "choice", "alone", "share"]
    return Panel("m", "Where disagreement comes from", table[columns], says, caption)


MAKERS = dict(m=make_panel_m)
