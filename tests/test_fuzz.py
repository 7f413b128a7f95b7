"""Whatever is thrown at the config, the images and the checkpoints: an answer, or one clear line.

`FUZZ=5000` throws so many of each instead of a few.
"""

from __future__ import annotations

import functools
import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.errors import HydraException
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image
from safetensors.torch import save

from app.config.checks import checked
from app.config.parameters import parameters
from app.errors import InputError
from app.launch import trust
from app.launch.commandline import reason_of
from app.models import checkpoint
from app.stimuli.images import Preprocessing, read_image
from tests.composing import compose_config

EXAMPLES = int(os.environ.get("FUZZ", "0"))
PREPARE = Preprocessing(16, 16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def few(default: int) -> settings:
    return settings(
        max_examples=EXAMPLES or default,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


# ------------------------------------------------------------------------------------- the config


@functools.cache
def names() -> list[str]:
    """Every dotted name of the config, those of groups among them."""
    tree = OmegaConf.to_container(compose_config())

    def below(node, path: str):
        yield path
        for key, value in node.items() if isinstance(node, dict) else ():
            yield from below(value, f"{path}.{key}" if path else str(key))

    return sorted(set(below(tree, "")) - {""})


VALUES = st.one_of(
    st.integers(-2, 200).map(str),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(["null", "true", "", "''", "[]", "{}", "[1]", "[a,b]", "[[1],[2]]", "{a:1}",
                     "{a:[b]}", "nan", "-inf", "conv2", "faces", "fsi", "l2", "paper", "none",
                     "${seed}", "${target}", "${nowhere}", "${oc.env:HOME}", "'${a'", "a b", "é"]),
    st.text(max_size=8),
)  # fmt: skip


@pytest.mark.slow
@few(20)
@given(st.data())
def test_any_override_makes_a_sound_config_or_one_line(data: st.DataObject) -> None:
    known = data.draw(st.just(names()))
    override = st.tuples(
        st.sampled_from(["", "", "", "", "+", "++", "~"]),
        st.sampled_from(known) | st.text("abc._@/", max_size=5),
        VALUES,
    )
    words = [
        f"{sign}{name}" if sign == "~" else f"{sign}{name}={value}"
        for sign, name, value in data.draw(st.lists(override, min_size=1, max_size=2))
    ]
    try:
        with trust.composing():
            composed = compose_config(*words)
        config = checked(composed)
    except (InputError, HydraException, OmegaConfBaseException) as error:
        assert "\n" not in reason_of(error)
        return
    assert parameters(config)["model"]


# ------------------------------------------------------------------------------- images and weights


@functools.cache
def images() -> dict[str, bytes]:
    """A small picture in several formats."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    found = {}
    for suffix in ("png", "jpeg", "ppm", "gif", "tiff", "bmp", "webp"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, suffix)
        found[suffix] = file.getvalue()
    return found


@functools.cache
def weights() -> dict[str, bytes]:
    """A small state dict as PyTorch writes it, new and old, and as safetensors."""
    state = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(2)}
    found = {}
    for suffix, new in (("pt", True), ("pth", False)):
        file = io.BytesIO()
        torch.save({"model_state_dict": state}, file, _use_new_zipfile_serialization=new)
        found[suffix] = file.getvalue()
    return found | {"safetensors": save(state)}


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """The bytes, some of them changed, cut out, doubled, or cut short."""
    found = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(found)))
        end = min(len(found), start + draw(st.integers(0, 16)))
        kind = draw(st.sampled_from(["change", "change", "cut", "double", "end"]))
        if kind == "change":
            found[start:end] = draw(st.binary(min_size=end - start, max_size=end - start))
        elif kind == "cut":
            del found[start:end]
        elif kind == "double":
            found[start:start] = found[start:end]
        else:
            del found[start:]
    return bytes(found)


@few(40)
@given(data=st.data(), suffix=st.sampled_from(sorted(images())))
def test_any_bytes_are_an_image_or_one_line(tmp_path: Path, data, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    path.write_bytes(data.draw(mutated(images()[suffix]) | st.binary(max_size=64)))
    try:
        image = read_image(path)
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return
    assert PREPARE.crop(image).shape == (16, 16, 3)


@few(40)
@given(data=st.data(), suffix=st.sampled_from(sorted(weights())))
def test_any_bytes_are_weights_or_one_line(tmp_path: Path, data, suffix: str) -> None:
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(data.draw(mutated(weights()[suffix]) | st.binary(max_size=64)))
    network = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 2)})
    try:
        checkpoint.fill(network, checkpoint.read(path), path)
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)
        return
    assert network["a"](torch.ones(1, 3)).shape == (1, 2)


class Harmful:
    """Unpickled, it would call whatever it was made with."""

    def __init__(self, *call: object) -> None:
        self.call = call

    def __reduce__(self):
        return self.call[0], self.call[1:]


@few(20)
@given(data=st.data(), protocol=st.integers(0, 5), zipped=st.booleans())
def test_no_pickle_runs(tmp_path: Path, data, protocol: int, zipped: bool) -> None:
    """Calls in a pickle, of whatever kind and in whatever damaged file, are never made."""
    harm = tmp_path / "harm"
    call = data.draw(
        st.sampled_from(
            [(Path.touch, harm), (os.mkdir, str(harm)), (exec, f"open({str(harm)!r}, 'w')")]
        )
    )
    content = pickle.dumps({"state_dict": {"a": Harmful(*call)}}, protocol=protocol)
    if data.draw(st.booleans()):
        content = data.draw(mutated(content))
    path = tmp_path / "weights.pt"
    if zipped:
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("archive/data.pkl", content)
            file.writestr("archive/version", "3\n")
            file.writestr("archive/byteorder", "little")
    else:
        path.write_bytes(content)
    with pytest.raises(InputError):
        checkpoint.read(path)
    assert not harm.exists()
