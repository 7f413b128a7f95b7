"""The forward pass against hooks on the whole network and plain NumPy."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from app.choices import LAYERS
from app.config.schema import Model
from app.errors import InputError
from app.memo import Memo
from app.models.loading import Loaded
from app.models.network import Network
from app.models.vgg import DualTaskVGG, layer_position, seeded
from app.responses import units as units_room
from app.responses.hardware import Hardware, choose_device
from app.responses.kernels import Reader, read_kernels
from app.responses.passes import collect, plan_pass
from app.responses.units import Units, fit_rows
from app.stimuli.images import Images, drawn

WIDTHS = (4, 4, 6, 6, 8, 8, 8, 10, 10, 10, 12, 12, 12)
CPU = Hardware(torch.device("cpu"))
HALF = [0.5, 0.5, 0.5]


def known(network: DualTaskVGG) -> Network:
    """The network as steps are given it."""
    size = network.input_size
    settings = Model(
        *("test", "vgg"), widths=list(network.widths), hidden=network.hidden,
        outputs=network.outputs, input_size=size, resize=size, mean=HALF, sd=HALF, trained=False,
    )  # fmt: skip
    return Network(settings, loaded=lambda: Loaded(network, settings, "digest"))


@pytest.fixture(scope="module")
def module() -> DualTaskVGG:
    return seeded(1, WIDTHS, 16, 9, 64).eval()


@pytest.fixture(scope="module")
def network(module: DualTaskVGG) -> Network:
    return known(module)


@pytest.fixture(scope="module")
def images() -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (11, 64, 64), dtype=np.uint8)
    return drawn(pixels, [f"c{i % 3}" for i in range(11)], "drawn")


@pytest.fixture(scope="module")
def hooked(module: DualTaskVGG, network: Network, images: Images) -> dict[str, np.ndarray]:
    """What forward hooks see when the whole network runs on all images at once."""
    seen: dict[str, np.ndarray] = {}
    handles = [
        module.features[layer_position(layer)].register_forward_hook(
            lambda _m, _i, output, layer=layer: seen.update({layer: output.numpy().copy()})
        )
        for layer in LAYERS
    ]
    prepare = network.preprocessing
    with torch.no_grad():
        module(torch.from_numpy(np.stack([prepare(images.open(i)) for i in range(len(images))])))
    for handle in handles:
        handle.remove()
    return seen


def by_kernel(network: Network, layers: Any, images: Images, hardware: Hardware = CPU) -> Any:
    return read_kernels({layer: layer for layer in layers}, network, images, hardware)


def by_unit(network: Network, layer: str, images: Images, hardware: Hardware = CPU) -> np.ndarray:
    """All units of a layer, put in their places."""
    found = np.full((len(images), np.prod(network.map_shape(layer))), np.nan, "float32")
    for units, responses in Units(network, layer).read(images, hardware):
        assert np.isnan(found[:, units]).all(), "each unit once"
        found[:, units] = responses
    return found


@pytest.fixture
def in_blocks(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Blocks of so many rows."""

    def ask(rows: int) -> None:
        monkeypatch.setattr(units_room, "fit_rows", lambda *_, **__: rows)

    return ask


