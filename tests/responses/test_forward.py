"""The forward pass against hooks on the whole network and plain NumPy."""

import errno
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from app.errors import InputError
from app.models.vgg import LAYERS, DualTaskVGG, layer_position, seeded
from app.responses import forward as responses
from app.stimuli.images import Images, Preprocessing, drawn

PREPARE = Preprocessing(resize=64, size=64, mean=(0.5, 0.5, 0.5), sd=(0.5, 0.5, 0.5))
WIDTHS = (4, 4, 6, 6, 8, 8, 8, 10, 10, 10, 12, 12, 12)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> DualTaskVGG:
    return seeded(1, WIDTHS, 16, 9, 64).eval()


@pytest.fixture(scope="module")
def images() -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (11, 64, 64), dtype=np.uint8)
    return drawn(pixels, [f"c{i % 3}" for i in range(11)], "drawn")


@pytest.fixture(scope="module")
def hooked(network: DualTaskVGG, images: Images) -> dict[str, np.ndarray]:
    """What forward hooks see when the whole network runs on all images at once."""
    seen: dict[str, np.ndarray] = {}
    handles = [
        network.features[layer_position(layer)].register_forward_hook(
            lambda _m, _i, output, layer=layer: seen.update({layer: output.numpy().copy()})
        )
        for layer in LAYERS
    ]
    with torch.no_grad():
        network(torch.from_numpy(np.stack([PREPARE(images.open(i)) for i in range(len(images))])))
    for handle in handles:
        handle.remove()
    return seen


def by_kernel(network, layers, images, **options):
    return responses.by_kernel(network, layers, images, PREPARE, device=CPU, **options)


def units(network, layer, images, **options):
    """All units of a layer, put in their places."""
    blocks = responses.by_unit(network, layer, images, PREPARE, device=CPU, **options)
    found = np.full((len(images), np.prod(responses.map_shape(network, layer))), np.nan, "float32")
    for block in blocks:
        assert np.isnan(found[:, block.units]).all(), "each unit once"
        found[:, block.units] = block.responses
    return found


@pytest.mark.parametrize("batch_size", [4, None])
def test_kernels_of_the_layers_asked_in_all_aggregations(network, images, hooked, batch_size):
    told = []
    found = by_kernel(network, LAYERS, images, batch_size=batch_size, progress=told.append)
    assert told == ([4, 4, 3] if batch_size else [11])
    assert set(found) == set(LAYERS)
    for layer in LAYERS:
        maps = hooked[layer].reshape(len(images), hooked[layer].shape[1], -1).astype(np.float64)
        assert (maps >= 0).all() and (maps > 0).any(), "read after the ReLU"
        close = {"rtol": 1e-4, "atol": 1e-6}
        assert set(found[layer]) == {"mean", "l2", "max"}
        np.testing.assert_allclose(found[layer]["mean"], maps.mean(-1), **close)
        np.testing.assert_allclose(found[layer]["l2"], np.sqrt((maps**2).sum(-1)), **close)
        np.testing.assert_allclose(found[layer]["max"], maps.max(-1), **close)


@pytest.mark.parametrize("layer", LAYERS)
def test_units_run_channel_row_column(network, images, hooked, layer):
    told = []
    found = units(network, layer, images, progress=told.append)
    np.testing.assert_allclose(found, hooked[layer].reshape(len(images), -1), rtol=1e-4, atol=1e-6)
    assert sum(told) == len(images)


@pytest.mark.parametrize("layer", ["conv2", "conv7", "conv13"])
@pytest.mark.parametrize("rows", [1, 3, 8, 1000])
def test_what_is_stored_comes_back_to_the_bit(network, images, tmp_path, layer, rows):
    told = []
    whole = units(network, layer, images)
    found = units(
        network, layer, images, rows_a_block=rows, store=tmp_path / "new", progress=told.append
    )
    np.testing.assert_array_equal(found, whole)
    assert sum(told) == len(images), "one pass"
    assert not list((tmp_path / "new").iterdir())


def test_no_room_for_the_temporary_file(network, images, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(
        InputError, match=r"responses of conv2 in .*No space left.*0\.0 GB"
    ) as error:
        units(network, "conv2", images, rows_a_block=3, store=tmp_path)
    assert "memory_gb" in str(error.value)
    assert not list(tmp_path.iterdir())


def test_deep_layers_are_worth_storing_where_there_is_room(tmp_path, monkeypatch):
    with torch.device("meta"):
        full_size = DualTaskVGG()

    def worth(layer, rows, folder=tmp_path / "not" / "there"):
        return responses.worth_storing(full_size, layer, 1440, rows, folder)

    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**12))
    assert worth("conv7", 20) and worth("conv10", 14) and worth("conv13", 7)
    assert not worth("conv1", 20) and not worth("conv2", 20)
    assert not worth("conv13", 14), "one block"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**9))
    assert not worth("conv7", 20)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("rows", [1, 3, 5, 8, 1000])
