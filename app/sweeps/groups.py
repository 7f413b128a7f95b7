"""Runs of a sweep in groups that can stand in one panel, and the tables that panels are made of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from app.config.schema import AGGREGATIONS, Metric
from app.figures.panels import Style
from app.sweeps.tables import differing

NAMES = {"l2": "L2", "unit": "single units"}
KERNELS = [name for name in AGGREGATIONS if name != "unit"]
WHOLE = ("count", "units", "undefined", "kernels")
SELECTION = {f"selectivity/{name}": name for name in ("percent", "count", "units", "undefined")}
DECODING = (
    "accuracy", "ci95_low", "ci95_high", "kernels", "chance", "random_kernels", "all_kernels",
)  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """A statement of the paper and whether it holds here; None: nothing here can tell."""

    text: str
    holds: bool | None


@dataclass(frozen=True)
class Panel:
    """One panel of one group of runs."""

    letter: str
    title: str
    table: pd.DataFrame  # a row a point
    says: str  # what this network shows, in a sentence
    caption: str  # what is shown, and the rules of the claims that their words do not say
    paper: str = ""  # its result; empty where it has none
    claims: tuple[Claim, ...] = ()
    uncompared: str = ""  # why it is not set against the paper

    @property
    def sentence(self) -> str:
        """What the network shows, the paper's result, and whether they agree."""
        return f"{self.says} The paper: {self.paper} {self.verdict}" if self.paper else self.says

    @property
    def verdict(self) -> str:
        """How many of the paper's statements hold, and which; why none was asked."""
        if self.uncompared:
            return f"Not compared: {self.uncompared}."
        asked = [claim for claim in self.claims if claim.holds is not None]
        if not asked:
            return "Not compared: this sweep cannot tell."
        held = sum(bool(claim.holds) for claim in asked)
        word = "Agrees" if held == len(asked) else "Agrees in part" if held else "Disagrees"
        words = {True: "yes", False: "no", None: "not tested here"}
        told = "; ".join(f"{claim.text}: {words[claim.holds]}" for claim in self.claims)
        return f"{word} ({told})."


class Missing(Exception):
    """Why a group of runs has no such panel."""


@dataclass(frozen=True)
class Group:
    """Finished runs that differ in layer, metric, aggregation and criterion alone.

    `runs` has one of each layer, metric and aggregation: with the paper's criterion, else the first
    that was asked.
    """

    swept: Mapping[str, str]  # what tells this group from others
    runs: pd.DataFrame
    criteria: pd.DataFrame  # the same and those with other criteria
    untrained: pd.DataFrame  # of the same network before training; may be empty
    pairing: str  # which network that is, or why there is none
    layers: tuple[str, ...]  # from the first to the deepest
    styles: Mapping[str, Style]  # of the metrics
    trained: bool


# --- groups ---------------------------------------------------------------------------------------


def params(runs: pd.DataFrame) -> list[dict[str, Any]]:
    names = columns(runs, "params.")
    return [
        {
            str(name).removeprefix("params."): value
            for name, value in row.items()
            if value is not None
        }
        for row in runs[names].astype(object).where(runs[names].notna(), None).to_dict("records")
    ]


