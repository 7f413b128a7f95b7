"""How the cost of scoring grows: a larger size should cost no more for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

from app.metrics.scoring import score_blocks
from tests.benchmarks.material import questions, scored, simulated
from tests.benchmarks.measure import Apart, best
from tests.benchmarks.report import Growth
from tests.benchmarks.scoring import score_once
from tests.benchmarks.sizes import Sizes

UNITS = 5_000  # while images grow
IMAGES = 144  # while units grow
BLOCK = 10**5  # units


def scoring_growth(sizes: Sizes) -> Iterator[Growth]:
    """Units, then images."""
    with Apart(stream) as run:
        for units in sizes.growing_units:
            found = best(2, partial(run, units))
            yield Growth(
                f"scoring, units × {IMAGES} images",
                units,
                found.seconds,
                {"a unit": found.seconds / units},
                found.peak,
            )
    for images in sizes.growing_images:
        with Apart(score_once, UNITS, images) as run:
            found = best(2, run)
        yield Growth(
            f"scoring, images × {UNITS:,} units",
            images,
            found.seconds,
            {"a unit": found.seconds / UNITS, "a unit and image": found.seconds / UNITS / images},
            found.peak,
        )


def stream() -> Callable[[int], None]:
    """Scores so many units by four metrics: one block, made once, comes again and again."""
    responses, asked = simulated(BLOCK, IMAGES, 0.6), questions(IMAGES)
    scored(responses[:, :8], asked)  # compiled code is read from disk

    def blocks(units: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        for start in range(0, units, BLOCK):
            stop = min(start + BLOCK, units)
            yield np.arange(start, stop), responses[:, : stop - start]

    def run(units: int) -> None:
        score_blocks(blocks(units), units, asked)

    return run
