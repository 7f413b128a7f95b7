"""The typed configuration and its checks. Imports nothing heavy: `--help` reads this file.

The dataclasses are the schema that Hydra holds every override against; `check` adds what types
alone cannot say (ranges, names, combinations). Values and their comments live in `conf/`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from app.errors import InputError

LAYERS = tuple(f"conv{number}" for number in range(1, 14))
AGGREGATIONS = ("unit", "mean", "l2", "max")
CONTRASTS = ("pooled", "each")
CONTRAST_LEVELS = ("domains", "categories")
RULES = ("above", "p", "fdr_bh", "fdr_by")


@dataclass
class Model:
    """A network, its weights and the preprocessing its images need."""

    name: str = MISSING
    checkpoint: str | None = None  # a path; "builtin:<file>" ships with the package; null = seeded
    trained: bool = MISSING
    widths: list[int] = MISSING  # channels of conv1 … conv13
    hidden: int = MISSING  # width of the two hidden fully connected layers
    outputs: int = MISSING
    face_classes: int = MISSING  # outputs 0 … face_classes - 1 are face identities
    classes: str | None = None  # "synthetic": the outputs are the synthetic identities and objects
    seed: int = 0  # of the initialisation, where there is no checkpoint
    input_size: int = MISSING  # pixels a side
    resize: int = MISSING  # shorter side before the centre crop, pixels
    mean: list[float] = MISSING  # per RGB channel, of pixel values in 0 … 1
    sd: list[float] = MISSING


@dataclass
class Layer:
    name: str = MISSING


@dataclass
class Aggregation:
    name: str = MISSING


# `threshold.<metric>` where that is given, else the metric's own number for the preset.
CRITERION_NUMBER = "${oc.select:threshold.${..name},${oc.select:.presets.${threshold.name}}}"


@dataclass
class Criterion:
    """The rule that turns a metric's scores into a selection."""

    rule: str = MISSING  # above | p | fdr_bh | fdr_by
    presets: dict[str, float] = field(default_factory=dict)  # the number for each `threshold=…`
    threshold: float = CRITERION_NUMBER  # type: ignore[assignment]  # a score; else a probability
    range: list[float] = field(default_factory=lambda: [-math.inf, math.inf])


@dataclass
class Metric:
    name: str = MISSING  # of the file in app/metrics
    label: str = "${.name}"  # on the axes of figures
    colour: str = "#CC79A7"  # in figures, #RRGGBB
    contrast: str = MISSING  # pooled | each
    over: str = "domains"  # domains | categories: what `each` stands for
    options: dict[str, Any] = field(default_factory=dict)  # keyword arguments of the score function
    criterion: Criterion = field(default_factory=Criterion)


@dataclass
class Stimuli:
    """The localizer: images in categories, categories in domains."""

    name: str = MISSING
    root: str | None = None  # folder of category folders; null for what is drawn
    # Domain to list of categories; null: each category is its own domain. `check` holds it to
    # that: OmegaConf cannot override an optional dict that is null on the command line.
    domains: Any = None
    leave_out: list[str] = field(default_factory=list)  # categories that belong to no domain
    images_per_category: int = 144  # synthetic only
    size: int = 64  # synthetic only, pixels a side
    seed: int = 0  # synthetic only


@dataclass
class Identities:
    """The faces whose identity is decoded; the network was not trained on them."""

    name: str = MISSING
    root: str | None = None
    count: int = 100  # synthetic only
    images_each: int = 10  # synthetic only
    size: int = 64  # synthetic only
    seed: int = 0  # synthetic only


@dataclass
class Lesion:
    """Held-out images of the network's own classes, on which a lesion's effect is measured."""

    name: str = MISSING  # single | greedy | none
    images_per_identity: int = 4
    images_per_object: int = 8
    size: int = 64
    seed: int = 0
    fraction: float = 0.2  # greedy only: of the layer's kernels, to drop
    group_size: int = 1  # greedy only: kernels to drop a search


@dataclass
class Decoding:
    name: str = MISSING  # svm | none
    kernels: int | None = None  # null: the smallest count that any metric selects
    penalty: float = 1.0  # the support vector machine's C
    random_draws: int = 20


@dataclass
class Tracking:
    name: str = MISSING  # sqlite | server | none
    uri: str | None = None  # http(s) address of a server; null: SQLite in `folder`
    folder: str = "mlruns"
    experiment: str = "selectivity"


