"""Networks: built from the config or by a library, filled from checkpoints.

torch is imported by `load` alone: a job whose work is stored needs a network's fingerprint only.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from app.config.schema import LAYERS as LAYERS
from app.config.schema import Model
from app.errors import InputError
from app.stimuli.images import Preprocessing

if TYPE_CHECKING:
    from torch import nn

T = TypeVar("T")

BUILTIN = "builtin:"  # marks a checkpoint that ships with the package
BUILTIN_FOLDER = Path(__file__).parent / "weights"
POOLED = (2, 4, 7, 10, 13)  # the convolutions of VGG-16 that a max pooling follows


class Loaded(NamedTuple):
    """A network in evaluation mode, and its settings with nothing left open."""

    network: Any  # DualTaskVGG, or ModuleNetwork where layers are modules' names
    settings: Model
    digest: str  # SHA-256 of its weights' file, or over its tensors where a library brought them


def conv_shape(settings: Model, layer: str) -> tuple[int, int, int]:
    """(channels, rows, columns) of the map of conv1 … conv13 of a dual-task network."""
    number = LAYERS.index(layer) + 1
    side = _given(settings.input_size) >> sum(pooled < number for pooled in POOLED)
    return settings.widths[number - 1], side, side


def preprocessing(settings: Model) -> Preprocessing:
    """How the network's images are prepared; settings that nothing is left open in."""
    red, green, blue = _given(settings.mean)
    sd_red, sd_green, sd_blue = _given(settings.sd)
    return Preprocessing(
        resize=_given(settings.resize),
        size=_given(settings.input_size),
        mean=(red, green, blue),
        sd=(sd_red, sd_green, sd_blue),
        interpolation=settings.interpolation or "bilinear",
        squash=bool(settings.squash),
    )


def locate(checkpoint: str) -> Path:
    """The file a checkpoint setting names; InputError where there is none."""
    if checkpoint.startswith(BUILTIN):
        path = BUILTIN_FOLDER / Path(checkpoint.removeprefix(BUILTIN)).name
    else:
        path = Path(checkpoint).expanduser()
    if not path.is_file():
        raise InputError(f"model.checkpoint={checkpoint} is no file: give the path of the weights")
    return path


def weights_digest(settings: Model) -> str:
    """SHA-256 of the checkpoint file, or what the weights are drawn from or brought by."""
    if settings.checkpoint is None:
        libraries = {"torchvision": ["torchvision"], "timm": ["timm"]}.get(settings.source, [])
        versions = ", ".join(f"{name} {version(name)}" for name in ["torch", *libraries])
        origin = f"weights {settings.weights}" if settings.weights else f"seed {settings.seed}"
        return f"{origin}, {versions}"
    path = locate(settings.checkpoint)
    try:
        status = path.stat()
        return _file_digest(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise InputError(
            f"model.checkpoint={settings.checkpoint} cannot be read: {error.strerror or error}"
        ) from None


@functools.cache  # every step of a run asks for it, and full-size weights are half a gigabyte
def _file_digest(path: Path, size: int, modified: int) -> str:
    """SHA-256 of the file; size and time of change stand for its content within one process."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(settings: Model) -> dict[str, Any]:
    """All that the network's responses to an image depend on, JSON-able."""
    return {
        "weights": weights_digest(settings),
        "source": settings.source,
        "network": settings.name if settings.source != "vgg" else "vgg",
        "widths": list(settings.widths),
        "hidden": settings.hidden,
        "outputs": settings.outputs,
        "preprocessing": dataclasses.asdict(preprocessing(settings)),
    }


def load(settings: Model) -> Loaded:
    """The network with its weights; what the settings leave open is taken from it."""
    return _load_vgg(settings) if settings.source == "vgg" else _load_from_library(settings)


def by_modules(loaded: Loaded, output: str) -> Loaded:
    """The same network, its layers read by modules' names; `output` says what they give."""
    from app.models.modules import ModuleNetwork

    settings = loaded.settings
    size = _given(settings.input_size)
    return loaded._replace(network=ModuleNetwork(loaded.network, settings.name, size, output))


def _load_vgg(settings: Model) -> Loaded:
    import torch

    from app.models import checkpoint
    from app.models.vgg import DualTaskVGG, seeded

    widths, size = tuple(settings.widths), _given(settings.input_size)
    if settings.checkpoint is None:
        filled = _filled(settings)
        network = seeded(settings.seed, widths, settings.hidden, _given(settings.outputs), size)
        return Loaded(network.eval(), filled, weights_digest(settings))
    path = locate(settings.checkpoint)
    state = checkpoint.read(path)
    filled = _filled(
        settings,
        outputs=checkpoint.outputs(state, "classifier.6", path),
        trained=checkpoint.about(path).get("trained") != "false",
    )
    with torch.device("meta"):  # the shapes alone: the file brings the values
        network = DualTaskVGG(widths, settings.hidden, _given(filled.outputs), size)
    checkpoint.fill(network, state, path)
    return Loaded(network.eval(), filled, weights_digest(settings))


def _load_from_library(settings: Model) -> Loaded:
    from app.models import checkpoint
    from app.models.libraries import LIBRARIES, last_linear

    build = LIBRARIES[settings.source]
    found = build(settings.name, settings.weights, settings.seed, settings.outputs)
    digest = checkpoint.digest(found.network.state_dict())
    if settings.checkpoint is not None:
        path = locate(settings.checkpoint)
        state = checkpoint.read(path)
        last = last_linear(found.network)
        if settings.outputs is None and last is not None:
            outputs = checkpoint.outputs(state, last, path)
            found = build(settings.name, None, settings.seed, outputs)
        checkpoint.fill(found.network, state, path)
        digest = weights_digest(settings)
    shown = found.preprocessing
    filled = _filled(
        settings,
        weights=found.weights,
        outputs=settings.outputs or _outputs(found.network),
        input_size=shown.size,
        # A size of the user's own keeps the library's ratio of the crop.
        resize=round(shown.resize * (settings.input_size or shown.size) / shown.size),
        mean=list(shown.mean),
        sd=list(shown.sd),
        interpolation=shown.interpolation,
        squash=shown.squash,
    )
    return Loaded(found.network, filled, digest)


def _outputs(network: nn.Module) -> int | None:
    """The width of the last linear layer."""
    from app.models.libraries import last_linear

    last = last_linear(network)
    return None if last is None else len(network.get_submodule(last).weight)  # type: ignore[arg-type]


def _filled(settings: Model, **own: Any) -> Model:
    """A copy of the settings, what is null in it replaced by the network's own."""
    own = {"trained": bool(settings.checkpoint or settings.weights), **own}
    values = {field.name: getattr(settings, field.name) for field in dataclasses.fields(Model)}
    values |= {name: value for name, value in own.items() if values[name] is None}
    if settings.weights is not None:
        values["weights"] = own.get("weights")  # DEFAULT says nothing about which
    return Model(**values)


def _given(value: T | None) -> T:
    assert value is not None, "settings are complete once the network is loaded"
    return value
