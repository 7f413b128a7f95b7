"""What a network learns and is tested on, wherever it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Batch = tuple["Tensor", "Tensor"]  # pixels, and the network output that is right, int64 (n,)


@dataclass(frozen=True)
class Listing:
    """Which images there are: a name, a class and its output each."""

    names: Sequence[str]
    labels: Sequence[str]
    outputs: Sequence[int]
    digest: str  # SHA-256 of names, outputs and contents: equal digests, equal images
    source: str  # for people: where they came from


@dataclass(frozen=True)
class Material:
    """What a network learns and what it is tested on.

    `to_learn(epoch)` may draw its order from torch's global random numbers, which are seeded for
    each epoch. `inputs` makes what the network wants, (n, 3, size, size), from a batch's pixels, on
    the device where they are.
    """

    faces: Sequence[str]  # classes in the order of their outputs, from output 0
    objects: Sequence[str]  # from output model.face_classes
    learned: Listing
    held_out: Listing
    to_learn: Callable[[int], Iterator[Batch]]
    steps: int  # batches of an epoch
    to_test: Callable[[], Iterator[Batch]]
    tests: int  # batches of a test
    inputs: Callable[[Tensor], Tensor]

    @property
    def images(self) -> str:
        """What is learned and tested, in words that no other material shares."""
        return (
            f"{len(self.faces)} + {len(self.objects)} classes, {len(self.learned.names)} + "
            f"{len(self.held_out.names)} images, SHA-256 {self.learned.digest[:8]} + "
            f"{self.held_out.digest[:8]}"
        )
