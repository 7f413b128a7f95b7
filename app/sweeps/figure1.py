"""The paper's Figure 1, panels b to f.

Of a group of runs, the table, what it says, what the paper says, and whether both agree. The rules
of that are the panels' claims.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from app import names
from app.figures.axes import PREFERRED
from app.spelling import tell_count
from app.sweeps import groups
from app.sweeps.groups import Group, Missing, Panel
from app.sweeps.paper import TEXTS
from app.sweeps.verdicts import (
    NO,
    UNSURE,
    UNTESTED,
    YES,
    Claim,
    Estimate,
    claim,
    combine,
    join,
    negate,
)

PAPER_METRICS = ["fsi", "dprime", "wilcoxon", "ttest"]
OTHERS_AT_MOST = 3.0  # percent of units, panel b
ABOVE_FROM = "conv7"  # panel f; of a network without such a layer, its second half
GROWS = 0.5  # rank correlation with depth, above which a finding grows with it
SIMILAR = 0.05  # of accuracies, within which metrics' decoding is equivalent
FEWEST_LAYERS = 4  # that can tell
GROWTH = {YES: "grows", NO: "does not grow", UNSURE: "may or may not grow"}


def make_panel_b(group: Group) -> Panel:
    """Percent of single units that each metric selects, over layers."""
    none = "no single units were scored (aggregation=unit)"
    runs = _find_selective(group, group.runs["aggregation"] == "unit", none)
    table = group.table(runs, ["layer", "metric", *groups.SELECTION])
    peaks = _estimate(group, runs, "metric", np.max)
    others = {group.label(name): peaks[name] for name in PAPER_METRICS[1:] if name in peaks}
    room = {name: OTHERS_AT_MOST - peak for name, peak in others.items()}
    claims = [
        _claim_most("FSI selects most", group, peaks, "fsi"),
        claim(f"the others at most {OTHERS_AT_MOST:g} %", room, shown=others),
    ]
    says = f"Of single units, {_list_peaks(group, runs)}."
    return _panel(group, "b", table, says, claims)


def make_panel_c(group: Group) -> Panel:
    """Percent of kernels that each metric selects, over layers and by aggregation."""
    none = "no kernels were scored (aggregation=mean, l2 or max)"
    runs = _find_selective(group, group.runs["aggregation"] != "unit", none)
    table = group.table(runs, [*groups.POINT, *groups.SELECTION])
    four = runs[runs["metric"].isin(PAPER_METRICS)]
    mean = _estimate(group, four if len(four) else runs, "aggregation", np.mean)
    fewest = {}
    if len(mean) == 3:
        fewest = {groups.name_aggregation(name): mean[name] - mean["mean"]
                  for name in ("l2", "max")}  # fmt: skip
    rising = {metric: _follow(_estimate(group, own, "layer", np.mean), group.layers)
              for metric, own in runs.groupby("metric", sort=False)}  # fmt: skip
    grows = {str(name): each for name, each in rising.items() if each is not None}
    peaks = _estimate(group, runs, "metric", np.max)
    claims = [
        _claim_most("d′ selects most", group, peaks, "dprime"),
        claim("mean gives fewest", fewest),
        _claim_alone("only FSI grows with depth", group, grows),
    ]
    says = f"Of kernels, {_list_peaks(group, runs)}"
    if len(mean) > 1:
        each = [f"{groups.name_aggregation(n)} {value.tell(1)} %" for n, value in mean.items()]
        says += f"; over layers and metrics {groups.join_words(each)}"
    if grows:
        told = {name: GROWTH[each.is_above(GROWS)] for name, each in grows.items()}
        says += f"; with depth {groups.list_metrics(group, told)}"
    return _panel(group, "c", table, f"{says}.", claims)


def make_panel_d(group: Group) -> Panel:
    """Rank correlation of each metric's scores with what lesions leave of the face task."""
    runs = _find_kernels(group, "spearman", "lesion")
    pairs = [f"with_{name}{end}" for name in group.styles for end in ("", *names.CI95)]
    known = [column for column in pairs if column in runs]
    table = group.table(runs, [*groups.POINT, *groups.LESION, *known])
    last = runs[runs["layer"] == runs["layer"].iloc[-1]]
    if len(last) < 2:
        raise Missing("one metric alone was lesioned")
    by_metric = {str(run["metric"]): run for _, run in last.iterrows()}
    r = {name: group.estimate(run, "spearman") for name, run in by_metric.items()}
    told = pd.Series({name: str(each) for name, each in r.items()})
    baseline = told.index.isin(runs.loc[runs["baseline"], "metric"])
    how = last.reindex(columns=["greedy_dropped", "attribution_points"]).notna().any()
    what = "the face performance that remains without the kernel"
    if how["greedy_dropped"]:
        what = "the kernel's place in the greedy search of the face task, 0 = dropped first,"
    elif how["attribution_points"]:
        what += " (an estimate)"
    says = (
        f"{groups.name_place(last)}, Spearman's r of "
        f"score and {what} is {groups.list_metrics(group, told[~baseline])} (negative: selective "
        "kernels matter)"
    )
    if baseline.any():
        says += f"; of a baseline, {groups.list_metrics(group, told[baseline])}"
    claims = _compare_lesions(group, by_metric, r)
    return _panel(group, "d", table, f"{says}.", claims, set(by_metric))


