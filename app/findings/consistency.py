"""Consistency: how far metrics agree on the order of units."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray


class Summary(NamedTuple):
    """Of the correlations of a layer's pairs of metrics."""

    mean: float  # over pairs, -1 … 1
    sem: float  # standard error of that mean, across pairs


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation, -1 … 1, of two scores over the units that both define.

    `a` and `b` are (units,), NaN = undefined; ties have average ranks, as in
    `scipy.stats.spearmanr`. NaN where fewer than three units are left or either score is constant.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    defined = ~(np.isnan(first) | np.isnan(second))
    return _correlation(_ranks(first[defined]), _ranks(second[defined]))


def pairwise(scores: Mapping[str, NDArray[np.float64]]) -> dict[tuple[str, str], float]:
    """Spearman's correlation of each pair of metrics, from their scores (units,) by name.

    Each pair once, in the order of `scores`.
    """
    defined = {name: ~np.isnan(score) for name, score in scores.items()}
    ranks = {name: _ranks(score[defined[name]]) for name, score in scores.items()}
    return {
        # Sorting is nearly all of the work: use a score's own ranks where no unit drops out.
        (a, b): _correlation(ranks[a], ranks[b])
        if np.array_equal(defined[a], defined[b])
        else spearman(scores[a], scores[b])
        for a, b in combinations(scores, 2)
    }


def summary(pairs: Mapping[tuple[str, str], float]) -> Summary:
    """Mean and SEM over the pairs whose correlation is defined.

    The mean is NaN without any such pair, the SEM (sample standard deviation over the root of the
    number of pairs) with fewer than two.
    """
    defined = np.array([value for value in pairs.values() if not np.isnan(value)])
    mean = float(defined.mean()) if len(defined) else float("nan")
    sem = float(defined.std(ddof=1) / np.sqrt(len(defined))) if len(defined) > 1 else float("nan")
    return Summary(mean, sem)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average ranks, as `scipy.stats.rankdata`, which takes a second to import."""
    return np.asarray(pd.Series(values).rank(), dtype=np.float64)


def _correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Pearson's, NaN for fewer than three values and for constant ones."""
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.asarray(np.corrcoef(first, second))[0, 1])
