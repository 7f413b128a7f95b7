"""Attribution against torch's own gradients by hooks, and where it is exact against lesions."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from app.models.attribution import _deal, attribute
from app.models.export import export
from app.models.graph import PIXELS
from app.models.lesioning import Lesioning
from app.models.places import Places
from app.models.program import Program

ANSWERS = torch.tensor([0, 2, 1])


class Net(nn.Module):
    """Maps, a skip connection, tokens, and an activation in place."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.relu = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(inplace=True)
        self.block = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.ReLU(inplace=True))
        self.mlp = nn.Sequential(nn.Linear(6, 8), nn.GELU())
        self.head, self.spare = nn.Linear(8, 3), nn.Conv2d(3, 2, 1)

    def forward(self, x):
        self.spare(x)
        x = self.relu(self.stem(x))
        x = self.block(x) + x
        return self.head(self.mlp(x.flatten(2).transpose(1, 2)).mean(1))


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture(scope="module")
def program(net: Net) -> Program:
    return Program(export(net, 8, "net"), net, torch.device("cpu"), torch.float32)


PIXEL = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
LAYERS = {"stem": "map", "block": "map", "mlp": "tokens"}


def place(program: Program, layer: str, output: str = "map"):
    return Places(program.graph, "net").find(layer, output)


def judge(logits: Tensor) -> Tensor:
    return functional.cross_entropy(logits, ANSWERS, reduction="none")


def end(program: Program):
    return program.graph.result, judge


def differentiate(
    net: nn.Module, module: nn.Module, scale: float | Tensor = 1
) -> tuple[Tensor, Tensor]:
    """What a module gives, times a number, and the gradient of each image's loss by it."""
    kept = []

    def keep(_, __, output):
        kept.append((output * scale).detach().requires_grad_())
        return kept[-1].clone()  # what follows may change it in place

    handle = module.register_forward_hook(keep)
    judge(net(PIXEL)).sum().backward()
    handle.remove()
    return kept[0].detach(), kept[0].grad


def test_all_places_in_one_pass_equal_gradients_by_hooks(net: Net, program: Program, monkeypatch):
    passes, run = [], program.run
    monkeypatch.setattr(program, "run", lambda *asked: passes.append(1) or run(*asked))
    asked = [place(program, layer, output) for layer, output in LAYERS.items()]
    with torch.inference_mode():  # as what calls it may be in
        found = attribute(program, asked, {PIXELS: PIXEL.clone()}, end(program))
    assert len(passes) == 1
    torch.testing.assert_close(found.loss, judge(net(PIXEL)).detach())
    for layer, module in {"stem": net.relu, "block": net.block, "mlp": net.mlp}.items():
        maps, gradient = differentiate(net, module)
        expected = -maps * gradient
        if layer == "mlp":
            expected = expected.transpose(1, 2)[..., None]
        torch.testing.assert_close(found.changes[layer], expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("points", [2, 5])
def test_slopes_are_read_half_way_of_a_few(net: Net, program: Program, points: int):
    asked = place(program, "block")
    found = attribute(program, [asked], {PIXELS: PIXEL}, end(program), points=points)
    dealt, maps = _deal(asked, points), differentiate(net, net.block)[0]
    sizes = dealt.unique(return_counts=True)[1]
    assert len(sizes) == points and sizes.max() - sizes.min() <= 1
    expected = torch.zeros_like(maps)
    for group in range(points):
        own = (dealt == group).expand(6, 8, 8)
        half = torch.where(own, 0.5, 1.0)
        expected -= maps * own * differentiate(net, net.block, half)[1]
    torch.testing.assert_close(found.changes["block"], expected, rtol=1e-4, atol=1e-7)


def test_replacements_are_where_the_path_ends(net: Net, program: Program):
    other = torch.rand(6, 8, 8)
    asked = [place(program, "block")]
    found = attribute(program, asked, {PIXELS: PIXEL}, end(program), {"block": other})
    maps, gradient = differentiate(net, net.block)
    torch.testing.assert_close(
        found.changes["block"], (other - maps) * gradient, rtol=1e-4, atol=1e-7
    )
    same = attribute(program, asked, {PIXELS: PIXEL}, end(program), {"block": maps}, points=3)
    assert same.changes["block"].abs().max() < 1e-6


def test_what_the_result_does_not_rest_on_changes_nothing(program: Program):
    found = attribute(program, [place(program, "spare")], {PIXELS: PIXEL}, end(program))
    assert found.changes["spare"].shape == (3, 2, 8, 8) and not found.changes["spare"].any()


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 5, 3), nn.ReLU()
        self.next, self.head = nn.Conv2d(5, 4, 3), nn.Linear(4 * 16, 3)

    def forward(self, x):
        return self.head(self.next(self.relu(self.conv(x))).flatten(1))


@pytest.mark.parametrize("units", [False, True])
@pytest.mark.parametrize("points", [1, 3])
def test_exact_where_the_network_is_linear(units: bool, points: int):
    torch.manual_seed(1)
    net = Linear().eval()
    program = Program(export(net, 8, "net"), net, torch.device("cpu"), torch.float32)
    layer = place(program, "conv")
    lesioning = Lesioning(program, layer, units=units)
    assert (lesioning.linear is None) == units
    number = (
        torch.tensor([0, 1, 4, 4]) if not units else torch.tensor([0, 36 + 7, 4 * 36, 5 * 36 - 1])
    )
    images = torch.tensor([0, 2, 0, 1])
    with torch.inference_mode():
        shared = lesioning.prepare(PIXEL)
        lesioned = lesioning.run(shared, lesioning.sum(shared), images, number)
    weights = torch.tensor([1.0, -2, 0.5])
    found = attribute(
        program,
        [layer],
        {PIXELS: PIXEL},
        (program.graph.result, lambda logits: logits @ weights),
        points=points,
    )
    changes = found.changes["conv"]
    changes = changes.flatten(1) if units else changes.sum(dim=(2, 3))
    exact = lesioned @ weights - found.loss[images]
    torch.testing.assert_close(changes[images, number], exact, rtol=1e-4, atol=1e-6)
