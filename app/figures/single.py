"""Figures of one run: arrays in, figures out, the same bytes for the same arrays.

Figures are built without pyplot, which keeps global state and wants a display, and in one style
(`paper.mplstyle`), whatever the user's own matplotlib settings are.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.figures.style import style as _style
from app.files import whole, writing

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 3.5  # inches: one column of a journal
EXTREMES = 3  # units shown from either end
BINS = 60

# Okabe and Ito's colours, which colour-blind readers tell apart.
DOMAIN_COLOURS = {
    "faces": "#D55E00",
    "bodies": "#E69F00",
    "characters": "#009E73",
    "places": "#56B4E9",
    "objects": "#0072B2",
}
OTHER_COLOURS = ("#CC79A7", "#F0E442", "#000000", "#999999")
GREY = "#BBBBBB"
DARK = "#444444"
BOTH = "#000000"  # what two metrics select
PAIR_COLOURS = (*DOMAIN_COLOURS.values(), *(c for c in OTHER_COLOURS if c != BOTH))
COMBINATIONS = 15  # of metrics, that an UpSet plot has room for
MANY = len(DOMAIN_COLOURS) + len(OTHER_COLOURS)  # domains, beyond which colours run out


def score_histogram(
    score: np.ndarray,
    selected: np.ndarray,
    label: str,
    colour: str,
    criterion: str,
    threshold: float | None,
    title: str,
) -> Figure:
    """Histogram of a metric's scores, the selected ones in colour.

    Args:
        score: (units,), NaN where undefined.
        selected: (units,), the selection.
        label: The metric, as the axis names it.
        colour: Of what is selected, #RRGGBB.
        criterion: The rule in words, such as "score > 0.3".
        threshold: The criterion's score; None, where the rule is no score, marks the smallest
            selected score instead.
        title: What was scored.
    """
    score, selected = np.asarray(score, dtype=float), np.asarray(selected, dtype=bool)
    defined = np.isfinite(score)
    values, chosen = score[defined], score[defined & selected]
    mark = threshold if threshold is not None else chosen.min() if chosen.size else None
    with _style():
        figure, axes = _axes(2.3)
        if values.size:
            edges = _edges(values, mark)
            axes.stairs(np.histogram(values, edges)[0], edges, fill=True, color=GREY)
            axes.stairs(np.histogram(chosen, edges)[0], edges, fill=True, color=colour)
        if values.size > 1000:
            axes.set_yscale("symlog", linthresh=10)  # a few selected among many stay visible
        axes.set_ylim(0, axes.get_ylim()[1] * 1.05)
        if mark is not None:
            axes.axvline(mark, color=DARK, linewidth=0.8, linestyle="--")
        percent = 100 * selected.sum() / max(score.size, 1)
        notes = [
            (colour, f"selected: {selected.sum():,} of {score.size:,} ({percent:.1f} %)"),
            (GREY, "not selected"),
        ]
        if not defined.all():
            notes.append(("none", f"undefined, not shown: {(~defined).sum():,}"))
        if mark is None:
            notes.append(("none", f"rule: {criterion}"))
        _legend(figure, notes, criterion if mark is not None else None)
        axes.set_xlabel(f"Selectivity score ({label})")
        axes.set_ylabel("Number of units")
        _title(figure, title)
    return figure


def unit_responses(
    responses: np.ndarray,
    categories: Sequence[str],
    domains: Mapping[str, Sequence[str]],
    order: Sequence[int] | np.ndarray,
    scores: np.ndarray,
    units: Sequence[str],
    target: str,
    title: str = "",
) -> Figure:
    """Mean responses by category (± SEM) of the three top and the three bottom units.

    Args:
        responses: (images, units).
        categories: (images,), each image's category.
        domains: The categories of each domain; images of other categories are left out.
        order: Columns of `responses` from the highest to the lowest score; the first and last
            three are shown, so that the ends alone are enough.
        scores: (units,).
        units: (units,), names to print.
        target: The domain asked about; drawn first.
        title: What was measured.
    """
    names = np.asarray(categories)
    in_order = sorted(domains, key=lambda domain: domain != target)
    columns = [(domain, category) for domain in in_order for category in domains[domain]]
    rows = [names == category for _, category in columns]
    colours = _domain_colours(in_order, target)
    fill = [colours[domain] for domain, _ in columns]
    order = np.asarray(order)
    per_row = min(EXTREMES, max(len(order) // 2, 1))
    groups: list[tuple[str, np.ndarray]] = [
        ("Top", order[:per_row]),
        ("Bottom", order[per_row:][-per_row:]),
    ]
    groups = [group for group in groups if len(group[1])]
    with _style():
        labelled = len(columns) <= 12
        bottom = 0.92 if labelled else 0.5
        height = bottom + 0.52 + 0.75 * len(groups) + 0.36 * (len(groups) - 1)
        figure, grid = _grid(len(groups), per_row, height, bottom, top=0.52)
        for line, (label, members) in zip(grid, groups, strict=True):
            for axes, unit in zip(line, members, strict=True):
                values = [responses[row, unit] for row in rows]
                means = np.array([value.mean() if value.size else np.nan for value in values])
                errors = np.array(
                    [value.std(ddof=1) / np.sqrt(value.size) if value.size > 1 else 0.0
                     for value in values]
                )  # fmt: skip
                positions = np.arange(len(columns))
                axes.bar(positions, means, 0.8, color=fill)
                axes.errorbar(positions, means, errors, fmt="none", ecolor=DARK, elinewidth=0.5)
                axes.set_title(f"{units[unit]}\nscore {_number(scores[unit])}", fontsize=6.5)
                axes.set_xlim(-0.7, len(columns) - 0.3)
                axes.locator_params(axis="y", nbins=4)
                axes.tick_params(axis="x", length=0)
                axes.set_xticks([])
            line[0].set_ylabel(f"{label}\nresponse (a.u.)")
        if labelled:
            for axes in grid[-1]:
                texts = [category for _, category in columns]
                axes.set_xticks(range(len(columns)), texts, rotation=90, fontsize=5.5)
        labels = {f"{name} (target)" if name == target else name: name for name in in_order}
        if len(in_order) > MANY:
            labels = {f"{target} (target)": target, "other domains": in_order[1]}
        handles = [_patch(colours[domain]) for domain in labels.values()]
        figure.legend(
            handles,
            list(labels),
            loc="lower center",
            ncols=min(len(handles), 3),
            columnspacing=1.0,
            handletextpad=0.4,
        )
        if title:
            _title(figure, title)
    return figure


def lesion_scatter(
    score: np.ndarray,
    face_loss: np.ndarray,
    intact_loss: float,
    spearman: float,
    label: str,
    colour: str,
    selected: np.ndarray,
    title: str = "",
) -> Figure:
    """What remains of the face task after each kernel's lesion, against the kernel's score.

    Args:
        score: (kernels,), NaN where undefined.
        face_loss: (kernels,), the face task's cross-entropy with the kernel silenced, in nats.
        intact_loss: The same with no lesion.
        spearman: Rank correlation of score and remaining performance (-loss).
        label: The metric, as the axis names it.
        colour: Of what is selected, #RRGGBB.
        selected: (kernels,), the selection.
        title: What was lesioned.
    """
    with _style():
        figure, axes = _score_scatter(
            score, -np.asarray(face_loss, dtype=float), label, colour, selected
        )
        axes.axhline(-intact_loss, color=DARK, linewidth=0.8, linestyle="--", zorder=1)
        _legend(figure, _selection_notes(colour, selected), "no lesion")
        axes.set_ylabel("Face performance (−loss, nats)")
        axes.set_title(f"Spearman r = {_number(spearman)}", loc="right", fontsize=6.5)
        if title:
            _title(figure, title)
    return figure


def place_scatter(
    score: np.ndarray,
    place: np.ndarray,
    dropped: int,
    spearman: float,
    label: str,
    colour: str,
    selected: np.ndarray,
    title: str = "",
) -> Figure:
    """Each kernel's place in the face task's greedy search against the kernel's score.

    Args:
        score: (kernels,), NaN where undefined.
        place: (kernels,), 0 is the kernel that was dropped first.
        dropped: How many were dropped; the others are in the order of the last search.
        spearman: Rank correlation of score and place.
        label: The metric, as the axis names it.
        colour: Of what is selected, #RRGGBB.
        selected: (kernels,), the selection.
        title: What was lesioned.
    """
    with _style():
        figure, axes = _score_scatter(score, place, label, colour, selected)
        axes.axhline(dropped - 0.5, color=DARK, linewidth=0.8, linestyle="--", zorder=1)
        _legend(figure, _selection_notes(colour, selected), "dropped below")
        axes.set_ylabel("Place in the face search (0: first)")
        axes.set_title(f"Spearman r = {_number(spearman)}", loc="right", fontsize=6.5)
        if title:
            _title(figure, title)
    return figure


def greedy_curves(
    face_search: np.ndarray | None = None,
    object_search: np.ndarray | None = None,
    title: str = "",
) -> Figure:
    """What remains of both tasks as the greedy searches drop kernels.

    Args:
        face_search: (steps + 1, 5): fraction of kernels dropped (0 … 1), face loss (nats), face
            top-1 (0 … 1), object loss, object top-1, as the face task's search drops kernels.
        object_search: The same as the object task's search does. One of the two may be missing;
            its task is then not shown.
        title: What was lesioned.
    """
    both = {"faces": face_search, "objects": object_search}
    searches = {domain: search for domain, search in both.items() if search is not None}
    tasks = {
        domain: (task, column)
        for domain, task, column in (("faces", "Face task", 1), ("objects", "Object task", 3))
        if domain in searches
    }
    with _style():
        figure, grid = _grid(2, len(tasks), 3.5, bottom=0.7, top=0.5)
        for row, (name, scale) in enumerate((("−loss (nats)", -1), ("Top-1 accuracy (%)", 100))):
            for (_, column), axes in zip(tasks.values(), grid[row], strict=True):
                for domain, search in searches.items():
                    axes.plot(
                        100 * search[:, 0],
                        scale * search[:, column + row],
                        color=DOMAIN_COLOURS[domain],
                        marker="o" if len(search) <= 30 else None,
                        markersize=2,
                    )
            grid[row][0].set_ylabel(name)
        for (name, _), axes in zip(tasks.values(), grid[0], strict=True):
            axes.set_title(name, fontsize=6.5)
        for axes in grid[1]:
            axes.set_xlabel("Kernels dropped (%)")
        _legend(figure, [(DOMAIN_COLOURS[name], f"search for {name}") for name in searches], None)
        if title:
            _title(figure, title)
    return figure


def selection_overlap(
    labels: Sequence[str],
    colours: Sequence[str],
    sizes: np.ndarray,
    members: np.ndarray,
    counts: np.ndarray,
    jaccard: np.ndarray,
    title: str = "",
) -> Figure:
    """Which metrics select the same units: an UpSet plot, and Jaccard's index of each pair.

    Args:
        labels: The metrics, as axes name them.
        colours: Of the metrics, #RRGGBB.
        sizes: (metrics,), how many units each selects.
        members: (combinations, metrics), the metrics of each combination.
        counts: (combinations,), units that exactly these metrics select; the first 15 are shown.
        jaccard: (metrics, metrics), 0 … 1, NaN where undefined.
        title: What was asked.
    """
    shown = min(len(counts), COMBINATIONS)
    many = len(labels)
    dots, cells, bars, side = 0.15 * many, 0.2 * many, 0.9, 1.05
    height = 0.3 + bars + 0.05 + dots + 0.35 + cells
    with _style():
        figure = _blank(height)
        top = 0.3 + bars
        above = _place(figure, side, 0.1, 0.3, bars)
        below = _place(figure, side, 0.1, top + 0.05, dots)
        across = np.arange(shown)
        above.bar(across, counts[:shown], 0.6, color=DARK)
        for place, count in zip(across, counts[:shown], strict=True):
            above.annotate(
                f"{count:,}", (place, count), (0, 1), textcoords="offset points", ha="center",
                va="bottom", fontsize=5 if shown > 8 else 6,
            )  # fmt: skip
        above.locator_params(axis="y", nbins=4, integer=True)
        if not shown:
            above.set_yticks([])
            above.text(0.5, 0.4, "nothing is selected", ha="center", transform=above.transAxes)
        above.set_ylabel("Units selected by\nexactly these")
        above.margins(y=0.16)
        above.spines["bottom"].set_visible(False)
        for axes in (above, below):
            axes.set_xticks([])
            axes.set_xlim(-0.6, max(shown, 5) - 0.4)
        rows = np.arange(many)
        for place in across:
            inside = rows[members[place].astype(bool)]
            below.plot([place] * many, rows, "o", color="#E3E3E3", markersize=4)
            below.plot([place] * 2, [inside.min(), inside.max()], color=DARK, linewidth=1)
            for row in inside:
                below.plot([place], [row], "o", color=colours[row], markersize=4)
        texts = [f"{label}  {size:,}" for label, size in zip(labels, sizes, strict=True)]
        below.set_yticks(rows, texts)
        below.set_ylim(many - 0.5, -0.5)
        below.tick_params(length=0)
        for spine in below.spines.values():
            spine.set_visible(False)
        if shown < len(counts):
            above.set_title(f"{shown} largest of {len(counts)}", loc="right", fontsize=6)

        matrix = _place(figure, side, WIDTH - side - 0.42 * many, top + 0.35 + dots, cells)
        image = np.where(np.tri(many, k=-1, dtype=bool), jaccard, np.nan)
        matrix.imshow(image, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for column, row in combinations(range(many), 2):
            value = jaccard[row, column]
            matrix.text(
                column, row, "none" if np.isnan(value) else _number(value), ha="center",
                va="center", fontsize=6, color="white" if value > 0.5 else DARK,
            )  # fmt: skip
        matrix.set_yticks(rows[1:], labels[1:])
        matrix.set_xticks(rows[:-1], labels[:-1])
        matrix.set_ylim(many - 0.5, 0.5)
        matrix.set_xlim(-0.5, max(many - 1.5, 0.5))
        matrix.tick_params(length=0)
        matrix.xaxis.tick_top()
        for spine in matrix.spines.values():
            spine.set_visible(False)
        figure.text(0.03, max(0.4 * cells, 0.26) / height, "Jaccard", rotation=90, va="center")
        _title(figure, title)
    return figure


def metric_agreement(
    labels: Sequence[str],
    colours: Sequence[str],
    scores: np.ndarray,
    selected: np.ndarray,
    marks: Sequence[float | None],
    depths: Sequence[Sequence[int]],
    shared: Sequence[Sequence[float]],
    units: int,
    title: str = "",
) -> Figure:
    """Score against score for each pair of metrics, and the part of units that their tops share.

    Args:
        labels: The metrics, as axes name them.
        colours: Of the metrics, #RRGGBB.
        scores: (metrics, points), NaN where undefined.
        selected: (metrics, points), the selections.
        marks: Of each metric, the score from which on it selects; None draws none.
        depths: Of each pair, in the order of `itertools.combinations`, how many units make up the
            top; the last is all that both define.
        shared: Of each pair, the fraction (0 … 1) of the top that both have in common.
        units: Of the layer; the scatter plots may show fewer.
        title: What was asked.
    """
    pairs = list(combinations(range(len(labels)), 2))
    across = min(3, max(len(pairs), 1))
    down = -(-len(pairs) // across)
    side = (WIDTH - 0.48 - 0.08 - 0.42 * (across - 1)) / across
    tall = min(side, 1.3)
    step, curve = tall + 0.4, 1.25
    columns = 3 if max(map(len, labels)) < 12 else 2
    lines = -(-(len(pairs) + 3) // columns)
    height = 0.32 + step * down + curve + 0.45 + 0.14 * lines
    with _style():
        figure = _blank(height)
        for number, (first, second) in enumerate(pairs):
            left = 0.48 + number % across * (side + 0.42)
            axes = _place(figure, left, WIDTH - left - side, 0.32 + number // across * step, tall)
            x, y = scores[first], scores[second]
            one, other = selected[first].astype(bool), selected[second].astype(bool)
            for mask, colour in (
                (~one & ~other, GREY),
                (one & ~other, colours[first]),
                (other & ~one, colours[second]),
                (one & other, BOTH),
            ):
                axes.plot(
                    x[mask], y[mask], ".", color=colour, markersize=3 if x.size < 500 else 1.8,
                    markeredgewidth=0, rasterized=x.size > 500,
                )  # fmt: skip
            for mark, draw in ((marks[first], axes.axvline), (marks[second], axes.axhline)):
                if mark is not None:
                    draw(mark, color=DARK, linewidth=0.6, linestyle="--", zorder=1)
            axes.set_xlabel(labels[first], labelpad=1, fontsize=6.5)
            axes.set_ylabel(labels[second], labelpad=1, fontsize=6.5)
            axes.locator_params(nbins=3)
            axes.tick_params(labelsize=5.5, pad=1.5)
        axes = _place(figure, 0.48, 0.1, 0.36 + step * down, curve)
        notes: list[tuple[dict[str, Any], str]] = [
            ({"color": BOTH, "marker": "o", "linestyle": ""}, "selected by both"),
            ({"color": DARK, "linestyle": "--", "linewidth": 0.6}, "criterion"),
        ]
        most = 1
        for number, (first, second) in enumerate(pairs):
            style: dict[str, Any] = {
                "color": PAIR_COLOURS[number % len(PAIR_COLOURS)],
                "linestyle": ("-", "-.", "--")[number // len(PAIR_COLOURS) % 3],
            }
            axes.plot(depths[number], shared[number], **style)
            most = max([most, *depths[number]])
            notes.append((style, f"{labels[first]} – {labels[second]}"))
        chance = np.unique(np.geomspace(1, most, 60).round())
        style = {"color": DARK, "linestyle": ":"}
        axes.plot(chance, chance / most, **style)
        notes.append((style, "chance (k of all)"))
        axes.set_xscale("log")
        axes.set_xlim(0.9, most * 1.1)
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("k highest-ranked units")
        axes.set_ylabel("Shared by both")
        _lines(figure, notes, columns)
        points = scores.shape[1]
        few = f"; scatter: {points:,} of {units:,} units" if points < units else ""
        _title(figure, title + few)
    return figure


def dissociation(
    kinds: Sequence[str],
    percent: np.ndarray,
    top1: Mapping[str, Sequence[float]],
    label: str,
    colour: str,
    title: str = "",
) -> Figure:
    """Accuracy of both tasks as ever more of the highest-ranked kernels are lesioned together.

    Args:
        kinds: (sets,), none, top, selection, random or random_selection, as in
            `app.findings.dissociation`.
        percent: (sets,), of the layer's kernels that are lesioned.
        top1: (sets,), 0 … 1, of each task, face or object; one of the two may be missing.
        label: The metric, in words.
        colour: Of its selection, #RRGGBB.
        title: What was lesioned.
    """
    names = np.asarray(kinds)
    domains = {"face": "faces", "object": "objects"}
    with _style():
        figure, axes = _axes(2.75)
        notes: list[tuple[dict[str, Any], str]] = []
        chosen = np.isin(names, ("selection", "random_selection"))
        for task, values in top1.items():
            accuracy, fill = 100 * np.asarray(values), DOMAIN_COLOURS[domains[task]]
            random = np.isin(names, ("none", "random", "random_selection"))
            sizes = np.unique(percent[random])
            draws = [accuracy[random & (percent == size)] for size in sizes]
            axes.fill_between(
                sizes, [draw.min() for draw in draws], [draw.max() for draw in draws],
                color=fill, alpha=0.2, linewidth=0,
            )  # fmt: skip
            dotted: dict[str, Any] = {"color": fill, "linestyle": ":"}
            axes.plot(sizes, [draw.mean() for draw in draws], **dotted)
            ranked = np.flatnonzero(np.isin(names, ("none", "top")))
            solid: dict[str, Any] = {"color": fill, "marker": "o"}
            axes.plot(percent[ranked], accuracy[ranked], markersize=2.5, **solid)
            notes.append((solid, f"{task} task"))
            mark = names == "selection"
            axes.plot(
                percent[mark], accuracy[mark], "*", markersize=7, color=colour,
                markeredgecolor=DARK, markeredgewidth=0.5, zorder=4,
            )  # fmt: skip
        share = f"{percent[chosen].max(initial=0):.1f} %"
        star: dict[str, Any] = {"color": colour, "marker": "*", "markersize": 7, "linestyle": "",
                "markeredgecolor": DARK, "markeredgewidth": 0.5}  # fmt: skip
        notes.append(({"color": DARK, "linestyle": ":"}, "random kernels: mean, range"))
        notes.append((star, f"selected by {label}: {share}"))
        axes.set_xscale("symlog", linthresh=1, linscale=0.4)
        ticks = [tick for tick in (0, 1, 2, 5, 10, 20, 50, 100) if tick <= percent.max()]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.minorticks_off()
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
        axes.set_xlabel(f"Kernels lesioned (%), highest {label} first")
        axes.set_ylabel("Top-1 accuracy (%)")
        _lines(figure, notes, columns=2)
        figure.subplots_adjust(bottom=(0.45 + 0.14 * -(-len(notes) // 2)) / 2.75)
        if title:
            _title(figure, title)
    return figure


def render(figure: Figure) -> dict[str, bytes]:
    """The figure as `png` (150 dpi) and `svg`; the same bytes every time."""
    rendered = {}
    with _style():
        for suffix, metadata in (
            ("png", {"Software": None}),
            ("svg", {"Date": None, "Creator": None}),
        ):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, metadata=metadata)
            rendered[suffix] = buffer.getvalue()
    return rendered


def save(rendered: Mapping[str, bytes], folder: Path, name: str) -> list[Path]:
    """Write a rendered figure into the folder, as `<name>.png` and `<name>.svg`."""
    paths = []
    with writing("write figures to", folder, "another output folder"):
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, content in rendered.items():
            paths.append(folder / f"{name}.{suffix}")
            with whole(paths[-1]) as path:
                path.write_bytes(content)
    return paths


# --- parts ----------------------------------------------------------------------------------------


def _axes(height: float) -> tuple[Figure, Axes]:
    figure, grid = _grid(1, 1, height, bottom=0.6, top=0.34)
    return figure, grid[0][0]


def _grid(
    rows: int, columns: int, height: float, bottom: float, top: float
) -> tuple[Figure, list[list[Axes]]]:
    """Axes at fixed places, all lengths in inches: a layout engine would double the cost."""
    left, right, across, down = 0.62, 0.08, 0.36, 0.36
    width = (WIDTH - left - right - across * (columns - 1)) / columns
    tall = (height - bottom - top - down * (rows - 1)) / rows
    figure = _blank(height)
    figure.subplots_adjust(
        left / WIDTH, bottom / height, 1 - right / WIDTH, 1 - top / height,
        across / width, down / tall,
    )  # fmt: skip
    return figure, figure.subplots(rows, columns, squeeze=False).tolist()


def _blank(height: float) -> Figure:
    """A figure for axes at places of their own, see `_place`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    return figure


