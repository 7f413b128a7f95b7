"""What a sweep found, told in panels: the paper's Figure 1, b to f, as far as the sweep allows.

A pure function of the table of its runs (`app.record.runs`): the same table gives the same bytes.
Every panel is a tidy table, a picture, and what its numbers say, beside the paper's result. Whether
both agree is decided by the rules that are the panels' claims.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from app.config import AGGREGATIONS, LEADING_PARAMETERS, Metric
from app.errors import InputError
from app.findings.consistency import spearman
from app.record import figures, panels
from app.record.panels import Style
from app.record.tables import differing

if TYPE_CHECKING:
    from rich.console import RenderableType

PAPER_METRICS = ("fsi", "dprime", "wilcoxon", "ttest")
PAPER = {
    "b": "FSI up to 20 %; the other three at most 3 %.",
    "c": "d′ most sensitive, up to 35 %; mean gives fewer than L2 or max; only FSI grows with "
    "depth.",
    "d": "FSI closest, r = −0.29; the other three alike among themselves.",
    "e": "highly similar across metrics.",
    "f": "trained above untrained from conv7 on; grows with depth only when trained.",
}
# What is shown, and the rules of the claims that their words do not say.
CAPTIONS = {
    "b": "Percent of single units that each metric's criterion selects, by layer.",
    "c": "The same of kernels, by aggregation. A metric grows with depth where its percentage, the "
    "mean over aggregations, has a rank correlation with depth above 0.5; mean gives fewest where "
    "its mean over layers and metrics is below that of L2 and of max.",
    "d": "Spearman's r of score and face performance without the kernel; the deepest layer in full "
    "colour. The closest metric has the lowest r, below 0; alike are metrics whose scores have a "
    "high mean rank correlation.",
    "e": "From equally many kernels a metric (N), with the 95 % interval of the mean over folds; "
    "grey: N random kernels, all kernels, chance. Similar are metrics whose intervals share a "
    "value.",
    "f": "Mean over pairs of metrics of their rank correlation over single units, and SEM across "
    "pairs. It grows with depth where its own rank correlation with depth is above 0.5.",
}
OTHERS_AT_MOST = 3.0  # percent of units, panel b
ABOVE_FROM = "conv7"  # panel f; of a network without such a layer, its second half
GROWS = 0.5  # rank correlation with depth, above which a finding grows with it
MOST = 6  # groups of runs that are drawn
NAMES = {"l2": "L2", "unit": "single units"}


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
    claims: tuple[Claim, ...]
    uncompared: str = ""  # why it is not set against the paper

    @property
    def sentence(self) -> str:
        """What the network shows, the paper's result, and whether they agree."""
        return f"{self.says} The paper: {PAPER[self.letter]} {self.verdict}"

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
    """Finished runs that differ in layer, metric and aggregation alone, and their counterpart."""

    swept: Mapping[str, str]  # what tells this group from others
    runs: pd.DataFrame
    untrained: pd.DataFrame  # of the same network before training; may be empty
    pairing: str  # which network that is, or why there is none
    layers: tuple[str, ...]  # from the first to the deepest
    styles: Mapping[str, Style]  # of the metrics
    trained: bool


@dataclass(frozen=True)
class Section:
    """A group of runs, its panels, and a line for each that it does not allow."""

    group: Group
    panels: tuple[Panel, ...]
    missing: tuple[str, ...]

    @property
    def heading(self) -> str:
        """The network and what else tells the group apart."""
        others = [f"{name}={value}" for name, value in self.group.swept.items() if name != "model"]
        return ", ".join([self.group.runs["params.model"].iloc[0], *others])


@dataclass(frozen=True)
class Report:
    """Everything that `save` writes."""

    title: str
    jobs: pd.DataFrame
    failed: tuple[str, ...]
    swept: Mapping[str, int]  # dimension to number of values
    sections: tuple[Section, ...]
    styles: Mapping[str, Style]
    notes: tuple[str, ...] = field(default=())

    @property
    def summary(self) -> RenderableType:
        """The panels' sentences for the terminal."""
        from rich.console import Group as Lines
        from rich.text import Text

        lines: list[RenderableType] = []
        for section in self.sections:
            if len(self.sections) > 1 and section.panels:
                lines.append(Text(section.heading, style="bold"))
            lines += [Text(f"{each.letter}: {each.sentence}") for each in section.panels]
        return Lines(*lines)


