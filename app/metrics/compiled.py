"""Loops that NumPy cannot run well, compiled on first use and kept for the next process."""

from __future__ import annotations

from collections.abc import Callable

from numba import njit


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile a function to machine code that runs without the interpreter's lock.

    Neither fast-math nor fused operations: the same input gives the same bits on every processor.
    """
    try:
        machine_code: Callable[..., None] = njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder to keep it in: compile in every process
        machine_code = njit(nogil=True)(function)
    return machine_code
