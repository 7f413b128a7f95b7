"""A forward pass as deep as the deepest of some layers, on whole images or on strips of them."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.models.graph import PIXELS
from app.models.places import Place
from app.models.program import Hooks, Program
from app.models.strips import find_strip
from app.responses.hardware import DTYPES, Hardware

if TYPE_CHECKING:
    from app.models.network import Network

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class Pass:
    """Through a network's graph, as far as some places."""

    program: Program | Hooks
    places: Sequence[Place]
    size: int  # rows, and columns, of an image

    def run(self, pixels: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Each layer and its maps (images, channels, rows, columns), in the network's order."""
        for name, values in self.program.run({PIXELS: pixels}, [p.value for p in self.places]):
            for place in self.places:
                if place.value == name:
                    yield place.layer, place.view(values)

    def largest(self, rows: int) -> int:
        """Values of the largest map of a strip of so many rows of one image."""
        whole = max(map(math.prod, self.program.shapes([place.value for place in self.places])))
        return math.ceil(whole * rows / self.size)

    def strip(self, rows: slice) -> tuple[slice, slice]:
        """The rows of the image that rows of the one place see, and where these are in its map."""
        (place,) = self.places
        if isinstance(self.program, Program) and place.output == "map":
            return find_strip(self.program, place, rows, self.size)
        return slice(0, self.size), rows


def plan_pass(network: Network, layers: Sequence[str], hardware: Hardware) -> Pass:
    """The pass over the layers, with the network's weights on the hardware."""
    places = [network.place(layer) for layer in layers]
    program = network.program(hardware.device, DTYPES[hardware.precision])
    return Pass(program, places, network.input_size)


def collect(
    parts: Iterable[Mapping[Name, NDArray[np.float32]]], images: int
) -> dict[Name, NDArray[np.float32]]:
    """Put what each batch gives, (its images, …) by name, into arrays (images, …) of all.

    These are made with the first batch. Small arrays kept of every batch would lie between large
    maps that were freed: glibc then takes new memory for the next maps, 13 MB an image of VGG-16.
    """
    whole: dict[Name, NDArray[np.float32]] = {}
    first = 0
    for part in parts:
        for name, values in part.items():
            if name not in whole:
                whole[name] = np.empty((images, *values.shape[1:]), values.dtype)
            end = first + len(values)
            whole[name][first:end] = values
        first = end
    return whole


def to_device(batch: NDArray[np.float32], hardware: Hardware) -> Tensor:
    """Images (n, 3, rows, columns) where the network is, in its precision, channels last."""
    return torch.from_numpy(batch).to(
        hardware.device, DTYPES[hardware.precision], memory_format=torch.channels_last
    )
