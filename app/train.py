"""`python -m app.train`: train a dual-task network, on drawn images or on folders of images.

Each epoch seeds its own random numbers and ends with a checkpoint, so a training that was
interrupted goes on where it stopped and ends with the same bits. Nothing heavy is imported until
the job runs.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig
from tqdm import tqdm

from app.config.training import Train, checked, identity, with_outputs
from app.files import writing
from app.launch.commandline import UNDELIVERED, run_hydra, tell_undelivered, told

if TYPE_CHECKING:
    from app.tracking.record import Record
    from app.training.outputs import Results, Training

ConfigStore.instance().store(name="train_schema", node=Train)


def train(settings: Train, folder: Path) -> tuple[Results, str | None]:
    """Train to the end, from the last checkpoint if there is one, and write what it made.

    Also returns why MLflow did not get it; None: it did. InputError for a GPU that is not there,
    folders or a checkpoint that cannot be used, a loss that is not finite, and a disk that is full.
    """
    import torch

    from app.machine import settle_functions
    from app.responses.hardware import choose_device
    from app.training import loop, outputs
    from app.training.material import make_material

    # The weights that ship were trained on a CPU; other devices give other bits.
    cpu = settings.device == "auto" and not settings.from_folders
    device = choose_device("cpu" if cpu else settings.device, settings.precision)
    settle_functions()
    torch.set_num_threads(settings.threads)
    another = "another folder with output=<folder>"
    with writing("write the training to", folder, another), outputs.only_one(folder):
        material = make_material(settings)
        for note in material.notes:
            tqdm.write(f"note: {note}")
        settings = with_outputs(settings, len(material.faces), len(material.objects))
        known = identity(settings, material.images)
        learner = loop.make_learner(settings, len(material.to_learn), device)
        history = outputs.resume(folder, learner, known)
        training = outputs.Training(folder, settings, material, learner, known, history)
        outputs.write_start(training)
        with _tracked(training) as record:
            for epoch, figures in enumerate(history):
                record.add_metrics(figures, step=epoch)
            outputs.keep_best(training)
            while not loop.is_over(history, settings.epochs, settings.stopping):
                history.append(_learn_epoch(training))
                outputs.save(training)
                outputs.keep_best(training)
                record.add_metrics(history[-1], step=len(history) - 1)
                record.send()
            if len(history) < settings.epochs:
                patience = settings.stopping.patience
                stopped = f"stopped early: no lower held-out loss for {patience} epoch(s)"
                tqdm.write(stopped, file=sys.stderr)
            results = outputs.write_results(training)
            record.add_metrics({f"best/{name}": value for name, value in results.best.items()})
            record.add_metrics({"best/epoch": results.best_epoch})
            record.add_artifacts(folder, outputs.SMALL)
        return results, record.undelivered


def _learn_epoch(training: Training) -> dict[str, float]:
    """Learn once and be tested; the figures, under the names that MLflow shows."""
    from app.training import loop

    learner, material, settings = training.learner, training.material, training.settings
    epoch, rate = len(training.history), float(learner.schedule.get_last_lr()[0])  # as it begins
    start = time.perf_counter()
    loss = loop.learn(learner, material, settings, epoch)
    seconds = time.perf_counter() - start
    face_classes, precision = settings.model.face_classes, settings.precision
    found = loop.measure(learner.network, material, face_classes, precision=precision)
    tqdm.write(
        f"epoch {epoch + 1}: loss {loss:.3f}, held out: loss {found['loss']:.3f}, "
        f"faces {found['face_top1']:.1%}, objects {found['object_top1']:.1%}",
        file=sys.stderr,
    )
    figures = {"train/learning_rate": rate, "train/loss": loss, "train/seconds": seconds}
    return figures | {f"val/{name}": value for name, value in found.items()}


@contextmanager
def _tracked(training: Training) -> Iterator[Record]:
    """Open the training's MLflow run: one that goes on notes the epochs before it again."""
    import pandas as pd

    from app.sweeps.parent import settle_dead
    from app.tracking.record import Description, tag_notes
    from app.tracking.run import start
    from app.tracking.store import connect

    settings, material = training.settings, training.material
    store = connect(settings.tracking)
    store.prepare()
    settle_dead(store)
    source = "images from folders" if settings.from_folders else "synthetic faces and objects"
    description = Description(
        f"train/{settings.name}",
        training.identity | {"threads": settings.threads, "device": settings.device},
        {"kind": "training", **tag_notes(material.notes)},
        f"Training of a dual-task network on {source}.",
    )
    parts = {"train": material.learned.images, "val": material.held_out.images}
    with start(store, training.folder, description) as record:
        for context, images in parts.items():
            record.add_dataset(
                pd.DataFrame({"image": images.names, "class": images.labels}),
                name=f"{settings.name}/{context}",
                source=images.source,
                digest=images.digest,
                context=context,
            )
        yield record


def job(config: DictConfig) -> None:
    """Train with the settings that Hydra composed, and say what came of it and where it is."""
    with told(debug=config.debug):
        settings = checked(config)
        folder = Path(settings.output).expanduser()
        results, undelivered = train(settings, folder)

        from app.training import outputs

        for name, found in ((outputs.BEST, results.best), (outputs.LAST, results.trained)):
            print(
                f"Held out, {name}: faces {found['face_top1']:.1%}, "
                f"objects {found['object_top1']:.1%}, loss {found['loss']:.3f}"
            )
        best = f"{folder / outputs.BEST} (epoch {results.best_epoch})"
        print(f"Weights: {best}, {outputs.LAST}, {outputs.INITIAL}")
        print(f"Classes in the order of the outputs: {folder / outputs.FACES}, {outputs.OBJECTS}")
        if undelivered is not None:
            tell_undelivered(undelivered, folder)
            sys.exit(UNDELIVERED)


def announce(config: DictConfig, *_: object) -> str:
    """Say what begins, before anything that takes seconds."""
    return f"Training {config.name}, {config.epochs} epochs, into {config.output}"


def main() -> None:
    """Run the command line."""
    again = "interrupted; the same command goes on from the last epoch"
    writes = ("output", "tracking.folder")
    run_hydra(job, "train", writes=writes, announce=announce, interrupted=again)


if __name__ == "__main__":
    main()
