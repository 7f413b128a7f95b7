"""How far metrics agree: which units they select together, and how alike they rank them.

And how far a metric agrees with itself, from one half of the images to the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from app.figures.render import CHARACTER, add_legend, fold, format_number, new_figure
from app.figures.scores import Selection
from app.figures.style import DARK, GREY, PALE, WIDTH, Heading, paper_style
from app.findings.certainty import average, lengthen
from app.findings.consistency import count_intersections, jaccard
from app.spelling import shorten

COMBINATIONS = 15  # of metrics, that an UpSet plot has room for
POINTS = 2000  # of a pair of metrics
BOTH = "#000000"  # what two metrics select
LONG, CELL, PAIR = 24, 0.32, 0.95  # characters of a label; inches of a metric, and of its pairs


@paper_style()
def plot_agreement(
    selections: Sequence[Selection], shared: Sequence[NDArray[np.float64]], heading: Heading
) -> dict[str, Figure]:
    """Return how far metrics agree: `overlap` of selections, and `agreement` of rankings.

    `selections` are at least two metrics' over the same units; `shared`, of each pair in the order
    of `itertools.combinations`, is the fraction (0 … 1) of the k highest-ranked units that both
    have in common, for k = 1, 2, …
    """
    many, longest = len(selections), max(len(each.style.label) for each in selections)
    heights = (0.9, 0.15 * many, max(0.2 * many, 0.5))
    width = max(WIDTH, CELL * many + 2 * CHARACTER * min(longest + 8, LONG))
    figure = new_figure(sum(heights) + 0.6, width, heading.title)
    bars, dots, matrix = figure.subplots(3, height_ratios=heights)
    draw_upset(bars, dots, selections, heading.units)
    draw_jaccard(matrix, selections)
    return {"overlap": figure, "agreement": _plot_pairs(selections, shared, heading)}


def draw_upset(bars: Axes, dots: Axes, selections: Sequence[Selection], units: str) -> None:
    """Draw how many units exactly these metrics select and no other, for each combination of them.

    Numbers go to the axes `bars`, the combinations to `dots` below, the largest first; see Lex et
    al. (2014), doi:10.1109/TVCG.2014.2346248. `units` is what is counted: units or kernels.
    """
    many = len(selections)
    found = count_intersections([each.selected for each in selections])
    shown = list(found.items())[:COMBINATIONS]
    longest = max((len(f"{count:,}") for _, count in shown), default=0)
    upright = len(shown) * longest > 40
    for column, (inside, count) in enumerate(shown):
        bar = bars.bar(column, count, 0.6, color=DARK)
        bars.bar_label(bar, [f"{count:,}"], padding=1, fontsize=5 if len(shown) > 8 else 6,
                       rotation=90 * upright)  # fmt: skip
        dots.plot([column] * many, range(many), "o", color=PALE, markersize=4)
        dots.plot([column] * 2, [min(inside), max(inside)], color=DARK)
        for row in inside:
            dots.plot(column, row, "o", color=selections[row].style.colour, markersize=4)
    bars.locator_params(axis="y", nbins=4, integer=True)
    bars.yaxis.set_major_formatter("{x:,.0f}")
    bars.margins(y=0.06 * longest if upright else 0.16)
    bars.set_ylabel(f"{units.capitalize()} selected\nby exactly these")
    if not shown:
        bars.set_yticks([])
        bars.text(0.5, 0.4, "nothing is selected", ha="center", transform=bars.transAxes)
    if len(shown) < len(found):
        bars.set_title(f"{len(shown)} largest of {len(found)}", loc="right")
    bars.spines["bottom"].set_visible(False)
    for ax in (bars, dots):
        ax.set_xticks([])
        ax.set_xlim(-0.6, max(len(shown), 5) - 0.4)
    counts = [f"{each.selected.sum():,}" for each in selections]
    labels = _shorten_labels(selections)
    dots.set_yticks(range(many), map("{}  {}".format, labels, counts))
    dots.set_ylim(many - 0.5, -0.5)
    dots.tick_params(length=0)
    dots.spines[:].set_visible(False)


def draw_jaccard(ax: Axes, selections: Sequence[Selection]) -> None:
    """Draw Jaccard's index (0 … 1) of each pair of metrics' selections, over the same units."""
    many, labels = len(selections), _shorten_labels(selections)
    image = np.full((many, many), np.nan)
    for column, row in combinations(range(many), 2):
        value = jaccard(selections[column].selected, selections[row].selected)
        image[row, column] = value
        ax.text(
            column, row, "none" if np.isnan(value) else format_number(value), ha="center",
            va="center", fontsize=6, color="white" if value > 0.5 else DARK,
        )  # fmt: skip
    ax.imshow(image, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_yticks(range(1, many), labels[1:])
    for column, label in enumerate(labels[:-1]):  # where the rows of the others begin
        ax.text(column - 0.4, column, label, va="center", fontsize=6.5)
    ax.set_xticks([])
    ax.set_ylabel("Jaccard")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _shorten_labels(selections: Sequence[Selection]) -> list[str]:
    """The metrics' labels, as rows of figures have room for them."""
    short = shorten([each.style.label for each in selections], LONG)
    return [short[each.style.label] for each in selections]


