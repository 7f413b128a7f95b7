"""What a training leaves in its folder beside the checkpoints."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import PIL

from app.config.parameters import to_yaml
from app.config.training import Train
from app.files import whole
from app.models.vgg import DualTaskVGG
from app.tracking.origin import versions
from app.training import checkpoints, loop
from app.training.card import make_card
from app.training.checkpoints import History
from app.training.loop import Learner
from app.training.material import Material
from app.training.settings import from_folders, identity

INITIAL, BEST, LAST = "initial.safetensors", "best.safetensors", "last.safetensors"
FACES, OBJECTS = "classes_faces.txt", "classes_objects.txt"
HELD_OUT, RESULTS, CONFIG = "held_out.csv", "results.json", "config.yaml"
VERSIONS = "versions.json"
SMALL = (FACES, OBJECTS, HELD_OUT, RESULTS, CONFIG, VERSIONS)  # what MLflow gets, too
PACKAGE = "weights"  # the folder of what ships, after a training on drawn images


@dataclass(frozen=True)
class Results:
    """What came of a training."""

    trained: dict[str, float]  # what `loop.measure` found at the end, and …
    untrained: dict[str, float]  # … of the initialisation
    best_epoch: int  # from 1
    seconds: float  # that learning took
    history: History
    settings: dict[str, Any]  # all that the weights depend on
    undelivered: Any = None  # why MLflow did not get it; None: it did


def write_start(folder: Path, settings: Train, material: Material) -> None:
    """Write what is known before anything is learned.

    That is the initialisation, the class of each output, which images are held out, all settings,
    and versions.
    """
    about = {**_describe(settings, material), "trained": "false"}
    checkpoints.write_weights(folder / INITIAL, loop.initialise(settings), about)
    for name, classes in ((FACES, material.faces), (OBJECTS, material.objects)):
        _write_text(folder / name, "".join(f"{label}\n" for label in classes))
    _write_text(folder / CONFIG, to_yaml(settings))
    # Pillow decodes and scales what is learned.
    known = {**versions(), "pillow": PIL.__version__}
    _write_text(folder / VERSIONS, json.dumps(known, indent=2))
    if from_folders(settings):
        tested, images = material.held_out, material.held_out.images
        columns = {"output": tested.outputs, "class": images.labels, "image": images.names}
        _write_text(folder / HELD_OUT, pd.DataFrame(columns).to_csv(index=False))


def keep_best(
    folder: Path, settings: Train, material: Material, learner: Learner, history: History
) -> None:
    """Write the weights of the last epoch if it is the best; keep that epoch's checkpoint."""
    if not history:
        return
    best = _find_best(history, settings)
    if best == len(history):
        checkpoints.write_weights(folder / BEST, learner.network, _describe(settings, material))
    checkpoints.prune(folder, settings.keep, best)


def is_over(history: History, settings: Train) -> bool:
    """Tell whether there is nothing left to learn."""
    return loop.is_over(_losses(history), settings.epochs, settings.stopping)


def write_results(
    folder: Path, settings: Train, material: Material, learner: Learner, history: History
) -> Results:
    """Write the last weights and all figures; after drawn images also what ships."""
    trained = loop.without_norm(learner.network).to(learner.device)
    start, first = loop.initialise(settings).to(learner.device), settings.model.face_classes
    checkpoints.write_weights(folder / LAST, trained, _describe(settings, material))
    results = Results(
        loop.measure(trained, material, first),
        loop.measure(start, material, first),
        _find_best(history, settings),
        sum(figures["train/seconds"] for figures in history),
        history,
        identity(settings, material.images),
    )
    told = {name: value for name, value in vars(results).items() if name != "undelivered"}
    _write_text(folder / RESULTS, json.dumps(told, indent=2))
    if not from_folders(settings):
        _write_package(folder / PACKAGE, settings, material, trained, results)
    return results


def _write_package(
    folder: Path, settings: Train, material: Material, trained: DualTaskVGG, results: Results
) -> None:
    """Write what ships with the program: weights under the training's name, and model card."""
    folder.mkdir(exist_ok=True)
    name, about = settings.name, _describe(settings, material)
    checkpoints.write_weights(folder / f"{name}.safetensors", trained, about)
    start = loop.initialise(settings)
    checkpoints.write_weights(folder / f"{name}_untrained.safetensors", start, about)
    epochs, seconds = len(results.history), results.seconds
    card = make_card(settings, results.trained, results.untrained, epochs, seconds)
    _write_text(folder / f"{name}.md", card)


def _describe(settings: Train, material: Material) -> dict[str, str]:
    """Metadata of weights, beside their architecture."""
    return {
        "faces": str(len(material.faces)),
        "objects": str(len(material.objects)),
        "face_classes": str(settings.model.face_classes),
    }


def _losses(history: History) -> list[float]:
    return [figures["val/loss"] for figures in history]


def _find_best(history: History, settings: Train) -> int:
    return loop.find_best(_losses(history), settings.stopping.min_delta) + 1


def _write_text(path: Path, text: str) -> None:
    with whole(path) as new:
        new.write_text(text, encoding="utf-8")
