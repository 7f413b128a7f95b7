"""Ways to look at the same images again: bootstrap resamples, random halves, shuffled labels.

They follow from the seed and the images' categories alone. So all metrics, layers, networks and
jobs share them, and what is compared is compared draw by draw; the first of many draws are those of
few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from app.metrics.contrast import Contrast

# The two sets of images that are drawn, independently of each other.
LOCALIZER, TEST_IMAGES = 0, 1
TOGETHER = 256  # draws whose counts stay in a processor's cache


@dataclass(frozen=True, eq=False)
class Membership:
    """Which group of a contrast each image is in, in some draws, and how often."""

    group: NDArray[np.int16]  # (images, draws) 0 is the target
    times: NDArray[np.int16]  # (images, draws) 0: it is in no group
    groups: int
    # Those of a finer contrast, and which of its groups make up each of these, (groups, finer ones)
    finer: tuple[Membership, NDArray[np.bool_]] | None = None

    @cached_property
    def weights(self) -> list[tuple[slice, NDArray[np.int64], NDArray[np.float64]]]:
        """How often images are in groups, (groups, draws, images): which groups and which images.

        A group has its own images; where labels are shuffled all groups have all.
        """
        own = np.stack([np.where(self.group == n, self.times, 0).T for n in range(self.groups)])
        ever = [np.flatnonzero(times.any(axis=0)) for times in own]
        if sum(map(len, ever)) > 2 * len(self.group):
            return [(slice(None), np.arange(len(self.group)), own.astype(np.float64))]
        return [(slice(n, n + 1), images, own[n : n + 1, :, images].astype(np.float64))
                for n, images in enumerate(ever)]  # fmt: skip

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """The images of each group, (draws, groups)."""
        sums = [times.sum(axis=2) for _, _, times in self.weights]
        return np.concatenate(sums).T.astype(np.int64)

    @cached_property
    def alone(self) -> NDArray[np.int16]:
        """The group that all draws have an image in, (images,), or -1."""
        same = (self.group == self.group[:, :1]).all(axis=1)
        return np.where(same, self.group[:, 0], np.int16(-1))

    @cached_property
    def cells(self) -> NDArray[np.uint32]:
        """Where a draw counts an image, (images, draws): group by group, what is in none last."""
        assert (self.times[self.alone < 0] <= 1).all(), "labels move where images are drawn once"
        draws = self.group.shape[1]
        group = np.where(self.times > 0, self.group, self.groups).astype(np.uint32)
        return np.asarray(group * draws + np.arange(draws), dtype=np.uint32)


@dataclass(frozen=True, eq=False)
class Draws:
    """How often each image counts in each draw, and whose label it has; both (draws, images)."""

    times: NDArray[np.int16]
    label_of: NDArray[np.int32]  # the number of an image

    def __len__(self) -> int:
        return len(self.times)

    def find_members(self, contrast: Contrast) -> list[Membership]:
        """Find the images of each group of a contrast, of some draws after others.

        Those in which images have their own labels are by themselves: their groups are alike.
        """
        group_of = np.full(len(contrast.target), -1, dtype=np.int16)
        for number, mask in enumerate(contrast.groups):
            group_of[mask] = number
        moved = (self.label_of != np.arange(len(group_of))).any(axis=1)
        found = []
        for alike in np.split(np.arange(len(self)), np.flatnonzero(np.diff(moved)) + 1):
            for part in np.array_split(alike, -(-len(alike) // TOGETHER)):
                group = np.ascontiguousarray(group_of[self.label_of[part].T])
                times = np.where(group < 0, np.int16(0), np.ascontiguousarray(self.times[part].T))
                found.append(Membership(np.maximum(group, 0), times, 1 + len(contrast.others)))
        return found


def join(parts: Sequence[Draws]) -> Draws:
    """Make one of several sets of draws of the same images."""
    return Draws(
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.label_of for part in parts]),
    )


def _keep(times: ArrayLike, images: int) -> Draws:
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
    listed = np.concatenate([*members, np.empty(0, np.int64)])
    sizes = np.array([len(own) for own in members], np.int64)
    starts = np.cumsum(sizes) - sizes
    # A draw after another, and in each a category after another.
    places = random.integers(np.repeat(sizes, sizes), size=(count, len(listed)))
    drawn = listed[places + np.repeat(starts, sizes)] + images * np.arange(count)[:, None]
    return _keep(np.bincount(drawn.ravel(), minlength=count * images), images)


def draw_halves(
    count: int, categories: Sequence[str | None], seed: int, of: int = LOCALIZER
) -> tuple[Draws, Draws]:
    """Split the images of each category by `halve`; images of no category are in neither half."""
    random, images = np.random.default_rng([seed, 1, of]), len(categories)
    halves: tuple[list[NDArray[np.int64]], ...] = ([], [])
    for split in halve(_list_members(categories), count, random):
        for half, own in zip(halves, split, strict=True):
            half.append(np.bincount(np.concatenate(own), minlength=images))
    return _keep(halves[0], images), _keep(halves[1], images)


def halve(
    groups: Sequence[NDArray[np.int64]], count: int, random: np.random.Generator
) -> Iterator[tuple[list[NDArray[np.int64]], list[NDArray[np.int64]]]]:
    """Split the members of each group into halves at random, `count` times.

    Of an odd number either half, in turn, has one more.
    """
    for number in range(count):
        mixed = [random.permutation(own) for own in groups]
        cuts = [(len(own) + (number + place) % 2) // 2 for place, own in enumerate(mixed)]
        both = list(zip(mixed, cuts, strict=True))
        yield [own[:cut] for own, cut in both], [own[cut:] for own, cut in both]


def draw_shuffles(count: int, categories: Sequence[str | None], seed: int) -> Draws:
    """Give each image that has a category the category of another one, `count` times."""
    random, images = np.random.default_rng([seed, 2]), len(categories)
    labelled = np.flatnonzero([name is not None for name in categories])
    label_of = np.tile(np.arange(images, dtype=np.int32), (count, 1))
    for each in label_of:
        each[labelled] = random.permutation(labelled)
    return Draws(np.ones((count, images), dtype=np.int16), label_of)