def _plot_pairs(
    selections: Sequence[Selection], shared: Sequence[NDArray[np.float64]], heading: Heading
) -> Figure:
    """Below the diagonal, score against score; above it, the part that the tops share."""
    many = len(selections)
    points, title = choose_points(len(selections[0].score), heading)
    side = max(WIDTH, PAIR * many + 0.6)
    figure = new_figure(0.95 * side, side, title)
    grid = figure.subplots(many, many)
    for place, each in enumerate(selections):
        label, middle = fold(each.style.label), {"ha": "center", "va": "center"}
        grid[place, place].axis("off")
        grid[place, place].text(0.5, 0.5, label, color=each.style.colour, weight="bold", **middle)
        grid[-1, place].set_xlabel(label)
        grid[place, 0].set_ylabel(label)
    for (first, second), curve in zip(combinations(range(many), 2), shared, strict=True):
        scatter, top = grid[second, first], grid[first, second]
        draw_pair(scatter, selections[first], selections[second], points)
        scatter.sharex(grid[-1, first])
        scatter.sharey(grid[second, 0])
        scatter.tick_params(labelleft=first == 0, labelbottom=second == many - 1)
        draw_shared_top(top, curve)
        top.xaxis.tick_top()
        top.xaxis.set_label_position("top")
        top.set_xlabel("k" if first == 0 else "")
        top.yaxis.tick_right()
        top.tick_params(labelright=second == many - 1, labeltop=first == 0)
        top.spines[:].set_visible(True)
        top.spines[["bottom", "left"]].set_visible(False)
    for ax in grid.flat:
        ax.tick_params(labelsize=5.5, pad=1.5)
    add_legend(figure, side)
    return figure


@paper_style()
def plot_halves(
    selection: Selection,
    halves: NDArray[np.float32],
    correlations: NDArray[np.float64],
    heading: Heading,
) -> dict[str, Figure]:
    """Return the scores from one half of the images against those from the other, `reliability`.

    `halves` (2, units) are of the first split, `correlations` (splits,) are Spearman's of each.
    """
    points, title = choose_points(len(selection.score), heading)
    figure = new_figure(3, title=title)
    ax = figure.subplots()
    chosen, (first, second) = selection.selected[points], halves[:, points]
    told = f"selected from all images ({selection.selected.sum():,})"
    for mask, colour, label in (
        (~chosen, GREY, "not selected"),
        (chosen, selection.style.colour, told),
    ):
        ax.plot(
            first[mask], second[mask], ".", color=colour, markersize=6 if len(points) < 500 else 3,
            markeredgewidth=0, rasterized=len(points) > 500, label=label,
        )  # fmt: skip
    if np.isfinite(first + second).any():
        ax.axline((np.nanmean(first),) * 2, slope=1, color=DARK, linewidth=0.6, linestyle=":",
                  zorder=1, label="equal")  # fmt: skip
    ax.set_xlabel(fold(f"{selection.style.label}, one half of the images", 60))
    ax.set_ylabel("the other half")
    mean = average(correlations)
    r, usual, whole = map(format_number, (correlations[0], mean, lengthen(mean)))
    ax.set_title(
        f"Spearman r = {r}; mean of {len(correlations)} splits {usual},\n"
        f"for all images {whole} (Spearman-Brown)"
    )
    add_legend(figure)
    return {"reliability": figure}


def choose_points(units: int, heading: Heading) -> tuple[NDArray[np.int64], str]:
    """The units that a scatter plot shows, and the figure's title, which says how many."""
    points = thin_units(units, POINTS)
    few = f"\nscatter: {POINTS:,} of {units:,} {heading.units}, drawn at random"
    return points, heading.title + few * (len(points) < units)


def draw_pair(ax: Axes, first: Selection, second: Selection, points: NDArray[np.int64]) -> None:
    """Draw one metric's scores (across) against another's (up), selections in their colours.

    `points` are the units that are shown.
    """
    x, y = first.score[points], second.score[points]
    one, other = first.selected[points], second.selected[points]
    for mask, colour, label in (
        (~one & ~other, GREY, "selected by neither"),
        (one & ~other, first.style.colour, "by one (in its colour)"),
        (other & ~one, second.style.colour, "by one (in its colour)"),
        (one & other, BOTH, "by both"),
    ):
        ax.plot(
            x[mask], y[mask], ".", color=colour, markersize=3 if x.size < 500 else 1.8,
            markeredgewidth=0, rasterized=x.size > 500,
        )  # fmt: skip
        ax.plot([], [], ".", color=colour, markersize=6, markeredgewidth=0, label=label)
    for mark, draw in ((first.mark, ax.axvline), (second.mark, ax.axhline)):
        if mark is not None:
            draw(mark, color=DARK, linewidth=0.6, linestyle="--", zorder=1, label="criterion")
    ax.locator_params(nbins=3)


def draw_shared_top(ax: Axes, shared: NDArray[np.float64]) -> None:
    """Draw the fraction that two rankings' tops share, by their depth k = 1, 2, …, and by chance.

    `shared` is (units that both define,), 0 … 1.
    """
    most = max(len(shared), 1)
    depths = np.unique(np.geomspace(1, most, 60).round().astype(np.int64))
    drawn = depths[: len(shared)]  # none where no unit is in both
    ax.plot(drawn, shared[drawn - 1], color=DARK, label="shared by the k highest-ranked of both")
    ax.plot(depths, depths / most, color=DARK, linestyle=":", label="by chance: k of all")
    ax.set_xscale("log")
    ax.minorticks_off()
    ax.xaxis.set_major_formatter("{x:,g}")
    ax.set_xlim(0.9, most * 1.1)
    ax.set_ylim(-0.03, 1.03)


def thin_units(units: int, most: int) -> NDArray[np.int64]:
    """Choose at most `most` of so many units, ascending, for a scatter plot.

    Each has the same chance, so that what is shown is as dense, and as often selected, as all are.
    """
    random = np.random.default_rng(0)
    return np.sort(random.choice(units, min(most, units), replace=False, shuffle=False))
