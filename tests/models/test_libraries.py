"""Networks of torchvision and timm: their own preprocessing, seeds, weights from a file."""

import numpy as np
import pytest
import torch
from PIL import Image

from app.config.schema import Model
from app.errors import InputError
from app.models.libraries import import_torchvision
from app.models.loading import load, make_preprocessing
from app.models.network import Network

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
        ("timm", "resnet50.a9_in1k", None, r"nearest are .*resnet50\.a"),
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
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(InputError, match="cannot be had: .*; give the network access") as error:
        load(settings(name="resnet18", source=build, weights="DEFAULT"))
    assert "\n" not in str(error.value)
