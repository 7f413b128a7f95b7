"""What a metric says, and what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.metrics.contrast import Contrast


class Scores(NamedTuple):
    """What a metric says of every unit; NaN stands for undefined."""

    score: NDArray[np.float64]  # (units,) larger = more selective
    statistic: NDArray[np.float64]  # (contrasts, units) signed, positive = target responds more
    p: NDArray[np.float64] | None = None  # (contrasts, units) two-sided; None: no test


@dataclass(frozen=True)
class Question:
    """What one metric is asked: its score function, the contrast, and its own options."""

    score: Callable[..., Scores]
    contrast: Contrast
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Scored:
    """A metric's scores over a layer, and the responses of the units at both ends."""

    scores: Scores
    extremes: NDArray[np.int64]  # (units kept,), highest score first
    responses: NDArray[np.float32]  # (images, units kept)


def smallest(statistic: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the score of each unit: its smallest statistic over the contrasts that are defined.

    `statistic` is (contrasts, units); the result (units,) is NaN where no contrast is defined.
    """
    score: NDArray[np.float64] = np.fmin.reduce(statistic, axis=0)
    return score
