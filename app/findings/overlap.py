"""Agreement beyond rank correlation: do metrics pick the same units, and rank the same first?"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def jaccard(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Jaccard's index of two selections (units,): |A ∩ B| / |A ∪ B|, 0 … 1 (Jaccard 1912).

    NaN where both are empty.
    """
    union = int(np.sum(a | b))
    return int(np.sum(a & b)) / union if union else float("nan")


def intersections(
    selected: Mapping[str, NDArray[np.bool_]],
) -> dict[tuple[str, ...], int]:
    """How many units exactly these metrics select and no other: the bars of an UpSet plot.

    `selected` holds each metric's selection (units,). Combinations that no unit has are left out,
    and so are units that no metric selects. Largest first, then by fewer metrics, then in the
    metrics' order; see Lex et al. (2014), doi:10.1109/TVCG.2014.2346248.
    """
    names = list(selected)
    code = np.zeros(len(next(iter(selected.values()))), dtype=np.int64)
    for bit, mask in enumerate(selected.values()):
        code |= mask.astype(np.int64) << bit
    codes, counts = np.unique(code[code > 0], return_counts=True)
    found = {
        tuple(name for bit, name in enumerate(names) if value >> bit & 1): int(count)
        for value, count in zip(codes.tolist(), counts, strict=True)
    }
    places = {name: place for place, name in enumerate(names)}
    return dict(
        sorted(
            found.items(),
            key=lambda item: (-item[1], len(item[0]), [places[name] for name in item[0]]),
        )
    )


def ranking(score: NDArray[np.float64]) -> NDArray[np.int64]:
    """The units from the highest to the lowest score; undefined (NaN) ones left out, ties by index.

    `score` is (units,), the result (defined units,).
    """
    return np.argsort(-score, kind="stable")[: int(np.sum(~np.isnan(score)))]


def shared_at_top(
    first: NDArray[np.int64], second: NDArray[np.int64], units: int
) -> NDArray[np.float64]:
    """The fraction, 0 … 1, of the top k of one `ranking` that are among the top k of another.

    Units that either ranking leaves out are left out of both; the result (units in both,) has
    k = 1, 2, … up to all of them, where it is 1. By chance it is k / (units in both): the overlap
    at depth k of Fagin, Kumar & Sivakumar (2003), doi:10.1137/S0895480102412856. `units` is the
    number of all units.
    """
    missing = units
    place = np.full((2, units), missing)
    ranked = [np.zeros(units, dtype=bool) for _ in range(2)]
    for mask, order in zip(ranked, (first, second), strict=True):
        mask[order] = True
    both = ranked[0] & ranked[1]
    count = int(both.sum())
    for row, order in zip(place, (first, second), strict=True):
        row[order[both[order]]] = np.arange(count)
    # A unit is shared from the depth on at which the later of the two rankings reaches it.
    reached = np.bincount(place.max(axis=0)[both], minlength=count)
    return np.cumsum(reached) / np.arange(1, count + 1)


def top_k_agreement(a: ArrayLike, b: ArrayLike) -> NDArray[np.float64]:
    """`shared_at_top` of two metrics' scores (units,), over the units that both define."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return shared_at_top(ranking(first), ranking(second), len(first))


def pairwise_top_k(
    scores: Mapping[str, NDArray[np.float64]],
) -> dict[tuple[str, str], NDArray[np.float64]]:
    """`top_k_agreement` of each pair of metrics, each once, in the order of `scores`."""
    rankings = {name: ranking(score) for name, score in scores.items()}
    return {
        (a, b): shared_at_top(rankings[a], rankings[b], len(scores[a]))
        for a, b in combinations(scores, 2)
    }


def at_top_fraction(shared: NDArray[np.float64], fraction: float) -> float:
    """A curve of `shared_at_top` at its top `fraction` (0 … 1) of units, rounded, at least one.

    NaN where the rankings have no unit in common.
    """
    if not len(shared):
        return float("nan")
    return float(shared[max(1, round(fraction * len(shared))) - 1])


def spaced(units: int, points: int = 60) -> NDArray[np.int64]:
    """At most so many different depths k from 1 to `units`, equally far apart on a log scale."""
    if not units:
        return np.empty(0, dtype=np.int64)
    return np.unique(np.geomspace(1, units, points).round().astype(np.int64))


def thinned(selected: NDArray[np.bool_], most: int, seed: int = 0) -> NDArray[np.int64]:
    """At most `most` of the units, ascending, for a scatter plot; the same for the same mask.

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
