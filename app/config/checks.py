"""From what Hydra composed to a config that can be run: whole, in its limits, not at odds."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from app.choices import DECODERS, LAYERS, PENALISED
from app.config import limits
from app.config.schema import (
    PERCENTAGES,
    Config,
    Decoding,
    Layer,
    Lesion,
    Metric,
    Model,
    Stimuli,
    metric_set,
)
from app.errors import InputError


def checked(config: DictConfig) -> Config:
    """Make the config an object of plain values, all references followed, and check it.

    Raises
    ------
    InputError
        One line for a value outside its limits, a contradiction, or what has to be given.
    OmegaConfBaseException
        For references to nothing, and for what was left out.
    """
    for field in dataclasses.fields(Config):
        getattr(config, field.name)  # raises where `~name` left it out, for which none stands in
    _check_named(config.model)
    if OmegaConf.is_missing(config.layer, "name") and config.layer.output is not None:
        raise InputError(
            "layer=module needs layer.name=<module>, such as layer.name=layer4.2; "
            "python -m app.layers with the same model=… lists all"
        )
    _check_numbers(config)
    whole = cast(Config, OmegaConf.to_object(config))
    check(whole)
    return whole


def checked_model(composed: DictConfig) -> Model:
    """Make the settings of a network an object, checked; raises as `checked`."""
    _check_named(composed)
    model = cast(Model, OmegaConf.to_object(composed))
    check_model(model)
    return model


def checked_metric(metric: DictConfig, threshold: Mapping[str, Any]) -> Metric:
    """Make a metric's settings an object, checked with the threshold; raises as `checked`."""
    _check_number(metric, threshold)
    whole = cast(Metric, OmegaConf.to_object(metric))
    check_metric(whole, threshold)
    return whole


def _check_named(model: DictConfig) -> None:
    """Refuse a network of a library without a name; `model` as Hydra composed it."""
    if OmegaConf.is_missing(model, "name"):
        raise InputError(
            f"model={model.source} needs model.name=<network>, such as model.name=resnet50"
        )


def check(config: Config) -> None:
    """Refuse values outside their limits, and those that contradict each other; InputError."""
    limits.check(config, leave=("model", "metric"))  # which have checks of their own
    check_model(config.model)
    _check_layer(config.layer, config.model)
    _check_lesion(config.lesion)
    _check_layers_of_steps(config)
    _check_penalty(config.decoding)
    _check_folders(config)
    for metric in metric_set(config).values():
        check_metric(metric, config.threshold)
    _check_domains(config.stimuli, config.target)


def check_model(model: Model) -> None:
    """Refuse a network's settings that contradict each other; what is null is open yet."""
    limits.check(model, "model.")
    if model.source == "vgg":
        _check_vgg(model)
    elif model.weights is not None and model.checkpoint is not None:
        raise InputError(
            f"model.weights={model.weights} and model.checkpoint={model.checkpoint} exclude "
            "each other: set one of them to null"
        )
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


def _check_vgg(model: Model) -> None:
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
            f"model.widths={model.widths}: the 13 convolutions need one value each, 1 or more"
        )
    if None in (model.input_size, model.resize, model.mean, model.sd):
        raise InputError(
            f"{model.name} has no preprocessing of its own: give model.input_size, "
            "model.resize, model.mean and model.sd"
        )
    if model.outputs is None and model.checkpoint is None:
        raise InputError("model.outputs=null reads them from model.checkpoint: give one")


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


def _check_layer(layer: Layer, model: Model) -> None:
    if layer.output is None and model.source != "vgg":
        raise InputError(
            f"layer={layer.name} is a layer of the dual-task networks: for {model.name} take "
            "layer=module layer.name=<module>; python -m app.layers with the same model=… lists all"
        )
    if layer.output is None and (wrong := limits.OneOf(LAYERS).refuse(layer.name)):
        raise InputError(wrong.format(name="layer.name", value=layer.name))


