"""The typed configuration: what Hydra holds every override against, with the limits of each field.

Values and their comments live in `conf/`; `checks` relates fields to each other. Imports nothing
heavy: `--help` reads this file.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Annotated, Any

from hydra.core.config_store import ConfigNode, ConfigStore
from omegaconf import MISSING, OmegaConf

from app import choices
from app.config.limits import NOT_EMPTY, Limit, at_least, at_most, one_of
from app.files import user_cache

# `${user_cache:floc}` in a config: a folder of what is fetched once.
OmegaConf.register_new_resolver(user_cache.__name__, user_cache, replace=True)

# What is larger than these is a slip of the finger, which would end as memory or the day does.
Pixels = Annotated[int, at_least(16), at_most(4096)]  # a side
Images = Annotated[int, at_least(1), at_most(100_000)]
SomeImages = Annotated[int, at_least(2), at_most(100_000)]  # left when one is taken out
Count = Annotated[int, at_least(1)]
Name = Annotated[str, NOT_EMPTY]

Seed = Annotated[int, Limit(lambda value: value >= 0, "{name} is negative: a seed is 0 or more")]
COLOUR = Limit(
    re.compile("#[0-9A-Fa-f]{6}").fullmatch, "{name}={value} must be like '#CC79A7', in quotes"
)
PERCENTAGE = Limit(
    lambda value: 1 <= value <= 100,
    "{name}={value}: percentages of the layer's kernels, 1 to 100, each once; [] lesions no sets",
)
FRACTION = Limit(
    lambda value: 0 < value <= 1,
    "{name}={value}: the part of the layer's kernels to drop, above 0 and at most 1",
)
PENALTY = Limit(lambda value: 0 < value < math.inf, "{name}={value}: C is positive and finite")
PATIENCE = Limit(
    lambda value: 0 <= value < math.inf,
    "{name}={value}: seconds for which a run waits for a server that went away, 0 or more",
)
INTERVAL_DRAWS = Limit(
    lambda value: value == 0 or value >= 40,
    "{name}={value}: an interval of 95 % needs 40 or more; 0 makes none",
)
DEPTH = Limit(
    lambda value: 0 < value <= 1,
    "{name}={value}: the share of the network's depth, above 0 and at most 1",
)
GIGABYTES = Limit(lambda value: value > 0, "{name}={value}: a positive number of gigabytes")

Megapixels = Annotated[
    float, Limit(lambda value: value > 0, "{name}={value}: above 0, in millions")
]


@dataclass
class Model:
    """A network, its weights and the preprocessing its images need."""

    name: Name = MISSING
    source: Annotated[str, one_of(choices.SOURCES)] = MISSING  # vgg: the dual-task network
    checkpoint: str | None = None  # a path; "builtin:<file>" ships with the package; null = none
    # A file of lines `theirs: own` for a checkpoint of other keys; order: both have the same order.
    key_map: Name | None = None
    weights: str | None = None  # torchvision and timm: their own, DEFAULT or a name; null = seeded
    weights_like: Name | None = None  # whose input and settings a checkpoint needs; null: DEFAULT's
    trained: bool | None = None  # null: whether there are weights or a checkpoint
    widths: list[int] = field(default_factory=list)  # vgg only: channels of conv1 … conv13
    hidden: Count = 4096  # vgg only: width of the two hidden fully connected layers
    outputs: Annotated[int, at_least(2)] | None = None  # null: as many as the weights have
    # Outputs 0 … face_classes - 1 are face identities; 0: there are none; null: as the weights say.
    face_classes: Annotated[int, at_least(0)] | None = 0
    classes: str | None = None  # "synthetic": the outputs are the synthetic identities and objects
    seed: Seed = 0  # of the initialisation, where there are no weights
    # How images are prepared; null: as the library does it for this network.
    input_size: Pixels | None = None  # pixels a side
    resize: Annotated[int, at_most(8192)] | None = None  # the shorter side, before the centre crop
    mean: list[float] | None = None  # per RGB channel, of pixel values in 0 … 1
    sd: list[float] | None = None
    interpolation: Annotated[str, one_of(choices.INTERPOLATIONS)] | None = None
    squash: bool | None = None  # resize both sides, whatever their ratio


@dataclass
class Layer:
    """What is asked: a layer or a module of the network."""

    name: Name = MISSING  # conv1 … conv13, or a module's dotted name; `depth`: found by that
    depth: Annotated[float, DEPTH] | None = None  # of the network, above 0 and at most 1
    output: Annotated[str, one_of(choices.OUTPUTS)] | None = None  # null: a convolution of the vgg


@dataclass
class Aggregation:
    """How a kernel's map becomes one number an image."""

    name: Annotated[str, one_of(choices.AGGREGATIONS)] = MISSING


