"""Forward pass: images in, responses out, by kernel or by unit.

Responses are read after the ReLU of a convolution and never need gradients. torch is imported
here: the modules above import this one only when a forward pass is due.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from app.errors import InputError
from app.models.vgg import LAYERS, DualTaskVGG, layer_position
from app.stimuli.images import Images, Preprocessing, Progress

# How a kernel's map, (images, kernels, rows, columns), becomes one number an image.
AGGREGATE: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda maps: maps.mean(dim=(2, 3)),
    # Four times faster than torch.linalg.vector_norm on maps that lie channels last.
    "l2": lambda maps: maps.square().sum(dim=(2, 3)).sqrt(),
    "max": lambda maps: maps.amax(dim=(2, 3)),
}
PRECISIONS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
# Values of the largest map that go through the network at once. On a CPU 32 MB, up to which the
# system's allocator uses memory again: larger batches cost a third more time in page faults.
BATCH_VALUES = {"cpu": 2**23, "cuda": 2**29}


class Block(NamedTuple):
    """Some of a layer's units."""

    units: NDArray[np.int64]  # (units,) the number of each in the layer: channel, row, column
    responses: NDArray[np.float32]  # (images, units); used again for the next block


def choose_device(name: str, precision: str = "float32") -> torch.device:
    """`auto` is the GPU where there is one; InputError for what the device cannot do."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda, but torch sees no GPU here: use device=cpu or device=auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cpu" and precision != "float32":
        raise InputError(
            f"precision={precision} needs a GPU; on this CPU it would only be slower: "
            "use precision=float32"
        )
    return torch.device(name)


def batch_of(device: torch.device, values: int) -> int:
    """How many images to run together when the largest map of one has so many values."""
    return max(1, min(256, BATCH_VALUES[device.type] // values))


def by_kernel(
    network: DualTaskVGG,
    layers: Sequence[str],
    images: Images,
    preprocessing: Preprocessing,
    *,
    device: torch.device,
    batch_size: int | None = None,
    precision: str = "float32",
    progress: Progress = lambda _: None,
) -> dict[str, dict[str, NDArray[np.float32]]]:
    """The layers' kernels in all aggregations, from one forward pass as deep as the deepest.

    Returns arrays (images, kernels) by layer and aggregation. Half precision is that of weights
    and maps; aggregation is in float32. `batch_size` None: what fits the device best.
    """
    modules = _modules(network, layers, device, precision)
    size = network.input_size
    batch_size = batch_size or batch_of(device, _largest(network, modules, size))
    read = {layer_position(layer): layer for layer in layers}
    parts: dict[str, dict[str, list[NDArray[np.float32]]]] = {
        layer: {name: [] for name in AGGREGATE} for layer in layers
    }
    with torch.inference_mode():
        for batch in images.batches(preprocessing, batch_size):
            for position, maps in _run(modules, _on(batch, device, precision), read):
                for name, aggregate in AGGREGATE.items():
                    parts[read[position]][name].append(aggregate(maps.float()).cpu().numpy())
            progress(len(batch))
    return {
        layer: {name: np.concatenate(arrays) for name, arrays in by_name.items()}
        for layer, by_name in parts.items()
    }


def by_unit(
    network: DualTaskVGG,
    layer: str,
    images: Images,
    preprocessing: Preprocessing,
    *,
    device: torch.device,
    rows_a_block: int | None = None,
    batch_size: int | None = None,
    precision: str = "float32",
    progress: Progress = lambda _: None,
) -> Iterator[Block]:
    """The layer's units, `rows_a_block` rows of its maps at a time; None: all at once.

    A block runs the network on the strip of each image that its rows see and no more, so that
    blocks together cost little more than one pass. All blocks share one array: use a block
    before asking for the next. `progress` is told the images of each block.
    """
    channels, height, width = map_shape(network, layer)
    rows_a_block = min(rows_a_block or height, height)
    modules = _modules(network, (layer,), device, precision)
    last = layer_position(layer)
    crops = images.crops(preprocessing)
    memory = np.empty((len(images), rows_a_block * width * channels), dtype=np.float32)
    number = np.arange(channels * height * width).reshape(channels, height, width)
    for first in range(0, height, rows_a_block):
        rows = slice(first, min(first + rows_a_block, height))
        count = rows.stop - rows.start
        seen, inside = strip(modules, rows, network.input_size)
        together = batch_size or batch_of(
            device, _largest(network, modules, seen.stop - seen.start)
        )
        responses = memory[:, : count * width * channels]
        with torch.inference_mode():
            for start in range(0, len(images), together):
                batch = preprocessing.scale(crops[start : start + together, seen])
                for _, maps in _run(
                    modules, _on(batch.transpose(0, 3, 1, 2), device, precision), (last,)
                ):
                    # Channels last, as they lie in memory.
                    part = maps[:, :, inside].permute(0, 2, 3, 1).reshape(len(batch), -1)
                    torch.from_numpy(responses[start : start + together]).copy_(part)
                progress(len(batch))
        yield Block(number[:, rows].transpose(1, 2, 0).ravel(), responses)


def blocks(height: int, rows_a_block: int | None) -> int:
    """How many blocks `by_unit` makes of a layer whose maps have so many rows."""
    return -(-height // min(rows_a_block or height, height))


def map_shape(network: DualTaskVGG, layer: str) -> tuple[int, int, int]:
    """(channels, rows, columns) of a layer's map."""
    before = list(network.features)[: layer_position(layer)]
    pools = sum(isinstance(module, nn.MaxPool2d) for module in before)
    side = network.input_size >> pools
    return network.widths[LAYERS.index(layer)], side, side


