"""A network with its weights: drawn from a seed, from a checkpoint, or from a library."""

from __future__ import annotations

import functools
import hashlib
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from app.errors import InputError
from app.files import find_pointer
from app.models import checkpoint
from app.models.formats import is_safetensors
from app.models.libraries import LIBRARIES, Found
from app.models.vgg import DualTaskVGG, seeded
from app.stimuli.images import Preprocessing

if TYPE_CHECKING:
    from app.config.schema import Model

T = TypeVar("T")

BUILTIN = "builtin:"  # marks a checkpoint that ships with the package
BUILTIN_FOLDER = Path(__file__).parent / "weights"


class Loaded(NamedTuple):
    """A network in evaluation mode."""

    network: nn.Module
    settings: Model  # with nothing left open
    digest: str  # SHA-256 of its weights' file, or over its tensors where a library brought them
    notes: tuple[str, ...] = ()  # what was taken of a checkpoint, and what was assumed of it


def load(settings: Model) -> Loaded:
    """The network with its weights; what the settings leave open is taken from it.

    InputError for weights that cannot be had, or are of another network.
    """
    return _load_vgg(settings) if settings.source == "vgg" else _load_from_library(settings)


def make_preprocessing(settings: Model) -> Preprocessing:
    """How the network's images are prepared; settings that nothing is left open in."""
    mean: Any = tuple(given(settings.mean))
    sd: Any = tuple(given(settings.sd))
    return Preprocessing(
        resize=given(settings.resize),
        size=given(settings.input_size),
        mean=mean,
        sd=sd,
        interpolation=settings.interpolation or "bilinear",
        squash=bool(settings.squash),
    )


def locate_checkpoint(name: str) -> Path:
    """The file a checkpoint setting names; InputError where there is none."""
    if name.startswith(BUILTIN):
        path = BUILTIN_FOLDER / Path(name.removeprefix(BUILTIN)).name
    else:
        path = Path(name).expanduser()
    if not path.is_file():
        wrong = find_pointer(path) or "is no file: give the path of the weights"
        raise InputError(f"model.checkpoint={name} {wrong}")
    return path


def digest_weights(settings: Model) -> str:
    """SHA-256 of the checkpoint file, or what the weights are drawn from or brought by."""
    if settings.checkpoint is None:
        packages = ["torch", settings.source] if settings.source in LIBRARIES else ["torch"]
        versions = ", ".join(f"{name} {version(name)}" for name in packages)
        origin = f"weights {settings.weights}" if settings.weights else f"seed {settings.seed}"
        return f"{origin}, {versions}"
    path = locate_checkpoint(settings.checkpoint)
    try:
        status = path.stat()
        return _digest_file(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise InputError(
            f"model.checkpoint={settings.checkpoint} cannot be read: {error.strerror or error}"
        ) from None


@functools.cache  # every step of a run asks for it, and full-size weights are half a gigabyte
def _digest_file(path: Path, size: int, modified: int) -> str:
    """SHA-256 of the file; size and time of change stand for its content within one process."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load_vgg(settings: Model) -> Loaded:
    widths, size = tuple(settings.widths), given(settings.input_size)
    if settings.checkpoint is None:
        network = seeded(settings.seed, widths, settings.hidden, given(settings.outputs), size)
        return Loaded(network.eval(), _fill_in(settings), digest_weights(settings))

    def build(outputs: int) -> DualTaskVGG:
        with torch.device("meta"):  # the shapes alone: the file brings the values
            return DualTaskVGG(widths, settings.hidden, outputs, size)

    state, said = _read(settings, build(1))
    path = locate_checkpoint(settings.checkpoint)
    trained = checkpoint.read_metadata(path).get("trained") != "false"
    outputs = checkpoint.count_outputs(state, "classifier.6")
    filled = _fill_in(settings, outputs=outputs, trained=trained)
    network = build(filled.outputs or 1)
    checkpoint.fill(network, state, path)
    return Loaded(network.eval(), filled, digest_weights(settings), _make_notes(said))


def _load_from_library(settings: Model) -> Loaded:
    if settings.checkpoint is not None:
        settings = replace(settings, weights=None)
    found = LIBRARIES[settings.source](settings)
    network, own = found.network, found.own
    if settings.checkpoint is None:
        notes = _make_notes(*found.notes)
        digest = checkpoint.digest_tensors(network.state_dict())
    else:
        network, notes = _fill_from_checkpoint(settings, found)
        digest = digest_weights(settings)
    # A size of the user's own keeps the library's ratio of the crop.
    size = own["input_size"]
    own["resize"] = round(own["resize"] * (settings.input_size or size) / size)
    return Loaded(network, _fill_in(settings, **own), digest, notes)


def _fill_from_checkpoint(settings: Model, found: Found) -> tuple[nn.Module, tuple[str, ...]]:
    """Fill a library's network; with as many outputs as the file has, or without its head."""
    network, own, heads, adapt, _ = found
    state, taken = _read(settings, network)
    said = [taken]
    with suppress(Exception):  # of a file that it does not know; what does not fit is told below
        adapted = adapt(dict(state), network) if adapt else state
        if any(key not in state or state[key].shape != adapted[key].shape for key in adapted):
            said.append(f"{settings.source} converted the checkpoint's names or shapes")
        state = adapted
    if settings.outputs is None and heads:
        outputs = checkpoint.count_outputs(state, heads[0])
        if outputs is None:
            state = checkpoint.behead(network, state, heads)
        elif outputs != own["outputs"]:
            network = LIBRARIES[settings.source](replace(settings, outputs=outputs)).network
        if outputs is None and own["outputs"]:
            said.append(f"the checkpoint has no {heads[0]}: what lies before it can be read")
        own["outputs"] = outputs
    checkpoint.fill(network, state, locate_checkpoint(given(settings.checkpoint)))
    like = own["weights_like"] or settings.source
    if settings.weights_like is None and not settings.name.endswith(f".{like}"):
        said.append(
            f"the checkpoint does not say how images are prepared: as for {like} is assumed, "
            "model.weights_like=… names other weights"
        )
    return network, _make_notes(*said)


def _make_notes(*said: str) -> tuple[str, ...]:
    return tuple(f"model: {line}" for line in said if line)


def _read(settings: Model, network: nn.Module) -> tuple[dict[str, Tensor], str]:
    path = locate_checkpoint(given(settings.checkpoint))
    if settings.key_map == "order" and is_safetensors(path):
        raise InputError(
            f"model.key_map=order cannot be told for {path}: safetensors sorts what it keeps; give "
            "a file of lines theirs: own"
        )
    state = checkpoint.read(path)
    return checkpoint.name_tensors(state, network.state_dict(), settings.key_map)


def _fill_in(settings: Model, **own: Any) -> Model:
    """A copy of the settings, what is null in it replaced by the network's own."""
    own = {"trained": bool(settings.checkpoint or settings.weights), **own}
    values = {name: value for name, value in own.items() if getattr(settings, name) is None}
    if settings.weights is not None:
        values["weights"] = own.get("weights")  # DEFAULT says nothing about which
    return replace(settings, **values)


def given(value: T | None) -> T:
    """A setting that is known by now."""
    assert value is not None, "settings are complete once the network is loaded"
    return value
