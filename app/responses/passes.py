"""A forward pass as deep as the deepest of some layers, on whole images or on strips of them.

A layer too large for memory is read in strips: the rows of an image that some rows of a map see.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.models.graph import PIXELS, Operation
from app.models.places import ACTIVATIONS, Place
from app.models.program import Hooks, Program
from app.responses.hardware import DTYPES, Hardware

if TYPE_CHECKING:
    from app.models.network import Network

Name = TypeVar("Name", bound=Hashable)
_BY_ROW = (*ACTIVATIONS, "batch_norm", "add", "mul", "dropout", "alias")  # each row stays


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
        """The rows of the image that rows of the one place see, and where these are in its map.

        The strip is padded where it is cut as where the image ends, so the outermost rows of its
        maps are wrong; it is wide enough that those asked for are not. It begins and ends on a
        multiple of what strides divide by, for windows must take the same rows as in the whole
        image. A map that rests on more than windows of rows sees all of the image.
        """
        (place,) = self.places
        if not isinstance(self.program, Program) or place.output != "map":
            return slice(0, self.size), rows
        operations = self.program.plan(frozenset([PIXELS]), frozenset([place.value]))
        needed = {place.value: (rows.start, rows.stop, 1)}  # the last: rows that become one of it
        for each, _ in reversed(operations):
            window = _find_window(self.program, each)
            if window is None:
                return slice(0, self.size), rows
            span, stride, padding = window
            first, stop, step = needed[each.name]
            first, stop = first * stride - padding, (stop - 1) * stride - padding + span
            for name in each.takes:
                start, end, _ = needed.get(name, (first, stop, step))
                needed[name] = min(first, start), max(stop, end), step * stride
        first, stop, step = needed[PIXELS]
        first = max(0, first // step * step)
        stop = min(self.size, -(-stop // step) * step)
        return slice(first, stop), slice(rows.start - first // step, rows.stop - first // step)


def plan_pass(network: Network, layers: Sequence[str], hardware: Hardware) -> Pass:
    """The pass over the layers, with the network's weights on the hardware."""
    places = [network.place(layer) for layer in layers]
    program = network.program(hardware.device, DTYPES[hardware.precision])
    return Pass(program, places, network.preprocessing.size)


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


def _find_window(program: Program, each: Operation) -> tuple[int, int, int] | None:
    """The rows that one row of a value sees, by how many the next moves on, how many lie above.

    None where a row sees more than a window.
    """
    if each.kind in _BY_ROW:
        return 1, 1, 0
    if each.target == "aten.conv2d.default" and each.takes[1] in program.tensors:
        span = program.tensors[each.takes[1]].shape[2]
        stride, padding, dilation = each.sliding
    elif each.kind in ("max_pool2d", "avg_pool2d"):
        span = _first(each.argument(1, 1))
        stride, padding = each.argument(2, ()) or span, each.argument(3, 0)
        dilation = each.argument(4, 1) if each.kind == "max_pool2d" else 1
    else:
        return None
    return (span - 1) * _first(dilation) + 1, _first(stride), _first(padding)


def _first(value: int | tuple[int, ...]) -> int:
    """Of rows, where rows and columns may differ."""
    return value if isinstance(value, int) else value[0]
