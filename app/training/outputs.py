"""What a training leaves in its folder, and how it goes on from there.

`checkpoints/epoch-0003.pth` holds all that the fourth epoch needs. An epoch seeds its own random
numbers and early stopping looks back at the history, so neither needs a state of its own.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import PIL
import torch
from filelock import FileLock, Timeout

from app.config.parameters import to_yaml
from app.config.training import Train
from app.errors import InputError
from app.files import to_json, whole
from app.models import checkpoint
from app.models.vgg import DualTaskVGG, fold_batch_norm
from app.tracking.origin import versions
from app.training import loop
from app.training.loop import History, Learner
from app.training.material import Material

CHECKPOINTS = "checkpoints"
INITIAL, BEST, LAST = "initial.safetensors", "best.safetensors", "last.safetensors"
FACES, OBJECTS = "classes_faces.txt", "classes_objects.txt"
HELD_OUT, RESULTS, CONFIG = "held_out.csv", "results.json", "config.yaml"
VERSIONS = "versions.json"
SMALL = (FACES, OBJECTS, HELD_OUT, RESULTS, CONFIG, VERSIONS)  # what MLflow gets, too
STATES = ("optimiser", "schedule", "scaler")  # of a learner, beside its network's


@dataclass(frozen=True)
class Training:
    """A training while it goes on, and the folder that it writes to."""

    folder: Path
    settings: Train  # with all outputs
    material: Material
    learner: Learner
    identity: dict[str, Any]  # all that the weights depend on
    history: History  # grows with each epoch

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest held-out loss, from 1."""
        return loop.find_best(self.history)


@dataclass(frozen=True)
class Results:
    """What came of a training."""

    trained: dict[str, float]  # what `loop.measure` found at the end
    best_epoch: int  # from 1
    history: History
    settings: dict[str, Any]  # all that the weights depend on

    @property
    def best(self) -> dict[str, float]:
        """What `loop.measure` found after the best epoch."""
        figures = self.history[self.best_epoch - 1]
        return {name: figures[f"val/{name}"] for name in self.trained}


@contextlib.contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep a second training out of the folder."""
    (folder / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout:
        raise InputError(
            f"another training writes to {folder} now: wait for its end, or give another output="
        ) from None


def write_start(training: Training) -> None:
    """Write what is known before anything is learned."""
    folder, material = training.folder, training.material
    _write_weights(training, INITIAL, loop.initialise(training.settings), trained=False)
    for name, classes in ((FACES, material.faces), (OBJECTS, material.objects)):
        _write_text(folder / name, "".join(f"{label}\n" for label in classes))
    _write_text(folder / CONFIG, to_yaml(training.settings))
    # Pillow decodes and scales what is learned.
    known = {**versions(), "pillow": PIL.__version__}
    _write_text(folder / VERSIONS, json.dumps(known, indent=2))
    if training.settings.from_folders:
        tested, images = material.held_out, material.held_out.images
        columns = {"output": tested.outputs, "class": images.labels, "image": images.names}
        _write_text(folder / HELD_OUT, pd.DataFrame(columns).to_csv(index=False))


def save(training: Training) -> None:
    """Write the checkpoint of the epoch that just ended.

    Its `model_state_dict` is the plain network, so that it can be analysed as any checkpoint.
    """
    learner, epoch = training.learner, len(training.history)
    network = {key: value.cpu() for key, value in learner.network.state_dict().items()}
    # Linear layers, most of VGG-16, that nothing was folded into are written once.
    plain = {
        key: network[key] if key in network and torch.equal(network[key], value) else value
        for key, value in fold_batch_norm(learner.network).state_dict().items()
    }
    content = {
        "model_state_dict": plain,
        "training": {
            "network": network,
            **{part: getattr(learner, part).state_dict() for part in STATES},
        },
        "epoch": epoch,
        "history": training.history,
        "settings": training.identity,
    }
    with whole(_path(training.folder, epoch)) as new, open(new, "wb") as file:
        try:
            torch.save(content, file)
        except RuntimeError as error:  # torch's, raised while it handled the full disk's
            raise error.__context__ or error from None


def keep_best(training: Training) -> None:
    """Write the weights of the last epoch if it is the best.

    Of the checkpoints the best epoch's and the last `keep` stay.
    """
    best = training.best_epoch
    if best and best == len(training.history):
        _write_weights(training, BEST, training.learner.network, trained=True)
    for epoch in _epochs(training.folder)[: -training.settings.keep]:
        if epoch != best:
            _path(training.folder, epoch).unlink()


def resume(folder: Path, learner: Learner, identity: dict[str, Any]) -> History:
    """Put the learner where the latest checkpoint was: the figures of the finished epochs.

    Empty without a checkpoint; InputError for one that cannot be read, or that another training
    made.
    """
    epochs = _epochs(folder)
    if not epochs:
        return []
    path = _path(folder, epochs[-1])
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        there, history, state = content["settings"], content["history"], content["training"]
    except Exception as error:  # damaged files make the reader raise nearly anything
        raise InputError(
            f"checkpoint {path} cannot be read; delete it to go on from the one before it, or to "
            "start anew"
        ) from error
    for key in dict.fromkeys([*identity, *there]):
        if there.get(key) != identity.get(key):
            raise InputError(
                f"{path} comes from a training with {key}={there.get(key)}, this one has "
                f"{identity.get(key)}: give it another name= or output=, or delete {folder}"
            )
    for part in ("network", *STATES):
        getattr(learner, part).load_state_dict(state[part])
    return list(history)


def write_results(training: Training) -> Results:
    """Write the last weights and all figures."""
    trained = fold_batch_norm(training.learner.network)
    _write_weights(training, LAST, trained, trained=True)
    first, device = training.settings.model.face_classes, training.learner.device
    found = loop.measure(trained.to(device), training.material, first)
    results = Results(found, training.best_epoch, training.history, training.identity)
    _write_text(training.folder / RESULTS, to_json(vars(results)))
    return results


def _path(folder: Path, epoch: int) -> Path:
    return folder / CHECKPOINTS / f"epoch-{epoch:04d}.pth"


def _epochs(folder: Path) -> list[int]:
    """Whose checkpoints there are, in order."""
    found = (folder / CHECKPOINTS).glob("epoch-*.pth")
    numbers = (path.stem.removeprefix("epoch-") for path in found)
    return sorted(int(number) for number in numbers if number.isdecimal())


def _write_weights(training: Training, name: str, network: DualTaskVGG, trained: bool) -> None:
    """Write the plain network as a safetensors file."""
    state = {key: value.cpu() for key, value in fold_batch_norm(network).state_dict().items()}
    faces = training.settings.model.face_classes
    about = {"trained": str(trained).lower(), "face_classes": str(faces)}
    checkpoint.write(training.folder / name, state, about)


def _write_text(path: Path, text: str) -> None:
    with whole(path) as new:
        new.write_text(text, encoding="utf-8")
