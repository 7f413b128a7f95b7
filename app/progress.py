"""Progress of long work on standard error."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

LINE_SECONDS = 30.0  # between lines of progress, where there is no terminal for a bar

Progress = Callable[[int], object]  # told how many more are done


class _Lines(tqdm):  # type: ignore[misc]
    """Progress as lines, of which several processes may write to the same place."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if msg is None:
            job = multiprocessing.current_process().name
            self.fp.write(f"{job}: {self}\n")


@contextmanager
def progress_bar(what: str, total: int, unit: str = "image") -> Iterator[Progress]:
    """A bar on the terminal of a process that has it for itself, told how many more are done.

    Elsewhere (jobs side by side, logs of a cluster) a line every `LINE_SECONDS`, of what takes
    longer than that.
    """
    alone = sys.stderr.isatty() and multiprocessing.parent_process() is None
    how: Any = {} if alone else {"mininterval": LINE_SECONDS, "delay": LINE_SECONDS, "ncols": 80}
    how["unit_scale"] = unit == "B"  # bytes, as 1.2 GB
    with (tqdm if alone else _Lines)(
        total=total, desc=what, unit=unit, leave=False, **how
    ) as progress:
        yield progress.update
