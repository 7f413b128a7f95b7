"""`python -m app.train`: train the small dual-task network on synthetic faces and objects.

Each epoch seeds its own random numbers and ends with a checkpoint, so a training that was
interrupted goes on where it stopped and ends with the same bits. Nothing heavy is imported until
the job runs.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from app.commandline import CONFIG_FOLDER, run
from app.config import Tracking
from app.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from app.models.vgg import DualTaskVGG

CHECKPOINT = "checkpoint.pt"
# Settings that change where things go or how fast, not what is learned.
FREE = ("output", "workers", "tracking")


@dataclass
class Train:
    """The settings of a training; conf/train.yaml holds the values and says what they mean."""

    name: str = MISSING
    output: str = MISSING
    seed: int = MISSING
    stimuli_seed: int = MISSING
    widths: list[int] = MISSING
    hidden: int = MISSING
    input_size: int = MISSING
    people: int = MISSING
    objects: int = MISSING
    images_per_person: int = MISSING
    held_out_per_class: int = MISSING
    epochs: int = MISSING
    batch_size: int = MISSING
    learning_rate: float = MISSING
    weight_decay: float = MISSING
    label_smoothing: float = MISSING
    dropout: float = MISSING
    shift: int = MISSING
    threads: int = MISSING
    workers: int = MISSING
    tracking: Tracking = field(default_factory=Tracking)


@dataclass(frozen=True)
class Images:
    """Grey images, uint8 (n, size, size), and the network output that is right, int64 (n,)."""

    pixels: Tensor
    outputs: Tensor


@dataclass(frozen=True)
class Learner:
    """What a step of training changes."""

    network: DualTaskVGG
    optimiser: Optimizer
    schedule: LRScheduler


# What is shown


def training_images(settings: Train) -> Images:
    """Draw what the network learns from: as many faces as objects, but for rounding."""
    per_object = round(settings.people * settings.images_per_person / settings.objects)
    return _drawn(settings, 0, settings.images_per_person, per_object, "drawing to learn")


def held_out_images(settings: Train) -> Images:
    """Draw further images of the same people and categories, none of them trained on."""
    from app.stimuli.synthetic import HELD_OUT

    each = settings.held_out_per_class
    return _drawn(settings, HELD_OUT, each, each, "drawing to test")


def _drawn(settings: Train, first: int, per_person: int, per_object: int, title: str) -> Images:
    import numpy as np
    import torch
    from tqdm import tqdm

    draw = partial(_one_each, settings.stimuli_seed, settings.input_size)
    jobs = [(settings.people, 0, first + k) for k in range(per_person)]
    jobs += [(0, settings.objects, first + k) for k in range(per_object)]
    if settings.workers > 1:
        # Spawned: forking a process that runs torch's threads can lock up.
        with ProcessPoolExecutor(settings.workers, get_context("spawn")) as pool:
            rounds = list(tqdm(pool.map(draw, jobs), title, len(jobs), unit="round", disable=None))
    else:
        rounds = [draw(job) for job in tqdm(jobs, title, unit="round", disable=None)]
    pixels = np.concatenate(rounds)
    faces = torch.arange(settings.people).repeat(per_person)
    objects = settings.people + torch.arange(settings.objects).repeat(per_object)
    return Images(torch.from_numpy(pixels), torch.cat([faces, objects]))


def _one_each(seed: int, size: int, job: tuple[int, int, int]) -> np.ndarray:
    """Image number `image` of each of so many people or object categories."""
    from app.stimuli import synthetic

    people, objects, image = job
    if people:
        pixels, _ = synthetic.identities(
            seed, people, 1, split="network", first_image=image, size=size
        )
        return pixels
    categories = synthetic.OBJECT_CATEGORIES[:objects]
    return synthetic.objects(seed, 1, first_image=image, size=size, categories=categories)[0]


def prepared(pixels: Tensor) -> Tensor:
    """Network input (n, 3, size, size) in [-1, 1] from grey pixels (n, size, size) in 0-255."""
    import torch

    grey = (pixels.float() / 255 - 0.5) / 0.5
    # Three equal channels: the layout of networks for colour images.
    colour = grey[:, None].expand(-1, 3, -1, -1)
    return colour.contiguous(memory_format=torch.channels_last)


def shifted(pixels: Tensor, most: int) -> Tensor:
    """Each image moved by up to `most` pixels in x and y; its border repeats."""
    import torch
    from torch.nn.functional import pad

    count, size, _ = pixels.shape
    wide = pad(pixels[:, None].float(), (most,) * 4, mode="replicate")[:, 0]
    corners = torch.randint(0, 2 * most + 1, (count, 2)).tolist()
    return torch.stack(
        [image[y : y + size, x : x + size] for image, (y, x) in zip(wide, corners, strict=True)]
    )


# How it learns


def untrained(settings: Train) -> DualTaskVGG:
    """The network before training."""
    from app.models.vgg import seeded

    return seeded(
        settings.seed,
        settings.widths,
        settings.hidden,
        settings.people + settings.objects,
        settings.input_size,
    )


def learner(settings: Train, images: int) -> Learner:
    """The network with batch normalisation, AdamW, and a one-cycle learning rate."""
    import torch

    from app.models.vgg import add_batch_norm

    network = add_batch_norm(untrained(settings), settings.dropout)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]  # biases and normalisation
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": free, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(
        groups, settings.learning_rate, weight_decay=settings.weight_decay
    )
    steps = settings.epochs * (images // settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=steps, pct_start=0.2
    )
    return Learner(network, optimiser, schedule)


def learn(learner: Learner, images: Images, settings: Train, epoch: int) -> float:
    """One epoch, in an order of its own; the mean loss."""
    import torch
    from torch.nn.functional import cross_entropy
    from tqdm import tqdm

    # All that is random in an epoch (order, shifts, dropout) follows from its number, so a
    # checkpoint between epochs holds no random state.
    torch.manual_seed(settings.seed * 10_000 + epoch)
    learner.network.train()
    batches = torch.randperm(len(images.pixels)).split(settings.batch_size)
    batches = batches[: len(images.pixels) // settings.batch_size]  # a short last one is left out
    total = 0.0
    title = f"epoch {epoch + 1}/{settings.epochs}"
    bar = tqdm(batches, title, unit="batch", disable=None)
    for done, batch in enumerate(bar, start=1):
        inputs = prepared(shifted(images.pixels[batch], settings.shift))
        loss = cross_entropy(
            learner.network(inputs),
            images.outputs[batch],
            label_smoothing=settings.label_smoothing,
        )
        learner.optimiser.zero_grad()
        loss.backward()
        learner.optimiser.step()
        learner.schedule.step()
        total += loss.item()
        bar.set_postfix(loss=f"{total / done:.3f}")
    return total / len(batches)


def accuracies(network: DualTaskVGG, images: Images, people: int) -> dict[str, float]:
    """Top-1 accuracy over all outputs, for faces and for objects."""
    import torch

    network.eval()
    with torch.no_grad():
        answers = torch.cat([network(prepared(p)).argmax(1) for p in images.pixels.split(128)])
    right = (answers == images.outputs).double()
    face = images.outputs < people
    return {"faces": float(right[face].mean()), "objects": float(right[~face].mean())}


# What is kept


def save_checkpoint(
    path: Path, learner: Learner, history: list[dict[str, float]], settings: Train
) -> None:
    """Write what the next epoch needs; the old checkpoint stays until the new one is complete."""
    import torch

    content = {
        "settings": _identity(settings),
        "history": history,
        "network": learner.network.state_dict(),
        "optimiser": learner.optimiser.state_dict(),
        "schedule": learner.schedule.state_dict(),
    }
    partial_path = path.with_suffix(".partial")
    torch.save(content, partial_path)
    os.replace(partial_path, path)


def load_checkpoint(path: Path, learner: Learner, settings: Train) -> list[dict[str, float]]:
    """Put the learner where the checkpoint was; the finished epochs' figures, none without one."""
    import torch

    if not path.exists():
        return []
    try:
        content = torch.load(path, weights_only=True)
        there = content["settings"]
    except Exception as error:  # damaged files make the reader raise nearly anything
        raise InputError(f"checkpoint {path} cannot be read; delete it to start anew") from error
    here = _identity(settings)
    for key, value in here.items():
        if there.get(key) != value:
            raise InputError(
                f"{path} comes from a training with {key}={there.get(key)}, this one has {value}: "
                "give it another name=, or delete the checkpoint"
            )
    learner.network.load_state_dict(content["network"])
    learner.optimiser.load_state_dict(content["optimiser"])
    learner.schedule.load_state_dict(content["schedule"])
    history: list[dict[str, float]] = content["history"]
    return history