@dataclass
class Config:
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
    tracking: Tracking = field(default_factory=Tracking)
    target: str = "faces"
    seed: int = 0
    device: str = "auto"  # auto | cpu | cuda
    threads: int | None = None  # of torch and decoding; null: one a core
    batch_size: int | None = None  # images that run together; null: what suits the device
    precision: str = "float32"  # of the forward pass; on a GPU also float16, bfloat16
    memory_gb: float = 4.0  # resident memory that scoring single units may take, 10^9 bytes
    cache: str = "outputs/cache"
    figures: bool = True
    debug: bool = False  # show tracebacks


def register() -> None:
    """Make the schema known to Hydra as `config_schema`."""
    schema = OmegaConf.structured(Config)
    OmegaConf.set_struct(schema.threshold, False)  # open to every metric's name; `check` looks
    ConfigStore.instance().store(name="config_schema", node=schema)
    # Hydra copies the store for each of the 50 groups that `--help` lists, half a second in all,
    # though whatever is loaded from it is copied again.
    ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]


def metric_set(config: Config) -> dict[str, Metric]:
    """The metrics whose agreement is measured, the chosen one with its own settings among them."""
    return {**config.metrics, config.metric.name: config.metric}


def check(config: Config) -> None:
    """Refuse what the types let through; InputError with one line."""
    model, stimuli = config.model, config.stimuli
    if model.trained and model.checkpoint is None:
        raise InputError(
            f"model={model.name} needs its weights: give model.checkpoint=<path>, "
            f"or take model={model.name}_untrained"
        )
    if len(model.widths) != 13:
        raise InputError(
            f"model.widths has {len(model.widths)} values: the 13 convolutions need one each"
        )
    _one_of("aggregation.name", config.aggregation.name, AGGREGATIONS)
    _one_of("layer.name", config.layer.name, LAYERS)
    _one_of("lesion.name", config.lesion.name, ("single", "greedy", "none"))
    _one_of("decoding.name", config.decoding.name, ("svm", "none"))
    _one_of("tracking.name", config.tracking.name, ("sqlite", "server", "none"))
    _one_of("stimuli.name", stimuli.name, ("synthetic", "floc", "folder"))
    _one_of("identities.name", config.identities.name, ("synthetic", "folder"))
    _one_of("device", config.device, ("auto", "cpu", "cuda"))
    _one_of("precision", config.precision, ("float32", "float16", "bfloat16"))

    for name, lowest in (
        ("batch_size", 1),
        ("threads", 1),
        ("stimuli.images_per_category", 2),
        ("stimuli.size", 16),
        ("identities.count", 2),
        ("identities.images_each", 2),
        ("identities.size", 16),
        ("lesion.images_per_identity", 1),
        ("lesion.images_per_object", 1),
        ("lesion.group_size", 1),
        ("decoding.kernels", 1),
        ("decoding.random_draws", 1),
        ("model.hidden", 1),
        ("model.outputs", 2),
        ("model.input_size", 32),
    ):
        value = OmegaConf.select(config, name)  # type: ignore[arg-type]
        if value is not None and value < lowest:
            raise InputError(f"{name}={value} is too small: at least {lowest}")
    for name in ("model.seed", "stimuli.seed", "identities.seed", "lesion.seed", "seed"):
        if OmegaConf.select(config, name) < 0:  # type: ignore[arg-type]
            raise InputError(f"{name} is negative: a seed is 0 or more")
    if not config.memory_gb > 0:
        raise InputError(f"memory_gb={config.memory_gb}: a positive number of gigabytes")
    if not 0 < config.lesion.fraction <= 1:
        raise InputError(
            f"lesion.fraction={config.lesion.fraction}: the part of the layer's kernels to drop, "
            "above 0 and at most 1"
        )
    if not config.decoding.penalty > 0:
        raise InputError(f"decoding.penalty={config.decoding.penalty}: C is positive")
    if model.resize < model.input_size:
        raise InputError(
            f"model.resize={model.resize} is smaller than model.input_size={model.input_size}: "
            "the crop would leave the image"
        )
    if model.input_size % 32:
        raise InputError(
            f"model.input_size={model.input_size} does not halve five times: a multiple of 32"
        )
    if any(len(values) != 3 for values in (model.mean, model.sd)) or min(model.sd) <= 0:
        raise InputError("model.mean and model.sd hold one number per RGB channel, sd above 0")
    if not 0 < model.face_classes < model.outputs:
        raise InputError(
            f"model.face_classes={model.face_classes} must lie between 0 and "
            f"model.outputs={model.outputs}"
        )
    for room in ("stimuli", "identities"):
        settings = getattr(config, room)
        if settings.name != "synthetic" and not settings.root:
            raise InputError(
                f"{room}={settings.name} needs {room}.root=<folder that holds one folder per "
                f"{'category' if room == 'stimuli' else 'identity'}>"
            )
    _check_threshold(config)
    for metric in metric_set(config).values():
        check_metric(metric, config.threshold)
    domains = OmegaConf.to_container(config, resolve=True)["stimuli"]["domains"]  # type: ignore
    if domains is not None and not _is_domains(domains):
        raise InputError(
            f"stimuli.domains={domains} must map each domain to a list of its categories, "
            "e.g. {faces:[adult,child],places:[house]}"
        )
    if stimuli.domains and config.target not in stimuli.domains:
        raise InputError(
            f"target={config.target} is no domain of the stimuli: "
            f"they have {', '.join(stimuli.domains)}"
        )


