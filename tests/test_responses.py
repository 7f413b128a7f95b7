"""The forward pass against hooks on the whole network and plain NumPy."""

import numpy as np
import pytest
import torch

from app import responses
from app.models.vgg import LAYERS, DualTaskVGG, layer_position, seeded
from app.stimuli.images import Images, Preprocessing, drawn

PREPARE = Preprocessing(resize=32, size=32, mean=(0.5, 0.5, 0.5), sd=(0.5, 0.5, 0.5))
WIDTHS = (4, 4, 6, 6, 8, 8, 8, 10, 10, 10, 12, 12, 12)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network() -> DualTaskVGG:
    return seeded(1, WIDTHS, 16, 9, 32).eval()


@pytest.fixture(scope="module")
def images() -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (11, 32, 32), dtype=np.uint8)
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


def test_kernels_of_all_layers_in_all_aggregations(network, images, hooked):
    told = []
    found = responses.by_kernel(
        network, images, PREPARE, batch_size=4, device=CPU, progress=told.append
    )
    assert told == [4, 4, 3]
    assert set(found) == {f"{layer}/{name}" for layer in LAYERS for name in ("mean", "l2", "max")}
    for layer in LAYERS:
        maps = hooked[layer].reshape(len(images), hooked[layer].shape[1], -1).astype(np.float64)
        assert (maps >= 0).all() and (maps > 0).any(), "read after the ReLU"
        close = {"rtol": 1e-4, "atol": 1e-6}
        np.testing.assert_allclose(found[f"{layer}/mean"], maps.mean(-1), **close)
        np.testing.assert_allclose(found[f"{layer}/l2"], np.sqrt((maps**2).sum(-1)), **close)
        np.testing.assert_allclose(found[f"{layer}/max"], maps.max(-1), **close)


@pytest.mark.parametrize("block_bytes", [2**31, 5000, 1])
@pytest.mark.parametrize("layer", ["conv2", "conv7"])
def test_units_run_channel_row_column_whatever_the_blocks(
    network, images, hooked, layer, block_bytes
):
    told = []
    blocks = list(
        responses.by_unit(
            network, layer, images, PREPARE,
            batch_size=4, device=CPU, progress=told.append, block_bytes=block_bytes,
        )
    )  # fmt: skip
    found = np.concatenate(blocks, axis=1)
    np.testing.assert_allclose(found, hooked[layer].reshape(len(images), -1), rtol=1e-4, atol=1e-6)
    passes = responses.forward_passes(network, layer, len(images), block_bytes)
    assert passes == len(blocks) and sum(told) == passes * len(images)
    if block_bytes == 1:
        assert passes == WIDTHS[LAYERS.index(layer)]


def test_map_shapes_are_those_of_the_maps(network, hooked):
    for layer in LAYERS:
        assert responses.map_shape(network, layer) == hooked[layer].shape[1:]


def test_the_pass_goes_no_deeper_than_asked(network, images):
    deeper = network.features[layer_position("conv3")]
    handle = deeper.register_forward_hook(lambda *_: pytest.fail("conv3 ran"))
    try:
        options = {"batch_size": 4, "device": CPU, "progress": lambda _: None}
        list(responses.by_unit(network, "conv2", images, PREPARE, **options))
    finally:
        handle.remove()


def test_the_same_images_give_the_same_bits(network, images):
    options = {"batch_size": 4, "device": CPU, "progress": lambda _: None}
    first = responses.by_kernel(network, images, PREPARE, **options)
    second = responses.by_kernel(network, images, PREPARE, **options)
    assert all(np.array_equal(first[name], second[name]) for name in first)
