"""Forward pass: images in, responses out, by kernel or by unit.

Responses never need gradients. torch is imported here: the modules above import this one only
when a forward pass is due.
"""

from __future__ import annotations

import copy
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from app.errors import InputError
from app.models.modules import ModuleNetwork
from app.models.vgg import LAYERS, DualTaskVGG, layer_position
from app.stimuli.images import Images, Preprocessing, Progress

M = TypeVar("M", bound=nn.Module)

# Layers of the first are conv1 … conv13, after their ReLU; of the second, modules' names.
Network = DualTaskVGG | ModuleNetwork

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
# Multiplications that take as long as writing a byte and reading it again: two cores do some
# 8e10 a second, a plain disk 1.7e8 bytes.
PRODUCTS_A_BYTE = 500
READ_BYTES = 2**27  # at once


class Block(NamedTuple):
    """Some of a layer's units."""

    units: NDArray[np.int64]  # (units,) the number of each in the layer: channel, row, column
    responses: NDArray[np.float32]  # (images, units); used again for the next block


def choose_device(name: str, precision: str = "float32") -> torch.device:
    """`auto` is the GPU where there is one; InputError for what the device cannot do."""
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device={name} is unknown: it is one of auto, cpu, cuda")
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
    network: Network,
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
    forward = _forward(network, layers, device, precision)
    batch_size = batch_size or batch_of(device, forward.largest(network.input_size))
    parts: dict[str, dict[str, list[NDArray[np.float32]]]] = {
        layer: {name: [] for name in AGGREGATE} for layer in layers
    }
    with torch.inference_mode(), SteadySums():
        for batch in images.batches(preprocessing, batch_size):
            for layer, maps in forward.run(_on(batch, device, precision)):
                for name, aggregate in AGGREGATE.items():
                    parts[layer][name].append(aggregate(maps.float()).cpu().numpy())
            progress(len(batch))
    return {
        layer: {name: np.concatenate(arrays) for name, arrays in by_name.items()}
        for layer, by_name in parts.items()
    }


def by_unit(
    network: Network,
    layer: str,
    images: Images,
    preprocessing: Preprocessing,
    *,
    device: torch.device,
    rows_a_block: int | None = None,
    store: Path | None = None,
    batch_size: int | None = None,
    precision: str = "float32",
    progress: Progress = lambda _: None,
) -> Iterator[Block]:
    """The layer's units, `rows_a_block` rows of its maps at a time; None: all at once.

    A block runs the network on the strip of each image that its rows see and no more. With a
    folder as `store` there is one pass over whole images instead, which puts the layer's responses
    into a temporary file there, and blocks are read from it: see `worth_storing`. The file has no
    name, so the system removes it when this process ends, however it ends. InputError where the
    folder has no room for it.

    All blocks share one array: use a block before asking for the next. `progress` is told the
    images of each pass.
    """
    channels, height, width = map_shape(network, layer)
    parts = _parts(height, rows_a_block)
    row = width * channels
    forward = _forward(network, (layer,), device, precision)
    crops = images.crops(preprocessing)

    def maps_of(rows: slice) -> Iterator[tuple[int, Tensor]]:
        """The first image of each batch and its maps' rows (batch, rows, columns, channels)."""
        seen, inside = forward.strip(rows)
        together = batch_size or batch_of(device, forward.largest(seen.stop - seen.start))
        for start in range(0, len(images), together):
            batch = preprocessing.scale(crops[start : start + together, seen])
            with torch.inference_mode(), SteadySums():
                pixels = _on(batch.transpose(0, 3, 1, 2), device, precision)
                for _, maps in forward.run(pixels):
                    yield start, maps[:, :, inside].permute(0, 2, 3, 1)  # as they lie in memory
            progress(len(batch))

    def blocks(fill: Callable[[slice, NDArray[np.float32]], None]) -> Iterator[Block]:
        memory = np.empty(len(images) * max(p.stop - p.start for p in parts) * row, np.float32)
        number = np.arange(channels * height * width).reshape(channels, height, width)
        for rows in parts:
            count = (rows.stop - rows.start) * row
            responses = memory[: len(images) * count].reshape(len(images), count)
            fill(rows, responses)
            yield Block(number[:, rows].transpose(1, 2, 0).ravel(), responses)

    if store is None:

        def run_again(rows: slice, responses: NDArray[np.float32]) -> None:
            for start, maps in maps_of(rows):
                part = torch.from_numpy(responses[start : start + len(maps)])
                part.copy_(maps.reshape(len(maps), -1))

        yield from blocks(run_again)
        return

    with _temporary_file(store, f"the responses of {layer}", len(images) * height * row) as file:
        for start, maps in maps_of(slice(0, height)):
            for rows in parts:
                # Block after block, and in each image after image, so that it is read in one go.
                place = len(images) * rows.start + start * (rows.stop - rows.start)
                file.write(place * row, maps[:, rows].float().contiguous().cpu().numpy())
        yield from blocks(lambda rows, into: file.read(len(images) * rows.start * row, into))


