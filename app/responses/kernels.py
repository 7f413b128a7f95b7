"""Responses of kernels: maps, each made one number an image, read once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.errors import InputError
from app.progress import progress_bar
from app.responses.passes import collect, plan_pass, to_device
from app.responses.units import Units

if TYPE_CHECKING:
    from app.memo import Memo
    from app.models.network import Network
    from app.responses.hardware import Hardware
    from app.stimuli.images import Images


def measure_norm(maps: Tensor) -> Tensor:
    """The Euclidean norm (images, kernels) of maps, also where float32 cannot hold its square."""
    # Four times faster than torch.linalg.vector_norm on maps that lie channels last.
    norm = maps.square().sum(dim=(2, 3)).sqrt()
    unsure = ~((norm > 1e-15) & (norm < torch.inf))
    norm[unsure] = torch.linalg.vector_norm(maps[unsure], dim=(1, 2), dtype=torch.float64).to(norm)
    return norm


# How a kernel's map, (images, kernels, rows, columns), becomes one number an image.
AGGREGATE: dict[str, Callable[[Tensor], Tensor]] = {
    "mean": lambda maps: maps.mean(dim=(2, 3)),
    "l2": measure_norm,
    "max": lambda maps: maps.amax(dim=(2, 3)),
}

Responses = dict[str, NDArray[np.float32]]  # (images, kernels) by aggregation


def read_kernels(
    layers: Mapping[str, str], network: Network, images: Images, hardware: Hardware
) -> dict[str, Responses]:
    """The layers' kernels in all aggregations, from one forward pass as deep as the deepest.

    Those of the `layers` (each by its name) that the network cannot read are left out, InputError
    where it can read none. Half precision is that of weights and maps; aggregation is in float32.
    """
    readable = []
    for layer in layers:
        with suppress(InputError):  # a sweep's other jobs may ask for what the network lacks
            network.map_shape(layer)
            readable.append(layer)
    if not readable:
        network.map_shape(next(iter(layers)))  # which says why not
    forward = plan_pass(network, readable, hardware)
    batch_size = hardware.batch(forward.largest(forward.size))
    with torch.inference_mode(), progress_bar("responses of kernels", len(images)) as done:

        def read(batch: NDArray[np.float32]) -> dict[tuple[str, str], NDArray[np.float32]]:
            part = {
                (layer, name): aggregate(maps.float()).cpu().numpy()
                for layer, maps in forward.run(to_device(batch, hardware))
                for name, aggregate in AGGREGATE.items()
            }
            done(len(batch))
            return part

        batches = images.batches(network.preprocessing, batch_size)
        found = collect(map(read, batches), len(images))
    return {layer: {name: found[layer, name] for name in AGGREGATE} for layer in readable}


@dataclass(frozen=True)
class Reader:
    """One layer of a network as a run reads it: what was read before is not read again."""

    network: Network
    layer: str
    hardware: Hardware
    memo: Memo
    others: tuple[str, ...] = ()  # layers that other jobs of the sweep will ask for
    aggregations = tuple(AGGREGATE)  # what makes its maps one number an image

    @functools.cached_property
    def units(self) -> Units:
        """The layer's single units, read once to be scored and to be certified."""
        return Units(self.network, self.layer)

    def stream(self, aggregation: str) -> Units | None:
        """What brings single units block by block; None: kernels are read at once."""
        return self.units if aggregation == "unit" else None

    def read(self, images: Images) -> Responses:
        """The responses of the layer's kernels, by aggregation.

        Where they are not stored, one forward pass reads those of the other layers, too.
        """
        layers = {name: name for name in (self.layer, *self.others)}
        asked = self.network, images, self.hardware
        return self.memo.each(read_kernels, layers, [self.layer], *asked)[self.layer]
