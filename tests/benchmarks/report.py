"""What was measured, as tables."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

import pandas as pd
import torch

from app.machine import GB
from app.sweeps.tables import lay_out

NONE = "—"


@dataclass(frozen=True)
class Way:
    """Another way to the same result."""

    name: str
    seconds: float
    peak: int | None = None  # bytes; None where the way was only tried on a part


@dataclass(frozen=True)
class Goal:
    text: str
    met: bool


@dataclass(frozen=True)
class Row:
    """A thing that the program does, beside the plain way and the least it could cost."""

    what: str
    seconds: float
    peak: int | None = None  # bytes
    plain: Way | None = None
    bare: Way | None = None
    goals: Sequence[Goal] = ()
    each: str = ""  # what the seconds are for, where it is not the whole
    note: str = ""


@dataclass(frozen=True)
class Growth:
    """The same for more of something."""

    what: str
    size: int
    seconds: float
    each: Mapping[str, float]  # seconds by what they are for: "a unit", "a kernel"
    peak: int


HEAD = (
    "what",
    "this software",
    "plain way ÷ this",
    "this ÷ bare limit",
    "peak memory: this, plain",
    "goal",
)
GROWTH_HEAD = ("growth", "size", "seconds", "each", "peak memory")


def conditions(mode: str) -> str:
    """Where and with what this was measured."""
    processor = platform.processor() or platform.machine()
    if torch.cuda.is_available():
        processor += f", {torch.cuda.get_device_name()}"
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "numpy", "scipy"))
    return (
        f"{os.cpu_count()} processors ({processor}), load {os.getloadavg()[0]:.1f} before; "
        f"Python {platform.python_version()}, {packages}; {mode}"
    )


def row_cells(row: Row) -> tuple[str, ...]:
    return (
        row.what,
        f"{duration(row.seconds)} {row.each}".strip(),
        _ratio(row.plain, lambda way: way.seconds / row.seconds),
        _ratio(row.bare, lambda way: row.seconds / way.seconds),
        ", ".join(
            memory(peak) for peak in (row.peak, row.plain.peak if row.plain else None) if peak
        )
        or NONE,
        "; ".join(f"{goal.text}: {'met' if goal.met else 'not met'}" for goal in row.goals) or NONE,
    )


def growth_cells(growth: Growth) -> tuple[str, ...]:
    return (
        growth.what,
        f"{growth.size:,}",
        duration(growth.seconds),
        ", ".join(f"{duration(seconds)} {what}" for what, seconds in growth.each.items()),
        memory(growth.peak),
    )


def notes(rows: Sequence[Row]) -> list[str]:
    return [f"{row.what}: {row.note}." for row in rows if row.note]


def show(heading: str, rows: Sequence[Row], growth: Sequence[Growth]) -> None:
    """Print the tables for people."""
    print(heading)
    for head, cells in _tables(rows, growth):
        print(f"\n{lay_out(pd.DataFrame(cells, columns=list(head)), head, 160)}")
    print(*notes(rows), sep="\n")


def markdown(heading: str, rows: Sequence[Row], growth: Sequence[Growth]) -> str:
    """The same for a page on GitHub."""
    parts = [heading]
    for head, cells in _tables(rows, growth):
        lines = [head, ("---",) * len(head), *cells]
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    if notes(rows):
        parts.append("\n".join(f"- {note}" for note in notes(rows)))
    return "\n\n".join(parts)


def duration(seconds: float) -> str:
    units = {"s": 1, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}
    unit = next((unit for unit, size in units.items() if seconds >= size), "ns")
    return f"{_three(seconds / units[unit])} {unit}"


def memory(size: int) -> str:
    return f"{size / GB:.2f} GB"


def _tables(
    rows: Sequence[Row], growth: Sequence[Growth]
) -> list[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    tables = [
        (HEAD, [row_cells(row) for row in rows]),
        (GROWTH_HEAD, [growth_cells(line) for line in growth]),
    ]
    return [table for table in tables if table[1]]


def _ratio(way: Way | None, of: Callable[[Way], float]) -> str:
    return NONE if way is None else f"{_three(of(way))} ({way.name}: {duration(way.seconds)})"


def _three(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
