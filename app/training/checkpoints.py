"""What a training leaves on disk after each epoch, and how it goes on from there.

`checkpoints/epoch-0003.pth` holds all that the fourth epoch needs. An epoch seeds its own random
numbers and early stopping looks back at the history, so neither needs a state of its own.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from torch import Tensor

from app.errors import InputError
from app.models import checkpoint
from app.models.vgg import DualTaskVGG
from app.training import loop
from app.training.loop import Learner

FOLDER = "checkpoints"
LOCK = ".lock"

History = list[dict[str, float]]  # the figures of each epoch


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep a second training out of the folder."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout:
        raise InputError(
            f"another training writes to {folder} now: wait for its end, or give another output="
        ) from None


def save(folder: Path, learner: Learner, history: History, identity: Mapping[str, Any]) -> None:
    """Write the checkpoint of the epoch that just ended.

    Its `model_state_dict` is the plain network, so that it can be analysed as any checkpoint.
    """
    network = {key: value.cpu() for key, value in learner.network.state_dict().items()}
    content = {
        "model_state_dict": _plain(learner.network, network),
        "training": {
            "network": network,
            "optimiser": learner.optimiser.state_dict(),
            "schedule": learner.schedule.state_dict(),
            "scaler": learner.scaler.state_dict(),
        },
        "epoch": len(history),
        "history": history,
        "settings": dict(identity),
    }
    with checkpoint.writing_weights(_path(folder, len(history))) as new:
        torch.save(content, new)


def _plain(network: DualTaskVGG, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the plain network's state dict; what it shares with `state` is the same memory.

    torch.save writes the same memory once: most of VGG-16's weights are in its linear layers.
    """
    if not loop.has_norm(network):
        return dict(state)
    folded = loop.without_norm(network).state_dict()
    return {k: state[k] if k.startswith("classifier.") else v for k, v in folded.items()}


def prune(folder: Path, keep: int, best: int) -> None:
    """Remove all but the checkpoints of the last `keep` epochs and of epoch `best` (from 1)."""
    for epoch in sorted(_epochs(folder))[:-keep]:
        if epoch != best:
            _path(folder, epoch).unlink()


def resume(folder: Path, learner: Learner, identity: Mapping[str, Any]) -> History:
    """Put the learner where the latest checkpoint was.

    Returns
    -------
    History
        The figures of the finished epochs; none without a checkpoint.

    Raises
    ------
    InputError
        For a checkpoint that cannot be read, or that another training made.
    """
    epochs = _epochs(folder)
    if not epochs:
        return []
    path = _path(folder, max(epochs))
    unreadable = InputError(
        f"checkpoint {path} cannot be read; delete it to go on from the one before it, or to "
        "start anew"
    )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        there, history, state = content["settings"], content["history"], content["training"]
    except Exception as error:  # damaged files make the reader raise nearly anything
        raise unreadable from error
    for key in dict.fromkeys([*identity, *there]):
        if there.get(key) != identity.get(key):
            raise InputError(
                f"{path} comes from a training with {key}={there.get(key)}, this one has "
                f"{identity.get(key)}: give it another name= or output=, or delete {folder}"
            )
    try:
        learner.network.load_state_dict(state["network"])
        learner.optimiser.load_state_dict(state["optimiser"])
        learner.schedule.load_state_dict(state["schedule"])
        learner.scaler.load_state_dict(state["scaler"])
    except (KeyError, RuntimeError, ValueError) as error:  # another version's
        raise unreadable from error
    return list(history)


def _path(folder: Path, epoch: int) -> Path:
    return folder / FOLDER / f"epoch-{epoch:04d}.pth"


def _epochs(folder: Path) -> list[int]:
    found = (folder / FOLDER).glob("epoch-*.pth")
    numbers = (path.stem.removeprefix("epoch-") for path in found)
    return [int(number) for number in numbers if number.isdecimal()]


def write_weights(path: Path, network: DualTaskVGG, about: Mapping[str, str]) -> None:
    """Write the plain network as a safetensors file, its architecture among the metadata."""
    plain = loop.without_norm(network)
    shape = {
        "widths": json.dumps(plain.widths),
        "hidden": str(plain.hidden),
        "outputs": str(plain.outputs),
        "input_size": str(plain.input_size),
    }
    state = {key: value.cpu() for key, value in plain.state_dict().items()}
    checkpoint.write(path, state, {**shape, **about})
