"""What the panels of a report have in common: how metrics, layers and tasks look on axes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from app.figures.style import DARK, MIDDLE, Styles
from app.names import name_units
from app.spelling import shorten

SPREAD = 0.07  # between the metrics of a layer, of the distance between two layers
PREFERRED = ("l2", "mean", "max", "unit")  # aggregations, where one alone is shown
AGGREGATION_NAMES = {"mean": "Mean", "l2": "L2 norm", "max": "Maximum"}
BARS, TITLE = 9, 26  # bars with names, and characters, that a column has room for
MARKERS = "os^DvP*X<>hdp"  # of metrics, beside their colours or where these would tell another
BESIDE: dict[str, tuple[str, dict[str, Any]]] = {
    "random_kernels": ("as many random kernels", {"linestyle": ":"}),
    "all_kernels": ("all kernels", {"linestyle": "--", "linewidth": 0.8}),
    "chance": ("chance", {"linestyle": "-", "linewidth": 0.8}),
}
TASKS: dict[str, dict[str, Any]] = {  # not in colours that metrics have
    "face": {"color": DARK, "marker": "o"},
    "object": {"color": MIDDLE, "marker": "s", "markerfacecolor": "white"},
}
LONG, MANY = 14, 7  # characters of a layer's name that are shown; layers that all have a label
TURNED: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}  # long labels
FEW, MARKS = 6, 40  # metrics that share a column however many layers; else marks it has room for


def find_look(metric: str, styles: Styles, plain: bool = False) -> dict[str, Any]:
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


def label_share(ax: Axes, table: pd.DataFrame) -> None:
    """Say of what a percentage is: panel b's table, alone without aggregations, is of units."""
    aggregation = table["aggregation"].iloc[0] if "aggregation" in table else "unit"
    ax.set_ylabel(f"Selective {name_units(aggregation)} (%)")


def set_apart(table: pd.DataFrame, width: float) -> Iterator[tuple[str, pd.DataFrame, float]]:
    """Each metric of a table, its rows, and how far beside the middle of a place it is drawn.

    Metrics are `width` apart.
    """
    parts = table.groupby("metric", sort=False)
    for number, (metric, rows) in enumerate(parts):
        yield str(metric), rows, width * (number - (len(parts) - 1) / 2)


def list_layers(table: pd.DataFrame) -> list[str]:
    """Those that the table has, from the first to the deepest."""
    return list(table["layer"].cat.remove_unused_categories().cat.categories)


def set_layers(ax: Axes, layers: Sequence[str]) -> None:
    """Layers across: convolutions by number, modules by name, turned where they are long."""
    places = list(range(len(layers)))
    if len(layers) > MANY:
        places = places[::-2][::-1]  # the deepest has its label
    labels = [layers[place] for place in places]
    turn = TURNED
    if all(re.fullmatch(r"conv\d+", name) for name in layers):
        ax.set_xlabel("Layer (conv)")
        labels, turn = [name.removeprefix("conv") for name in labels], {}
    short = shorten(layers, LONG)
    ax.set_xticks(places, [short.get(name, name) for name in labels], **turn)
    ax.set_xlim(-0.5, len(layers) - 0.5)
