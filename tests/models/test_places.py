"""Layers by their modules' names: what is read is what hooks on the network would keep."""

import copy
import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from app.errors import InputError
from app.models.export import _hooks, export
from app.models.graph import PIXELS, Graph
from app.models.places import Place, Places
from app.models.program import Hooks, Program


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


@pytest.fixture(scope="module")
def body() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def graph(body: nn.Module) -> Graph:
    return export(body, 16, "net")


def place(graph: Graph, layer: str, output: str = "map") -> Place:
    return Places(graph, "net").find(layer, output)


def read(graph: Graph, body: nn.Module, images: torch.Tensor, *places: Place) -> dict:
    """Each layer's maps, in the order in which they come."""
    runs = Program if graph.operations else Hooks
    program = runs(graph, body, torch.device("cpu"), torch.float32)
    names = {each.value: each for each in places}
    with torch.inference_mode():
        found = program.run({PIXELS: images}, list(names))
        return {names[name].layer: names[name].view(values) for name, values in found}


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
        ("bare", "bare (Conv2d), after relu: 4 x 8 x 8"),  # its ReLU is no module
        ("mlp.0", "mlp.0 (Linear), after mlp.1 (GELU): 64 x 6"),
        ("mlp.2", "mlp.2 (Linear): 64 x 5"),
    ],
)
def test_layers_are_read_after_their_activation(graph, layer, words):
    output = "tokens" if layer.startswith("mlp") else "map"
    assert place(graph, layer, output).words == words


def test_what_is_read_is_what_the_network_computes(graph, body):
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
        expected["bare"] = functional.relu(body.bare(expected["block"]))
    found = read(graph, body, images, *[place(graph, layer) for layer in expected])
    assert list(found) == ["stem.0", "block.conv1", "block.bn2", "block", "bare"]
    for layer, maps in expected.items():
        torch.testing.assert_close(found[layer], maps, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("output", "layer", "shape"),
    [
        ("map", "block", (4, 8, 8)),
        ("map_channels_last", "last", (4, 8, 8)),
        ("tokens", "mlp", (5, 64, 1)),
        ("vector", "head", (2, 1, 1)),
    ],
)
def test_outputs_become_maps(graph, body, output, layer, shape):
    asked = place(graph, layer, output)
    (maps,) = read(graph, body, torch.rand(2, 3, 16, 16), asked).values()
    assert asked.shape == shape == tuple(maps.shape[1:])


class Cubes(nn.Module):
    """Rows, columns and channels are 8 each, channels first and last."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.block = nn.Conv2d(3, 8, 1), nn.Identity()
        self.norm, self.next = nn.LayerNorm(8), nn.Conv2d(8, 8, 1)

    def forward(self, x):
        x = self.block(self.conv(x).permute(0, 2, 3, 1))
        x = self.norm(x) + x
        return self.next(x.permute(0, 3, 1, 2)).mean((2, 3))


def test_channels_are_told_from_as_many_rows():
    listed = {name: fitting for name, _, _, fitting in
              Places(export(Cubes().eval(), 8, "cubes"), "cubes").list_all()}  # fmt: skip
    first, last = ["map"], ["map_channels_last"]
    assert listed == {"conv": first, "block": last, "norm": last, "next": first}


def test_tokens_are_rows(graph, body):
    images = torch.rand(2, 3, 16, 16)
    kept = []
    handle = body.mlp.register_forward_hook(lambda _, __, output: kept.append(output))
    with torch.inference_mode():
        body(images)
    handle.remove()
    maps = read(graph, body, images, place(graph, "mlp", "tokens"))["mlp"]
    torch.testing.assert_close(maps[1, 3, 7, 0], kept[0][1, 7, 3])


class Stubborn(nn.Module):
    """What a graph cannot say: it looks at its images to choose its way."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.relu(self.conv(x))
        if x.sum() > 0:
            x = self.relu(-x + 1)
        return self.head(x.mean((2, 3)))


def test_a_network_without_a_graph_is_read_by_hooks():
    """As its modules give, at their last call; the pass ends at the deepest."""
    torch.manual_seed(0)
    net = Stubborn().eval()
    graph = export(net, 8, "stubborn")
    assert not graph.operations and graph.failure and "\n" not in graph.failure
    images = torch.rand(2, 3, 8, 8)
    with torch.inference_mode():
        conv = net.conv(images)
        relu = functional.relu(1 - functional.relu(conv))
    handle = net.head.register_forward_hook(lambda *_: pytest.fail("deeper than asked"))
    found = read(graph, net, images, place(graph, "conv"), place(graph, "relu"))
    handle.remove()
    assert list(found) == ["conv", "relu"]
    assert torch.equal(found["conv"], conv) and torch.equal(found["relu"], relu)
    assert place(graph, "relu").words == "relu (ReLU), call 2 of 2: 4 x 8 x 8"
    assert not net.conv._forward_hooks


def test_what_has_no_images_first_is_listed_nowhere():
    class Turned(Stubborn):
        def forward(self, x):
            return self.turn(super().forward(x))

    net = Turned().eval()
    net.turn = nn.Flatten(0)
    places = Places(export(net, 8, "turned"), "turned")
    assert [name for name, *_ in places.list_all()] == ["conv", "relu", "head"]
    with pytest.raises(InputError, match="layer.name=turn of turned gives no single floating"):
        places.find("turn", "vector")