def _check_lesion(lesion: Lesion) -> None:
    if len(set(lesion.sets)) < len(lesion.sets):
        raise InputError(PERCENTAGES.format(name="lesion.sets", value=lesion.sets))
    for task in ("faces", "objects"):
        own = getattr(lesion, task)
        if own.classes and not own.root:
            raise InputError(
                f"lesion.{task}.classes={own.classes} lists folders: "
                f"give lesion.{task}.root=<folder that holds them>"
            )


def _check_layers_of_steps(config: Config) -> None:
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


def _check_penalty(decoding: Decoding) -> None:
    decoder, penalty = decoding.name, decoding.penalty
    if penalty is None and decoder in PENALISED:
        raise InputError(f"decoding.penalty=null: {decoder} needs one, its C")
    if penalty is not None and decoder in set(DECODERS) - set(PENALISED):
        raise InputError(f"decoding.penalty={penalty}: {decoder} has none; take decoding={decoder}")


def _check_folders(config: Config) -> None:
    stimuli, identities = config.stimuli, config.identities
    fetched = stimuli.name == "floc" and stimuli.root is None
    for room, settings, kind in (
        ("stimuli", stimuli, "category"),
        ("identities", identities, "identity"),
    ):
        brought = settings.name == "synthetic" or settings is stimuli and fetched
        if not settings.root and not brought:
            raise InputError(
                f"{room}={settings.name} needs {room}.root="
                f"<folder that holds one folder per {kind}>"
            )
    if fetched and not (stimuli.address or "").startswith(("http://", "https://")):
        raise InputError(
            f"stimuli.address={stimuli.address}: the http(s) address of the files of fLoc, or "
            "give stimuli.root=<folder that holds adult, child, …>"
        )


def _check_numbers(config: DictConfig) -> None:
    """Refuse criteria without a number, which would be a reference to nothing."""
    for name, value in config.threshold.items():
        if name != "name" and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise InputError(f"threshold.{name}={value} is not a number")
    metrics: Any = metric_set(config)  # type: ignore[arg-type]
    for metric in metrics.values():
        _check_number(metric, config.threshold)


def _check_number(metric: DictConfig, threshold: Mapping[str, Any]) -> None:
    try:
        metric.criterion.threshold  # noqa: B018  follows the reference
    except OmegaConfBaseException as error:
        presets = ", ".join(map(str, metric.criterion.presets))
        raise InputError(
            f"metric {metric.name} has no number for threshold={threshold['name']}: its "
            f"criterion.presets are {presets or 'empty'}; give threshold.{metric.name}=<number>"
        ) from error


def check_metric(metric: Metric, threshold: Mapping[str, Any]) -> None:
    """Refuse a metric's settings; `threshold` as in the config. InputError with one line.

    The rule of its criterion knows which numbers it takes: `app.findings.selection`.
    """
    where = f"metric {metric.name}"
    limits.check(metric, f"{where}: ")
    criterion = metric.criterion
    if len(criterion.range) != 2:
        raise InputError(f"{where}: criterion.range={criterion.range} must be [low, high]")
    number = criterion.threshold
    if threshold.get(metric.name, number) != number and not math.isnan(number):
        raise InputError(
            f"threshold.{metric.name}={threshold[metric.name]} does not reach {where}, whose "
            f"criterion.threshold={number} is set by itself: give one of them"
        )


def _check_domains(stimuli: Stimuli, target: str) -> None:
    domains = stimuli.domains
    if domains is None:
        return
    sound = isinstance(domains, dict) and all(
        isinstance(members, list) and members and all(isinstance(m, str) for m in members)
        for members in domains.values()
    )
    if not sound:
        raise InputError(
            f"stimuli.domains={domains} must map each domain to a list of its categories, "
            "e.g. {faces:[adult,child],places:[house]}"
        )
    named = [category for members in domains.values() for category in members]
    twice = next((category for category in named if named.count(category) > 1), None)
    if twice is not None:
        raise InputError(
            f"stimuli.domains names the category {twice!r} twice: a category belongs to one "
            "domain, once"
        )
    if domains and target not in domains:
        raise InputError(
            f"target={target} is no domain of the stimuli: they have {', '.join(domains)}"
        )
