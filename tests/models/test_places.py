"""Layers by their modules' names: what is read is what hooks on the network would keep."""

import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from app.errors import InputError
from app.models.modules import ModuleNetwork


class Block(nn.Module):
    """One ReLU for three places, in place, with a sum between: as residual networks have it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 1)
        self.bn2 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.spare = nn.Identity()

    def forward(self, x):
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += x
        return self.relu(y)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU()
        )
        self.block = Block()
        self.bare = nn.Conv2d(4, 4, 1)
        self.pair = Pair()
        self.last, self.windows = nn.Linear(4, 4), nn.Identity()
        self.norm = nn.LayerNorm(4)
        self.mlp = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 5))
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        x = self.block(self.stem(x))
        x = functional.relu(self.bare(x))
        x, _ = self.pair(x)
        self.windows(self.last(x.permute(0, 2, 3, 1)).flatten(0, 2))
        tokens = x.flatten(2).transpose(1, 2)
        tokens = self.mlp(self.norm(tokens))
        return self.head(tokens.mean(1))


class Pair(nn.Module):
    def forward(self, x):
        return x, x


@pytest.fixture
def body() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()


def asked(body, output="map"):
    return ModuleNetwork(body, "net", 16, output)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("stem.0", "stem.0 (Conv2d), after stem.2 (ReLU): 4 x 8 x 8"),
        ("stem.1", "stem.1 (BatchNorm2d), after stem.2 (ReLU): 4 x 8 x 8"),
        ("stem", "stem (Sequential): 4 x 8 x 8"),
        ("block.conv1", "block.conv1 (Conv2d), after block.relu (ReLU), call 1 of 2: 4 x 8 x 8"),
        ("block.bn2", "block.bn2 (BatchNorm2d): 4 x 8 x 8"),  # a sum follows before the ReLU
        ("block.relu", "block.relu (ReLU), call 2 of 2: 4 x 8 x 8"),
        ("block", "block (Block): 4 x 8 x 8"),
        ("bare", "bare (Conv2d): 4 x 8 x 8"),  # its ReLU is no module
        ("mlp.0", "mlp.0 (Linear), after mlp.1 (GELU): 64 x 6"),
        ("mlp.2", "mlp.2 (Linear): 64 x 5"),
    ],
)
def test_layers_are_read_after_their_activation(body, layer, words):
    assert asked(body).read_as(layer) == words


def test_what_is_read_is_what_the_network_computes(body):
    """Also where a later module changes it in place."""
    images = torch.rand(3, 3, 16, 16)
    with torch.inference_mode():
        stem = body.stem(images)
        after_first = functional.relu(body.block.bn1(body.block.conv1(stem)))
        before_sum = body.block.bn2(body.block.conv2(after_first))
        expected = {
            "block.bn2": before_sum,
            "stem.0": stem,
            "block": functional.relu(before_sum + stem),
            "block.conv1": after_first,
        }
        read = dict(asked(body).read(list(expected), images))
    assert list(read) == ["stem.0", "block.conv1", "block.bn2", "block"]
    for layer, maps in expected.items():
        torch.testing.assert_close(read[layer], maps, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("output", "layer", "shape"),
    [
        ("map", "block", (4, 8, 8)),
        ("map_channels_last", "last", (4, 8, 8)),
        ("tokens", "mlp", (5, 64, 1)),
        ("vector", "head", (2, 1, 1)),
    ],
)
def test_outputs_become_maps(body, output, layer, shape):
    network = asked(body, output)
    images = torch.rand(2, 3, 16, 16)
    with torch.inference_mode():
        ((_, maps),) = network.read([layer], images)
        values = dict(asked(body).read([layer], images))[layer] if output == "map" else None
    assert network.shape(layer) == shape == tuple(maps.shape[1:])
    if values is not None:
        assert torch.equal(maps, values)


class Cubes(nn.Module):
    """Rows, columns and channels are 8 each, first and last; `fixed` takes one size alone."""

    def __init__(self, fixed: bool) -> None:
        super().__init__()
        self.conv, self.block, self.fixed = nn.Conv2d(3, 8, 1), nn.Identity(), fixed
        if fixed:
            self.output_fmt = "NHWC"  # as timm says it

    def forward(self, x):
        assert not self.fixed or x.shape[-1] == 8
        return self.block(self.conv(x).permute(0, 2, 3, 1))


@pytest.mark.parametrize("fixed", [False, True])
def test_channels_are_told_from_as_many_rows(fixed):
    network = ModuleNetwork(Cubes(fixed).eval(), "cubes", 8, "map")
    outputs = {call.name: network.find_outputs(call) for call in network.calls}
    assert outputs["conv"] == ["map"] and outputs["block"] == ["map_channels_last"]


def test_tokens_are_rows(body):
    images = torch.rand(2, 3, 16, 16)
    kept = []
    handle = body.mlp.register_forward_hook(lambda _, __, output: kept.append(output))
    with torch.inference_mode():
        body(images)
        handle.remove()
        ((_, maps),) = asked(body, "tokens").read(["mlp"], images)
    assert torch.equal(maps[1, 3, 7, 0], kept[0][1, 7, 3])


def test_the_pass_ends_at_the_deepest_layer(body):
    network = asked(body)
    network.calls  # noqa: B018  the look at the network is over
    body.head.register_forward_hook(lambda *_: pytest.fail("deeper than asked"))
    with torch.inference_mode():
        list(network.read(["stem.0", "block"], torch.rand(1, 3, 16, 16)))
    assert not body.block._forward_hooks


@pytest.mark.parametrize(
    ("layer", "output", "message"),
    [
        ("blok.conv1", "map", "blok.conv1 is no module of net: nearest are block.conv1"),
        ("block.spare", "map", "layer.name=block.spare is not called .* pass of net: nearest"),
        ("", "map", "is no module of net"),
        ("mlp", "map", "layer.output=map does not fit layer.name=mlp of net, which gives 64 x 5 .*"
         "take layer.output=tokens"),
        ("block", "vector", "take layer.output=map$"),
        ("last", "map", "gives 8 x 8 x 4 values an image: take layer.output=map_channels_last$"),
        ("windows", "vector", "gives no single tensor with images first"),
        ("pair", "map", "layer.name=pair of net gives no single tensor"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line(body, layer, output, message):
    with pytest.raises(InputError) as error:
        asked(body, output).shape(layer)
    assert re.search(message, str(error.value))
    assert "\n" not in str(error.value)
    assert "app.layers" in str(error.value) or "layer.output=" in str(error.value)