def test_rows_by_strips_are_those_of_the_whole_map(network, images, layer, rows):
    told = []
    whole = units(network, layer, images)
    found = units(network, layer, images, rows_a_block=rows, progress=told.append)
    # The same sums; where a strip is narrow the library may add them up in another order.
    np.testing.assert_allclose(found, whole, rtol=1e-5, atol=1e-6)
    height = responses.map_shape(network, layer)[1]
    assert sum(told) == responses.blocks(height, rows) * len(images)
    assert responses.blocks(height, rows) == -(-height // min(rows, height))


def test_a_strip_is_as_wide_as_what_its_rows_see(network):
    modules = list(network.features)[: layer_position("conv4") + 1]
    size = network.input_size
    seen, inside = responses.strip(modules, slice(16, 17), size)
    # Two convolutions of 3 x 3, a pooling, two more: rows 26 to 39 of the image.
    assert (seen.start, seen.stop) == (26, 40) and (inside.start, inside.stop) == (3, 4)
    top, _ = responses.strip(modules, slice(0, 1), size)
    assert (top.start, top.stop) == (0, 8)
    bottom, inside = responses.strip(modules, slice(31, 32), size)
    assert (bottom.start, bottom.stop) == (56, 64) and inside == slice(3, 4)


def test_map_shapes_are_those_of_the_maps(network, hooked):
    for layer in LAYERS:
        assert responses.map_shape(network, layer) == hooked[layer].shape[1:]


def test_the_pass_goes_no_deeper_than_asked(network, images):
    deeper = network.features[layer_position("conv4")]
    handle = deeper.register_forward_hook(lambda *_: pytest.fail("conv4 ran"))
    try:
        units(network, "conv2", images)
        by_kernel(network, ["conv3", "conv1"], images)
    finally:
        handle.remove()


def test_the_same_images_give_the_same_bits(network, images):
    first, second = (by_kernel(network, LAYERS, images, batch_size=4) for _ in range(2))
    for layer in LAYERS:
        assert all(np.array_equal(first[layer][name], second[layer][name]) for name in first[layer])


class Attention(torch.nn.Module):
    """What a vision transformer's block adds up: linear layers and attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.three, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        parts = self.three(tokens).unflatten(-1, (3, 4, -1)).movedim(2, 0).transpose(2, 3)
        mixed = torch.nn.functional.scaled_dot_product_attention(*parts)
        return tokens + self.out(mixed.transpose(1, 2).flatten(2))


def test_sums_are_the_same_bits_on_any_number_of_threads():
    torch.manual_seed(0)
    classifier = seeded(0, WIDTHS, 256, 75, 64).classifier.eval()
    inner = torch.nn.Conv2d(32, 32, 3, stride=2, padding=1, groups=2)
    bottleneck = torch.nn.Sequential(torch.nn.Conv2d(512, 32, 1), inner, torch.nn.Conv2d(32, 64, 1))
    cases = [
        *((classifier, (count, 12 * 2 * 2)) for count in (1, 4, 5, 7, 16)),
        *((torch.nn.Linear(512, 256), (count, 512)) for count in (5, 7)),
        (torch.nn.Conv2d(512, 256, 1), (5, 512, 1, 1)),
        (bottleneck, (5, 512, 7, 7)),
        (Attention(64), (5, 50, 64)),
    ]
    threads = torch.get_num_threads()
    plain: list[bool] = []
    try:
        with torch.inference_mode():
            for module, shape in cases:
                given = torch.randn(shape)
                found = []
                for count in (1, 2, 3, 4):
                    torch.set_num_threads(count)
                    with responses.SteadySums():
                        found.append(module(given))
                    plain.append(torch.equal(module(given), found[0]))
                    torch.testing.assert_close(module(given), found[0], rtol=1e-4, atol=1e-5)
                assert all(torch.equal(found[0], other) for other in found[1:]), (module, shape)
    finally:
        torch.set_num_threads(threads)
    if torch.backends.mkl.is_available():
        assert not all(plain), "torch by itself would do"


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_is_close_and_leaves_the_weights(network, images, precision):
    before = {name: weight.clone() for name, weight in network.state_dict().items()}
    whole = by_kernel(network, ["conv5"], images)["conv5"]
    half = by_kernel(network, ["conv5"], images, precision=precision)["conv5"]
    assert half["l2"].dtype == np.float32
    tolerance = {"float16": 1e-2, "bfloat16": 1e-1}[precision]
    for name in whole:
        difference = np.abs(half[name] - whole[name]).max() / np.abs(whole[name]).max()
        assert 0 < difference < tolerance
    assert all(torch.equal(weight, before[name]) for name, weight in network.state_dict().items())


def test_half_precision_is_refused_on_a_cpu():
    with pytest.raises(InputError, match="precision=float16 needs a GPU"):
        responses.choose_device("cpu", "float16")


def test_batches_are_smaller_for_larger_maps():
    assert responses.batch_of(CPU, 64 * 224 * 224) == 2
    assert responses.batch_of(CPU, 16 * 64 * 64) == 128
    assert responses.batch_of(CPU, 1) == 256
    assert responses.batch_of(CPU, 10**9) == 1
