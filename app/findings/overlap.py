"""Agreement beyond rank correlation: the units that metrics pick, and those they rank first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import nan

import numpy as np
from numpy.typing import NDArray

from app import names


@dataclass(frozen=True)
class Overlap:
    """Of each pair of metrics, each once: what their selections and their tops share."""

    jaccard: dict[tuple[str, str], float]  # 0 … 1, see `jaccard`
    shared: dict[tuple[str, str], NDArray[np.float64]]  # (units in both,) 0 … 1, see `share_tops`

    def metrics(self, metric: str) -> dict[str, float]:
        """One metric's overlap with each other, by the names that it is logged under.

        Of the tops, what the highest tenths share.
        """
        found = {}
        for (a, b), curve in self.shared.items():
            if metric in (a, b):
                other = b if a == metric else a
                found[f"{names.JACCARD_WITH}{other}"] = self.jaccard[a, b]
                found[f"{names.TOP_WITH}{other}"] = read_at_fraction(curve, 0.1)
        return found


def measure_overlap(
    scores: Mapping[str, NDArray[np.float64]], selected: Mapping[str, NDArray[np.bool_]]
) -> Overlap:
    """Compare each pair of metrics: their scores (units,) and selections (units,) by name."""
    ranked = {name: rank_units(score) for name, score in scores.items()}
    return Overlap(
        jaccard={(a, b): jaccard(selected[a], selected[b]) for a, b in combinations(scores, 2)},
        shared={
            (a, b): share_tops(ranked[a], ranked[b], len(scores[a]))
            for a, b in combinations(scores, 2)
        },
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
    code = np.zeros(len(next(iter(selected.values()))), dtype=np.int64)
    for bit, mask in enumerate(selected.values()):
        code |= mask.astype(np.int64) << bit
    codes, counts = np.unique(code[code > 0], return_counts=True)
    members = [[bit for bit in range(len(selected)) if value >> bit & 1] for value in codes]
    order = sorted(
        zip(members, counts.tolist(), strict=True),
        key=lambda each: (-each[1], len(each[0]), each[0]),
    )
    names_of = list(selected)
    return {tuple(names_of[bit] for bit in bits): count for bits, count in order}


def rank_units(score: NDArray[np.float64]) -> NDArray[np.int64]:
    """Order units from the highest to the lowest score, ties by index.

    `score` is (units,), the result (defined units,): undefined (NaN) ones are left out.
    """
    return np.argsort(-score, kind="stable")[: np.count_nonzero(~np.isnan(score))]


def share_tops(
    first: NDArray[np.int64], second: NDArray[np.int64], units: int
) -> NDArray[np.float64]:
    """Compute the fraction, 0 … 1, of the top k of one ranking that are in the top k of another.

    Units that either ranking (see `rank_units`) leaves out are left out of both; the result (units
    in both,) has k = 1, 2, … up to all of them, where it is 1. By chance it is k / (units in both):
    the overlap at depth k of Fagin, Kumar & Sivakumar (2003), doi:10.1137/S0895480102412856.
    `units` is the number of all units.
    """
    ranked = np.zeros((2, units), dtype=bool)
    ranked[0, first] = ranked[1, second] = True
    both = ranked[0] & ranked[1]
    count = np.count_nonzero(both)
    place = np.zeros((2, units), dtype=np.int64)
    for row, order in zip(place, (first, second), strict=True):
        row[order[both[order]]] = np.arange(count)
    # A unit is shared from the depth on at which the later of the two rankings reaches it.
    reached = np.bincount(place.max(axis=0)[both], minlength=count)
    return np.cumsum(reached) / np.arange(1, count + 1)


def read_at_fraction(shared: NDArray[np.float64], fraction: float) -> float:
    """Read a curve of `share_tops` at its top `fraction` (0 … 1) of units, rounded, at least one.

    NaN where the rankings have no unit in common.
    """
    return float(shared[max(1, round(fraction * len(shared))) - 1]) if len(shared) else nan


def space_depths(units: int, points: int = 60) -> NDArray[np.int64]:
    """Choose at most so many depths k from 1 to `units`, equally far apart on a log scale."""
    if not units:
        return np.empty(0, dtype=np.int64)
    return np.unique(np.geomspace(1, units, points).round().astype(np.int64))


def thin_units(selected: NDArray[np.bool_], most: int, seed: int = 0) -> NDArray[np.int64]:
    """Choose at most `most` units, ascending, for a scatter plot; the same for the same mask.

    `selected` (units,) ones are kept before others, but for a quarter of the room where there are
    others to fill it. Within either group units are drawn at random.
    """
    random = np.random.default_rng(seed)
    chosen, others = np.flatnonzero(selected), np.flatnonzero(~selected)
    room = most - min(len(others), most // 4)
    if len(chosen) > room:
        chosen = random.choice(chosen, room, replace=False)
    if len(others) > most - len(chosen):
        others = random.choice(others, most - len(chosen), replace=False)
    return np.sort(np.concatenate([chosen, others]))
