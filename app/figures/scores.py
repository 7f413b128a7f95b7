"""What one metric found: the histogram of its scores, and the responses of the extreme units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from app.figures.render import add_legend, fold, format_number, new_figure
from app.figures.style import DARK, DOMAIN_COLOURS, GREY, OTHER_COLOURS, Heading, Style, paper_style
from app.findings.selection import Criterion
from app.spelling import shorten

EXTREMES = 3  # units shown from either end
BINS = 60
LABELLED, LONG = 12, 20  # categories, and characters of a name, that there is room for
MANY = len(DOMAIN_COLOURS) + len(OTHER_COLOURS)  # domains, beyond which colours run out


@dataclass(frozen=True)
class Selection:
    """The scores of a metric, and what its criterion selects by them."""

    score: NDArray[np.float64]  # (units,), NaN where undefined
    selected: NDArray[np.bool_]  # (units,)
    criterion: Criterion
    style: Style

    @property
    def mark(self) -> float | None:
        """The score from which on units are selected, if there is one."""
        return self.criterion.mark(self.score, self.selected)


@dataclass(frozen=True)
class Extremes:
    """The units that a metric ranks highest and lowest, from the highest to the lowest."""

    responses: NDArray[np.floating]  # (images, units)
    scores: NDArray[np.float64]  # (units,)
    names: Sequence[str]  # (units,), such as "kernel 17"


@dataclass(frozen=True)
class Categories:
    """The categories of the images shown, and the domains that these belong to."""

    labels: Sequence[str]  # of each image, its category
    domains: Mapping[str, Sequence[str]]  # the categories of each; others are not drawn
    target: str  # the domain asked about

    @property
    def colours(self) -> dict[str, str]:
        """A colour per domain, the target first: fLoc's keep theirs, others take what is left."""
        names = sorted(self.domains, key=lambda domain: domain != self.target)
        if len(names) > MANY:
            return {name: DOMAIN_COLOURS["faces"] if name == self.target else GREY
                    for name in names}  # fmt: skip
        free = [colour for name, colour in DOMAIN_COLOURS.items() if name not in names]
        spare = iter([*free, *OTHER_COLOURS])
        return {name: DOMAIN_COLOURS.get(name) or next(spare) for name in names}

    def name_domain(self, domain: str) -> str:
        """Return what the legend calls a domain."""
        name = shorten(self.domains, LONG)[domain]
        if domain == self.target:
            return f"{name} (target)"
        return name if len(self.domains) <= MANY else "other domains"


@paper_style()
def plot_scores(selection: Selection, heading: Heading) -> dict[str, Figure]:
    """Return the histogram of a metric's scores, `scores`; see `draw_scores`."""
    figure = new_figure(2.3, title=heading.title)
    draw_scores(figure.subplots(), selection, heading.units)
    add_legend(figure)
    return {"scores": figure}


def draw_scores(ax: Axes, selection: Selection, units: str) -> None:
    """Draw the histogram of a metric's scores, the selected ones in its colour.

    Undefined ones are counted in the legend. `units` is what is counted: units or kernels.
    """
    score, selected, mark = selection.score, selection.selected, selection.mark
    defined = np.isfinite(score)
    if mark is not None:
        ax.axvline(mark, color=DARK, linewidth=0.8, linestyle="--", label=str(selection.criterion))
    edges = _bin_edges(score[defined], mark)
    share = (
        f"{selected.sum():,} of {score.size:,} ({100 * selected.sum() / max(score.size, 1):.1f} %)"
    )
    for mask, colour, label in (
        (defined, GREY, "not selected"),
        (defined & selected, selection.style.colour, f"selected: {share}"),
    ):
        counts, _ = np.histogram(score[mask], edges)
        ax.stairs(counts, edges, fill=True, color=colour, label=label)
    if not defined.all():
        ax.plot([], [], " ", label=f"undefined, not shown: {np.sum(~defined):,}")
    if mark is None:
        ax.plot([], [], " ", label=f"rule: {selection.criterion}")
    if defined.sum() > 1000:
        ax.set_yscale("symlog", linthresh=10)  # a few selected among many stay visible
    ax.yaxis.set_major_formatter("{x:,g}")
    ax.set_ylim(0, max(ax.get_ylim()[1] * 1.05, 1))
    ax.set_xlabel(fold(f"Selectivity score ({selection.style.label})", 60))
    ax.set_ylabel(f"Number of {units}")


def _bin_edges(values: NDArray[np.float64], mark: float | None) -> NDArray[np.float64]:
    """Bins over all values, with an edge on the mark: a bar is selected or it is not."""
    if mark is None or not values.size:
        return np.histogram_bin_edges(values, BINS)
    low, high = min(values.min(), mark), max(values.max(), mark)
    width = (high - low) / BINS or 1.0
    below, above = np.ceil((mark - low) / width), np.ceil((high - mark) / width)
    return mark + width * np.arange(-max(below, 1), max(above, 1) + 1)


@paper_style()
def plot_responses(
    extremes: Extremes, categories: Categories, heading: Heading
) -> dict[str, Figure]:
    """Return the mean responses of the three top and the three bottom units, `responses`."""
    names, scores = extremes.names, extremes.scores
    if not len(names):
        figure = new_figure(1, title=heading.title)
        figure.text(0.5, 0.4, f"no {heading.units[:-1]} has a score", ha="center")
        return {"responses": figure}
    per_row = min(EXTREMES, max(len(names) // 2, 1))
    order = np.arange(len(names))
    ends = {"Top": order[:per_row], "Bottom": order[per_row:][-per_row:]}
    ends = {label: units for label, units in ends.items() if len(units)}
    figure = new_figure(1.3 + 1.1 * len(ends), title=heading.title)
    grid = figure.subplots(len(ends), per_row, squeeze=False)
    for row, (label, units) in zip(grid, ends.items(), strict=True):
        for ax, unit in zip(row, units, strict=True):
            last = label == list(ends)[-1]
            draw_responses(ax, extremes.responses[:, unit], categories, named=last)
            ax.set_title(f"{names[unit]}\nscore {format_number(scores[unit])}")
        row[0].set_ylabel(f"{label}\nresponse (a.u.)")
    add_legend(figure)
    return {"responses": figure}


def draw_responses(
    ax: Axes, responses: NDArray[np.floating], categories: Categories, named: bool
) -> None:
    """Draw a unit's mean response to each category (± SEM), the target's first.

    `responses` are (images,), `categories` those of the images; `named`: with names below bars.
    """
    colours = categories.colours
    shown = [(name, domain) for domain in colours for name in categories.domains[domain]]
    names = [name for name, _ in shown]
    values = pd.Series(responses).groupby(np.asarray(categories.labels)).agg(["mean", "sem"])
    values = values.reindex(names)
    ax.bar(
        range(len(names)), values["mean"], 0.8, yerr=values["sem"].fillna(0),
        color=[colours[domain] for _, domain in shown],
        label=[categories.name_domain(domain) for _, domain in shown],
        error_kw={"ecolor": DARK, "elinewidth": 0.5, "capsize": 0},
    )  # fmt: skip
    ax.set_xticks([])
    if named and len(names) <= LABELLED:
        short = [*shorten(names, LONG).values()]
        ax.set_xticks(range(len(names)), short, rotation=90, fontsize=5.5)
    ax.tick_params(axis="x", length=0)
    ax.locator_params(axis="y", nbins=4)
