"""Which kernels does a task need most? Drop the worst, keep it dropped, search again.

The ranking of Dobs et al. (2022), doi:10.1126/sciadv.abl8913, who searched once for each task.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.findings.lesion import LesionEffects, Performance
from app.progress import progress_bar


@dataclass(frozen=True)
class GreedySearch:
    """A task's search: the kernels' ranking, and what remains of both tasks on the way."""

    order: NDArray[np.int64]  # (kernels,), the kernel in each place; the first ones were dropped
    dropped: NDArray[np.int64]  # (steps + 1,), how many were after each step; 0 at the start
    remaining: Performance  # (steps + 1,)

    @property
    def place(self) -> NDArray[np.int64]:
        """(kernels,), each kernel's place in the ranking; 0 was dropped first."""
        return np.argsort(self.order)

    @property
    def step(self) -> NDArray[np.int64]:
        """(kernels,), the step, from 1, that dropped each kernel; 0 where none did."""
        step = np.searchsorted(self.dropped, self.place, side="right")
        return np.where(step < len(self.dropped), step, 0)

    @property
    def curve(self) -> NDArray[np.float64]:
        """(steps + 1, 5): the fraction of kernels dropped, then what remains, by MEASURES."""
        return np.stack(
            [self.dropped / len(self.order), *self.remaining.by_measure().values()], axis=1
        )


def search_greedily(
    lesion: Callable[..., LesionEffects], task: str, kernels: int, fraction: float, group_size: int
) -> GreedySearch:
    """Drop what the task needs most, until a fraction of the kernels is dropped.

    Parameters
    ----------
    lesion
        `lesion(dropped)` is called once a step, with the sorted kernels that are dropped already,
        and `lesion(dropped, ())`, which may lesion no more, at the end. One that remembers lets a
        search that was interrupted go on where it stopped, and one that drops more go on where
        another ended.
    task
        One of `app.choices.TASKS`.
    kernels
        How many the layer has.
    fraction
        Of these, to drop, above 0 and at most 1; at least one kernel is.
    group_size
        Kernels to drop a step.
    """
    drop = max(1, round(fraction * kernels))
    counts = count_dropped(drop, group_size)
    path: list[Performance] = []
    with progress_bar(f"greedy search, {task} task", len(counts) - 1, "step") as progress:

        def lose(dropped: tuple[int, ...]) -> NDArray[np.float64]:
            effects = lesion(dropped)
            path.append(effects.intact)
            progress(1)
            return effects.without.of(task).loss

        order = rank(kernels, drop, group_size, lose)
    path.append(lesion(tuple(sorted(order[:drop].tolist())), ()).intact)
    return GreedySearch(order, counts, Performance.stack(path))


def rank(
    kernels: int,
    drop: int,
    group_size: int,
    loss_without: Callable[[tuple[int, ...]], NDArray[np.float64]],
) -> NDArray[np.int64]:
    """The kernels (kernels,) in the order in which a task needs them.

    While fewer than `drop` (at least 1) are dropped, `loss_without(dropped)` says the task's loss,
    (kernels,), without each kernel in addition; the `group_size` of those left that leave the
    highest are dropped next, fewer where `drop` is reached. Those never dropped follow in the
    order of the last search. Ties go by index; what is dropped is told sorted.
    """
    dropped: list[int] = []
    left = list(range(kernels))
    while len(dropped) < drop:
        loss = loss_without(tuple(sorted(dropped)))
        left.sort(key=lambda kernel: (-loss[kernel], kernel))
        group = min(group_size, drop - len(dropped))
        dropped, left = dropped + left[:group], left[group:]
    return np.array(dropped + left, dtype=np.int64)


def count_dropped(drop: int, group_size: int) -> NDArray[np.int64]:
    """How many kernels `rank` has dropped before it starts and after each step, (steps + 1,)."""
    return np.array([*range(0, drop, group_size), drop], dtype=np.int64)
