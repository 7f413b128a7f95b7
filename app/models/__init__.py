"""Networks: built from the config, filled from checkpoints.

torch is imported by `load` alone: a job whose work is stored needs a network's fingerprint only.
"""

from __future__ import annotations

import functools
import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.config import LAYERS as LAYERS
from app.config import Model
from app.errors import InputError
from app.stimuli.images import Preprocessing

if TYPE_CHECKING:
    from app.models.vgg import DualTaskVGG

BUILTIN = "builtin:"  # marks a checkpoint that ships with the package
BUILTIN_FOLDER = Path(__file__).parent / "weights"


def preprocessing(settings: Model) -> Preprocessing:
    """How the network's images are prepared."""
    red, green, blue = settings.mean
    sd_red, sd_green, sd_blue = settings.sd
    return Preprocessing(
        resize=settings.resize,
        size=settings.input_size,
        mean=(red, green, blue),
        sd=(sd_red, sd_green, sd_blue),
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
    """SHA-256 of the checkpoint file, or what a seeded initialisation is drawn from."""
    if settings.checkpoint is None:
        return f"seed {settings.seed}, torch {version('torch')}"
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
        "widths": list(settings.widths),
        "hidden": settings.hidden,
        "outputs": settings.outputs,
        "input_size": settings.input_size,
        "resize": settings.resize,
        "mean": list(settings.mean),
        "sd": list(settings.sd),
    }


def load(settings: Model) -> DualTaskVGG:
    """The network with its weights, ready to be asked (evaluation mode)."""
    import torch

    from app.models import checkpoint
    from app.models.vgg import DualTaskVGG, seeded

    shape = (tuple(settings.widths), settings.hidden, settings.outputs, settings.input_size)
    if settings.checkpoint is None:
        return seeded(settings.seed, *shape).eval()
    path = locate(settings.checkpoint)
    with torch.device("meta"):  # the shapes alone: the file brings the values
        network = DualTaskVGG(*shape)
    checkpoint.fill(network, checkpoint.read(path), path)
    return network.eval()
