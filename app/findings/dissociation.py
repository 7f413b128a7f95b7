"""Which sets of kernels to lesion, to ask whether a metric's ranking tells two tasks apart.

As in Dobs et al. (2022), doi:10.1126/sciadv.abl8913: lesion ever more of what ranks high, look at
the face task and at the object task, and compare with as many random kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class KernelSet:
    """Kernels that are lesioned together, and why these."""

    kind: str  # none | top | selection | random | random_selection: as many as the selection
    kernels: tuple[int, ...]  # ascending
    percent: float  # of the layer's kernels that was asked for; of a selection, that it is
    draw: int | None = None  # of random kernels, from 0

    @property
    def name(self) -> str:
        """The same for the same kernels."""
        return " ".join(map(str, self.kernels))


def kernel_sets(
    score: NDArray[np.float64],
    selected: NDArray[np.bool_],
    percents: Sequence[int],
    draws: int,
    seed: int,
) -> list[KernelSet]:
    """No kernel, the top `percents` by score, the selection, and random sets of each size.

    Each size, rounded and at least one kernel, comes once: of percents that round to the same, the
    last. A draw is one random ranking of the kernels, whose beginning makes up its sets of every
    size: the same for all scores, and a curve as that of a metric is.

    Parameters
    ----------
    score
        (kernels,); undefined (NaN) ones rank last, ties go by index.
    selected
        (kernels,), what the criterion selects.
    percents
        Of the kernels, 1 … 100.
    draws
        Random sets of each size.
    seed
        Of the draws.
    """
    count = len(score)
    ranking = np.argsort(-score, kind="stable")  # NaN last
    rankings = [np.random.default_rng([seed, draw]).permutation(count) for draw in range(draws)]
    sizes = {max(1, round(percent * count / 100)): percent for percent in sorted(percents)}
    chosen = np.flatnonzero(selected)
    share = 100 * len(chosen) / count

    def first(order: NDArray[np.int64], size: int) -> tuple[int, ...]:
        return tuple(sorted(order[:size].tolist()))

    return [
        KernelSet("none", (), 0),
        *(KernelSet("top", first(ranking, size), percent) for size, percent in sizes.items()),
        KernelSet("selection", tuple(chosen.tolist()), share),
        *(
            KernelSet("random", first(order, size), percent, draw)
            for size, percent in sizes.items()
            for draw, order in enumerate(rankings)
        ),
        *(
            KernelSet("random_selection", first(order, len(chosen)), share, draw)
            for draw, order in enumerate(rankings)
        ),
    ]
