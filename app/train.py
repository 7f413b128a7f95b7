"""`python -m app.train`: train a dual-task network, on drawn images or on folders of images.

Each epoch seeds its own random numbers and ends with a checkpoint, so a training that was
interrupted goes on where it stopped and ends with the same bits. Nothing heavy is imported until
the job runs.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from omegaconf import OmegaConf

from app.errors import InputError
from app.launch.commandline import CONFIG_FOLDER, UNDELIVERED, run, tell_undelivered, told
from app.training.settings import Train, check, from_folders, identity, with_outputs

if TYPE_CHECKING:
    import torch

    from app.models.vgg import DualTaskVGG
    from app.tracking.delivery import Run
    from app.training.checkpoints import History
    from app.training.loop import Learner
    from app.training.material import Listing, Material

# What a training leaves in its folder beside the checkpoints.
INITIAL, BEST, LAST = "initial.safetensors", "best.safetensors", "last.safetensors"
FACES, OBJECTS = "classes_faces.txt", "classes_objects.txt"
HELD_OUT, RESULTS, CONFIG = "held_out.csv", "results.json", "config.yaml"
VERSIONS = "versions.json"
SMALL = (FACES, OBJECTS, HELD_OUT, RESULTS, CONFIG, VERSIONS)  # what MLflow gets, too
PACKAGE = "weights"  # the folder of what ships, after a training on drawn images


def train(settings: Train, folder: Path) -> dict[str, Any]:
    """Train to the end, from the last checkpoint if there is one, and write what it made."""
    import torch

    from app.training import checkpoints, loop

    device = _device(settings)
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(device.type == "cpu")
    with _writable(folder), checkpoints.only_one(folder):
        material = _material(settings)
        settings = with_outputs(settings, len(material.faces), len(material.objects))
        known = identity(settings, material.images)
        state = loop.learner(settings, material.steps, device)
        history = checkpoints.resume(folder, state, known)
        about = {**_about(settings, material), "trained": "false"}
        checkpoints.write_weights(folder / INITIAL, loop.untrained(settings), about)
        _write_lists(folder, settings, material)
        with _tracked(settings, folder, material, known) as record:
            for epoch, figures in enumerate(history):
                record.metrics(figures, step=epoch)
            _keep_best(folder, state, history, settings, material)
            while not _is_over(history, settings):
                figures = _one_epoch(state, material, settings, len(history))
                history.append(figures)
                checkpoints.save(folder, state, history, known)
                _keep_best(folder, state, history, settings, material)
                record.metrics(figures, step=len(history) - 1)
                record.send()
                _tell(history, settings)
            results = _finish(settings, folder, state, material, history, record)
        return {**results, "undelivered": record.undelivered}


def _material(settings: Train) -> Material:
    if from_folders(settings):
        from app.training import folders

        return folders.material(settings)
    from app.training import drawn

    return drawn.material(settings)


def _device(settings: Train) -> torch.device:
    """InputError for a GPU that is not there, or for half precision without one."""
    from app.responses.forward import choose_device

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


def _one_epoch(state: Learner, material: Material, settings: Train, epoch: int) -> dict[str, float]:
    """Learn once and be tested; the figures, under the names that MLflow shows."""
    from app.training import loop

    figures = {"train/learning_rate": float(state.schedule.get_last_lr()[0])}  # as it begins
    start = time.perf_counter()
    figures["train/loss"] = loop.learn(state, material, settings, epoch)
    figures["train/seconds"] = time.perf_counter() - start
    found = loop.tested(
        state.network, material, settings.model.face_classes, precision=settings.precision
    )
    return figures | {f"val/{name}": value for name, value in found.items()}


def _losses(history: History) -> list[float]:
    return [figures["val/loss"] for figures in history]


def _is_over(history: History, settings: Train) -> bool:
    from app.training import loop

    stopping = settings.stopping
    return loop.is_over(_losses(history), settings.epochs, stopping.patience, stopping.min_delta)


def _keep_best(
    folder: Path, state: Learner, history: History, settings: Train, material: Material
) -> None:
    """Write the weights of the last epoch if it is the best; keep that epoch's checkpoint."""
    from app.training import checkpoints, loop

    if not history:
        return
    best = loop.best_epoch(_losses(history), settings.stopping.min_delta) + 1
    if best == len(history):
        checkpoints.write_weights(folder / BEST, state.network, _about(settings, material))
    checkpoints.prune(folder, settings.keep, best)


def _tell(history: History, settings: Train) -> None:
    from tqdm import tqdm

    figures = history[-1]
    tqdm.write(
        f"epoch {len(history)}: loss {figures['train/loss']:.3f}, held out: "
        f"loss {figures['val/loss']:.3f}, faces {figures['val/face_top1']:.1%}, "
        f"objects {figures['val/object_top1']:.1%}",
        file=sys.stderr,
    )
    if _is_over(history, settings) and len(history) < settings.epochs:
        tqdm.write(
            f"stopped early: no lower held-out loss for {settings.stopping.patience} epoch(s)",
            file=sys.stderr,
        )


# What is kept


def _about(settings: Train, material: Material) -> dict[str, str]:
    """Metadata of weights, beside their architecture."""
    return {
        "faces": str(len(material.faces)),
        "objects": str(len(material.objects)),
        "face_classes": str(settings.model.face_classes),
    }


