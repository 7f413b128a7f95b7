"""Does the network need a kernel? Set its map to zero and see what remains of its two tasks.

Effects are read on held-out images of the network's own classes. The single classifier decides
over faces and objects together, as in Dobs et al. (2022), doi:10.1126/sciadv.abl8913.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from app.models.vgg import LAYERS, DualTaskVGG, layer_position
from app.stimuli.images import Images, Preprocessing

GROUP_VALUES = 2**23  # activations of the lesioned layer that go through the rest at once


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
    batch_size: int,
    device: torch.device,
    progress: Callable[[int], object],
) -> LesionEffects:
    """Lesion the layer's kernels one at a time.

    `outputs` (images,) is the right output of each image; those below `face_classes` make up
    the face task, the others the object task. The part of the network before the layer runs
    once, what follows once a kernel. `progress` is told the number of kernel x image steps done.
    """
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    position = layer_position(layer)
    before, after = network.features[: position + 1], network.features[position + 1 :]
    kernels = network.widths[LAYERS.index(layer)]
    face = outputs < face_classes
    counts = np.array([face.sum(), (~face).sum()])
    # Sums over images; row 0 is the intact network, row 1 + k the network without kernel k.
    loss_sum = np.zeros((kernels + 1, 2))
    right_sum = np.zeros((kernels + 1, 2))

    with torch.inference_mode():
        done = 0
        for batch in images.batches(preprocessing, batch_size):
            pixels = torch.from_numpy(batch).to(device, memory_format=torch.channels_last)
            answers = torch.from_numpy(outputs[done : done + len(batch)]).to(device)
            is_face = torch.from_numpy(face[done : done + len(batch)]).to(device)
            maps = before(pixels)
            # As many lesions at once as fit a modest batch: small maps leave a processor idle.
            together = max(1, GROUP_VALUES // maps.numel())
            for first in range(0, kernels + 1, together):
                rows = range(first, min(first + together, kernels + 1))
                lesioned = torch.cat([_without(maps, row - 1) for row in rows])
                logits = network.classifier(torch.flatten(after(lesioned), 1))
                losses, right = _judge(logits, answers.repeat(len(rows)))
                for task, members in enumerate((is_face, ~is_face)):
                    chosen = slice(rows.start, rows.stop), task
                    loss_sum[chosen] += _sum_over(losses, members, len(rows))
                    right_sum[chosen] += _sum_over(right, members, len(rows))
                progress(len(batch) * len(rows))
            done += len(batch)

    with np.errstate(invalid="ignore"):  # a task without images has no performance: NaN
        loss, top1 = loss_sum / counts, right_sum / counts
    return LesionEffects(
        face=Performance(loss[1:, 0], top1[1:, 0]),
        object=Performance(loss[1:, 1], top1[1:, 1]),
        intact_face=Performance(loss[0, 0], top1[0, 0]),
        intact_object=Performance(loss[0, 1], top1[0, 1]),
    )


def _without(maps: Tensor, kernel: int) -> Tensor:
    """The maps with one kernel's set to zero; -1 is the intact network."""
    if kernel < 0:
        return maps
    lesioned = maps.clone()
    lesioned[:, kernel] = 0
    return lesioned


def _judge(logits: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy and correctness of each image, in double precision."""
    losses = functional.cross_entropy(logits.double(), answers, reduction="none")
    return losses, logits.argmax(dim=1) == answers


def _sum_over(values: Tensor, members: Tensor, rows: int) -> NDArray[np.float64]:
    """Sums (rows,) over the images that are members, of values (rows x images,)."""
    sums: NDArray[np.float64] = values.view(rows, -1)[:, members].double().sum(dim=1).cpu().numpy()
    return sums