def of_runs(runs: pd.DataFrame, title: str) -> Report:
    """The report of a sweep.

    Args:
        runs: A row a job, as `app.record.runs.table` makes it.
        title: What the sweep is called.
    """
    finished = runs[runs["status"] == "finished"]
    dimensions = differing(_params(runs))
    groups, notes = _groups(finished)
    drawn = groups[:MOST]
    if len(groups) > MOST:
        notes.append(
            f"The first {MOST} of {len(groups)} groups of runs are told; all are in jobs.csv."
        )
    failed = [
        f"{row['run']}: {str(row['reason']).strip() or 'no reason given'}"
        for row in runs.to_dict("records")
        if row["status"] != "finished"
    ]
    return Report(
        title,
        _jobs(runs, dimensions),
        tuple(failed),
        {name: runs[f"params.{name}"].astype(str).nunique() for name in dimensions},
        tuple(_section(group) for group in drawn),
        _styles(finished),
        tuple(notes),
    )


def save(report: Report, folder: Path) -> Path:
    """Write report.md, the tables of jobs and panels, and the panels' pictures; the folder."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(report.jobs, folder / "jobs")
        for letter, table in _tables(report).items():
            _write(table, folder / f"panel_{letter}")
        for number, section in enumerate(report.sections, start=1):
            suffix = _suffix(number)
            if not section.panels:
                continue
            drawn = [(each.letter, each.title, each.table) for each in section.panels]
            whole = panels.figure(drawn, report.styles, section.heading)
            figures.save(figures.render(whole), folder, f"figure{suffix}")
            for each in drawn:
                alone = panels.alone(*each, report.styles)
                figures.save(figures.render(alone), folder, f"panel_{each[0]}{suffix}")
        (folder / "report.md").write_text(_markdown(report), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"cannot write the report to {folder}: {error.strerror or error}; "
            "make room or choose another output folder"
        ) from error
    return folder


# --- groups of runs -------------------------------------------------------------------------------


def _params(runs: pd.DataFrame) -> list[dict[str, Any]]:
    names = _columns(runs, "params.")
    return [
        {
            str(name).removeprefix("params."): value
            for name, value in row.items()
            if value is not None
        }
        for row in runs[names].astype(object).where(runs[names].notna(), None).to_dict("records")
    ]


def _groups(runs: pd.DataFrame) -> tuple[list[Group], list[str]]:
    """Runs that can stand in one panel: all but layer, metric and aggregation alike.

    A trained network's group has its untrained counterpart beside it. Untrained networks have a
    group of their own where the sweep has no trained one.
    """
    if runs.empty:
        return [], []
    own = ("layer", "layer.output", "metric", "aggregation")
    dimensions = [name for name in differing(_params(runs)) if name not in own]
    network = [name for name in dimensions if name.partition(".")[0] == "model"]
    others = [name for name in dimensions if name not in network]
    # The same order as the jobs'. Of a job that was asked for twice the first counts.
    parts: dict[tuple[tuple[str, ...], tuple[str, ...]], pd.DataFrame] = {}
    for place, part in _by(runs, [*others, *network]):
        parts[place[: len(others)], place[len(others) :]] = part.drop_duplicates(
            ["params.layer", "params.aggregation", "params.metric"]
        )
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
        groups.append(Group(swept, part, untrained, pairing, layers, _styles(runs), trained[key]))
    if any(not is_trained for is_trained in trained.values()) and any(trained.values()):
        notes.append("Panels b to e are of trained networks; panel f has untrained ones beside.")
    return groups, notes


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


def _section(group: Group) -> Section:
    made, missing = [], []
    for letter, make in MAKERS.items():
        try:
            made.append(make(group))
        except Missing as reason:
            missing.append(f"Panel {letter} is left out: {reason}.")
    return Section(group, tuple(made), tuple(missing))


# --- panels ---------------------------------------------------------------------------------------


def _selected_units(group: Group) -> Panel:
    runs = _part(group, ["unit"])
    if runs.empty:
        raise Missing("no single units were scored (aggregation=unit)")
    _several(runs)
    table = _table(group, runs, ["layer", "metric"], SELECTION)
    peak = _peaks(table)
    claims = []
    if not (why := _uncompared(group, table, thresholds=True)):
        rest = [peak[name] for name in PAPER_METRICS[1:]]
        claims = [
            Claim("FSI selects most", peak["fsi"] > max(rest)),
            Claim(f"the others at most {OTHERS_AT_MOST:g} %", max(rest) <= OTHERS_AT_MOST),
        ]
    says = f"Of single units, {_listed_peaks(group, table)}."
    return Panel("b", "Selective units", table, says, tuple(claims), why)


def _selected_kernels(group: Group) -> Panel:
    runs = _part(group, KERNELS)
    if runs.empty:
        raise Missing("no kernels were scored (aggregation=mean, l2 or max)")
    _several(runs)
    table = _table(group, runs, ["aggregation", "layer", "metric"], SELECTION)
    peak = _peaks(table)
    mean = table.groupby("aggregation", sort=False)["percent"].mean()
    depth = table.groupby(["metric", "layer"])["percent"].mean()
    grows = {
        metric: _grows([depth.get((metric, layer), np.nan) for layer in group.layers])
        for metric in peak
    }
    claims = []
    if not (why := _uncompared(group, table, thresholds=True)):
        rest = [peak[name] for name in PAPER_METRICS if name != "dprime"]
        fewer = None
        if set(mean.index) == set(KERNELS):
            fewer = bool(mean["mean"] < min(mean["l2"], mean["max"]))
        alone = None
        if grows["fsi"] is not None:
            alone = bool(grows["fsi"]) and not any(grows[n] for n in PAPER_METRICS[1:])
        claims = [
            Claim("d′ selects most", peak["dprime"] > max(rest)),
            Claim("mean gives fewest", fewer),
            Claim("only FSI grows with depth", alone),
        ]
    says = f"Of kernels, {_listed_peaks(group, table)}"
    if len(mean) > 1:
        each = [f"{_name(str(name))} {value:.1f} %" for name, value in mean.items()]
        says += f"; over layers and metrics {_and(each)}"
    growing = [_label(group, name) for name, does in grows.items() if does]
    if any(does is not None for does in grows.values()):
        says += f"; {_and(growing) or 'none'} grow{'s' if len(growing) < 2 else ''} with depth"
    return Panel("c", "Selective kernels", table, f"{says}.", tuple(claims), why)


def _lesions(group: Group) -> Panel:
    runs, aggregation = _kernel_runs(group, "lesion/spearman", "lesion")
    others = _columns(runs, "metrics.consistency/spearman_")
    columns = {"lesion/spearman": "spearman", "lesion/spearman_object": "spearman_object"}
    columns |= {
        name.removeprefix("metrics."): f"with_{name.removeprefix('metrics.consistency/spearman_')}"
        for name in others
    }
    table = _table(group, runs, ["aggregation", "layer", "metric"], columns)
    deepest = _deepest(group, table)
    last = table[table["layer"] == deepest]
    if len(last) < 2:
        raise Missing("one metric alone was lesioned")
    closest = last.iloc[last["spearman"].argmin()]
    pairs = {
        frozenset((row["metric"], other)): row[f"with_{other}"]
        for row in last.to_dict("records")
        for other in last["metric"]
        if other != row["metric"] and f"with_{other}" in row
    }
    claims = []
    if not (why := _uncompared(group, last)):
        among = [pairs[frozenset(pair)] for pair in combinations(PAPER_METRICS[1:], 2)]
        with_fsi = [pairs[frozenset(("fsi", name))] for name in PAPER_METRICS[1:]]
        claims = [
            Claim("FSI closest", bool(closest["metric"] == "fsi" and closest["spearman"] < 0)),
            Claim(
                "the other three more alike among themselves "
                f"(mean r = {_signed(np.mean(among))}) than with FSI "
                f"({_signed(np.mean(with_fsi))})",
                bool(np.mean(among) > np.mean(with_fsi)),
            ),
        ]
    listed = [
        f"{_label(group, row['metric'])} {_signed(row['spearman'])}"
        for row in last.to_dict("records")
    ]
    says = (
        f"In {deepest} ({_name(aggregation)}), Spearman's r of score and the face performance that "
        f"remains without the kernel is {_and(listed)} (negative: selective kernels matter)."
    )
    return Panel("d", "Selectivity and lesions", table, says, tuple(claims), why)


def _identity(group: Group) -> Panel:
    runs, aggregation = _kernel_runs(group, "decoding/accuracy", "decoding")
    columns = {
        f"decoding/{name}": name
        for name in (
            "accuracy", "ci95_low", "ci95_high", "kernels", "chance", "random_kernels",
            "all_kernels",
        )
    }  # fmt: skip
    table = _table(group, runs, ["aggregation", "layer", "metric"], columns)
    deepest = _deepest(group, table)
    table = table[table["layer"] == deepest].reset_index(drop=True)
    if len(table) < 2:
        raise Missing("identity was decoded from one metric's kernels alone")
    claims = []
    if not (why := _uncompared(group, table)):
        four = table[table["metric"].isin(PAPER_METRICS)]
        overlap = bool(four["ci95_low"].max() <= four["ci95_high"].min())
        claims = [Claim("the metrics' intervals share a value", overlap)]
    first = table.iloc[0]
    listed = [
        f"{_label(group, row['metric'])} {100 * row['accuracy']:.1f} %"
        for row in table.to_dict("records")
    ]
    says = (
        f"In {deepest} ({_name(aggregation)}), the identity of faces is decoded from equally many "
        f"kernels a metric (N = {first['kernels']}) with {_and(listed)}; from random ones "
        f"{100 * first['random_kernels']:.1f} %, all {100 * first['all_kernels']:.1f} %, chance "
        f"{100 * first['chance']:.1f} %."
    )
    return Panel("e", "Identity decoding", table, says, tuple(claims), why)


def _consistency(group: Group) -> Panel:
    columns = {"consistency/mean": "mean", "consistency/sem": "sem"}
    parts = []
    for trained, runs in ((group.trained, group.runs), (False, group.untrained)):
        runs = runs[runs["params.aggregation"] == "unit"]
        if runs.empty:
            continue
        # A metric from outside joins the set in its own runs: the smaller set is common to all.
        pairs = _columns(runs, "metrics.consistency/spearman_")
        order = runs[pairs].notna().sum(axis=1).argsort(kind="stable")
        first = runs.iloc[order].drop_duplicates("params.layer")
        part = _table(group, first, ["layer"], columns)
        part.insert(1, "trained", trained)
        parts.append(part)
    if not parts:
        raise Missing("no single units were scored (aggregation=unit)")
    table = pd.concat(parts, ignore_index=True)
    if table["layer"].nunique() < 2:
        raise Missing("one layer has no course over depth")
    course = {
        trained: table[table["trained"] == trained].set_index("layer")["mean"]
        for trained in (True, False)
        if (table["trained"] == trained).any()
    }
    grows = {trained: _grows(list(means)) for trained, means in course.items()}
    claims = []
    why = "" if group.trained else "no trained network was asked"
    if not (why := why or _uncompared(group, None)):
        above = only = None
        if len(course) == 2:
            late = _late(group.layers, list(course[True].index))
            both = [(course[True].get(x, np.nan), course[False].get(x, np.nan)) for x in late]
            above = all(yes > no for yes, no in both)
            only = bool(grows[True]) and not grows[False]
        claims = [
            Claim(f"trained above untrained from {_from(group.layers)} on", above),
            Claim("grows with depth only when trained", only),
        ]
    says = "The metrics' mean rank correlation over single units goes from " + " and from ".join(
        f"{_signed(means.iloc[0])} in {means.index[0]} to {_signed(means.iloc[-1])} in "
        f"{means.index[-1]} ({'trained' if trained else 'untrained'}"
        + ("" if grows[trained] is None else f", {'grows' if grows[trained] else 'does not grow'}")
        + ")"
        for trained, means in course.items()
    )
    if group.trained and group.untrained.empty:
        says += f"; {group.pairing}"
    return Panel("f", "Consistency", table, f"{says}.", tuple(claims), why)


MAKERS = {
    "b": _selected_units,
    "c": _selected_kernels,
    "d": _lesions,
    "e": _identity,
    "f": _consistency,
}
KERNELS = [name for name in AGGREGATIONS if name != "unit"]
WHOLE = ("count", "units", "undefined", "kernels")
SELECTION = {f"selectivity/{name}": name for name in ("percent", "count", "units", "undefined")}


# --- parts ----------------------------------------------------------------------------------------


def _part(group: Group, aggregations: Sequence[str]) -> pd.DataFrame:
    return group.runs[group.runs["params.aggregation"].isin(aggregations)]


def _columns(runs: pd.DataFrame, beginning: str) -> list[str]:
    return [str(name) for name in runs if str(name).startswith(beginning)]


def _several(runs: pd.DataFrame) -> None:
    if len(runs) < 2:
        raise Missing("one run alone has nothing to be compared with")


def _kernel_runs(group: Group, measure: str, step: str) -> tuple[pd.DataFrame, str]:
    """Runs by L2, or the first aggregation there is, that have the measure."""
    column = f"metrics.{measure}"
    for aggregation in sorted(KERNELS, key=lambda name: name != "l2"):
        runs = _part(group, [aggregation])
        if column in runs and runs[column].notna().any():
            return runs[runs[column].notna()], aggregation
    column = f"tags.{step}.note"
    told = list(group.runs[column].dropna()) if column in group.runs else []
    raise Missing(told[0] if told else f"there is no {step}")


def _table(
    group: Group, runs: pd.DataFrame, keys: Sequence[str], values: Mapping[str, str]
) -> pd.DataFrame:
    """A row a point: what tells the group apart, the panel's own keys, and its values.

    Rows go by aggregation as in the config, by depth, and by metric as in the sweep.
    """
    columns: dict[str, Any] = {"model": list(runs["params.model"])}
    columns |= {name: value for name, value in group.swept.items() if name != "model"}
    columns |= {key: list(runs[f"params.{key}"]) for key in keys}
    nothing = pd.Series(float("nan"), index=runs.index)
    columns |= {
        new: list(runs.get(f"metrics.{name}", nothing).astype(float))
        for name, new in values.items()
    }
    ranks = {
        "aggregation": list(AGGREGATIONS),
        "layer": list(group.layers),
        "metric": list(group.styles),
    }
    table = pd.DataFrame(columns)
    whole = [name for name in WHOLE if name in table]
    table[whole] = table[whole].astype("Int64")
    order = pd.DataFrame({key: table[key].map(ranks[key].index) for key in keys})
    return table.loc[order.sort_values(list(keys)).index].reset_index(drop=True)


def _deepest(group: Group, table: pd.DataFrame) -> str:
    return max(table["layer"], key=group.layers.index)


def _peaks(table: pd.DataFrame) -> dict[str, float]:
    """The largest percentage of each metric."""
    peaks = table.groupby("metric", sort=False)["percent"].max()
    return {str(metric): float(peak) for metric, peak in peaks.items()}


def _listed_peaks(group: Group, table: pd.DataFrame) -> str:
    """`FSI selects up to 12.3 % (conv13), …`, in the order of the metrics."""
    listed = []
    for metric, part in table.groupby("metric", sort=False):
        row = part.iloc[part["percent"].argmax()]
        where = row["layer"]
        if "aggregation" in part and table["aggregation"].nunique() > 1:
            where += f", {_name(row['aggregation'])}"
        place = f" ({where})" if row["percent"] > 0 else ""
        listed.append(f"{_label(group, str(metric))} up to {row['percent']:.1f} %{place}")
    return f"by layer, {_and(listed)} are selective" if len(listed) else ""


def _grows(values: Sequence[float]) -> bool | None:
    """Whether values rise with depth: their rank correlation with it exceeds `GROWS`."""
    found = [value for value in values if not np.isnan(value)]
    if len(found) < 2:
        return None
    if len(found) == 2:
        return bool(found[1] > found[0])
    return bool(spearman(np.arange(len(found)), np.array(found)) > GROWS)


def _from(layers: Sequence[str]) -> str:
    """The layer from which on the paper found training to show."""
    return ABOVE_FROM if ABOVE_FROM in layers else layers[len(layers) // 2]


def _late(layers: Sequence[str], there: Sequence[str]) -> list[str]:
    first = list(layers).index(_from(layers))
    return [layer for layer in layers[first:] if layer in there]


def _uncompared(group: Group, table: pd.DataFrame | None, thresholds: bool = False) -> str:
    """Why the paper's result says nothing about these runs; empty where it does."""
    runs = group.runs
    if not group.trained:
        return "the paper's networks were trained, this one is not"
    if set(runs["params.target"]) != {"faces"}:
        return f"the paper asked about faces, not {runs['params.target'].iloc[0]}"
    if thresholds and set(runs["params.threshold"]) != {"paper"}:
        return f"the paper's criteria are threshold=paper, not {runs['params.threshold'].iloc[0]}"
    if table is not None and not set(PAPER_METRICS) <= set(table["metric"]):
        return f"the paper's statement is about {_and(list(PAPER_METRICS))} together"
    return ""


