"""The paper's Figure 1, panels b to f.

Of a group of runs, the table, what it says, what the paper says, and whether both agree. The rules
of that are the panels' claims.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from app import names
from app.findings.consistency import spearman
from app.sweeps import groups
from app.sweeps.groups import SELECTION, Claim, Group, Missing, Panel

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


# --- panels ---------------------------------------------------------------------------------------


def make_panel_b(group: Group) -> Panel:
    """Percent of single units that each metric selects, over layers."""
    runs = group.select(["unit"])
    if runs.empty:
        raise Missing("no single units were scored (aggregation=unit)")
    _several(runs)
    table = groups.make_table(group, runs, ["layer", "metric"], SELECTION)
    peak = _peaks(table)
    claims = []
    if not (why := _uncompared(group, table, thresholds=True)):
        rest = [peak[name] for name in PAPER_METRICS[1:]]
        claims = [
            Claim("FSI selects most", peak["fsi"] > max(rest)),
            Claim(f"the others at most {OTHERS_AT_MOST:g} %", max(rest) <= OTHERS_AT_MOST),
        ]
    says = f"Of single units, {_listed_peaks(group, table)}."
    return _panel("b", "Selective units", table, says, claims, why)


def make_panel_c(group: Group) -> Panel:
    """Percent of kernels that each metric selects, over layers and by aggregation."""
    runs = group.select(groups.KERNELS)
    if runs.empty:
        raise Missing("no kernels were scored (aggregation=mean, l2 or max)")
    _several(runs)
    table = groups.make_table(group, runs, ["aggregation", "layer", "metric"], SELECTION)
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
        if set(mean.index) == set(groups.KERNELS):
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
        each = [
            f"{groups.name_aggregation(str(name))} {value:.1f} %" for name, value in mean.items()
        ]
        says += f"; over layers and metrics {groups.join_words(each)}"
    growing = [group.label(name) for name, does in grows.items() if does]
    if any(does is not None for does in grows.values()):
        grow = "grows" if len(growing) < 2 else "grow"
        says += f"; {groups.join_words(growing) or 'none'} {grow} with depth"
    return _panel("c", "Selective kernels", table, f"{says}.", claims, why)


def make_panel_d(group: Group) -> Panel:
    """Rank correlation of each metric's scores with what lesions leave of the face task."""
    runs, aggregation = groups.find_kernel_runs(group, names.LESION_SPEARMAN["face"], "lesion")
    columns = {names.LESION_SPEARMAN["face"]: "spearman"}
    columns |= {names.LESION_SPEARMAN["object"]: "spearman_object"}
    for column in groups.list_columns(runs, f"metrics.{names.SPEARMAN_WITH}"):
        name = column.removeprefix("metrics.")
        columns[name] = f"with_{name.removeprefix(names.SPEARMAN_WITH)}"
    table = groups.make_table(group, runs, ["aggregation", "layer", "metric"], columns)
    deepest = group.deepest(table)
    last = table[table["layer"] == deepest]
    if len(last) < 2:
        raise Missing("one metric alone was lesioned")
    closest = last.iloc[last["spearman"].argmin()]
    claims = []
    if not (why := _uncompared(group, last)):
        pairs = {
            frozenset((row["metric"], other)): row[f"with_{other}"]
            for row in last.to_dict("records")
            for other in set(PAPER_METRICS) - {row["metric"]}
        }
        among = np.mean([pairs[frozenset(pair)] for pair in combinations(PAPER_METRICS[1:], 2)])
        with_fsi = np.mean([pairs[frozenset(("fsi", name))] for name in PAPER_METRICS[1:]])
        claims = [
            Claim("FSI closest", bool(closest["metric"] == "fsi" and closest["spearman"] < 0)),
            Claim(
                "the other three more alike among themselves "
                f"(mean r = {groups.write_signed(among)}) than with FSI "
                f"({groups.write_signed(with_fsi)})",
                bool(among > with_fsi),
            ),
        ]
    listed = [
        f"{group.label(row['metric'])} {groups.write_signed(row['spearman'])}"
        for row in last.to_dict("records")
    ]
    says = (
        f"In {deepest} ({groups.name_aggregation(aggregation)}), Spearman's r of score and the "
        "face performance that remains without the kernel is "
        f"{groups.join_words(listed)} (negative: selective kernels matter)."
    )
    return _panel("d", "Selectivity and lesions", table, says, claims, why)


def make_panel_e(group: Group) -> Panel:
    """Identity decoded from equally many kernels a metric, in the deepest layer."""
    runs, aggregation = groups.find_kernel_runs(group, names.ACCURACY, "decoding")
    table = groups.make_table(group, runs, ["aggregation", "layer", "metric"], groups.DECODING)
    deepest = group.deepest(table)
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
        f"{group.label(row['metric'])} {100 * row['accuracy']:.1f} %"
        for row in table.to_dict("records")
    ]
    says = (
        f"In {deepest} ({groups.name_aggregation(aggregation)}), the identity of faces is decoded "
        f"from equally many kernels a metric (N = {first['kernels']}) with "
        f"{groups.join_words(listed)}; from random ones {100 * first['random_kernels']:.1f} %, all "
        f"{100 * first['all_kernels']:.1f} %, chance {100 * first['chance']:.1f} %."
    )
    return _panel("e", "Identity decoding", table, says, claims, why)


