"""What a library couples to weights, how maps lie in memory, what a forward pass says."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from app.config.schema import Model
from app.errors import InputError
from app.models import libraries
from app.models.export import export
from app.models.libraries import import_torchvision
from app.models.loading import Loaded
from app.models.network import Network
from app.models.places import Places
from app.responses.kernels import AGGREGATE
from tests.field.asked import load_network


def load_own(folder: Path, name: str, **settings: str) -> Loaded:
    """A checkpoint of a network of torchvision's, as a command line names it."""
    path = folder / "own.pth"
    torch.save(
        libraries.torchvision(Model(name=name, source="torchvision", seed=1)).network.state_dict(),
        path,
    )
    given = {"name": name, "weights": None, "outputs": 1000, "checkpoint": str(path)}
    return load_network("torchvision", **given, **settings)


def test_googlenet_s_input_is_transformed_as_for_its_weights(tmp_path: Path):
    loaded = load_own(tmp_path, "googlenet", weights_like="IMAGENET1K_V1")
    assert loaded.network.transform_input is True


def test_preprocessing_is_that_of_the_weights_that_are_named(tmp_path: Path):
    loaded = load_own(tmp_path, "mobilenet_v2", weights_like="IMAGENET1K_V1")
    assert (loaded.settings.resize, loaded.settings.input_size) == (256, 224)


def test_what_was_assumed_of_a_checkpoint_is_told(tmp_path: Path, told):
    loaded = load_own(tmp_path, "mobilenet_v2")
    assert "IMAGENET1K_V2" in told(loaded)


@pytest.mark.slow
def test_a_vision_transformer_takes_another_size():
    settings = Model(name="vit_tiny_patch16_224", source="timm", input_size=96)
    assert Network(settings, "tokens").map_shape("blocks.0") == (192, 1 + 6 * 6, 1)


def check_channels_last(network: nn.Module, size: int, layer: str, channels: int) -> None:
    """What lies rows x columns x channels is refused as channels first, or read as it is."""
    graph = export(network, size, "network")
    try:
        found, *_ = Places(graph, "network").find(layer, "map").shape
    except InputError as error:
        assert "map_channels_last" in str(error)
    else:
        assert found == channels
    last = Places(graph, "network").find(layer, "map_channels_last")
    assert last.shape[0] == channels


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["features.1.0", "features.3"])
def test_swin_s_rows_are_no_kernels(layer: str):
    """The graph says it: a linear layer, or a norm over the last dimension, gives the map."""
    build = import_torchvision("models.swin_transformer").SwinTransformer
    swin = build([4, 4], 8, [1, 1], [1, 1], [7, 7], num_classes=2).eval()
    check_channels_last(swin, 56, layer, 8 if layer == "features.1.0" else 16)


@pytest.mark.slow
def test_timm_s_format_is_taken():
    network = libraries.timm(Model(name="test_mambaout", source="timm")).network
    channels = network.feature_info[0]["num_chs"]
    check_channels_last(network, 160, "stages.0", channels)


class Fails(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.body, self.error = nn.Conv2d(3, 4, 3), error

    def forward(self, images):
        raise self.error


@pytest.mark.parametrize(
    "error", [AssertionError("wrong\nsize"), KeyError("mask"), TypeError("2 arguments")], ids=repr
)
def test_what_a_forward_pass_raises_is_one_line(error: Exception):
    with pytest.raises(InputError, match="network.*" + type(error).__name__) as caught:
        export(Fails(error), 32, "network")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["mean", "max", "l2"])
def test_large_responses_have_a_finite_number(name: str):
    """1e20 everywhere in a map of 7 x 7: its norm is 7e20, which float32 holds."""
    right = {"mean": 1e20, "max": 1e20, "l2": 7e20}[name]
    found = AGGREGATE[name](torch.full((1, 1, 7, 7), 1e20))
    assert found.item() == pytest.approx(right, rel=1e-6)


@pytest.mark.parametrize("name", ["mean", "max", "l2"])
def test_small_responses_are_not_silent(name: str):
    right = {"mean": 1e-25, "max": 1e-25, "l2": 7e-25}[name]
    found = AGGREGATE[name](torch.full((1, 1, 7, 7), 1e-25))
    assert found.item() == pytest.approx(right, rel=1e-6, abs=0)
