"""Does the network need a kernel? Set its map to zero and see what remains of its two tasks.

Effects are read on held-out images of the network's own classes. The single classifier decides
over faces and objects together, as in Dobs et al. (2022), doi:10.1126/sciadv.abl8913.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from app.choices import LAYERS, TASKS
from app.findings.following import Following
from app.models.vgg import POOLED
from app.progress import progress_bar
from app.responses.passes import plan_pass, to_device

if TYPE_CHECKING:
    from app.models.network import Network
    from app.responses.hardware import Hardware
    from app.stimuli.classes import OwnClasses

MAPS_VALUES = 2**22  # of the layer's maps, for as many images as get all their lesions together
KEPT_BYTES = 2**31  # of the maps of all images, which lesion after lesion goes on from
STORED_BYTES = 2**27  # of these, where other runs are to find them too


class TaskPerformance(NamedTuple):
    """What a network achieves in one task: a number each, or an array over lesions."""

    loss: NDArray[np.float64]  # mean cross-entropy, nats
    top1: NDArray[np.float64]  # accuracy, 0 … 1


class Performance(NamedTuple):
    """What a network achieves in both tasks; NaN for a task without images."""

    face: TaskPerformance
    object: TaskPerformance

    def of(self, task: str) -> TaskPerformance:
        """That of one of `app.choices.TASKS`."""
        found: TaskPerformance = getattr(self, task)
        return found

    def by_measure(self, tasks: Sequence[str] = TASKS) -> dict[str, NDArray[np.float64]]:
        """By `app.choices.MEASURES`: `face_loss`, `face_top1` and so on."""
        return {
            f"{task}_{measure}": values
            for task in tasks
            for measure, values in self.of(task)._asdict().items()
        }

    @classmethod
    def unpack(cls, values: NDArray[np.float64]) -> Performance:
        """From an array (tasks, measures, …), in the order of the fields."""
        return cls(*(TaskPerformance(*task) for task in values))

    @classmethod
    def stack(cls, parts: Sequence[Performance]) -> Performance:
        """Arrays (parts,) of single numbers."""
        values = np.array(parts, dtype=np.float64).reshape(len(parts), len(TASKS), 2)
        return cls.unpack(values.transpose(1, 2, 0))


class LesionEffects(NamedTuple):
    """What remains of both tasks without each kernel, arrays (kernels,), and without any."""

    without: Performance
    intact: Performance


class Maps(NamedTuple):
    """A layer's maps as the next operation with weights sees them: pooled where it pools."""

    values: NDArray[np.float32]  # (images, rows, columns, kernels)


def _compute(step: Callable[..., Any], *arguments: Any) -> Any:
    return step(*arguments)


