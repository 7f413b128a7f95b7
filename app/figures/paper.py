"""Panels b to f, those of the paper's Figure 1, and k beside them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from app.figures.axes import (
    AGGREGATION_NAMES,
    FEW,
    PREFERRED,
    SPREAD,
    TITLE,
    TURNED,
    find_look,
    label_share,
    list_layers,
    set_apart,
    set_layers,
)
from app.figures.render import find_errors, fold, format_number
from app.figures.style import DARK, GREY, MIDDLE, Styles
from app.names import TRAINED, name_units
from app.spelling import shorten, tell_count


def draw_selective(axes: Sequence[Axes], table: pd.DataFrame, styles: Styles) -> None:
    """Draw panels b and c: percent selective over layers, a line a metric, by aggregation."""
    layers = list_layers(table)
    parts = table.groupby("aggregation", sort=False) if "aggregation" in table else [("", table)]
    for ax, (aggregation, part) in zip(axes, parts, strict=True):
        width = min(SPREAD, 0.8 / part["metric"].nunique())
        for metric, rows, offset in set_apart(part, width):
            places = [layers.index(name) + offset for name in rows["layer"]]
            below, above = find_errors(rows, "percent")
            ax.errorbar(
                places, rows["percent"], [np.minimum(below, rows["percent"]), above],
                elinewidth=0.8, clip_on=False, **find_look(metric, styles),
            )  # fmt: skip
            if "null_percent" in rows:
                ax.plot(places, rows["null_percent"], "_", color=MIDDLE, clip_on=False, zorder=3,
                        markersize=6, markeredgewidth=1.2, label="labels shuffled")  # fmt: skip
        set_layers(ax, layers)
        ax.set_title(AGGREGATION_NAMES.get(str(aggregation), str(aggregation)), loc="center")
    tops = table["percent"] + np.nan_to_num(find_errors(table, "percent")[1])
    highest = float(np.nanmax([tops, table.get("null_percent", tops)], initial=0))
    axes[0].set_ylim(0, max(1.08 * highest, 1))
    label_share(axes[0], table)


def draw_lesions(axes: Sequence[Axes], table: pd.DataFrame, styles: Styles) -> None:
    """Draw panel d: r by layer and metric; the deepest, which the paper asked, in full colour."""
    ax, layers, width = axes[0], list_layers(table), 0.8 / table["metric"].nunique()
    for metric, part, offset in set_apart(table, width):
        places, colour = np.array([*map(layers.index, part["layer"])]), styles[metric].colour
        ax.bar(
            places + offset, part["spearman"], width,
            color=[(colour, 1 if place == len(layers) - 1 else 0.35) for place in places],
            yerr=find_errors(part, "spearman"), ecolor=DARK, error_kw={"elinewidth": 0.6},
        )  # fmt: skip
        ax.plot([], [], **find_look(metric, styles))
    ax.axhline(0, color=DARK, linewidth=0.6)
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, -0.1), max(high, 0.1))
    set_layers(ax, layers)
    ax.set_ylabel("Spearman r, score and\nwhat lesions leave")
    for other in axes[1:]:
        draw_matrix(other, table[table["layer"] == layers[-1]], styles)


def draw_matrix(ax: Axes, table: pd.DataFrame, styles: Styles) -> None:
    """Draw the rank correlations of metrics and lesions with each other, as the paper's panel d."""
    rows = table.set_index("metric")
    known = [str(name) for name in rows.index if f"with_{name}" in rows]
    labels = [styles[name].label for name in known] + ["lesion"]
    columns = [f"with_{name}" for name in known] + ["spearman"]
    size = len(columns)
    values = np.full((size, size), np.nan)
    for i, j in combinations(range(size), 2):
        own, column = known[i], columns[j]
        value = float(rows[column][own])
        values[j, i], text = value, format_number(value)
        if f"{column}_ci95_low" in rows and size <= FEW + 1:  # else the table alone has it
            ends = [float(rows[f"{column}_ci95_{end}"][own]) for end in ("low", "high")]
            if not np.isnan(ends).any():
                text += "\n[{}, {}]".format(*map(format_number, ends))
        small = min(5, 40 / size) if "[" in text else 5
        ax.text(i, j, text, ha="center", va="center", fontsize=small)
    ax.imshow(values, vmin=-1, vmax=1, cmap="RdBu_r", alpha=0.6, aspect="auto")
    ax.set_xticks(range(size - 1), labels[:-1], **TURNED)
    ax.set_yticks(range(1, size), labels[1:])
    ax.set_xlim(-0.5, size - 1.5)
    ax.set_ylim(size - 0.5, 0.5)
    ax.tick_params(length=0)


