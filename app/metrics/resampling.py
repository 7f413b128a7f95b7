"""A metric's scores under many draws of the same images, at little more than the cost of one.

Moments of all draws are matrix products of how often each image counts with responses and their
squares. Rank sums are one pass over the images in the order of a unit's responses, sorted once.
A metric that is a function of either says so by `from_moments` or `from_pairs` beside its `score`;
any other is asked for its score of the images of each draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from app.metrics.compiled import compiled
from app.metrics.contrast import Contrast
from app.metrics.moments import NOISE, Moments
from app.metrics.ranks import Pairs
from app.metrics.scores import Question, Scores

if TYPE_CHECKING:
    from app.metrics.draws import Counts, Draws

# Of a sum of squares, what rounding may leave where there is no variance: that of float32 responses
# relative to their size, squared.
ROUNDING = NOISE["f"] ** 2


class Sample:
    """Responses (images, units), finite, with what draws of these images have in common."""

    def __init__(self, responses: NDArray[Any], device: str = "cpu") -> None:
        self.responses, self.device = responses, device
        self.low = responses.min(axis=0).astype(np.float64)
        self.moments: dict[int, Moments] = {}  # by the counts that they are of

    @cached_property
    def powers(self) -> tuple[Any, Any]:
        """Responses above each unit's smallest, and their squares: zeros stay zeros, exactly."""
        above = self.place(self.responses - self.low)
        return above, above * above

    def place(self, values: NDArray[np.float64]) -> Any:
        """The values where they are multiplied: here, or a tensor on a GPU."""
        if self.device == "cpu":
            return values
        import torch  # which takes long, and is not needed on a CPU

        return torch.from_numpy(values).to(self.device)

    @cached_property
    def ranking(self) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
        """Images in the order of responses (units, images), and where one is above the last."""
        responses = np.ascontiguousarray(self.responses.T)
        order = np.argsort(responses, axis=1)
        ordered = np.take_along_axis(responses, order, axis=1)
        above = np.ones(order.shape, dtype=bool)
        np.greater(ordered[:, 1:], ordered[:, :-1], out=above[:, 1:])
        return order.astype(np.int32), above


def resample(
    question: Question, sample: Sample, draws: Draws, counted: Sequence[Counts] | None = None
) -> Scores:
    """Ask a metric of every draw: scores (draws, units), statistics (draws, contrasts, units).

    Equal, within rounding, to asking it of the images of each draw. Groups of a draw must have two
    images or more. `counted` is what `draws.count` finds, which metrics of one contrast and samples
    of the same images can share.
    """
    options = {name: value for name, value in question.options.items() if name != "device"}
    if question.from_moments is None and question.from_pairs is None:
        return _join([_ask(question, sample.responses, draws, n) for n in range(len(draws))])
    parts = []
    for counts in draws.count(question.contrast) if counted is None else counted:
        if question.from_moments is not None:
            if id(counts) not in sample.moments:
                sample.moments[id(counts)] = compute_moments(sample, counts)
            target, others = sample.moments[id(counts)].split()
            parts.append(question.from_moments(target, others, **options))
        else:
            assert question.from_pairs is not None
            parts.append(question.from_pairs(count_pairs(sample, counts), **options))
    return _join(parts)


def compute_moments(sample: Sample, counts: Counts) -> Moments:
    """Compute moments (draws, groups, units) of the images that the counts say.

    As `app.metrics.moments.compute_moments`, by sums of squares: squares are 0 where they are less
    than rounding makes of them.
    """
    groups, _, draws = counts.shape
    sizes = counts.sum(axis=1, dtype=np.int64).T[:, :, None]
    total = np.empty((2, draws, groups, sample.responses.shape[1]))
    for group, own in enumerate(counts):
        shown = np.flatnonzero(own.any(axis=1))
        times = sample.place(own[shown].T.astype(np.float64))
        for place, power in enumerate(sample.powers):
            found = times @ power[shown]
            total[place, :, group] = found if sample.device == "cpu" else found.cpu()
    mean = total[0] / sizes
    squares = total[1] - mean * total[0]
    noise = NOISE.get(sample.responses.dtype.char, 0)
    squares[squares <= ROUNDING * total[1]] = 0
    mean += sample.low
    squares[squares <= sizes * (noise * mean) ** 2] = 0
    return Moments(sizes, mean, squares)


