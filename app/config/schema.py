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

SOURCES = ("vgg", "torchvision", "timm")
LAYERS = tuple(f"conv{number}" for number in range(1, 14))
OUTPUTS = ("map", "map_channels_last", "tokens", "vector")
AGGREGATIONS = ("unit", "mean", "l2", "max")
CONTRASTS = ("pooled", "each")
CONTRAST_LEVELS = ("domains", "categories")
INTERPOLATIONS = ("bilinear", "bicubic", "lanczos", "nearest")
RULES = ("above", "p", "fdr_bh", "fdr_by")
# What is larger is a slip of the finger, which would end as memory or the day does.
LARGEST = {
    "threads": 1024,
    "stimuli.size": 4096,
    "identities.size": 4096,
    "lesion.size": 4096,
    "stimuli.images_per_category": 100_000,
    "identities.count": 100_000,
    "identities.images_each": 100_000,
    "lesion.images_per_identity": 100_000,
    "lesion.images_per_object": 100_000,
    "model.input_size": 4096,
    "model.resize": 8192,
}
NOT_EMPTY = (
    "model.name",
    "layer.name",
    "cache",
    "tracking.folder",
    "tracking.experiment",
    "lesion.faces.root",
    "lesion.faces.classes",
    "lesion.objects.root",
    "lesion.objects.classes",
)


@dataclass
class Model:
    """A network, its weights and the preprocessing its images need."""

    name: str = MISSING
    source: str = MISSING  # vgg: the dual-task network | torchvision | timm: theirs, by `name`
    checkpoint: str | None = None  # a path; "builtin:<file>" ships with the package; null = none
    weights: str | None = None  # torchvision and timm: their own, DEFAULT or a name; null = seeded
    trained: bool | None = None  # null: whether there are weights or a checkpoint
    widths: list[int] = field(default_factory=list)  # vgg only: channels of conv1 … conv13
    hidden: int = 4096  # vgg only: width of the two hidden fully connected layers
    outputs: int | None = None  # null: as many as the weights have
    face_classes: int = 0  # outputs 0 … face_classes - 1 are face identities; 0: there are none
    classes: str | None = None  # "synthetic": the outputs are the synthetic identities and objects
    seed: int = 0  # of the initialisation, where there are no weights
    # How images are prepared; null: as the library does it for this network.
    input_size: int | None = None  # pixels a side
    resize: int | None = None  # shorter side before the centre crop, pixels
    mean: list[float] | None = None  # per RGB channel, of pixel values in 0 … 1
    sd: list[float] | None = None
    interpolation: str | None = None  # bilinear | bicubic | lanczos | nearest
    squash: bool | None = None  # resize both sides, whatever their ratio


@dataclass
class Layer:
    name: str = MISSING  # conv1 … conv13, or a module's dotted name
    # A module's: map | map_channels_last | tokens | vector; null: a convolution of the vgg.
    output: str | None = None


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
    address: str | None = None  # floc without a root: of the repository's files, http(s)
    folder: str | None = None  # floc without a root: where they are kept; null: the user's cache
    images_per_category: int = 144  # synthetic only
    size: int = 64  # synthetic only, pixels a side
    seed: int = 0  # synthetic only


@dataclass
class Identities:
    """The faces whose identity is decoded; the network was not trained on them."""

    name: str = MISSING
    root: str | None = None  # folder of a folder per identity; null for what is drawn
    count: int = 100  # synthetic only
    images_each: int = 10  # synthetic only
    size: int = 64  # synthetic only
    seed: int = 0  # synthetic only


@dataclass
class OwnClasses:
    """Images of the classes of one of the network's tasks, from disk."""

    root: str | None = None  # folder of a folder per class
    # A text file, the folder of each output, one a line; null: sorted folders are the outputs.
    classes: str | None = None


