"""The paper's Figure 1, panels b to f.

Of a group of runs, the table, what it says, what the paper says, and whether both agree. The rules
of that are the panels' claims.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from app import names
from app.figures.panels import PREFERRED
from app.figures.render import format_number
from app.findings.consistency import spearman
from app.sweeps import groups
from app.sweeps.groups import Claim, Group, Missing, Panel

PAPER_METRICS = ["fsi", "dprime", "wilcoxon", "ttest"]
OTHERS_AT_MOST = 3.0  # percent of units, panel b
ABOVE_FROM = "conv7"  # panel f; of a network without such a layer, its second half
GROWS = 0.5  # rank correlation with depth, above which a finding grows with it

# Of each panel: its title, what is shown, with the rules of the claims that their words do not say,
# and the paper's result.
TEXTS = {
    "b": (
        "Selective units",
        "Percent of single units that each metric's criterion selects, by layer.",
        "FSI up to 20 %; the other three at most 3 %.",
    ),
    "c": (
        "Selective kernels",
        "The same of kernels, by aggregation. A metric grows with depth where its percentage, the "
        "mean over aggregations, has a rank correlation with depth above 0.5; mean gives fewest "
        "where its mean over layers and metrics is below that of L2 and of max.",
        "d′ most sensitive, up to 35 %; mean gives fewer than L2 or max; only FSI grows with "
        "depth.",
    ),
    "d": (
        "Selectivity and lesions",
        "Spearman's r of score and face performance without the kernel; the deepest layer in full "
        "colour. The closest metric has the lowest r, below 0; alike are metrics whose scores have "
        "a high mean rank correlation.",
        "FSI closest, r = −0.29; the other three alike among themselves.",
    ),
    "e": (
        "Identity decoding",
        "From equally many kernels a metric (N), with the 95 % interval of the mean over folds; "
        "grey: N random kernels, all kernels, chance. Similar are metrics of which no two differ: "
        "the 95 % interval of their paired difference, over identities, holds 0.",
        "highly similar across metrics.",
    ),
    "f": (
        "Consistency",
        "Mean over pairs of metrics of their rank correlation over single units, and SEM across "
        "pairs. It grows with depth where its own rank correlation with depth is above 0.5.",
        "trained above untrained from conv7 on; grows with depth only when trained.",
    ),
}


def make_panel_b(group: Group) -> Panel:
    """Percent of single units that each metric selects, over layers."""
    none = "no single units were scored (aggregation=unit)"
    runs = _find_selective(group, group.runs["aggregation"] == "unit", none)
    table = group.table(runs, ["layer", "metric", *groups.SELECTION])
    fsi, *others = _peaks(table).reindex(PAPER_METRICS)
    claims = [
        Claim("FSI selects most", fsi > max(others)),
        Claim(f"the others at most {OTHERS_AT_MOST:g} %", max(others) <= OTHERS_AT_MOST),
    ]
    says = f"Of single units, {_list_peaks(group, table)}."
    return _panel(group, "b", table, says, claims)


def make_panel_c(group: Group) -> Panel:
    """Percent of kernels that each metric selects, over layers and by aggregation."""
    none = "no kernels were scored (aggregation=mean, l2 or max)"
    runs = _find_selective(group, group.runs["aggregation"] != "unit", none)
    table = group.table(runs, [*groups.POINT, *groups.SELECTION])
    mean = table.groupby("aggregation", sort=False)["percent"].mean()
    depth = table.groupby(["metric", "layer"], sort=False)["percent"].mean().unstack()
    depth = depth.reindex(columns=[name for name in group.layers if name in depth])
    grows = {str(metric): _grows(values) for metric, values in depth.iterrows()}
    peaks = _peaks(table).reindex(PAPER_METRICS)
    fewest = alone = None
    if len(mean) == 3:
        four = table[table["metric"].isin(PAPER_METRICS)]
        of_four = four.groupby("aggregation")["percent"].mean().reindex(mean.index)
        fewest = bool(of_four["mean"] < min(of_four["l2"], of_four["max"]))
    if grows.get("fsi") is not None:
        alone = [name for name in PAPER_METRICS if grows.get(name)] == ["fsi"]
    claims = [
        Claim("d′ selects most", peaks["dprime"] > peaks.drop("dprime").max()),
        Claim("mean gives fewest", fewest),
        Claim("only FSI grows with depth", alone),
    ]
    says = f"Of kernels, {_list_peaks(group, table)}"
    if len(mean) > 1:
        each = [f"{groups.name_aggregation(name)} {value:.1f} %" for name, value in mean.items()]
        says += f"; over layers and metrics {groups.join_words(each)}"
    growing = [group.label(name) for name, does in grows.items() if does]
    if any(does is not None for does in grows.values()):
        grow = "grows" if len(growing) < 2 else "grow"
        says += f"; {groups.join_words(growing) or 'none'} {grow} with depth"
    return _panel(group, "c", table, f"{says}.", claims)


def make_panel_d(group: Group) -> Panel:
    """Rank correlation of each metric's scores with what lesions leave of the face task."""
    runs = _find_kernels(group, "spearman", "lesion")
    pairs = runs.filter(regex="^with_").columns.tolist()
    table = group.table(runs, [*groups.POINT, *groups.LESION, *pairs])
    last = table[table["layer"] == table["layer"].iloc[-1]]
    if len(last) < 2:
        raise Missing("one metric alone was lesioned")
    by_metric = last.set_index("metric")
    alike = by_metric.reindex(
        index=PAPER_METRICS, columns=[f"with_{name}" for name in PAPER_METRICS]
    )
    among = alike.iloc[1:, 1:].to_numpy()[np.triu_indices(3, 1)].mean()
    with_fsi = alike.iloc[0, 1:].to_numpy().mean()
    fsi, *others = by_metric["spearman"].reindex(PAPER_METRICS)
    claims = [
        Claim("FSI closest", bool(fsi < 0 and fsi <= np.nanmin([*others, 0]))),
        Claim(
            f"the other three more alike among themselves (mean r = {format_number(among)}) than "
            f"with FSI ({format_number(with_fsi)})",
            bool(among > with_fsi),
        ),
    ]
    baseline = by_metric.index.isin(runs.loc[runs["baseline"], "metric"])
    told = by_metric["spearman"].map(format_number)
    says = (
        f"{groups.name_place(last)}, Spearman's r of score and the face performance that remains "
        f"without the kernel is {groups.list_metrics(group, told[~baseline])} (negative: selective "
        "kernels matter)"
    )
    if baseline.any():
        says += f"; of a baseline, {groups.list_metrics(group, told[baseline])}"
    return _panel(group, "d", table, f"{says}.", claims, set(last["metric"]))