# `threshold.<metric>` where that is given, else the metric's own number for the preset.
CRITERION_NUMBER = "${oc.select:threshold.${..name},${oc.select:.presets.${threshold.name}}}"


@dataclass
class Criterion:
    """The rule that turns a metric's scores into a selection."""

    rule: Annotated[str, one_of(choices.RULES)] = MISSING
    presets: dict[str, float] = field(default_factory=dict)  # the number for each `threshold=…`
    # A score; a probability; of `top` a share of the units, or how many
    threshold: float = CRITERION_NUMBER  # type: ignore[assignment]
    range: list[float] = field(default_factory=lambda: [-math.inf, math.inf])
    of: Annotated[str, one_of(choices.POOLS)] = "layer"  # top only: whose units are ranked
    # Select only where the target's mean is above each other group's; of a test, in place of the
    # statistic's sign.
    preferred: bool = False


@dataclass
class Metric:
    """A score, what it compares, and the criterion that selects by it."""

    name: str = MISSING  # of the file in app/metrics
    label: str = "${.name}"  # on the axes of figures
    colour: Annotated[str, COLOUR] = "#CC79A7"  # in figures
    baseline: bool = False  # no measure of selectivity: what is said of the metrics leaves it out
    contrast: Annotated[str, one_of(choices.CONTRASTS)] = MISSING
    over: Annotated[str, one_of(choices.LEVELS)] = "domains"  # what `each` stands for
    score: Annotated[str, one_of(choices.SCORES)] = "smallest"  # of the statistics over contrasts
    options: dict[str, Any] = field(default_factory=dict)  # keyword arguments of the score function
    criterion: Criterion = field(default_factory=Criterion)


@dataclass
class Stimuli:
    """The localizer: images in categories, categories in domains."""

    name: Annotated[str, one_of(("synthetic", "floc", "folder", "recorded"))] = MISSING
    root: str | None = None  # folder of category folders; null for what is drawn
    # Domain to list of categories; null: each category is its own domain. `check` holds it to
    # that: OmegaConf cannot override an optional dict that is null on the command line.
    domains: Any = None
    leave_out: list[str] = field(default_factory=list)  # categories that are not shown
    address: str | None = None  # floc without a root: of the repository's files, http(s)
    folder: str | None = None  # floc without a root: where they are kept; null: the user's cache
    images_per_category: SomeImages = 144  # synthetic only
    size: Pixels = 64  # synthetic only, pixels a side
    seed: Seed = 0  # synthetic only


@dataclass
class Identities:
    """The faces whose identity is decoded; the network was not trained on them."""

    name: Annotated[str, one_of(("synthetic", "folder"))] = MISSING
    root: str | None = None  # folder of a folder per identity; null for what is drawn
    at_least: SomeImages | None = None  # folder only: who has fewer is left out; null: refused
    count: SomeImages = 100  # synthetic only
    images_each: SomeImages = 10  # synthetic only
    size: Pixels = 64  # synthetic only
    seed: Seed = 0  # synthetic only


@dataclass
class OwnClasses:
    """Images of the classes of one of the network's tasks, from disk."""

    root: Name | None = None  # folder of a folder per class
    classes: Name | None = None  # a text file; null: sorted folders are the outputs


@dataclass
class Readout:
    """What is fitted on a network's features where `lesion.task` is readout."""

    layer: Name | None = None  # whose mean over positions is read; null: what the head takes
    output: Annotated[str, one_of(choices.OUTPUTS)] = "map"  # of that layer
    identities: SomeImages = 10  # drawn only
    categories: SomeImages = 10  # drawn only, of objects
    images_each: SomeImages = 12  # drawn only; every other one is for the test


@dataclass
class Lesion:
    """The images on which a lesion's effect is measured, and what tells their classes."""

    name: Annotated[str, one_of(("single", "attribution", "greedy", "none"))] = MISSING
    layers: list[str] | None = None  # that are lesioned; null: every one
    # null: the network's own outputs where there are images of their classes, else a readout
    task: Annotated[str, one_of(choices.LESION_TASKS)] | None = None
    replacement: Annotated[str, one_of(choices.REPLACEMENTS)] = "zero"
    readout: Readout = field(default_factory=Readout)
    faces: OwnClasses = field(default_factory=OwnClasses)
    objects: OwnClasses = field(default_factory=OwnClasses)
    held_out: Name | None = None  # from disk only, a table of the images that are used; null: all
    images_per_class: Count | None = None  # from disk only, the first by name; null: all
    images_per_identity: Images = 4  # synthetic only
    images_per_object: Images = 8  # synthetic only
    size: Pixels = 64  # synthetic only
    seed: Seed = 0  # synthetic only
    sets: list[Annotated[int, PERCENTAGE]] = field(default_factory=list)  # lesioned together
    together: list[Name] = field(default_factory=list)  # layers whose selections are one set
    random_draws: Count = 3  # of random kernels, for each size of a set
    fraction: Annotated[float, FRACTION] = 0.2  # greedy only: of the layer's kernels, to drop
    group_size: Count = 1  # greedy only: kernels to drop a search
    checked: Annotated[int, at_least(3)] = 32  # attribution only: lesioned exactly, too
    points: Count | None = None  # attribution only: where slopes are read; null: what is better