@dataclass
class Lesion:
    """Held-out images of the network's own classes, on which a lesion's effect is measured."""

    name: str = MISSING  # single | greedy | none
    layers: list[str] | None = None  # that are lesioned; null: every one
    faces: OwnClasses = field(default_factory=OwnClasses)
    objects: OwnClasses = field(default_factory=OwnClasses)
    images_per_class: int | None = None  # from disk only, the first by name; null: all
    images_per_identity: int = 4  # synthetic only
    images_per_object: int = 8  # synthetic only
    size: int = 64  # synthetic only
    seed: int = 0  # synthetic only
    sets: list[int] = field(default_factory=list)  # percent of kernels lesioned together
    random_draws: int = 3  # of random kernels, for each size of a set
    fraction: float = 0.2  # greedy only: of the layer's kernels, to drop
    group_size: int = 1  # greedy only: kernels to drop a search


@dataclass
class Decoding:
    name: str = MISSING  # svm | none
    layers: list[str] | None = None  # that are decoded from; null: every one
    kernels: int | None = None  # null: the smallest count that any metric selects
    penalty: float = 1.0  # the support vector machine's C
    random_draws: int = 20


@dataclass
class Tracking:
    name: str = MISSING  # sqlite | server | none
    uri: str | None = None  # http(s) address of a server; null: SQLite in `folder`
    folder: str = "mlruns"
    experiment: str = "selectivity"
    patience_s: float = 30.0  # for which a server that went away is waited for, at a run's end


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
    threads: int | None = None  # of a job; null: its share of the cores
    batch_size: int | None = None  # images that run together; null: what suits the device
    precision: str = "float32"  # of the forward pass; on a GPU also float16, bfloat16
    memory_gb: float = 4.0  # resident memory that scoring single units may take, 10^9 bytes
    cache: str = "outputs/cache"
    figures: bool | None = None  # null: in single runs and in sweeps of few jobs
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
    stimuli = config.stimuli
    check_model(config.model)
    _check_layer(config)
    _one_of("aggregation.name", config.aggregation.name, AGGREGATIONS)
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
        ("lesion.size", 16),
        ("lesion.images_per_class", 1),
        ("lesion.images_per_identity", 1),
        ("lesion.images_per_object", 1),
        ("lesion.group_size", 1),
        ("lesion.random_draws", 1),
        ("decoding.kernels", 1),
        ("decoding.random_draws", 1),
        ("model.hidden", 1),
        ("model.outputs", 2),
        ("model.input_size", 16),
    ):
        value = OmegaConf.select(config, name)  # type: ignore[arg-type]
        if value is not None and value < lowest:
            raise InputError(f"{name}={value} is too small: at least {lowest}")
    for name, largest in LARGEST.items():
        value = OmegaConf.select(config, name)  # type: ignore[arg-type]
        if value is not None and value > largest:
            raise InputError(f"{name}={value} is too large: at most {largest}")
    for name in NOT_EMPTY:
        if OmegaConf.select(config, name) == "":  # type: ignore[arg-type]
            raise InputError(f"{name} is empty: give it a value, or leave it out")
    for name in ("model.seed", "stimuli.seed", "identities.seed", "lesion.seed", "seed"):
        if OmegaConf.select(config, name) < 0:  # type: ignore[arg-type]
            raise InputError(f"{name} is negative: a seed is 0 or more")
    if not config.memory_gb > 0:
        raise InputError(f"memory_gb={config.memory_gb}: a positive number of gigabytes")
    if not 0 <= config.tracking.patience_s < math.inf:
        raise InputError(
            f"tracking.patience_s={config.tracking.patience_s}: seconds for which a run waits for "
            "a server that went away, 0 or more"
        )
    if not 0 < config.lesion.fraction <= 1:
        raise InputError(
            f"lesion.fraction={config.lesion.fraction}: the part of the layer's kernels to drop, "
            "above 0 and at most 1"
        )
    wrong = [percent for percent in config.lesion.sets if not 1 <= percent <= 100]
    if wrong or len(set(config.lesion.sets)) < len(config.lesion.sets):
        raise InputError(
            f"lesion.sets={list(config.lesion.sets)}: percentages of the layer's kernels, "
            "1 to 100, each once; [] lesions no sets"
        )
    if not 0 < config.decoding.penalty < math.inf:
        raise InputError(f"decoding.penalty={config.decoding.penalty}: C is positive and finite")
    unknown = [name for name in config.lesion.layers or () if name not in LAYERS]
    if config.model.source == "vgg":  # whose modules have no such names
        unknown += [
            name
            for name in config.decoding.layers or ()
            if re.fullmatch(r"conv\d+", name) and name not in LAYERS
        ]
    if unknown:
        raise InputError(
            f"lesion.layers or decoding.layers name {unknown[0]}: the convolutions are "
            f"{', '.join(LAYERS)}"
        )
    for room in ("stimuli", "identities"):
        settings = getattr(config, room)
        fetched = settings.name == "floc" and settings.root is None
        if settings.name != "synthetic" and not settings.root and not fetched:
            raise InputError(
                f"{room}={settings.name} needs {room}.root=<folder that holds one folder per "
                f"{'category' if room == 'stimuli' else 'identity'}>"
            )
        if fetched and not (settings.address or "").startswith(("http://", "https://")):
            raise InputError(
                f"stimuli.address={settings.address}: the http(s) address of the files of fLoc, or "
                "give stimuli.root=<folder that holds adult, child, …>"
            )
    for task in ("faces", "objects"):
        own = getattr(config.lesion, task)
        if own.classes and not own.root:
            raise InputError(
                f"lesion.{task}.classes={own.classes} lists folders: "
                f"give lesion.{task}.root=<folder that holds them>"
            )
    _check_threshold(config)
    for metric in metric_set(config).values():
        check_metric(metric, config.threshold)
    domains: Any = OmegaConf.to_container(config, resolve=True)["stimuli"]["domains"]  # type: ignore
    if domains is not None and not _is_domains(domains):
        raise InputError(
            f"stimuli.domains={domains} must map each domain to a list of its categories, "
            "e.g. {faces:[adult,child],places:[house]}"
        )
    named = [category for members in (domains or {}).values() for category in members]
    twice = next((category for category in named if named.count(category) > 1), None)
    if twice is not None:
        raise InputError(
            f"stimuli.domains names the category {twice!r} twice: a category belongs to one "
            "domain, once"
        )
    if stimuli.domains and config.target not in stimuli.domains:
        raise InputError(
            f"target={config.target} is no domain of the stimuli: "
            f"they have {', '.join(stimuli.domains)}"
        )


