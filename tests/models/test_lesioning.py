"""Lesions against hooks on full passes of the network itself, in networks of every make."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from app.errors import InputError
from app.models.export import export
from app.models.lesioning import Lesioning, cut
from app.models.places import OUTPUT_MAPS, Places
from app.models.program import Program

CPU = torch.device("cpu")


class Joined(nn.Module):
    """A stride, a skip connection, two branches, a pooling, attention and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.first, self.second = nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.grouped = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.down = nn.Conv2d(8, 6, 3, stride=2)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.mix = nn.Linear(6, 6)
        self.hidden, self.head = nn.Linear(6, 5), nn.Linear(5, 7)

    def forward(self, x):
        x = functional.relu(self.stem(x))
        y = functional.relu(self.norm(self.first(x)))
        y = self.second(y)
        y = y + x
        z = torch.cat([self.grouped(y), y * y.mean((2, 3), keepdim=True)], dim=1)
        z = functional.relu(self.down(functional.max_pool2d(z, 2)))
        tokens = self.mix(z.flatten(2).transpose(1, 2))
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.head(functional.gelu(self.hidden(tokens.mean(1))))


@pytest.fixture(scope="module")
def body() -> nn.Module:
    torch.manual_seed(0)
    body = Joined().eval()
    for each in body.parameters():
        each.data *= 2  # that kernels matter
    return body


@pytest.fixture(scope="module")
def program(body: nn.Module) -> Program:
    graph = export(body, 24, "joined")
    assert not graph.failure
    return Program(graph, body, CPU, torch.float32)


LAYERS = [("stem", "map"), ("first", "map"), ("second", "map"), ("grouped", "map"),
          ("down", "map"), ("mix", "tokens"), ("hidden", "vector")]  # fmt: skip


def full_pass(program: Program, layer: str, output: str, pixels, kernel: int, donors=None):
    """The network's outputs with the kernel of what is read for the layer replaced."""
    place = Places(program.graph, "joined").find(layer, output)

    def replace(values):
        values = values.clone()
        view = OUTPUT_MAPS[output](values)
        view[:, kernel] = 0 if donors is None else donors[:, kernel]
        return values

    found = program.run({"pixels": pixels}, [program.graph.result], {place.value: replace})
    return dict(found)[program.graph.result]


@pytest.mark.parametrize(("layer", "output"), LAYERS)
@pytest.mark.parametrize("replaced", [False, True])
def test_lesions_equal_full_passes(program, layer, output, replaced):
    pixels = torch.rand(3, 3, 24, 24)
    place = Places(program.graph, "joined").find(layer, output)
    lesioning = Lesioning(program, place, pooled=True)
    kernels = torch.arange(-1, place.shape[0]).repeat_interleave(3)
    shown = torch.arange(3).repeat(place.shape[0] + 1)
    with torch.inference_mode():
        shared = lesioning.prepare(pixels)
        donors = lesioning.view(shared)[[1, 2, 0]] if replaced else None
        found = lesioning.run(shared, lesioning.sum(shared), shown, kernels, donors)
        whole = dict(program.run({"pixels": pixels}, [place.value]))[place.value]
        others = place.view(whole)[[1, 2, 0]] if replaced else None
        for kernel in range(place.shape[0]):
            expected = full_pass(program, layer, output, pixels, kernel, others)
            torch.testing.assert_close(found[3 * kernel + 3 :][:3], expected, rtol=0, atol=1e-5)
    assert found.reshape(-1, 3, 7).std(dim=0).max() > 1e-4, "some kernels matter"


class Weighing(nn.Conv2d):
    """Weights are standardised on the way; the maps become a vector by a view.

    It has a tensor that is called as an operation is.
    """

    def __init__(self, *shape: int) -> None:
        super().__init__(*shape)
        self.register_buffer("mean", torch.ones(()))

    def forward(self, x):
        weight = self.weight - self.mean * self.weight.mean((1, 2, 3), keepdim=True)
        return self._conv_forward(x, weight, self.bias).view(x.shape[0], -1)


