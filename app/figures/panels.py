"""The panels of a sweep's report: tidy tables in, figures out, each alone or all in one.

A metric has its own colour and an aggregation its own place in the paper's panels, b to f.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.figures import criteria, definitions, multiverse, paper
from app.figures.axes import BARS, FEW, MARKS
from app.figures.render import add_legend, new_figure
from app.figures.style import PAGE, WIDTH, Styles, paper_style

ROW = 2.5  # inches: of axes and their legend
COLUMNS = 4  # in a row: b and c of three aggregations, or d, e and f
MATRIX = 1.5  # times as high is a row with the matrix of many metrics
FIRST = "giklm"  # in a row: what moves with the criterion is not beside the paper's
UNLIKE = "dkl"  # axes of one panel that show different things

# Letter, title, and the table that `app.sweeps.figure1` or `app.sweeps.criteria` made; its layers
# are categories, from the first to the deepest.
Drawn = tuple[str, str, pd.DataFrame]


@paper_style()
def plot_panels(
    drawn: Sequence[Drawn], styles: Styles, title: str = "", width: float = PAGE
) -> Figure:
    """Return all panels in rows, each with its legend; the paper's stand as in the paper."""
    rows: list[list[Drawn]] = []
    for each in drawn:
        if not rows or each[0] in FIRST or sum(_list_widths(*rows[-1], each)) > COLUMNS:
            rows.append([])
        rows[-1].append(each)
    alone = len(drawn) == 1
    widths = [_list_widths(*row, alone=alone) for row in rows]
    lines = [-(-sum(own) // COLUMNS) for own in widths]
    crowded = alone and drawn[0][0] == "d" and find_width("d", drawn[0][2]) > 1
    height = ROW * sum(lines) * (MATRIX if crowded else 1)
    figure = new_figure(height + 0.2 * bool(title), width, title)
    parts = figure.subfigures(len(rows), squeeze=False, height_ratios=lines).flat
    for part, row, wide, high in zip(parts, rows, widths, lines, strict=True):
        columns = -(-len(wide) // high)
        left = iter(part.subplots(high, columns, squeeze=False, width_ratios=wide[:columns]).flat)
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


def plot_panel(drawn: Drawn, styles: Styles) -> Figure:
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
            every = paper.list_decodings(table)
            widths += [min(-(-len(own) // BARS), COLUMNS) for own in every]
        else:
            widths += [find_width(letter, table)] * count_axes(letter, table, alone)
    return widths


def find_width(letter: str, table: pd.DataFrame) -> int:
    """The columns that axes take which show all metrics side by side, layer by layer or so."""
    if letter not in "bcdk" or table["metric"].nunique() <= FEW:
        return 1
    places = table["case" if letter == "k" else "layer"].nunique()
    return int(np.clip(-(-table["metric"].nunique() * places // MARKS), 2, COLUMNS))


def count_axes(letter: str, table: pd.DataFrame, alone: bool = False) -> int:
    """How many axes a panel has; `alone`: in a figure of its own."""
    if letter == "c":
        return int(table["aggregation"].nunique())
    if letter == "f":
        return len(paper.list_courses(table))
    if letter == "k" or letter == "d" and alone:  # bars, and the matrix
        return 2
    if letter == "m":
        return len(table.groupby(["trained", "outcome"]))
    return len(criteria.at_criteria(table)) if letter in "ghij" else 1


PANELS: dict[str, Callable[[Sequence[Axes], Any, Styles], None]] = dict(
    b=paper.draw_selective, c=paper.draw_selective, d=paper.draw_lesions, e=paper.draw_identity,
    f=paper.draw_consistency, g=criteria.draw_selected, h=criteria.draw_overlaps,
    i=criteria.draw_decodings, j=criteria.draw_lesioned_selections, k=paper.draw_cases,
    l=definitions.draw_definitions, m=multiverse.draw_explained,
)  # fmt: skip
