"""Forward pass: images in, responses out, by kernel or by unit.

Responses are read after the ReLU of a convolution and never need gradients. torch is imported
here: the modules above import this one only when a forward pass is due.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.errors import InputError
from app.models.vgg import LAYERS, DualTaskVGG, layer_position
from app.stimuli.images import Images, Preprocessing

T = TypeVar("T")
Progress = Callable[[int], object]  # told how many more images are done

# How a kernel's map, (images, kernels, rows, columns), becomes one number an image.
AGGREGATE: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda maps: maps.mean(dim=(2, 3)),
    "l2": lambda maps: torch.linalg.vector_norm(maps, dim=(2, 3)),
    "max": lambda maps: maps.amax(dim=(2, 3)),
}


def choose_device(name: str) -> torch.device:
    """`auto` is the GPU where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda, but torch sees no GPU here: use device=cpu or device=auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def by_kernel(
    network: DualTaskVGG,
    images: Images,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    device: torch.device,
    progress: Progress,
) -> dict[str, NDArray[np.float32]]:
    """Every layer's kernels in all three aggregations, from one forward pass.

    Returns arrays (images, kernels) under `<layer>/<aggregation>`, e.g. `conv13/l2`.
    """
    collected: dict[str, list[NDArray[np.float32]]] = {
        f"{layer}/{name}": [] for layer in LAYERS for name in AGGREGATE
    }

    def aggregated(maps: Tensor) -> dict[str, NDArray[np.float32]]:
        return {name: aggregate(maps).cpu().numpy() for name, aggregate in AGGREGATE.items()}

    for found in _forward(
        network, LAYERS, aggregated, images, preprocessing, batch_size, device, progress
    ):
        for layer, by_name in found.items():
            for name, numbers in by_name.items():
                collected[f"{layer}/{name}"].append(numbers)
    return {key: np.concatenate(parts) for key, parts in collected.items()}


def by_unit(
    network: DualTaskVGG,
    layer: str,
    images: Images,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    device: torch.device,
    progress: Progress,
    block_bytes: int = 2**31,
) -> Iterator[NDArray[np.float32]]:
    """The layer's units, (images, units) a block; units run channel, row, column.

    A layer that is larger than `block_bytes` comes in blocks of whole channels, each from a
    forward pass of its own.
    """
    channels, rows, columns = map_shape(network, layer)
    step = _channels_a_block(network, layer, len(images), block_bytes)
    for first in range(0, channels, step):
        channels_of_block = slice(first, min(first + step, channels))
        width = channels_of_block.stop - first
        block = np.empty((len(images), width * rows * columns), dtype=np.float32)

        def flat(maps: Tensor, part: slice = channels_of_block) -> NDArray[np.float32]:
            return maps[:, part].flatten(start_dim=1).cpu().numpy()

        done = 0
        for found in _forward(
            network, (layer,), flat, images, preprocessing, batch_size, device, progress
        ):
            block[done : done + len(found[layer])] = found[layer]
            done += len(found[layer])
        yield block


def forward_passes(network: DualTaskVGG, layer: str, images: int, block_bytes: int = 2**31) -> int:
    """How many passes `by_unit` makes over the images."""
    channels = map_shape(network, layer)[0]
    return -(-channels // _channels_a_block(network, layer, images, block_bytes))


def _channels_a_block(network: DualTaskVGG, layer: str, images: int, block_bytes: int) -> int:
    _, rows, columns = map_shape(network, layer)
    return max(1, block_bytes // (images * rows * columns * 4))


def map_shape(network: DualTaskVGG, layer: str) -> tuple[int, int, int]:
    """(channels, rows, columns) of a layer's map."""
    before = list(network.features)[: layer_position(layer)]
    pools = sum(isinstance(module, torch.nn.MaxPool2d) for module in before)
    side = network.input_size >> pools
    return network.widths[LAYERS.index(layer)], side, side


def _forward(
    network: DualTaskVGG,
    layers: tuple[str, ...],
    read: Callable[[Tensor], T],
    images: Images,
    preprocessing: Preprocessing,
    batch_size: int,
    device: torch.device,
    progress: Progress,
) -> Iterator[dict[str, T]]:
    """What `read` makes of the layers' maps, batch by batch; no deeper than the deepest layer.

    Each layer is read as it passes, so that only one layer's maps are held at a time.
    """
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    positions = {layer_position(layer): layer for layer in layers}
    modules = list(network.features)[: max(positions) + 1]
    with torch.inference_mode():
        for batch in images.batches(preprocessing, batch_size):
            maps = torch.from_numpy(batch).to(device, memory_format=torch.channels_last)
            found: dict[str, T] = {}
            for position, module in enumerate(modules):
                maps = module(maps)
                if position in positions:
                    found[positions[position]] = read(maps)
            yield found
            progress(len(batch))
