"""Does the network need a kernel? Set its map to zero and see what remains of its two tasks.

Effects are read on held-out images of the network's own classes. The single classifier decides
over faces and objects together, as in Dobs et al. (2022), doi:10.1126/sciadv.abl8913.

A lesion repeats only what it changes. The first operation with weights after the layer is linear
in the kernel's map (a max pooling between them acts on each map alone), so its sums are computed
once for all lesions and each lesion subtracts its kernel's contribution; only what follows is run
again. An image in which the kernel is silent anyway keeps its result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from app.models.vgg import LAYERS, DualTaskVGG, layer_position
from app.responses.forward import SteadySums, batch_of
from app.stimuli.images import Images, Preprocessing, Progress

# Values of the largest activation of as many lesions as go through the rest together. Modest
# tensors are fastest on a CPU; a GPU wants more to do at once.
GROUP_VALUES = {"cpu": 2**21, "cuda": 2**27}
MAPS_VALUES = 2**22  # of the layer's maps, for as many images as get all their lesions together
KEPT_BYTES = 2**31  # of the maps of all images, for callers that lesion again and again


class Performance(NamedTuple):
    """Mean cross-entropy (nats) and top-1 accuracy (0 … 1) of one task."""

    loss: NDArray[np.float64]
    top1: NDArray[np.float64]


@dataclass(frozen=True)
class LesionEffects:
    """Performance without each kernel, arrays (kernels,), and of the intact network, scalars."""

    face: Performance
    object: Performance
    intact_face: Performance
    intact_object: Performance


def lesion_each(
    network: DualTaskVGG,
    layer: str,
    images: Images,
    outputs: NDArray[np.int64],
    face_classes: int,
    preprocessing: Preprocessing,
    *,
    batch_size: int | None,
    device: torch.device,
    progress: Progress,
    dropped: Sequence[int] = (),
    kernels: Sequence[int] | None = None,
    maps: Iterable[Tensor] | None = None,
) -> LesionEffects:
    """Lesion the layer's kernels one at a time; the network is in evaluation mode.

    Args:
        network, layer, images, preprocessing: What is lesioned and what it is shown.
        outputs: (images,), the right output of each image; those below `face_classes` make up
            the face task, the others the object task. A task without images is NaN.
        batch_size: Images at once up to the layer; None chooses.
        progress: Told the number of kernel x image steps done: images x (kernels + 1) in all.
        dropped: Kernels lesioned throughout. The "intact" performance is then that with these
            alone lesioned, and so is a dropped kernel's own.
        kernels: Those to lesion, in the order of the effects; None: all.
        maps: What `kept_maps` returned for this network, layer and images; None: computed.
    """
    every = network.widths[LAYERS.index(layer)]
    kernels = range(every) if kernels is None else kernels
    if maps is None:
        maps = layer_maps(
            network, layer, images, preprocessing, batch_size=batch_size, device=device
        )
    following = _following(network, layer, device)
    face = outputs < face_classes
    counts = np.array([face.sum(), (~face).sum()])
    # Sums over images; row 0 is the intact network, row 1 + i that without kernels[i].
    loss_sum = np.zeros((len(kernels) + 1, 2))
    right_sum = np.zeros((len(kernels) + 1, 2))

    done = 0
    with torch.inference_mode(), SteadySums():
        for batch in maps:
            shown = slice(done, done + len(batch))
            done += len(batch)
            if dropped:
                batch = batch.index_fill(1, torch.tensor([*dropped], device=device), 0)
            losses, right = _without_each(
                following, batch, kernels, torch.from_numpy(outputs[shown]).to(device), progress
            )
            for task, members in enumerate((face[shown], ~face[shown])):
                loss_sum[:, task] += losses[:, members].sum(axis=1)
                right_sum[:, task] += right[:, members].sum(axis=1)

    with np.errstate(invalid="ignore"):  # a task without images has no performance: NaN
        loss, top1 = loss_sum / counts, right_sum / counts
    return LesionEffects(
        face=Performance(loss[1:, 0], top1[1:, 0]),
        object=Performance(loss[1:, 1], top1[1:, 1]),
        intact_face=Performance(loss[0, 0], top1[0, 0]),
        intact_object=Performance(loss[0, 1], top1[0, 1]),
    )


def layer_maps(
    network: DualTaskVGG,
    layer: str,
    images: Images,
    preprocessing: Preprocessing,
    *,
    batch_size: int | None,
    device: torch.device,
) -> Iterator[Tensor]:
    """The layer's maps as the next convolution or linear layer sees them, pooled where pooling
    comes first: (images, kernels, rows, columns) a batch, all images in order."""
    before, _, _ = _parts(network, layer, device)
    batch_size = batch_size or batch_of(device, _largest(before, network.input_size))
    waiting: list[Tensor] = []
    for pixels in images.batches(preprocessing, batch_size):
        shown = torch.from_numpy(pixels).to(device, memory_format=torch.channels_last)
        waiting.append(_through(before, shown))
        if sum(maps.numel() for maps in waiting) >= MAPS_VALUES:
            yield torch.cat(waiting)
            waiting = []
    if waiting:
        yield torch.cat(waiting)


def kept_maps(
    network: DualTaskVGG,
    layer: str,
    images: Images,
    preprocessing: Preprocessing,
    *,
    batch_size: int | None,
    device: torch.device,
    progress: Progress,
    most_bytes: int = KEPT_BYTES,
) -> list[Tensor] | None:
    """All of `layer_maps`, for calls that lesion the same layer again and again.

    None where they take more than `most_bytes`. `progress` is told the number of images done.
    """
    before, _, _ = _parts(network, layer, device)
    values = network.widths[LAYERS.index(layer)] * _side_after(network, before) ** 2
    if len(images) * values * 4 > most_bytes:
        return None
    kept = []
    for maps in layer_maps(
        network, layer, images, preprocessing, batch_size=batch_size, device=device
    ):
        kept.append(maps)
        progress(len(maps))
    return kept


# ------------------------------------------------------------------------------ parts


@dataclass(frozen=True)
class _Following:
    """What follows a layer: an operation that is linear in each kernel's map, then the rest."""

    operation: nn.Conv2d | nn.Linear
    rest: Sequence[nn.Module]
    weights: Tensor  # (kernels, taps, channels): the operation's, of each kernel
    together: int  # lesions x images that go through the rest at once

    def sums(self, maps: Tensor) -> Tensor:
        """The operation's sums, channels last: (images, rows, columns, channels), or (images,
        channels) of a linear layer."""
        if isinstance(self.operation, nn.Linear):
            return self.operation(maps.flatten(1))
        return self.operation(maps).permute(0, 2, 3, 1).contiguous()

    def subtract(self, sums: Tensor, kernel: int, maps: Tensor) -> None:
        """Take a kernel's contribution out of the sums; `maps` (images, rows, columns) is its."""
        if isinstance(self.operation, nn.Linear):
            taps = maps.flatten(1)
        else:
            size, padding = self.operation.kernel_size, self.operation.padding
            taps = functional.unfold(maps[:, None], size, padding=padding)  # type: ignore[arg-type]
            taps = taps.transpose(1, 2).flatten(0, 1)
        sums.view(-1, sums.shape[-1]).sub_(functional.linear(taps, self.weights[kernel].T))

    def logits(self, sums: Tensor) -> Tensor:
        """Run the rest on sums, which it overwrites."""
        return _through(self.rest, sums if sums.ndim == 2 else sums.permute(0, 3, 1, 2))