def check_model(model: Model) -> None:
    """Refuse a network's settings that contradict each other; what is null is open yet."""
    _one_of("model.source", model.source, SOURCES)
    if OmegaConf.is_missing(model, "name"):
        raise InputError(
            f"model={model.source} needs model.name=<network>, such as model.name=resnet50"
        )
    if model.source == "vgg":
        if model.weights is not None:
            raise InputError(
                f"model.weights={model.weights} is for model=torchvision and model=timm: "
                f"{model.name} takes model.checkpoint=<path>"
            )
        if model.trained is not False and model.checkpoint is None:
            raise InputError(
                f"model={model.name} needs its weights: give model.checkpoint=<path>, "
                f"or take model={model.name}_untrained"
            )
        if len(model.widths) != 13 or min(model.widths) < 1:
            raise InputError(
                f"model.widths={list(model.widths)}: the 13 convolutions need one value each, "
                "1 or more"
            )
        if None in (model.input_size, model.resize, model.mean, model.sd):
            raise InputError(
                f"{model.name} has no preprocessing of its own: give model.input_size, "
                "model.resize, model.mean and model.sd"
            )
        if model.outputs is None and model.checkpoint is None:
            raise InputError("model.outputs=null reads them from model.checkpoint: give one")
    elif model.weights is not None and model.checkpoint is not None:
        raise InputError(
            f"model.weights={model.weights} and model.checkpoint={model.checkpoint} exclude "
            "each other: set one of them to null"
        )
    if model.interpolation is not None:
        _one_of("model.interpolation", model.interpolation, INTERPOLATIONS)
    check_preprocessing(model)
    if model.source == "vgg" and model.input_size and model.input_size % 32:
        raise InputError(
            f"model.input_size={model.input_size} does not halve five times: a multiple of 32"
        )
    if model.face_classes < 0 or model.outputs and not model.face_classes < model.outputs:
        raise InputError(
            f"model.face_classes={model.face_classes} must lie between 0 and "
            f"model.outputs={model.outputs}"
        )


