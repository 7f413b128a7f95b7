"""The typed settings of a training, their limits and checks; conf/train.yaml has the values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from app.choices import DEVICES, PRECISIONS
from app.config import limits
from app.config.checks import check_preprocessing
from app.config.limits import OneOf, Range
from app.config.schema import Count, Model, Seed, Tracking
from app.errors import InputError

Whole = Annotated[int, Range(0)]
Share = Annotated[float, Range(0, below=1, says="{name}={value}: from 0 to below 1")]
FACTOR = "{name}={value}: above 0, at most 1"


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

    seed: Seed = MISSING
    people: Count = MISSING
    objects: Count = MISSING
    images_per_person: Count = MISSING
    shift: Whole = MISSING


@dataclass
class Optimiser:
    """How the weights follow the gradient."""

    name: Annotated[str, OneOf(("adamw", "sgd"))] = MISSING
    learning_rate: Annotated[float, Range(0)] = MISSING
    weight_decay: Annotated[float, Range(0)] = MISSING
    momentum: Share = MISSING


@dataclass
class Schedule:
    """How the learning rate changes, step by step."""

    name: Annotated[str, OneOf(("onecycle", "cosine", "step", "constant"))] = MISSING
    warmup: Share = MISSING
    every: Count = MISSING
    factor: Annotated[float, Range(above=0, high=1, says=FACTOR)] = MISSING


@dataclass
class Stopping:
    """When a training ends before its last epoch."""

    patience: Count | None = None
    min_delta: Annotated[float, Range(0)] = MISSING


@dataclass
class Train:
    """The settings of a training; conf/train.yaml says what they mean."""

    name: str = MISSING
    output: str = MISSING
    seed: Seed = MISSING
    model: Network = field(default_factory=Network)
    faces: Task = field(default_factory=Task)
    objects: Task = field(default_factory=Task)
    held_out_per_class: Count = MISSING
    split_seed: Seed = MISSING
    augmentation: Augmentation = field(default_factory=Augmentation)
    drawn: Drawn = field(default_factory=Drawn)
    epochs: Count = MISSING
    batch_size: Annotated[int, Range(2)] = MISSING
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    stopping: Stopping = field(default_factory=Stopping)
    label_smoothing: Share = MISSING
    dropout: Share = MISSING
    batch_norm: bool = MISSING
    keep: Count = MISSING
    device: Annotated[str, OneOf(DEVICES)] = MISSING
    precision: Annotated[str, OneOf(PRECISIONS)] = MISSING
    threads: Count = MISSING
    workers: Count = MISSING
    tracking: Tracking = field(default_factory=Tracking)
    debug: bool = False  # show tracebacks


def register() -> None:
    """Make the schema known to Hydra as `train_schema`."""
    ConfigStore.instance().store(name="train_schema", node=Train)


def checked(config: DictConfig) -> Train:
    """Make the settings an object of plain values, and check it; InputError with one line."""
    settings = cast(Train, OmegaConf.to_object(config))
    check(settings)
    return settings


def check(settings: Train) -> None:
    """Refuse settings outside their limits, or that contradict each other; InputError."""
    limits.check(settings)
    if settings.schedule.name == "onecycle" and not settings.schedule.warmup > 0:
        raise InputError("schedule.warmup=0: one cycle rises first; or take schedule.name=cosine")
    model = settings.model
    if None in (model.input_size, model.resize, model.mean, model.sd):
        raise InputError("model.input_size, resize, mean and sd have to be given for a training")
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
    for task, other in (("faces", "objects"), ("objects", "faces")):
        given, elsewhere = getattr(settings, task), getattr(settings, other)
        if given.root is None and elsewhere.root is not None:
            raise InputError(
                f"{other}.root is given, but {task}.root is not: give both folders, or none to "
                "learn drawn images"
            )
        if given.root is None and given.validation is not None:
            raise InputError(f"{task}.validation is given, but {task}.root is not: give both")
    check_preprocessing(model)
    if settings.faces.root is not None:
        _check_augmentation(settings.augmentation)


def _check_augmentation(varied: Augmentation) -> None:
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
