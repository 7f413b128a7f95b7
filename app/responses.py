"""Forward pass: images in, responses out, by kernel or by unit.

Responses are read after the ReLU of a convolution and never need gradients. torch is imported
here: the modules above import this one only when a forward pass is due.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.errors import InputError
from app.models.vgg import LAYERS, DualTaskVGG, layer_position
from app.stimuli.images import Images, Preprocessing

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
    for maps_of_layers in _forward(
        network, LAYERS, images, preprocessing, batch_size, device, progress
    ):
        for layer, maps in maps_of_layers.items():
            for name, aggregate in AGGREGATE.items():
                collected[f"{layer}/{name}"].append(aggregate(maps).cpu().numpy())
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
    bytes_per_channel = len(images) * rows * columns * 4
    step = max(1, block_bytes // bytes_per_channel)
    for first in range(0, channels, step):
        width = min(step, channels - first)
        block = np.empty((len(images), width * rows * columns), dtype=np.float32)
        done = 0
        for maps_of_layers in _forward(
            network, (layer,), images, preprocessing, batch_size, device, progress
        ):
            maps = maps_of_layers[layer][:, first : first + width].contiguous().cpu().numpy()
            block[done : done + len(maps)] = maps.reshape(len(maps), -1)
            done += len(maps)
        yield block


def forward_passes(network: DualTaskVGG, layer: str, images: int, block_bytes: int = 2**31) -> int:
    """How many passes `by_unit` makes over the images."""
    channels, rows, columns = map_shape(network, layer)
    return -(-channels // max(1, block_bytes // (images * rows * columns * 4)))


def map_shape(network: DualTaskVGG, layer: str) -> tuple[int, int, int]:
    """(channels, rows, columns) of a layer's map."""
    before = list(network.features)[: layer_position(layer)]
    pools = sum(isinstance(module, torch.nn.MaxPool2d) for module in before)
    side = network.input_size >> pools
    return network.widths[LAYERS.index(layer)], side, side


def _forward(
    network: DualTaskVGG,
    layers: tuple[str, ...],
    images: Images,
    preprocessing: Preprocessing,
    batch_size: int,
    device: torch.device,
    progress: Progress,
) -> Iterator[dict[str, Tensor]]:
    """The layers' maps batch by batch, no deeper than the deepest layer."""
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    positions = {layer_position(layer): layer for layer in layers}
    modules = list(network.features)[: max(positions) + 1]
    with torch.inference_mode():
        for batch in images.batches(preprocessing, batch_size):
            maps = torch.from_numpy(batch).to(device, memory_format=torch.channels_last)
            found: dict[str, Tensor] = {}
            for position, module in enumerate(modules):
                maps = module(maps)
                if position in positions:
                    found[positions[position]] = maps
            yield found
            progress(len(batch))
