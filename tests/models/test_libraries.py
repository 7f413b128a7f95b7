"""Networks of torchvision and timm: their own preprocessing, seeds, weights from a file."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from app.config.schema import Layer, Model
from app.errors import InputError
from app.memo import Memo
from app.models.libraries import import_torchvision
from app.models.loading import load, make_preprocessing
from app.models.network import Network, open_network

rng = np.random.default_rng(0)
PHOTO = Image.fromarray(rng.integers(0, 256, (300, 411, 3), dtype=np.uint8).repeat(2, axis=0))


def settings(**values) -> Model:
    return Model(**{"name": "test_resnet", "source": "timm", "weights": None, **values})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "swin_t", "efficientnet_b0"])
def test_torchvisions_preprocessing_to_the_pixel(name):
    loaded = load(settings(name=name, source="torchvision"))
    own = import_torchvision("models").get_model_weights(name).DEFAULT.transforms()
    expected = own(PHOTO).numpy()
    np.testing.assert_allclose(
        make_preprocessing(loaded.settings)(PHOTO), expected, rtol=0, atol=2e-6
    )


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "mixnet_s"])
def test_timms_preprocessing_to_the_pixel(name):
    loaded = load(settings(name=name))
    import timm

    own = timm.data.create_transform(**timm.data.resolve_model_data_config(loaded.network))
    expected = own(PHOTO).numpy()
    np.testing.assert_allclose(
        make_preprocessing(loaded.settings)(PHOTO), expected, rtol=0, atol=2e-6
    )


@pytest.mark.parametrize("build, name", [("torchvision", "squeezenet1_1"), ("timm", "test_resnet")])
def test_a_seed_names_the_weights(build, name):
    state = torch.random.get_rng_state()
    one, again, other = (
        load(settings(name=name, source=build, seed=seed)).network.state_dict()
        for seed in (3, 3, 4)
    )
    assert torch.equal(torch.random.get_rng_state(), state), "torch's own random numbers go on"
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


def test_what_is_left_open_comes_from_the_network():
    loaded = load(settings())
    found = loaded.settings
    assert (found.input_size, found.interpolation, found.squash) == (160, "bilinear", False)
    assert found.outputs == 1000
    assert found.trained is False
    assert load(settings(input_size=96, mean=[0, 0, 0])).settings.resize < found.resize
    assert loaded.digest == load(settings()).digest != load(settings(seed=1)).digest
    assert make_preprocessing(found).size == 160
    assert Network(found).__memo__()["input_size"] == 160


def test_weights_of_the_users_own(tmp_path):
    """With as many outputs as they have."""
    trained = load(settings(seed=7, outputs=12)).network
    path = tmp_path / "own.pth"
    torch.save(
        {"model_state_dict": {f"module.{k}": v for k, v in trained.state_dict().items()}}, path
    )
    loaded = load(settings(checkpoint=str(path)))
    assert loaded.settings.outputs == 12
    assert loaded.settings.trained is True
    state = loaded.network.state_dict()
    assert all(torch.equal(state[key], value) for key, value in trained.state_dict().items())
    with pytest.raises(InputError, match="of another architecture"):
        load(settings(name="test_vit", checkpoint=str(path)))


@pytest.mark.parametrize(
    ("build", "name", "weights", "message"),
    [
        (
            "torchvision",
            "resnet5",
            None,
            "model.name=resnet5 is unknown to torchvision: nearest are",
        ),
        ("torchvision", "resnet50", "IMAGENET", "unknown to resnet50: nearest are .*IMAGENET1K_V"),
        (
            "timm",
            "resnot50",
            None,
            "model.name=resnot50 is unknown to timm: nearest are .*resnet50",
        ),
        (
            "timm",
            "resnet50.a9_in1k",
            None,
            "unknown to resnet50: nearest are .*a3_in1k",
        ),
        ("timm", "resnet50", "a1_in1k", "named by a tag in model.name"),
    ],
)
def test_misspelt_names_get_the_nearest(build, name, weights, message):
    with pytest.raises(InputError, match=message):
        load(settings(name=name, source=build, weights=weights))


@pytest.mark.parametrize("build", ["torchvision", "timm"])
def test_weights_that_cannot_be_had_are_one_line(build, tmp_path, monkeypatch):
    """Without access: a proxy that refuses, and a hub that is told not to try for a minute."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setattr("urllib.request._opener", None)  # made once, it would keep the proxies
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match="cannot be had: .*; give the network access") as error:
        load(settings(name="resnet18", source=build, weights="DEFAULT"))
    assert "\n" not in str(error.value)


