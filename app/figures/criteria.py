"""Panels g to j of a report: what moves with the criterion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from app.figures.axes import BESIDE, FEW, PREFERRED, TASKS, TITLE, find_look, label_share
from app.figures.render import find_errors, fold
from app.figures.style import DARK, GREY, MIDDLE, PALE, Styles
from app.findings.selection import RULES, Rule

LEVELS = 3  # of a colour scale that a legend shows


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
    axes: Sequence[Axes], table: pd.DataFrame, styles: Styles, ylabel: str
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
        for number in rows["paper"].dropna().unique():
            ax.axvline(number, label="the paper's criterion", **paper)
        if _rule(rows).stricter < 0:  # drawn by now: axes without data cannot be turned
            ax.invert_xaxis()


def draw_selected(axes: Sequence[Axes], table: pd.DataFrame, styles: Styles) -> None:
    """Draw panel g: percent selected against the criterion."""
    for ax, metric, rows in _each_metric(axes, table, styles, ""):
        ax.plot(rows["criterion"], rows["percent"], marker="o", color=styles[metric].colour)
        label_share(axes[0], rows)
    axes[0].set_ylim(0, np.fmax(1.08 * table["percent"].max(), 1))


def draw_overlaps(axes: Sequence[Axes], table: pd.DataFrame, styles: Styles) -> None:
    """Draw panel h: Jaccard's index with each other metric, which its marker tells.

    A line is of two metrics, so it has the colour of neither.
    """
    others = [name for name in styles if name in set(table["other"])]
    if len(others) > FEW:
        _draw_shades(axes, table, styles, others)
        return
    for name in others:  # the legend is in their order
        axes[0].plot([], [], **find_look(name, styles, plain=True))
    for ax, _, rows in _each_metric(axes, table, styles, "Jaccard index"):
        for other, line in rows.groupby("other", sort=False):
            look = find_look(str(other), styles, plain=True)
            ax.plot(line["criterion"], line["jaccard"], **look)
    axes[0].set_ylim(-0.03, 1.03)


def _draw_shades(
    axes: Sequence[Axes], table: pd.DataFrame, styles: Styles, others: list[str]
) -> None:
    """Draw panel h of many metrics, whose lines nobody could tell apart: a row of shades each."""
    scale = colormaps["Blues"]
    for ax, _, rows in _each_metric(axes, table, styles, ""):
        grid = rows.pivot(index="other", columns="criterion", values="jaccard").reindex(others)
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


def draw_decodings(axes: Sequence[Axes], table: pd.DataFrame, styles: Styles) -> None:
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


def draw_lesioned_selections(axes: Sequence[Axes], table: pd.DataFrame, styles: Styles) -> None:
    """Draw panel j: accuracy of both tasks without the selection, and without as many others."""
    label, line = BESIDE["random_kernels"]
    for ax, _, rows in _each_metric(axes, table, styles, "Top-1 accuracy (%)"):
        for task, shown in TASKS.items():
            x, color = rows["criterion"], shown["color"]
            ax.plot(x, 100 * rows[f"{task}_top1"], label=f"{task} task", **shown)
            ax.plot(x, 100 * rows[f"random_{task}_top1"], color=color, label=label, **line)
    axes[0].set_ylim(0, 103)