def _following(network: DualTaskVGG, layer: str, device: torch.device) -> _Following:
    before, operation, rest = _parts(network, layer, device)
    weights = operation.weight.detach()
    by_kernel = weights.reshape(len(weights), network.widths[LAYERS.index(layer)], -1)
    largest = _largest([operation, *rest], _side_after(network, before))
    return _Following(
        operation,
        rest,
        by_kernel.permute(1, 2, 0),
        max(1, GROUP_VALUES[device.type] // largest),
    )


def _without_each(
    following: _Following,
    maps: Tensor,
    kernels: Sequence[int],
    answers: Tensor,
    progress: Progress,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Losses and correctness, (1 + kernels, images): intact, then without each kernel."""
    sums = following.sums(maps)
    # A kernel that is silent in an image is not missed there: only other pairs are run.
    responds = maps.any(dim=(2, 3)).T.cpu()
    changed = torch.cat([torch.ones_like(responds[:1]), responds[[*kernels]]])
    losses = torch.zeros(changed.shape, dtype=torch.float64)
    right = torch.zeros(changed.shape, dtype=torch.bool)
    progress(int((~changed).sum()))
    for pairs in changed.nonzero().split(following.together):
        rows, shown = pairs.T
        lesioned = sums[shown]
        first = 0
        for row, count in zip(*rows.unique_consecutive(return_counts=True), strict=True):
            part = slice(first, first := first + int(count))
            if row > 0:
                kernel = kernels[int(row) - 1]
                following.subtract(lesioned[part], kernel, maps[shown[part], kernel])
        found = _judge(following.logits(lesioned), answers[shown])
        losses[rows, shown], right[rows, shown] = (values.cpu() for values in found)
        progress(len(pairs))
    return (
        torch.where(changed, losses, losses[0]).numpy(),
        torch.where(changed, right, right[0]).numpy(),
    )


def _judge(logits: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and correctness of each image, in double precision."""
    losses = functional.cross_entropy(logits.double(), answers, reduction="none")
    return losses, logits.argmax(dim=1) == answers


def _parts(
    network: DualTaskVGG, layer: str, device: torch.device
) -> tuple[list[nn.Module], nn.Conv2d | nn.Linear, list[nn.Module]]:
    """The network, on the device: up to the layer and its pooling, the next operation with
    weights, the rest."""
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    modules = [*network.features, *network.classifier]
    for position in range(layer_position(layer), len(modules)):
        operation = modules[position]
        if isinstance(operation, nn.Conv2d | nn.Linear):
            return modules[:position], operation, modules[position + 1 :]
    raise AssertionError("a classifier follows every layer")


@torch.inference_mode()
def _through(modules: Sequence[nn.Module], activation: Tensor) -> Tensor:
    """Run modules one after another. ReLUs work in place: nothing else needs their input."""
    with SteadySums():
        for module in modules:
            if isinstance(module, nn.ReLU):
                activation = activation.relu_()
            elif isinstance(module, nn.Linear):
                activation = module(activation.flatten(1))
            else:
                activation = module(activation)
    return activation


def _side_after(network: DualTaskVGG, modules: Sequence[nn.Module]) -> int:
    """Rows, and columns, of the map that so much of the network makes."""
    return network.input_size >> sum(isinstance(module, nn.MaxPool2d) for module in modules)


def _largest(modules: Sequence[nn.Module], side: int) -> int:
    """Values of the largest activation an image, of modules that see maps of `side` x `side`."""
    largest = 1
    for module in modules:
        if isinstance(module, nn.Conv2d):
            largest = max(largest, module.out_channels * side**2)
        elif isinstance(module, nn.MaxPool2d):
            side //= 2
        elif isinstance(module, nn.Linear):
            largest = max(largest, module.out_features)
    return largest
