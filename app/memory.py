"""How much memory this process holds, and how much of a layer fits the budget."""

from __future__ import annotations

import math
import resource
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from app.errors import InputError

GB = 1e9  # bytes
# What a run needs for each unit once all are scored: selections, rank correlations, figures and
# the table on its way to disk. Measured with four metrics.
FINDINGS_BYTES = 200
SCORING_BYTES = 0.25 * GB  # compiled loops, chunks in work
SPARE = 0.06  # of the budget, for what no estimate foresees


def resident() -> int:
    """Bytes of physical memory that this process holds now."""
    return int(psutil.Process().memory_info().rss)


def peak() -> int:
    """The most bytes of physical memory that this process has held since `forget_peak`.

    Since it started, where the system cannot forget (other systems than Linux).
    """
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def forget_peak() -> None:
    """Count the peak from now on."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def rows_within(
    budget: float,
    shape: tuple[int, int, int],
    images: int,
    *,
    fixed: int,
    bytes_a_unit: int,
    what: str,
) -> int:
    """How many rows of a layer's maps can be held for all images at once.

    Parameters
    ----------
    budget: GB (10⁹ bytes) of resident memory for the whole process.
    shape: (channels, rows, columns) of the layer.
    images: how many there are.
    fixed: bytes held whatever the rows, scores not included.
    bytes_a_unit: of each unit's scores, which are kept.
    what: is scored, for the message.

    InputError, with the smallest budget that works, where not even one row fits.
    """
    channels, height, columns = shape
    scores = bytes_a_unit * math.prod(shape)
    # A block's scores exist twice more: chunk by chunk, and joined.
    row = channels * columns * (images * 4 + 2 * bytes_a_unit)
    fixed = fixed + int(SCORING_BYTES)
    findings = fixed + scores + FINDINGS_BYTES * math.prod(shape)
    free = (1 - SPARE) * budget * GB
    rows = int((free - fixed - scores) // row)
    if rows < 1 or findings > free:
        needed = max(fixed + scores + row, findings) / (1 - SPARE) / GB
        raise InputError(
            f"memory_gb={budget:g} is too little for {what}: "
            f"at least {math.ceil(10 * needed) / 10:g} is needed"
        )
    return min(rows, height)