class _Responses(NamedTuple):
    """float32 numbers in a file, by their place."""

    descriptor: int

    def write(self, place: int, numbers: NDArray[np.float32]) -> None:
        data, at = numbers.data.cast("B"), 4 * place
        while data:
            written = os.pwrite(self.descriptor, data, at)
            data, at = data[written:], at + written

    def read(self, place: int, into: NDArray[np.float32]) -> None:
        data, at = into.data.cast("B"), 4 * place
        while data:
            count = os.preadv(self.descriptor, [data[:READ_BYTES]], at)
            data, at = data[count:], at + count


@contextmanager
def _temporary_file(folder: Path, what: str, numbers: int) -> Iterator[_Responses]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            yield _Responses(file.fileno())
    except OSError as error:
        raise InputError(
            f"cannot keep {what} in {folder} ({error.strerror or error}): it needs "
            f"{numbers * 4 / 1e9:.1f} GB for a while; make room, choose another folder with "
            "cache=<folder>, or raise memory_gb"
        ) from error


def can_read(network: Network, layer: str) -> bool:
    """Whether the network has that layer; a sweep's other jobs may ask for what it lacks."""
    try:
        map_shape(network, layer)
    except InputError:
        return False
    return True


def worth_storing(
    network: Network, layer: str, images: int, rows_a_block: int, folder: Path
) -> bool:
    """Whether a temporary file costs less than running the network again for each block.

    Shallow layers see narrow strips, and their responses fill a disk: running them again costs
    less. Deep ones see nearly the whole image in every block. InputError where the folder's disk
    cannot be asked for its room.
    """
    channels, height, width = map_shape(network, layer)
    parts = _parts(height, rows_a_block)
    forward = _forward(network, (layer,))
    seen = (forward.strip(rows)[0] for rows in parts)
    again = sum(forward.products(rows.stop - rows.start) for rows in seen)
    extra = again - forward.products(network.input_size)
    size = 4 * channels * height * width
    while not folder.exists():
        folder = folder.parent
    room = shutil.disk_usage(folder).free
    return extra > PRODUCTS_A_BYTE * size and 1.1 * size * images < room


def _parts(height: int, rows_a_block: int | None) -> list[slice]:
    step = min(rows_a_block or height, height)
    return [slice(first, min(first + step, height)) for first in range(0, height, step)]


def blocks(height: int, rows_a_block: int | None) -> int:
    """How many blocks `by_unit` makes of a layer whose maps have so many rows."""
    return len(_parts(height, rows_a_block))


def map_shape(network: Network, layer: str) -> tuple[int, int, int]:
    """(channels, rows, columns) of a layer's map; InputError where there is no such layer."""
    if isinstance(network, ModuleNetwork):
        return network.shape(layer)
    if layer not in LAYERS:
        raise InputError(f"layer.name={layer} is no convolution of the dual-task networks")
    before = list(network.features)[: layer_position(layer)]
    side = network.input_size >> _poolings(before)
    return network.widths[LAYERS.index(layer)], side, side


def workspace(
    network: Network, layer: str, device: torch.device, batch_size: int | None = None
) -> int:
    """Bytes of main memory that maps take on the way to a layer: input and output of a module."""
    if device.type != "cpu":
        return 0
    largest = _forward(network, (layer,)).largest(network.input_size)
    return 3 * 4 * (batch_size * largest if batch_size else max(largest, BATCH_VALUES["cpu"]))


class SteadySums(TorchFunctionMode):
    """Inside it, the same input gives the same bits on any number of a CPU's threads.

    Linear layers and convolutions go to oneDNN, whose sums have an order of their own. Left to
    itself torch takes MKL for linear layers, and for 1 x 1 convolutions on one thread: MKL shares a
    sum among threads. What is not float32 on a CPU goes its usual way.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.backends.mkldnn.is_available():
            if function is functional.linear:
                return _linear(*args, **kwargs)
            if function is torch.conv2d:
                return _conv2d(*args, **kwargs)
        return function(*args, **kwargs)


def _linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if not _plain(input):
        return functional.linear(input, weight, bias)
    return functional.linear(input.to_mkldnn(), weight, bias).to_dense()


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    if isinstance(padding, str) or not _plain(input):
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    step, pad, apart = (
        [value] * 2 if isinstance(value, int) else list(value)
        for value in (stride, padding, dilation)
    )
    return torch.mkldnn_convolution(input, weight, bias, pad, step, apart, groups)


def _plain(input: Tensor) -> bool:
    return (input.device.type, input.dtype, input.is_mkldnn) == ("cpu", torch.float32, False)


# ------------------------------------------------------------------------------ the pass


class _Forward(Protocol):
    """A forward pass as deep as the deepest of some layers, and what its parts cost."""

    def run(self, pixels: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Each layer and its maps (images, channels, rows, columns)."""

    def strip(self, rows: slice) -> tuple[slice, slice]:
        """The rows of the image that rows of the layer's map need, and where the latter then lie
        in the map of that strip."""

    def largest(self, rows: int) -> int:
        """Values of the largest map of a strip of so many rows of one image."""

    def products(self, rows: int) -> int:
        """Multiplications for such a strip."""


