"""A network with its weights: drawn from a seed, from a checkpoint, or from a library."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from torch import nn

from app.errors import InputError
from app.files import digest_file, find_pointer
from app.models import checkpoint
from app.models.libraries import BUILDERS, Found
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
    if settings.checkpoint is not None:
        settings = replace(settings, weights=None)
    found = BUILDERS[settings.source](settings)
    network, own, said = found.network, found.own, list(found.notes)
    if settings.checkpoint is not None:
        network, said = _fill_from_checkpoint(settings, found)
    fixed = settings.checkpoint is not None or settings.source == "vgg"
    digest = digest_weights(settings) if fixed else checkpoint.digest_tensors(network.state_dict())
    if size := own.get("input_size"):  # one of the user's own keeps the library's ratio of the crop
        own["resize"] = round(own["resize"] * (settings.input_size or size) / size)
    own = {"trained": bool(settings.weights), "face_classes": 0, **own}
    values = {name: value for name, value in own.items() if getattr(settings, name) is None}
    if settings.weights is not None:
        values["weights"] = own["weights"]  # DEFAULT says nothing about which
    notes = tuple(f"model: {line}" for line in said if line)
    return Loaded(network.eval(), replace(settings, **values), digest, notes)


def make_preprocessing(settings: Model) -> Preprocessing:
    """How the network's images are prepared; settings that nothing is left open in."""
    return Preprocessing(
        given(settings.resize),
        given(settings.input_size),
        tuple(given(settings.mean)),
        tuple(given(settings.sd)),
        settings.interpolation or "bilinear",
        bool(settings.squash),
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
        packages = ["torch"] if settings.source == "vgg" else ["torch", settings.source]
        versions = ", ".join(f"{name} {version(name)}" for name in packages)
        origin = f"weights {settings.weights}" if settings.weights else f"seed {settings.seed}"
        return f"{origin}, {versions}"
    return digest_file(locate_checkpoint(settings.checkpoint))


def _fill_from_checkpoint(settings: Model, found: Found) -> tuple[nn.Module, list[str]]:
    """Fill a network, with as many outputs as the file has, or without its head; what to tell."""
    network, own, heads, adapt, _ = found
    path = locate_checkpoint(given(settings.checkpoint))
    if settings.key_map == "order" and checkpoint.is_safetensors(path):
        raise InputError(
            f"model.key_map=order cannot be told for {path}: safetensors sorts what it keeps; give "
            "a file of lines theirs: own"
        )
    state, expected = checkpoint.read(path), network.state_dict()
    state, taken = checkpoint.name_tensors(state, expected, settings.key_map)
    said = [taken]
    with suppress(Exception):  # of a file that it does not know; what does not fit is told below
        adapted = adapt(dict(state), network) if adapt else state
        if any(key not in state or state[key].shape != adapted[key].shape for key in adapted):
            said.append(f"{settings.source} converted the checkpoint's names or shapes")
        state = adapted
    if settings.outputs is None and heads:
        weight = state.get(f"{heads[0]}.weight")
        outputs = None if weight is None or weight.ndim < 2 else len(weight)
        if outputs is not None and outputs != own["outputs"]:
            network = BUILDERS[settings.source](replace(settings, outputs=outputs)).network
        elif outputs is None and settings.source != "vgg":  # whose tasks need the outputs
            state = checkpoint.behead(network, state, heads)
            if own["outputs"]:
                said.append(f"the checkpoint has no {heads[0]}: what lies before it can be read")
        own["outputs"] = outputs
    checkpoint.fill(network, state, path)
    about = checkpoint.read_metadata(path)
    own["trained"] = about.get("trained") != "false"
    own["face_classes"] = int(about.get("face_classes", 0))
    like = own.get("weights_like") or settings.source
    told = settings.weights_like is not None or settings.name.endswith(f".{like}")
    if settings.source != "vgg" and not told:
        said.append(
            f"the checkpoint does not say how images are prepared: as for {like} is assumed, "
            "model.weights_like=… names other weights"
        )
    return network, said


def given(value: T | None) -> T:
    """A setting that is known by now."""
    assert value is not None, "settings are complete once the network is loaded"
    return value