def _identity(settings: Train) -> dict[str, Any]:
    return {k: v for k, v in dataclasses.asdict(settings).items() if k not in FREE}


def save_weights(network: DualTaskVGG, path: Path, about: dict[str, str]) -> None:
    """A safetensors file with the architecture among its metadata."""
    from safetensors.torch import save_file

    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    shape = {
        "widths": json.dumps(network.widths),
        "hidden": str(network.hidden),
        "outputs": str(network.outputs),
        "input_size": str(network.input_size),
    }
    save_file(state, path, {"format": "pt", **shape, **about})


def model_card(settings: Train, results: dict[str, Any]) -> str:
    """What a user of the weights needs to know, as Markdown."""
    import torch

    version = torch.__version__.split("+")[0]
    s, trained, before = settings, results["trained"], results["untrained"]
    people, objects, each = s.people, s.objects, s.held_out_per_class
    per_object = round(people * s.images_per_person / objects)
    return f"""# {s.name}

A small dual-task network: the 13 convolutions of VGG-16 at reduced width and three linear layers,
one classifier over {people} face identities and {objects} object categories. It is this project's
default network, small enough to be read, lesioned and decoded on two processor cores.

| held-out images | classes | images | top-1 accuracy | untrained | chance |
|---|---|---|---|---|---|
| faces | {people} identities | {people * each} | {trained["faces"]:.1%} | {before["faces"]:.1%} | \
{1 / people:.1%} |
| objects | {objects} categories | {objects * each} | {trained["objects"]:.1%} | \
{before["objects"]:.1%} | {1 / objects:.1%} |

Top-1 over all {people + objects} outputs; chance is that within the task.

## Files

- `{s.name}.safetensors`: trained. Plain convolution → ReLU; the batch normalisation of
  training is folded into the convolutions.
- `{s.name}_untrained.safetensors`: the same network at the initialisation that training began
  with (He et al. 2015, seed {s.seed}).

Names are those of torchvision's VGG-16 without its adaptive pooling (`features.N.*`,
`classifier.0/3/6.*`). Outputs 0-{people - 1} are face identities, {people}-{people + objects - 1}
object categories, in the order of `app.stimuli.synthetic.OBJECT_CATEGORIES`.

## Input

{s.input_size} x {s.input_size} pixels, grey in three equal channels; pixel values / 255, minus 0.5,
divided by 0.5.

## Data

Drawn by this project's code, seed {s.stimuli_seed}; no photographs, no real people.
{people} people with {s.images_per_person} pictures each (other pose, expression, light, place and
background in each) and {objects} categories with {per_object} exemplars each. Mean luminance and
contrast are the same in all images. Held-out accuracy is measured on {each} further images of
every person and category. The faces of the localizer and those whose identity is decoded are other
people.

## Recipe

`python -m app.train` (conf/train.yaml): {s.epochs} epochs, batches of {s.batch_size}, AdamW with a
one-cycle learning rate (peak {s.learning_rate:g}), weight decay {s.weight_decay:g}, label smoothing
{s.label_smoothing:g}, dropout {s.dropout:g}, shifts of up to {s.shift} pixels, seed {s.seed}. The
weights are those after the last epoch; held-out images chose nothing.

Training took {results["seconds"] / 60:.0f} minutes, drawing the images not counted, with
{s.threads} thread{"s" if s.threads > 1 else ""} on a shared processor (torch {version}). The same
settings, threads and version of torch give the same bits on the same machine.

## Intended use

A quick, offline subject for this project's analyses and tests. It knows drawings only: no
conclusions about real faces, people or vision follow from it.

Licence: MIT, as the project.
"""


