"""Responses of single units, as many at a time as memory holds.

A layer of millions of units is read a block of rows of its maps at a time. A block runs the network
on the strip of each image that its rows see and no more; deep layers, which see nearly the whole
image in every block, are run once into a temporary file, from which blocks are read.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.errors import InputError
from app.machine import GB, measure_memory
from app.progress import progress_bar
from app.responses.hardware import BATCH_VALUES
from app.responses.passes import plan_pass, to_device

if TYPE_CHECKING:
    from app.models.network import Network
    from app.responses.hardware import Hardware
    from app.stimuli.images import Images

# What a run needs for each unit once all are scored: selections, rank correlations, figures and
# the table on its way to disk. Measured with four metrics.
FINDINGS_BYTES = 200
SCORING_BYTES = 0.25 * GB  # compiled loops, chunks in work
SPARE = 0.06  # of the budget, for what no estimate foresees
# Multiplications that take as long as writing a byte and reading it again: two cores do some
# 8e10 a second, a plain disk 1.7e8 bytes.
PRODUCTS_A_BYTE = 500
READ_BYTES = 2**27  # at once


class Block(NamedTuple):
    """Some of a layer's units."""

    units: NDArray[np.int64]  # (units,) the number of each in the layer: channel, row, column
    responses: NDArray[np.float32]  # (images, units); used again for the next block


def read_units(
    network: Network, layer: str, images: Images, hardware: Hardware, bytes_a_unit: int = 0
) -> Iterator[Block]:
    """The layer's units in blocks that the memory budget allows; each unit is in one of them.

    All blocks share one array: use a block before asking for the next.

    Parameters
    ----------
    network, layer, images
        What is read, and what it is shown.
    hardware
        Its `memory_gb` bounds a block, its `scratch` is where a temporary file goes.
    bytes_a_unit
        What is kept of every unit while blocks are read.

    Raises
    ------
    InputError
        Where not even one row of the maps fits the budget, with the smallest that works; where the
        folder has no room for the temporary file.
    """
    shape = network.map_shape(layer)
    rows = fit_rows(
        hardware.memory_gb,
        shape,
        len(images),
        fixed=measure_memory()
        + len(images) * network.input_size**2 * 3  # the decoded images
        + measure_workspace(network, layer, hardware),
        bytes_a_unit=bytes_a_unit,
        what=f"the units of {layer} of {network.name}",
    )
    parts = split_rows(shape[1], rows)
    store = hardware.device.type == "cpu" and is_worth_storing(
        network, layer, len(images), parts, hardware.scratch
    )
    passes = 1 if store else len(parts)
    with progress_bar(f"{layer} units", passes * len(images)) as done:
        reader = _Reader(network, layer, images, hardware, done)
        yield from reader.read_file(parts) if store else reader.read_strips(parts)


