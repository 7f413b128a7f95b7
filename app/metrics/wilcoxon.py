"""Wilcoxon's rank-sum test (Mann and Whitney's U) of the target against each other group."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from app.metrics import Scores, smallest
from app.metrics.contrast import Contrast, blocks


def score(responses: NDArray[Any], contrast: Contrast) -> Scores:
    """The smallest signed z of the target against each other group, with two-sided p-values.

    The normal approximation with corrections for ties and continuity, as computed by
    `scipy.stats.mannwhitneyu(method="asymptotic", use_continuity=True)`:
    z = sign(U − μ) (|U − μ| − 1/2) / s, and 0 where U = μ.

    Parameters
    ----------
    responses: (images, units), float32 or float64. Values are only compared, never rounded.
    contrast: the groups to compare; Lado & Dobs, "Selective Is Selective, or Not?", compare the
        target with each other domain.

    Returns z (positive = target responds more) and p in 0 … 1, one a contrast. In a contrast whose
    images all give the same response z is undefined: its statistic is NaN, its p is 1, and the
    unit's score is the smallest z of the others, NaN if there is none. InputError for responses
    that are not finite.
    """
    statistic = np.empty((len(contrast.others), responses.shape[1]))
    for units, target, others in blocks(responses, contrast):
        sizes = [group.shape[1] for group in (target, *others)]
        twice_u, ties = count_pairs(*sort_groups([target, *others]), len(sizes))
        for row, size in enumerate(sizes[1:]):
            statistic[row, units] = standardise(twice_u[row], ties[row], sizes[0], size)
    p = 2 * special.ndtr(-np.abs(statistic))
    p[np.isnan(statistic)] = 1
    return Scores(smallest(statistic), statistic, p)


def sort_groups(groups: list[NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Sort each unit's responses to all groups together.

    `groups` are (units, images of the group). Returns, both (units, images) in ascending order of
    response, the number of the group that each response came from, and whether the response
    differs from the one before (the first of a row does).
    """
    values = np.concatenate(groups, axis=1)
    labels = np.repeat(np.arange(len(groups)), [group.shape[1] for group in groups])
    if values.dtype == np.float32:
        # One sort of integers: the bits of a float32, made to order as its value does, above the
        # label. Several times faster than sorting indices.
        bits = (values + np.float32(0)).view(np.uint32)  # + 0: -0.0 and 0.0 are one value
        bits ^= np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
        keys = (bits.astype(np.uint64) << np.uint64(32)) | labels.astype(np.uint64)
        keys.sort(axis=1)
        labels = (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
        values = (keys >> np.uint64(32)).astype(np.uint32)
    else:
        order = values.argsort(axis=1)
        labels = labels[order]
        values = np.take_along_axis(values, order, axis=1)
    starts = np.ones(values.shape, dtype=bool)
    np.not_equal(values[:, 1:], values[:, :-1], out=starts[:, 1:])
    return labels, starts


def count_pairs(
    labels: NDArray[np.int64], starts: NDArray[np.bool_], groups: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """U and the ties of group 0 against each other group, from sorted responses.

    `labels` and `starts` are as `sort_groups` returns them. Returns, both (groups - 1, units),
    2U = the number of pairs in which group 0 responds more, counted twice, plus that of tied
    pairs; and the sum of c³ − c over runs of c equal responses of the two groups. Integers, exact.
    """
    run = np.cumsum(starts) - 1  # of each response, numbered through all units
    first = run[:: starts.shape[1]]  # the run each unit begins with
    runs = run[-1] + 1
    table = np.bincount(labels.ravel() * runs + run, minlength=groups * runs)
    target, *others = table.reshape(groups, runs)  # responses in each run

    hit = np.flatnonzero(target)
    first_hit = np.searchsorted(hit, first)  # every unit has one
    weight = target[hit]
    size = np.add.reduceat(weight, first_hit)  # of group 0, the same in every unit

    twice_u = np.empty((groups - 1, len(first)), dtype=np.int64)
    ties = np.empty_like(twice_u)
    for row, other in enumerate(others):
        # Below a run and half of it, twice; counted from the first unit on, hence the last term.
        below = np.cumsum(other)
        twice_u[row] = np.add.reduceat(weight * (2 * below[hit] - other[hit]), first_hit)
        twice_u[row] -= 2 * size * (below[first] - other[first])
        tied = target + other
        ties[row] = np.add.reduceat((tied * tied - 1) * tied, first)
    return twice_u, ties


def standardise(
    twice_u: NDArray[np.int64], ties: NDArray[np.int64], size: int, other_size: int
) -> NDArray[np.float64]:
    """The signed z (units,) of U between groups of `size` and `other_size` images."""
    total = size + other_size
    distance = (twice_u - size * other_size) / 2
    variance = size * other_size / 12 * ((total + 1) - ties / (total * (total - 1)))
    z = np.full(len(twice_u), np.nan)
    np.divide(
        np.sign(distance) * (np.abs(distance) - 0.5),
        np.sqrt(variance),
        out=z,
        where=ties < total**3 - total,  # not all tied
    )
    return z + 0.0  # no -0.0
