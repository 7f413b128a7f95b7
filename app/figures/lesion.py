"""Whether the network needs what a metric ranks high: kernels lesioned singly, in turn, in sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from app.figures.agreement import choose_points
from app.figures.render import add_legend, fold, format_number, new_figure
from app.figures.scores import Selection
from app.figures.style import DARK, DOMAIN_COLOURS, GREY, Heading, paper_style
from app.findings.consistency import spearman

if TYPE_CHECKING:
    import pandas as pd

    from app.findings.lesioned import GreedySearch, Lesioned

COLOURS = {"face": DOMAIN_COLOURS["faces"], "object": DOMAIN_COLOURS["objects"]}  # of the tasks
CLASSES = 20  # that are shown, at most
TICKS = (0, 1, 2, 5, 10, 20, 50, 100)  # percent


@paper_style()
def plot_lesions(lesioned: Lesioned, selection: Selection, heading: Heading) -> dict[str, Figure]:
    """Return what lesions of a layer's kernels leave, as far as they were asked for.

    `lesion`: each kernel's lesion against its score, or the course of the greedy searches;
    `lesion_place`: each kernel's place in the face task's search against its score;
    `dissociation`: both tasks' accuracy against the size of the set that is lesioned;
    `lesion_classes`: the classes that suffer most from the lesion of all that is selected.
    Scores are set against the face task: where it has no images, only the course is left.
    """
    figures = {}
    if lesioned.curves():
        figures["dissociation"] = figure = new_figure(2.75, title=heading.title)
        draw_sets(figure.subplots(), lesioned.set_table(), lesioned.tasks, selection.style.label)
    if lesioned.searches:
        figures["lesion"] = figure = new_figure(3.5, title=heading.title)
        grid = figure.subplots(2, len(lesioned.searches), sharex=True, squeeze=False)
        draw_searches(grid, lesioned.searches)
    if "face" in lesioned.tasks:
        intact = -float(lesioned.effects.intact.face_loss)
        name, line = "lesion", ("no lesion", intact)
        how = ", estimated" if lesioned.checked is not None else ""
        ylabel = f"Face performance (−loss, nats{how})"
        if "face" in lesioned.searches:
            dropped = lesioned.searches["face"].dropped[-1]
            name, ylabel = "lesion_place", "Place in the face search (0: first)"
            line = "dropped below", dropped - 0.5
        points, title = choose_points(len(selection.score), heading)
        figures[name] = figure = new_figure(2.6, title=title)
        ax = figure.subplots(subplot_kw={"ylabel": ylabel})
        draw_remains(ax, selection, lesioned.remains("face"), line, points)
    if lesioned.damage is not None and selection.selected.any():
        figures["lesion_classes"] = figure = new_figure(3.2, title=heading.title)
        draw_classes(figure.subplots(), lesioned.damage.table(), selection.style.label)
    for figure in figures.values():
        add_legend(figure)
    return figures


def draw_remains(
    ax: Axes,
    selection: Selection,
    remains: NDArray[np.generic],
    line: tuple[str, float],
    points: NDArray[np.int64] | None = None,
) -> None:
    """Draw what each kernel's lesion leaves (kernels,) against its score; how both correlate.

    `line` is the label and the height of a horizontal line; `points` are shown, None: all.
    """
    ax.axhline(line[1], color=DARK, linewidth=0.8, linestyle="--", zorder=1, label=line[0])
    chosen = selection.selected
    shown = np.ones_like(chosen) if points is None else np.isin(np.arange(chosen.size), points)
    for mask, colour, label in (
        (~chosen & shown, GREY, "not selected"),
        (chosen & shown, selection.style.colour, f"selected ({chosen.sum():,})"),
    ):
        ax.scatter(
            selection.score[mask], remains[mask], 12 if chosen.size <= 150 else 7, color=colour,
            edgecolors="white", linewidths=0.3, label=label, rasterized=mask.size > 500,
        )  # fmt: skip
    ax.margins(0.05, 0.08)
    ax.set_xlabel(fold(f"Selectivity score ({selection.style.label})", 60))
    r = spearman(selection.score, remains)
    ax.set_title(f"Spearman r = {format_number(r)}", loc="right")


def draw_searches(grid: NDArray[np.object_], searches: Mapping[str, GreedySearch]) -> None:
    """Draw what remains of the tasks as greedy searches for what they need drop kernels.

    `grid` is (2, searches): axes of loss and of accuracy. A task not searched for is not shown.
    """
    for column, task in zip(grid.T, searches, strict=True):
        for ax, measure, scale in zip(column, ("loss", "top1"), (-1, 100), strict=True):
            for sought, search in searches.items():
                ax.plot(
                    100 * search.dropped / len(search.order),
                    scale * getattr(search.remaining, f"{task}_{measure}"), color=COLOURS[sought],
                    markersize=2, marker="o" if len(search.dropped) <= 30 else None,
                    label=f"search for {sought}s",
                )  # fmt: skip
        column[0].set_title(f"{task.capitalize()} task")
        column[1].set_xlabel("Kernels dropped (%)")
    grid[0, 0].set_ylabel("−loss (nats)")
    grid[1, 0].set_ylabel("Top-1 accuracy (%)")


def draw_sets(ax: Axes, table: pd.DataFrame, tasks: Sequence[str], label: str) -> None:
    """Draw accuracy without the highest-ranked kernels, random ones, and the metric's selection.

    `table` is `Lesioned.set_table`'s, `tasks` are those shown, `label` is the metric's.
    """
    kinds = table["set"].to_numpy()
    share = table.loc[kinds == "selection", "percent"].max()
    for task, size in zip(tasks, (9, 6), strict=False):  # the one may lie on the other
        colour, accuracy = COLOURS[task], 100 * table.set_index("percent")[f"{task}_top1"]
        random = accuracy[np.isin(kinds, ["none", "random", "random_selection"])]
        draws = random.groupby(level="percent").agg(["min", "mean", "max"])
        ax.fill_between(
            draws.index, draws["min"], draws["max"], color=colour, alpha=0.2, linewidth=0
        )
        ax.plot(draws.index, draws["mean"], ":", color=colour)
        ranked = accuracy[np.isin(kinds, ["none", "top"])]
        ax.plot(ranked.index, ranked, "o-", color=colour, markersize=2.5, label=f"{task} task")
        chosen = accuracy[kinds == "selection"]
        ax.plot(
            chosen.index, chosen, "*", color=colour, zorder=4, markersize=size,
            markeredgecolor=DARK, markeredgewidth=0.5, label=f"selected ({share:.1f} %): {task}",
        )  # fmt: skip
    ax.plot([], [], ":", color=DARK, label="random: mean and range")
    ax.set_xscale("symlog", linthresh=1, linscale=0.4)
    ax.set_xticks([tick for tick in TICKS if tick <= table["percent"].max()])
    ax.xaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
    ax.set_xlabel(fold(f"Kernels lesioned (%) from the highest {label} on", 60))
    ax.set_ylabel("Top-1 accuracy (%)")


def draw_classes(ax: Axes, table: pd.DataFrame, label: str) -> None:
    """Draw by how much loss grows for the classes that suffer most, and what is random of it.

    `table` is `Damage.table`'s, `label` is the metric's.
    """
    lost = table["selection_loss"] - table["intact_loss"]
    worst = lost.sort_values(kind="stable").index[-CLASSES:]
    shown, place = table.loc[worst], np.arange(len(worst))
    for task in shown["task"].unique():
        own = (shown["task"] == task).to_numpy()
        ax.barh(place[own], lost[worst][own], 0.7, color=COLOURS[task], label=f"{task} classes")
    random = shown["random_selection_loss"] - shown["intact_loss"]
    ax.plot(random, place, "|", color=DARK, markersize=5, label="as many random kernels")
    ax.axvline(0, color=DARK, linewidth=0.6)
    ax.set_yticks(place, [fold(name, 24) for name in shown["class"]], fontsize=5)
    ax.set_xlabel(fold(f"Loss added (nats) without all that {label} selects", 60))
    ax.set_title(f"{len(shown)} of {len(table)} classes that suffer most")
