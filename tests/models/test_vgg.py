"""The network: torchvision's names, reproducible weights, exact folding of normalisation."""

import pytest
import torch
from torch import nn

from app.models.vgg import (
    LAYERS,
    WIDTHS_MINI,
    WIDTHS_VGG16,
    DualTaskVGG,
    add_batch_norm,
    fold_batch_norm,
    layer_position,
    seeded,
)

# The shapes of torchvision.models.vgg16().state_dict(), read from torchvision 0.20.
TORCHVISION_CONVOLUTIONS = dict(
    zip((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), WIDTHS_VGG16, strict=True)
)
SMALL = {"widths": (2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2), "hidden": 5, "outputs": 7}


def test_names_and_shapes_are_torchvisions():
    with torch.device("meta"):
        state = DualTaskVGG(outputs=1000).state_dict()
    expected = {}
    before = 3
    for position, width in TORCHVISION_CONVOLUTIONS.items():
        expected[f"features.{position}.weight"] = (width, before, 3, 3)
        expected[f"features.{position}.bias"] = (width,)
        before = width
    for position, (out, into) in {0: (4096, 25088), 3: (4096, 4096), 6: (1000, 4096)}.items():
        expected[f"classifier.{position}.weight"] = (out, into)
        expected[f"classifier.{position}.bias"] = (out,)
    assert {name: tuple(value.shape) for name, value in state.items()} == expected


def test_a_layer_is_read_after_its_relu():
    network = seeded(0, input_size=32, **SMALL)
    for layer, position in zip(LAYERS, TORCHVISION_CONVOLUTIONS, strict=True):
        assert layer_position(layer) == position + 1
        relu = network.features[layer_position(layer)]
        assert isinstance(relu, nn.ReLU) and not relu.inplace
    with pytest.raises(ValueError):
        layer_position("conv14")


def test_forward_is_features_then_classifier():
    network = seeded(0, WIDTHS_MINI, 16, 9, 64)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert network(images).shape == (2, 9)
    assert network.features(images).shape == (2, 128, 2, 2)
    assert network(images).abs().sum() > 0


def test_a_seed_names_the_weights_and_leaves_the_global_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = seeded(1, input_size=32, **SMALL)
    add_batch_norm(first)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    again, other = seeded(1, input_size=32, **SMALL), seeded(2, input_size=32, **SMALL)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        if name.endswith("weight"):
            assert not torch.equal(value, other.state_dict()[name])
        else:
            assert not value.any()


def test_initialisation_keeps_the_signal_alive():
    """He initialisation: the variance of the last convolution is that of the first, about."""
    network = seeded(0, WIDTHS_MINI, 16, 9, 64)
    images = torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first = network.features[: layer_position("conv1") + 1](images).pow(2).mean()
        last = network.features[: layer_position("conv13") + 1](images).pow(2).mean()
    assert 0.05 < last / first < 50


@pytest.mark.parametrize(("seed", "hidden"), [(0, False), (1, True), (2, True)])
def test_folding_changes_no_answer(seed: int, hidden: bool):
    plain = seeded(seed, input_size=64, **SMALL)
    network = add_batch_norm(plain, hidden)
    generator = torch.Generator().manual_seed(seed)
    # Statistics and gains as training leaves them, far from where they start.
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            with torch.no_grad():
                module.running_mean.normal_(generator=generator)
                module.running_var.uniform_(0.2, 5, generator=generator)
                module.weight.uniform_(-2, 2, generator=generator)
                module.bias.normal_(generator=generator)
    network.eval()
    folded = fold_batch_norm(network)
    images = torch.randn(4, 3, 64, 64, generator=generator)
    with torch.no_grad():
        torch.testing.assert_close(folded(images), network(images), rtol=1e-4, atol=1e-4)
        assert (folded(images) - plain(images)).abs().max() > 1e-2
    assert folded.state_dict().keys() == plain.state_dict().keys()
    assert not folded.training


def test_normalisation_starts_from_the_plain_networks_weights():
    plain = seeded(0, input_size=32, **SMALL)
    folded = fold_batch_norm(add_batch_norm(plain, hidden=True))
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(folded.state_dict()[name], value, rtol=1e-4, atol=1e-6)


def test_impossible_shapes_are_refused():
    with pytest.raises(ValueError, match="13 widths"):
        DualTaskVGG(widths=(1, 2, 3))
    with pytest.raises(ValueError, match="multiple of 32"):
        DualTaskVGG(input_size=50)
