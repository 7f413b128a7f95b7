"""Responses of single units, as many at a time as memory holds.

A layer of millions of units is read a block of rows of its maps at a time. A block runs the network
on the strip of each image that its rows see and no more.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from app.errors import TooLittleMemory
from app.machine import GB, measure_memory
from app.progress import progress_bar
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

Block = tuple[NDArray[np.int64], NDArray[np.float32]]  # see `read_units`


@dataclass(frozen=True)
class Units:
    """The single units of a layer, by their number."""

    network: Network
    layer: str
    # Responses to some images, by their digest: scored first, certified next.
    kept: dict[str, list[Block]] = field(default_factory=dict, init=False, compare=False)

    def __memo__(self) -> Any:
        """What the responses depend on."""
        return self.network, self.layer

    def __len__(self) -> int:
        """How many there are."""
        return math.prod(self.network.map_shape(self.layer))

    def read(self, images: Images, hardware: Hardware, bytes_a_unit: int = 0) -> Iterator[Block]:
        """Read them in blocks; see `read_units`."""
        kept = self.kept.setdefault(images.digest, [])
        return read_units(self.network, self.layer, images, hardware, bytes_a_unit, kept)


def read_units(
    network: Network,
    layer: str,
    images: Images,
    hardware: Hardware,
    bytes_a_unit: int = 0,
    kept: list[Block] | None = None,
) -> Iterator[Block]:
    """The layer's units in blocks that the memory budget allows; each unit is in one of them.

    A block is the numbers (units,) of its units in the layer, in the order channel, row, column,
    and their responses (images, units). All blocks share one array: use a block before asking for
    the next. `bytes_a_unit` is what is kept of every unit while blocks are read. A block of all
    units stays in `kept`, and is taken from there the next time. TooLittleMemory where not even one
    row of the maps fits `hardware.memory_gb`, with the smallest budget that works.
    """
    shape = channels, height, columns = network.map_shape(layer)
    forward = plan_pass(network, (layer,), hardware)
    decoded = len(images) * network.input_size**2 * 3
    # A module's input and output, while it runs on the CPU.
    largest = forward.largest(network.input_size)
    workspace = 3 * 4 * hardware.batch(largest) * largest if hardware.device.type == "cpu" else 0
    known = kept.pop() if kept else None
    fixed = measure_memory() - (known[1].nbytes if known else 0)
    what = f"the units of {layer} of {network.settings.name}"
    asked = hardware.memory_gb, shape, len(images), (fixed, decoded + workspace)
    together = fit_rows(*asked, bytes_a_unit, what)
    if known and together == height:
        yield known
        return
    del known
    parts = [slice(first, min(first + together, height)) for first in range(0, height, together)]
    crops = images.crops(network.preprocessing)
    memory = np.empty(len(images) * min(together, height) * channels * columns, np.float32)
    number = np.arange(math.prod(shape)).reshape(shape)
    with progress_bar(f"{layer} units", len(parts) * len(images)) as done:
        for rows in parts:
            seen, inside = forward.strip(rows)
            units = number[:, rows].transpose(1, 2, 0).ravel()  # as maps lie in memory
            responses = memory[: len(images) * len(units)].reshape(len(images), len(units))
            batch = hardware.batch(forward.largest(seen.stop - seen.start))
            for start in range(0, len(images), batch):
                shown = network.preprocessing.scale(crops[start : start + batch, seen])
                with torch.inference_mode():
                    pixels = to_device(shown.transpose(0, 3, 1, 2), hardware)
                    ((_, maps),) = forward.run(pixels)
                    found = maps[:, :, inside].permute(0, 2, 3, 1).reshape(len(shown), -1)
                    torch.from_numpy(responses[start : start + batch]).copy_(found)
                done(len(shown))
            if kept is not None and len(parts) == 1:
                kept.append((units, responses))
            yield units, responses


def fit_rows(
    budget: float,
    shape: tuple[int, int, int],
    images: int,
    fixed: tuple[int, int],
    bytes_a_unit: int,
    what: str,
) -> int:
    """How many rows of a layer's maps can be held for all images at once.

    `budget` is in GB (10⁹ bytes) of resident memory for the whole process, `shape` the layer's
    (channels, rows, columns). `fixed` bytes are held whatever the rows, and while blocks are read;
    `bytes_a_unit` of each unit's scores, which are kept. TooLittleMemory where not even one row
    fits, with the smallest budget that works; it says `what` is scored.
    """
    channels, height, columns = shape
    scores = bytes_a_unit * math.prod(shape)
    # A block's scores exist twice more: chunk by chunk, and joined.
    row = channels * columns * (images * 4 + 2 * bytes_a_unit)
    held, passing = fixed
    held += int(SCORING_BYTES) + scores
    findings = held + FINDINGS_BYTES * math.prod(shape)
    free = (1 - SPARE) * budget * GB
    rows = int((free - held - passing) // row)
    if rows < 1 or findings > free:
        needed = max(held + passing + row, findings) / (1 - SPARE) / GB
        raise TooLittleMemory(
            f"memory_gb={budget:g} is too little for {what}: "
            f"at least {math.ceil(10 * needed) / 10:g} is needed"
        )
    return min(rows, height)
