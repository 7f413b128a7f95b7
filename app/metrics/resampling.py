"""A metric's scores under many draws of the same images, at little more than the cost of one.

Moments of all draws are matrix products of how often each image counts with responses and their
squares. Rank sums are one pass over the images in the order of a unit's responses, sorted once.
A metric that is a function of either says so by `from_moments` or `from_pairs` beside its `score`;
any other is asked for its score of the images of each draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from app.metrics.compiled import compiled
from app.metrics.contrast import Contrast
from app.metrics.moments import NOISE, Moments
from app.metrics.ranks import Pairs
from app.metrics.scores import Question, Scores

if TYPE_CHECKING:
    from app.metrics.draws import Draws, Membership

# Of a sum of squares, what rounding may leave where there is no variance: that of float32 responses
# relative to their size, squared.
ROUNDING = NOISE["f"] ** 2


class Sample:
    """Responses (images, units), finite, with what draws of these images have in common."""

    def __init__(self, responses: NDArray[Any], device: str = "cpu") -> None:
        self.responses, self.device = responses, device
        self.low = responses.min(axis=0).astype(np.float64)
        self.sums: dict[tuple[Membership, str], NDArray[np.float64]] = {}

    @cached_property
    def above(self) -> Any:
        """Responses above each unit's smallest: zeros stay zeros, exactly."""
        return self.place(self.responses - self.low)

    @cached_property
    def squared(self) -> Any:
        """The squares of what they are above it."""
        return self.above**2

    def place(self, values: NDArray[np.float64]) -> Any:
        """The values where they are multiplied: here, or a tensor on a GPU."""
        if self.device == "cpu":
            return values
        import torch  # which takes long, and is not needed on a CPU

        return torch.from_numpy(values).to(self.device)

    @cached_property
    def ranking(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """What is above each unit's smallest response, ascending: keys (units, images), how many.

        A key is what orders as responses do, above the number of the image.
        """
        responses = np.ascontiguousarray(self.responses.T)
        if responses.dtype == np.float32:
            bits = (responses + np.float32(0)).view(np.uint32)  # of -0.0, those of 0.0
            # As bits order positive numbers, with all of them turned negative ones, below these.
            bits ^= (bits.view(np.int32) >> 31).view(np.uint32) | np.uint32(0x80000000)
        else:
            bits = rankdata(responses, method="dense", axis=1).astype(np.uint32)
        keys, used = np.empty(bits.shape, np.uint64), np.empty(len(bits), np.int64)
        _pack(bits, bits.min(axis=1), keys, used)
        keys = keys[:, : used.max(initial=1)]
        keys.sort(axis=1)
        return keys, used


def resample(
    question: Question, sample: Sample, draws: Draws, members: Sequence[Membership] = ()
) -> Scores:
    """Ask a metric of every draw: scores (draws, units), statistics (draws, contrasts, units).

    Equal, within rounding, to asking it of the images of each draw. Groups of a draw must have two
    images or more. `members` is what `draws.find_members` finds, which samples of the same images
    can share.
    """
    options = {name: value for name, value in question.options.items() if name != "device"}
    if question.from_moments is None and question.from_pairs is None:
        return _join([_ask(question, sample.responses, draws, n) for n in range(len(draws))])
    parts = []
    for part in members or draws.find_members(question.contrast):
        wanted = question.from_moments or question.preferred
        moments = compute_moments(sample, part) if wanted else None
        if question.from_moments is not None:
            assert moments is not None
            found = question.from_moments(*moments.split(), **options)
        else:
            assert question.from_pairs is not None
            found = question.from_pairs(count_pairs(sample, part), **options)
        parts.append(question.conclude(found, moments if question.preferred else None))
    return _join(parts)


def compute_moments(sample: Sample, members: Membership) -> Moments:
    """Compute moments (draws, groups, units) of the groups' images.

    As `app.metrics.moments.compute_moments`, by sums of squares: squares are 0 where they are less
    than rounding makes of them.
    """
    sizes = members.sizes[:, :, None]
    total = sum_up(sample, members, "above")
    mean = total / sizes + sample.low

    def find_squares() -> NDArray[np.float64]:
        second = sum_up(sample, members, "squared")
        squares = second - total / sizes * total
        squares[squares <= ROUNDING * second] = 0
        noise = NOISE.get(sample.responses.dtype.char, 0)
        squares[squares <= sizes * (noise * mean) ** 2] = 0
        return squares

    return Moments(sizes, mean, find_squares)


def sum_up(sample: Sample, members: Membership, what: str) -> NDArray[np.float64]:
    """Sum what a sample has, `above` or `squared`, by draw and group; of finer groups once."""
    if members.finer is not None:
        finer, made_of = members.finer
        return np.asarray(made_of.astype(np.float64) @ sum_up(sample, finer, what))
    if (members, what) not in sample.sums:
        values = getattr(sample, what)
        sample.sums[members, what] = total = np.empty((*members.sizes.shape, values.shape[1]))
        for groups, images, times in members.weights:
            shown = values if len(images) == len(values) else values[images]
            found = sample.place(times.reshape(-1, len(images))) @ shown
            found = found if sample.device == "cpu" else found.cpu().numpy()
            total[:, groups] = found.reshape(*times.shape[:2], -1).swapaxes(0, 1)
    return sample.sums[members, what]


def count_pairs(sample: Sample, members: Membership) -> Pairs:
    """Count the pairs of the target's and each other group's responses in each draw.

    As `app.metrics.ranks.count_pairs`; an image that a draw has twice is tied with itself.
    """
    ranking = sample.ranking
    twice_u, ties = np.empty((2, *(members.sizes[:, 1:].shape), len(ranking[0])))
    images = members.cells, members.times, members.alone
    _count(ranking, images, members.sizes.T.astype(np.float64), twice_u, ties)
    return Pairs(members.sizes[:, :1, None], members.sizes[:, 1:, None], twice_u, ties)


def _ask(question: Question, responses: NDArray[Any], draws: Draws, number: int) -> Scores:
    shown = np.repeat(np.arange(len(responses)), draws.times[number])
    label_of = draws.label_of[number, shown]
    asked = question.contrast
    groups = tuple(mask[label_of] for mask in asked.others)
    contrast = Contrast(asked.target[label_of], groups, asked.names)
    found = replace(question, contrast=contrast).ask(responses[shown])
    return Scores._make(each if each is None else each[None] for each in found)


def _join(parts: list[Scores]) -> Scores:
    return Scores._make(
        None if any(each is None for each in same) else np.concatenate(same)
        for same in zip(*parts, strict=True)
    )


@compiled
def _pack(
    bits: NDArray[np.uint32],
    least: NDArray[np.uint32],
    keys: NDArray[np.uint64],
    used: NDArray[np.int64],
) -> None:
    """Fill the keys of responses above a unit's `least`, as many as `used`; then largest ones."""
    for unit in range(len(bits)):
        row, key, count = bits[unit], keys[unit], np.uint64(0)
        for image in range(len(row)):
            # Without branches: which responses are zero cannot be foretold.
            key[count] = np.uint64(row[image]) << np.uint64(32) | np.uint64(image)
            count += np.uint64(row[image] != least[unit])
        used[unit] = count
        key[count:] = np.uint64(0xFFFFFFFFFFFFFFFF)


@compiled
def _count(  # noqa: PLR0912, C901  one compiled pass
    ranking: tuple[NDArray[np.uint64], NDArray[np.int64]],
    images: tuple[NDArray[np.uint32], NDArray[np.int16], NDArray[np.int16]],
    sizes: NDArray[np.float64],
    twice_u: NDArray[np.float64],
    ties: NDArray[np.float64],
) -> None:
    """One pass over each unit's images from the highest response down, all draws side by side.

    `images` say where each draw counts an image, and how often, (images, draws), and in which group
    all draws have it, or -1; `sizes` (groups, draws). Filled are (draws, contrasts, units), whole
    numbers that float64 holds exactly up to 2**53. Ties are c³ - c of runs of c equal responses.
    """
    keys, used = ranking
    cells, times, alone = images
    groups, draws = sizes.shape
    low, number = np.uint64(32), np.uint64(0xFFFFFFFF)  # of a key: its bits, and its image
    every = np.empty((3, groups + 1, draws))  # the last group is what draws leave out
    passed, won, run = every[0, :groups], every[1, :groups], every[2, :groups]
    # images so far; pairs in which the target responds more, with half of those tied; equal ones
    passed_at, won_at, run_at = every[0].ravel(), every[1].ravel(), every[2].ravel()
    cubes = np.empty((groups, draws))
    for unit in range(len(keys)):
        passed[:], won[:], cubes[:] = 0, 0, 0
        row, stop = keys[unit], used[unit]
        while stop >= 0:
            start = stop - 1
            while start > 0 and row[start - 1] >> low == row[start] >> low:
                start -= 1
            if start < 0 or start < stop - 1:
                if start < 0:  # all that is left, most often the zeros that a ReLU leaves
                    run[:] = sizes - passed
                else:
                    run[:] = 0
                    for key in row[start:stop]:
                        image = key & number
                        for draw, cell in enumerate(cells[image]):
                            run_at[cell] += times[image, draw]
                for other in range(1, groups):
                    for draw in range(draws):
                        some, both = run[other, draw], run[other, draw] + run[0, draw]
                        won[other, draw] += some * (passed[0, draw] + run[0, draw] / 2)
                        cubes[other, draw] += both * both * both - both
                passed[:] += run  # `passed +=` is another name, which costs more than adding
            elif alone[row[start] & number] < 0:
                for draw, cell in enumerate(cells[row[start] & number]):
                    won_at[cell] += passed_at[draw]
                    passed_at[cell] += 1
            else:
                image = row[start] & number
                group = np.uint64(alone[image])
                for draw in range(draws):
                    some = np.float64(times[image, draw])
                    won[group, draw] += some * passed[0, draw]
                    passed[group, draw] += some
                    cubes[group, draw] += some * some * some - some  # tied with itself
            stop = start
        twice_u[:, :, unit] = 2 * won[1:].T
        ties[:, :, unit] = (cubes[1:] + cubes[0]).T
