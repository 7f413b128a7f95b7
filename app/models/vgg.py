"""VGG-16 with one classifier over face identities and object categories.

Torchvision's layout without its adaptive pooling, so the checkpoints of Dobs et al. (2022) load by
name: `features.N.*` for the 13 convolutions, `classifier.0/3/6.*` for the three linear layers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from app.choices import LAYERS

WIDTHS_VGG16 = (64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
WIDTHS_MINI = (16, 16, 32, 32, 64, 64, 64, 128, 128, 128, 128, 128, 128)

POOLED = (2, 4, 7, 10, 13)  # the convolutions that a max pooling follows


def layer_position(layer: str) -> int:
    """Where in `features` the ReLU after convolution `layer` (conv1 ... conv13) stands."""
    before = LAYERS.index(layer)  # so many convolutions, each with a ReLU, and some poolings
    return 2 * before + sum(pooled <= before for pooled in POOLED) + 1


class DualTaskVGG(nn.Module):
    """Images (n, 3, input_size, input_size) in, logits (n, outputs) out.

    `widths` are the channels of the 13 convolutions, `hidden` the units of both hidden linear
    layers; the defaults are those of Dobs et al. (2022). No ReLU works in place, so hooks may keep
    what they read.
    """

    def __init__(
        self,
        widths: Sequence[int] = WIDTHS_VGG16,
        hidden: int = 4096,
        outputs: int = 2137,
        input_size: int = 224,
    ) -> None:
        super().__init__()
        if len(widths) != len(LAYERS) or input_size % 32:
            raise ValueError("13 widths and an input size that is a multiple of 32 are needed")
        self.widths, self.hidden = tuple(widths), hidden
        self.outputs, self.input_size = outputs, input_size
        modules: list[nn.Module] = []
        for number, (before, width) in enumerate(zip((3, *widths), widths, strict=False), start=1):
            modules += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            if number in POOLED:
                modules.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*modules)
        self.classifier = nn.Sequential(
            nn.Linear(widths[-1] * (input_size // 32) ** 2, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(hidden, outputs),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, 3, input_size, input_size) in, logits (n, outputs) out."""
        logits: Tensor = self.classifier(torch.flatten(self.features(images), 1))
        return logits


def seeded(seed: int, *shape: Any, **named: Any) -> DualTaskVGG:
    """The untrained network that `seed` names: He et al. (2015), normal, fan-in; biases 0.

    The further arguments are those of `DualTaskVGG`. Torch's global random state is left as it was.
    """
    # On the meta device nothing is drawn or allocated until the weights are filled in here.
    with torch.device("meta"):
        network = DualTaskVGG(*shape, **named)
    network = network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network.eval()


def add_batch_norm(plain: DualTaskVGG, hidden: bool = False) -> DualTaskVGG:
    """A network for training with the weights of `plain`: batch normalisation, no biases before.

    It follows every convolution, and the `hidden` linear layers where that is asked for. That moves
    names; `fold_batch_norm` takes it out again.
    """
    network = copy.deepcopy(plain)
    network.features = _normalise(network.features, nn.Conv2d, nn.BatchNorm2d)
    if hidden:
        *before, last = network.classifier
        network.classifier = _normalise(before, nn.Linear, nn.BatchNorm1d).append(last)
    return network


def _normalise(
    modules: Iterable[nn.Module], kind: type[nn.Module], norm: Callable[[int], Any]
) -> nn.Sequential:
    """Put a normalisation, which takes over the bias, behind each module of a kind."""
    found: list[Any] = []
    for module in modules:
        found.append(module)
        if isinstance(module, kind):
            own: Any = module
            found.append(norm(len(own.weight)))
            found[-1].bias, own.bias = own.bias, None
    return nn.Sequential(*found)


def fold_batch_norm(trained: DualTaskVGG) -> DualTaskVGG:
    """The plain network, on the CPU, that answers as `trained` does in evaluation mode.

    Normalising with fixed statistics is linear, so it goes into the layer before it; where there is
    none, this is a copy.
    """
    network = copy.deepcopy(trained).cpu().eval()
    for name in ("features", "classifier"):
        modules: list[Any] = []
        for module in getattr(network, name):
            if isinstance(module, nn.BatchNorm2d):
                modules[-1] = fuse_conv_bn_eval(modules[-1], module)
            elif isinstance(module, nn.BatchNorm1d):
                modules[-1] = fuse_linear_bn_eval(modules[-1], module)
            else:
                modules.append(module)
        setattr(network, name, nn.Sequential(*modules))
    return network