def draw_identity(axes: Sequence[Axes], table: pd.DataFrame, styles: Styles) -> None:
    """Draw panel e: accuracy and its interval by metric; random kernels, all, and chance.

    Of the smallest count that a metric selects, and of a fixed number where one was asked for.
    """
    beside = {"random": "random_kernels", "all": "all_kernels", "chance": "chance"}
    for ax, own in zip(axes, list_decodings(table), strict=True):
        looks = [styles[name] for name in own["metric"]]
        labels = [look.label for look in looks] + list(beside)
        short = shorten(labels, TITLE)
        places, further = np.arange(len(own)), len(own) + 0.3 + np.arange(len(beside))
        first, errors = own.iloc[0], 100 * find_errors(own, "accuracy")
        ax.bar(places, 100 * own["accuracy"], 0.7, color=[look.colour for look in looks],
               yerr=errors, ecolor=DARK, error_kw={"elinewidth": 0.8})  # fmt: skip
        ax.bar(further, [100 * first[name] for name in beside.values()], 0.7, color=GREY)
        ax.set_xticks([*places, *further], [short[label] for label in labels], **TURNED)
        ax.tick_params(axis="x", length=0, pad=2)
        told = "± SD" if "accuracy_sd" in own else "95 % CI"
        title = f"{first['layer']}, N = {tell_count(first['kernels'])}, {told}"
        ax.set_title(fold(title, TITLE + 8), loc="center")
    axes[0].set_ylabel("Identity accuracy (%)")


def list_decodings(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Panel e's rows for each number of kernels, in which a metric is once."""
    times = table.groupby("metric").cumcount()
    return [own for _, own in table.groupby([times, "kernels"], sort=False)]


def draw_consistency(axes: Sequence[Axes], table: pd.DataFrame, styles: Styles) -> None:
    """Draw panel f: mean rank correlation over layers, trained and untrained."""
    layers = list_layers(table)
    for ax, aggregation in zip(axes, list_courses(table), strict=True):
        shown = table[table["aggregation"] == aggregation]
        for trained, part in shown.groupby("trained", sort=False):
            colour = DARK if trained else "#888888"
            ax.errorbar(
                [layers.index(name) for name in part["layer"]], part["mean"],
                find_errors(part, "mean"), marker="o", color=colour,
                linestyle="-" if trained else "--", markerfacecolor=colour if trained else "white",
                elinewidth=0.8, label=TRAINED[trained],
            )  # fmt: skip
        set_layers(ax, layers)
        ax.set_title(name_units(aggregation), loc="center")
    told = "95 % CI or SD" if "mean_sd" in table else "95 % CI"
    axes[0].set_ylabel(f"Mean Spearman r\nof the metrics [{told}]")


def list_courses(table: pd.DataFrame) -> list[str]:
    """Panel f's aggregations that are drawn: single units, and the preferred one of kernels."""
    kernels = set(table["aggregation"]) - {"unit"}
    first = sorted(kernels, key=PREFERRED.index)[:1]
    return [name for name in ("unit", *first) if name in set(table["aggregation"])]


def draw_cases(axes: Sequence[Axes], table: pd.DataFrame, styles: Styles) -> None:
    """Draw panel k: what each metric selects in each case, and how much the metrics share."""
    width, places = 0.8 / table["metric"].nunique(), np.arange(table["case"].nunique())
    for ax, column in zip(axes, ("percent", "jaccard"), strict=True):
        for metric, part, offset in set_apart(table, width):
            ax.bar(places + offset, part[column], width, color=styles[metric].colour,
                   yerr=find_errors(part, column), error_kw={"elinewidth": 0.6})  # fmt: skip
            ax.plot([], [], **find_look(metric, styles))
        ax.set_xticks(places, ["own\ncriteria", "equal\nfalse positives", "equally\nmany"])
        ax.tick_params(axis="x", length=0)
    axes[0].set_ylim(bottom=0)
    axes[0].set_ylabel("Selected (%)")
    axes[1].set_ylabel("Mean Jaccard index\nwith the others")
    axes[1].set_ylim(0, 1.03)