def _write_lists(folder: Path, settings: Train, material: Material) -> None:
    """The class of each output, which images are held out, all settings, and versions."""
    import PIL

    from app.tracking import store as tracking

    for name, classes in ((FACES, material.faces), (OBJECTS, material.objects)):
        (folder / name).write_text("".join(f"{label}\n" for label in classes), encoding="utf-8")
    content = OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(settings)))
    (folder / CONFIG).write_text(content, encoding="utf-8")
    # Pillow decodes and scales what is learned.
    versions = {**tracking.versions(), "pillow": PIL.__version__}
    (folder / VERSIONS).write_text(json.dumps(versions, indent=2), encoding="utf-8")
    if from_folders(settings):
        tested = material.held_out
        with open(folder / HELD_OUT, "w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(["output", "class", "image"])
            rows.writerows(zip(tested.outputs, tested.labels, tested.names, strict=True))


@contextmanager
def _tracked(
    settings: Train, folder: Path, material: Material, known: dict[str, Any]
) -> Iterator[Run]:
    """The training's MLflow run: one that goes on notes the epochs before it again."""
    from app.tracking import delivery
    from app.tracking import store as tracking

    tracking.prepare(settings.tracking)
    source = "images from folders" if from_folders(settings) else "synthetic faces and objects"
    with delivery.start(
        settings.tracking,
        folder,
        name=f"train/{settings.name}",
        params=known | {"threads": settings.threads, "device": settings.device},
        tags={"kind": "training"},
        description=f"Training of a dual-task network on {source}.",
    ) as record:
        if settings.tracking.name != "none":
            for context, listing in (("train", material.learned), ("val", material.held_out)):
                _log_dataset(record, f"{settings.name}/{context}", context, listing)
        yield record


def _log_dataset(record: Run, name: str, context: str, listing: Listing) -> None:
    import pandas as pd

    record.dataset(
        pd.DataFrame({"image": listing.names, "class": listing.labels}),
        name=name,
        source=listing.source,
        digest=listing.digest,
        context=context,
    )


def _finish(
    settings: Train,
    folder: Path,
    state: Learner,
    material: Material,
    history: History,
    record: Run,
) -> dict[str, Any]:
    """Write the last weights and all figures, and give MLflow the files that are small."""
    from app.training import checkpoints, loop

    trained, start = loop.plain(state.network).to(state.device), loop.untrained(settings)
    checkpoints.write_weights(folder / LAST, trained, _about(settings, material))
    first = settings.model.face_classes
    best = loop.best_epoch(_losses(history), settings.stopping.min_delta)
    results: dict[str, Any] = {
        "trained": loop.tested(trained, material, first),
        "untrained": loop.tested(start.to(state.device), material, first),
        "best_epoch": best + 1,
        "seconds": sum(figures["train/seconds"] for figures in history),
        "history": history,
        "settings": identity(settings, material.images),
    }
    (folder / RESULTS).write_text(json.dumps(results, indent=2), encoding="utf-8")
    if not from_folders(settings):
        _write_package(folder / PACKAGE, settings, material, trained, results)

    record.metrics({"best/epoch": best + 1})
    for name in ("loss", "face_top1", "object_top1"):
        record.metrics(
            {
                f"best/{name}": history[best][f"val/{name}"],
                f"untrained/{name}": results["untrained"][name],
            }
        )
    record.artifacts(folder, SMALL)
    if not from_folders(settings):
        record.artifacts(folder / PACKAGE)
    return results


def _write_package(
    weights: Path,
    settings: Train,
    material: Material,
    trained: DualTaskVGG,
    results: dict[str, Any],
) -> None:
    """The files that ship with the program: weights under the training's name, and model card."""
    from app.training import checkpoints, drawn, loop

    weights.mkdir(exist_ok=True)
    about = _about(settings, material)
    checkpoints.write_weights(weights / f"{settings.name}.safetensors", trained, about)
    checkpoints.write_weights(
        weights / f"{settings.name}_untrained.safetensors", loop.untrained(settings), about
    )
    card = drawn.model_card(settings, results)
    (weights / f"{settings.name}.md").write_text(card, encoding="utf-8")


@hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="train")
def job(config: Any) -> None:
    """Train with the settings that Hydra composed."""
    with told(debug=config.debug):
        train_and_tell(OmegaConf.to_object(config))  # type: ignore[arg-type]


def train_and_tell(settings: Train) -> None:
    """Train and say on standard output what came of it and where it is."""
    check(settings)
    folder = Path(settings.output).expanduser()
    results = train(settings, folder)
    for when in ("untrained", "trained"):
        found = results[when]
        print(
            f"Held out, {when}: faces {found['face_top1']:.1%}, "
            f"objects {found['object_top1']:.1%}, loss {found['loss']:.3f}"
        )
    print(f"Weights: {folder / BEST} (epoch {results['best_epoch']}), {LAST}, {INITIAL}")
    print(f"Classes in the order of the outputs: {folder / FACES}, {OBJECTS}")
    if not from_folders(settings):
        print(f"Weights and model card: {folder / PACKAGE}")
    if results["undelivered"] is not None:
        tell_undelivered(results["undelivered"], folder)
        sys.exit(UNDELIVERED)


def main() -> None:
    """The command line."""
    run(job, interrupted="interrupted; the same command goes on from the last epoch")


if __name__ == "__main__":
    main()
