"""Whether the network needs what a metric ranks high: kernels lesioned singly, in turn, in sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from app.figures.render import add_legend, format_number, new_figure
from app.figures.scores import Selection
from app.figures.style import DARK, DOMAIN_COLOURS, GREY, Heading, paper_style
from app.findings.consistency import spearman

if TYPE_CHECKING:
    import pandas as pd

    from app.findings.lesioned import GreedySearch, Lesioned

COLOURS = {"face": DOMAIN_COLOURS["faces"], "object": DOMAIN_COLOURS["objects"]}  # of the tasks
TICKS = (0, 1, 2, 5, 10, 20, 50, 100)  # percent
STAR: dict[str, Any] = {"marker": "*", "markersize": 7, "markeredgecolor": DARK,
                        "markeredgewidth": 0.5}  # fmt: skip


@paper_style()
def plot_lesions(lesioned: Lesioned, selection: Selection, heading: Heading) -> dict[str, Figure]:
    """Return what lesions of a layer's kernels leave, as far as they were asked for.

    `lesion`: each kernel's lesion against its score, or the course of the greedy searches;
    `lesion_place`: each kernel's place in the face task's search against its score;
    `dissociation`: both tasks' accuracy against the size of the set that is lesioned.
    Scores are set against the face task: where it has no images, only the course is left.
    """
    figures = {}
    if lesioned.sets:
        label = selection.style.label
        figures["dissociation"] = plot_sets(lesioned.set_table(), lesioned.tasks, label, heading)
    if lesioned.searches:
        figures["lesion"] = plot_searches(lesioned.searches, heading)
    if "face" in lesioned.tasks:
        intact = -float(lesioned.effects.intact.face_loss)
        name, ylabel, line = "lesion", "Face performance (−loss, nats)", ("no lesion", intact)
        if "face" in lesioned.searches:
            dropped = lesioned.searches["face"].dropped[-1]
            name, ylabel = "lesion_place", "Place in the face search (0: first)"
            line = "dropped below", dropped - 0.5
        remains = lesioned.remains("face")
        figures[name] = plot_remains(selection, remains, ylabel, line, heading)
    return figures


@paper_style()
def plot_remains(
    selection: Selection,
    remains: NDArray[np.generic],
    ylabel: str,
    line: tuple[str, float],
    heading: Heading,
) -> Figure:
    """Return what each kernel's lesion leaves of a task (kernels,) against its score.

    `ylabel` says what that is; `line` is the label and the height of a horizontal line.
    """
    figure = new_figure(2.6, title=heading.title)
    ax = figure.subplots()
    ax.axhline(line[1], color=DARK, linewidth=0.8, linestyle="--", zorder=1, label=line[0])
    draw_remains(ax, selection, remains)
    ax.set_ylabel(ylabel)
    add_legend(figure, [ax])
    return figure


def draw_remains(ax: Axes, selection: Selection, remains: NDArray[np.generic]) -> None:
    """Draw what is left (kernels,) against the score, and say how they correlate."""
    chosen = selection.selected
    for mask, colour, label in (
        (~chosen, GREY, "not selected"),
        (chosen, selection.style.colour, f"selected ({chosen.sum():,})"),
    ):
        ax.scatter(
            selection.score[mask], remains[mask], 12 if chosen.size <= 150 else 7, color=colour,
            edgecolors="white", linewidths=0.3, label=label,
        )  # fmt: skip
    ax.margins(0.05, 0.08)
    ax.set_xlabel(f"Selectivity score ({selection.style.label})")
    r = spearman(selection.score, remains)
    ax.set_title(f"Spearman r = {format_number(r)}", loc="right")


@paper_style()
def plot_searches(searches: Mapping[str, GreedySearch], heading: Heading) -> Figure:
    """Return what remains of the tasks as greedy searches for what they need drop kernels.

    A task that was not searched for is not shown.
    """
    figure = new_figure(3.5, title=heading.title)
    grid = figure.subplots(2, len(searches), sharex=True, squeeze=False)
    for (loss, top1), task in zip(grid.T, searches, strict=True):
        draw_searches(loss, searches, task, "loss")
        draw_searches(top1, searches, task, "top1")
        loss.set_title(f"{task.capitalize()} task")
        top1.set_xlabel("Kernels dropped (%)")
    grid[0, 0].set_ylabel("−loss (nats)")
    grid[1, 0].set_ylabel("Top-1 accuracy (%)")
    add_legend(figure, grid.flat)
    return figure


def draw_searches(ax: Axes, searches: Mapping[str, GreedySearch], task: str, measure: str) -> None:
    """Draw `loss` or `top1` of one task as each search drops kernels."""
    for sought, search in searches.items():
        scale = {"loss": -1, "top1": 100}[measure]
        ax.plot(
            100 * search.dropped / len(search.order),
            scale * getattr(search.remaining, f"{task}_{measure}"), color=COLOURS[sought],
            markersize=2, marker="o" if len(search.dropped) <= 30 else None,
            label=f"search for {sought}s",
        )  # fmt: skip


@paper_style()
def plot_sets(table: pd.DataFrame, tasks: Sequence[str], label: str, heading: Heading) -> Figure:
    """Return both tasks' accuracy as more and more of the highest-ranked kernels are lesioned.

    `table` is `Lesioned.set_table`'s, `tasks` are those shown, `label` is the metric's.
    """
    figure = new_figure(2.75, title=heading.title)
    ax = figure.subplots()
    for task in tasks:
        draw_sets(ax, table, task)
    ax.plot([], [], ":", color=DARK, label="random kernels: mean, range")
    share = table.loc[table["set"] == "selection", "percent"].max()
    ax.plot(
        [], [], linestyle="", color="white", label=f"selected by {label}: {share:.1f} %", **STAR
    )
    ax.set_xscale("symlog", linthresh=1, linscale=0.4)
    ax.set_xticks([tick for tick in TICKS if tick <= table["percent"].max()])
    ax.xaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
    ax.set_xlabel(f"Kernels lesioned (%), highest {label} first")
    ax.set_ylabel("Top-1 accuracy (%)")
    add_legend(figure, [ax])
    return figure


def draw_sets(ax: Axes, table: pd.DataFrame, task: str) -> None:
    """Draw a task's accuracy without the highest-ranked kernels, random ones, and the selection."""
    colour, kinds = COLOURS[task], table["set"].to_numpy()
    accuracy = 100 * table.set_index("percent")[f"{task}_top1"]
    random = accuracy[np.isin(kinds, ["none", "random", "random_selection"])]
    draws = random.groupby(level="percent").agg(["min", "mean", "max"])
    ax.fill_between(draws.index, draws["min"], draws["max"], color=colour, alpha=0.2, linewidth=0)
    ax.plot(draws.index, draws["mean"], ":", color=colour)
    ranked = accuracy[np.isin(kinds, ["none", "top"])]
    ax.plot(ranked.index, ranked, "o-", color=colour, markersize=2.5, label=f"{task} task")
    chosen = accuracy[kinds == "selection"]
    ax.plot(chosen.index, chosen, linestyle="", color=colour, zorder=4, **STAR)
