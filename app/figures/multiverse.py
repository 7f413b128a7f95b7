"""What all specifications find, and which choices they differ by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from app.figures.axes import list_layers, set_layers
from app.figures.render import add_legend, new_figure
from app.figures.style import DARK, GREY, PAGE, PALE, Heading, Styles, paper_style
from app.findings.multiverse import CHOICES, NONE, OUTCOMES, Multiverse
from app.names import TRAINED

# Of choices, which have no order: Tol's muted colours.
SHADES = ("#CC6677", "#88CCEE", "#44AA99", "#117733", "#DDCC77", "#332288", "#AA4499")
ROW, CURVE = 0.1, 1.5  # inches of an option's row of marks, and of a curve


@paper_style()
def plot_multiverse(found: Multiverse, styles: Styles, heading: Heading) -> dict[str, Figure]:
    """Return the specification curves, `multiverse`, and what choices explain, `multiverse_shares`.

    A curve for each outcome, sorted by it; beneath, a mark where an option was chosen.
    """
    shown, table = found.outcomes, found.table
    options = [(choice, option) for choice in CHOICES for option in table[choice].unique()
               if option != NONE]  # fmt: skip
    heights = CURVE, ROW * len(options)
    figure = new_figure(sum(heights) + 0.7, PAGE, f"{heading.title}: {len(table)} specifications")
    grid = figure.subplots(2, len(shown), height_ratios=heights, squeeze=False)
    for (curve, marks), outcome in zip(grid.T, shown, strict=True):
        rows = table[table[outcome].notna()].sort_values(outcome, kind="stable")
        draw_curve(curve, rows, outcome, styles)
        draw_marks(marks, rows, options, styles)
    for marks in grid[1, 1:]:
        marks.set_yticklabels([])
    add_legend(figure, PAGE)
    shares = new_figure(0.9 + 0.16 * len(CHOICES), PAGE, heading.title)
    axes = shares.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    draw_shares(axes, found.shares)
    add_legend(shares, PAGE)
    return {"multiverse": figure, "multiverse_shares": shares}


def draw_curve(ax: Axes, rows: pd.DataFrame, outcome: str, styles: Styles) -> None:
    """Draw an outcome of specifications in the order given; metrics' own ones in their colours."""
    place, values = np.arange(len(rows)), rows[outcome].to_numpy()
    if outcome == "percent":
        ax.fill_between(place, 0, rows["null_p95"], step="mid", color=PALE, linewidth=0,
                        label="labels shuffled, up to the 95th percentile")  # fmt: skip
    ax.plot(place, values, color=DARK, linewidth=0.8, label="all specifications")
    for name, style in styles.items():
        chosen = (rows["own"] & (rows["metric"] == name)).to_numpy()
        if chosen.any():
            ax.plot(place[chosen], values[chosen], "o", color=style.colour, markersize=3.5,
                    markeredgecolor="white", markeredgewidth=0.3,
                    label=f"{style.label} as its settings have it")  # fmt: skip
    ax.set_title(OUTCOMES[outcome])
    ax.set_xlim(-0.5, len(rows) - 0.5)
    ax.set_xticks([])


def draw_marks(
    ax: Axes, rows: pd.DataFrame, options: list[tuple[str, str]], styles: Styles
) -> None:
    """Draw a mark in an option's row wherever a specification has it."""
    labels = []
    for row, (choice, option) in enumerate(options):
        places = np.flatnonzero(rows[choice] == option)
        style = styles.get(option) if choice == "metric" else None
        ax.vlines(places, row - 0.4, row + 0.4, linewidth=max(0.15, 90 / len(rows)),
                  color=style.colour if style else DARK)  # fmt: skip
        first, name = row == 0 or options[row - 1][0] != choice, style.label if style else option
        labels.append(f"{choice}: {name}" if first else name)
        if first and row:
            ax.axhline(row - 0.5, color=GREY, linewidth=0.5)
    ax.set_yticks(range(len(options)), labels, fontsize=5.5)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(options) - 0.5, -0.5)
    ax.set_xlim(-0.5, len(rows) - 0.5)
    ax.set_xticks([])
    ax.set_xlabel("specifications, sorted")
    ax.spines["left"].set_visible(False)


def draw_shares(axes: np.ndarray, shares: pd.DataFrame) -> None:
    """Draw the share of each outcome's variance that choices explain, alone and with others."""
    for ax, (outcome, rows) in zip(axes, shares.groupby("outcome", sort=False), strict=True):
        ax.barh(rows["choice"], 100 * rows["share"], 0.7, color=GREY,
                label="share, shared out among choices")  # fmt: skip
        ax.barh(rows["choice"], 100 * rows["alone"], 0.25, color=DARK, label="alone")
        ax.set_title(OUTCOMES[str(outcome)])
        ax.set_xlabel("% of variance")
        ax.set_xlim(0, 100)
        ax.tick_params(axis="y", length=0)
    axes[0].invert_yaxis()


def draw_explained(axes: Sequence[Axes], table: pd.DataFrame, styles: Styles) -> None:
    """Draw panel m: what choices explain of each outcome, stacked over layers."""
    layers = list_layers(table)
    shades = dict(zip(table["choice"].unique(), SHADES, strict=False))
    parts = table.groupby(["trained", "outcome"], sort=False)
    for ax, ((trained, outcome), part) in zip(axes, parts, strict=True):
        shares = 100 * part.pivot(index="layer", columns="choice", values="share")
        shares, base = shares.reindex(layers), np.zeros(len(layers))
        for choice, colour in shades.items():
            height = shares[choice].to_numpy()
            ax.bar(range(len(layers)), height, 0.8, base, color=colour, label=choice)
            base = base + np.nan_to_num(height)
        set_layers(ax, layers)
        ax.set_title(f"{OUTCOMES[str(outcome)]}\n{TRAINED[trained]}", loc="center")
    axes[0].set_ylim(0, 100)
    axes[0].set_ylabel("Variance explained (%)")