def _check_threshold(config: Config) -> None:
    for name, value in config.threshold.items():
        if name == "name":
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InputError(f"threshold.{name}={value} is not a number")
        if name not in metric_set(config):
            from app import metrics

            try:
                metrics.load(name)
            except InputError as error:
                raise InputError(f"threshold.{name}={value}: {error}") from error


def check_metric(metric: Metric, threshold: Mapping[str, Any]) -> None:
    """Refuse a metric's settings; `threshold` as in the config. InputError with one line."""
    where = f"metric {metric.name}"
    criterion = metric.criterion
    if not re.fullmatch("#[0-9A-Fa-f]{6}", metric.colour):
        raise InputError(f"{where}: colour={metric.colour} must be like '#CC79A7', in quotes")
    _one_of(f"{where}: contrast", metric.contrast, CONTRASTS)
    _one_of(f"{where}: over", metric.over, CONTRAST_LEVELS)
    _one_of(f"{where}: criterion.rule", criterion.rule, RULES)
    try:
        _ = criterion.threshold
    except OmegaConfBaseException as error:
        presets = ", ".join(map(str, criterion.presets))
        raise InputError(
            f"{where} has no number for threshold={threshold['name']}: its criterion.presets are "
            f"{presets or 'empty'}; give threshold.{metric.name}=<number>"
        ) from error
    low, high = criterion.range
    if criterion.rule != "above":
        low, high = max(low, 0.0), min(high, 1.0)
    if not low < criterion.threshold < high:
        raise InputError(
            f"threshold.{metric.name}={criterion.threshold} is out of range: "
            f"{'a probability' if criterion.rule != 'above' else 'a score'} "
            f"between {low:g} and {high:g}"
        )
    if threshold.get(metric.name, criterion.threshold) != criterion.threshold:
        raise InputError(
            f"threshold.{metric.name}={threshold[metric.name]} does not reach {where}, whose "
            f"criterion.threshold={criterion.threshold} is set by itself: give one of them"
        )


def _is_domains(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(members, list) and members and all(isinstance(m, str) for m in members)
        for members in value.values()
    )


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InputError(f"{name}={value} is unknown: it is one of {', '.join(allowed)}")


LEADING_PARAMETERS = (
    "model",
    "layer",
    "metric",
    "threshold",
    "aggregation",
    "stimuli",
    "target",
    "seed",
)


def parameters(config: Config) -> dict[str, Any]:
    """The config as flat parameters: the leading names first, the rest under dotted names."""
    flat: dict[str, Any] = {}
    for name in LEADING_PARAMETERS:
        value = getattr(config, name)
        flat[name] = value if name in ("target", "seed") else value.name
    tree: Any = OmegaConf.to_container(config, resolve=True)
    numbers = {}
    for metric in (*tree["metrics"].values(), tree["metric"]):
        del metric["label"], metric["colour"]  # of figures alone
        presets = metric["criterion"].pop("presets")
        if config.threshold["name"] in presets:
            numbers[metric["name"]] = presets[config.threshold["name"]]
    tree["threshold"] = {**numbers, **tree["threshold"]}
    _flatten(tree, "", flat)
    return flat


def _flatten(node: Any, path: str, into: dict[str, Any]) -> None:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            _flatten(value, f"{path}.{key}" if path else str(key), into)
    elif not path.endswith(".name") or path.count(".") > 1:  # group names lead already
        into.setdefault(path, node)