def test_a_copy_of_the_network_is_seen_by_the_same_names():
    """Such as torch.export makes of some."""
    net = Stubborn().eval()
    with _hooks(net, lambda output, _: output) as calls:
        copy.deepcopy(net)(torch.rand(2, 3, 8, 8))
    assert [call.name for call in calls] == ["conv", "relu", "relu", "head", ""]


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
        ("windows", "vector", "gives no single floating-point tensor with images first"),
        ("pair", "map", "layer.name=pair of net gives no single floating-point tensor"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_line(graph, layer, output, message):
    with pytest.raises(InputError) as error:
        place(graph, layer, output)
    assert re.search(message, str(error.value))
    assert "\n" not in str(error.value)
    assert "app.layers" in str(error.value) or "layer.output=" in str(error.value)


class Attends(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.attn = nn.Conv2d(3, 8, 4, stride=4), nn.MultiheadAttention(8, 2)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        x.mul_(2)  # what is given is changed, too
        x = self.embed(x).flatten(2).permute(2, 0, 1)
        x = x + self.attn(x, x, x, need_weights=False)[0]
        return self.head(x.mean(0))


def test_functions_are_places_and_heads_are_kernels():
    """Of a module that gives no tensor: each head's output, tokens as rows."""
    torch.manual_seed(0)
    body = Attends().eval()
    graph = export(body, 16, "attends")
    assert not graph.failure
    heads = place(graph, "attn/scaled_dot_product_attention")
    assert heads.shape == (2, 16, 4)
    assert heads.words == (
        "attn (MultiheadAttention), its scaled_dot_product_attention: 2 x 16 x 4"
    )
    found = read(graph, body, torch.rand(3, 3, 16, 16), heads)
    assert found[heads.layer].shape == (3, 2, 16, 4)
    with pytest.raises(InputError, match="attn/relu is no function .* it calls .*scaled_dot"):
        place(graph, "attn/relu")
    with pytest.raises(InputError, match="att/relu is no function .*app.layers"):
        place(graph, "att/relu")


def test_what_changes_its_input_in_place_is_exported():
    body = Attends().eval()
    graph = export(body, 16, "attends")
    program = Program(graph, body, torch.device("cpu"), torch.float32)
    images = torch.rand(5, 3, 16, 16)
    with torch.inference_mode():
        found = program.get({PIXELS: images}, graph.result)
        again = program.get({PIXELS: images}, graph.result)
        expected = body(images.clone())
    torch.testing.assert_close(found, expected)
    assert torch.equal(found, again)


class Written(nn.Module):
    """A network as `how`, (network, images) to outputs, says."""

    def __init__(self, how) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1)
        self.head, self.how = nn.Linear(4, 2), how

    def forward(self, *images):
        return self.how(self, *images)


def squeezes(net, x):
    return net.head(net.pool(net.conv(x).relu()).squeeze()).softmax(1)


def counts(net, x):
    x = net.conv(x).relu()
    return net.head(x.view(len(x), 4, -1).mean(2))


def is_frozen(net, x):
    with torch.no_grad():
        x = net.conv(x).relu()
    return net.head(x.mean((2, 3)))


class Wrapped(nn.Module):
    """A network in another, as DataParallel, torch.compile and FSDP wrap it."""

    def __init__(self, module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs, **options):
        return self.module(*inputs, **options)


@pytest.mark.parametrize("wrap", [lambda net: net, Wrapped])
@pytest.mark.parametrize("how", [squeezes, counts, is_frozen])
def test_networks_have_a_graph_as_people_write_them(how, wrap):
    """Of any number of images, of one, too."""
    torch.manual_seed(0)
    net = wrap(Written(how)).eval()
    graph = export(net, 8, "written")
    assert not graph.failure
    assert [name for name, *_ in Places(graph, "written").list_all()][0].endswith("conv")
    program = Program(graph, net, torch.device("cpu"), torch.float32)
    images = torch.rand(5, 3, 8, 8)
    with torch.inference_mode():
        expected = net(images)
        for count in (1, 5):
            found = program.get({PIXELS: images[:count]}, graph.result)
            torch.testing.assert_close(found, expected[:count])


def test_why_there_is_no_graph_is_one_line(capfd):
    def goes_one_by_one(net, x):
        return torch.stack([net.head(net.conv(each).mean((1, 2))) for each in x])

    def gives_two(net, x):
        return net.head(net.conv(x).mean((2, 3))), x

    failures = [
        export(Written(how).eval(), 8, "written").failure for how in (goes_one_by_one, gives_two)
    ]
    assert "Constraints violated" in failures[0]
    assert failures[1] == "ValueError: it gives a tuple, not one tensor"
    assert export(Stubborn().eval(), 8, "stubborn").failure
    assert not capfd.readouterr().err, "torch tells the rest"


def test_a_depth_is_a_layer_that_all_of_the_network_passes_through(graph: Graph):
    """Of a block's layers, and of branches that end, others lead around; the head is a vector."""
    places = Places(graph, "net")
    found = [places.find_at(number / 6)[0] for number in range(1, 7)]
    assert found == ["stem", "block", "bare", "norm", "mlp.0", "mlp"]
    assert [places.find_at(depth)[0] for depth in (1e-9, 0.34, 0.5)] == ["stem", "bare", "bare"]
    assert places.find_at(1) == ("mlp", "tokens")
    assert set(graph.bottlenecks) == set(find_dominators(graph)) - {PIXELS}


def find_dominators(graph: Graph) -> list[str]:
    """The values without which nothing of the images reaches the result, tried one by one."""

    def reaches(without: str) -> bool:
        seen, left = {without}, [PIXELS]
        while left:
            name = left.pop()
            seen.add(name)
            left += [each.name for each in graph.users.get(name, []) if each.name not in seen
                     and each.shape is not None]  # fmt: skip
        return graph.result in seen - {without}

    return [each.name for each in graph.operations if not reaches(each.name)]
