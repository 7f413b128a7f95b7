"""Graphs are run as networks compute: random ones, and small networks of each layout."""

from __future__ import annotations

import functools
import random
from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from app.config.schema import Model
from app.models.export import export
from app.models.graph import OWN, PIXELS, Graph, Operation, Ref
from app.models.lesioning import Lesioning, cut
from app.models.libraries import BUILDERS, import_torchvision
from app.models.places import Place, Places
from app.models.program import Program

CPU = torch.device("cpu")
SHAPE = (1, 3, 2, 2)


class Held(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 12).reshape(SHAPE))


def draw_graph(seed: int) -> Graph:
    """Sums, products and ReLUs of images and of a weight, some by way of all images at once."""
    choose = random.Random(seed)
    operations: list[Operation] = []

    def add(target: str, *args: object, shape=SHAPE, grows=(0,)) -> str:
        name = f"value{len(operations)}"
        operations.append(Operation(name, f"aten.{target}", args, {}, "", shape, grows))
        return name

    known, bound = [PIXELS, f"{OWN}weight"], {PIXELS}
    for _ in range(choose.randint(3, 12)):
        one, other = choose.choices(known, k=2)
        kind = choose.choice(("relu", "add", "mul", "around"))
        of_images = one in bound or (kind != "relu" and other in bound)
        grows = (0,) if of_images else ()
        if kind == "relu":
            name = add("relu.default", Ref(one), grows=grows)
        elif kind == "around" and one in bound:  # as attention takes the windows of all images
            count = add("sym_size.int", Ref(one), 0, shape=None, grows=())
            flat = add("flatten.using_ints", Ref(one), 0, 1, shape=(3, 2, 2))
            flat = add("sin.default", Ref(flat), shape=(3, 2, 2))
            name = add("view.default", Ref(flat), (Ref(count), 3, 2, 2))
        else:
            target = "mul.Tensor" if kind == "mul" else "add.Tensor"
            name = add(target, Ref(one), Ref(other), grows=grows)
        known.append(name)
        bound |= {name} if of_images else set()
    result = add("add.Tensor", Ref(known[-1]), Ref(PIXELS))
    return Graph(tuple(operations), (), result, 2, {})


def run_all(program: Program, pixels: Tensor) -> dict[str, Tensor]:
    names = [each.name for each in program.graph.operations]
    return {PIXELS: pixels, **dict(program.run({PIXELS: pixels}, names))}


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.data())
def test_any_values_are_computed_from_any_others(seed: int, data: st.DataObject):
    """Nothing is computed that is not needed, and nothing is dropped too early, or kept."""
    graph = draw_graph(seed)
    program = Program(graph, Held(), CPU, torch.float32)
    values = run_all(program, torch.randn(4, 3, 2, 2))
    names = [each.name for each in graph.operations]
    wanted = data.draw(st.lists(st.sampled_from(names), min_size=1, unique=True))
    at_hand = data.draw(st.lists(st.sampled_from(names), unique=True))
    start = {name: values[name] for name in (PIXELS, *at_hand)}
    for name, found in program.run(start, wanted):
        assert torch.equal(torch.as_tensor(found), torch.as_tensor(values[name]))
    steps = program.plan(frozenset(start), frozenset(wanted))
    made = [operation.name for operation, _ in steps]
    dropped = [name for _, done in steps for name in done]
    assert sorted(dropped) == sorted({*made, *(name for each, _ in steps for name in each.takes)
                                      - program.tensors.keys()})  # fmt: skip
    used = {name for operation, _ in steps for name in operation.takes}
    assert set(made) <= used | set(wanted) and not set(made) & start.keys()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.data())
