"""Checkpoints as trainings, libraries and people leave them: the same weights, or the reason."""

from __future__ import annotations

import gzip
import pickle
import re
from collections import OrderedDict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from app.config.schema import Model
from app.errors import InputError
from app.models import checkpoint
from app.models.libraries import import_torchvision
from app.models.loading import load
from tests.field import inputs
from tests.field.asked import load_network
from tests.field.inputs import (
    ARGUMENTS,
    Save,
    State,
    bare,
    other,
    prefixed,
    save_bytes,
    under,
    without,
    wrapped_within,
)


def build(name: str, source: str = "timm", **settings: Any) -> torch.nn.Module:
    return load(Model(name=name, source=source, weights=None, seed=7, **settings)).network


@pytest.fixture(scope="module")
def state() -> State:
    return build("test_resnet", outputs=10).state_dict()


def refill(path: Path, **settings: Any) -> State:
    """What a network of timm's holds that a checkpoint fills."""
    given = {"name": "test_resnet", "source": "timm", "outputs": 10, **settings}
    return load(Model(**given, checkpoint=str(path))).network.state_dict()


def check_same(found: State, right: State, *, but: str = "no such part") -> None:
    for name, value in right.items():
        if but not in name and "num_batches_tracked" not in name:
            assert torch.equal(found[name], value), name


SAME: list[tuple[str, Save]] = [
    ("plain.pth", bare(dict)),
    ("ordered.pth", bare(OrderedDict)),
    ("no_num_batches_tracked.pth", without("num_batches_tracked")),
    *((f"under_{key}.pth", under(key)) for key in (
        "model", "net", "network", "model_ema", "state_dict_ema", "teacher", "ema", "weights")),
    ("under_state_dict.pth", under("state_dict")),
    ("under_model_state.pth", under("model_state")),
    ("under_two.pth", under("checkpoint", "model")),
    ("ema_before_model.pth", lambda path, state: under("model_ema", model=other(state))(
        path, state)),
    ("swa.pth", lambda path, state: under("swa_model", model=other(state))(path, state)),
    ("with_optimizer.pth", under("state_dict", optimizer={"state": {}, "param_groups": [
        {"lr": 0.1, "params": [0]}]}, arch="resnet")),
    *((f"prefix_{prefix.strip('.')}.pth", prefixed(prefix)) for prefix in (
        "model.", "_orig_mod.", "backbone.", "encoder.", "net.", "visual.")),
    ("prefix_module.pth", prefixed("module.")),
    ("compiled_ddp.pth", prefixed("module._orig_mod.", "model")),
    ("ddp_compiled.pth", prefixed("_orig_mod.module.")),
    ("three.pth", prefixed("_orig_mod.module.backbone.", "state_dict")),
    ("lightning.ckpt", prefixed("model.", "state_dict", hyper_parameters={"lr": 0.1})),
    ("ddp_teacher.pth", prefixed("module.", "state_dict", "teacher")),
    ("dino.pth", inputs.save_dino),
    ("moco.pth", inputs.save_moco),
    *((f"within_{word}.pth", wrapped_within(word)) for word in (
        "module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")),
    ("total_ops.pth", bare(lambda state: {**state, "total_ops": torch.zeros(1),
        "layer1.total_params": torch.zeros(1)})),
    ("loss_beside.ckpt", inputs.save_lightning),
    ("numpy_scalar.pth", under("state_dict", best_acc1=np.float64(0.7))),
    ("numpy_array.pth", under("state_dict", curve=np.arange(3.0))),
    ("numpy_state.pth", bare(lambda state: {name: v.numpy() for name, v in state.items()})),
    ("defaults.pth", under("state_dict", callbacks=OrderedDict(best=torch.tensor(0.1)))),
    ("safetensors.pth", inputs.save_safetensors),
    ("safetensors.bin", inputs.save_safetensors),
    ("torch.safetensors", bare(dict)),
    ("upper.SAFETENSORS", inputs.save_safetensors),
    ("legacy.pth", lambda path, state: torch.save(
        state, path, _use_new_zipfile_serialization=False)),
    ("epoch=3.ckpt", under("state_dict")),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "save"),
    [pytest.param(*r, id=r[0]) for r in SAME],
)
def test_every_form_brings_the_same_weights(tmp_path: Path, state: State, name: str, save: Save):
    save(tmp_path / name, state)
    check_same(refill(tmp_path / name), state)


