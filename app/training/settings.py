"""The settings of a training: their schema, their checks, and what a checkpoint remembers of them.

torch is not imported: `--help` reads this module.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field, replace
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from app.config.schema import Model, Tracking, check_preprocessing
from app.errors import InputError

OPTIMISERS = ("adamw", "sgd")
SCHEDULES = ("onecycle", "cosine", "step", "constant")
PRECISIONS = ("float32", "float16", "bfloat16")
# Settings that change where things go, how fast or how long, not what an epoch learns. The images
# of folders are known by their content.
FREE = (
    "output", "workers", "tracking", "faces", "objects", "keep", "stopping", "device", "debug",
)  # fmt: skip
# What of the model's settings the training depends on.
OF_MODEL = (
    "widths", "hidden", "outputs", "face_classes", "input_size", "resize", "mean", "sd", "seed",
)  # fmt: skip


@dataclass
class Network(Model):
    """The network to train; its outputs follow from the classes, unless more are given."""

    outputs: Any = None  # int or None, as the next
    face_classes: Any = None
    input_size: Any = None  # never None here, nor the next: see `check`
    resize: Any = None
    mean: Any = None
    sd: Any = None


@dataclass
class Task:
    """Images of one task's classes, a folder each."""

    root: str | None = None
    validation: str | None = None


@dataclass
class Augmentation:
    """How an image of a folder is varied each time it is learned."""

    scale: list[float] | None = None
    ratio: list[float] = MISSING
    flip: float = MISSING


@dataclass
class Drawn:
    """What is drawn where there are no folders."""

    seed: int = MISSING
    people: int = MISSING
    objects: int = MISSING
    images_per_person: int = MISSING
    shift: int = MISSING


@dataclass
class Optimiser:
    name: str = MISSING  # adamw | sgd
    learning_rate: float = MISSING
    weight_decay: float = MISSING
    momentum: float = MISSING


@dataclass
class Schedule:
    name: str = MISSING  # onecycle | cosine | step | constant
    warmup: float = MISSING
    every: int = MISSING
    factor: float = MISSING


@dataclass
class Stopping:
    patience: int | None = None
    min_delta: float = MISSING


@dataclass
class Train:
    """The settings of a training; conf/train.yaml holds the values and says what they mean."""

    name: str = MISSING
    output: str = MISSING
    seed: int = MISSING
    model: Network = field(default_factory=Network)
    faces: Task = field(default_factory=Task)
    objects: Task = field(default_factory=Task)
    held_out_per_class: int = MISSING
    split_seed: int = MISSING
    augmentation: Augmentation = field(default_factory=Augmentation)
    drawn: Drawn = field(default_factory=Drawn)
    epochs: int = MISSING
    batch_size: int = MISSING
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    stopping: Stopping = field(default_factory=Stopping)
    label_smoothing: float = MISSING
    dropout: float = MISSING
    batch_norm: bool = MISSING
    keep: int = MISSING
    device: str = MISSING
    precision: str = MISSING
    threads: int = MISSING
    workers: int = MISSING
    tracking: Tracking = field(default_factory=Tracking)
    debug: bool = False  # show tracebacks


ConfigStore.instance().store(name="train_schema", node=Train)


def from_folders(settings: Train) -> bool:
    """Whether images are read rather than drawn."""
    return settings.faces.root is not None or settings.objects.root is not None


def with_outputs(settings: Train, faces: int, objects: int) -> Train:
    """The settings with the network's outputs for so many classes of each task.

    Faces have the outputs 0 … model.face_classes - 1, objects those that follow. Larger numbers
    that the user gave stay, and outputs without a class are never right. InputError for smaller
    ones.
    """
    face_classes = _at_least(settings.model.face_classes, faces, "model.face_classes", "faces")
    outputs = _at_least(
        settings.model.outputs, face_classes + objects, "model.outputs", "faces and objects"
    )
    return replace(
        settings, model=replace(settings.model, face_classes=face_classes, outputs=outputs)
    )


def _at_least(given: Any, needed: int, name: str, what: str) -> int:
    if given is None:
        return needed
    if not isinstance(given, int) or given < needed:
        raise InputError(f"{name}={given}: the classes of {what} need {needed}, or leave it out")
    return given


def identity(settings: Train, images: str) -> dict[str, Any]:
    """All that the weights after an epoch depend on, flat, under the names of the command line.

    `images` says which images are learned. What two identities differ in tells a checkpoint of
    another training from one to go on from.
    """
    whole = dataclasses.asdict(settings)
    whole["model"] = {key: whole["model"][key] for key in OF_MODEL}
    kept = {key: value for key, value in whole.items() if key not in FREE}
    return {"images": images, **flat(kept)}


