"""The typed settings of a training, their limits and checks; conf/train.yaml has the values."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, cast

from omegaconf import MISSING, DictConfig, OmegaConf

from app.choices import DEVICES, PRECISIONS
from app.config import limits
from app.config.checks import check_preprocessing
from app.config.limits import Limit, at_least, at_most, one_of
from app.config.parameters import leaves
from app.config.schema import Count, Megapixels, Model, Name, Seed, Tracking
from app.errors import InputError

Share = Annotated[float, Limit(lambda value: 0 <= value < 1, "{name}={value}: from 0 to below 1")]
Factor = Annotated[float, Limit(lambda value: 0 < value <= 1, "{name}={value}: above 0, at most 1")]
Fraction = Annotated[float, Limit(lambda value: 0 <= value <= 1, "{name}={value}: from 0 to 1")]
NotNegative = Annotated[float, Limit(lambda value: value >= 0, "{name}={value}: 0 or more")]

# Settings that change where things go, how fast or how long, not what an epoch learns. The images
# of folders are known by their content.
FREE = (
    "output", "workers", "tracking", "faces", "objects", "keep", "stopping", "device", "debug",
    "megapixels",
)  # fmt: skip
# What of the model's settings says where weights come from, or what they are called.
OF_WEIGHTS = (
    "name", "source", "checkpoint", "key_map", "weights", "weights_like", "trained", "classes",
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
    flip: Fraction = MISSING


@dataclass
class Drawn:
    """What is drawn where there are no folders."""

    seed: Seed = MISSING
    people: Count = MISSING
    objects: Annotated[int, at_least(1), at_most(60)] = MISSING
    images_per_person: Count = MISSING
    shift: Annotated[int, at_least(0)] = MISSING


@dataclass
class Optimiser:
    """How the weights follow the gradient."""

    name: Annotated[str, one_of(("adamw", "sgd"))] = MISSING
    learning_rate: NotNegative = MISSING
    weight_decay: NotNegative = MISSING
    momentum: Share = MISSING


@dataclass
class Schedule:
    """How the learning rate changes, step by step."""

    name: Annotated[str, one_of(("onecycle", "cosine", "step", "constant"))] = MISSING
    warmup: Share = MISSING
    every: Count = MISSING
    factor: Factor = MISSING


@dataclass
class Stopping:
    """When a training ends before its last epoch."""

    patience: Count | None = None
    min_delta: NotNegative = MISSING


@dataclass
class Train:
    """The settings of a training; conf/train.yaml says what they mean."""

    name: Name = MISSING
    output: Name = MISSING
    seed: Seed = MISSING
    model: Network = field(default_factory=Network)
    faces: Task = field(default_factory=Task)
    objects: Task = field(default_factory=Task)
    held_out_per_class: Count = MISSING
    split_seed: Seed = MISSING
    augmentation: Augmentation = field(default_factory=Augmentation)
    drawn: Drawn = field(default_factory=Drawn)
    epochs: Count = MISSING
    batch_size: Annotated[int, at_least(2)] = MISSING
    sampling: Fraction = MISSING
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    stopping: Stopping = field(default_factory=Stopping)
    label_smoothing: Share = MISSING
    dropout: Share = MISSING
    batch_norm: bool = MISSING
    batch_norm_hidden: bool = MISSING
    keep: Count = MISSING
    megapixels: Megapixels | None = None
    device: Annotated[str, one_of(DEVICES)] = MISSING
    precision: Annotated[str, one_of(PRECISIONS)] = MISSING
    threads: Count = MISSING
    workers: Count = MISSING
    tracking: Tracking = field(default_factory=Tracking)
    debug: bool = False  # show tracebacks

    @property
    def from_folders(self) -> bool:
        """Whether images are read rather than drawn."""
        return self.faces.root is not None or self.objects.root is not None


def checked(config: DictConfig) -> Train:
    """Make the settings an object of plain values, and check it; InputError with one line."""
    settings = cast(Train, OmegaConf.to_object(config))
    check(settings)
    return settings


def check(settings: Train) -> None:
    """Refuse settings outside their limits, or that contradict each other; InputError."""
    limits.check(settings)
    _check_network(settings.model)
    _check_augmentation(settings.augmentation)
    if settings.schedule.name == "onecycle" and not settings.schedule.warmup > 0:
        raise InputError("schedule.warmup=0: one cycle rises first; or take schedule.name=cosine")
    if settings.batch_norm_hidden and not settings.batch_norm:
        raise InputError("batch_norm_hidden=true: it goes with batch_norm=true")
    for task, other in (("faces", "objects"), ("objects", "faces")):
        given, elsewhere = getattr(settings, task), getattr(settings, other)
        if given.root is None and elsewhere.root is not None:
            raise InputError(
                f"{other}.root is given, but {task}.root is not: give both folders, or none to "
                "learn drawn images"
            )
        if given.root is None and given.validation is not None:
            raise InputError(f"{task}.validation is given, but {task}.root is not: give both")


def _check_network(model: Network) -> None:
    if None in (model.input_size, model.resize, model.mean, model.sd):
        raise InputError("model.input_size, resize, mean and sd have to be given for a training")
    widths, size = model.widths, model.input_size
    if size < 32 or size % 32 or len(widths) != 13 or min(widths) < 1:
        raise InputError(
            f"model.widths needs 13 values, 1 or more, and model.input_size a multiple of 32: they "
            f"are {widths} and {size}"
        )
    if model.checkpoint is not None:
        raise InputError(
            f"model.checkpoint={model.checkpoint}: a training starts from the initialisation that "
            "model.seed names; leave model.checkpoint out"
        )
    check_preprocessing(model)


def _check_augmentation(varied: Augmentation) -> None:
    if varied.scale is not None and not _is_range(varied.scale, 1):
        raise InputError(
            f"augmentation.scale={varied.scale}: the least and the largest share of the image, "
            "above 0 and at most 1, e.g. [0.35,1], or null for the centre alone"
        )
    if not _is_range(varied.ratio, sys.float_info.max):
        raise InputError(
            f"augmentation.ratio={varied.ratio}: the least and the largest width ÷ height, "
            "above 0, e.g. [0.75,1.33]"
        )


def _is_range(values: list[float], most: float) -> bool:
    return len(values) == 2 and 0 < values[0] <= values[1] <= most


def with_outputs(settings: Train, faces: int, objects: int) -> Train:
    """Give the network as many outputs as so many classes of each task need.

    Faces have the outputs 0 … model.face_classes - 1, objects those that follow. Larger numbers
    that the user gave stay, and outputs without a class are never right. InputError for smaller
    ones.
    """
    model = settings.model
    first = _allow(model.face_classes, faces, "model.face_classes", "faces")
    outputs = _allow(model.outputs, first + objects, "model.outputs", "faces and objects")
    return replace(settings, model=replace(model, face_classes=first, outputs=outputs))


def _allow(given: Any, needed: int, name: str, what: str) -> int:
    if given is None:
        return needed
    if not isinstance(given, int) or given < needed:
        raise InputError(f"{name}={given}: the classes of {what} need {needed}, or leave it out")
    return given


def identity(settings: Train, images: str) -> dict[str, Any]:
    """Tell all that the weights after an epoch depend on, flat, under the command line's names.

    `images` says which images are learned. What two identities differ in tells a checkpoint of
    another training from one to go on from.
    """
    whole = dataclasses.asdict(settings)
    for key in OF_WEIGHTS:
        del whole["model"][key]
    kept = {key: value for key, value in whole.items() if key not in FREE}
    return {"images": images, **dict(leaves(kept))}