def test_layers_before_a_missing_head_are_read(tmp_path: Path, state: State):
    without("fc.")(tmp_path / "headless.pth", state)
    check_same(refill(tmp_path / "headless.pth", outputs=None), state, but="fc.")


def test_a_checkpoint_alone_is_enough(tmp_path: Path, state: State):
    bare(dict)(tmp_path / "plain.pth", state)
    loaded = load_network("timm", name="test_resnet", checkpoint=str(tmp_path / "plain.pth"))
    check_same(loaded.network.state_dict(), state)
    assert loaded.settings.weights is None and loaded.settings.trained


NAMED: list[tuple[str, Save, str]] = [
    ("namespace.pth", under("state_dict", args=ARGUMENTS), "argparse.Namespace"),
    ("path.ckpt", under("state_dict", hyper_parameters={"root": PurePosixPath("/x")}),
     "pathlib.*PurePosixPath"),
    ("whole_network.pth", lambda path, _: torch.save(torch.nn.Sequential(), path),
     r"torch\.nn\.\S*Sequential.*state_dict\(\)"),
    ("pointer.pth", save_bytes(inputs.POINTER), "(?i)git.lfs"),
    ("pointer.safetensors", save_bytes(inputs.POINTER), "(?i)git.lfs"),
    ("annex.pth", save_bytes(inputs.ANNEX), "(?i)git.annex"),
    ("pickle.pth", lambda path, state: path.write_bytes(pickle.dumps(dict(a=np.zeros(3)))),
     "a pickle not of torch.save"),
    ("answer.json", save_bytes(b'{"message": "Not Found"}'), "is JSON(?!.*shard)"),
    ("page.pth", save_bytes(inputs.PAGE), "HTML|web page"),
    ("page.safetensors", save_bytes(inputs.PAGE), "HTML|web page"),
    ("xml.pth", save_bytes(b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>"),
     "HTML|XML|web page"),
    ("net.onnx", save_bytes(inputs.ONNX), "ONNX"),
    ("torchscript.pt", inputs.save_torchscript, r"TorchScript(?!.*weights_only)"),
    ("index.json", save_bytes(inputs.INDEX.encode()), r"shard.*model-1-of-2\.safetensors|index"),
    ("keras.h5", save_bytes(inputs.HDF5), "HDF5|Keras"),
    ("arrays.npz", lambda path, _: np.savez(path, a=np.zeros(3)), "(?i)npz|numpy"),
    ("gzip.pth", inputs.save_gzip, "(?i)gzip"),
    ("arrays.keras", lambda path, _: inputs.save_zip(path, "config.json"), "zip archive.*config"),
    ("rar.pth", save_bytes(b"Rar!\x1a\x07\x01\0" + bytes(60)), "rar.*unpack"),
    ("bom.pth", save_bytes(b"\xef\xbb\xbf" + inputs.PAGE), "web page"),
    ("sparse.pth", bare(lambda state: {key: value.to_sparse() for key, value in state.items()}),
     "is sparse"),
    ("meta.pth", bare(lambda state: {key: value.to("meta") for key, value in state.items()}),
     "without values"),
    ("half_way.safetensors", lambda path, state: path.write_bytes(
        safetensors.torch.save(state)[:-1000]), "cut short"),
    ("half_way_legacy.pth", lambda path, state: (torch.save(
        state, path, _use_new_zipfile_serialization=False),
        path.write_bytes(path.read_bytes()[:-1000])), "cut short"),
    ("archive.zip", save_bytes(b"PK\3\4\x14\0" + bytes(60)), "(?i)cut short|zip|damaged"),
    ("empty.pth", save_bytes(b""), "(?i)is empty"),
    ("empty.safetensors", save_bytes(b""), "(?i)is empty"),
    ("half_way.pth", lambda path, state: (bare(dict)(path, state),
        path.write_bytes(path.read_bytes()[:-5000])), "(?i)cut short|incomplete|truncated"),
    ("tar.pth.tar", save_bytes(b"archive/data.pkl" + bytes(241) + b"ustar\00000" + bytes(800)),
     "(?i)tar"),
    ("no_state.pth", lambda path, _: torch.save({"epoch": 3, "lr": 0.1}, path), "epoch"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "save", "words"),
    [pytest.param(*r, id=r[0]) for r in NAMED],
)
def test_what_is_no_state_dict_is_named(tmp_path: Path, state: State, name, save, words):
    path = tmp_path / f"weights{Path(name).suffix}"
    save(path, state)
    with pytest.raises(InputError) as caught:
        refill(path)
    line = str(caught.value)
    assert str(path) in line and "\n" not in line and "weights_only=False" not in line
    assert re.search(words, line.replace(str(path), "it"))


def test_a_folder_is_no_file(tmp_path: Path):
    with pytest.raises(InputError, match="is no file"):
        refill(tmp_path)


def test_a_library_s_network_is_not_told_of_widths(tmp_path: Path, state: State):
    bare(dict)(tmp_path / "other.pth", state)
    with pytest.raises(InputError) as caught:
        refill(tmp_path / "other.pth", name="test_vit", outputs=10)
    assert "model.widths" not in str(caught.value)
    assert "model.name" in str(caught.value)


def test_a_head_may_be_a_convolution(tmp_path: Path):
    right = build("squeezenet1_1", "torchvision", outputs=12).state_dict()
    bare(dict)(tmp_path / "plain.pth", right)
    found = load(Model(name="squeezenet1_1", source="torchvision",
                       checkpoint=str(tmp_path / "plain.pth")))  # fmt: skip
    check_same(found.network.state_dict(), right)
    assert found.settings.outputs == 12


def test_a_network_without_a_head_gets_none(tmp_path: Path):
    """EVA-02, as DINOv2 and SAM, was published without one."""
    right = build("eva02_tiny_patch14_224").state_dict()
    bare(dict)(tmp_path / "plain.pth", right)
    found = load(Model(name="eva02_tiny_patch14_224", source="timm",
                       checkpoint=str(tmp_path / "plain.pth")))  # fmt: skip
    check_same(found.network.state_dict(), right)
    assert list(found.network.state_dict()) == list(right)
    assert found.settings.outputs is None


def test_auxiliary_heads_may_be_missing(tmp_path: Path):
    right = build("googlenet", "torchvision").state_dict()
    right = {name: value for name, value in right.items() if not name.startswith("aux")}
    bare(dict)(tmp_path / "plain.pth", right)
    found = load(Model(name="googlenet", source="torchvision", outputs=1000,
                       checkpoint=str(tmp_path / "plain.pth")))  # fmt: skip
    check_same(found.network.state_dict(), right)


def test_old_keys_of_densenet_are_known(tmp_path: Path):
    network = import_torchvision("models.densenet").DenseNet(4, (1, 1), 8)
    right = {name: value.clone() for name, value in network.state_dict().items()}
    old = {}
    for name, value in right.items():
        inside = name.startswith("features.denseblock")
        for part in ("norm", "conv") if inside else ():
            name = name.replace(f".{part}1.", f".{part}.1.").replace(f".{part}2.", f".{part}.2.")
        old[name] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    bare(dict)(tmp_path / "old.pth", old)
    for value in network.state_dict().values():
        value.zero_()
    checkpoint.fill(network, checkpoint.read(tmp_path / "old.pth"), tmp_path / "old.pth")
    check_same(network.state_dict(), right)


@pytest.mark.parametrize("layout", ["{}", "# theirs: ours\n\n{}\n", "{{\n{}}}\n"])
def test_keys_are_mapped_by_a_file(tmp_path: Path, state: State, layout: str):
    renamed = {f"weights/{number}": value for number, value in enumerate(state.values())}
    bare(lambda _: renamed)(tmp_path / "renamed.pth", state)
    lines = [f"{theirs}: {own}\n" for theirs, own in zip(renamed, state, strict=True)]
    (tmp_path / "keys.yaml").write_text(layout.format("".join(lines)))
    loaded = load_network(
        "timm",
        name="test_resnet",
        weights=None,
        checkpoint=str(tmp_path / "renamed.pth"),
        key_map=str(tmp_path / "keys.yaml"),
    )
    check_same(loaded.network.state_dict(), state)


def test_a_line_that_maps_nothing_is_shown(tmp_path: Path):
    (tmp_path / "keys").write_text("a: b\nc d\n")
    with pytest.raises(InputError, match="the line 'c d', not theirs: own"):
        checkpoint.read_key_map(str(tmp_path / "keys"))


def test_gzipped_weights_are_what_they_were(tmp_path: Path, state: State):
    """The mend that a message names: unpack it first."""
    inputs.save_gzip(tmp_path / "plain.pth.gz", state)
    (tmp_path / "plain.pth").write_bytes(gzip.decompress((tmp_path / "plain.pth.gz").read_bytes()))
    check_same(refill(tmp_path / "plain.pth"), state)
