"""Figures without pyplot, which keeps global state and wants a display, and their files' bytes.

Places are found by matplotlib's constrained layout, so that nothing is cut off. The same arrays
give the same bytes.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from app.figures.style import WIDTH, paper_style
from app.files import whole, writing

UNDATED = {"png": {"Software": None}, "svg": {"Date": None, "Creator": None}}  # metadata
# Inches of a character of a legend and of a title, characters around each text of a legend.
CHARACTER, WIDE, HANDLE = 0.052, 0.062, 6


def new_figure(height: float, width: float = WIDTH, title: str = "") -> Figure:
    """Return an empty figure, its size in inches, whose axes find their own places."""
    lines = [part for line in title.split("\n") for part in textwrap.wrap(line, int(width / WIDE))]
    figure = Figure(figsize=(width, height + 0.12 * len(lines[1:])), layout="constrained")
    if title:
        figure.suptitle("\n".join(lines))
    return figure


def fold(label: str, width: int = 14) -> str:
    """Break a label into lines of that many characters, three at most."""
    return textwrap.fill(label, width, max_lines=3, placeholder=" …")


def add_legend(figure: Figure | SubFigure, width: float = WIDTH) -> None:
    """Explain below all axes, in as many columns as `width` inches hold, each label they use."""
    entries: dict[str, Artist] = {}
    for ax in figure.axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(textwrap.fill(label, int(width / CHARACTER) - HANDLE), handle)
    if not entries:
        return
    labels, rows = list(entries), 1
    while _legend_width(labels, rows) > width and rows < len(labels):
        rows += 1
    figure.legend(
        list(entries.values()), labels, loc="outside lower center", ncols=-(-len(labels) // rows)
    )


def _legend_width(labels: Sequence[str], rows: int) -> float:
    """About how wide a legend of so many rows is, in inches."""
    longest = [max(len(line) for line in label.split("\n")) for label in labels]
    columns = [max(longest[first : first + rows]) for first in range(0, len(longest), rows)]
    return CHARACTER * (sum(columns) + HANDLE * len(columns))


def format_number(value: float) -> str:
    """Return a number of -1 … 1, or so, as figures print it."""
    return "undefined" if np.isnan(value) else f"{value:z.2f}".replace("-", "−")


def render(figures: Mapping[str, Figure]) -> dict[str, NDArray[np.uint8]]:
    """Return the bytes of `<name>.png` (150 dpi) and `<name>.svg` of each figure, by file name."""
    files = {}
    with paper_style():
        for name, figure in figures.items():
            layout = figure.get_layout_engine()
            if figure.axes and layout is not None:  # places are found once
                layout.execute(figure)
                figure.set_layout_engine(None)
            for suffix, metadata in UNDATED.items():
                buffer = io.BytesIO()
                figure.savefig(buffer, format=suffix, metadata=metadata)
                files[f"{name}.{suffix}"] = np.frombuffer(buffer.getvalue(), np.uint8)
    return files


def render_figures(
    plot: Callable[..., Mapping[str, Figure]], *args: Any
) -> dict[str, NDArray[np.uint8]]:
    """Return `render` of what a function plots: a step, drawn anew when what it shows changes."""
    return render(plot(*args))


def save(files: Mapping[str, NDArray[np.uint8]], folder: Path) -> None:
    """Write rendered figures into the folder; InputError where that fails."""
    with writing("write figures to", folder, "another output folder"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            with whole(folder / name) as path:
                path.write_bytes(content.tobytes())


def find_errors(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    """The lengths of error bars (2, rows): the SD over networks, or to the ends of an interval.

    NaN without either. The interval of a table that has but one is `ci95_low` to `ci95_high`.
    """
    name = f"{column}_ci95" if f"{column}_ci95_low" in rows else "ci95"
    wanted = [f"{name}_low", f"{name}_high", f"{column}_sd"]
    low, high, spread = rows.reindex(columns=wanted).to_numpy(np.float64).T
    value = rows[column].to_numpy(np.float64)
    ends = np.array([value - low, high - value]).clip(min=0)
    return np.where(np.isnan(spread), ends, spread)