def _styles(runs: pd.DataFrame) -> dict[str, Style]:
    """Label and colour of each metric, as its first run has them."""
    first = runs.drop_duplicates("params.metric")
    given = [first[f"tags.metric.{name}"].fillna("") for name in ("label", "colour")]
    return {
        str(metric): Style(str(label or metric), str(colour or Metric.colour))
        for metric, label, colour in zip(first["params.metric"], *given, strict=True)
    }


def _label(group: Group, metric: str) -> str:
    return group.styles[metric].label


def _name(aggregation: str) -> str:
    return NAMES.get(aggregation, aggregation)


def _signed(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.2f}".replace("-", "−")


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))


# --- what is written ------------------------------------------------------------------------------


def _jobs(runs: pd.DataFrame, dimensions: Sequence[str]) -> pd.DataFrame:
    """A row a job: its run, what became of it, what tells it apart, and all that it found."""
    names = list(dict.fromkeys([*LEADING_PARAMETERS, *dimensions]))
    columns = {name: runs[name] for name in ("job", "run", "run_id", "status", "reason")}
    columns |= {name: runs[f"params.{name}"] for name in names if f"params.{name}" in runs}
    for kind in ("metrics.", "tags."):
        columns |= {name.removeprefix(kind): runs[name] for name in _columns(runs, kind)}
    return pd.DataFrame(columns).dropna(axis="columns", how="all").reset_index(drop=True)