def groups_of(runs: pd.DataFrame) -> tuple[list[Group], list[str]]:
    """Runs that can stand in one panel: all but layer, metric, aggregation and criterion alike.

    A trained network's group has its untrained counterpart beside it. Untrained networks have a
    group of their own where the sweep has no trained one.
    """
    if runs.empty:
        return [], []
    own = ("layer", "layer.output", "metric", "aggregation")
    dimensions = [
        name for name in differing(params(runs)) if name not in own and not is_criterion(name)
    ]
    network = [name for name in dimensions if name.partition(".")[0] == "model"]
    others = [name for name in dimensions if name not in network]
    # The same order as the jobs'. Of a job that was asked for twice the first counts.
    every: dict[tuple[tuple[str, ...], tuple[str, ...]], pd.DataFrame] = {}
    for place, part in _by(runs, [*others, *network]):
        every[place[: len(others)], place[len(others) :]] = part
    parts = {key: _with_one_criterion(part) for key, part in every.items()}
    trained = {key: _is_trained(part) for key, part in parts.items()}
    groups, notes = [], []
    for key, part in parts.items():
        beside = {k: p for k, p in parts.items() if k[0] == key[0] and trained[k] != trained[key]}
        if not trained[key] and beside:
            continue  # told beside the trained one
        model = str(part["params.model"].iloc[0])
        empty = part.iloc[:0]
        if not trained[key]:
            untrained, pairing = empty, f"{model} is untrained, and no trained network was asked"
        else:
            untrained, pairing = _counterpart(model, part, list(beside.values()))
        swept = {
            **{name: part[f"params.{name}"].iloc[0] for name in network},
            **dict(zip(others, key[0], strict=True)),
        }
        layers = _layers(pd.concat([part, untrained]))
        groups.append(
            Group(
                swept, part, every[key], untrained, pairing, layers, styles_of(runs), trained[key]
            )
        )
    if any(not is_trained for is_trained in trained.values()) and any(trained.values()):
        notes.append("Panels b to e are of trained networks; panel f has untrained ones beside.")
    return groups, notes


def is_criterion(name: str) -> bool:
    """Whether a parameter says where a metric draws the line."""
    return name.partition(".")[0] == "threshold" or name.endswith(".criterion.threshold")


def at_papers_criterion(runs: pd.DataFrame) -> pd.Series:
    """Of each run, whether its metric's criterion is the paper's; (runs,) of bool."""
    nothing = pd.Series(None, index=runs.index, dtype=object)
    number = runs.get("params.metric.criterion.threshold", nothing).astype(float)
    paper = runs.get("tags.criterion.paper", nothing).astype(float)
    return (number == paper) | (paper.isna() & (runs["params.threshold"] == "paper"))


def _with_one_criterion(runs: pd.DataFrame) -> pd.DataFrame:
    """One run of each layer, aggregation and metric, in the order of the jobs."""
    first = runs.assign(other=~at_papers_criterion(runs)).sort_values("other", kind="stable")
    one = first.drop_duplicates(["params.layer", "params.aggregation", "params.metric"])
    return runs.loc[one.index.sort_values()]


def _by(runs: pd.DataFrame, names: Sequence[str]) -> Iterator[tuple[tuple[str, ...], pd.DataFrame]]:
    """Parts of the runs that are alike in these parameters, in the order of their first runs."""
    places = list(zip(*(runs[f"params.{name}"].astype(str) for name in names), strict=True))
    places = places or [()] * len(runs)
    for place in dict.fromkeys(places):
        yield place, runs[[each == place for each in places]]


def _is_trained(runs: pd.DataFrame) -> bool:
    return bool((runs["tags.trained"] == "true").all())


def _counterpart(
    model: str, runs: pd.DataFrame, untrained: list[pd.DataFrame]
) -> tuple[pd.DataFrame, str]:
    """The untrained network to compare with: of the same name, or the only one there is."""
    names = [str(each["params.model"].iloc[0]) for each in untrained]
    same = [i for i, name in enumerate(names) if name in (model, f"{model}_untrained")]
    if not untrained:
        return runs.iloc[:0], "no untrained network was asked"
    if len(same) != 1 and len(untrained) != 1:
        return runs.iloc[:0], f"none of {', '.join(names)} is named {model}_untrained"
    chosen = (same or [0])[0]
    digests = set(untrained[chosen]["tags.model.digest"])
    if digests & set(runs["tags.model.digest"].dropna()):
        return runs.iloc[:0], f"{names[chosen]} has the very weights of {model}"
    return untrained[chosen], names[chosen]


