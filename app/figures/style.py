"""How all figures look, whatever the user's own matplotlib settings are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

WIDTH, PAGE = 3.5, 7.2  # inches: one column of a journal, and both
# Of matplotlib, over its own defaults: readable at the width of a column. Names may have `$`.
SETTINGS: Any = {
    "figure.dpi": 150, "savefig.dpi": 150, "svg.hashsalt": "selective-units",
    "font.size": 7, "figure.titlesize": 7.5, "axes.titlesize": 6.5, "axes.titlelocation": "left",
    "text.parse_math": False, "axes.axisbelow": True, "axes.linewidth": 0.6,
    "axes.spines.top": False, "axes.spines.right": False,
    "xtick.labelsize": 6.5, "xtick.major.width": 0.6, "xtick.major.size": 2.5,
    "ytick.labelsize": 6.5, "ytick.major.width": 0.6, "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5, "ytick.minor.size": 1.5, "errorbar.capsize": 1.5,
    "legend.fontsize": 6.5, "legend.frameon": False, "legend.handlelength": 1.5,
    "legend.handletextpad": 0.5, "legend.columnspacing": 1.2, "legend.borderaxespad": 0.2,
    "lines.linewidth": 1.0, "lines.markersize": 3, "patch.linewidth": 0.5,
}  # fmt: skip

# Okabe and Ito's colours, which colour-blind readers tell apart.
DOMAIN_COLOURS = {
    "faces": "#D55E00",
    "bodies": "#E69F00",
    "characters": "#009E73",
    "places": "#56B4E9",
    "objects": "#0072B2",
}
OTHER_COLOURS = ("#CC79A7", "#F0E442", "#000000", "#999999")
DARK, MIDDLE, GREY, PALE = "#444444", "#777777", "#BBBBBB", "#E3E3E3"


@dataclass(frozen=True)
class Style:
    """How figures show a metric."""

    label: str
    colour: str  # #RRGGBB


Styles = Mapping[str, Style]  # of metrics, by their names


@dataclass(frozen=True)
class Heading:
    """What all figures of a run have in common: their title, and what they count."""

    title: str = ""
    units: str = "units"  # or kernels


@contextmanager
def paper_style() -> Iterator[None]:
    """Make or render figures in the one style, in a `with` statement or as a decorator."""
    from matplotlib import style

    with style.context(SETTINGS, after_reset=True):
        yield