@dataclass(frozen=True, eq=False)
class LesionSite:
    """A layer to lesion, and the images that say what remains. What lesions share is kept.

    Parameters
    ----------
    network
        A dual-task network, in evaluation mode; its weights are loaded when a lesion is due.
    layer
        conv1 … conv13.
    own
        Images of the network's own classes.
    hardware
        What lesions run on, always in float32.
    remember
        Called with `read_maps` and this site: a memo, where other runs are to find small maps.
    """

    network: Network
    layer: str
    own: OwnClasses
    hardware: Hardware
    remember: Callable[..., Any] = _compute

    def __memo__(self) -> dict[str, Any]:
        """What effects depend on."""
        return {
            "network": self.network,
            "layer": self.layer,
            "images": self.own.images.digest,
            "outputs": self.own.outputs,
            "face_classes": self.own.face_classes,
            "hardware": self.hardware,
        }

    @property
    def kernels(self) -> int:
        """How many the layer has."""
        return self.shape[0]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(kernels, rows, columns) of the layer's map, pooled where a pooling follows."""
        kernels, side, _ = self.network.map_shape(self.layer)
        side //= 2 if LAYERS.index(self.layer) + 1 in POOLED else 1
        return kernels, side, side

    @functools.cached_property
    def following(self) -> Following:
        """What follows the layer."""
        return Following(self.network, self.layer, self.hardware.device)

    @functools.cached_property
    def maps(self) -> Tensor | None:
        """The maps of all images, (images, kernels, rows, columns); None: too large to keep."""
        size = 4 * len(self.own.images) * math.prod(self.shape)
        if size > KEPT_BYTES:
            return None
        how = self.remember if size <= STORED_BYTES else _compute
        values: NDArray[np.float32] = how(read_maps, self).values
        return torch.from_numpy(values).permute(0, 3, 1, 2).to(self.hardware.device)

    def batches(self) -> Iterator[tuple[slice, Tensor]]:
        """The maps of some images after others, and which these are; in inference mode."""
        if self.maps is None:
            yield from self.read()
            return
        together = max(1, MAPS_VALUES // math.prod(self.shape))
        for first in range(0, len(self.maps), together):
            yield slice(first, first + together), self.maps[first : first + together]

    def read(self) -> Iterator[tuple[slice, Tensor]]:
        """The same from a forward pass."""
        hardware = replace(self.hardware, precision="float32")
        forward = plan_pass(self.network, [self.layer], hardware)
        batch_size = hardware.batch(forward.largest(self.network.input_size))
        done = 0
        for batch in self.own.images.batches(self.network.preprocessing, batch_size):
            ((_, maps),) = forward.run(to_device(batch, hardware))
            yield slice(done, done := done + len(batch)), self.following.pooling(maps)


def read_maps(site: LesionSite) -> Maps:
    """The layer's maps of all images, from one forward pass."""
    kernels, rows, columns = site.shape
    images = len(site.own.images)
    values = np.empty((images, rows, columns, kernels), dtype=np.float32)
    with torch.inference_mode(), progress_bar(f"{site.layer} maps", images) as progress:
        for shown, maps in site.read():
            values[shown] = maps.permute(0, 2, 3, 1).cpu().numpy()
            progress(len(maps))
    return Maps(values)


def lesion_kernels(
    site: LesionSite, dropped: Sequence[int] = (), kernels: Sequence[int] | None = None
) -> LesionEffects:
    """Lesion the layer's kernels one at a time.

    Parameters
    ----------
    site
        Where.
    dropped
        Kernels that are lesioned throughout. The "intact" performance is then that with these alone
        lesioned, and so is a dropped kernel's own.
    kernels
        Those to lesion, in the order of the effects; None: all.
    """
    kernels = range(site.kernels) if kernels is None else kernels
    (found,) = _lesion(site, [dropped], kernels)
    return found


def lesion_sets(sets: Mapping[str, Sequence[int]], site: LesionSite) -> dict[str, Performance]:
    """What remains of both tasks without each set of kernels, lesioned together."""
    found = _lesion(site, list(sets.values()), ())
    return {name: effects.intact for name, effects in zip(sets, found, strict=True)}


def _lesion(
    site: LesionSite, sets: Sequence[Sequence[int]], kernels: Sequence[int]
) -> list[LesionEffects]:
    """As `lesion_kernels`, for each set of kernels that are dropped throughout."""
    losses = np.empty((len(sets), 1 + len(kernels), len(site.own.images)))
    right = np.empty(losses.shape, dtype=bool)
    device = site.hardware.device
    with torch.inference_mode(), progress_bar(f"lesioning {site.layer}", right.size) as progress:
        for shown, maps in site.batches():
            answers = site.own.outputs[shown]
            for place, dropped in enumerate(sets):
                left = maps.index_fill(1, torch.tensor([*dropped], device=device).long(), 0)
                found = site.following.judge_each(left, kernels, answers, progress)
                losses[place, :, shown], right[place, :, shown] = found
    faces = site.own.outputs < site.own.face_classes
    with np.errstate(invalid="ignore"):  # a task without images has no performance: NaN
        averages = [
            [values[..., shown].sum(axis=-1) / shown.sum() for values in (losses, right)]
            for shown in (faces, ~faces)
        ]
    return [
        LesionEffects(Performance.unpack(each[..., 1:]), Performance.unpack(each[..., 0]))
        for each in np.moveaxis(np.array(averages), 2, 0)
    ]
