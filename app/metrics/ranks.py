"""Exact counts for rank-sum tests of many units: one sort a unit serves all contrasts.

A response and its group are sorted as one integer key. Positive float32 numbers order as their
bits do, so a unit's key is the bits less those of its smallest response, above the number of the
group, and fits 32 bits unless the responses span more than 2**60 or so. Zeros, most of what a ReLU
leaves, need no sorting: they are counted. What does not fit takes 64 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.metrics.blocks import refuse_not_finite, split
from app.metrics.compiled import compiled
from app.metrics.contrast import Contrast

WIDE = 32  # bits below the value in a 64-bit key
INFINITE = np.uint32(0x7F800000)  # the bits of infinity: above those of all finite numbers


class Pairs(NamedTuple):
    """Counts for the rank-sum test of the target against other groups; exact integers."""

    size: int  # of the target, images
    others: NDArray[np.int64]  # (contrasts, 1) sizes
    twice_u: NDArray[np.int64]  # (contrasts, units) see `count_pairs`
    ties: NDArray[np.int64]  # (contrasts, units)

    @property
    def all_tied(self) -> NDArray[np.bool_]:
        """Where all images of a contrast give the same response, (contrasts, units)."""
        total = self.size + self.others
        tied: NDArray[np.bool_] = self.ties == total**3 - total
        return tied


def compare_ranks(responses: NDArray[Any], contrast: Contrast, device: str) -> Pairs:
    """Count the pairs of the target's and each other group's responses, block by block.

    On `device`: `cpu` or a torch device. InputError for responses that are not finite.
    """
    found = []
    for block in split(responses, contrast):
        if not np.isfinite(block).all():
            refuse_not_finite(responses, contrast)
        if device == "cpu":
            found.append(count_pairs(block, contrast.images))
        else:
            from app.metrics import ranks_torch

            found.append(ranks_torch.count_pairs(block, contrast.images, device))
    twice_u, ties = np.concatenate(found, axis=-1)
    size, *others = (len(members) for members in contrast.images)
    return Pairs(size, np.array(others)[:, None], twice_u, ties)


def count_pairs(
    responses: NDArray[Any], images: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count U and the ties of the first group of images against each other group.

    `responses` is (images, units), float32 or float64, finite; `images` the numbers of those in
    each group. Returns, both (groups - 1, units), 2U = the number of pairs in which the first group
    responds more, counted twice, plus that of tied pairs; and the sum of c³ − c over runs of c
    equal responses of the two groups. Integers, exact: values are compared, never rounded.
    """
    units = responses.shape[1]
    sizes = np.array([len(members) for members in images])
    order = np.concatenate(images)
    twice_u = np.empty((len(sizes) - 1, units), dtype=np.int64)
    ties = np.empty_like(twice_u)
    others = np.arange(units)
    if responses.dtype == np.float32:
        bits = np.ascontiguousarray(responses).view(np.uint32)
        low_bits = int(len(sizes) - 1).bit_length()
        keys = np.empty((units, len(order)), dtype=np.uint32)
        used = np.empty(units, dtype=np.int64)
        zeros = np.empty((units, len(sizes)), dtype=np.int64)
        _pack(bits, order, np.cumsum(sizes), low_bits, keys, used, zeros)
        keys = keys[:, : max(0, used.max(initial=0))]
        keys.sort(axis=1)
        _count(keys, used, zeros, sizes, low_bits, twice_u, ties)
        others = np.flatnonzero(used < 0)
    if len(others):
        wide = _wide_keys(np.ascontiguousarray(responses[np.ix_(order, others)].T), sizes)
        used = np.full(len(others), len(order))
        zeros = np.zeros((len(others), len(sizes)), dtype=np.int64)
        some_u, some_ties = np.empty((2, len(sizes) - 1, len(others)), dtype=np.int64)
        _count(wide, used, zeros, sizes, WIDE, some_u, some_ties)
        twice_u[:, others], ties[:, others] = some_u, some_ties
    return twice_u, ties