def _compare_lesions(
    group: Group, by_metric: Mapping[str, pd.Series], r: Mapping[str, Estimate]
) -> list[Claim]:
    """What the paper says of panel d, where its four metrics were asked."""
    if not set(PAPER_METRICS) <= set(by_metric):
        return []
    fsi, *others = PAPER_METRICS
    closer = {group.label(name): r[name] - r[fsi] for name in others}
    closer["no correlation"] = 0 - r[fsi]
    among = [group.estimate(by_metric[a], f"with_{b}") for a, b in combinations(others, 2)]
    apart = [group.estimate(by_metric[fsi], f"with_{name}") for name in others]
    mean: Any = partial(np.mean, axis=0)
    alike = combine(mean, among) - combine(mean, apart)
    return [
        claim("FSI closest", closer),
        claim("the other three more alike among themselves than with FSI", {"": alike}),
    ]


def make_panel_e(group: Group) -> Panel:
    """Identity decoded from equally many kernels a metric, in the deepest layer."""
    runs = _find_kernels(group, "accuracy", "decoding")
    runs = runs[runs["layer"] == runs["layer"].iloc[-1]]
    if len(runs) < 2:
        raise Missing("identity was decoded from one metric's kernels alone")
    prefix = names.DECODED_FIXED.removeprefix(names.DECODED)
    cases, fixed = {"": runs}, runs.filter(regex=f"^{prefix}").dropna(how="all")
    if fixed.size:
        cases[prefix] = runs.assign(**fixed.rename(columns=lambda name: name.removeprefix(prefix)))
    tables, claims, told = [], [], []
    for start, own in cases.items():
        further = own.filter(regex="^accuracy_identities|^difference_").columns
        table = group.table(own, [*groups.POINT, *groups.DECODING, *further])
        claimed = _claim_similar(group, table.set_index("metric"))
        parts = [*own.groupby("kernels", sort=False)]  # a metric from outside may select fewer
        numbers = [f"N = {tell_count(kernels)}" for kernels, _ in parts]
        text = f"{claimed.text} ({numbers[0]})" if start else claimed.text
        claims.append(replace(claimed, text=text))
        told += [_tell_decoding(group, runs.loc[each.index], start, number)
                 for number, (_, each) in zip(numbers, parts, strict=True)]  # fmt: skip
        tables.append(table)
    says = (
        f"{groups.name_place(tables[0])}, the identity of faces is decoded from equally many "
        f"kernels a metric {'. '.join(told)}."
    )
    return _panel(group, "e", pd.concat(tables, ignore_index=True), says, claims)


def _tell_decoding(group: Group, runs: pd.DataFrame, start: str, number: str) -> str:
    """Tell what is decoded from each metric's kernels, and what it is to be judged against."""

    def tell(run: pd.Series, column: str) -> str:
        percent = combine(lambda one: 100 * one[0], [group.estimate(run, f"{start}{column}")])
        return f"{percent.tell(1)} %"

    first = runs.iloc[0]
    found = {str(run["metric"]): tell(run, "accuracy") for _, run in runs.iterrows()}
    return (
        f"({number}) with {groups.list_metrics(group, found)}; from random ones "
        f"{tell(first, 'random_kernels')}, all {tell(first, 'all_kernels')}, chance "
        f"{tell(first, 'chance')}"
    )