def flat(values: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Nested settings under dotted names."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{path}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return found


def check(settings: Train) -> None:
    """Refuse what types let through; InputError with one line."""
    values = flat(dataclasses.asdict(settings))
    for name, lowest in (
        ("seed", 0), ("split_seed", 0), ("model.seed", 0), ("drawn.seed", 0), ("drawn.people", 1),
        ("drawn.objects", 1), ("drawn.images_per_person", 1), ("drawn.shift", 0),
        ("held_out_per_class", 1), ("epochs", 1), ("batch_size", 2), ("threads", 1),
        ("workers", 1), ("model.hidden", 1), ("optimiser.learning_rate", 0),
        ("optimiser.weight_decay", 0), ("schedule.every", 1), ("stopping.patience", 1),
        ("stopping.min_delta", 0), ("keep", 1),
    ):  # fmt: skip
        if values[name] is not None and not values[name] >= lowest:
            raise InputError(f"{name}={values[name]}: at least {lowest}")
    for name, low, high in (
        ("optimiser.momentum", 0, 1), ("schedule.warmup", 0, 1), ("dropout", 0, 1),
        ("label_smoothing", 0, 1),
    ):  # fmt: skip
        if not low <= values[name] < high:
            raise InputError(f"{name}={values[name]}: from {low} to below {high}")
    for name, allowed in (
        ("optimiser.name", OPTIMISERS), ("schedule.name", SCHEDULES), ("precision", PRECISIONS),
        ("device", ("auto", "cpu", "cuda")),
    ):  # fmt: skip
        if values[name] not in allowed:
            raise InputError(f"{name}={values[name]} is unknown: it is one of {', '.join(allowed)}")
    if not 0 < settings.schedule.factor <= 1:
        raise InputError(f"schedule.factor={settings.schedule.factor}: above 0, at most 1")
    if settings.schedule.name == "onecycle" and not settings.schedule.warmup > 0:
        raise InputError("schedule.warmup=0: one cycle rises first; or take schedule.name=cosine")
    model = settings.model
    if model.input_size < 32 or model.input_size % 32 or len(model.widths) != 13:
        raise InputError(
            "model.widths needs 13 values and model.input_size a multiple of 32: "
            f"they have {len(model.widths)} and {model.input_size}"
        )
    if model.checkpoint is not None:
        raise InputError(
            f"model.checkpoint={model.checkpoint}: a training starts from the initialisation that "
            "model.seed names; leave model.checkpoint out"
        )
    _check_folders(settings) if from_folders(settings) else _check_drawn(settings)


def _check_folders(settings: Train) -> None:
    for task, other in (("faces", "objects"), ("objects", "faces")):
        if getattr(settings, task).root is None:
            raise InputError(
                f"{other}.root is given, but {task}.root is not: give both folders, or none to "
                "learn drawn images"
            )
    check_preprocessing(settings.model)
    varied = settings.augmentation
    if varied.scale is not None and not _is_range(varied.scale, 1):
        raise InputError(
            f"augmentation.scale={varied.scale}: the least and the largest share of the image, "
            "above 0 and at most 1, e.g. [0.35,1], or null for the centre alone"
        )
    if not _is_range(varied.ratio, float("inf")):
        raise InputError(
            f"augmentation.ratio={varied.ratio}: the least and the largest width ÷ height, "
            "above 0, e.g. [0.75,1.33]"
        )
    if not 0 <= varied.flip <= 1:
        raise InputError(f"augmentation.flip={varied.flip}: a probability")


def _is_range(values: list[float], most: float) -> bool:
    return len(values) == 2 and 0 < values[0] <= values[1] <= most


def _check_drawn(settings: Train) -> None:
    from app.stimuli.synthetic import HELD_OUT, OBJECT_CATEGORIES

    for task in ("faces", "objects"):
        if getattr(settings, task).validation is not None:
            raise InputError(f"{task}.validation is given, but {task}.root is not: give both")
    drawn = settings.drawn
    if drawn.objects > len(OBJECT_CATEGORIES):
        raise InputError(
            f"drawn.objects={drawn.objects}: {len(OBJECT_CATEGORIES)} categories can be drawn"
        )
    per_class = max(1.0, drawn.people / drawn.objects) * drawn.images_per_person
    if per_class > HELD_OUT:
        raise InputError(
            f"drawn.images_per_person={drawn.images_per_person} reaches held-out images: "
            f"at most {HELD_OUT} of a class are learned"
        )
    if settings.batch_size > drawn.people * drawn.images_per_person:
        raise InputError(f"batch_size={settings.batch_size} is more than there are faces to learn")