def _wide_keys(values: NDArray[Any], sizes: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Sorted 64-bit keys of any values (units, images), which are in the order of their groups.

    Above the group stands for float32 the bits, made to order as the value does; for float64 the
    rank among the unit's distinct values.
    """
    groups = np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes)
    if values.dtype == np.float32:
        bits = (values + np.float32(0)).view(np.uint32)  # + 0: -0.0 and 0.0 are one value
        bits ^= np.where(bits >> 31, np.uint32(0xFFFFFFFF), np.uint32(0x80000000))
        keys = bits.astype(np.uint64) << np.uint64(WIDE) | groups
        keys.sort(axis=1)
        return keys
    order = values.argsort(axis=1)
    ascending = np.take_along_axis(values, order, axis=1)
    rank = np.zeros(values.shape, dtype=np.uint64)
    np.cumsum(ascending[:, 1:] != ascending[:, :-1], axis=1, out=rank[:, 1:])
    return rank << np.uint64(WIDE) | groups[order]


@compiled
def _pack(  # noqa: PLR0913  compiled code fills arrays that it is given
    bits: NDArray[np.uint32],
    order: NDArray[np.int64],
    ends: NDArray[np.int64],
    low_bits: int,
    keys: NDArray[np.uint32],
    used: NDArray[np.int64],
    zeros: NDArray[np.int64],
) -> None:
    """Fill a unit's `keys` (units, images), as many as `used` (units,), and count its zeros.

    `bits` are those of the responses (images, units); `order` lists images group by group, up to
    `ends`; `zeros` is (units, groups). Keys that are not used are the largest there are, to stay
    last. `used` is -1 for a unit that does not fit: with negative responses, infinite ones or NaN,
    or too wide a range.
    """
    shift, one, zero = np.uint32(low_bits), np.uint32(1), np.uint32(0)
    units, groups = zeros.shape
    kept = np.empty((4, len(order)), dtype=np.uint32)  # of four units, what is not zero
    first_kept, second_kept, third_kept, fourth_kept = kept[0], kept[1], kept[2], kept[3]
    reached = np.zeros((4, groups + 1), dtype=np.int64)  # of these, at each group's end
    for first in range(0, units, 4):
        # Four units side by side, so that their counts stay in registers, and without branches:
        # which responses are zero cannot be foretold. At the end the last unit stands in.
        i, j = np.uint64(first), np.uint64(min(first + 1, units - 1))
        k, m = np.uint64(min(first + 2, units - 1)), np.uint64(min(first + 3, units - 1))
        a = b = c = d = np.uint64(0)
        start = 0
        for group in range(groups):
            for image in order[start : ends[group]]:
                row = bits[np.uint64(image)]
                first_kept[a] = row[i]
                a += np.uint64(row[i] << one != zero)  # the shift takes the sign of -0.0
                second_kept[b] = row[j]
                b += np.uint64(row[j] << one != zero)
                third_kept[c] = row[k]
                c += np.uint64(row[k] << one != zero)
                fourth_kept[d] = row[m]
                d += np.uint64(row[m] << one != zero)
            reached[0, group + 1], reached[1, group + 1] = a, b
            reached[2, group + 1], reached[3, group + 1] = c, d
            start = ends[group]
        for place in range(min(4, units - first)):
            unit, count = first + place, reached[place, groups]
            values, key = kept[place], keys[unit]
            least, most = np.uint32(0xFFFFFFFF), zero
            for value in values[:count]:
                least = value if value < least else least
                most = value if value > most else most
            fits = most < INFINITE and (most - least) >> (np.uint32(32) - shift) == zero
            used[unit] = count if fits or count == 0 else -1
            for group in range(groups):
                low, high = reached[place, group], reached[place, group + 1]
                into, source = key[low:high], values[low:high]
                for n in range(len(source)):
                    into[n] = (source[n] - least) << shift | np.uint32(group)
                size = ends[group] - (ends[group - 1] if group else 0)
                zeros[unit, group] = size - (high - low)
            key[count:] = np.uint32(0xFFFFFFFF)


@compiled
def _count(  # noqa: PLR0913  as `_pack`
    keys: NDArray[Any],
    used: NDArray[np.int64],
    zeros: NDArray[np.int64],
    sizes: NDArray[np.int64],
    low_bits: int,
    twice_u: NDArray[np.int64],
    ties: NDArray[np.int64],
) -> None:
    """One pass over each unit's sorted keys; see `count_pairs` for what is filled.

    The first `used` (units,) keys of a row count; `zeros` (units, groups) come before them.
    """
    groups = len(sizes)
    run = np.empty(groups, dtype=np.int64)  # of equal responses, by group
    lost = np.empty(groups, dtype=np.int64)  # pairs in which the target responds less
    shift = np.uint64(low_bits)
    mask = (np.uint64(1) << shift) - np.uint64(1)
    for unit in range(len(keys)):
        row = keys[unit]
        target = zeros[unit, 0]  # responses of the target so far
        lost[:] = 0
        for other in range(1, groups):
            both = target + zeros[unit, other]
            twice_u[other - 1, unit] = target * zeros[unit, other]
            ties[other - 1, unit] = both * both * both - both
        i = 0
        while i < used[unit]:
            value = np.uint64(row[i]) >> shift
            if i + 1 == used[unit] or np.uint64(row[i + 1]) >> shift != value:
                group = np.int64(np.uint64(row[i]) & mask)
                lost[group] += target
                target += group == 0
                i += 1
                continue
            run[:] = 0
            while i < used[unit] and np.uint64(row[i]) >> shift == value:
                run[np.int64(np.uint64(row[i]) & mask)] += 1
                i += 1
            for other in range(1, groups):
                both = run[0] + run[other]
                lost[other] += run[other] * target
                twice_u[other - 1, unit] += run[0] * run[other]
                ties[other - 1, unit] += both * both * both - both
            target += run[0]
        for other in range(1, groups):
            won = target * sizes[other] - lost[other] - twice_u[other - 1, unit]
            twice_u[other - 1, unit] += 2 * won
