"""Exact counts for rank-sum tests of many units: one sort a unit serves all contrasts.

A response and its group are sorted as one 32-bit key. Positive float32 numbers order as their bits
do, so a unit's key is the bits less those of its smallest response, above the number of the group.
Zeros, most of what a ReLU leaves, need no sorting: they are counted. Where responses have two signs
there are none but the bits of each, next to each other. What does not fit (float64, or such as span
more than 2**60 or so) is ranked first, which is slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from app.metrics.compiled import compiled
from app.metrics.contrast import Contrast

if TYPE_CHECKING:
    from torch import Tensor

INFINITE = np.uint32(0x7F800000)  # the bits of infinity: above those of all finite numbers


class Pairs(NamedTuple):
    """Counts for the rank-sum test of the target against other groups; exact whole numbers."""

    size: NDArray[np.int64]  # of the target, images: (…, 1, 1)
    others: NDArray[np.int64]  # of each other group: (…, contrasts, 1)
    twice_u: NDArray[Any]  # (…, contrasts, units) see `count_pairs`
    ties: NDArray[Any]  # (…, contrasts, units)

    @property
    def all_tied(self) -> NDArray[np.bool_]:
        """Where all images of a contrast give the same response, (…, contrasts, units)."""
        total = self.size + self.others
        return np.asarray(self.ties == total**3 - total)


def compare_ranks(responses: NDArray[Any], contrast: Contrast, device: str) -> Pairs:
    """Count the pairs of the target's and each other group's responses.

    On `device`: `cpu` or a torch device.
    """
    contrast.check(responses)
    if device == "cpu":
        twice_u, ties = count_pairs(responses, contrast.images)
    else:
        twice_u, ties = count_pairs_by_torch(responses, contrast.images, device)
    sizes = np.array([[len(members)] for members in contrast.images])
    return Pairs(sizes[:1], sizes[1:], twice_u, ties)


def count_pairs(
    responses: NDArray[Any], images: Sequence[NDArray[np.int64]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count U and the ties of the first group of images against each other group.

    `responses` is (images, units), finite; `images` the numbers of those in each group. Returns,
    both (groups - 1, units), 2U = the number of pairs in which the first group responds more,
    counted twice, plus that of tied pairs; and the sum of c³ − c over runs of c equal responses of
    the two groups. Integers, exact: values are compared, never rounded.
    """
    sizes = np.array([len(members) for members in images])
    order = np.concatenate(images)  # group by group
    responses = np.ascontiguousarray(responses.T)
    units, count = len(responses), len(order)
    low_bits = int(len(sizes) - 1).bit_length()
    keys = np.empty((units, count), dtype=np.uint32)
    zeros = np.full((units, len(sizes)), -1)
    if responses.dtype == np.float32:
        _pack(responses.view(np.uint32), order, sizes, low_bits, keys, zeros)
    rest = np.flatnonzero(zeros[:, 0] < 0)
    if len(rest):
        ranks = rankdata(responses[rest][:, order], method="dense", axis=1).astype(np.uint32)
        keys[rest] = ranks << low_bits | np.repeat(np.arange(len(sizes), dtype=np.uint32), sizes)
        zeros[rest] = 0
    keys = keys[:, : count - zeros.sum(axis=1).min(initial=count)]
    keys.sort(axis=1)
    twice_u, ties = np.empty((2, len(sizes) - 1, units), dtype=np.int64)
    _count(keys, zeros, sizes, low_bits, twice_u, ties)
    return twice_u, ties