def make_panel_e(group: Group) -> Panel:
    """Identity decoded from equally many kernels a metric, in the deepest layer."""
    runs = _find_kernels(group, "accuracy", "decoding")
    runs = runs[runs["layer"] == runs["layer"].iloc[-1]]
    if len(runs) < 2:
        raise Missing("identity was decoded from one metric's kernels alone")
    further = runs.filter(regex="^accuracy_identities|^difference_").columns
    table = group.table(runs, [*groups.POINT, *groups.DECODING, *further])
    claims = [Claim("no two metrics differ", _are_alike(table.set_index("metric")))]
    first = table.iloc[0]
    found = groups.list_metrics(group, table.set_index("metric")["accuracy"].map(_percent))
    says = (
        f"{groups.name_place(table)}, the identity of faces is decoded from equally many kernels a "
        f"metric (N = {first['kernels']}) with {found}; from random ones "
        f"{_percent(first['random_kernels'])}, all {_percent(first['all_kernels'])}, chance "
        f"{_percent(first['chance'])}."
    )
    return _panel(group, "e", table, says, claims)


def make_panel_f(group: Group) -> Panel:
    """Mean consistency of the metrics over layers, trained and untrained."""
    table = _tabulate_consistency(group)
    by_layer = table.set_index("layer").groupby("trained", sort=False)["mean"]
    course = {bool(trained): means for trained, means in by_layer}
    grows = {trained: _grows(means) for trained, means in course.items()}
    since = ABOVE_FROM if ABOVE_FROM in group.layers else group.layers[len(group.layers) // 2]
    above = only = None
    if len(course) == 2:
        rest = group.layers[group.layers.index(since) :]
        late = [layer for layer in rest if layer in course[True]]
        above = bool((course[True][late] > course[False].reindex(late)).all())
        only = bool(grows[True]) and not grows[False]
    claims = [
        Claim(f"trained above untrained from {since} on", above),
        Claim("grows with depth only when trained", only),
    ]
    told = []
    for trained, means in course.items():
        first, last = map(format_number, (means.iloc[0], means.iloc[-1]))
        how = "trained" if trained else "untrained"
        if grows[trained] is not None:
            how += ", grows" if grows[trained] else ", does not grow"
        told.append(f"{first} in {means.index[0]} to {last} in {means.index[-1]} ({how})")
    says = "The metrics' mean rank correlation over single units goes from "
    says += " and from ".join(told)
    if group.trained and group.untrained.empty:
        says += f"; {group.unpaired}"
    return _panel(group, "f", table, f"{says}.", claims)


def _tabulate_consistency(group: Group) -> pd.DataFrame:
    runs = pd.concat(
        [group.runs.assign(trained=group.trained), group.untrained.assign(trained=False)],
        ignore_index=True,
    )
    runs = runs[runs["aggregation"] == "unit"]
    if runs.empty:
        raise Missing("no single units were scored (aggregation=unit)")
    # A metric from outside joins the set in its own runs: the smaller set is common to all.
    pairs = runs.filter(like="with_").notna().sum(axis="columns")
    fewest = runs.loc[pairs.sort_values(kind="stable").index]
    runs = fewest.drop_duplicates(["trained", "layer"]).sort_index()
    if runs["layer"].nunique() < 2:
        raise Missing("one layer has no course over depth")
    table = group.table(runs, ["layer", *groups.CONSISTENCY])
    table.insert(1, "trained", runs["trained"].to_numpy())
    return table


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


def _are_alike(decoded: pd.DataFrame) -> bool | None:
    """Whether the interval of every paired difference of the paper's metrics holds 0."""
    low, high = (
        decoded.reindex(PAPER_METRICS, columns=[f"difference_{m}{end}" for m in PAPER_METRICS])
        .to_numpy()[np.triu_indices(len(PAPER_METRICS), 1)]
        for end in names.CI95
    )  # fmt: skip
    if np.isnan([low, high]).any():
        return None
    return bool(np.all((low <= 0) & (high >= 0)))


def _find_kernels(group: Group, measure: str, step: str) -> pd.DataFrame:
    """Runs of kernels by L2, or the first aggregation there is, that have the measure."""
    runs = group.runs[(group.runs["aggregation"] != "unit") & group.runs[measure].notna()]
    if runs.empty:
        raise Missing(groups.find_note(group.runs, step) or f"there is no {step}")
    aggregation: str = min(runs["aggregation"], key=PREFERRED.index)
    return runs[runs["aggregation"] == aggregation]


def _why_uncompared(group: Group, letter: str, metrics: set[str]) -> str:
    """Why the paper's result says nothing about these runs; empty where it does."""
    runs = group.runs
    if not group.trained and letter == "f":
        return "no trained network was asked"
    if not group.trained:
        return "the paper's networks were trained, this one is not"
    if set(runs["target"]) != {"faces"}:
        return f"the paper asked about faces, not {runs['target'].iloc[0]}"
    if letter in "bc" and not runs["at_papers"].all():
        other = runs[~runs["at_papers"]].iloc[0]
        number = other["threshold"] if np.isnan(other["criterion"]) else other["criterion"]
        return f"the paper's criteria are threshold=paper, {other['metric']}'s is {number}"
    if not set(PAPER_METRICS) <= metrics:
        return f"the paper's statement is about {groups.join_words(PAPER_METRICS)} together"
    return ""


def _grows(values: pd.Series) -> bool | None:
    """Whether values rise with depth: their rank correlation with it exceeds `GROWS`."""
    found = values.dropna().to_numpy()
    if len(found) < 2:
        return None
    if len(found) == 2:
        return bool(found[1] > found[0])
    return bool(spearman(np.arange(len(found)), found) > GROWS)


def _peaks(table: pd.DataFrame) -> pd.Series:
    """The largest percentage of each metric."""
    return table.groupby("metric", sort=False)["percent"].max()


def _list_peaks(group: Group, table: pd.DataFrame) -> str:
    """`by layer, FSI up to 12.3 % (conv13) … are selective`, in the order of the metrics."""
    told = {}
    for metric, part in table.groupby("metric", sort=False):
        row = part.iloc[part["percent"].argmax()]
        where = row["layer"]
        if "aggregation" in part and table["aggregation"].nunique() > 1:
            where += f", {groups.name_aggregation(row['aggregation'])}"
        place = f" ({where})" if row["percent"] > 0 else ""
        told[str(metric)] = f"up to {row['percent']:.1f} %{place}"
    return f"by layer, {groups.list_metrics(group, told)} are selective"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
