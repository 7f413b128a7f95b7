"""Ways to look at the same images again: bootstrap resamples, random halves, shuffled labels.

They follow from the seed and the images' categories alone. So all metrics, layers, networks and
jobs share them, and what is compared is compared draw by draw; the first of many draws are those of
few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.metrics.contrast import Contrast

# The two sets of images that are drawn, independently of each other.
LOCALIZER, TEST_IMAGES = 0, 1
TOGETHER = 256  # draws whose counts stay in a processor's cache

Counts = NDArray[np.int16]  # how often an image is in a group


@dataclass(frozen=True, eq=False)
class Draws:
    """How often each image counts in each draw, and whose label it has; both (draws, images)."""

    times: NDArray[np.int16]
    label_of: NDArray[np.int32]  # the number of an image

    def __len__(self) -> int:
        return len(self.times)

    def count(self, contrast: Contrast) -> list[Counts]:
        """Count the images of each group of a contrast: (groups, images, draws), in some parts."""
        found = []
        for start in range(0, len(self), TOGETHER):
            some = slice(start, start + TOGETHER)
            label_of, times = self.label_of[some].T, self.times[some].T
            groups = (contrast.target, *contrast.others)
            found.append(np.stack([mask[label_of] * times for mask in groups]))
        return found


def _keep(times: Sequence[NDArray[np.int64]], images: int) -> Draws:
    counts = np.array(times, dtype=np.int16).reshape(-1, images)
    label_of = np.broadcast_to(np.arange(images, dtype=np.int32), counts.shape)
    return Draws(counts, label_of)


def _list_members(categories: Sequence[str | None]) -> list[NDArray[np.int64]]:
    names = sorted({name for name in categories if name is not None})
    every = np.array(categories, dtype=object)
    return [np.flatnonzero(every == name) for name in names]


def draw_resamples(
    count: int, categories: Sequence[str | None], seed: int, of: int = LOCALIZER
) -> Draws:
    """Draw as many images of each category as it has, with replacement, `count` times.

    The stratified bootstrap (Efron & Tibshirani 1993, *An introduction to the bootstrap*, ch. 8).
    `categories` has that of each image; those of None are in no draw. `of` is which set of images
    these are.
    """
    random, images = np.random.default_rng([seed, 0, of]), len(categories)
    members = _list_members(categories)
    times = []
    for _ in range(count):
        drawn = [own[random.integers(len(own), size=len(own))] for own in members]
        times.append(np.bincount(np.concatenate(drawn), minlength=images))
    return _keep(times, images)


def draw_halves(
    count: int, categories: Sequence[str | None], seed: int, of: int = LOCALIZER
) -> tuple[Draws, Draws]:
    """Split the images of each category into halves at random, `count` times.

    Of an odd number either half, in turn, has one more. Images of no category are in neither.
    """
    random, images = np.random.default_rng([seed, 1, of]), len(categories)
    members = _list_members(categories)
    halves: tuple[list[NDArray[np.int64]], ...] = ([], [])
    for number in range(count):
        mixed = [random.permutation(own) for own in members]
        cuts = [(len(own) + (number + place) % 2) // 2 for place, own in enumerate(mixed)]
        first = np.concatenate([own[:cut] for own, cut in zip(mixed, cuts, strict=True)])
        second = np.concatenate([own[cut:] for own, cut in zip(mixed, cuts, strict=True)])
        for half, own in zip(halves, (first, second), strict=True):
            half.append(np.bincount(own, minlength=images))
    return _keep(halves[0], images), _keep(halves[1], images)


def draw_shuffles(count: int, categories: Sequence[str | None], seed: int) -> Draws:
    """Give each image that has a category the category of another one, `count` times."""
    random, images = np.random.default_rng([seed, 2]), len(categories)
    labelled = np.flatnonzero([name is not None for name in categories])
    label_of = np.tile(np.arange(images, dtype=np.int32), (count, 1))
    for each in label_of:
        each[labelled] = random.permutation(labelled)
    return Draws(np.ones((count, images), dtype=np.int16), label_of)
