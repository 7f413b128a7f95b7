"""Groups of a sweep's runs that can stand in one panel, each with its runs as one tidy table.

Panels, their tables and sentences are selections and groupings of that table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from app import names
from app.choices import AGGREGATIONS, TASKS
from app.config.schema import Metric
from app.figures.style import Style

# What runs of one group may differ in, beside the criterion.
POINT = ["aggregation", "layer", "metric"]
CRITERION, PAPERS = "metric.criterion.threshold", "criterion.paper"

# Names that the columns of a tidy table have, by those that findings are logged under.
SELECTION, DECODING, OTHERS = (
    {name: name.partition("/")[2] for name in group}
    for group in (
        (names.PERCENT, names.COUNT, names.UNITS, names.UNDEFINED),
        (names.ACCURACY, names.ACCURACY_LOW, names.ACCURACY_HIGH, names.DECODED_KERNELS,
         names.CHANCE, names.RANDOM_KERNELS, names.ALL_KERNELS),
        (*names.LESION_SPEARMAN.values(), names.CONSISTENCY, names.CONSISTENCY_SEM),
    )
)  # fmt: skip
SETS = {
    name: column
    for task in TASKS
    for name, column in (
        (names.selection_lesioned(task), f"{task}_top1"),
        (names.random_lesioned(task), f"random_{task}_top1"),
        (names.intact(f"{task}_top1"), f"intact_{task}_top1"),
    )
}
CRITERIA = {CRITERION: "criterion", PAPERS: "paper", "metric.criterion.rule": "rule"}
MEASURES = SELECTION | DECODING | OTHERS | SETS
WITH = {names.SPEARMAN_WITH: "with_", names.JACCARD_WITH: "jaccard_"}  # before a metric's name


@dataclass(frozen=True)
class Group:
    """Finished runs that differ in layer, metric, aggregation and criterion alone.

    Tables have a row a run, by aggregation as in the config, by depth, by metric as in the sweep
    and by criterion. Columns are `model`, what was swept, `POINT`, `rule`, `criterion`, `paper`,
    the values of `MEASURES`, `with_<metric>` and `jaccard_<metric>`; all else as `tabulate` has it.
    """

    swept: Mapping[str, str]  # what tells this group from others
    criteria: pd.DataFrame  # all runs
    untrained: pd.DataFrame  # of the same network before training; may be empty
    unpaired: str  # why there is no such network
    layers: tuple[str, ...]  # from the first to the deepest
    styles: Mapping[str, Style]  # of the metrics
    trained: bool

    @property
    def runs(self) -> pd.DataFrame:
        """One run of each `POINT`: with the paper's criterion, else the first that was asked."""
        return _keep_one_criterion(self.criteria)

    def label(self, metric: str) -> str:
        """What a metric is called."""
        return self.styles[metric].label

    def table(self, runs: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
        """A panel's table: a row a run, the network, what tells the group apart, the columns."""
        first = dict.fromkeys(["model", *self.swept])
        return runs[[*first, *columns]].reset_index(drop=True)


def find_groups(runs: pd.DataFrame, differing: Sequence[str]) -> tuple[list[Group], list[str]]:
    """Find runs that can stand in one panel: all but layer, metric, aggregation, criterion alike.

    A trained network's group has its untrained counterpart beside it. Untrained networks have a
    group of their own where the sweep has no trained one. `differing` are the params that tell
    runs apart.

    Returns
    -------
    groups : list of Group
        In the order of their first jobs.
    notes : list of str
        What to know of them.
    """
    dimensions = [
        name
        for name in differing
        if name not in (*POINT, "layer.output", CRITERION) and name.partition(".")[0] != "threshold"
    ]
    network = [name for name in dimensions if name.partition(".")[0] == "model"]
    others = [name for name in dimensions if name not in network]
    found, kinds, styles = {}, set(), find_styles(runs)
    for alike in _split(runs, others):
        networks = _split(alike, network)
        untrained = [each for each in networks if not _is_trained(each)]
        kinds |= {_is_trained(each) for each in networks}
        for own in networks:
            trained = _is_trained(own)
            if not trained and len(untrained) < len(networks):
                continue
            beside, unpaired = _find_counterpart(own, untrained) if trained else (own.iloc[:0], "")
            swept = {name: str(own[name].iloc[0]) for name in (*network, *others)}
            layers = _sort_layers(pd.concat([own, beside])["layer"])
            tidy = [
                _tidy(part.assign(**{name: swept[name] for name in swept if name != "model"}),
                      layers, list(styles))
                for part in (own, beside)
            ]  # fmt: skip
            found[own.index[0]] = Group(swept, *tidy, unpaired, layers, styles, trained)
    notes = []
    if len(kinds) == 2:
        notes.append("Panels b to e are of trained networks; panel f has untrained ones beside.")
    return [found[first] for first in sorted(found)], notes


def at_papers_criterion(runs: pd.DataFrame) -> pd.Series:
    """Of each run, whether its metric's criterion is the paper's; (runs,) of bool."""
    papers = runs["paper"]
    return (runs["criterion"] == papers) | (papers.isna() & (runs["threshold"] == "paper"))


def _keep_one_criterion(runs: pd.DataFrame) -> pd.DataFrame:
    """Of a job that was asked for twice the first counts."""
    order = runs.assign(other=~at_papers_criterion(runs), job=runs.index)
    return runs.loc[~order.sort_values(["other", "job"]).duplicated(POINT).sort_index()]


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
    """The untrained network to compare with: of the same name, or the only one there is.

    Or none of its runs, and why.
    """
    model, none = runs["model"].iloc[0], runs.iloc[:0]
    if not untrained:
        return none, "no untrained network was asked"
    by_name = [(each["model"].iloc[0], each) for each in untrained]
    same = [each for each in by_name if each[0] in (model, f"{model}_untrained")]
    if len(same) != 1 and len(untrained) != 1:
        found = ", ".join(name for name, _ in by_name)
        return none, f"none of {found} is named {model}_untrained"
    name, chosen = (same or by_name)[0]
    if set(chosen["model.digest"]) & set(runs["model.digest"].dropna()):
        return none, f"{name} has the very weights of {model}"
    return chosen, ""


def _sort_layers(layers: pd.Series) -> tuple[str, ...]:
    """conv1 … conv13 by number; modules of other networks as the sweep lists them."""
    found = list(dict.fromkeys(layers))
    if all(re.fullmatch(r"conv\d+", name) for name in found):
        found.sort(key=lambda name: int(name.removeprefix("conv")))
    return tuple(found)


def _tidy(runs: pd.DataFrame, layers: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """The table of a group, see there; the index stays the jobs'."""
    ranks = {"aggregation": AGGREGATIONS, "layer": layers, "metric": metrics}
    tidy = runs.rename(columns=MEASURES | CRITERIA)
    for logged, short in WITH.items():
        tidy.columns = tidy.columns.str.replace(f"^{logged}", short, regex=True)
    absent = {*MEASURES.values(), *CRITERIA.values()} - {*tidy.columns}
    tidy = tidy.assign(**dict.fromkeys(absent, float("nan")))
    numbers = tidy.columns.intersection([*MEASURES.values(), "criterion", "paper"])
    whole = [short for logged, short in MEASURES.items() if logged in names.WHOLE]
    tidy = tidy.astype(dict.fromkeys(numbers, float)).astype(dict.fromkeys(whole, "Int64"))
    return tidy.sort_values(
        [*ranks, "criterion", "paper"],
        key=lambda column: column.map(ranks[column.name].index) if column.name in ranks else column,
    )


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
        asked = [claim.holds for claim in self.claims if claim.holds is not None]
        if not asked:
            return "Not compared: this sweep cannot tell."
        word = "Agrees" if all(asked) else "Agrees in part" if any(asked) else "Disagrees"
        words = {True: "yes", False: "no", None: "not tested here"}
        told = "; ".join(f"{claim.text}: {words[claim.holds]}" for claim in self.claims)
        return f"{word} ({told})."


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


def find_note(runs: pd.DataFrame, step: str) -> str:
    """Find what the last of a group's runs that left a step out says of it, or nothing.

    The last is of kernels, if any are, of the deepest layer: others may not have been asked.
    """
    notes = runs.get(f"{step}.note", pd.Series(dtype=object)).dropna()
    return "" if notes.empty else str(notes.iloc[-1])
