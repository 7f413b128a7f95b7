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

# The numbers (units,) of some units in their layer, in the order channel, row, column, and their
# responses (images, units). All blocks share one array: use one before asking for the next.
Block = tuple[NDArray[np.int64], NDArray[np.float32]]


@dataclass(frozen=True)
class Units:
    """The single units of a layer, by their number."""

    network: Network
    layer: str
    # A block of all, by the digest of the images: they are scored first, certified next.
    kept: dict[str, Block] = field(default_factory=dict, init=False, compare=False)

    def __memo__(self) -> Any:
        """What the responses depend on."""
        return self.network, self.layer

    def __len__(self) -> int:
        """How many there are."""
        return math.prod(self.network.map_shape(self.layer))

    def read(self, images: Images, hardware: Hardware, bytes_a_unit: int = 0) -> Iterator[Block]:
        """Read them in blocks that the memory budget allows; each unit is in one of them.

        `bytes_a_unit` is what is kept of every unit while blocks are read. TooLittleMemory where
        not even one row of the maps fits `hardware.memory_gb`, with the smallest budget that works.
        """
        shape = channels, height, columns = self.network.map_shape(self.layer)
        forward = plan_pass(self.network, (self.layer,), hardware)
        prepare = self.network.preprocessing
        decoded = len(images) * prepare.size**2 * 3
        # A module's input and output, while it runs on the CPU.
        largest = forward.largest(prepare.size)
        on_cpu = hardware.device.type == "cpu"
        workspace = 3 * 4 * hardware.batch(largest) * largest if on_cpu else 0
        known = self.kept.pop(images.digest, None)
        fixed = measure_memory() - (known[1].nbytes if known else 0), decoded + workspace
        what = f"the units of {self.layer} of {self.network.settings.name}"
        together = fit_rows(hardware.memory_gb, shape, len(images), fixed, bytes_a_unit, what)
        if known and together == height:
            yield known
            return
        del known
        parts = [slice(row, min(row + together, height)) for row in range(0, height, together)]
        crops = images.crops(prepare)
        memory = np.empty(len(images) * min(together, height) * channels * columns, np.float32)
        number = np.arange(math.prod(shape)).reshape(shape)
        with progress_bar(f"{self.layer} units", len(parts) * len(images)) as done:
            for rows in parts:
                seen, inside = forward.strip(rows)
                units = number[:, rows].transpose(1, 2, 0).ravel()  # as maps lie in memory
                responses = memory[: len(images) * len(units)].reshape(len(images), len(units))
                batch = hardware.batch(forward.largest(seen.stop - seen.start))
                for start in range(0, len(images), batch):
                    shown = prepare.scale(crops[start : start + batch, seen])
                    with torch.inference_mode():
                        pixels = to_device(shown.transpose(0, 3, 1, 2), hardware)
                        ((_, maps),) = forward.run(pixels)
                        found = maps[:, :, inside].permute(0, 2, 3, 1).reshape(len(shown), -1)
                        torch.from_numpy(responses[start : start + batch]).copy_(found)
                    done(len(shown))
                if len(parts) == 1:
                    self.kept[images.digest] = units, responses
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
    units = math.prod(shape)
    # A block's scores exist twice more: chunk by chunk, and joined.
    row = channels * columns * (images * 4 + 2 * bytes_a_unit)
    held, passing = fixed
    held += int(SCORING_BYTES) + bytes_a_unit * units
    findings = held + FINDINGS_BYTES * units
    free = (1 - SPARE) * budget * GB
    rows = int((free - held - passing) // row)
    if rows < 1 or findings > free:
        needed = max(held + passing + row, findings) / (1 - SPARE) / GB
        raise TooLittleMemory(
            f"memory_gb={budget:g} is too little for {what}: "
            f"at least {math.ceil(10 * needed) / 10:g} is needed"
        )
    return min(rows, height)