def test_units_that_fit_at_once_are_read_once_for_two_that_ask(network, images, in_blocks):
    reader = Reader(network, "conv2", CPU, Memo("unused"))
    ((units, responses),) = reader.units.read(images, CPU)
    expected = responses.copy()
    ((_, again),) = reader.units.read(images, CPU)
    assert again is responses
    ((_, anew),) = reader.units.read(images, CPU)
    assert anew is not responses
    in_blocks(3)  # there is less room for the second
    parts = [(own, part.copy()) for own, part in reader.units.read(images, CPU)]
    assert len(parts) > 1
    for own, part in parts:
        np.testing.assert_allclose(part, expected[:, np.argsort(units)[own]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch_size", [4, None])
def test_kernels_of_the_layers_asked_in_all_aggregations(network, images, hooked, batch_size):
    found = by_kernel(network, LAYERS, images, Hardware(CPU.device, batch_size=batch_size))
    assert set(found) == set(LAYERS)
    for layer in LAYERS:
        maps = hooked[layer].reshape(len(images), hooked[layer].shape[1], -1).astype(np.float64)
        assert (maps >= 0).all() and (maps > 0).any(), "read after the ReLU"
        close = {"rtol": 1e-4, "atol": 1e-6}
        assert set(found[layer]) == {"mean", "l2", "max"}
        np.testing.assert_allclose(found[layer]["mean"], maps.mean(-1), **close)
        np.testing.assert_allclose(found[layer]["l2"], np.sqrt((maps**2).sum(-1)), **close)
        np.testing.assert_allclose(found[layer]["max"], maps.max(-1), **close)


def test_layers_that_cannot_be_read_are_left_out_beside_others(network, images):
    assert list(by_kernel(network, ["conv1", "conv14"], images)) == ["conv1"]
    with pytest.raises(InputError, match="layer.name=conv14 is no convolution"):
        by_kernel(network, ["conv14"], images)


@pytest.mark.parametrize("layer", LAYERS)
def test_units_run_channel_row_column(network, images, hooked, layer):
    found = by_unit(network, layer, images)
    np.testing.assert_allclose(found, hooked[layer].reshape(len(images), -1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("rows", [1, 3, 5, 8, 1000])
def test_rows_by_strips_are_those_of_the_whole_map(network, images, in_blocks, layer, rows):
    whole = by_unit(network, layer, images)
    in_blocks(rows)
    found = by_unit(network, layer, images)
    # The same sums; where a strip is narrow the library may add them up in another order.
    np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)


def test_a_strip_is_as_wide_as_what_its_rows_see(network):
    forward = plan_pass(network, ["conv4"], CPU)
    seen, inside = forward.strip(slice(16, 17))
    # Two convolutions of 3 x 3, a pooling, two more: rows 26 to 39 of the image.
    assert (seen.start, seen.stop) == (26, 40) and (inside.start, inside.stop) == (3, 4)
    top, _ = forward.strip(slice(0, 1))
    assert (top.start, top.stop) == (0, 8)
    bottom, inside = forward.strip(slice(31, 32))
    assert (bottom.start, bottom.stop) == (56, 64) and inside == slice(3, 4)


def test_map_shapes_are_those_of_the_maps(network, hooked):
    for layer in LAYERS:
        assert network.map_shape(layer) == hooked[layer].shape[1:]


def test_the_pass_goes_no_deeper_than_asked(network):
    shapes = plan_pass(network, ["conv3", "conv1"], CPU).program.shapes(["relu_2"])
    assert len(shapes) == 7, "three convolutions and ReLUs, a pooling"


def test_the_same_images_give_the_same_bits(network, images):
    batches = Hardware(CPU.device, batch_size=4)
    first, second = (by_kernel(network, LAYERS, images, batches) for _ in range(2))
    for layer in LAYERS:
        assert all(np.array_equal(first[layer][name], second[layer][name]) for name in first[layer])


def test_other_numbers_of_threads_agree(network, images):
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(by_kernel(network, LAYERS, images))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        for layer in LAYERS:
            np.testing.assert_allclose(other[layer]["l2"], found[0][layer]["l2"], rtol=1e-5)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_is_close_and_leaves_the_weights(module, network, images, precision):
    before = {name: weight.clone() for name, weight in module.state_dict().items()}
    whole = by_kernel(network, ["conv5"], images)["conv5"]
    half = by_kernel(network, ["conv5"], images, Hardware(CPU.device, precision))["conv5"]
    assert half["l2"].dtype == np.float32
    tolerance = {"float16": 1e-2, "bfloat16": 1e-1}[precision]
    for name in whole:
        difference = np.abs(half[name] - whole[name]).max() / np.abs(whole[name]).max()
        assert 0 < difference < tolerance
    assert all(torch.equal(weight, before[name]) for name, weight in module.state_dict().items())


def test_half_precision_is_refused_on_a_cpu():
    with pytest.raises(InputError, match="precision=float16 needs a GPU"):
        choose_device("cpu", "float16")


def test_batches_are_smaller_for_larger_maps():
    assert CPU.batch(64 * 224 * 224) == 2
    assert CPU.batch(16 * 64 * 64) == 128
    assert CPU.batch(1) == 256
    assert CPU.batch(10**9) == 1
    assert Hardware(CPU.device, batch_size=7).batch(10**9) == 7


CONV2 = (64, 224, 224)


def rows(budget: float, fixed: float = 1e9) -> int:
    what = "the units of conv2"
    return fit_rows(budget, CONV2, 1440, fixed=(int(fixed), 0), bytes_a_unit=192, what=what)


def test_more_memory_more_rows():
    found = [rows(budget) for budget in (3.2, 4, 8, 16, 40)]
    assert found == sorted(found) and found[0] >= 1
    assert found[-1] == 224, "never more than there are"


def test_what_is_planned_stays_below_the_budget():
    for budget in (3.2, 4, 6):
        block = rows(budget) * 64 * 224 * 1440 * 4
        assert 1e9 + block + 192 * np.prod(CONV2) < budget * 1e9


def test_what_only_reading_holds_is_free_for_findings():
    gigabyte = 10**9
    assert fit_rows(3.6, CONV2, 1440, (gigabyte, gigabyte), 192, "x") == 5
    with pytest.raises(InputError, match="at least 3.8 is needed"):
        fit_rows(3.6, CONV2, 1440, (2 * gigabyte, 0), 192, "x")


def test_too_small_a_budget_is_refused_with_the_smallest_that_works():
    with pytest.raises(
        InputError, match=r"memory_gb=1 is too little for the units of conv2"
    ) as told:
        rows(1)
    needed = float(str(told.value).split("at least ")[1].split(" ")[0])
    assert rows(needed) >= 1
    with pytest.raises(InputError):
        rows(needed - 0.1)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6))
def test_what_batches_give_is_joined(sizes: list[int]):
    whole = np.arange(3 * sum(sizes), dtype=np.float32).reshape(-1, 3)
    parts = np.split(whole, np.cumsum(sizes)[:-1])
    found = collect(({"a": part, "b": part[:, 0]} for part in parts), len(whole))
    np.testing.assert_array_equal(found["a"], whole)
    np.testing.assert_array_equal(found["b"], whole[:, 0])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="glibc's way with freed memory")
def test_a_pass_does_not_grow_with_the_images():
    """Maps that were freed make room for the next ones, whatever is kept of each batch."""
    program = """
import psutil, torch
from app.responses.passes import collect
def read(_):
    maps = torch.ones(1, 64, 180, 180)
    for _ in range(3):
        maps = maps + 1
    return {name: maps.mean(dim=(2, 3)).numpy() for name in range(15)}
collect(map(read, range(20)), 20)
before = psutil.Process().memory_info().rss
collect(map(read, range(60)), 60)
print(psutil.Process().memory_info().rss - before)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(said.stdout) < 60e6  # joined from lists, 1,300 MB
