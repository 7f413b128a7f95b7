"""What runs on a GPU, on a device that refuses what a GPU refuses: the CPU's numbers, to the bit.

`tests.elsewhere` pretends to have one, so that a tensor left on the CPU fails on any machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from app import train
from app.config.schema import Readout
from app.findings import attribution, lesion
from app.findings.attribution import estimate_effects
from app.findings.lesion import (
    LesionSite,
    lesion_kernels,
    lesion_sets,
    lesion_together,
    recover_sets,
)
from app.findings.readout import fit_readout
from app.metrics import auc, dprime, ttest, wilcoxon
from app.metrics.contrast import contrast
from app.metrics.draws import draw_resamples
from app.metrics.resampling import Question, Sample, resample
from app.models import inside
from app.models.export import export
from app.responses import hardware
from app.responses.kernels import read_kernels
from app.responses.units import Units
from app.training import loop, outputs
from tests.elsewhere import DEVICE, pretend
from tests.findings.sites import make_site, shown
from tests.test_train import settings

pytestmark = pytest.mark.slow

REPLACED = ["zero", "mean", "resample"]


@pytest.fixture(autouse=True)
def as_much_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """There as here, so that sums are taken in the same order."""
    for room in (hardware.BATCH_VALUES, lesion.GROUP_VALUES, attribution.GROUP_VALUES):
        monkeypatch.setitem(room, DEVICE.type, room["cpu"])


def hold(find: Callable[[LesionSite], Any], layer: str = "conv12", **changed: Any) -> None:
    """What is found of a layer there is what is found here."""
    here = replace(make_site(layer), **changed)
    there = replace(here, hardware=replace(here.hardware, device=DEVICE))
    expected = find(here)
    with pretend():
        found = find(there)
    np.testing.assert_equal(found, expected)


def test_what_a_gpu_refuses_is_refused():
    with pretend():
        here, there = torch.arange(3.0), torch.arange(3.0).to(DEVICE)
        with pytest.raises(RuntimeError, match="same device"):
            here + there
        with pytest.raises(RuntimeError, match="same device"):
            here[torch.tensor([0]).to(DEVICE)]
        with pytest.raises(TypeError, match="use Tensor.cpu"):
            there.numpy()
        assert (there[torch.tensor([0, 2])] + 1).cpu().tolist() == [1, 3]


@pytest.mark.parametrize("units", [False, True], ids=["kernels", "units"])
@pytest.mark.parametrize("replacement", REPLACED)
@pytest.mark.parametrize("layer", ["conv10", "conv12", "conv13"])
def test_lesions_and_estimates(layer: str, replacement: str, units: bool):
    def find(site: LesionSite) -> Any:
        sets = {"some": [0, 3], "none": []}
        return (
            lesion_kernels(site), lesion_sets(sets, site), *(estimate_effects(site, points)
                                                             for points in (1, 3)),
        )  # fmt: skip

    hold(find, layer, replacement=replacement, units=units)


@pytest.mark.parametrize("replacement", REPLACED)
def test_lesions_of_layers_together(replacement: str):
    other = make_site("conv4")

    def find(site: LesionSite) -> Any:
        sites = {"conv12": site, "conv4": replace(site, layer="conv4", network=other.network)}
        return lesion_together({"some": [("conv4", 1), ("conv12", 2), ("conv12", 5)]}, sites)

    hold(find, replacement=replacement)


def test_readouts():
    def find(site: LesionSite) -> Any:
        own = replace(site.own, outputs=site.own.outputs % 5)
        readout = fit_readout(site.network, Readout(), own, site.hardware)
        judged = replace(site, own=own, readout=readout, fitted=own)
        recovered = recover_sets({"some": [1, 4]}, judged)
        return readout.weights, lesion_kernels(judged), recovered, estimate_effects(judged, 1)

    hold(find)


def test_responses():
    def find(site: LesionSite) -> Any:
        layers = {each: each for each in ("conv2", "conv13")}
        kernels = read_kernels(layers, site.network, shown(), site.hardware)
        ((_, units),) = Units(site.network, "conv3").read(shown(), site.hardware)
        return kernels, units.copy()

    hold(find)


@pytest.mark.parametrize("metric", [auc, dprime, ttest, wilcoxon], ids=lambda each: each.__name__)
def test_metrics(metric: Any):
    responses = np.random.default_rng(0).integers(0, 9, (30, 7)).astype(np.float32)
    categories = ["a", "b", "c"] * 10
    chosen = contrast(categories, {each: [each] for each in "abc"}, "a")
    question, draws = Question(metric.score, chosen, {}), draw_resamples(5, categories, 0)

    def find(site: LesionSite) -> Any:
        device = str(site.hardware.device)
        on = {"device": device} if "device" in signature(metric.score).parameters else {}
        scores = metric.score(responses, chosen, **on)
        return scores.score, resample(question, Sample(responses, device), draws).score

    hold(find)


@pytest.mark.parametrize("replacement", REPLACED)
def test_any_network_in_few_lines(replacement: str, monkeypatch: pytest.MonkeyPatch):
    body = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3),
    ).eval()  # fmt: skip
    graph, images = export(body, 16, "small"), torch.rand(6, 3, 16, 16)
    monkeypatch.setattr(inside, "export", lambda *_: graph)

    def find(site: LesionSite) -> Any:
        network = inside.Inside(body, 16, site.hardware.device)
        found = (
            *network.read(images, ["0", "3"]).values(),
            network.lesion(images, {"0": [1], "3": [0, 2]}, replacement),
            *network.attribute(images, lambda out: out.square().sum(1), ["0", "3"], 2).values(),
        )
        return [each.detach().cpu().numpy() for each in found]

    hold(find)


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_a_training_that_was_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    asked = settings(f"optimiser.name={name}", "batch_norm_hidden=true", "epochs=2")
    train.train(asked, tmp_path / "here")
    learn, done = loop.learn, []

    def learn_two(*arguments: Any) -> float:
        if len(done) == 1:
            done.append("interrupted")
            raise KeyboardInterrupt
        done.append(learn(*arguments))
        return done[-1]

    monkeypatch.setattr(loop, "learn", learn_two)
    monkeypatch.setattr(hardware, "choose_device", lambda *_: DEVICE)
    with pretend():
        with pytest.raises(KeyboardInterrupt):
            train.train(asked, tmp_path / "there")
        train.train(asked, tmp_path / "there")
    assert len(done) == 3
    here, there = (load_file(tmp_path / each / outputs.LAST) for each in ("here", "there"))
    torch.testing.assert_close(there, here, rtol=0, atol=0)
