"""What follows a layer of a dual-task network, run again without some of the layer's kernels.

A lesion repeats only what it changes. The first operation with weights after the layer is linear
in each kernel's map (a max pooling between them acts on each map alone), so its sums are computed
once for all lesions and each lesion subtracts its kernel's contribution; only what follows is run
again. An image in which the kernel is silent anyway keeps its result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from app.choices import LAYERS
from app.models.vgg import layer_position
from app.progress import Progress

if TYPE_CHECKING:
    from app.models.network import Network

# Values of the largest activation of as many lesions as go through the rest together. Modest
# tensors are fastest on a CPU; a GPU wants more to do at once.
GROUP_VALUES = {"cpu": 2**21, "cuda": 2**27}


class Following:
    """A pooling, an operation that is linear in each kernel's map, and the rest of the network.

    Parameters
    ----------
    network
        A dual-task network; its weights move to the device.
    layer
        conv1 … conv13.
    device
        Where lesions run.
    """

    def __init__(self, network: Network, layer: str, device: torch.device) -> None:
        whole: Any = network.module
        whole.to(device, memory_format=torch.channels_last)
        modules = [*whole.features[layer_position(layer) + 1 :], nn.Flatten(), *whole.classifier]
        place = [isinstance(each, nn.Conv2d | nn.Linear) for each in modules].index(True)
        pooled = isinstance(modules[0], nn.MaxPool2d)
        self.pooling = modules[0] if pooled else nn.Identity()
        self.operation = modules[place]
        # Nothing else needs what goes into a ReLU: it may work in place.
        rest = [nn.ReLU(True) if isinstance(m, nn.ReLU) else m for m in modules[place + 1 :]]
        self.rest = nn.Sequential(*rest)
        weights = self.operation.weight.detach()
        by_kernel = weights.reshape(len(weights), network.map_shape(layer)[0], -1)
        self.weights = by_kernel.permute(1, 2, 0)  # (kernels, taps, channels): of each kernel
        deeper = LAYERS[LAYERS.index(layer) + 1 :]
        maps = [math.prod(network.map_shape(name)) for name in deeper]
        largest = max(*maps, whole.hidden, whole.outputs)
        self.together = max(1, GROUP_VALUES[device.type] // largest)  # lesions x images

    def judge_each(
        self, maps: Tensor, kernels: Sequence[int], answers: NDArray[np.int64], progress: Progress
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Run the network on from pooled maps, as they are and without each of the kernels.

        Parameters
        ----------
        maps
            (images, kernels, rows, columns), after the pooling.
        kernels
            Those to lesion, one at a time.
        answers
            (images,), the right output of each.
        progress
            Told how many more lesions x images are done.

        Returns
        -------
        tuple
            Cross-entropy (nats) and correctness, both (1 + kernels, images): intact, then without
            each kernel.
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
            first = 0
            for row, count in zip(*rows.unique_consecutive(return_counts=True), strict=True):
                part = slice(first, first := first + int(count))
                if row > 0:
                    kernel = kernels[int(row) - 1]
                    self._subtract(lesioned[part], kernel, maps[shown[part], kernel])
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