def _tables(report: Report) -> dict[str, pd.DataFrame]:
    """Each panel's table, over all groups."""
    found: dict[str, list[pd.DataFrame]] = {}
    for section in report.sections:
        for panel in section.panels:
            found.setdefault(panel.letter, []).append(panel.table)
    return {letter: pd.concat(tables, ignore_index=True) for letter, tables in found.items()}


def _write(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path.with_name(f"{path.name}.csv"), index=False, lineterminator="\n")
    table.to_parquet(path.with_name(f"{path.name}.parquet"), index=False)


def _suffix(number: int) -> str:
    return "" if number == 1 else f"_{number}"


def _markdown(report: Report) -> str:
    jobs, failed = len(report.jobs), len(report.failed)
    swept = [f"{name} ({count})" for name, count in report.swept.items()]
    lines = [f"# {report.title}", ""]
    lines += [f"{jobs - failed} of {jobs} jobs finished. Swept: {_and(swept) or 'nothing'}.", ""]
    if failed:
        lines += ["## Failed jobs", "", *(f"- {line}" for line in report.failed), ""]
    for note in report.notes:
        lines += [note, ""]
    for number, section in enumerate(report.sections, start=1):
        if len(report.sections) > 1:
            lines += [f"## {section.heading}", ""]
        if section.panels:
            lines += [f"![All panels](figure{_suffix(number)}.png)", ""]
        for panel in section.panels:
            letter = panel.letter
            picture = f"panel_{letter}{_suffix(number)}.png"
            lines += [f"### {letter}. {panel.title}", "", f"![{panel.title}]({picture})", ""]
            lines += [CAPTIONS[letter], "", panel.sentence, ""]
            lines += [*_pipe_table(panel.table), ""]
        for line in section.missing:
            lines += [line, ""]
    lines += ["## Jobs", "", *_pipe_table(_short(report)), ""]
    return "\n".join(lines)


def _short(report: Report) -> pd.DataFrame:
    """Of the table of jobs what fits a page: what was swept and the main findings."""
    columns = ["job", *report.swept, "status"]
    columns += [
        name
        for name in (
            "selectivity/count", "selectivity/percent", "selectivity/undefined",
            "consistency/mean", "lesion/spearman", "decoding/accuracy",
        )
        if name in report.jobs
    ]  # fmt: skip
    return report.jobs[columns]


def _pipe_table(table: pd.DataFrame) -> list[str]:
    rows = [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    heads = [str(name) for name in table.columns]
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]


def _cell(value: Any) -> str:
    if isinstance(value, float) and not np.isnan(value):
        return f"{value:.4g}"
    return "" if pd.isna(value) else str(value).replace("|", "\\|").replace("\n", " ")
