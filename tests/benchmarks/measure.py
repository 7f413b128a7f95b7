"""Seconds and peak memory of what runs in a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

from app import machine


class Measured(NamedTuple):
    """What a run took, and what it returned."""

    seconds: float
    peak: int  # bytes of resident memory that the process held meanwhile, at most
    result: Any


class Apart:
    """A process of its own, with what `prepare(*arguments)` made there; to be called many times.

    `prepare` returns the function that is timed. Only its arguments and its result travel.
    """

    def __init__(self, prepare: Callable[..., Callable[..., Any]], *arguments: Any) -> None:
        # Spawned, so that the process holds nothing of this one's.
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        self._pool.submit(_prepare, prepare, arguments).result()

    def __call__(self, *arguments: Any) -> Measured:
        return self._pool.submit(_run, arguments).result()

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown()


def in_turn(rounds: int, **ways: Callable[[], Measured]) -> dict[str, Measured]:
    """The best run of each way, all run one after the other, `rounds` times."""
    runs = [{name: way() for name, way in ways.items()} for _ in range(rounds)]
    return {name: _best([run[name] for run in runs]) for name in ways}


def best(rounds: int, way: Callable[[], Measured]) -> Measured:
    """The best run of one way."""
    return _best([way() for _ in range(rounds)])


def measured(function: Callable[..., Any], *arguments: Any) -> Measured:
    """One run, in this process."""
    machine.forget_peak()
    start = time.perf_counter()
    result = function(*arguments)
    return Measured(time.perf_counter() - start, machine.measure_peak(), result)


def _best(runs: list[Measured]) -> Measured:
    seconds, peaks, results = zip(*runs, strict=True)
    return Measured(min(seconds), max(peaks), results[-1])


_prepared: Callable[..., Any]


def _prepare(prepare: Callable[..., Callable[..., Any]], arguments: tuple[Any, ...]) -> None:
    global _prepared
    _prepared = prepare(*arguments)


def _run(arguments: tuple[Any, ...]) -> Measured:
    return measured(_prepared, *arguments)