def train(settings: Train, folder: Path) -> dict[str, Any]:
    """Train to the end, from the last checkpoint if there is one, and write what it made."""
    import torch
    from tqdm import tqdm

    from app.models.vgg import fold_batch_norm
    from app.record import tracking

    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(True)
    folder.mkdir(parents=True, exist_ok=True)
    images, held_out = training_images(settings), held_out_images(settings)
    state = learner(settings, len(images.pixels))
    checkpoint = folder / CHECKPOINT
    history = load_checkpoint(checkpoint, state, settings)

    with tracking.start(
        settings.tracking,
        name=f"train/{settings.name}",
        params=_identity(settings) | {"threads": settings.threads},
        tags={"kind": "training"},
        description="Training of the dual-task network on synthetic faces and objects.",
    ) as run:
        for epoch, figures in enumerate(history):
            run.metrics(figures, step=epoch)
        for epoch in range(len(history), settings.epochs):
            start = time.perf_counter()
            figures = {"train/loss": learn(state, images, settings, epoch)}
            figures["train/seconds"] = time.perf_counter() - start
            found = accuracies(state.network, held_out, settings.people)
            figures |= {f"held_out/{task}": value for task, value in found.items()}
            history.append(figures)
            save_checkpoint(checkpoint, state, history, settings)
            run.metrics(figures, step=epoch)
            tqdm.write(
                f"epoch {epoch + 1}: loss {figures['train/loss']:.3f}, held out: "
                f"faces {found['faces']:.1%}, objects {found['objects']:.1%}",
                file=sys.stderr,
            )
        results = _finish(settings, folder, fold_batch_norm(state.network), held_out, history)
        run.metrics(
            {f"final/{task}": value for task, value in results["trained"].items()},
            step=settings.epochs,
        )
        run.artifacts(folder / "weights")
    return results