def test_lesions_of_any_graph_equal_full_passes(seed: int, data: st.DataObject):
    """And what does not rest on the place is shared, what does is repeated."""
    graph = draw_graph(seed)
    program = Program(graph, Held(), CPU, torch.float32)
    after = graph.find_dependent([PIXELS])
    before = {graph.result}
    for each in reversed(graph.operations):
        before |= set(each.takes) if each.name in before else set()
    within = [each.name for each in graph.operations if each.each and each.name in after & before]
    value = data.draw(st.sampled_from([name for name in within if name != graph.result] or within))
    lesioning = Lesioning(program, Place("layer", value, "map", SHAPE[1:], 1, ""))
    found = cut(program, [value], graph.result)
    reached = graph.find_dependent([value])
    assert not reached & {*found.shared}
    assert not {value, *found.shared} & {each.name for each in found.repeated}

    pixels, shown, kernels = torch.randn(3, 3, 2, 2), torch.tensor([2, 0, 1, 2]), [-1, 0, 0, 2]
    shared = lesioning.prepare(pixels)
    results = lesioning.run(shared, lesioning.sum(shared), shown, torch.tensor(kernels))
    for image, kernel, ours in zip(shown.tolist(), kernels, results, strict=True):

        def silence(values: Tensor, kernel: int = kernel) -> Tensor:
            values = values.clone()
            values[:, kernel : kernel + 1 or None] *= kernel < 0
            return values

        one = {PIXELS: pixels[image : image + 1]}
        ((_, full),) = program.run(one, [graph.result], {value: silence})
        torch.testing.assert_close(ours, full[0], rtol=1e-6, atol=1e-6)


class Skipping(nn.Module):
    """What a module gives back as it is, others take, too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.skip, self.other = nn.Conv2d(3, 4, 1), nn.Identity(), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.stem(x)
        return (self.skip(x) + self.other(x).sin()).mean((2, 3))


@pytest.mark.parametrize("layer", ["stem", "skip", "other"])
def test_a_branch_that_changes_nothing_is_a_place_of_its_own(layer: str):
    network = Skipping().eval()
    program = Program(export(network, 8, "skipping"), network, CPU, torch.float32)
    lesioning = Lesioning(program, Places(program.graph, "skipping").find(layer, "map"))
    images = torch.randn(2, 3, 8, 8)
    hook = network.get_submodule(layer).register_forward_hook(
        lambda _, __, values: values * torch.tensor([1.0, 0, 1, 1])[:, None, None]
    )
    with torch.inference_mode():
        expected = network(images)
        hook.remove()
        shared = lesioning.prepare(images)
        kernels = torch.tensor([1, 1])
        found = lesioning.run(shared, lesioning.sum(shared), torch.arange(2), kernels)
    torch.testing.assert_close(found, expected)


# Of a network of each layout: a layer, and how it is read.
SMALL = {
    "test_resnet": ("layer2", "map"),
    "test_efficientnet": ("blocks.3.0.conv_pw", "map"),
    "test_convnext": ("stages.1.blocks.0.mlp.fc1", "map_channels_last"),
    "test_vit": ("blocks.3", "tokens"),
    "swin": ("layers.0.blocks.0", "map_channels_last"),
}


def build(name: str) -> tuple[nn.Module, int]:
    if name == "swin":  # windows, that the second block shifts
        import_torchvision("models")
        made = import_module("timm.models.swin_transformer").SwinTransformer
        torch.manual_seed(0)
        return made(
            32, 4, num_classes=5, embed_dim=8, depths=(2,), num_heads=(2,), window_size=4
        ).eval(), 32
    found = BUILDERS["timm"](Model(name=name, source="timm", weights=None))
    return found.network, found.own["input_size"]


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_outputs_and_lesions_equal_those_of_the_network_itself(name: str):
    """With any number of images; lesions against a hook on the module."""
    network, size = build(name)
    graph = export(network, size, name)
    assert not graph.failure
    program = Program(graph, network, CPU, torch.float32)
    layer, output = SMALL[name]
    place = Places(graph, name).find(layer, output)
    (call, *_) = [call for call in graph.calls if call.value == place.value]
    lesioning = Lesioning(program, place)
    images = torch.randn(5, 3, size, size, generator=torch.Generator().manual_seed(0))

    def silence(_module: nn.Module, _inputs: object, values: Tensor) -> Tensor:
        values = values.clone()
        place.view(values)[:, kernel] = 0
        return values

    with torch.inference_mode():
        maps = lesioning.view(lesioning.prepare(images[:1]))
        kernel = int(maps.abs().sum((0, 2, 3)).argmax())
        for count in (1, 2, 5):
            own = network(images[:count])
            close = functools.partial(
                torch.testing.assert_close, rtol=1e-5, atol=1e-5 * float(own.abs().max())
            )
            close(program.get({PIXELS: images[:count]}, graph.result), own)
            handle = network.get_submodule(call.name).register_forward_hook(silence)
            expected = network(images[:count])
            handle.remove()
            shared = lesioning.prepare(images[:count])
            which = torch.full((count,), kernel)
            found = lesioning.run(shared, lesioning.sum(shared), torch.arange(count), which)
            close(found, expected)
            assert not torch.equal(expected, own)
