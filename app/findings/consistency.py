"""How far metrics agree: on units' order, on those they select, and on those they rank first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import nan
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from app import names


@dataclass(frozen=True)
class Consistency:
    """Spearman's correlations of a layer's pairs of metrics."""

    pairs: dict[tuple[str, str], float]  # each pair once, -1 … 1, NaN where undefined
    mean: float  # over the pairs that are defined, without baselines; NaN without any
    sem: float  # standard error of that mean, across pairs; NaN with fewer than two

    def metrics(self, metric: str) -> dict[str, float]:
        """One metric's correlations and the mean, by the names that they are logged under."""
        own = {
            f"{names.SPEARMAN_WITH}{b if a == metric else a}": value
            for (a, b), value in self.pairs.items()
            if metric in (a, b)
        }
        return {**own, names.CONSISTENCY: self.mean, names.CONSISTENCY_SEM: self.sem}


def measure_consistency(
    scores: Mapping[str, NDArray[np.float64]], baselines: Collection[str] = ()
) -> Consistency:
    """Correlate each pair of metrics, from their scores (units,) by name.

    The mean is over pairs of metrics that are no `baselines`.
    """
    pairs = {(a, b): spearman(scores[a], scores[b]) for a, b in combinations(scores, 2)}
    counted = [value for pair, value in pairs.items() if not set(pair) & set(baselines)]
    known = np.array([value for value in counted if not np.isnan(value)])
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


def correlate_draws(
    scores: Mapping[str, NDArray[Any]],
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """Correlate the ranks of each pair of scores (draws, units) in each draw, as `spearman` does.

    A score's ranks serve all pairs in which both leave the same units undefined.
    """
    known = ~np.logical_and.reduce([np.isnan(each).all(axis=0) for each in scores.values()])
    scores = {name: each[:, known] for name, each in scores.items()}
    undefined = {name: np.isnan(each) for name, each in scores.items()}
    pairs = list(combinations(scores, 2))
    ranks, sizes = {}, {}
    for name, each in scores.items() if pairs else ():
        ranks[name] = centred = rankdata(each, axis=1, nan_policy="omit")
        count = (~undefined[name]).sum(axis=1)
        centred -= (count[:, None] + 1) / 2
        centred[undefined[name]] = 0
        size = np.sqrt(np.einsum("du,du->d", centred, centred))
        sizes[name] = np.where((size > 0) & (count > 2), size, nan)
    found = {}
    for a, b in pairs:
        found[a, b] = np.einsum("du,du->d", ranks[a], ranks[b]) / (sizes[a] * sizes[b])
        for draw in np.flatnonzero((undefined[a] != undefined[b]).any(axis=1)):
            found[a, b][draw] = spearman(scores[a][draw], scores[b][draw])
    return found


@dataclass(frozen=True)
class Overlap:
    """Of each pair of metrics, each once: what their selections and their tops share."""

    jaccard: dict[tuple[str, str], float]  # 0 … 1, see `jaccard`
    shared: dict[tuple[str, str], NDArray[np.float64]]  # (units in both,) 0 … 1, see `share_tops`

    def metrics(self, metric: str) -> dict[str, float]:
        """One metric's overlap with each other, by the names that it is logged under.

        Of the tops, what the highest tenths share; NaN where no unit is in both.
        """
        found = {}
        for (a, b), curve in self.shared.items():
            if metric in (a, b):
                other = b if a == metric else a
                tenth = max(1, round(0.1 * len(curve)))
                found[f"{names.JACCARD_WITH}{other}"] = self.jaccard[a, b]
                found[f"{names.TOP_WITH}{other}"] = float(curve[tenth - 1]) if len(curve) else nan
        return found


def measure_overlap(
    scores: Mapping[str, NDArray[np.float64]], selected: Mapping[str, NDArray[np.bool_]]
) -> Overlap:
    """Compare each pair of metrics: their scores (units,) and selections (units,) by name."""
    pairs = list(combinations(scores, 2))
    return Overlap(
        {(a, b): jaccard(selected[a], selected[b]) for a, b in pairs},
        {(a, b): share_tops(scores[a], scores[b]) for a, b in pairs},
    )


def jaccard(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Compute Jaccard's index of two selections (units,): ``|A ∩ B| / |A ∪ B|``, 0 … 1.

    NaN where both are empty (Jaccard 1912).
    """
    union = int(np.sum(a | b))
    return int(np.sum(a & b)) / union if union else nan


def count_intersections(selected: Sequence[NDArray[np.bool_]]) -> dict[tuple[int, ...], int]:
    """Count the units that exactly these metrics select and no other: the bars of an UpSet plot.

    `selected` holds each metric's selection (units,); metrics are told by their places in it.
    Combinations that no unit has are left out, and so are units that no metric selects. Largest
    first, then by fewer metrics, then in their order; see Lex et al. (2014),
    doi:10.1109/TVCG.2014.2346248.
    """
    masks = np.array(selected)
    found, counts = np.unique(masks[:, masks.any(axis=0)], axis=1, return_counts=True)
    members = [tuple(np.flatnonzero(mask).tolist()) for mask in found.T]
    each = zip(members, counts.tolist(), strict=True)
    return dict(sorted(each, key=lambda bar: (-bar[1], len(bar[0]), bar[0])))


def share_tops(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the fraction, 0 … 1, of the top k by one score (units,) that are so by another.

    Units that either score leaves undefined (NaN) are left out of both, ties go by index; the
    result (units in both,) has k = 1, 2, … up to all of them, where it is 1. By chance it is
    k / (units in both): the overlap at depth k of Fagin, Kumar & Sivakumar (2003),
    doi:10.1137/S0895480102412856.
    """
    both = ~(np.isnan(a) | np.isnan(b))
    count = np.count_nonzero(both)
    # A unit is shared from the depth on at which the later of the two rankings reaches it.
    depth = np.maximum(*(rankdata(-score[both], method="ordinal") for score in (a, b)))
    depth = depth.astype(np.int64)  # scipy 1.18 counts in floats
    return np.cumsum(np.bincount(depth, minlength=count + 1)[1:]) / np.arange(1, count + 1)