def saved(path, network, prefix="", **beside):
    state = {f"{prefix}{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state, **beside}, path)
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize("named", [{"name": "resnet50.tv_in1k"}, {"weights_like": "tv_in1k"}])
def test_a_checkpoint_of_a_tag_is_prepared_for_as_the_tag_is(tmp_path, named):
    """Other weights of timm's ResNet-50 want 0.95 of the image, bicubic."""
    own = settings(name="resnet50", outputs=10)
    path = saved(tmp_path / "own.pth", load(own).network)
    loaded = load(settings(**{"name": "resnet50", "checkpoint": path, **named}))
    assert (loaded.settings.resize, loaded.settings.interpolation) == (256, "bilinear")
    assert loaded.settings.weights_like == "tv_in1k" and not loaded.notes[1:]
    with pytest.raises(InputError, match="weights_like=tv is unknown to resnet50: nearest are tv_"):
        load(settings(name="resnet50", weights_like="tv"))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
@pytest.mark.filterwarnings("ignore:The default weight initialization")
def test_untrained_networks_see_what_trained_ones_do(name, monkeypatch):
    """Coupled settings count without weights, too; heads that only a training has are left out."""
    network = load(settings(name=name, source="torchvision")).network
    assert network.transform_input is True
    assert not [key for key in network.state_dict() if key.lower().startswith("aux")]


def test_positions_of_another_size_are_resampled_and_that_is_said(tmp_path):
    path = saved(tmp_path / "own.pth", load(settings(name="test_vit", outputs=7)).network)
    loaded = load(settings(name="test_vit", checkpoint=path, input_size=96))
    assert loaded.settings.outputs == 7
    assert loaded.network.pos_embed.shape == (1, 37, 64)
    assert any("timm converted" in note for note in loaded.notes)


@pytest.mark.slow
@pytest.mark.parametrize("checkpoint", [True, False])
def test_torchvisions_positions_are_resampled(checkpoint, tmp_path, monkeypatch):
    """Of its own weights, and of a checkpoint: bicubic over the grid, the class's stays."""
    own = settings(name="vit_b_32", source="torchvision", input_size=64)
    models = import_torchvision("models")
    state = load(own).network.state_dict()
    state["encoder.pos_embedding"] = torch.randn(1, 50, 768)  # of 224 pixels: 7 x 7, and the class
    monkeypatch.setattr(models.ViT_B_32_Weights, "get_state_dict", lambda *_, **__: state)
    if checkpoint:
        torch.save(state, tmp_path / "own.pth")
        loaded = load(replace(own, input_size=96, checkpoint=str(tmp_path / "own.pth")))
    else:
        loaded = load(replace(own, input_size=96, weights="DEFAULT"))
    grid = state["encoder.pos_embedding"][:, 1:].reshape(1, 7, 7, 768).permute(0, 3, 1, 2)
    right = torch.nn.functional.interpolate(grid, size=3, mode="bicubic", align_corners=True)
    found = loaded.network.encoder.pos_embedding
    torch.testing.assert_close(found[0, 1:], right[0].flatten(1).T)
    assert torch.equal(found[:, 0], state["encoder.pos_embedding"][:, 0])
    assert any("converted" in note or "resampled for 96" in note for note in loaded.notes)


@pytest.mark.parametrize("name", ["vit_b_32", "maxvit_t"])
def test_a_size_that_does_not_fit_is_no_missing_download(name):
    with pytest.raises(InputError, match=f"{name} cannot be built as is asked: .*size"):
        load(settings(name=name, source="torchvision", weights="DEFAULT", input_size=100))


def test_features_alone_are_a_network_without_its_head(tmp_path):
    """Also where a head of another task stands in its place."""
    network = load(settings(outputs=9)).network
    right = network.layer2[0].conv1.weight.clone()
    network.fc = torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.ReLU())
    loaded = load(settings(checkpoint=saved(tmp_path / "own.pth", network, "module.encoder_q.")))
    assert torch.equal(loaded.network.layer2[0].conv1.weight, right)
    assert loaded.settings.outputs is None
    assert "has no fc" in "".join(loaded.notes) and "module.encoder_q." in loaded.notes[0]


@pytest.mark.slow
def test_what_is_found_of_a_network_does_not_replace_what_is_given(tmp_path):
    """The same weights at another place, asked of twice: the first place may be gone by then."""
    network = load(settings(outputs=9)).network
    memo, layer = Memo(str(tmp_path / "cache")), Layer(name="layer1", output="map")
    for number in (1, 2):
        path = saved(tmp_path / f"{number}.pth", network, "model.")
        asked = settings(checkpoint=path, face_classes=number, weights="DEFAULT")
        found, subject = open_network(asked, layer, memo)
        assert (found.settings.checkpoint, found.settings.face_classes) == (path, number)
        assert (found.settings.outputs, found.settings.weights) == (9, None)
        assert "'state_dict > model.'" in "".join(subject.notes)
        found.__memo__()
        (tmp_path / f"{number}.pth").unlink()