def _place(figure: Figure, left: float, right: float, top: float, tall: float) -> Axes:
    """Axes with these margins to the figure's left, right and top, and this tall, in inches."""
    height = figure.get_figheight()
    return figure.add_axes(
        (left / WIDTH, 1 - (top + tall) / height, (WIDTH - left - right) / WIDTH, tall / height)
    )


def _lines(figure: Figure, notes: Sequence[tuple[dict[str, Any], str]], columns: int) -> None:
    """A legend of lines, at the figure's lower end."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **style) for style, _ in notes]
    texts = [text for _, text in notes]
    figure.legend(
        handles, texts, loc="lower center", ncols=columns, columnspacing=1.0, handletextpad=0.4
    )


def _score_scatter(
    score: np.ndarray, values: np.ndarray, label: str, colour: str, selected: np.ndarray
) -> tuple[Figure, Axes]:
    """Kernels by score (across) and a value (up), the selected ones in colour."""
    figure, axes = _axes(2.6)
    size = 12 if len(selected) <= 150 else 7
    chosen = np.asarray(selected, dtype=bool)
    for mask, fill in ((~chosen, GREY), (chosen, colour)):
        axes.scatter(
            score[mask], values[mask], size, color=fill, edgecolors="white", linewidths=0.3
        )
    axes.margins(0.05, 0.08)
    axes.set_xlabel(f"Selectivity score ({label})")
    return figure, axes


def _selection_notes(colour: str, selected: np.ndarray) -> list[tuple[str, str]]:
    return [(colour, f"selected ({np.sum(selected):,})"), (GREY, "not selected")]


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(text, y=1 - 0.06 / figure.get_figheight(), va="top")


def _domain_colours(domains: Sequence[str], target: str) -> dict[str, str]:
    """A colour per domain: fLoc's keep theirs, others take what is left."""
    if len(domains) > MANY:
        return {name: DOMAIN_COLOURS["faces"] if name == target else GREY for name in domains}
    free = [colour for name, colour in DOMAIN_COLOURS.items() if name not in domains]
    others = [name for name in domains if name not in DOMAIN_COLOURS]
    return DOMAIN_COLOURS | dict(zip(others, [*free, *OTHER_COLOURS], strict=False))


