"""Layers of a small network to lesion, full passes to hold lesions against, and a memo."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from app.config.schema import Model
from app.findings.lesion import LesionSite
from app.models.export import export
from app.models.graph import Graph
from app.models.loading import Loaded
from app.models.network import Network
from app.models.vgg import DualTaskVGG, layer_position, seeded
from app.responses.hardware import Hardware
from app.stimuli.classes import OwnClasses
from app.stimuli.images import Images, drawn

WIDTHS = (4, 4, 6, 6, 8, 8, 8, 10, 10, 10, 12, 12, 12)
FACES, OUTPUTS, IMAGES = 4, 9, 14
SETTINGS = Model(
    name="small", source="vgg", trained=False, widths=list(WIDTHS), hidden=16, outputs=OUTPUTS,
    face_classes=FACES, seed=2, input_size=32, resize=32, mean=[0.5] * 3, sd=[0.5] * 3,
)  # fmt: skip
OUTPUT = np.random.default_rng(1).integers(0, OUTPUTS, IMAGES)


def shown() -> Images:
    rng = np.random.default_rng(0)
    return drawn(rng.integers(0, 256, (IMAGES, 32, 32), dtype=np.uint8), ["x"] * IMAGES, "drawn")


def pixels() -> torch.Tensor:
    (batch,) = shown().batches(Network(SETTINGS).preprocessing, IMAGES)
    return torch.from_numpy(batch)


def make_network(layer: str) -> DualTaskVGG:
    """Two of the layer's kernels are silent: kernel 2 in every image, kernel 0 in about half."""
    network = seeded(2, WIDTHS, 16, OUTPUTS, 32)
    convolution = network.features[layer_position(layer) - 1]
    with torch.no_grad():
        before = network.features[: layer_position(layer)](pixels())
        convolution.bias[0] = -before[:, 0].amax(dim=(1, 2)).median()
        convolution.bias[2] = -before[:, 2].max() - 1
    return network


@functools.cache
def export_once() -> Graph:
    """The graph of all of them, which differ in values alone."""
    return export(make_network("conv1"), 32, "small")


def compute(step: Callable[..., Any], *arguments: Any) -> Any:
    """In the place of a memo."""
    return step(*arguments)


def make_site(
    layer: str, batch_size: int | None = 5, outputs: np.ndarray = OUTPUT, memo: Any = compute
) -> LesionSite:
    made = make_network(layer)
    network = Network(SETTINGS, loaded=lambda: Loaded(made, SETTINGS, "digest"))
    network.graph = export_once()
    hardware = Hardware(torch.device("cpu"), batch_size=batch_size)
    return LesionSite(network, layer, OwnClasses(shown(), outputs, FACES), hardware, memo)


def run_full_pass(layer: str, silenced: Sequence[int]) -> dict[str, tuple[float, float]]:
    """(loss, top-1) of each task from one pass of the whole network."""

    def silence(_module, _inputs, output):
        output = output.clone()
        output[:, list(silenced)] = 0
        return output

    network = make_network(layer)
    network.features[layer_position(layer)].register_forward_hook(silence)
    with torch.no_grad():
        logits = network(pixels()).double()
    answers = torch.from_numpy(OUTPUT)
    right = (logits.argmax(1) == answers).double()
    return {
        task: (
            float(functional.cross_entropy(logits[members], answers[members])),
            float(right[members].mean()),
        )
        for task, members in (("face", OUTPUT < FACES), ("object", OUTPUT >= FACES))
    }


class Interrupted(Exception):
    """What stops a memo that has computed `most` results."""


class Remembered:
    """A memo in memory that tells what it computed: (step, what it was asked beside the site)."""

    def __init__(self) -> None:
        self.results: dict[Any, Any] = {}
        self.computed: list[tuple[str, Any]] = []
        self.most = 10**6

    def start(self, most: int = 10**6) -> None:
        self.computed, self.most = [], most

    def __call__(self, step: Callable[..., Any], site: LesionSite, *asked: Any) -> Any:
        return self._find((step.__name__, asked), lambda: step(site, *asked), site.layer)

    def each(
        self, step: Callable[..., Any], items: Mapping[str, Any], wanted: list[str], *asked: Any
    ) -> dict[str, Any]:
        missing = {n: items[n] for n in items if ((step.__name__, n), "") not in self.results}
        found = step(missing, *asked) if missing else {}
        return {n: self._find((step.__name__, n), lambda n=n: found[n]) for n in wanted}

    def steps(self, step: str) -> list[Any]:
        """What one step was asked, where that was computed."""
        return [asked for name, asked in self.computed if name == step]

    def _find(self, key: tuple[str, Any], compute: Callable[[], Any], layer: str = "") -> Any:
        if (key, layer) not in self.results:
            if len(self.computed) == self.most:
                raise Interrupted
            self.results[key, layer] = compute()
            self.computed.append(key)
        return self.results[key, layer]
