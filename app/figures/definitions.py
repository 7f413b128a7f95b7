"""Panel l of a sweep's report: published definitions of selectivity side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from app.figures.axes import TURNED
from app.figures.render import find_errors
from app.figures.style import DARK, GREY, MIDDLE, Styles
from app.names import name_units

# What is drawn beside the same of as many random kernels: times what, and the axis' label.
BESIDE_RANDOM = {
    "face_cost": ("random_face_cost", 1, "Face accuracy that the lesion costs (points)"),
    "accuracy": ("random_kernels", 100, "Identity accuracy from so many kernels (%)"),
}


def count_axes(table: pd.DataFrame) -> int:
    """How many axes the panel has: percent by aggregation, the matrix, costs, and decoding."""
    part = _take_deepest(table)
    beside = sum(part[what].notna().any() for what in BESIDE_RANDOM)
    return int(part["aggregation"].nunique() + 1 + beside)


def _take_deepest(table: pd.DataFrame) -> pd.DataFrame:
    deepest: pd.DataFrame = table[table["layer"] == table["layer"].iloc[-1]]
    return deepest


def draw_definitions(axes: Sequence[Axes], table: pd.DataFrame, styles: Styles) -> None:
    """Draw what recipes select of the deepest layer, what two share, what it costs and decodes."""
    left, part = iter(axes), _take_deepest(table)
    for aggregation, rows in part.groupby("aggregation", sort=False):
        ax = next(left)
        colours = [styles[name].colour if name in styles else DARK for name in rows["metric"]]
        places = _list_recipes(ax, rows)
        ax.barh(places, rows["percent"], 0.7, color=colours, xerr=find_errors(rows, "percent"),
                ecolor=DARK, error_kw={"elinewidth": 0.6})  # fmt: skip
        ax.plot(rows["null_percent"], places, "|", color=MIDDLE, markeredgewidth=1.2,
                label="labels shuffled")  # fmt: skip
        ax.set_xlim(left=0)
        ax.set_xlabel(f"Selective {name_units(str(aggregation))} (%)")
        ax.set_title(str(rows["layer"].iloc[0]), loc="center")
    _draw_jaccard(next(left), rows)
    shown = [each for each in BESIDE_RANDOM if part[each].notna().any()]
    for what, ax in zip(shown, left, strict=True):
        random, scale, label = BESIDE_RANDOM[what]
        places = _list_recipes(ax, rows)
        ax.barh(places - 0.18, scale * rows[what], 0.36, color=colours)
        ax.barh(places + 0.18, scale * rows[random], 0.36, color=GREY, label="as many at random")
        ax.axvline(0, color=DARK, linewidth=0.6)
        ax.set_xlabel(label)
        if what == "accuracy":
            _note_kernels(ax, rows, places - 0.18)


def _note_kernels(ax: Axes, rows: pd.DataFrame, places: np.ndarray) -> None:
    """The intervals of accuracies, and how many kernels each is decoded from."""
    accuracy, errors = 100 * rows["accuracy"], 100 * find_errors(rows, "accuracy")
    ax.errorbar(accuracy, places, xerr=errors, fmt="none", ecolor=DARK, elinewidth=0.6)
    for end, place, kernels in zip(accuracy + errors[1], places, rows["kernels"], strict=True):
        if kernels > 0:
            ax.text(end, place, f" {kernels:.0f}", va="center", fontsize=5)


def _list_recipes(ax: Axes, rows: pd.DataFrame) -> np.ndarray:
    places = np.arange(len(rows))
    ax.set_yticks(places, list(rows["recipe"]))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    return places


def _draw_jaccard(ax: Axes, rows: pd.DataFrame) -> None:
    """The Jaccard index of every pair of recipes' selections."""
    names = list(rows["recipe"])
    values = rows[[f"jaccard_{name}" for name in names]].to_numpy(float)
    ax.imshow(values, vmin=0, vmax=1, cmap="Greys", alpha=0.6, aspect="auto")
    for i, j in np.argwhere(~np.isnan(values)):
        ax.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", fontsize=5)
    _list_recipes(ax, rows)
    ax.set_xticks(range(len(names)), names, **TURNED)
    ax.tick_params(length=0)
    ax.set_title("Jaccard index", loc="center")
