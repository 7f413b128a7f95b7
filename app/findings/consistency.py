"""Consistency: how far metrics agree on the order of units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import nan

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from app import names


@dataclass(frozen=True)
class Consistency:
    """Spearman's correlations of a layer's pairs of metrics."""

    pairs: dict[tuple[str, str], float]  # each pair once, -1 … 1, NaN where undefined
    mean: float  # over the pairs that are defined; NaN without any
    sem: float  # standard error of that mean, across pairs; NaN with fewer than two

    def metrics(self, metric: str) -> dict[str, float]:
        """One metric's correlations and the mean, by the names that they are logged under."""
        own = {
            f"{names.SPEARMAN_WITH}{b if a == metric else a}": value
            for (a, b), value in self.pairs.items()
            if metric in (a, b)
        }
        return {**own, names.CONSISTENCY: self.mean, names.CONSISTENCY_SEM: self.sem}


def measure_consistency(scores: Mapping[str, NDArray[np.float64]]) -> Consistency:
    """Correlate each pair of metrics, from their scores (units,) by name."""
    pairs = {(a, b): spearman(scores[a], scores[b]) for a, b in combinations(scores, 2)}
    known = np.array([value for value in pairs.values() if not np.isnan(value)])
    mean = float(known.mean()) if len(known) else nan
    sem = float(known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else nan
    return Consistency(pairs, mean, sem)


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Correlate the ranks of two scores (units,) over the units that both define: -1 … 1.

    NaN = undefined; ties have average ranks, as in `scipy.stats.spearmanr`. NaN where fewer than
    three units are left or either score is constant.
    """
    scores = np.array([a, b], dtype=np.float64)
    first, second = scores[:, ~np.isnan(scores).any(axis=0)]
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return nan
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])
