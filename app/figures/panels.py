"""The panels of a sweep's report: tidy tables in, figures out, each alone or all in one.

A metric has its own colour and an aggregation its own place in the paper's panels, b to f.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from app.figures import definitions
from app.figures.definitions import draw_definitions
from app.figures.render import add_legend, find_errors, fold, new_figure
from app.figures.style import DARK, GREY, MIDDLE, PAGE, PALE, WIDTH, Style, paper_style
from app.findings.multiverse import OUTCOMES
from app.findings.selection import RULES, Rule
from app.names import name_units
from app.spelling import shorten

ROW = 2.5  # inches: of axes and their legend
LONG, MANY = 14, 7  # characters of a layer's name that are shown; layers that all have a label
COLUMNS = 4  # in a row: b and c of three aggregations, or d, e and f
MATRIX = 1.5  # times as high is a row with the matrix of many metrics
FEW, MARKS = 6, 40  # metrics that share a column however many layers; else marks it has room for
FIRST = "giklm"  # in a row: what moves with the criterion is not beside the paper's
UNLIKE = "dkl"  # axes of one panel that show different things
SPREAD = 0.07  # between the metrics of a layer, of the distance between two layers
PREFERRED = ("l2", "mean", "max", "unit")  # aggregations, where one alone is shown
AGGREGATION_NAMES = {"mean": "Mean", "l2": "L2 norm", "max": "Maximum"}
BARS, TITLE = 9, 26  # bars with names, and characters, that a column has room for
MARKERS = "os^DvP*X<>hdp"  # of metrics, beside their colours or where these would tell another
LEVELS = 3  # of a colour scale that a legend shows
# Of choices, which have no order: Tol's muted colours.
SHADES = ("#CC6677", "#88CCEE", "#44AA99", "#117733", "#DDCC77", "#332288", "#AA4499")
BESIDE: dict[str, tuple[str, dict[str, Any]]] = {
    "random_kernels": ("as many random kernels", {"linestyle": ":"}),
    "all_kernels": ("all kernels", {"linestyle": "--", "linewidth": 0.8}),
    "chance": ("chance", {"linestyle": "-", "linewidth": 0.8}),
}
TASKS: dict[str, dict[str, Any]] = {  # not in colours that metrics have
    "face": {"color": DARK, "marker": "o"},
    "object": {"color": MIDDLE, "marker": "s", "markerfacecolor": "white"},
}

# Letter, title, and the table that `app.sweeps.figure1` or `app.sweeps.criteria` made; its layers
# are categories, from the first to the deepest.
Drawn = tuple[str, str, pd.DataFrame]


@paper_style()
def plot_panels(
    drawn: Sequence[Drawn], styles: Mapping[str, Style], title: str = "", width: float = PAGE
) -> Figure:
    """Return all panels in rows, each with its legend; the paper's stand as in the paper."""
    rows: list[list[Drawn]] = []
    for each in drawn:
        if not rows or each[0] in FIRST or sum(_list_widths(*rows[-1], each)) > COLUMNS:
            rows.append([])
        rows[-1].append(each)
    alone = len(drawn) == 1
    lines = [-(-sum(_list_widths(*row, alone=alone)) // COLUMNS) for row in rows]
    crowded = alone and drawn[0][0] == "d" and find_width("d", drawn[0][2]) > 1
    heights = [high * (MATRIX if crowded else 1) for high in lines]
    figure = new_figure(ROW * sum(heights) + 0.2 * bool(title), width, title)
    parts = figure.subfigures(len(rows), squeeze=False, height_ratios=heights).flat
    for part, row, high in zip(parts, rows, lines, strict=True):
        widths = _list_widths(*row, alone=alone)
        columns = -(-len(widths) // high)
        left = iter(part.subplots(high, columns, squeeze=False, width_ratios=widths[:columns]).flat)
        for each in row:
            letter, name, table = each
            own = list(islice(left, len(_list_widths(each, alone=alone))))
            for ax in own[1:] if letter not in UNLIKE else []:
                ax.sharey(own[0])
            PANELS[letter](own, table, styles)
            below = 1 + max(ax.get_title().count("\n") for ax in own)  # lines of titles
            heading = f"{letter}   {name}" + "\n" * below
            own[0].set_title(heading, loc="left", weight="bold", fontsize=7.5)
            for place, ax in enumerate(own):
                ax.tick_params(labelleft=letter in UNLIKE or place % columns == 0)
            for ax in own[columns::columns]:
                ax.set_ylabel(own[0].get_ylabel())
        for ax in left:
            ax.remove()
        add_legend(part, width)
    return figure


def plot_panel(drawn: Drawn, styles: Mapping[str, Style]) -> Figure:
    """Return one panel on a column's width; on the page's where it has axes for many metrics."""
    widths = _list_widths(drawn)
    many = drawn[0] in "dklm" or drawn[0] in "bc" and max(widths) > 1
    many |= drawn[0] in "ghij" and len(widths) > 2
    return plot_panels([drawn], styles, width=PAGE if many else WIDTH)


def _list_widths(*drawn: Drawn, alone: bool = False) -> list[int]:
    """How many columns each of the panels' axes takes: one, but for marks of many metrics."""
    widths: list[int] = []
    for letter, _, table in drawn:
        if letter == "l":
            widths += [COLUMNS // 2] * definitions.count_axes(table)
        elif letter == "e":
            widths.append(min(-(-len(table) // BARS), COLUMNS))
        else:
            widths += [find_width(letter, table)] * count_axes(letter, table, alone)
    return widths


def find_width(letter: str, table: pd.DataFrame) -> int:
    """The columns that axes take which show all metrics side by side, layer by layer or so."""
    if letter not in "bcdk" or table["metric"].nunique() <= FEW:
        return 1
    places = table["case" if letter == "k" else "layer"].nunique()
    return int(np.clip(-(-table["metric"].nunique() * places // MARKS), 2, COLUMNS))


def _look(metric: str, styles: Mapping[str, Style], plain: bool = False) -> dict[str, Any]:
    """How a metric's line or bars look: its colour, and the marker of its place among all.

    `plain`: in a grey of its place instead, for lines that are of two metrics.
    """
    place = list(styles).index(metric)
    grey = str(0.65 * place / max(len(styles) - 1, 1))
    return {
        "color": grey if plain else styles[metric].colour,
        "marker": MARKERS[place % len(MARKERS)],
        "label": f"with {styles[metric].label}" if plain else styles[metric].label,
    }


def count_axes(letter: str, table: pd.DataFrame, alone: bool = False) -> int:
    """How many axes a panel has; `alone`: in a figure of its own."""
    if letter == "c":
        return int(table["aggregation"].nunique())
    if letter == "f":
        return len(_list_courses(table))
    if letter == "k" or letter == "d" and alone:  # bars, and the matrix
        return 2
    if letter == "m":
        return len(table.groupby(["trained", "outcome"]))
    return len(at_criteria(table)) if letter in "ghij" else 1


# --- what a panel draws ---------------------------------------------------------------------------


def draw_selective(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Draw panels b and c: percent selective over layers, a line a metric, by aggregation."""
    layers = _layers(table)
    parts = table.groupby("aggregation", sort=False) if "aggregation" in table else [("", table)]
    for ax, (aggregation, part) in zip(axes, parts, strict=True):
        metrics = list(dict.fromkeys(part["metric"]))
        for number, metric in enumerate(metrics):
            rows = part[part["metric"] == metric]
            offset = min(SPREAD, 0.8 / len(metrics)) * (number - (len(metrics) - 1) / 2)
            places = [layers.index(name) + offset for name in rows["layer"]]
            below, above = find_errors(rows, "percent")
            ax.errorbar(
                places, rows["percent"], [np.minimum(below, rows["percent"]), above],
                elinewidth=0.8, clip_on=False, **_look(metric, styles),
            )  # fmt: skip
            if "null_percent" in rows:
                ax.plot(places, rows["null_percent"], "_", color=MIDDLE, clip_on=False, zorder=3,
                        markersize=6, markeredgewidth=1.2, label="labels shuffled")  # fmt: skip
        _set_layers(ax, layers)
        ax.set_title(AGGREGATION_NAMES.get(str(aggregation), str(aggregation)), loc="center")
    tops = table["percent"] + np.nan_to_num(find_errors(table, "percent")[1])
    highest = float(np.nanmax([tops, table.get("null_percent", tops)], initial=0))
    axes[0].set_ylim(0, max(1.08 * highest, 1))
    _label_share(axes[0], table)


def draw_lesions(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Draw panel d: r by layer and metric; the deepest, which the paper asked, in full colour."""
    ax, layers, metrics = axes[0], _layers(table), list(dict.fromkeys(table["metric"]))
    width = 0.8 / len(metrics)
    for number, metric in enumerate(metrics):
        part, style = table[table["metric"] == metric], styles[metric]
        places = np.array([layers.index(name) for name in part["layer"]])
        ax.bar(
            places + width * (number - (len(metrics) - 1) / 2), part["spearman"], width,
            color=[(style.colour, 1 if place == len(layers) - 1 else 0.35) for place in places],
            yerr=find_errors(part, "spearman"), ecolor=DARK, error_kw={"elinewidth": 0.6},
        )  # fmt: skip
        ax.plot([], [], **_look(metric, styles))
    ax.axhline(0, color=DARK, linewidth=0.6)
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, -0.1), max(high, 0.1))
    _set_layers(ax, layers)
    ax.set_ylabel("Spearman r, score and\nwhat lesions leave")
    for other in axes[1:]:
        draw_matrix(other, table[table["layer"] == layers[-1]], styles)


def draw_matrix(ax: Axes, table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Draw the rank correlations of metrics and lesions with each other, as the paper's panel d."""
    rows = table.set_index("metric")
    known = [str(name) for name in rows.index if f"with_{name}" in rows]
    labels = [styles[name].label for name in known] + ["lesion"]
    size = len(known) + 1
    values = np.full((size, size), np.nan)
    for i, own in enumerate(known):
        for j, column in enumerate([*(f"with_{other}" for other in known), "spearman"]):
            if j <= i:  # itself, or there already
                continue
            value = float(rows[column][own])
            values[j, i], text = value, f"{value:.2f}".replace("-", "−")
            if f"{column}_ci95_low" in rows and size <= FEW + 1:  # else the table alone has it
                low, high = (float(rows[f"{column}_ci95_{end}"][own]) for end in ("low", "high"))
                text += f"\n[{low:.2f}, {high:.2f}]".replace("-", "−")
            small = min(5, 40 / size) if "[" in text else 5
            ax.text(i, j, text, ha="center", va="center", fontsize=small)
    ax.imshow(values, vmin=-1, vmax=1, cmap="RdBu_r", alpha=0.6, aspect="auto")
    ax.set_xticks(range(size - 1), labels[:-1], rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(1, size), labels[1:])
    ax.set_xlim(-0.5, size - 1.5)
    ax.set_ylim(size - 0.5, 0.5)
    ax.tick_params(length=0)


def draw_identity(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Draw panel e: accuracy and its interval by metric; random kernels, all, and chance."""
    ax, first = axes[0], table.iloc[0]
    places, colours = np.arange(len(table)), [styles[name].colour for name in table["metric"]]
    errors = 100 * find_errors(table, "accuracy")
    ax.bar(places, 100 * table["accuracy"], 0.7, color=colours, yerr=errors, ecolor=DARK,
           error_kw={"elinewidth": 0.8})  # fmt: skip
    beside = {"random": "random_kernels", "all": "all_kernels", "chance": "chance"}
    further = len(table) + 0.3 + np.arange(len(beside))
    ax.bar(further, [100 * first[name] for name in beside.values()], 0.7, color=GREY)
    labels = [styles[name].label for name in table["metric"]] + list(beside)
    short = shorten(labels, TITLE)
    labels = [short[label] for label in labels]
    ax.set_xticks([*places, *further], labels, rotation=45, ha="right", rotation_mode="anchor")
    ax.tick_params(axis="x", length=0, pad=2)
    ax.set_ylabel("Identity accuracy (%)")
    told = "± SD" if "accuracy_sd" in table else "95 % CI"
    title = f"{first['layer']}, N = {first['kernels']:.4g}, {told}"
    ax.set_title(fold(title, TITLE + 8), loc="center")


def draw_consistency(
    axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]
) -> None:
    """Draw panel f: mean rank correlation over layers, trained and untrained."""
    layers = _layers(table)
    for ax, aggregation in zip(axes, _list_courses(table), strict=True):
        shown = table[table["aggregation"] == aggregation]
        for trained, part in shown.groupby("trained", sort=False):
            colour = DARK if trained else "#888888"
            ax.errorbar(
                [layers.index(name) for name in part["layer"]], part["mean"],
                find_errors(part, "mean"), marker="o", color=colour,
                linestyle="-" if trained else "--", markerfacecolor=colour if trained else "white",
                elinewidth=0.8, label="trained" if trained else "untrained",
            )  # fmt: skip
        _set_layers(ax, layers)
        ax.set_title(name_units(aggregation), loc="center")
    told = "95 % CI or SD" if "mean_sd" in table else "95 % CI"
    axes[0].set_ylabel(f"Mean Spearman r\nof the metrics [{told}]")


def _list_courses(table: pd.DataFrame) -> list[str]:
    """Panel f's aggregations that are drawn: single units, and the preferred one of kernels."""
    kernels = set(table["aggregation"]) - {"unit"}
    first = sorted(kernels, key=PREFERRED.index)[:1]
    return [name for name in ("unit", *first) if name in set(table["aggregation"])]


def draw_cases(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Draw panel k: what each metric selects in each case, and how much the metrics share."""
    cases, metrics = (list(dict.fromkeys(table[name])) for name in ("case", "metric"))
    width, places = 0.8 / len(metrics), np.arange(len(cases))
    for ax, column in zip(axes, ("percent", "jaccard"), strict=True):
        for number, metric in enumerate(metrics):
            part, style = table[table["metric"] == metric], styles[metric]
            offset = width * (number - (len(metrics) - 1) / 2)
            ax.bar(places + offset, part[column], width, color=style.colour,
                   yerr=find_errors(part, column), error_kw={"elinewidth": 0.6})  # fmt: skip
            ax.plot([], [], **_look(metric, styles))
        ax.set_xticks(places, ["own\ncriteria", "equal\nfalse positives", "equally\nmany"])
        ax.tick_params(axis="x", length=0)
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("Selected (%)")
    axes[1].set_ylabel("Mean Jaccard index\nwith the others")
    axes[1].set_ylim(0, 1.03)


def draw_explained(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Draw panel m: what choices explain of each outcome, stacked over layers."""
    layers = _layers(table)
    shades = dict(zip(table["choice"].unique(), SHADES, strict=False))
    parts = table.groupby(["trained", "outcome"], sort=False)
    for ax, ((trained, outcome), part) in zip(axes, parts, strict=True):
        shares = 100 * part.pivot(index="layer", columns="choice", values="share")
        shares, base = shares.reindex(layers), np.zeros(len(layers))
        for choice, colour in shades.items():
            height = shares[choice].to_numpy()
            ax.bar(range(len(layers)), height, 0.8, base, color=colour, label=choice)
            base = base + np.nan_to_num(height)
        _set_layers(ax, layers)
        ax.set_title(
            f"{OUTCOMES[str(outcome)]}\n{'trained' if trained else 'untrained'}", loc="center"
        )
    axes[0].set_ylim(0, 100)
    axes[0].set_ylabel("Variance explained (%)")


def _label_share(ax: Axes, table: pd.DataFrame) -> None:
    """Say of what a percentage is: panel b's table, alone without aggregations, is of units."""
    aggregation = table["aggregation"].iloc[0] if "aggregation" in table else "unit"
    ax.set_ylabel(f"Selective {name_units(aggregation)} (%)")


def _layers(table: pd.DataFrame) -> list[str]:
    """Those that the table has, from the first to the deepest."""
    return list(table["layer"].cat.remove_unused_categories().cat.categories)


def _set_layers(ax: Axes, layers: Sequence[str]) -> None:
    """Layers across: convolutions by number, modules by name, turned where they are long."""
    places = list(range(len(layers)))
    if len(layers) > MANY:
        places = places[::-2][::-1]  # the deepest has its label
    labels = [layers[place] for place in places]
    turn: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    if all(re.fullmatch(r"conv\d+", name) for name in layers):
        ax.set_xlabel("Layer (conv)")
        labels, turn = [name.removeprefix("conv") for name in labels], {}
    short = shorten(layers, LONG)
    ax.set_xticks(places, [short.get(name, name) for name in labels], **turn)
    ax.set_xlim(-0.5, len(layers) - 0.5)


# --- against the criterion ------------------------------------------------------------------------


def at_criteria(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return what is drawn of a panel's table: each metric, its rows from liberal to strict.

    Of the deepest layer, by L2 where it was asked; of the others' criteria the first of each.
    """
    aggregation = min(table["aggregation"], key=PREFERRED.index)
    part = table[table["aggregation"] == aggregation]
    part = part[part["layer"] == part["layer"].iloc[-1]]
    point = [name for name in ("metric", "other", "criterion") if name in part]
    part = part.drop_duplicates(point)
    return [
        (str(metric), rows[:: _rule(rows).stricter])
        for metric, rows in part.groupby("metric", sort=False)
    ]


def _rule(rows: pd.DataFrame) -> Rule:
    return RULES[rows["rule"].iloc[0]]


def _each_metric(
    axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style], ylabel: str
) -> Iterator[tuple[Axes, str, pd.DataFrame]]:
    """The axes of each metric, and what to draw there against `criterion`."""
    axes[0].set_ylabel(ylabel)
    each = [(ax, *shown) for ax, shown in zip(axes, at_criteria(table), strict=True)]
    for ax, metric, rows in each:
        ax.set_title(fold(styles[metric].label, TITLE), loc="center")
        ax.set_xlabel(f"criterion ({_rule(rows).axis})")
        ax.set_xscale(_rule(rows).scale)
        if _rule(rows).scale == "log":
            ax.minorticks_off()
            ax.xaxis.set_major_locator(LogLocator(numticks=4))
            ax.xaxis.set_major_formatter("{x:g}")
    yield from each
    paper: dict[str, Any] = {"color": DARK, "linestyle": "-.", "linewidth": 0.6}
    for ax, _, rows in each:
        ax.axvline(rows["paper"].iloc[0], label="the paper's criterion", **paper)
        if _rule(rows).stricter < 0:  # drawn by now: axes without data cannot be turned
            ax.invert_xaxis()


def draw_selected(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Draw panel g: percent selected against the criterion."""
    for ax, metric, rows in _each_metric(axes, table, styles, ""):
        ax.plot(rows["criterion"], rows["percent"], marker="o", color=styles[metric].colour)
        _label_share(axes[0], rows)
    axes[0].set_ylim(0, np.fmax(1.08 * table["percent"].max(), 1))


def draw_overlaps(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Draw panel h: Jaccard's index with each other metric, which its marker tells.

    A line is of two metrics, so it has the colour of neither.
    """
    others = [name for name in styles if name in set(table["other"])]
    if len(others) > FEW:
        _draw_shades(axes, table, styles, others)
        return
    for name in others:  # the legend is in their order
        axes[0].plot([], [], **_look(name, styles, plain=True))
    for ax, _, rows in _each_metric(axes, table, styles, "Jaccard index"):
        for other, line in rows.groupby("other", sort=False):
            look = _look(str(other), styles, plain=True)
            ax.plot(line["criterion"], line["jaccard"], **look)
    axes[0].set_ylim(-0.03, 1.03)


def _draw_shades(
    axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style], others: Sequence[str]
) -> None:
    """Draw panel h of many metrics, whose lines nobody could tell apart: a row of shades each."""
    scale = colormaps["Blues"]
    for ax, _, rows in _each_metric(axes, table, styles, ""):
        grid = rows.pivot(index="other", columns="criterion", values="jaccard").reindex(
            list(others)
        )
        log = _rule(rows).scale == "log"
        at = np.log(grid.columns) if log else grid.columns.to_numpy(float)
        half = np.diff(at) / 2 if len(at) > 1 else np.full(1, 0.5)
        ends = np.array([at[0] - half[0], *(at[1:] - half[: len(at) - 1]), at[-1] + half[-1]])
        edges = np.exp(ends) if log else ends
        ax.set_facecolor(PALE)
        ax.pcolormesh(edges, np.arange(len(others) + 1) - 0.5, grid, cmap=scale, vmin=0, vmax=1)
    shades = {f"Jaccard index {value:g}": scale(value) for value in np.linspace(0, 1, LEVELS)}
    for label, colour in {**shades, "itself, or both select nothing": PALE}.items():
        axes[0].plot([], [], "s", color=colour, markeredgecolor=GREY, markersize=6, label=label)
    axes[0].set_yticks(range(len(others)), [f"with {styles[name].label}" for name in others])
    axes[0].set_ylim(len(others) - 0.5, -0.5)
    axes[0].tick_params(axis="y", length=0)


def draw_decodings(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Draw panel i: accuracy and its interval; random kernels, all, and chance beside it.

    And N below, where it changes: accuracy falls with it.
    """
    axes[0].set_ylim(-14, 103)
    axes[0].set_yticks([-8, *range(0, 101, 25)], ["N", *map(str, range(0, 101, 25))])
    for ax, metric, rows in _each_metric(axes, table, styles, "Identity accuracy (%)"):
        x, colour = rows["criterion"], styles[metric].colour
        middle, (below, above) = 100 * rows["accuracy"], 100 * find_errors(rows, "accuracy")
        ax.fill_between(x, middle - below, middle + above, color=colour, alpha=0.25, linewidth=0)
        ax.plot(x, middle, marker="o", color=colour)
        for name, (label, line) in BESIDE.items():
            ax.plot(x, 100 * rows[name], color=MIDDLE, label=label, **line)
        count = rows["kernels"].astype(float)
        for place in np.flatnonzero(count.diff() != 0):
            ax.text(x.iloc[place], -8, f"{count.iloc[place]:.3g}", fontsize=5, ha="center",
                    va="center")  # fmt: skip


def draw_lesioned_selections(
    axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]
) -> None:
    """Draw panel j: accuracy of both tasks without the selection, and without as many others."""
    label, line = BESIDE["random_kernels"]
    for ax, _, rows in _each_metric(axes, table, styles, "Top-1 accuracy (%)"):
        for task, shown in TASKS.items():
            x, color = rows["criterion"], shown["color"]
            ax.plot(x, 100 * rows[f"{task}_top1"], label=f"{task} task", **shown)
            ax.plot(x, 100 * rows[f"random_{task}_top1"], color=color, label=label, **line)
    axes[0].set_ylim(0, 103)


PANELS: dict[str, Callable[[Sequence[Axes], Any, Mapping[str, Style]], None]] = dict(
    b=draw_selective, c=draw_selective, d=draw_lesions, e=draw_identity, f=draw_consistency,
    g=draw_selected, h=draw_overlaps, i=draw_decodings, j=draw_lesioned_selections, k=draw_cases,
    l=draw_definitions, m=draw_explained,
)  # fmt: skip