def test_weights_that_are_computed_are_lesioned_after():
    """As in BiT and normaliser-free networks; what no image has a part in is computed once."""
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), Weighing(4, 5, 3), nn.ReLU(), nn.Linear(80, 7)
    body = nn.Sequential(*layers).eval()
    graph = export(body, 8, "weighing")
    assert not graph.failure
    program = Program(graph, body, CPU, torch.float32)
    steps = program.plan(frozenset(["pixels"]), frozenset([graph.result]))
    assert not {"sub", "mean"} & {each.kind for each, _ in steps}
    place = Places(graph, "weighing").find("0", "map")
    lesioning, pixels = Lesioning(program, place), torch.rand(3, 3, 8, 8)
    assert lesioning.linear is not None
    with torch.inference_mode():
        shared = lesioning.prepare(pixels)
        given = shared, lesioning.sum(shared), torch.arange(3), torch.tensor([1, 1, 1])
        expected = full_pass(program, "0", "map", pixels, 1)
        torch.testing.assert_close(lesioning.run(*given), expected, rtol=0, atol=1e-6)
    weights, known = lesioning.linear.takes[1], program.tensors
    program.tensors = {name: each for name, each in known.items() if name != weights}
    assert Lesioning(program, place).linear is None, "they may be an image's own"


def test_what_a_full_pass_here_is_is_what_a_hook_leaves(program, body):
    """Of a module without an activation."""

    def silence(_module, _inputs, output):
        output = output.clone()
        output[:, 2] = 0
        return output

    pixels = torch.rand(3, 3, 24, 24)
    handle = body.grouped.register_forward_hook(silence)
    with torch.inference_mode():
        expected = body(pixels)
        handle.remove()
        found = full_pass(program, "grouped", "map", pixels, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_what_rests_on_the_place_alone_is_repeated(program):
    """A skip connection is shared, and so is nothing that lies before it."""
    place = Places(program.graph, "joined").find("second", "map")
    found = cut(program, [place.value], program.graph.result)
    skip = Places(program.graph, "joined").find("stem", "map").value
    assert found.shared == (skip,)
    kinds = [each.kind for each in found.repeated]
    assert kinds.count("conv2d") == 2, "grouped and down"


def test_a_result_before_the_place_has_no_lesions(program):
    place = Places(program.graph, "joined").find("hidden", "vector")
    before = Places(program.graph, "joined").find("down", "map").value
    with pytest.raises(InputError, match="nothing is left of a lesion of hidden"):
        Lesioning(program, place, before)


@pytest.mark.parametrize("layer", ["down", "second"])
def test_lesions_may_be_judged_by_any_value(program, layer):
    """Also by what the shortcut of a linear operation would pass."""
    pixels = torch.rand(2, 3, 24, 24)
    place = Places(program.graph, "joined").find(layer, "map")
    result = Places(program.graph, "joined").find("down", "map").value
    if layer == "down":
        result = program.graph.users[place.value][0].name
    lesioning = Lesioning(program, place, result)
    with torch.inference_mode():
        shared = lesioning.prepare(pixels)
        shown, kernel = torch.arange(2), torch.full((2,), 1)
        found = lesioning.run(shared, lesioning.sum(shared), shown, kernel)

        def silence(values):
            values = values.clone()
            values[:, 1] = 0
            return values

        expected = dict(program.run({"pixels": pixels}, [result], {place.value: silence}))[result]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("result", ["adaptive_avg_pool2d", "flatten"])
def test_pooled_maps_are_lesioned_where_nothing_with_weights_follows(pooled, result):
    """As before a readout; of the result itself, too."""
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 2)
    ).eval()
    program = Program(export(body, 12, "pooled"), body, CPU, torch.float32)
    result = next(each.name for each in program.graph.operations if each.kind == result)
    place = Places(program.graph, "pooled").find("0", "map")
    lesioning = Lesioning(program, place, result, pooled)
    assert lesioning.shape == ((5, 2, 2) if pooled else (5, 10, 10))
    assert lesioning.largest == (20 if pooled else 500)
    pixels, kernels = torch.rand(2, 3, 12, 12), torch.tensor([-1, -1, 1, 1, 4, 4])
    with torch.inference_mode():
        shared = lesioning.prepare(pixels)
        found = lesioning.run(shared, lesioning.sum(shared), torch.arange(2).repeat(3), kernels)
        maps = body[:2](pixels).repeat(3, 1, 1, 1)
        maps[2:4, 1] = maps[4:, 4] = 0
        expected = body[2](maps)
    torch.testing.assert_close(found.flatten(1), expected.flatten(1), rtol=0, atol=1e-6)
