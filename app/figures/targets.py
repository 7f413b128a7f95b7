"""The same panels of several targets in columns, so that categories can be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from app.figures.panels import PANELS, Drawn, count_axes, find_width
from app.figures.render import add_legend, new_figure
from app.figures.style import PAGE, Styles, paper_style

SHOWN = "bcdf"  # panels, each a row or more
COLUMN, ROW = 1.44, 2.1  # inches of a target's axes


@paper_style()
def plot_targets(drawn: Mapping[str, Sequence[Drawn]], styles: Styles, title: str = "") -> Figure:
    """Return the panels `SHOWN` of each target, as far as it has them, on the same axes."""
    by_letter = {
        letter: {target: each for target, own in drawn.items() for each in own if each[0] == letter}
        for letter in SHOWN
    }
    by_letter = {letter: own for letter, own in by_letter.items() if own}
    tables = [(letter, each[2]) for letter, own in by_letter.items() for each in own.values()]
    rows = [max(count_axes(letter, each[2]) for each in own.values())
            for letter, own in by_letter.items()]  # fmt: skip
    width = max(PAGE, COLUMN * len(drawn) * max(find_width(*each) for each in tables))
    figure = new_figure(ROW * sum(rows) + 0.4 * len(rows), width, title)
    parts = figure.subfigures(len(rows), squeeze=False, height_ratios=rows).flat
    for part, (letter, own), high in zip(parts, by_letter.items(), rows, strict=True):
        grid = part.subplots(high, len(drawn), squeeze=False)
        _draw_row(grid, list(drawn), own, styles)
        head = f"{letter}   {next(iter(own.values()))[1]}"
        part.suptitle(head, x=0.05, ha="left", weight="bold")
        add_legend(part, width)
    return figure


def _draw_row(
    grid: NDArray[np.object_],
    targets: Sequence[str],
    drawn: Mapping[str, Drawn],
    styles: Styles,
) -> None:
    """Draw a panel of each target into its column of axes; all have the widest limits."""
    shown: list[Axes] = []
    for target, column in zip(targets, grid.T, strict=True):
        own: list[Axes] = []
        if target in drawn:
            letter, _, table = drawn[target]
            own = list(column[: count_axes(letter, table)])
            for ax in own[1:]:
                ax.sharey(own[0])
            PANELS[letter](own, table, styles)
        for ax in column[len(own) :]:
            ax.axis("off")
        for ax in own:
            ax.tick_params(labelleft=not shown)
            ax.set_ylabel("" if shown else own[0].get_ylabel())
        for ax in column[:-1]:
            ax.set_xlabel("")
        head = filter(None, [target, column[0].get_title("center")])
        column[0].set_title("\n".join(head), loc="center")
        shown += own
    lows, highs = zip(*(ax.get_ylim() for ax in shown), strict=True)
    for ax in shown:
        ax.set_ylim(min(lows), max(highs))
