"""Figures of one run: arrays in, figures out, the same bytes for the same arrays.

Figures are built without pyplot, which keeps global state and wants a display, and in one style
(`paper.mplstyle`), whatever the user's own matplotlib settings are.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.errors import InputError
from app.record.style import style as _style

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
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, content in rendered.items():
            paths.append(folder / f"{name}.{suffix}")
            paths[-1].write_bytes(content)
    except OSError as error:
        raise InputError(
            f"cannot write figures to {folder}: {error.strerror or error}; "
            "make room or choose another output folder"
        ) from error
    return paths


# --- parts ----------------------------------------------------------------------------------------


def _axes(height: float) -> tuple[Figure, Axes]:
    figure, grid = _grid(1, 1, height, bottom=0.6, top=0.34)
    return figure, grid[0][0]


def _grid(
    rows: int, columns: int, height: float, bottom: float, top: float
) -> tuple[Figure, list[list[Axes]]]:
    """Axes at fixed places, all lengths in inches: a layout engine would double the cost."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    left, right, across, down = 0.62, 0.08, 0.36, 0.36
    width = (WIDTH - left - right - across * (columns - 1)) / columns
    tall = (height - bottom - top - down * (rows - 1)) / rows
    figure = Figure(figsize=(WIDTH, height))
    FigureCanvasAgg(figure)
    figure.subplots_adjust(
        left / WIDTH, bottom / height, 1 - right / WIDTH, 1 - top / height,
        across / width, down / tall,
    )  # fmt: skip
    return figure, figure.subplots(rows, columns, squeeze=False).tolist()


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