def strip(modules: Sequence[nn.Module], rows: slice, size: int) -> tuple[slice, slice]:
    """The rows of the image that `rows` of the last map see, and where these are in its map.

    The strip is padded where it is cut as where the image ends, so the outermost rows of its maps
    are wrong; it is wide enough that those asked for are not. It begins and ends on a multiple
    of what the poolings divide by, for they must pair the same rows as in the whole image.
    """
    pools = sum(isinstance(module, nn.MaxPool2d) for module in modules)
    first, stop = rows.start, rows.stop
    for module in reversed(modules):
        if isinstance(module, nn.MaxPool2d):
            first, stop = 2 * first, 2 * stop
        elif isinstance(module, nn.Conv2d):  # 3 x 3
            first, stop = first - 1, stop + 1
    step = 2**pools
    first = max(0, first // step * step)
    stop = min(size, -(-stop // step) * step)
    above = first // step
    return slice(first, stop), slice(rows.start - above, rows.stop - above)


def workspace(
    network: DualTaskVGG, layer: str, device: torch.device, batch_size: int | None = None
) -> int:
    """Bytes of main memory that maps take on the way to a layer: input and output of a module."""
    if device.type != "cpu":
        return 0
    largest = _largest(network, list(network.features)[: layer_position(layer)], network.input_size)
    return 3 * 4 * (batch_size * largest if batch_size else max(largest, BATCH_VALUES["cpu"]))


def _largest(network: DualTaskVGG, modules: Sequence[nn.Module], rows: int) -> int:
    columns, largest = network.input_size, 0
    for module in modules:
        if isinstance(module, nn.MaxPool2d):
            rows, columns = rows // 2, columns // 2
        elif isinstance(module, nn.Conv2d):
            largest = max(largest, module.out_channels * rows * columns)
    return largest


def _modules(
    network: DualTaskVGG, layers: Sequence[str], device: torch.device, precision: str
) -> list[nn.Module]:
    """The part of the network up to the deepest of the layers, on the device."""
    part = network.features[: max(layer_position(layer) for layer in layers) + 1]
    if precision != "float32":
        part = copy.deepcopy(part)  # other steps need the weights as they are
    part = part.to(  # type: ignore[call-overload]
        device, PRECISIONS[precision], memory_format=torch.channels_last
    )
    return list(part)


def _on(batch: NDArray[np.float32], device: torch.device, precision: str) -> Tensor:
    return torch.from_numpy(batch).to(
        device, PRECISIONS[precision], memory_format=torch.channels_last
    )


def _run(
    modules: Sequence[nn.Module], maps: Tensor, read: Sequence[int] | dict[int, str]
) -> Iterator[tuple[int, Tensor]]:
    """Run the modules one by one; yield the maps after those that are read.

    Only one map is held at a time, and ReLUs work in place.
    """
    for position, module in enumerate(modules):
        maps = maps.relu_() if isinstance(module, nn.ReLU) else module(maps)
        if position in read:
            yield position, maps
