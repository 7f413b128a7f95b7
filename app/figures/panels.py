"""The panels of a sweep's report: tidy tables in, figures out, each alone or all in one.

A metric has its own colour and an aggregation its own place in the paper's panels; where the
criterion moves (g to j), each metric has axes of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from app.figures.single import DARK, GREY, WIDTH
from app.figures.style import style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE = 7.2  # inches: both columns of a journal
LEFT, RIGHT, GAP, BETWEEN = 0.66, 0.08, 0.7, 0.14  # inches around and between axes
TOP, BOTTOM, TALL, LEGEND = 0.4, 0.52, 1.35, 0.26
LINES = 0.16  # more below, for what lines are
TURNED = 0.3  # more at the bottom, where layers have long names
LONG, MANY = 14, 7  # characters of a layer's name that are shown; layers that all have a label
ONE_ROW = 4  # axes
ROWS = (("b", "c"), ("d", "e", "f"))  # as in the paper
CRITERIA = (("g", "h"), ("i", "j"))
SPREAD = 0.07  # between the metrics of a layer, of the distance between two layers
PALE = 0.35
AGGREGATION_NAMES = {"mean": "Mean", "l2": "L2 norm", "max": "Maximum"}


@dataclass(frozen=True)
class Style:
    """How figures show a metric."""

    label: str
    colour: str  # #RRGGBB


Drawn = tuple[str, str, "pd.DataFrame"]  # letter, title, table


def figure(drawn: Sequence[Drawn], styles: Mapping[str, Style], title: str = "") -> Figure:
    """All panels in the paper's arrangement, on a page's width; those that are missing leave none.

    Args:
        drawn: Letter, title and table of each panel; `app.sweeps.report` says what is in a table.
        styles: Label and colour of each metric.
        title: What is shown.
    """
    by_letter = {each[0]: each for each in drawn}
    rows = [[by_letter[name] for name in row if name in by_letter] for row in ROWS]
    if sum(_count(row) for row in rows) <= ONE_ROW:
        rows = [[each for row in rows for each in row]]
    for names in CRITERIA:
        row = [by_letter[name] for name in names if name in by_letter]
        rows += [row] if _count(row) <= ONE_ROW else [[each] for each in row]
    return _draw([row for row in rows if row], styles, PAGE, title)


def alone(letter: str, title: str, table: pd.DataFrame, styles: Mapping[str, Style]) -> Figure:
    """One panel on a column's width; on the page's where it has axes for many metrics."""
    many = letter in CRITERION and _facets(letter, table) > 2
    return _draw([[(letter, title, table)]], styles, PAGE if many else WIDTH, "")


def _draw(
    rows: Sequence[Sequence[Drawn]], styles: Mapping[str, Style], width: float, title: str
) -> Figure:
    """Rows of panels from above, the metrics' legend below; all lengths in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    head = 0.2 if title else 0.0
    turned = [any(not _are_convolutions(_layers(table)) for _, _, table in row) for row in rows]
    tall = [TOP + TALL + BOTTOM + TURNED * turn for turn in turned]
    shown = _metrics(rows, styles)
    lines = _lines([letter for row in rows for letter, _, _ in row])
    abreast = len(lines) if width == PAGE else 3
    below = LINES * -(-len(lines) // max(abreast, 1))
    height = head + sum(tall) + (LEGEND if shown else 0.04) + below
    with style():
        drawing = Figure(figsize=(width, height))
        FigureCanvasAgg(drawing)
        for number, row in enumerate(rows):
            bottom = height - head - sum(tall[:number]) - TOP - TALL
            parts = [_facets(letter, table) for letter, _, table in row]
            count = _count(row)
            free = width - LEFT - RIGHT - GAP * (len(row) - 1)
            free -= BETWEEN * (count - len(row))
            each = free / count
            left = LEFT
            for (letter, name, table), facets in zip(row, parts, strict=True):
                axes: list[Axes] = []
                for place in range(facets):
                    x = left + place * (each + BETWEEN)
                    box = (x / width, bottom / height, each / width, TALL / height)
                    axes.append(drawing.add_axes(box, sharey=axes[0] if axes else None))
                PANELS[letter](axes, table, styles)
                heading = f"{letter}   {name}"
                drawing.text(
                    (left - LEFT + 0.06) / width, (bottom + TALL + TOP - 0.06) / height,
                    heading, va="top", weight="bold", fontsize=7.5,
                )  # fmt: skip
                left += facets * each + (facets - 1) * BETWEEN + GAP
        if title:
            drawing.text(0.5, 1 - 0.05 / height, title, ha="center", va="top", fontsize=7.5)
        if shown:
            drawing.legend(
                [_marker(styles[name].colour) for name in shown],
                [styles[name].label for name in shown],
                loc="lower center",
                ncols=len(shown) if sum(len(styles[n].label) + 6 for n in shown) < 70 else 3,
                columnspacing=1.4,
                bbox_to_anchor=(0.5, below / height),
            )
        if lines:
            drawing.legend(
                [_line(**each) for each in lines.values()], list(lines), loc="lower center",
                ncols=abreast, columnspacing=1.4,
            )  # fmt: skip
    return drawing


# --- what a panel draws ---------------------------------------------------------------------------


def _units(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Percent selective over layers, a line a metric."""
    _selection(axes[0], table, styles)
    axes[0].set_ylabel("Selective units (%)")


def _kernels(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """The same of kernels, beside each other by aggregation."""
    layers = _layers(table)
    for one, (aggregation, part) in zip(
        axes, table.groupby("aggregation", sort=False), strict=True
    ):
        _selection(one, part, styles, layers)
        one.set_title(AGGREGATION_NAMES.get(str(aggregation), str(aggregation)), loc="center",
                      fontsize=6.5)  # fmt: skip
        if one is not axes[0]:
            one.tick_params(labelleft=False)
    axes[0].set_ylim(0, max(1.08 * table["percent"].max(), 1))  # of all: they share it
    axes[0].set_ylabel("Selective kernels (%)")


def _selection(
    axes: Axes,
    table: pd.DataFrame,
    styles: Mapping[str, Style],
    layers: Sequence[str] | None = None,
) -> None:
    layers = layers or _layers(table)
    metrics = list(dict.fromkeys(table["metric"]))
    for number, metric in enumerate(metrics):
        part = table[table["metric"] == metric]
        offset = SPREAD * (number - (len(metrics) - 1) / 2)
        places = [layers.index(name) + offset for name in part["layer"]]
        axes.plot(places, part["percent"], marker="o", color=styles[metric].colour, clip_on=False)
    _over_layers(axes, layers)
    axes.set_ylim(0, max(1.08 * table["percent"].max(), 1))


def _lesions(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Bars of r by layer and metric; the deepest layer, which the paper asked, in full colour."""
    layers, metrics = _layers(table), list(dict.fromkeys(table["metric"]))
    width = 0.8 / len(metrics)
    for row in table.to_dict("records"):
        place = layers.index(row["layer"])
        axes[0].bar(
            place + width * (metrics.index(row["metric"]) - (len(metrics) - 1) / 2),
            row["spearman"],
            width,
            color=styles[row["metric"]].colour,
            alpha=1 if place == len(layers) - 1 else PALE,
        )
    axes[0].axhline(0, color=DARK, linewidth=0.6)
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(min(low, -0.1), max(high, 0.1))
    _over_layers(axes[0], layers)
    axes[0].set_ylabel("Spearman r, score and\nface performance left")


def _identity(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Accuracy by metric with its interval; beside it random kernels, all kernels and chance."""
    first = table.iloc[0]
    percent = 100 * table[["accuracy", "ci95_low", "ci95_high"]]
    places = np.arange(len(table))
    axes[0].bar(places, percent["accuracy"], 0.7, color=[styles[m].colour for m in table["metric"]])
    errors = [
        percent["accuracy"] - percent["ci95_low"],
        percent["ci95_high"] - percent["accuracy"],
    ]
    axes[0].errorbar(
        places, percent["accuracy"], np.clip(errors, 0, None), fmt="none", ecolor=DARK,
        elinewidth=0.8, capsize=1.5,
    )  # fmt: skip
    beside = {"random": "random_kernels", "all": "all_kernels", "chance": "chance"}
    further = len(table) + 0.3 + np.arange(len(beside))
    axes[0].bar(further, [100 * first[name] for name in beside.values()], 0.7, color=GREY)
    labels = [styles[name].label for name in table["metric"]] + list(beside)
    axes[0].set_xticks([*places, *further], labels, rotation=45, ha="right", rotation_mode="anchor")
    axes[0].tick_params(axis="x", length=0, pad=2)
    axes[0].set_ylabel("Identity accuracy (%)")
    kernels = f"{first['layer']}, N = {first['kernels']}, 95 % CI"
    axes[0].set_title(kernels, fontsize=6.5, loc="center")


def _consistency(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Mean rank correlation over layers, trained and untrained."""
    layers = _layers(table)
    for trained, part in table.groupby("trained", sort=False):
        axes[0].errorbar(
            [layers.index(name) for name in part["layer"]],
            part["mean"],
            part["sem"].fillna(0),
            marker="o",
            color=DARK if trained else "#888888",
            linestyle="-" if trained else "--",
            markerfacecolor=DARK if trained else "white",
            elinewidth=0.8,
            capsize=1.5,
            label="trained" if trained else "untrained",
        )
    _over_layers(axes[0], layers)
    axes[0].set_ylabel("Mean Spearman r\nof the metrics (± SEM)")
    axes[0].legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderpad=0, handlelength=1.8,
        columnspacing=1.0,
    )  # fmt: skip


def _criteria(
    axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]
) -> Iterator[tuple[Axes, str, pd.DataFrame]]:
    """The axes of each metric, from liberal to strict, and what to draw there."""
    names = {"above": "score", "p": "p", "fdr_bh": "FDR", "fdr_by": "FDR"}
    for one, (metric, part) in zip(axes, at_criteria(table), strict=True):
        rule = part["rule"].iloc[0]
        one.set_title(styles[metric].label, loc="center", fontsize=6.5)
        one.set_xlabel(f"criterion ({names[rule]})")
        if one is not axes[0]:
            one.tick_params(labelleft=False)
        if rule != "above":
            one.set_xscale("log")
            one.minorticks_off()
        yield one, metric, part
        one.axvline(part["paper"].iloc[0], color=DARK, linestyle="-.", linewidth=0.6)
        if rule != "above":  # drawn by now: axes without data cannot be turned
            one.invert_xaxis()


def _by_criterion(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Percent selected against the criterion."""
    for one, metric, part in _criteria(axes, table, styles):
        one.plot(part["criterion"], part["percent"], marker="o", color=styles[metric].colour)
    axes[0].set_ylim(0, max(1.08 * table["percent"].max(), 1))
    axes[0].set_ylabel("Selected (%)")


def _overlaps(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Jaccard's index with each other metric, in that one's colour."""
    for one, _, part in _criteria(axes, table, styles):
        for other, line in part.groupby("other", sort=False):
            one.plot(
                line["criterion"], line["jaccard"], marker="o", color=styles[str(other)].colour
            )
    axes[0].set_ylim(-0.03, 1.03)
    axes[0].set_ylabel("Jaccard index")


def _decodings(axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]) -> None:
    """Accuracy and its interval; random kernels, all, and chance beside it."""
    for one, metric, part in _criteria(axes, table, styles):
        x, colour = part["criterion"], styles[metric].colour
        low, high = 100 * part["ci95_low"], 100 * part["ci95_high"]
        one.fill_between(x, low, high, color=colour, alpha=0.25, linewidth=0)
        one.plot(x, 100 * part["accuracy"], marker="o", color=colour)
        for name, line in (("random_kernels", ":"), ("all_kernels", "--"), ("chance", "-")):
            one.plot(x, 100 * part[name], linestyle=line, linewidth=0.8, color=BESIDE)
    axes[0].set_ylim(0, 103)
    axes[0].set_ylabel("Identity accuracy (%)")


def _selections_lesioned(
    axes: Sequence[Axes], table: pd.DataFrame, styles: Mapping[str, Style]
) -> None:
    """Accuracy of both tasks without the selection, and without as many random kernels."""
    for one, _, part in _criteria(axes, table, styles):
        x = part["criterion"]
        for task, shown in TASKS.items():
            one.plot(x, 100 * part[f"{task}_top1"], **shown)
            one.plot(x, 100 * part[f"random_{task}_top1"], linestyle=":", color=shown["color"])
    axes[0].set_ylim(0, 103)
    axes[0].set_ylabel("Top-1 accuracy (%)")


PANELS: dict[str, Callable[[Sequence[Axes], Any, Mapping[str, Style]], None]] = {
    "b": _units,
    "c": _kernels,
    "d": _lesions,
    "e": _identity,
    "f": _consistency,
    "g": _by_criterion,
    "h": _overlaps,
    "i": _decodings,
    "j": _selections_lesioned,
}
CRITERION = ("g", "h", "i", "j")
BESIDE = "#777777"
TASKS: dict[str, dict[str, Any]] = {  # not in colours that metrics have
    "face": {"color": DARK, "marker": "o"},
    "object": {"color": BESIDE, "marker": "s", "markerfacecolor": "white"},
}


# --- parts ----------------------------------------------------------------------------------------


def at_criteria(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Of the panels g to j what is drawn: each metric, and its rows from liberal to strict.

    Of the deepest layer, by L2 where it was asked; of the others' criteria the first of each.
    """
    asked = set(table["aggregation"])
    aggregation = next(name for name in ("l2", "mean", "max", "unit") if name in asked)
    part = table[table["aggregation"] == aggregation]
    part = part[part["layer"] == _layers(part)[-1]]
    point = [name for name in ("metric", "other", "criterion") if name in part]
    part = part.drop_duplicates(point)
    return [
        (str(metric), rows if rows["rule"].iloc[0] == "above" else rows[::-1])
        for metric, rows in part.groupby("metric", sort=False)
    ]


def _facets(letter: str, table: pd.DataFrame) -> int:
    if letter in CRITERION:
        return len(at_criteria(table))
    return table["aggregation"].nunique() if letter == "c" else 1


def _count(row: Sequence[Drawn]) -> int:
    """How many axes a row of panels has."""
    return sum(_facets(letter, table) for letter, _, table in row)


def _layers(table: pd.DataFrame) -> list[str]:
    """As the table has them: from the first to the deepest."""
    return list(dict.fromkeys(table["layer"]))


def _over_layers(axes: Axes, layers: Sequence[str]) -> None:
    """Layers across: convolutions by number, modules by name, turned where they are long."""
    places = list(range(len(layers)))
    if len(layers) > MANY:
        places = places[::-2][::-1]  # the deepest has its label
    labels = [layers[place] for place in places]
    if _are_convolutions(layers):
        axes.set_xlabel("Layer (conv)")
        labels = [name.removeprefix("conv") for name in labels]
    labels = [name if len(name) <= LONG else f"…{name[1 - LONG :]}" for name in labels]
    turn: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(places, labels, **({} if _are_convolutions(layers) else turn))
    axes.set_xlim(-0.5, len(layers) - 0.5)


def _are_convolutions(layers: Sequence[str]) -> bool:
    return all(name.startswith("conv") and name[4:].isdigit() for name in layers)


def _metrics(rows: Sequence[Sequence[Drawn]], styles: Mapping[str, Style]) -> list[str]:
    """The metrics that the panels show by colour alone."""
    tables = [table for row in rows for letter, _, table in row if letter in ("b", "c", "d")]
    shown = {name for table in tables for name in table["metric"]}
    others = [table for row in rows for letter, _, table in row if letter == "h"]
    shown |= {name for table in others for name in table["other"]}
    return [name for name in styles if name in shown]


def _lines(letters: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What the lines of these panels are, beside the metrics' own."""
    lines: dict[str, dict[str, Any]] = {}
    if set(letters) & set(CRITERION):
        lines["the paper's criterion"] = {"color": DARK, "linestyle": "-.", "linewidth": 0.6}
    if "j" in letters:
        lines |= {f"{task} task": shown for task, shown in TASKS.items()}
    if "i" in letters or "j" in letters:
        lines["as many random kernels"] = {"color": BESIDE, "linestyle": ":"}
    if "i" in letters:
        lines["all kernels"] = {"color": BESIDE, "linestyle": "--", "linewidth": 0.8}
        lines["chance"] = {"color": BESIDE, "linestyle": "-", "linewidth": 0.8}
    return lines


def _line(**style: Any) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], **style)


def _marker(colour: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, marker="o")
