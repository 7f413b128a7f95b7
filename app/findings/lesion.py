"""Does the network need a kernel? Set its map to zero and see what remains of its two tasks.

Effects are read on held-out images of the network's own classes. The single classifier decides
over faces and objects together, as in Dobs et al. (2022), doi:10.1126/sciadv.abl8913.

A lesion repeats only what it changes. The first operation with weights after the layer is linear
in each kernel's map (a max pooling between them acts on each map alone), so its sums are computed
once for all lesions and each lesion subtracts its kernel's contribution; only what follows is run
again. An image in which the kernel is silent anyway keeps its result.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from app.choices import LAYERS, MEASURES
from app.models.vgg import POOLED, layer_position
from app.progress import Progress, progress_bar
from app.responses.passes import plan_pass, to_device

if TYPE_CHECKING:
    from app.memo import Memo
    from app.models.network import Network
    from app.responses.hardware import Hardware
    from app.stimuli.classes import OwnClasses

# Of the maps of all images, which are stored and lesion after lesion goes on from.
KEPT_BYTES = 2**29
# Values of the maps of as many images, and of the largest activation of as many lesions, as are
# run together. Modest tensors are fastest on a CPU; a GPU wants more to do at once.
GROUP_VALUES = {"cpu": 2**21, "cuda": 2**27}


class Performance(NamedTuple):
    """What a network achieves in both tasks: a number each, or an array over lesions.

    The fields are `app.choices.MEASURES`; NaN for a task without images.
    """

    face_loss: NDArray[np.float64]  # mean cross-entropy, nats
    face_top1: NDArray[np.float64]  # accuracy, 0 … 1
    object_loss: NDArray[np.float64]
    object_top1: NDArray[np.float64]

    def of(self, *tasks: str) -> dict[str, NDArray[np.float64]]:
        """By measure, of some of `app.choices.TASKS`."""
        return {name: each for name, each in self._asdict().items() if name.startswith(tasks)}

    @classmethod
    def stack(cls, parts: Sequence[Performance]) -> Performance:
        """Arrays (parts,) of single numbers."""
        return cls(*np.array(parts, dtype=np.float64).reshape(len(parts), len(MEASURES)).T)


class LesionEffects(NamedTuple):
    """What remains of both tasks without each kernel, arrays (kernels,), and without any."""

    without: Performance
    intact: Performance
    # (kernels, images) of each lesion by itself; None where others are dropped throughout
    losses: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class LesionSite:
    """A layer to lesion, and the images that say what remains. What lesions share is kept."""

    network: Network  # dual-task; its weights are loaded when a lesion is due
    layer: str  # conv1 … conv13
    own: OwnClasses  # images of the network's own classes
    hardware: Hardware  # what lesions run on, always in float32
    memo: Memo

    def __memo__(self) -> Any:
        """What effects depend on."""
        own = self.own.images.digest, self.own.outputs, self.own.face_classes
        return self.network, self.layer, own, self.hardware

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
        if 4 * len(self.own.images) * math.prod(self.shape) > KEPT_BYTES:
            return None
        maps = torch.from_numpy(self.memo(read_maps, self))
        return maps.permute(0, 3, 1, 2).to(self.hardware.device)

    def batches(self) -> Iterator[Tensor]:
        """The maps of some images after others; in inference mode."""
        if self.maps is None:
            yield from self.read()
        else:
            together = GROUP_VALUES[self.hardware.device.type] // math.prod(self.shape)
            yield from torch.split(self.maps, max(1, together))

    def read(self) -> Iterator[Tensor]:
        """The same from a forward pass."""
        hardware = replace(self.hardware, precision="float32")
        forward = plan_pass(self.network, [self.layer], hardware)
        batch_size = hardware.batch(forward.largest(self.network.input_size))
        for batch in self.own.images.batches(self.network.preprocessing, batch_size):
            ((_, maps),) = forward.run(to_device(batch, hardware))
            yield self.following.pooling(maps)


def read_maps(site: LesionSite) -> NDArray[np.float32]:
    """The layer's maps of all images, (images, rows, columns, kernels), from one forward pass."""
    images, parts = len(site.own.images), []
    with torch.inference_mode(), progress_bar(f"{site.layer} maps", images) as progress:
        for maps in site.read():
            parts.append(maps.permute(0, 2, 3, 1).cpu().numpy())
            progress(len(maps))
    return np.concatenate(parts)