def make_panel_f(group: Group) -> Panel:
    """Mean consistency of the metrics over layers, trained and untrained."""
    table = _tabulate_consistency(group)
    course = {
        bool(trained): part.set_index("layer")["mean"]
        for trained, part in table.groupby("trained", sort=False)
    }
    grows = {trained: _grows(list(means)) for trained, means in course.items()}
    claims = []
    why = "" if group.trained else "no trained network was asked"
    if not (why := why or _uncompared(group, None)):
        above = only = None
        if len(course) == 2:
            since = group.layers.index(_from(group.layers))
            late = [layer for layer in group.layers[since:] if layer in course[True]]
            both = [(course[True].get(x, np.nan), course[False].get(x, np.nan)) for x in late]
            above = all(yes > no for yes, no in both)
            only = bool(grows[True]) and not grows[False]
        claims = [
            Claim(f"trained above untrained from {_from(group.layers)} on", above),
            Claim("grows with depth only when trained", only),
        ]
    told = []
    for trained, means in course.items():
        first, last = map(groups.write_signed, (means.iloc[0], means.iloc[-1]))
        how = "trained" if trained else "untrained"
        if grows[trained] is not None:
            how += ", grows" if grows[trained] else ", does not grow"
        told.append(f"{first} in {means.index[0]} to {last} in {means.index[-1]} ({how})")
    says = "The metrics' mean rank correlation over single units goes from "
    says += " and from ".join(told)
    if group.trained and group.untrained.empty:
        says += f"; {group.pairing}"
    return _panel("f", "Consistency", table, f"{says}.", claims, why)


def _tabulate_consistency(group: Group) -> pd.DataFrame:
    columns = {names.CONSISTENCY: "mean", names.CONSISTENCY_SEM: "sem"}
    parts = []
    for trained, runs in ((group.trained, group.runs), (False, group.untrained)):
        runs = runs[runs["params.aggregation"] == "unit"]
        if runs.empty:
            continue
        # A metric from outside joins the set in its own runs: the smaller set is common to all.
        pairs = groups.list_columns(runs, f"metrics.{names.SPEARMAN_WITH}")
        order = runs[pairs].notna().sum(axis=1).argsort(kind="stable")
        first = runs.iloc[order].drop_duplicates("params.layer")
        part = groups.make_table(group, first, ["layer"], columns)
        part.insert(1, "trained", trained)
        parts.append(part)
    if not parts:
        raise Missing("no single units were scored (aggregation=unit)")
    table = pd.concat(parts, ignore_index=True)
    if table["layer"].nunique() < 2:
        raise Missing("one layer has no course over depth")
    return table


MAKERS: dict[str, Callable[[Group], Panel]] = {
    "b": make_panel_b,
    "c": make_panel_c,
    "d": make_panel_d,
    "e": make_panel_e,
    "f": make_panel_f,
}


# --- parts ----------------------------------------------------------------------------------------


def _panel(
    letter: str, title: str, table: pd.DataFrame, says: str, claims: Sequence[Claim], why: str
) -> Panel:
    return Panel(letter, title, table, says, CAPTIONS[letter], PAPER[letter], tuple(claims), why)


def _several(runs: pd.DataFrame) -> None:
    if len(runs) < 2:
        raise Missing("one run alone has nothing to be compared with")


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
            where += f", {groups.name_aggregation(row['aggregation'])}"
        place = f" ({where})" if row["percent"] > 0 else ""
        listed.append(f"{group.label(str(metric))} up to {row['percent']:.1f} %{place}")
    return f"by layer, {groups.join_words(listed)} are selective" if len(listed) else ""


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


def _uncompared(group: Group, table: pd.DataFrame | None, thresholds: bool = False) -> str:
    """Why the paper's result says nothing about these runs; empty where it does."""
    runs = group.runs
    if not group.trained:
        return "the paper's networks were trained, this one is not"
    if set(runs["params.target"]) != {"faces"}:
        return f"the paper asked about faces, not {runs['params.target'].iloc[0]}"
    if thresholds and not (at := groups.at_papers_criterion(runs)).all():
        other = runs[~at].iloc[0]
        number = other.get("params.metric.criterion.threshold", other["params.threshold"])
        return f"the paper's criteria are threshold=paper, {other['params.metric']}'s is {number}"
    if table is not None and not set(PAPER_METRICS) <= set(table["metric"]):
        return f"the paper's statement is about {groups.join_words(list(PAPER_METRICS))} together"
    return ""