def check_preprocessing(model: Model) -> None:
    """Refuse a crop outside the image, and channels that cannot be scaled."""
    if model.resize and model.input_size and model.resize < model.input_size:
        raise InputError(
            f"model.resize={model.resize} is smaller than model.input_size={model.input_size}: "
            "the crop would leave the image"
        )
    given = [values for values in (model.mean, model.sd) if values is not None]
    sound = all(len(values) == 3 and all(map(math.isfinite, values)) for values in given)
    if not sound or (model.sd and min(model.sd) <= 0):
        raise InputError("model.mean and model.sd hold one number per RGB channel, sd above 0")


def _check_layer(config: Config) -> None:
    layer, model = config.layer, config.model
    if layer.output is not None:
        _one_of("layer.output", layer.output, OUTPUTS)
        if OmegaConf.is_missing(layer, "name"):
            raise InputError(
                "layer=module needs layer.name=<module>, such as layer.name=layer4.2; "
                "python -m app.layers with the same model=… lists all"
            )
    elif model.source != "vgg":
        raise InputError(
            f"layer={layer.name} is a layer of the dual-task networks: for {model.name} take "
            "layer=module layer.name=<module>; python -m app.layers with the same model=… lists all"
        )
    else:
        _one_of("layer.name", layer.name, LAYERS)


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
        number = criterion.threshold
    except OmegaConfBaseException as error:
        presets = ", ".join(map(str, criterion.presets))
        raise InputError(
            f"{where} has no number for threshold={threshold['name']}: its criterion.presets are "
            f"{presets or 'empty'}; give threshold.{metric.name}=<number>"
        ) from error
    if len(criterion.range) != 2:
        raise InputError(f"{where}: criterion.range={list(criterion.range)} must be [low, high]")
    low, high = criterion.range
    if criterion.rule != "above":
        low, high = max(low, 0.0), min(high, 1.0)
    if not low < number < high:
        raise InputError(
            f"threshold.{metric.name}={number} is out of range: "
            f"{'a probability' if criterion.rule != 'above' else 'a score'} "
            f"between {low:g} and {high:g}"
        )
    if threshold.get(metric.name, number) != number:
        raise InputError(
            f"threshold.{metric.name}={threshold[metric.name]} does not reach {where}, whose "
            f"criterion.threshold={number} is set by itself: give one of them"
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
WHERE_TO = ("cache", "debug", "figures", "tracking")  # what results do not depend on


def parameters(config: Config) -> dict[str, Any]:
    """The config as flat parameters: the leading names first, the rest under dotted names.

    Left out is what says nothing of the results (`WHERE_TO`, names and looks of the metrics).
    """
    flat: dict[str, Any] = {}
    for name in LEADING_PARAMETERS:
        value = getattr(config, name)
        flat[name] = value if name in ("target", "seed") else value.name
    tree: Any = OmegaConf.to_container(config, resolve=True)
    for name in WHERE_TO:
        del tree[name]
    numbers = {}
    for metric in (*tree["metrics"].values(), tree["metric"]):
        del metric["label"], metric["colour"]  # of figures alone
        presets = metric["criterion"].pop("presets")
        if config.threshold["name"] in presets:
            numbers[metric["name"]] = presets[config.threshold["name"]]
    for metric in tree["metrics"].values():
        del metric["name"]  # its key
    tree["threshold"] = {**numbers, **tree["threshold"]}
    _flatten(tree, "", flat)
    return flat


def _flatten(node: Any, path: str, into: dict[str, Any]) -> None:
    if isinstance(node, dict) and node:
        for key, value in node.items():
            _flatten(value, f"{path}.{key}" if path else str(key), into)
    elif not path.endswith(".name") or path.count(".") > 1:  # group names lead already
        into.setdefault(path, node)