def _forward(
    network: Network,
    layers: Sequence[str],
    device: torch.device | None = None,
    precision: str = "float32",
) -> _Forward:
    """The pass, on a device where one is given; None leaves the weights where they are."""
    if isinstance(network, ModuleNetwork):
        return _ModulePass(_on_device(network, device, precision), layers)
    part = network.features[: max(layer_position(layer) for layer in layers) + 1]
    return _ConvolutionPass(
        list(_on_device(part, device, precision).children()),
        {layer_position(layer): layer for layer in layers},
        network.input_size,
    )


def _on_device(part: M, device: torch.device | None, precision: str) -> M:
    if device is None:
        return part
    if precision != "float32":
        part = copy.deepcopy(part)  # other steps need the weights as they are
    return part.to(  # type: ignore[call-overload]
        device, PRECISIONS[precision], memory_format=torch.channels_last
    )


@dataclass(frozen=True)
class _ConvolutionPass:
    """Through convolutions, ReLUs and poolings one by one, on as little as a strip of the image.

    Only one map is held at a time, and ReLUs work in place.
    """

    modules: Sequence[nn.Module]
    read: Mapping[int, str]
    size: int

    def run(self, pixels: Tensor) -> Iterator[tuple[str, Tensor]]:
        maps = pixels
        for position, module in enumerate(self.modules):
            maps = maps.relu_() if isinstance(module, nn.ReLU) else module(maps)
            if position in self.read:
                yield self.read[position], maps

    def strip(self, rows: slice) -> tuple[slice, slice]:
        return strip(self.modules, rows, self.size)

    def largest(self, rows: int) -> int:
        columns, largest = self.size, 0
        for module in self.modules:
            if isinstance(module, nn.MaxPool2d):
                rows, columns = rows // 2, columns // 2
            elif isinstance(module, nn.Conv2d):
                largest = max(largest, module.out_channels * rows * columns)
        return largest

    def products(self, rows: int) -> int:
        columns, products = self.size, 0
        for module in self.modules:
            if isinstance(module, nn.MaxPool2d):
                rows, columns = rows // 2, columns // 2
            elif isinstance(module, nn.Conv2d):
                products += module.weight.numel() * rows * columns
        return products


@dataclass(frozen=True)
class _ModulePass:
    """Through any network, always on whole images."""

    network: ModuleNetwork
    layers: Sequence[str]

    def run(self, pixels: Tensor) -> Iterator[tuple[str, Tensor]]:
        return self.network.read(self.layers, pixels)

    def strip(self, rows: slice) -> tuple[slice, slice]:
        return slice(0, self.network.input_size), rows

    def largest(self, rows: int) -> int:
        return self.network.largest()

    def products(self, rows: int) -> int:
        return self.network.products()


def strip(modules: Sequence[nn.Module], rows: slice, size: int) -> tuple[slice, slice]:
    """The rows of the image that `rows` of the last map see, and where these are in its map.

    The strip is padded where it is cut as where the image ends, so the outermost rows of its maps
    are wrong; it is wide enough that those asked for are not. It begins and ends on a multiple
    of what the poolings divide by, for they must pair the same rows as in the whole image.
    """
    first, stop = rows.start, rows.stop
    for module in reversed(modules):
        if isinstance(module, nn.MaxPool2d):
            first, stop = 2 * first, 2 * stop
        elif isinstance(module, nn.Conv2d):  # 3 x 3
            first, stop = first - 1, stop + 1
    step = 2 ** _poolings(modules)
    first = max(0, first // step * step)
    stop = min(size, -(-stop // step) * step)
    above = first // step
    return slice(first, stop), slice(rows.start - above, rows.stop - above)


def _poolings(modules: Sequence[nn.Module]) -> int:
    return sum(isinstance(module, nn.MaxPool2d) for module in modules)


def _on(batch: NDArray[np.float32], device: torch.device, precision: str) -> Tensor:
    return torch.from_numpy(batch).to(
        device, PRECISIONS[precision], memory_format=torch.channels_last
    )
