"""Checkpoints in the forms that users have them, and in the forms that must be refused."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from app.config.schema import Model
from app.errors import InputError
from app.models import checkpoint, loading
from app.models.vgg import WIDTHS_VGG16, DualTaskVGG, seeded

SHAPE = ((4,) * 13, 8, 6, 32)


@pytest.fixture
def state() -> dict[str, Tensor]:
    return seeded(3, *SHAPE).state_dict()


def load(path: Path) -> DualTaskVGG:
    network = seeded(0, *SHAPE)
    checkpoint.fill(network, checkpoint.read(path), path)
    return network


@pytest.mark.parametrize(
    "form", ["bare", "model_state_dict", "state_dict", "module", "safetensors"]
)
def test_every_form_loads_the_same_weights(tmp_path: Path, state: dict[str, Tensor], form: str):
    path = tmp_path / ("weights.safetensors" if form == "safetensors" else "weights.pth")
    if form == "safetensors":
        save_file(state, path)
    elif form == "bare":
        torch.save(state, path)
    elif form == "module":
        torch.save(
            {"epoch": 3, "model_state_dict": {f"module.{k}": v for k, v in state.items()}}, path
        )
    else:
        torch.save({form: state, "epoch": 3}, path)
    for key, value in load(path).state_dict().items():
        assert torch.equal(value, state[key]), key


@pytest.mark.slow
def test_the_full_size_there_and_back(tmp_path: Path) -> None:
    """VGG-16 with 2,137 outputs, which are read from the weights: half a gigabyte."""
    path, full_size = (
        tmp_path / "weights.pth.tar",
        seeded(5).state_dict(),
    )
    prefixed = {f"module.{key}": value for key, value in full_size.items()}
    torch.save({"epoch": 49, "model_state_dict": prefixed, "optimizer": {"lr": 1e-3}}, path)
    settings = Model(
        name="dualtask_vgg16",
        source="vgg",
        checkpoint=str(path),
        widths=[*WIDTHS_VGG16],
        face_classes=1714,
        input_size=224,
    )
    network, filled, digest, _ = loading.load(settings)
    path.unlink()
    assert filled.outputs == 2137 and filled.trained is True
    assert len(digest) == 64
    state = network.state_dict()
    assert list(state) == list(full_size)
    assert all(torch.equal(state[key], value) for key, value in full_size.items())


@pytest.mark.parametrize(("said", "trained"), [("false", False), ("true", True), (None, True)])
def test_weights_may_say_that_they_are_untrained(tmp_path: Path, state, said, trained) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(state, path, None if said is None else {"trained": said})
    settings = Model(
        name="own", source="vgg", checkpoint=str(path), widths=[4] * 13, hidden=8, input_size=32
    )
    assert loading.load(settings).settings.trained is trained
    settings.trained = True  # what the user says counts
    assert loading.load(settings).settings.trained is True


def test_equal_weights_are_equal_files(tmp_path: Path, state: dict[str, Tensor]):
    """Their digest is what stored results are known by."""
    path, about = tmp_path / "weights.safetensors", {"trained": "true", "face_classes": "3"}
    written = set()
    for _ in range(20):
        checkpoint.write(path, state, about)
        written.add(path.read_bytes())
    assert len(written) == 1
    assert checkpoint.read_metadata(path) == {"format": "pt", **about}
    read = load_file(path)
    assert read.keys() == state.keys() and all(torch.equal(read[key], state[key]) for key in read)


def test_half_precision_weights_become_single(tmp_path: Path, state: dict[str, Tensor]):
    torch.save({key: value.half() for key, value in state.items()}, tmp_path / "half.pt")
    loaded = load(tmp_path / "half.pt").state_dict()
    assert all(value.dtype == torch.float32 for value in loaded.values())


def refused(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    return message


def test_other_shapes_name_the_first_key_and_both_shapes(tmp_path: Path):
    torch.save(seeded(0, (4,) * 12 + (5,), 8, 6, 32).state_dict(), tmp_path / "other.pt")
    message = refused(tmp_path / "other.pt")
    assert "features.28.weight has shape (5, 4, 3, 3) where the network has (4, 4, 3, 3)" in message


def test_other_keys_are_named(tmp_path: Path, state: dict[str, Tensor]):
    renamed = {key.replace("features.0.", "conv1."): value for key, value in state.items()}
    torch.save(renamed, tmp_path / "renamed.pt")
    message = refused(tmp_path / "renamed.pt")
    assert "lacks features.0.weight (4, 3, 3, 3), but has conv1.weight" in message
    torch.save({**state, "extra.weight": torch.zeros(2)}, tmp_path / "more.pt")
    assert "has extra.weight (2,), which the network does not have" in refused(tmp_path / "more.pt")


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harm-was-done"),))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_would_run_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, legacy: bool
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "harm.pt"
    if legacy:
        path.write_bytes(pickle.dumps(Harmful()))
    else:
        torch.save({"model_state_dict": Harmful()}, path)
    assert "refused" in refused(path)
    assert not Path("harm-was-done").exists()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_counted(
    tmp_path: Path, state: dict[str, Tensor], value: float
):
    state["features.5.weight"][0, 0, 0, :2] = value
    torch.save(state, tmp_path / "nan.pt")
    assert "features.5.weight holds 2 NaN or infinite" in refused(tmp_path / "nan.pt")


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"\x80\x02junk", bytes(range(256)) * 40])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, suffix: str, content: bytes):
    path = tmp_path / f"junk.{suffix}"
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, state: dict[str, Tensor], suffix: str):
    path = tmp_path / f"cut.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(state, path)
    path.write_bytes(path.read_bytes()[:-500])
    refused(path)


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, torch.zeros(3)])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: object):
    torch.save(content, tmp_path / "odd.pt")
    refused(tmp_path / "odd.pt")


def rename(state: dict[str, Tensor], tmp_path: Path, key_map: str) -> tuple[dict[str, Tensor], str]:
    torch.save({"model": state, "optimizer": {"0": {"step": torch.zeros(1)}}}, tmp_path / "own.pt")
    expected = seeded(0, *SHAPE).state_dict()
    return checkpoint.name_tensors(checkpoint.read(tmp_path / "own.pt"), expected, key_map)


def test_keys_go_by_a_file(tmp_path: Path, state: dict[str, Tensor]):
    """Those it does not name stay; those it names nothing for are left out."""
    odd = {"a:0": state.pop("features.0.weight"), **state, "queue": torch.zeros(2)}
    (tmp_path / "keys").write_text("# theirs: own\n'a:0': features.0.weight\nqueue:\n")
    named, said = rename(odd, tmp_path, str(tmp_path / "keys"))
    assert set(named) == {*state, "features.0.weight"}
    assert said == (
        "the checkpoint's tensors behind 'model > ' are taken, "
        "1 other(s) left out, the first is optimizer > 0 > step"
    )


def test_keys_go_by_their_order(tmp_path: Path, state: dict[str, Tensor]):
    named, _ = rename({f"w{number}": value for number, value in enumerate(state.values())},
                      tmp_path, "order")  # fmt: skip
    assert all(torch.equal(named[key], value) for key, value in state.items())
    del state["classifier.6.bias"]
    with pytest.raises(InputError, match="does not fit 31 tensors in the checkpoint to 32 in"):
        rename(state, tmp_path, "order")


def test_an_order_of_biases_before_weights_is_none(tmp_path: Path, state: dict[str, Tensor]):
    keys = sorted(state, key=lambda key: (key.rpartition(".")[0], key))
    with pytest.raises(InputError, match="order does not fit"):
        rename({f"own.{key}": state[key] for key in keys}, tmp_path, "order")


def test_safetensors_have_no_order(tmp_path: Path, state: dict[str, Tensor]):
    save_file(state, tmp_path / "own.safetensors")
    settings = Model(
        name="own", source="vgg", checkpoint=str(tmp_path / "own.safetensors"), key_map="order",
        widths=[4] * 13, hidden=8, input_size=32,
    )  # fmt: skip
    with pytest.raises(InputError, match="model.key_map=order .* safetensors sorts"):
        loading.load(settings)


def test_whole_numbers_are_no_weights(tmp_path: Path, state: dict[str, Tensor]):
    """Quantised weights would need their scale."""
    torch.save(
        {key: (value * 99).to(torch.int8) for key, value in state.items()}, tmp_path / "q.pt"
    )
    assert "lacks features.0.weight" in refused(tmp_path / "q.pt")