def lesion_kernels(
    site: LesionSite, dropped: Sequence[int] = (), kernels: Sequence[int] | None = None
) -> LesionEffects:
    """Lesion the layer's kernels one at a time: those of `kernels` in their order; None: all.

    Kernels in `dropped` are lesioned throughout. The "intact" performance is then that with these
    alone lesioned, and so is a dropped kernel's own.
    """
    kernels = range(site.shape[0]) if kernels is None else kernels
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
    device, done = site.hardware.device, 0
    with torch.inference_mode(), progress_bar(f"lesioning {site.layer}", right.size) as progress:
        for maps in site.batches():
            shown = slice(done, done := done + len(maps))
            for place, dropped in enumerate(sets):
                left = maps.index_fill(1, torch.tensor([*dropped], device=device).long(), 0)
                losses[place, :, shown], right[place, :, shown] = site.following.judge_each(
                    left, kernels, site.own.outputs[shown], progress
                )
    faces = site.own.outputs < site.own.face_classes
    with np.errstate(invalid="ignore"):  # a task without images has no performance: NaN
        measures = [
            values[..., task].sum(axis=-1) / task.sum()
            for task in (faces, ~faces)
            for values in (losses, right)
        ]
    return [
        LesionEffects(
            Performance(*each[:, 1:]),
            Performance(*each[:, 0]),
            None if dropped or not len(kernels) else every[1:].astype(np.float32),
        )
        for each, dropped, every in zip(np.stack(measures, axis=1), sets, losses, strict=True)
    ]


class Following:
    """What follows a layer: a pooling, an operation linear in each kernel's map, and the rest."""

    def __init__(self, network: Network, layer: str, device: torch.device) -> None:
        whole: Any = network.module
        whole.to(device, memory_format=torch.channels_last)
        modules = [*whole.features[layer_position(layer) + 1 :], nn.Flatten(), *whole.classifier]
        place = [isinstance(each, nn.Conv2d | nn.Linear) for each in modules].index(True)
        self.pooling = modules[0] if isinstance(modules[0], nn.MaxPool2d) else nn.Identity()
        self.operation = modules[place]
        # Nothing else needs what goes into a ReLU: it may work in place.
        rest = [nn.ReLU(True) if isinstance(m, nn.ReLU) else m for m in modules[place + 1 :]]
        self.rest = nn.Sequential(*rest)
        weights = self.operation.weight.detach()
        by_kernel = weights.reshape(len(weights), network.map_shape(layer)[0], -1)
        self.weights = by_kernel.permute(1, 2, 0)  # (kernels, taps, channels): of each kernel
        maps = [math.prod(network.map_shape(name)) for name in LAYERS[LAYERS.index(layer) + 1 :]]
        largest = max(*maps, whole.hidden, whole.outputs)
        self.together = max(1, GROUP_VALUES[device.type] // largest)  # lesions x images

    def judge_each(
        self, maps: Tensor, kernels: Sequence[int], answers: NDArray[np.int64], progress: Progress
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Run the network on from pooled maps (images, kernels, rows, columns).

        `answers` (images,) is the right output of each; progress is told how many more lesions x
        images are done. Returns cross-entropy (nats) and correctness, both (1 + kernels, images):
        with the maps as they are, then without each of the `kernels`.
        """
        sums, right_output = self._sum(maps), torch.from_numpy(answers).to(maps.device)
        # A kernel that is silent in an image is not missed there: only other pairs are run.
        responds = maps.any(dim=(2, 3)).T.cpu()
        changed = torch.cat([torch.ones_like(responds[:1]), responds[[*kernels]]])
        losses = torch.zeros(changed.shape, dtype=torch.float64)
        right = torch.zeros(changed.shape, dtype=torch.bool)
        progress(int((~changed).sum()))
        for pairs in torch.split(changed.nonzero(), self.together):
            rows, shown = pairs.T
            lesioned = sums[shown]
            present, counts = rows.unique_consecutive(return_counts=True)
            parts = (each.split(counts.tolist()) for each in (lesioned, shown))
            for row, part, images in zip(present.tolist(), *parts, strict=True):
                if row > 0:
                    self._subtract(part, kernels[row - 1], maps[images, kernels[row - 1]])
            lesioned = lesioned if lesioned.ndim == 2 else lesioned.permute(0, 3, 1, 2)
            logits, answer = self.rest(lesioned), right_output[shown]
            loss = functional.cross_entropy(logits.double(), answer, reduction="none")
            losses[rows, shown] = loss.cpu()
            right[rows, shown] = (logits.argmax(dim=1) == answer).cpu()
            progress(len(pairs))
        return (
            torch.where(changed, losses, losses[0]).numpy(),
            torch.where(changed, right, right[0]).numpy(),
        )

    def _sum(self, maps: Tensor) -> Tensor:
        """The operation's sums: (images, rows, columns, channels), (images, channels) if linear."""
        linear = isinstance(self.operation, nn.Linear)
        sums: Tensor = self.operation(maps.flatten(1) if linear else maps)
        return sums if linear else sums.permute(0, 2, 3, 1).contiguous()

    def _subtract(self, sums: Tensor, kernel: int, maps: Tensor) -> None:
        """Take a kernel's contribution out of the sums; `maps` (images, rows, columns) is its."""
        if isinstance(self.operation, nn.Linear):
            taps = maps.flatten(1)
        else:
            size, padding = self.operation.kernel_size, self.operation.padding
            taps = functional.unfold(maps[:, None], size, padding=padding)
            taps = taps.transpose(1, 2).flatten(0, 1)
        sums.view(-1, sums.shape[-1]).sub_(functional.linear(taps, self.weights[kernel].T))