@dataclass
class Decoding:
    """How identity is decoded from the selected kernels."""

    name: Annotated[str, one_of((*choices.DECODERS, "none"))] = MISSING
    layers: list[str] | None = None  # that are decoded from; null: every one
    kernels: Count | None = None  # null: the smallest count that any metric selects
    fixed: Count | None = None  # so many are decoded besides; null: none are
    penalty: Annotated[float, PENALTY] | None = 1.0  # C of svm and logistic; null: of the others
    random_draws: Count = 20


@dataclass
class Certainty:
    """How often images are drawn again, to say how sure every number is."""

    name: Annotated[str, one_of(("standard", "none"))] = MISSING
    # null: by the number of units; 0: none
    resamples: Annotated[int, INTERVAL_DRAWS] | None = None  # of images within each category
    splits: Annotated[int, at_least(0)] | None = None  # into random halves
    shuffles: Annotated[int, at_least(0)] | None = None  # of categories over images


@dataclass
class Responses:
    """Where responses come from: the network, or a file."""

    name: Annotated[str, one_of(("network", "file"))] = "network"
    path: Name | None = None  # file only: presentations x units
    stimuli: Name | None = None  # file only: a table of them; null: the file says what they are
    variable: Name | None = None  # file only: of several data sets
    window: list[float] | None = None  # file only: first and last of the times to average


@dataclass
class Tracking:
    """The MLflow store that runs go to."""

    name: Annotated[str, one_of(("sqlite", "server", "none"))] = MISSING
    uri: str | None = None  # http(s) address of a server; null: SQLite in `folder`
    folder: Name = "mlruns"
    experiment: Name = "selectivity"
    patience_s: Annotated[float, PATIENCE] = 30.0  # for which a server is waited for, at the end


@dataclass
class Config:
    """One run: what is asked of which network, with what, and where it is recorded."""

    recipe: Name | None = None  # of conf/recipe, whose definition of selectivity this is
    model: Model = field(default_factory=Model)
    layer: Layer = field(default_factory=Layer)
    # The preset's `name`, and numbers of single metrics that are to differ from it. Before the
    # metrics, whose criteria take their numbers from it: tables name the first.
    threshold: dict[str, Any] = field(default_factory=lambda: {"name": MISSING})
    metric: Metric = field(default_factory=Metric)
    metrics: dict[str, Metric] = field(default_factory=dict)  # the set whose agreement is measured
    aggregation: Aggregation = field(default_factory=Aggregation)
    stimuli: Stimuli = field(default_factory=Stimuli)
    identities: Identities = field(default_factory=Identities)
    lesion: Lesion = field(default_factory=Lesion)
    decoding: Decoding = field(default_factory=Decoding)
    certainty: Certainty = field(default_factory=Certainty)
    tracking: Tracking = field(default_factory=Tracking)
    responses: Responses = field(default_factory=Responses)
    multiverse: bool = False  # besides, ask the kernels in every other way that is defensible
    objective: str | None = None  # the number, as it is logged, that a sweeper searches by
    target: str = "faces"
    seed: Seed = 0
    device: Annotated[str, one_of(choices.DEVICES)] = "auto"
    threads: Annotated[int, at_least(1), at_most(1024)] | None = None  # null: a share of the cores
    batch_size: Count | None = None  # images that run together; null: what suits the device
    precision: Annotated[str, one_of(choices.PRECISIONS)] = "float32"  # of the forward pass
    memory_gb: Annotated[float, GIGABYTES] = 4.0  # resident, for scoring units; 10^9 bytes
    megapixels: Megapixels | None = None  # that a picture may have; null: Pillow's limit
    cache: Name = "outputs/cache"
    figures: bool | None = None  # null: in single runs and in sweeps of few jobs
    debug: bool = False  # show tracebacks


class _Schema(ConfigNode):
    """Copied when it is loaded, and not whenever Hydra copies its store as a whole.

    It does so for each of the 50 groups that `--help` lists, half a second in all.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> _Schema:
        return self


def register() -> None:
    """Make the schema known to Hydra as `config_schema`."""
    schema = OmegaConf.structured(Config)
    OmegaConf.set_struct(schema.threshold, False)  # open to every metric's name
    name = "config_schema.yaml"
    ConfigStore.instance().repo[name] = _Schema(
        name, schema, group=None, package=None, provider=None
    )


def metric_set(config: Config) -> dict[str, Metric]:
    """List the metrics whose agreement is measured, the chosen one with its own settings."""
    return {**config.metrics, config.metric.name: config.metric}