def _finish(
    settings: Train,
    folder: Path,
    trained: DualTaskVGG,
    held_out: Images,
    history: list[dict[str, float]],
) -> dict[str, Any]:
    """Write weights, model card and figures of the training to `folder`/weights."""
    weights = folder / "weights"
    weights.mkdir(exist_ok=True)
    start = untrained(settings)
    about = {"faces": str(settings.people), "objects": str(settings.objects)}
    save_weights(trained, weights / f"{settings.name}.safetensors", about)
    save_weights(start, weights / f"{settings.name}_untrained.safetensors", about)
    results: dict[str, Any] = {
        "trained": accuracies(trained, held_out, settings.people),
        "untrained": accuracies(start, held_out, settings.people),
        "seconds": sum(figures["train/seconds"] for figures in history),
        "history": history,
        "settings": _identity(settings),
    }
    (weights / f"{settings.name}.md").write_text(model_card(settings, results), encoding="utf-8")
    (weights / f"{settings.name}.json").write_text(json.dumps(results, indent=2), encoding="utf-8")
    return results


def check(settings: Train) -> None:
    """Refuse what types let through; InputError with one line."""
    for name, lowest in (
        ("seed", 0), ("stimuli_seed", 0), ("people", 1), ("objects", 1), ("images_per_person", 1),
        ("held_out_per_class", 1), ("epochs", 1), ("batch_size", 2), ("shift", 0), ("threads", 1),
        ("workers", 1), ("hidden", 1), ("learning_rate", 0), ("weight_decay", 0),
    ):  # fmt: skip
        if getattr(settings, name) < lowest:
            raise InputError(f"{name}={getattr(settings, name)}: at least {lowest}")
    from app.stimuli.synthetic import HELD_OUT, OBJECT_CATEGORIES

    if settings.objects > len(OBJECT_CATEGORIES):
        raise InputError(
            f"objects={settings.objects}: {len(OBJECT_CATEGORIES)} categories can be drawn"
        )
    per_class = max(1.0, settings.people / settings.objects) * settings.images_per_person
    if per_class > HELD_OUT:
        raise InputError(f"images_per_person={settings.images_per_person} reaches held-out images")
    if settings.batch_size > settings.people * settings.images_per_person:
        raise InputError(f"batch_size={settings.batch_size} is more than there are faces to learn")
    if settings.input_size < 32 or settings.input_size % 32 or len(settings.widths) != 13:
        raise InputError("13 widths and an input_size that is a multiple of 32 are needed")


ConfigStore.instance().store(name="train_schema", node=Train)


@hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="train")
def job(config: Any) -> None:
    """Train with the settings that Hydra composed."""
    settings: Train = OmegaConf.to_object(config)  # type: ignore[assignment]
    check(settings)
    results = train(settings, Path(settings.output))
    found = results["trained"]
    print(f"Held out: faces {found['faces']:.1%}, objects {found['objects']:.1%}")
    print(f"Weights and model card: {Path(settings.output) / 'weights'}")


def main() -> None:
    """The command line."""
    run(job, interrupted="interrupted; the same command goes on from the last epoch")


if __name__ == "__main__":
    main()
