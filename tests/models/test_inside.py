"""From Python: what is read and lesioned is what hooks on the network see and leave."""

from __future__ import annotations

import doctest

import pytest
import torch
from torch import nn

from app.errors import InputError
from app.models import inside
from app.models.inside import Inside
from tests.models.test_places import Net, Stubborn


@pytest.fixture(scope="module")
def body() -> nn.Module:
    torch.manual_seed(1)
    return Net().eval()


@pytest.fixture(scope="module")
def network(body: nn.Module) -> Inside:
    return Inside(body, 16)


IMAGES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def test_layers_are_those_that_give_images_first(network):
    listed = network.list_layers()
    assert listed[:3] == ["stem.0", "stem.1", "stem.2"]
    assert "windows" not in listed and "pair" not in listed


def test_layouts_are_told(network):
    found = network.read(IMAGES, ["last", "mlp.0", "head", "block"])
    shapes = {layer: tuple(maps.shape[1:]) for layer, maps in found.items()}
    assert shapes == {
        "last": (4, 8, 8), "mlp.0": (6, 64, 1), "head": (2, 1, 1), "block": (4, 8, 8)
    }  # fmt: skip


REPLACE = {"zero": torch.zeros_like, "mean": lambda maps: maps.mean(0),
           "resample": lambda maps: maps.roll(1, 0)}  # fmt: skip


@pytest.mark.parametrize("replacement", ["zero", "mean", "resample"])
def test_layers_are_lesioned_together(network, body, replacement):
    """In two layers at once; what replaces maps is the intact network's."""
    kernels = {"stem.2": [0, 2], "mlp.1": [1, 4]}
    kept = {}
    axis = {"stem.2": 1, "mlp.1": 2}

    def keep(name):
        return lambda _module, _inputs, output: kept.update({name: output.clone()})

    def silence(name):
        def hook(_module, _inputs, output):
            output, own = output.clone(), kept[name]
            for kernel in kernels[name]:
                where = (slice(None),) * axis[name] + (kernel,)
                output[where] = REPLACE[replacement](own[where])
            return output

        return hook

    with torch.inference_mode():
        for make in (keep, silence):
            handles = [
                body.get_submodule(name).register_forward_hook(make(name)) for name in kernels
            ]
            expected = body(IMAGES)
            for handle in handles:
                handle.remove()
        found = network.lesion(IMAGES, kernels, replacement)
        intact = body(IMAGES)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert not torch.allclose(found, intact, atol=1e-6)
    torch.testing.assert_close(network.lesion(IMAGES, {}), intact, rtol=0, atol=1e-6)


def test_estimates_are_gradients_times_activations(network, body):
    """Of two layers in one pass, against torch's own gradient."""
    kept = {}

    def keep(_module, _inputs, output):
        output.retain_grad()
        kept["stem.2"] = output

    handle = body.get_submodule("stem.2").register_forward_hook(keep)
    body(IMAGES).square().sum().backward()
    handle.remove()
    found = network.attribute(IMAGES, lambda outputs: outputs.square().sum(1), ["stem", "mlp.0"])
    expected = -kept["stem.2"] * kept["stem.2"].grad
    torch.testing.assert_close(found["stem"], expected, rtol=1e-4, atol=1e-7)
    assert found["mlp.0"].shape == (4, 6, 64, 1)


def test_what_cannot_be_done_is_one_line(network):
    with pytest.raises(InputError, match="blok is no module of Net"):
        network.read(IMAGES, ["blok"])
    with pytest.raises(InputError, match="replacement=noise is one of zero, mean, resample"):
        network.lesion(IMAGES, {"block": [0]}, "noise")
    with pytest.raises(
        InputError, match="block, block.relu of Net are read at one place, block.relu"
    ):
        network.lesion(IMAGES, {"block": [0], "block.relu": [1]})
    for wrong in (IMAGES[0], IMAGES[..., :8], IMAGES.double()):
        with pytest.raises(InputError, match=r"Net takes images \(n, 3, 16, 16\) of torch.float32"):
            network.read(wrong, ["block"])
    with pytest.raises(InputError, match="Stubborn has no graph"):
        Inside(Stubborn().eval(), 8)
    with pytest.raises(InputError, match="Net is in training mode"):
        Inside(Net(), 16)
    with pytest.raises(InputError, match="tensor of torch.float16 on cpu: take network.float"):
        Inside(Net().eval().half(), 16)
    with pytest.raises(InputError, match="RecursiveScriptModule fails .* not supported on Script"):
        Inside(torch.jit.script(nn.Sequential(nn.Flatten(), nn.Linear(192, 2))).eval(), 8)


class Keeps(nn.Module):
    """What it makes at its first call serves the later ones."""

    weights = None

    def forward(self, x):
        if self.weights is None:
            self.weights = torch.linspace(0, 1, x.shape[-1])
        return x * self.weights


def test_a_network_that_learns_on_is_as_it_was():
    body = nn.Sequential(nn.Conv2d(3, 4, 3), Keeps(), nn.Flatten(), nn.Linear(784, 2)).eval()
    network = Inside(body, 16)
    before = body(IMAGES)
    before.sum().backward()
    with torch.no_grad():
        for each in body.parameters():
            each.mul_(2)
    torch.testing.assert_close(network.lesion(IMAGES, {}), before)


def test_the_example_holds():
    assert doctest.testmod(inside).failed == 0


class Odd(nn.Module):
    """It gives a scalar, one number an image, whole numbers, and what other images change."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), module, nn.Linear(4, 2)
        self.mean, self.count, self.best = (_Does(name) for name in ("mean", "sum", "argmax"))

    def forward(self, x):
        x = self.norm(self.conv(x)).relu()
        count, best = self.count(x, (1, 2, 3)), self.best(x, 1).float().mean((1, 2))
        return self.head(x.mean((2, 3)) + (count + best)[:, None]) + self.mean(x.abs() * 0)


class _Does(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x, *how):
        return getattr(x, self.name)(*how)


def test_what_has_no_kernels_is_one_line():
    network = Inside(Odd(nn.Identity()).eval(), 8)
    assert not {"mean", "count", "best"} & {*network.list_layers()}
    for layer in ("mean", "best"):
        with pytest.raises(InputError, match=f"{layer} of Odd gives no single floating-point"):
            network.lesion(IMAGES[..., :8, :8], {layer: [0]}, "mean")
    with pytest.raises(InputError, match="count of Odd, which gives single values an image"):
        network.read(IMAGES[..., :8, :8], ["count"])
    with pytest.raises(InputError, match="conv of Odd has no kernel 4: they are 0 to 3"):
        network.lesion(IMAGES[..., :8, :8], {"conv": [0, 4]})


@pytest.mark.slow
def test_what_depends_on_chance_or_other_images_is_one_line():
    body = Odd(nn.BatchNorm2d(4)).eval()
    body.norm.train()
    with pytest.raises(InputError, match="Odd is in training mode"):
        Inside(body, 8)
    with pytest.raises(InputError, match="chance, or the other images, may have a part in them"):
        Inside(Odd(nn.BatchNorm2d(4, track_running_stats=False)).eval(), 8)