def count_pairs(sample: Sample, counts: Counts) -> Pairs:
    """Count the pairs of the target's and each other group's responses in each draw.

    As `app.metrics.ranks.count_pairs`; an image that a draw has twice is tied with itself.
    """
    order, above = sample.ranking
    groups, _, draws = counts.shape
    sizes = counts.sum(axis=1, dtype=np.int64).T
    twice_u, ties = np.empty((2, draws, groups - 1, len(order)))
    _count(order, above, counts, counts.max(axis=2), sizes, twice_u, ties)
    target, others = sizes[:, :1, None], sizes[:, 1:, None]
    return Pairs(target, others, twice_u, ties)


def _ask(question: Question, responses: NDArray[Any], draws: Draws, number: int) -> Scores:
    shown = np.repeat(np.arange(len(responses)), draws.times[number])
    label_of = draws.label_of[number, shown]
    asked = question.contrast
    groups = tuple(mask[label_of] for mask in asked.others)
    contrast = Contrast(asked.target[label_of], groups, asked.names)
    found = question.score(responses[shown], contrast, **question.options)
    return Scores._make(each if each is None else each[None] for each in found)


def _join(parts: list[Scores]) -> Scores:
    return Scores._make(
        None if any(each is None for each in same) else np.concatenate(same)
        for same in zip(*parts, strict=True)
    )


@compiled
def _count(  # noqa: PLR0913, PLR0912, C901  one compiled pass, which fills arrays it is given
    order: NDArray[np.int32],
    above: NDArray[np.bool_],
    counts: Counts,
    most: Counts,
    sizes: NDArray[np.int64],
    twice_u: NDArray[np.float64],
    ties: NDArray[np.float64],
) -> None:
    """One pass over each unit's images in order, for all draws side by side.

    `counts` is (groups, images, draws), the target first, `most` (groups, images) the largest over
    draws, `sizes` (draws, groups); filled are (draws, contrasts, units), with whole numbers that
    float64 holds exactly up to 2**53. Ties are c³ - c of runs of c equal responses.
    """
    groups, images, draws = counts.shape
    target = np.empty(draws)  # images of it so far
    run = np.empty((groups, draws))  # of equal responses, by group
    lost = np.empty((groups, draws))  # pairs in which the target responds less
    tied = np.empty((groups, draws))
    cubes = np.empty((groups, draws))
    for unit in range(len(order)):
        target[:] = 0
        lost[:] = 0
        tied[:] = 0
        cubes[:] = 0
        start = 0
        while start < images:
            stop = start + 1
            while stop < images and not above[unit, stop]:
                stop += 1
            if stop == start + 1:  # a response of one image, which is in one group of each draw
                image = order[unit, start]
                for group in range(groups):
                    if most[group, image] > 0:
                        _add_products(lost[group], counts[group, image], target)
                    if most[group, image] > 1:  # tied with itself
                        _add_cubes(cubes[group], counts[group, image])
                if most[0, image] > 0:
                    _add(target, counts[0, image])
            else:
                run[:] = 0
                for image in order[unit, start:stop]:
                    for group in range(groups):
                        if most[group, image] > 0:
                            _add(run[group], counts[group, image])
                for group in range(1, groups):
                    _add_products(lost[group], run[group], target)
                    _add_products(tied[group], run[group], run[0])
                    _add_cubes(cubes[group], run[0] + run[group])
                _add(target, run[0])
            start = stop
        for group in range(1, groups):
            won = sizes[:, 0] * sizes[:, group] - lost[group] - tied[group]
            twice_u[:, group - 1, unit] = 2 * won + tied[group]
            ties[:, group - 1, unit] = cubes[group] + cubes[0]


@compiled
def _add(total: NDArray[np.float64], counts: NDArray[Any]) -> None:
    for draw in range(len(total)):
        total[draw] += counts[draw]


@compiled
def _add_products(
    total: NDArray[np.float64], counts: NDArray[Any], others: NDArray[np.float64]
) -> None:
    for draw in range(len(total)):
        total[draw] += counts[draw] * others[draw]


@compiled
def _add_cubes(total: NDArray[np.float64], counts: NDArray[Any]) -> None:
    for draw in range(len(total)):
        times = np.float64(counts[draw])
        total[draw] += times * times * times - times
