"""Runs of a sweep in groups that can stand in one panel, and the tables that panels are made of."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from app import names as logged
from app.choices import AGGREGATIONS
from app.config.schema import Metric
from app.figures.style import Style
from app.sweeps.runs import find_differing, list_params

NAMES = {"l2": "L2", "unit": "single units"}
KERNELS = [name for name in AGGREGATIONS if name != "unit"]


def _shorten(*names: str) -> dict[str, str]:
    return {name: name.partition("/")[2] for name in names}


# The columns that tables of panels have, by the names of what was logged.
SELECTION = _shorten(logged.PERCENT, logged.COUNT, logged.UNITS, logged.UNDEFINED)
DECODING = _shorten(
    logged.ACCURACY,
    logged.ACCURACY_LOW,
    logged.ACCURACY_HIGH,
    logged.DECODED_KERNELS,
    logged.CHANCE,
    logged.RANDOM_KERNELS,
    logged.ALL_KERNELS,
)


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

    def select(self, aggregations: Sequence[str]) -> pd.DataFrame:
        """The runs by one of these aggregations."""
        return self.runs[self.runs["params.aggregation"].isin(aggregations)]

    def label(self, metric: str) -> str:
        """What a metric is called."""
        return self.styles[metric].label

    def deepest(self, table: pd.DataFrame) -> str:
        """The deepest layer in a table."""
        return max(map(str, table["layer"]), key=self.layers.index)


# --- groups ---------------------------------------------------------------------------------------


def find_groups(runs: pd.DataFrame) -> tuple[list[Group], list[str]]:
    """Find runs that can stand in one panel: all but layer, metric, aggregation, criterion alike.

    A trained network's group has its untrained counterpart beside it. Untrained networks have a
    group of their own where the sweep has no trained one.

    Returns
    -------
    groups : list of Group
        In the order of their first jobs.
    notes : list of str
        What to know of them.
    """
    own = ("layer", "layer.output", "metric", "aggregation")
    differing = find_differing(list_params(runs))
    dimensions = [name for name in differing if name not in own and not is_criterion(name)]
    network = [name for name in dimensions if name.partition(".")[0] == "model"]
    others = [name for name in dimensions if name not in network]
    groups, kinds = [], set()
    for asked, alike in _split(runs, others):
        networks = [(part, _with_one_criterion(part)) for _, part in _split(alike, network)]
        untrained = [one for _, one in networks if not _is_trained(one)]
        kinds |= {_is_trained(one) for _, one in networks}
        for every, one in networks:
            if (trained := _is_trained(one)) or len(untrained) == len(networks):
                beside, pairing = _find_counterpart(one, untrained if trained else None)
                swept = {name: one[f"params.{name}"].iloc[0] for name in network} | asked
                layers = _sort_layers(pd.concat([one, beside]))
                styles = find_styles(runs)
                groups.append(Group(swept, one, every, beside, pairing, layers, styles, trained))
    groups.sort(key=lambda group: group.criteria.index[0])
    notes = []
    if len(kinds) == 2:
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
    """One run of each layer, aggregation and metric, in the order of the jobs.

    Of a job that was asked for twice the first counts.
    """
    first = runs.assign(other=~at_papers_criterion(runs)).sort_values("other", kind="stable")
    one = first.drop_duplicates(["params.layer", "params.aggregation", "params.metric"])
    return runs.loc[one.index.sort_values()]


def _split(
    runs: pd.DataFrame, names: Sequence[str]
) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """Parts of the runs that are alike in these parameters, with what those are."""
    if runs.empty or not names:
        yield from [({}, runs)] * len(runs[:1])
        return
    values = [runs[f"params.{name}"].astype(str) for name in names]
    for place, part in runs.groupby(values, sort=False):
        yield dict(zip(names, map(str, place), strict=True)), part


def _is_trained(runs: pd.DataFrame) -> bool:
    return bool((runs["tags.trained"] == "true").all())


def _find_counterpart(
    runs: pd.DataFrame, untrained: list[pd.DataFrame] | None
) -> tuple[pd.DataFrame, str]:
    """The untrained network to compare with: of the same name, or the only one there is.

    None of them where the runs' own network is untrained. With its name, or why there is none.
    """
    model, none = str(runs["params.model"].iloc[0]), runs.iloc[:0]
    if untrained is None:
        return none, f"{model} is untrained, and no trained network was asked"
    if not untrained:
        return none, "no untrained network was asked"
    names = [str(each["params.model"].iloc[0]) for each in untrained]
    same = [i for i, name in enumerate(names) if name in (model, f"{model}_untrained")]
    if len(same) != 1 and len(untrained) != 1:
        return none, f"none of {', '.join(names)} is named {model}_untrained"
    chosen = (same or [0])[0]
    digests = set(untrained[chosen]["tags.model.digest"])
    if digests & set(runs["tags.model.digest"].dropna()):
        return none, f"{names[chosen]} has the very weights of {model}"
    return untrained[chosen], names[chosen]


def _sort_layers(runs: pd.DataFrame) -> tuple[str, ...]:
    """conv1 … conv13 by number; modules of other networks as the sweep lists them."""
    names = list(dict.fromkeys(runs["params.layer"]))
    if all(re.fullmatch(r"conv\d+", name) for name in names):
        names.sort(key=lambda name: int(name.removeprefix("conv")))
    return tuple(names)


def find_styles(runs: pd.DataFrame) -> dict[str, Style]:
    """Label and colour of each metric of the sweep, then of those it was compared with.

    As the first run that knows them has them.
    """
    given: dict[str, Style] = {}
    for text in runs["tags.metrics.styles"].dropna().unique():
        for metric, (label, colour) in json.loads(text).items():
            given.setdefault(metric, Style(label, colour))
    every = dict.fromkeys([*runs["params.metric"], *given])
    return {name: given.get(name, Style(name, Metric.colour)) for name in every}


# --- tables ---------------------------------------------------------------------------------------


def list_columns(runs: pd.DataFrame, beginning: str) -> list[str]:
    """List the columns whose names begin so."""
    return [str(name) for name in runs if str(name).startswith(beginning)]


def find_kernel_runs(group: Group, measure: str, step: str) -> tuple[pd.DataFrame, str]:
    """Find runs by L2, or the first aggregation there is, that have the measure."""
    column = f"metrics.{measure}"
    for aggregation in sorted(KERNELS, key=lambda name: name != "l2"):
        runs = group.select([aggregation])
        if column in runs and runs[column].notna().any():
            return runs[runs[column].notna()], aggregation
    of_kernels = find_note(group.select(KERNELS), step)
    raise Missing(of_kernels or find_note(group.runs, step) or f"there is no {step}")


def find_note(runs: pd.DataFrame, step: str) -> str:
    """Find what the last of the runs that left a step out says of it; empty where none does.

    The last is of the deepest layer: those before it may not have been asked.
    """
    notes = runs.get(f"tags.{step}.note", pd.Series(dtype=object)).dropna()
    return "" if notes.empty else str(notes.iloc[-1])


def make_table(
    group: Group,
    runs: pd.DataFrame,
    keys: Sequence[str],
    values: Mapping[str, str],
    numbers: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Make a row a point: what tells the group apart, the panel's own keys, and its values.

    Parameters
    ----------
    group, runs
        The group, and those of its runs that have the values.
    keys
        Parameters.
    values
        New names of metrics.
    numbers
        New names of parameters and tags that are numbers, by their columns.

    Returns
    -------
    DataFrame
        Rows go by aggregation as in the config, by depth, by metric as in the sweep, and by the
        numbers.
    """
    numbers = numbers or {}
    table = pd.DataFrame({"model": runs["params.model"]})
    table = table.assign(**{name: value for name, value in group.swept.items() if name != "model"})
    table[list(keys)] = runs[[f"params.{key}" for key in keys]]
    found = {**numbers, **{f"metrics.{name}": new for name, new in values.items()}}
    for column, new in found.items():
        table[new] = runs.get(column, pd.Series(np.nan, index=runs.index)).astype(float)
    whole = [new for name, new in values.items() if name in logged.WHOLE]
    table[whole] = table[whole].astype("Int64")
    ranks = {"aggregation": AGGREGATIONS, "layer": group.layers, "metric": tuple(group.styles)}
    order = pd.DataFrame({key: table[key].map(ranks[key].index) for key in keys})
    order = order.join(table[list(numbers.values())])
    return table.loc[order.sort_values(order.columns.tolist()).index].reset_index(drop=True)


# --- words ----------------------------------------------------------------------------------------


def name_aggregation(aggregation: str) -> str:
    """Name an aggregation in a sentence."""
    return NAMES.get(aggregation, aggregation)


def write_signed(value: float) -> str:
    """Write a number with two digits, its sign in full."""
    return "undefined" if np.isnan(value) else f"{value:.2f}".replace("-", "−")


def join_words(words: Sequence[str]) -> str:
    """Join words: `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
