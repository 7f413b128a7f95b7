"""What a network learns and is tested on, wherever it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from app.errors import InputError
from app.stimuli.images import Images, Preprocessing

Pixels = NDArray[np.uint8]
Look = Callable[[Image.Image], Pixels]  # what of an image a network is shown: (size, size, 3)
Batch = tuple[Tensor, Tensor]  # pixels (n, size, size, 3), and the output that is right (n,)


@dataclass(frozen=True)
class Examples(Dataset[tuple[Pixels, int]]):
    """Images, how a network sees them, and the output that is right for each."""

    images: Images
    outputs: Sequence[int]
    look: Look

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        return np.array(self.look(self.images.open(index))), self.outputs[index]


@dataclass(frozen=True)
class Varied(Dataset[tuple[Pixels, int]]):
    """Examples whose look is random; each is asked for by its number and a seed."""

    examples: Examples

    def __getitem__(self, asked: tuple[int, int]) -> tuple[Pixels, int]:
        index, seed = asked
        with torch.random.fork_rng(devices=[]):  # dropout's random numbers stay as they are
            torch.default_generator.manual_seed(seed)
            return self.examples[index]


@dataclass(frozen=True)
class Shuffled(Sampler[tuple[int, int]]):
    """The numbers of `count` images in a random order, with a seed for the look of each.

    Both follow from torch's global random numbers, which are seeded for each epoch.
    """

    count: int

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order, seeds = torch.randperm(self.count), torch.randint(2**63 - 1, (self.count,))
        return iter(list(zip(order.tolist(), seeds[order].tolist(), strict=True)))


@dataclass(frozen=True)
class Material:
    """What a network learns and what it is tested on.

    Parameters
    ----------
    faces, objects : sequence of str
        Classes in the order of their outputs: from output 0, and from `model.face_classes`.
    learned, held_out : Examples
    to_learn : DataLoader
        Another order and another look of what is learned each time, as torch's global random
        numbers have it; a short last batch is left out.
    to_test : DataLoader
    prepare : Preprocessing
        Scales pixels as the network wants them.
    """

    faces: Sequence[str]
    objects: Sequence[str]
    learned: Examples
    held_out: Examples
    to_learn: DataLoader[tuple[Pixels, int]]
    to_test: DataLoader[tuple[Pixels, int]]
    prepare: Preprocessing

    @property
    def images(self) -> str:
        """What is learned and tested, in words that no other material shares."""
        return (
            f"{len(self.faces)} + {len(self.objects)} classes, {len(self.learned)} + "
            f"{len(self.held_out)} images, SHA-256 {self.learned.images.digest[:8]} + "
            f"{self.held_out.images.digest[:8]}"
        )

    def inputs(self, pixels: Tensor) -> Tensor:
        """Scale pixels (n, size, size, 3) to network input (n, 3, size, size), on their device."""
        mean, sd = (
            torch.tensor(values, device=pixels.device)
            for values in (self.prepare.mean, self.prepare.sd)
        )
        # Channels stay last in memory, which convolutions are faster on.
        return ((pixels.float() / 255 - mean) / sd).permute(0, 3, 1, 2)


def make_loaders(
    learned: Examples, held_out: Examples, batch_size: int, workers: int
) -> tuple[DataLoader[tuple[Pixels, int]], DataLoader[tuple[Pixels, int]]]:
    """Make what brings the batches to learn, and those to test.

    `workers` processes read images ahead; with one, this process does so itself.
    """
    count = workers if workers > 1 else 0

    def make(
        dataset: Dataset[tuple[Pixels, int]], **options: Any
    ) -> DataLoader[tuple[Pixels, int]]:
        return DataLoader(
            dataset,
            batch_size,
            num_workers=count,
            # Forking a process that runs torch's threads can lock up.
            multiprocessing_context="spawn" if count else None,
            persistent_workers=count > 0,
            # Or it would take random numbers from the global ones, in a new process only.
            generator=torch.Generator(),
            **options,
        )

    varied = make(Varied(learned), sampler=Shuffled(len(learned)), drop_last=True)
    return varied, make(held_out)


def read_batches(loader: DataLoader[tuple[Pixels, int]]) -> Iterator[Batch]:
    """Yield a loader's batches; InputError in one line, whichever process it comes from."""
    try:
        yield from loader
    except InputError as error:  # that of a worker comes with its traceback
        last = str(error).strip().splitlines()[-1]
        raise InputError(last.removeprefix(f"{InputError.__module__}.InputError: ")) from None


def number_labels(labels: Sequence[str], first: int) -> list[int]:
    """Return the output of each label; new ones are numbered as they come, from `first`."""
    number = {label: output for output, label in enumerate(dict.fromkeys(labels), first)}
    return [number[label] for label in labels]