def count_pairs_by_torch(
    responses: NDArray[Any], images: Sequence[NDArray[np.int64]], device: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As `count_pairs`, on the torch device named; the same integers."""
    import torch  # which takes long, and is not needed on a CPU

    def sort(values: Tensor) -> Tensor:
        return values.sort(dim=1).values

    def find(values: Tensor, ascending: Tensor) -> tuple[Tensor, Tensor]:
        """How many of the ascending ones are less than each value, and how many at most it."""
        low = torch.searchsorted(ascending, values)
        return low, torch.searchsorted(ascending, values, right=True)

    groups = (np.ascontiguousarray(responses[members].T) for members in images)
    target, *others = (sort(torch.from_numpy(group).to(device)) for group in groups)
    twice_u, ties = [], []
    for other in others:
        less, at_most = find(target, other)
        twice_u.append((less + at_most).sum(dim=1))
        both = sort(torch.cat([target, other], dim=1))
        less, at_most = find(both, both)
        # A run of c is met c times, and c (c² - 1) = c³ - c.
        ties.append(((at_most - less) ** 2 - 1).sum(dim=1))
    return torch.stack(twice_u).cpu().numpy(), torch.stack(ties).cpu().numpy()


@compiled
def _join_signs(values: NDArray[np.uint32], least: np.uint32, most: np.uint32) -> None:
    """Replace bits of responses of two signs by numbers from 0 on that order as these do.

    Negative ones, zero, positive ones: within a sign they differ as bits do, and nothing lies
    between. `least` and `most` are the smallest and the largest bits but those of zeros.
    """
    sign, zero, one = np.uint32(0x80000000), np.uint32(0), np.uint32(1)
    near = most  # of the negative ones, whose bits grow away from zero
    for value in values:
        size = value if value > sign else most
        near = size if size < near else near
    middle = np.uint32(most - near + one)
    shift = np.uint32(middle + one - least)
    for n in range(len(values)):
        value = values[n]
        above = middle if np.uint32(value << one) == zero else np.uint32(value + shift)
        values[n] = np.uint32(most - value) if value > sign else above


@compiled
def _pack(
    bits: NDArray[np.uint32],
    order: NDArray[np.int64],
    sizes: NDArray[np.int64],
    low_bits: int,
    keys: NDArray[np.uint32],
    zeros: NDArray[np.int64],
) -> None:
    """Fill the `keys` (units, images) of each unit's images but for its `zeros`, and count these.

    `bits` are those of the responses (units, images), `order` the images group by group, of the
    `sizes`; `zeros` is (units, groups). Keys that are not used are the largest there are, to stay
    last. `zeros` are -1 for a unit that does not fit, of too wide a range.
    """
    shift, one, zero = np.uint32(low_bits), np.uint32(1), np.uint32(0)
    kept = np.empty(len(order), dtype=np.uint32)  # what is not zero
    for unit in range(len(keys)):
        row, key = bits[unit], keys[unit]
        start, count = 0, np.uint64(0)
        for group, size in enumerate(sizes):
            before = count
            for image in order[start : start + size]:
                # Without branches: which responses are zero cannot be foretold.
                value = row[np.uint64(image)]
                kept[count], key[count] = value, group
                count += np.uint64(value << one != zero)  # the shift takes the sign of -0.0
            zeros[unit, group] = size - np.int64(count - before)
            start += size
        values = kept[: np.int64(count)]
        least, most = np.uint32(0xFFFFFFFF), zero
        for value in values:
            least = value if value < least else least
            most = value if value > most else most
        if most > INFINITE:  # some are negative: zeros, between them and the others, are sorted
            values, start = kept, 0
            zeros[unit] = 0
            for group, size in enumerate(sizes):
                for place in range(start, start + size):
                    values[place], key[place] = row[order[place]], group
                start += size
            _join_signs(values, least, most)
            least, most = zero, values.max()
        fits = most < INFINITE and (most - least) >> (np.uint32(32) - shift) == zero
        if not fits and len(values):
            zeros[unit] = -1
        for place in range(len(values)):
            key[place] |= (values[place] - least) << shift
        key[len(values) :] = np.uint32(0xFFFFFFFF)


@compiled
def _count(
    keys: NDArray[np.uint32],
    zeros: NDArray[np.int64],
    sizes: NDArray[np.int64],
    low_bits: int,
    twice_u: NDArray[np.int64],
    ties: NDArray[np.int64],
) -> None:
    """One pass over each unit's sorted keys; see `count_pairs` for what is filled.

    The `zeros` (units, groups) come before the keys, of which a row has one for each other image.
    """
    groups = len(sizes)
    run = np.empty(groups, dtype=np.int64)  # of equal responses, by group
    lost = np.empty(groups, dtype=np.int64)  # pairs in which the target responds less
    shift = np.uint64(low_bits)
    mask = (np.uint64(1) << shift) - np.uint64(1)
    for unit in range(len(keys)):
        row = keys[unit, : sizes.sum() - zeros[unit].sum()]
        target = zeros[unit, 0]  # responses of the target so far
        lost[:] = 0
        for other in range(1, groups):
            both = target + zeros[unit, other]
            twice_u[other - 1, unit] = target * zeros[unit, other]
            ties[other - 1, unit] = both * both * both - both
        i = 0
        while i < len(row):
            value = np.uint64(row[i]) >> shift
            if i + 1 == len(row) or np.uint64(row[i + 1]) >> shift != value:
                group = np.int64(np.uint64(row[i]) & mask)
                lost[group] += target
                target += group == 0
                i += 1
                continue
            run[:] = 0
            while i < len(row) and np.uint64(row[i]) >> shift == value:
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
