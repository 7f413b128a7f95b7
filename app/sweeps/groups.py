"""Groups of a sweep's runs that can stand in one panel, each with its runs as one tidy table.

Panels, their tables and sentences are selections and groupings of that table.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from app import names
from app.choices import AGGREGATIONS, TASKS
from app.config.schema import Metric
from app.figures.axes import PREFERRED
from app.figures.style import Style
from app.findings.certainty import average
from app.sweeps.results import sort_layers
from app.sweeps.verdicts import Claim, Estimate, find_half, sum_up

POINT = ["aggregation", "layer", "metric"]
CRITERION = ["rule", "criterion", "paper"]  # `paper`: the number of the paper's
SELECTION = ["percent", "count", "units", "undefined", "percent_ci95_low", "percent_ci95_high",
             "null_percent"]  # fmt: skip
DECODING = ["accuracy", "ci95_low", "ci95_high", "kernels", "chance", "random_kernels",
            "all_kernels"]  # fmt: skip
LESION = ["spearman", "spearman_object", "spearman_ci95_low", "spearman_ci95_high"]
SETS = [f"{of}{task}_top1" for task in TASKS for of in ("", "random_", "intact_")]  # lesioned
CONSISTENCY = ["mean", "sem", "mean_ci95_low", "mean_ci95_high"]
# What a run's draws call columns of its table.
DRAWN = {"mean": "consistency_mean", "spearman": "lesion_spearman_face"}

# Params in which runs of a group may differ.
WITHIN = r"layer(\.output)?|metric|recipe|aggregation|threshold(\..*)?|.*\.criterion\.threshold"
INSTANCE = "model.seed"  # in which networks differ that are a sample
WEIGHTS = "model.checkpoint"  # whose name may hold the instance: weights of one training of several
ONE_NETWORK = (
    f"{{}} has the same weights at every {INSTANCE}, and counts as one network: weights are drawn "
    f"from it where {WEIGHTS}=null."
)
# What columns of jobs are called in groups: findings by their measure alone.
SHORT = {
    r"^metric\.criterion\.threshold$": "criterion",
    r"^metric\.criterion\.rule$": "rule",
    r"^criterion\.paper$": "paper",
    f"^{names.SPEARMAN_WITH}": "with_",
    r"^lesion/selection_": "",
    r"^(null|matched|reliability|crossvalidated)/": r"\1_",
    r"^\w+/": "",
}


Read = Callable[[Any, str], pd.DataFrame | None]


@dataclass(frozen=True)
class Group:
    """Finished runs that differ in layer, metric, recipe, aggregation and criterion alone.

    Or in the instance of the network, too: then a row is the mean over instances, beside which
    stand `<number>_sd` and how many `networks` there are, and intervals are those of the mean.

    Tables have a row a run, by aggregation as in the config, by depth, by metric as in the sweep
    and by criterion. Columns are those above, `with_<metric>` (rank correlation of scores),
    `jaccard_<metric>`, `at_papers` (whether that is the criterion), `baseline` (whether the metric
    is one), and all else of the jobs.
    """

    swept: Mapping[str, str]  # what tells this group from others
    criteria: pd.DataFrame  # all runs
    untrained: pd.DataFrame  # of the same network before training; may be empty
    unpaired: str  # why there is no such network
    layers: tuple[str, ...]  # from the first to the deepest
    styles: Mapping[str, Style]  # of the metrics
    trained: bool
    read: Read  # a table of a run, by its place and the table's name
    instances: Mapping[Any, pd.DataFrame]  # of a row that is a mean, its runs and their `network`

    def estimate(self, run: pd.Series, column: str) -> Estimate:
        """A number of a run, and what it is in each resample of the images, or each instance."""
        if run.name in self.instances:
            networks = self.instances[run.name].groupby("network", observed=False)
            values = networks[column].first().to_numpy(np.float64)
            return Estimate(average(values), values, of_networks=True)
        drawn, value = self.read(run.name, "certainty"), float(run[column])
        name = DRAWN.get(column, column.replace("with_", "spearman_"))
        if drawn is None or name not in drawn:
            return Estimate(value)
        resampled = drawn["draw"].to_numpy() == "resample"
        return Estimate(value, drawn[name].to_numpy(np.float64)[resampled])

    @property
    def state(self) -> bool | str:
        """Whether the network is trained; empty where responses are from a file."""
        return "" if (self.criteria["trained"] == "none").all() else self.trained

    @functools.cached_property
    def runs(self) -> pd.DataFrame:
        """One run of each `POINT`: with the paper's criterion, else the first that was asked."""
        first = self.criteria.sort_index().sort_values("at_papers", ascending=False, kind="stable")
        return self.criteria.drop(first.index[first.duplicated(POINT)])

    def list_networks(self, runs: pd.DataFrame) -> list[pd.DataFrame]:
        """The runs of each network that these are the means of."""
        if not set(runs.index) & set(self.instances):
            return [runs]
        every = pd.concat([self.instances[place] for place in runs.index])
        return [own for _, own in every.groupby("network", observed=True)]

    def label(self, metric: str) -> str:
        """What a metric is called."""
        return self.styles[metric].label

    def table(self, runs: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
        """A panel's table: a row a run, the network, what tells the group apart, the columns."""
        spreads = [f"{name}_sd" for name in columns] + ["networks"]
        known = [name for name in spreads if name in runs]
        named = dict.fromkeys(["model", *self.swept, *columns, *known])
        told = runs[[*named]].reset_index(drop=True)
        unsure = [name for name in told.filter(regex="_ci95_|^null_") if told[name].isna().all()]
        return told.drop(columns=unsure)


def find_groups(
    runs: pd.DataFrame, differing: Sequence[str], read: Read
) -> tuple[list[Group], list[str]]:
    """Find runs that can stand in one panel: all but what `WITHIN` names alike.

    A trained network's group has its untrained counterpart beside it. Untrained networks have a
    group of their own where the sweep has no trained one. Networks that differ in `INSTANCE` alone
    are one group, those with a checkpoint, too, whose path differs in that number alone.
    `differing` are the params that tell runs apart; `read` finds a run's table. Groups are in the
    order of their first jobs; with them, what to know of them.
    """
    several = INSTANCE in runs and runs[INSTANCE].nunique() > 1
    if several and WEIGHTS in differing:
        runs = runs.assign(**{WEIGHTS: runs.apply(_name_trainings, axis="columns")})
    dimensions = [name for name in differing if not re.fullmatch(f"{WITHIN}|{INSTANCE}", name)]
    runs = runs.assign(**{name: runs[name].map(str) for name in dimensions})
    network = [name for name in dimensions if name.partition(".")[0] == "model"]
    others = [name for name in dimensions if name not in network]
    found, kinds, styles, notes = {}, set(), find_styles(runs), list[str]()
    for part in _split(runs, others):
        networks = _split(part, network)
        untrained = [each for each in networks if not _is_trained(each)]
        trained = [each for each in networks if _is_trained(each)]
        kinds |= set(map(_is_trained, networks))
        for each in untrained:
            if several and each["model.digest"].nunique() == 1 < each[INSTANCE].nunique():
                notes.append(ONE_NETWORK.format(each["model"].iloc[0]))
        for own in trained or untrained:
            beside, unpaired = _find_counterpart(own, untrained if trained else [])
            swept = {name: own[name].iloc[0] for name in (*network, *others)}
            layers = _sort_layers(pd.concat([own, beside]))
            every, paired = (_tidy(part, layers, list(styles)) for part in (own, beside))
            instances: dict[Any, pd.DataFrame] = {}
            if several:
                every, paired = (_join_instances(part, instances) for part in (every, paired))
            found[own.index[0]] = Group(
                swept, every, paired, unpaired, layers, styles, bool(trained), read, instances
            )
    if len(kinds) == 2:
        notes.append("Panels b to e are of trained networks; panel f has untrained ones beside.")
    return [found[first] for first in sorted(found)], [*dict.fromkeys(notes)]


def _name_trainings(run: pd.Series) -> str:
    """A checkpoint's path, with `*` in the place of the instance's number."""
    return re.sub(rf"(?<!\d){run[INSTANCE]}(?!\d)", "*", str(run[WEIGHTS]))


def _split(runs: pd.DataFrame, params: list[str]) -> list[pd.DataFrame]:
    """Parts of the runs that are alike in these params."""
    if runs.empty or not params:
        return [runs] * len(runs[:1])
    return [part for _, part in runs.groupby(params, sort=False, dropna=False)]


def _is_trained(runs: pd.DataFrame) -> bool:
    return bool((runs["trained"] == "true").all())


def _find_counterpart(
    runs: pd.DataFrame, untrained: list[pd.DataFrame]
) -> tuple[pd.DataFrame, str]:
    """The untrained network of the same name to compare with; or none of its runs, and why."""
    model, none = runs["model"].iloc[0], runs.iloc[:0]
    if not untrained:
        return none, "no untrained network was asked"
    names = [each["model"].iloc[0] for each in untrained]
    same = [place for place, name in enumerate(names) if name in (model, f"{model}_untrained")]
    if len(same) != 1:
        return none, f"none of {', '.join(names)} is named {model}_untrained"
    chosen = untrained[same[0]]
    if set(chosen["model.digest"]) & set(runs["model.digest"].dropna()):
        return none, f"{names[same[0]]} has the very weights of {model}"
    return chosen, ""


def _sort_layers(runs: pd.DataFrame) -> tuple[str, ...]:
    known = runs.reindex(columns=["layer", names.DEPTH]).dropna()
    depths = dict(zip(known["layer"], known[names.DEPTH], strict=True))
    return tuple(sort_layers(runs["layer"], depths))


def _tidy(runs: pd.DataFrame, layers: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """The table of a group, see there; the index stays the jobs'."""
    tidy = runs.set_axis(runs.columns.to_series().replace(SHORT, regex=True), axis="columns")
    needed = ["matched_threshold", *CRITERION, *SELECTION, *DECODING, *LESION, *SETS, *CONSISTENCY]
    tidy = tidy.reindex(columns=tidy.columns.union(needed, sort=False))
    whole = tidy.columns.intersection([name.partition("/")[2] for name in names.WHOLE])
    numbers = {"criterion": float, "paper": float} | dict.fromkeys(whole, "Int64")
    tidy = tidy.astype(numbers).copy()  # else pandas warns of as many columns as metrics make
    unknown = tidy["criterion"].isna() & (tidy["threshold"] == "paper")
    tidy["baseline"] = tidy.get("metric.baseline", pd.Series(index=tidy.index)) == "true"
    tidy["at_papers"] = (tidy["criterion"] == tidy["paper"]) | unknown
    ranks = {"aggregation": AGGREGATIONS, "layer": layers, "metric": metrics}
    return sort_rows(tidy, ranks, "criterion", "paper")


def _join_instances(tidy: pd.DataFrame, instances: dict[Any, pd.DataFrame]) -> pd.DataFrame:
    """The means over networks, told apart by their weights; their runs join `instances`."""
    alike = [str(name) for name in tidy if re.fullmatch(WITHIN, str(name))] + ["criterion"]
    named = tidy.assign(network=tidy["model.digest"].astype("category"))
    return average_networks(named.drop_duplicates([*alike, "network"]), alike, instances)


def average_networks(
    runs: pd.DataFrame, by: list[str], instances: dict[Any, pd.DataFrame] | None = None
) -> pd.DataFrame:
    """Average rows that are alike in `by` over their `network`, where there are several.

    Numbers have their SD beside them; intervals become those of the means. What is no number is as
    in the first. The rows averaged join `instances`, by the place of their mean.
    """
    if runs["network"].nunique() < 2:
        return runs.drop(columns="network")
    groups = runs.groupby(by, sort=False, dropna=False)
    made = groups.head(1).drop(columns="network")
    numbers = runs.drop(columns=by).select_dtypes("number").astype(float).groupby(groups.ngroup())
    mean, sd, known = (each.set_axis(made.index) for each in
                       (numbers.mean(), numbers.std(), numbers.count()))  # fmt: skip
    half = find_half(sd, known)
    for low in map(str, mean.filter(regex="ci95_low$")):
        start = low.removesuffix("ci95_low")
        middle = start.removesuffix("_")
        middle = middle if middle in mean else f"{start}accuracy"  # in panel e's ci95_low
        for end, sign in (("_low", -1), ("_high", 1)):
            ends = mean.get(middle, np.nan) + sign * half.get(middle, np.nan)
            mean[low.replace("_low", end)] = ends
    made[mean.columns] = mean
    made = made.join(sd.filter(regex="^(?!.*ci95)").add_suffix("_sd"))
    if instances is not None:
        instances.update(zip(made.index, (each for _, each in groups), strict=True))
    return made.assign(networks=groups.size().to_numpy())


def find_styles(runs: pd.DataFrame) -> dict[str, Style]:
    """Label and colour of each metric of the sweep, then of those it was compared with.

    As the first run that knows them has them.
    """
    given: dict[str, Style] = {}
    for text in runs["metrics.styles"].dropna().unique():
        for metric, (label, colour) in json.loads(text).items():
            given.setdefault(metric, Style(label, colour))
    every = dict.fromkeys([*runs["metric"], *given])
    return {name: given.get(name, Style(name, Metric.colour)) for name in every}


# --- panels ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Panel:
    """One panel of one group of runs."""

    letter: str
    title: str
    table: pd.DataFrame  # a row a point
    says: str  # what this network shows, in a sentence
    caption: str  # what is shown, and the rules of the claims that their words do not say
    paper: str = ""  # its result; empty where it has none
    claims: Sequence[Claim] = ()
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
        return sum_up(self.claims)


@dataclass(frozen=True)
class Section:
    """A group of runs, its panels, and a line for each that it does not allow."""

    group: Group
    heading: str  # the network and what else tells the group apart
    panels: Sequence[Panel]
    missing: Sequence[str]


class Missing(Exception):
    """Why a group of runs has no such panel."""


def name_aggregation(aggregation: object) -> str:
    """Name an aggregation in a sentence."""
    return {"l2": "L2", "unit": "single units"}.get(str(aggregation), str(aggregation))


def join_words(words: Sequence[str]) -> str:
    """Join words: `a, b and c`."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


def list_metrics(group: Group, told: Mapping[str, str] | pd.Series) -> str:
    """`FSI 0.31 and t 0.20`: what is told of each metric."""
    return join_words([f"{group.label(str(metric))} {text}" for metric, text in told.items()])


def name_place(table: pd.DataFrame) -> str:
    """`In conv13 (L2)`: where the first row of a table is from."""
    first = table.iloc[0]
    return f"In {first['layer']} ({name_aggregation(first['aggregation'])})"


def find_preferred(runs: pd.DataFrame) -> pd.DataFrame:
    """Find the runs of kernels by L2, or by the first aggregation there is."""
    kernels = runs[runs["aggregation"] != "unit"]
    first = min(kernels["aggregation"], key=PREFERRED.index, default="")
    return kernels[kernels["aggregation"] == first]


def sort_rows(
    table: pd.DataFrame, ranks: Mapping[Any, Sequence[Any]], *further: str
) -> pd.DataFrame:
    """Sort by columns whose values have an order of their own, `ranks`, then by `further` ones."""
    return table.sort_values(
        [*ranks, *further],
        key=lambda column: column.map(ranks[column.name].index) if column.name in ranks else column,
        kind="stable",
    )


def find_note(runs: pd.DataFrame, step: str) -> str:
    """Find what the last of a group's runs that left a step out says of it, or nothing.

    The last is of kernels, if any are, of the deepest layer: others may not have been asked.
    """
    notes = runs.get(f"{step}.note", pd.Series(dtype=object)).dropna()
    return "" if notes.empty else str(notes.iloc[-1])
