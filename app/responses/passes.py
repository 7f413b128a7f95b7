"""A forward pass as deep as the deepest of some layers, on whole images or on strips of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.models.modules import ModuleNetwork
from app.models.vgg import layer_position
from app.responses.hardware import DTYPES, Hardware

if TYPE_CHECKING:
    from app.models.network import Network

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class ConvolutionPass:
    """Through convolutions, ReLUs and poolings one by one, on as little as a strip of the image.

    Only one map is held at a time, and ReLUs work in place.
    """

    modules: Sequence[nn.Module]
    read: Mapping[int, str]  # the layers that are read, by their place among the modules
    size: int  # rows, and columns, of an image

    def run(self, pixels: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Each layer and its maps (images, channels, rows, columns)."""
        maps = pixels
        for position, module in enumerate(self.modules):
            maps = maps.relu_() if isinstance(module, nn.ReLU) else module(maps)
            if position in self.read:
                yield self.read[position], maps

    def largest(self, rows: int) -> int:
        """Values of the largest map of a strip of so many rows of one image."""
        values, columns = 0, self.size
        for module in self.modules:
            if isinstance(module, nn.MaxPool2d):
                rows, columns = rows // 2, columns // 2
            elif isinstance(module, nn.Conv2d):
                values = max(values, module.out_channels * rows * columns)
        return values

    def strip(self, rows: slice) -> tuple[slice, slice]:
        """The rows of the image that rows of the last map see, and where these are in its map.

        The strip is padded where it is cut as where the image ends, so the outermost rows of its
        maps are wrong; it is wide enough that those asked for are not. It begins and ends on a
        multiple of what the poolings divide by, for they must pair the same rows as in the whole
        image.
        """
        first, stop, step = rows.start, rows.stop, 1
        for module in reversed(self.modules):
            if isinstance(module, nn.MaxPool2d):
                first, stop, step = 2 * first, 2 * stop, 2 * step
            elif isinstance(module, nn.Conv2d):  # 3 x 3
                first, stop = first - 1, stop + 1
        first = max(0, first // step * step)
        stop = min(self.size, -(-stop // step) * step)
        above = first // step
        return slice(first, stop), slice(rows.start - above, rows.stop - above)


@dataclass(frozen=True)
class ModulePass:
    """The same through any network, always on whole images."""

    network: ModuleNetwork
    layers: Sequence[str]

    def run(self, pixels: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Each layer and its maps (images, channels, rows, columns)."""
        return self.network.read(self.layers, pixels)

    def largest(self, rows: int) -> int:
        """Values of the largest output of a module, for one image."""
        return max(math.prod(call.shape) for call in self.network.calls if call.shape is not None)

    def strip(self, rows: slice) -> tuple[slice, slice]:
        """All rows of the image, and the rows themselves."""
        return slice(0, self.network.input_size), rows


Pass = ConvolutionPass | ModulePass


def plan_pass(network: Network, layers: Sequence[str], hardware: Hardware) -> Pass:
    """The pass over the layers; the network's weights go to the hardware."""
    module = network.module
    if isinstance(module, ModuleNetwork):
        return ModulePass(_move(module, hardware), layers)
    read = {layer_position(layer): layer for layer in layers}
    part = _move(module.features[: max(read) + 1], hardware)
    return ConvolutionPass(list(part.children()), read, module.input_size)


def to_device(batch: NDArray[np.float32], hardware: Hardware) -> Tensor:
    """Images (n, 3, rows, columns) where the network is, in its precision, channels last."""
    return torch.from_numpy(batch).to(
        hardware.device, DTYPES[hardware.precision], memory_format=torch.channels_last
    )


def _move(part: M, hardware: Hardware) -> M:
    if hardware.precision != "float32":
        part = copy.deepcopy(part)  # other steps need the weights as they are
    to: Any = part.to
    moved: M = to(hardware.device, DTYPES[hardware.precision], memory_format=torch.channels_last)
    return moved