def _layers(runs: pd.DataFrame) -> tuple[str, ...]:
    """conv1 … conv13 by number; modules of other networks as the sweep lists them."""
    names = list(dict.fromkeys(runs["params.layer"]))
    numbers = [re.fullmatch(r"conv(\d+)", name) for name in names]
    if all(numbers):
        names.sort(key=lambda name: int(name.removeprefix("conv")))
    return tuple(names)


def styles_of(runs: pd.DataFrame) -> dict[str, Style]:
    """Label and colour of each metric of the sweep, then of those it was compared with, as the
    first run that knows them has them."""
    given: dict[str, Style] = {}
    for text in runs["tags.metrics.styles"].dropna().unique():
        for metric, (label, colour) in json.loads(text).items():
            given.setdefault(metric, Style(label, colour))
    names = dict.fromkeys([*runs["params.metric"], *given])
    return {name: given.get(name, Style(name, Metric.colour)) for name in names}


# --- tables ---------------------------------------------------------------------------------------


def part(group: Group, aggregations: Sequence[str]) -> pd.DataFrame:
    return group.runs[group.runs["params.aggregation"].isin(aggregations)]


def columns(runs: pd.DataFrame, beginning: str) -> list[str]:
    return [str(name) for name in runs if str(name).startswith(beginning)]


def kernel_runs(group: Group, measure: str, step: str) -> tuple[pd.DataFrame, str]:
    """Runs by L2, or the first aggregation there is, that have the measure."""
    column = f"metrics.{measure}"
    for aggregation in sorted(KERNELS, key=lambda name: name != "l2"):
        runs = part(group, [aggregation])
        if column in runs and runs[column].notna().any():
            return runs[runs[column].notna()], aggregation
    of_kernels = told(part(group, KERNELS), step)
    raise Missing(of_kernels or told(group.runs, step) or f"there is no {step}")


def told(runs: pd.DataFrame, step: str) -> str:
    """What the last of the runs that left a step out says of it; empty where none does.

    The last is of the deepest layer: those before it may not have been asked.
    """
    column = f"tags.{step}.note"
    notes = list(runs[column].dropna()) if column in runs else []
    return notes[-1] if notes else ""


def table_of(
    group: Group,
    runs: pd.DataFrame,
    keys: Sequence[str],
    values: Mapping[str, str],
    numbers: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """A row a point: what tells the group apart, the panel's own keys, and its values.

    `keys` are parameters; `values` has the new names of metrics, `numbers` those of parameters and
    tags that are numbers, by their columns. Rows go by aggregation as in the config, by depth, by
    metric as in the sweep, and by the numbers.
    """
    columns: dict[str, Any] = {"model": list(runs["params.model"])}
    columns |= {name: value for name, value in group.swept.items() if name != "model"}
    columns |= {key: list(runs[f"params.{key}"]) for key in keys}
    nothing = pd.Series(float("nan"), index=runs.index)
    columns |= {
        new: list(runs.get(name, nothing).astype(float)) for name, new in (numbers or {}).items()
    }
    columns |= {
        new: list(runs.get(f"metrics.{name}", nothing).astype(float))
        for name, new in values.items()
    }
    ranks = {
        "aggregation": list(AGGREGATIONS),
        "layer": list(group.layers),
        "metric": [*group.styles],
    }
    table = pd.DataFrame(columns)
    whole = [name for name in WHOLE if name in table]
    table[whole] = table[whole].astype("Int64")
    order = pd.DataFrame({key: table[key].map(ranks[key].index) for key in keys})
    order = order.join(table[list((numbers or {}).values())])
    return table.loc[order.sort_values(order.columns.tolist()).index].reset_index(drop=True)


def deepest(group: Group, table: pd.DataFrame) -> str:
    return max(table["layer"], key=group.layers.index)


# --- words ----------------------------------------------------------------------------------------


def label(group: Group, metric: str) -> str:
    return group.styles[metric].label


def name_of(aggregation: str) -> str:
    return NAMES.get(aggregation, aggregation)


def signed(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.2f}".replace("-", "−")


def listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
