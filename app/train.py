"""`python -m app.train`: train a dual-task network, on drawn images or on folders of images.

Each epoch seeds its own random numbers and ends with a checkpoint, so a training that was
interrupted goes on where it stopped and ends with the same bits. Nothing heavy is imported until
the job runs.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from app.config.training import Train, checked, register
from app.errors import InputError
from app.launch.commandline import UNDELIVERED, run_hydra, tell_undelivered, told
from app.training.settings import check_drawn, from_folders, identity, with_outputs

if TYPE_CHECKING:
    import torch

    from app.tracking.record import Record
    from app.training.checkpoints import History
    from app.training.loop import Learner
    from app.training.material import Examples, Material
    from app.training.outputs import Results

register()


def train(settings: Train, folder: Path) -> Results:
    """Train to the end, from the last checkpoint if there is one, and write what it made.

    InputError for a GPU that is not there, folders or a checkpoint that cannot be used, a loss
    that is not finite, and a disk that is full.
    """
    import torch

    from app.training import checkpoints, loop, outputs

    device = _choose_device(settings)
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(device.type == "cpu")
    with _writable(folder), checkpoints.only_one(folder):
        material = _make_material(settings)
        settings = with_outputs(settings, len(material.faces), len(material.objects))
        known = identity(settings, material.images)
        learner = loop.make_learner(settings, len(material.to_learn), device)
        history = checkpoints.resume(folder, learner, known)
        outputs.write_start(folder, settings, material)
        with _tracked(settings, folder, material, known) as record:
            for epoch, figures in enumerate(history):
                record.add_metrics(figures, step=epoch)
            outputs.keep_best(folder, settings, material, learner, history)
            while not outputs.is_over(history, settings):
                history.append(_learn_epoch(learner, material, settings, len(history)))
                checkpoints.save(folder, learner, history, known)
                outputs.keep_best(folder, settings, material, learner, history)
                record.add_metrics(history[-1], step=len(history) - 1)
                record.send()
                _tell(history, settings)
            results = outputs.write_results(folder, settings, material, learner, history)
            _record_results(record, folder, results)
        return dataclasses.replace(results, undelivered=record.undelivered)


def _make_material(settings: Train) -> Material:
    if from_folders(settings):
        from app.training import folders

        return folders.make_material(settings)
    from app.training import drawn

    return drawn.make_material(settings)


def _choose_device(settings: Train) -> torch.device:
    """InputError for a GPU that is not there, or for half precision without one."""
    from app.responses.hardware import choose_device

    # The weights that ship were trained on a CPU; other devices give other bits.
    cpu = settings.device == "auto" and not from_folders(settings)
    return choose_device("cpu" if cpu else settings.device, settings.precision)


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Tell a disk that is full, or a folder that cannot be written, in one line."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise InputError(
            f"{error.filename or folder} cannot be written: {error.strerror or error}; "
            "make room, or give another output="
        ) from error


def _learn_epoch(
    learner: Learner, material: Material, settings: Train, epoch: int
) -> dict[str, float]:
    """Learn once and be tested; the figures, under the names that MLflow shows."""
    from app.training import loop

    figures = {"train/learning_rate": float(learner.schedule.get_last_lr()[0])}  # as it begins
    start = time.perf_counter()
    figures["train/loss"] = loop.learn(learner, material, settings, epoch)
    figures["train/seconds"] = time.perf_counter() - start
    face_classes, precision = settings.model.face_classes, settings.precision
    found = loop.measure(learner.network, material, face_classes, precision=precision)
    return figures | {f"val/{name}": value for name, value in found.items()}


def _tell(history: History, settings: Train) -> None:
    from tqdm import tqdm

    from app.training import outputs

    figures = history[-1]
    tqdm.write(
        f"epoch {len(history)}: loss {figures['train/loss']:.3f}, held out: "
        f"loss {figures['val/loss']:.3f}, faces {figures['val/face_top1']:.1%}, "
        f"objects {figures['val/object_top1']:.1%}",
        file=sys.stderr,
    )
    if outputs.is_over(history, settings) and len(history) < settings.epochs:
        tqdm.write(
            f"stopped early: no lower held-out loss for {settings.stopping.patience} epoch(s)",
            file=sys.stderr,
        )


@contextmanager
def _tracked(
    settings: Train, folder: Path, material: Material, known: dict[str, Any]
) -> Iterator[Record]:
    """Open the training's MLflow run: one that goes on notes the epochs before it again."""
    from app.tracking.record import Description
    from app.tracking.run import start
    from app.tracking.store import connect

    store = connect(settings.tracking)
    store.prepare()
    source = "images from folders" if from_folders(settings) else "synthetic faces and objects"
    description = Description(
        f"train/{settings.name}",
        known | {"threads": settings.threads, "device": settings.device},
        {"kind": "training"},
        f"Training of a dual-task network on {source}.",
    )
    with start(store, folder, description) as record:
        if not store.off:
            _record_dataset(record, f"{settings.name}/train", "train", material.learned)
            _record_dataset(record, f"{settings.name}/val", "val", material.held_out)
        yield record


def _record_dataset(record: Record, name: str, context: str, examples: Examples) -> None:
    import pandas as pd

    images = examples.images
    record.add_dataset(
        pd.DataFrame({"image": images.names, "class": images.labels}),
        name=name,
        source=images.source,
        digest=images.digest,
        context=context,
    )


def _record_results(record: Record, folder: Path, results: Results) -> None:
    """Give MLflow the best figures, and the files that are small."""
    from app.training import outputs

    best = results.history[results.best_epoch - 1]
    record.add_metrics({"best/epoch": results.best_epoch})
    for name in ("loss", "face_top1", "object_top1"):
        record.add_metrics(
            {f"best/{name}": best[f"val/{name}"], f"untrained/{name}": results.untrained[name]}
        )
    record.add_artifacts(folder, outputs.SMALL)
    if (folder / outputs.PACKAGE).exists():
        record.add_artifacts(folder / outputs.PACKAGE)


def job(config: DictConfig) -> None:
    """Train with the settings that Hydra composed."""
    with told(debug=config.debug):
        train_and_tell(checked(config))


def train_and_tell(settings: Train) -> None:
    """Train and say on standard output what came of it and where it is."""
    if not from_folders(settings):
        check_drawn(settings)
    folder = Path(settings.output).expanduser()
    results = train(settings, folder)

    from app.training import outputs

    for when, found in (("untrained", results.untrained), ("trained", results.trained)):
        print(
            f"Held out, {when}: faces {found['face_top1']:.1%}, "
            f"objects {found['object_top1']:.1%}, loss {found['loss']:.3f}"
        )
    best = f"{folder / outputs.BEST} (epoch {results.best_epoch})"
    print(f"Weights: {best}, {outputs.LAST}, {outputs.INITIAL}")
    print(f"Classes in the order of the outputs: {folder / outputs.FACES}, {outputs.OBJECTS}")
    if not from_folders(settings):
        print(f"Weights and model card: {folder / outputs.PACKAGE}")
    if results.undelivered is not None:
        tell_undelivered(results.undelivered, folder)
        sys.exit(UNDELIVERED)


def main() -> None:
    """Run the command line."""
    run_hydra(job, "train", interrupted="interrupted; the same command goes on from the last epoch")


if __name__ == "__main__":
    main()
