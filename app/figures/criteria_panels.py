"""The report's panels g to j: what moves with the criterion, each metric in axes of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from app.figures.style import DARK, MIDDLE, Style
from app.findings.selection import RULES, Rule

if TYPE_CHECKING:
    import pandas as pd

BESIDE: dict[str, tuple[str, dict[str, Any]]] = {
    "random_kernels": ("as many random kernels", {"linestyle": ":"}),
    "all_kernels": ("all kernels", {"linestyle": "--", "linewidth": 0.8}),
    "chance": ("chance", {"linestyle": "-", "linewidth": 0.8}),
}
TASKS: dict[str, dict[str, Any]] = {  # not in colours that metrics have
    "face": {"color": DARK, "marker": "o"},
    "object": {"color": MIDDLE, "marker": "s", "markerfacecolor": "white"},
}


def at_criteria(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Return what is drawn of a panel's table: each metric, its rows from liberal to strict.

    Of the deepest layer, by L2 where it was asked; of the others' criteria the first of each.
    """
    asked = set(table["aggregation"])
    aggregation = next(name for name in ("l2", "mean", "max", "unit") if name in asked)
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
    axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]
) -> Iterator[tuple[Axes, str, pd.DataFrame]]:
    """The axes of each metric, and what to draw there against `criterion`."""
    each = [(ax, *shown) for ax, shown in zip(axes, at_criteria(table), strict=True)]
    for ax, metric, rows in each:
        ax.set_title(styles[metric].label, loc="center")
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
    for ax, metric, rows in _each_metric(axes, table, styles):
        ax.plot(rows["criterion"], rows["percent"], marker="o", color=styles[metric].colour)
    axes[0].set_ylim(0, max(1.08 * table["percent"].max(), 1))
    axes[0].set_ylabel("Selected (%)")


def draw_overlaps(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Draw panel h: Jaccard's index with each other metric, in that one's colour."""
    for ax, _, rows in _each_metric(axes, table, styles):
        for other, line in rows.groupby("other", sort=False):
            style = styles[str(other)]
            ax.plot(line["criterion"], line["jaccard"], "o-", color=style.colour,
                    label=style.label)  # fmt: skip
    axes[0].set_ylim(-0.03, 1.03)
    axes[0].set_ylabel("Jaccard index")


def draw_decodings(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Draw panel i: accuracy and its interval; random kernels, all, and chance beside it."""
    for ax, metric, rows in _each_metric(axes, table, styles):
        x, colour = rows["criterion"], styles[metric].colour
        ax.fill_between(x, 100 * rows["ci95_low"], 100 * rows["ci95_high"], color=colour,
                        alpha=0.25, linewidth=0)  # fmt: skip
        ax.plot(x, 100 * rows["accuracy"], marker="o", color=colour)
        for name, (label, line) in BESIDE.items():
            ax.plot(x, 100 * rows[name], color=MIDDLE, label=label, **line)
    axes[0].set_ylim(0, 103)
    axes[0].set_ylabel("Identity accuracy (%)")


def draw_lesioned_selections(
    axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]
) -> None:
    """Draw panel j: accuracy of both tasks without the selection, and without as many others."""
    label, line = BESIDE["random_kernels"]
    for ax, _, rows in _each_metric(axes, table, styles):
        for task, shown in TASKS.items():
            x, color = rows["criterion"], shown["color"]
            ax.plot(x, 100 * rows[f"{task}_top1"], label=f"{task} task", **shown)
            ax.plot(x, 100 * rows[f"random_{task}_top1"], color=color, label=label, **line)
    axes[0].set_ylim(0, 103)
    axes[0].set_ylabel("Top-1 accuracy (%)")