def make_panel_f(group: Group) -> Panel:
    """Mean consistency of the metrics over layers, trained and untrained."""
    runs = _find_consistency(group)
    table = group.table(runs, ["aggregation", "layer", "trained", *groups.CONSISTENCY])
    aggregation = runs["aggregation"].iloc[0]
    shown = runs[runs["aggregation"] == aggregation]
    course = {trained: {str(run["layer"]): group.estimate(run, "mean")
                              for _, run in own.iterrows()}
              for trained, own in shown.groupby("trained", sort=False)}  # fmt: skip
    since = ABOVE_FROM if ABOVE_FROM in group.layers else group.layers[len(group.layers) // 2]
    after, before = course.get(True, {}), course.get(False, {})
    above = {name: after[name] - before[name]
             for name in group.layers[group.layers.index(since) :]
             if name in after and name in before}  # fmt: skip
    grows = {trained: _follow(means, group.layers) for trained, means in course.items()}
    rising, flat, only = grows.get(True), grows.get(False), UNTESTED
    if rising is not None and flat is not None:
        only = join([rising.is_above(GROWS), negate(flat.is_above(GROWS))])
    claims = [
        claim(f"trained above untrained from {since} on", above, name="difference in"),
        Claim("grows with depth only when trained", only),
    ]
    told = []
    for trained, means in course.items():
        points = [f"{each.tell(2)} in {layer}" for layer, each in means.items()]
        how = names.TRAINED[trained]
        if (depth := grows[trained]) is not None:
            how += f", {GROWTH[depth.is_above(GROWS)]}"
        told.append(f"{points[0]} to {points[-1]} ({how})")
    of = groups.name_aggregation(aggregation)
    of = of if aggregation == "unit" else f"kernels ({of})"
    says = f"The metrics' mean rank correlation over {of} goes from {' and from '.join(told)}"
    if group.trained and group.untrained.empty:
        says += f"; {group.unpaired}"
    return _panel(group, "f", table, f"{says}.", claims if aggregation == "unit" else [])


def _find_consistency(group: Group) -> pd.DataFrame:
    """A run of each aggregation, layer and network, single units first: pairs are in all alike."""
    runs = pd.concat(
        [group.runs.assign(trained=group.state), group.untrained.assign(trained=False)]
    )
    # A metric from outside joins the set in its own runs: the smaller set is common to all.
    pairs = runs[[f"with_{name}" for name in group.styles if f"with_{name}" in runs]]
    fewest = runs.loc[pairs.notna().sum(axis="columns").sort_values(kind="stable").index]
    runs = fewest.drop_duplicates(["aggregation", "trained", "layer"])
    runs = runs[runs.groupby("aggregation")["layer"].transform("nunique") > 1]
    if runs.empty:
        raise Missing("one layer has no course over depth")
    return groups.sort_rows(
        runs,
        {"aggregation": ["unit", *PREFERRED], "trained": [*names.TRAINED], "layer": group.layers},
    )


MAKERS = dict(b=make_panel_b, c=make_panel_c, d=make_panel_d, e=make_panel_e, f=make_panel_f)


# --- parts ----------------------------------------------------------------------------------------


def _panel(
    group: Group,
    letter: str,
    table: pd.DataFrame,
    says: str,
    claims: Sequence[Claim],
    metrics: set[str] | None = None,
) -> Panel:
    """A panel set against the paper, which is about its four `metrics`: else about the table's."""
    title, caption, paper = TEXTS[letter]
    asked = set(table.get("metric", PAPER_METRICS)) if metrics is None else metrics
    why = _why_uncompared(group, letter, asked)
    return Panel(letter, title, table, says, caption, paper, claims, why)


def _find_selective(group: Group, asked: pd.Series, none: str) -> pd.DataFrame:
    """Runs of those asked for, without baselines, whose criterion selects as many as it is told."""
    runs = group.runs[asked & ~group.runs["baseline"]]
    if len(runs) > 1:
        return runs
    none = "how many a baseline's criterion selects says nothing" if asked.any() else none
    raise Missing("one run alone has nothing to be compared with" if len(runs) else none)


def _claim_similar(group: Group, decoded: pd.DataFrame) -> Claim:
    """Claim that no two of the paper's metrics differ by more than `SIMILAR`: an equivalence test.

    It holds where the interval of every paired difference over identities lies within the bound,
    does not where one lies outside. Told is the interval that reaches furthest, or lies so.
    """
    text = f"no two metrics differ by more than {100 * SIMILAR:g} points"
    first, second = np.triu_indices(len(PAPER_METRICS), 1)
    low, high = (
        decoded.reindex(PAPER_METRICS, columns=[f"difference_{m}{end}" for m in PAPER_METRICS])
        .to_numpy()[first, second]
        for end in names.CI95
    )  # fmt: skip
    if np.isnan([low, high]).any():
        return Claim(text, UNTESTED)
    reaches, lies = np.maximum(-low, high), np.maximum(low, -high)
    holds = NO if lies.max() > SIMILAR else YES if reaches.max() <= SIMILAR else UNSURE
    told = (lies if holds == NO else reaches).argmax()
    both = [group.label(PAPER_METRICS[metrics[told]]) for metrics in (first, second)]
    ends = f"{100 * low[told]:z.1f} to {100 * high[told]:z.1f}".replace("-", "−")
    return Claim(text, holds, f"{groups.join_words(both)} differ by {ends}")


def _find_kernels(group: Group, measure: str, step: str) -> pd.DataFrame:
    """Runs of kernels by L2, or the first aggregation there is, that have the measure."""
    runs = groups.find_preferred(group.runs[group.runs[measure].notna()])
    if runs.empty:
        raise Missing(groups.find_note(group.runs, step) or f"there is no {step}")
    return runs


def _why_uncompared(group: Group, letter: str, metrics: set[str]) -> str:
    """Why the paper's result says nothing about these runs; empty where it does."""
    runs = group.runs
    if group.state == "":
        return "responses from a file are not known to be a trained network's"
    if not group.trained and letter == "f":
        return "no trained network was asked"
    if not group.trained:
        return "the paper's networks were trained"
    if set(runs["target"]) != {"faces"}:
        return f"the paper asked about faces, not {runs['target'].iloc[0]}"
    if letter in "bc" and not runs["at_papers"].all():
        other = runs[~runs["at_papers"]].iloc[0]
        number = other["threshold"] if np.isnan(other["criterion"]) else other["criterion"]
        if np.isnan(other["paper"]) and not pd.isna(other["rule"]):  # which may not be the paper's
            number = f"{number} by the rule {other['rule']}"
        return f"the paper's criteria are threshold=paper, {other['metric']}'s is {number}"
    if not set(PAPER_METRICS) <= metrics:
        return f"the paper's statement is about {groups.join_words(PAPER_METRICS)} together"
    return ""


def _estimate(group: Group, runs: pd.DataFrame, by: str, function: Any) -> dict[str, Estimate]:
    """Percentages of runs made one by a function of the first axis, for each value of `by`."""
    reduce = partial(function, axis=0)
    return {
        str(name): combine(reduce, [group.estimate(run, "percent") for _, run in own.iterrows()])
        for name, own in runs.groupby(by, sort=False)
    }


def _follow(by_layer: Mapping[str, Estimate], layers: Sequence[str]) -> Estimate | None:
    """The rank correlation with depth; None below `FEWEST_LAYERS`, which say nothing of it."""
    values = [by_layer[name] for name in layers if name in by_layer]
    if len(values) < FEWEST_LAYERS:
        return None

    def correlate(each: NDArray[np.float64]) -> NDArray[np.float64]:
        ranks = rankdata(each, axis=0) - (len(each) + 1) / 2
        depth = np.arange(len(each)) - (len(each) - 1) / 2
        size = np.sqrt((ranks**2).sum(axis=0) * (depth**2).sum())
        return np.asarray(depth @ ranks / np.where(size > 0, size, 1))  # 0 where nothing moves

    return combine(correlate, values)


def _claim_most(text: str, group: Group, peaks: Mapping[str, Estimate], most: str) -> Claim:
    """Claim that a metric's largest percentage exceeds each other's of the paper's four."""
    others = [name for name in PAPER_METRICS if name != most and name in peaks]
    differences = {group.label(name): peaks[most] - peaks[name] for name in others if most in peaks}
    return claim(text, differences)


def _claim_alone(text: str, group: Group, grows: Mapping[str, Estimate]) -> Claim:
    """Claim that of the paper's four FSI grows with depth, and no other does."""
    known = {name: grows[name] for name in PAPER_METRICS if name in grows}
    if set(known) != set(PAPER_METRICS):
        return Claim(text, UNTESTED)
    found = {name: each.is_above(GROWS) for name, each in known.items()}
    others = [negate(verdict) for name, verdict in found.items() if name != "fsi"]
    told = groups.list_metrics(group, {name: str(each) for name, each in known.items()})
    return Claim(text, join([found["fsi"], *others]), f"rank correlation with depth {told}")


def _list_peaks(group: Group, runs: pd.DataFrame) -> str:
    """`by layer, FSI up to 12.3 % (conv13) … are selective`, in the order of the metrics."""
    told = {}
    for metric, part in runs.groupby("metric", sort=False):
        run = part.iloc[part["percent"].argmax()]
        where = run["layer"]
        if runs["aggregation"].nunique() > 1:
            where += f", {groups.name_aggregation(run['aggregation'])}"
        place = f" ({where})" if run["percent"] > 0 else ""
        told[str(metric)] = f"up to {group.estimate(run, 'percent').tell(1)} %{place}"
    return f"by layer, {groups.list_metrics(group, told)} are selective"
