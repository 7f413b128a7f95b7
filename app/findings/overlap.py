"""Agreement beyond rank correlation: the units that metrics pick, and those they rank first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import nan

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from app import names


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


def count_intersections(
    selected: Mapping[str, NDArray[np.bool_]],
) -> dict[tuple[str, ...], int]:
    """Count the units that exactly these metrics select and no other: the bars of an UpSet plot.

    `selected` holds each metric's selection (units,). Combinations that no unit has are left out,
    and so are units that no metric selects. Largest first, then by fewer metrics, then in the
    metrics' order; see Lex et al. (2014), doi:10.1109/TVCG.2014.2346248.
    """
    masks = np.array(list(selected.values()))
    found, counts = np.unique(masks[:, masks.any(axis=0)], axis=1, return_counts=True)
    members = [np.flatnonzero(mask).tolist() for mask in found.T]
    order = sorted(
        zip(members, counts.tolist(), strict=True),
        key=lambda each: (-each[1], len(each[0]), each[0]),
    )
    metrics = list(selected)
    return {tuple(metrics[place] for place in places): count for places, count in order}


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
    return np.cumsum(np.bincount(depth, minlength=count + 1)[1:]) / np.arange(1, count + 1)