def _number(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.2f}".replace("-", "−")


def _patch(colour: str) -> Artist:
    from matplotlib.patches import Patch

    return Patch(color=colour)


def _legend(figure: Figure, notes: list[tuple[str, str]], line: str | None) -> None:
    """Below the axes, where it covers no data."""
    from matplotlib.lines import Line2D

    handles: list[Artist] = [_patch(colour) for colour, _ in notes]
    labels = [text for _, text in notes]
    if line is not None:
        handles.insert(0, Line2D([], [], color=DARK, linewidth=0.8, linestyle="--"))
        labels.insert(0, textwrap.fill(line, 60))
    columns = 1 if max(map(len, labels)) > 32 else 3 if len("".join(labels)) < 50 else 2
    figure.legend(handles, labels, loc="lower center", ncols=columns, columnspacing=1.0)
    lines = -(-len(labels) // columns) + sum(label.count("\n") for label in labels)
    figure.subplots_adjust(bottom=(0.45 + 0.14 * lines) / figure.get_figheight())


def _edges(values: np.ndarray, mark: float | None) -> np.ndarray:
    """Bins over all values, with an edge on the mark: a bar is selected or it is not."""
    low, high = values.min(), values.max()
    if mark is None:
        return np.histogram_bin_edges(values, BINS)
    low, high = min(low, mark), max(high, mark)
    width = (high - low) / BINS or 1.0
    below, above = np.ceil((mark - low) / width), np.ceil((high - mark) / width)
    return mark + width * np.arange(-max(below, 1), max(above, 1) + 1)