class _Reader:
    """One layer's maps, a strip of rows at a time."""

    def __init__(
        self,
        network: Network,
        layer: str,
        images: Images,
        hardware: Hardware,
        done: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.layer, self.hardware, self.done = layer, hardware, done
        self.images, self.preprocessing = len(images), network.preprocessing
        self.shape = network.map_shape(layer)
        self.forward = plan_pass(network, (layer,), hardware)
        self.crops = images.crops(self.preprocessing)

    @property
    def row(self) -> int:
        """Values of one row of one image's maps."""
        return self.shape[0] * self.shape[2]

    def maps(self, rows: slice) -> Iterator[tuple[int, Tensor]]:
        """The first image of each batch and its maps' rows (batch, rows, columns, channels)."""
        seen, inside = self.forward.strip(rows)
        together = self.hardware.batch(self.forward.largest(seen.stop - seen.start))
        for start in range(0, self.images, together):
            batch = self.preprocessing.scale(self.crops[start : start + together, seen])
            with torch.inference_mode():
                pixels = to_device(batch.transpose(0, 3, 1, 2), self.hardware)
                for _, maps in self.forward.run(pixels):
                    yield start, maps[:, :, inside].permute(0, 2, 3, 1)  # as they lie in memory
            self.done(len(batch))

    def read_strips(self, parts: list[slice]) -> Iterator[Block]:
        """Run the network again for each block."""

        def fill(rows: slice, responses: NDArray[np.float32]) -> None:
            for start, maps in self.maps(rows):
                part = torch.from_numpy(responses[start : start + len(maps)])
                part.copy_(maps.reshape(len(maps), -1))

        return self._blocks(parts, fill)

    def read_file(self, parts: list[slice]) -> Iterator[Block]:
        """Run the network once into a temporary file, and read blocks from there.

        The file has no name, so the system removes it when this process ends, however it ends.
        """
        values = self.images * self.row
        with _temporary_file(
            self.hardware.scratch, f"the responses of {self.layer}", values * self.shape[1]
        ) as file:
            for start, maps in self.maps(slice(0, self.shape[1])):
                for rows in parts:
                    # Block after block, and in each image after image: it is read in one go.
                    place = values * rows.start + start * (rows.stop - rows.start) * self.row
                    file.write(place, maps[:, rows].float().contiguous().cpu().numpy())
            yield from self._blocks(parts, lambda rows, into: file.read(values * rows.start, into))

    def _blocks(
        self, parts: list[slice], fill: Callable[[slice, NDArray[np.float32]], None]
    ) -> Iterator[Block]:
        most = max(rows.stop - rows.start for rows in parts)
        memory = np.empty(self.images * most * self.row, np.float32)
        number = np.arange(math.prod(self.shape)).reshape(self.shape)
        for rows in parts:
            count = (rows.stop - rows.start) * self.row
            responses = memory[: self.images * count].reshape(self.images, count)
            fill(rows, responses)
            yield Block(number[:, rows].transpose(1, 2, 0).ravel(), responses)


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


def is_worth_storing(
    network: Network, layer: str, images: int, parts: list[slice], folder: Path
) -> bool:
    """Whether a temporary file costs less than running the network again for each block.

    Shallow layers see narrow strips, and their responses fill a disk: running them again costs
    less. Deep ones see nearly the whole image in every block.
    """
    forward = plan_pass(network, (layer,))
    seen = (forward.strip(rows)[0] for rows in parts)
    again = sum(forward.products(rows.stop - rows.start) for rows in seen)
    extra = again - forward.products(network.input_size)
    size = 4 * math.prod(network.map_shape(layer))
    while not folder.exists():
        folder = folder.parent
    return extra > PRODUCTS_A_BYTE * size and 1.1 * size * images < shutil.disk_usage(folder).free


def split_rows(height: int, rows_a_block: int) -> list[slice]:
    """A layer's rows in blocks of so many; the last may have fewer."""
    step = min(rows_a_block, height)
    return [slice(first, min(first + step, height)) for first in range(0, height, step)]


def measure_workspace(network: Network, layer: str, hardware: Hardware) -> int:
    """Bytes of main memory that maps take on the way to a layer: input and output of a module."""
    if hardware.device.type != "cpu":
        return 0
    largest = plan_pass(network, (layer,)).largest(network.input_size)
    batch = hardware.batch_size
    return 3 * 4 * (batch * largest if batch else max(largest, BATCH_VALUES["cpu"]))


def fit_rows(
    budget: float,
    shape: tuple[int, int, int],
    images: int,
    *,
    fixed: int,
    bytes_a_unit: int,
    what: str,
) -> int:
    """How many rows of a layer's maps can be held for all images at once.

    Parameters
    ----------
    budget
        GB (10⁹ bytes) of resident memory for the whole process.
    shape
        (channels, rows, columns) of the layer.
    images
        How many there are.
    fixed
        Bytes held whatever the rows, scores not included.
    bytes_a_unit
        Of each unit's scores, which are kept.
    what
        Is scored, for the message.

    Raises
    ------
    InputError
        With the smallest budget that works, where not even one row fits.
    """
    channels, height, columns = shape
    scores = bytes_a_unit * math.prod(shape)
    # A block's scores exist twice more: chunk by chunk, and joined.
    row = channels * columns * (images * 4 + 2 * bytes_a_unit)
    fixed = fixed + int(SCORING_BYTES)
    findings = fixed + scores + FINDINGS_BYTES * math.prod(shape)
    free = (1 - SPARE) * budget * GB
    rows = int((free - fixed - scores) // row)
    if rows < 1 or findings > free:
        needed = max(fixed + scores + row, findings) / (1 - SPARE) / GB
        raise InputError(
            f"memory_gb={budget:g} is too little for {what}: "
            f"at least {math.ceil(10 * needed) / 10:g} is needed"
        )
    return min(rows, height)
