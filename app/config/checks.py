"""From what Hydra composed to a config that can be run: whole, in its limits, not at odds."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Mapping
from itertools import chain
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from app.choices import DECODERS, LAYERS, PENALISED
from app.config import limits, schema
from app.errors import InputError
from app.spelling import spell


def checked(config: DictConfig) -> schema.Config:
    """Make the config an object of plain values, all references followed, and check it.

    InputError, one line, for a value outside its limits, a contradiction, or what has to be given;
    OmegaConfBaseException for references to nothing, and for what was left out.
    """
    for field in dataclasses.fields(schema.Config):
        getattr(config, field.name)  # raises where `~name` left it out, for which none stands in
    checked_model(config.model)
    if OmegaConf.is_missing(config.layer, "name") and config.layer.output is not None:
        raise InputError(
            "layer=module needs layer.name=<module>, such as layer.name=layer4.2; "
            "python -m app.layers with the same model=… lists all"
        )
    for name, value in config.threshold.items():
        if name != "name" and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise InputError(f"threshold.{name}={value} is not a number")
    metrics: Any = schema.metric_set(config)  # type: ignore[arg-type]
    for metric in metrics.values():  # before the whole: it says better what is wrong
        checked_metric(metric, config.threshold)
    whole = cast(schema.Config, OmegaConf.to_object(config))
    limits.check(whole)
    stimuli = whole.stimuli  # folders' names are spelled so, too
    whole.target, stimuli.leave_out = spell(whole.target), [*map(spell, stimuli.leave_out)]
    _check_layer(whole.layer, whole.model)
    _check_lesion(whole.lesion)
    _check_layers_of_steps(whole)
    _check_penalty(whole.decoding)
    _check_responses(whole.responses)
    if whole.responses.name == "network":
        _check_multiverse(whole)
        _check_folders(whole)
    if stimuli.domains is not None:
        stimuli.domains = _checked_domains(stimuli.domains, whole.target)
    return whole


def checked_model(composed: DictConfig) -> schema.Model:
    """Make the settings of a network an object, checked; raises as `checked`."""
    if OmegaConf.is_missing(composed, "source"):  # model=library: its name says whose it is
        library, slash, name = OmegaConf.select(composed, "name", default="").partition("/")
        if not slash:
            raise InputError(
                "model=library needs model.name=<library>/<network>, such as "
                "model.name=timm/lcnet_050"
            )
        composed.source, composed.name = library, name
    if OmegaConf.is_missing(composed, "name"):
        raise InputError(
            f"model={composed.source} needs model.name=<network>, such as model.name=resnet50"
        )
    model = cast(schema.Model, OmegaConf.to_object(composed))
    check_model(model)
    return model


def checked_metric(composed: DictConfig, threshold: Mapping[str, Any]) -> schema.Metric:
    """Make a metric's settings an object, checked with the threshold; raises as `checked`.

    The rule of its criterion knows which numbers it takes: `app.findings.selection`.
    """
    try:
        composed.criterion.threshold  # noqa: B018  follows the reference
    except OmegaConfBaseException as error:
        presets = ", ".join(map(str, composed.criterion.presets))
        raise InputError(
            f"metric {composed.name} has no number for threshold={threshold['name']}: its "
            f"criterion.presets are {presets or 'empty'}; give threshold.{composed.name}=<number>"
        ) from error
    metric = cast(schema.Metric, OmegaConf.to_object(composed))
    where, number = f"metric {metric.name}", metric.criterion.threshold
    limits.check(metric, f"{where}: ")
    if len(metric.criterion.range) != 2:
        raise InputError(f"{where}: criterion.range={metric.criterion.range} must be [low, high]")
    if metric.criterion.of == "layers" and metric.criterion.rule != "top":
        raise InputError(
            f"{where}: criterion.of=layers is for criterion.rule=top, not {metric.criterion.rule}"
        )
    if threshold.get(metric.name, number) != number and not math.isnan(number):
        raise InputError(
            f"threshold.{metric.name}={threshold[metric.name]} does not reach {where}, whose "
            f"criterion.threshold={number} is set by itself: give one of them"
        )
    return metric


def check_model(model: schema.Model) -> None:
    """Refuse a network's settings that contradict each other; what is null is open yet."""
    limits.check(model, "model.")
    check_preprocessing(model)
    if model.source == "vgg":
        _check_vgg(model)
    elif model.weights not in (None, "DEFAULT") and model.checkpoint is not None:
        raise InputError(
            f"model.weights={model.weights} and model.checkpoint={model.checkpoint} exclude each "
            f"other: to prepare images as for these weights, model.weights_like={model.weights}"
        )
    elif model.weights_like is not None and model.weights and not model.checkpoint:
        raise InputError(
            f"model.weights_like={model.weights_like} is for model.checkpoint=<path> or "
            "model.weights=null"
        )
    if model.key_map is not None and model.checkpoint is None:
        raise InputError(f"model.key_map={model.key_map} needs model.checkpoint=<path>")
    if model.outputs and not (model.face_classes or 0) < model.outputs:
        raise InputError(
            f"model.face_classes={model.face_classes} must lie between 0 and "
            f"model.outputs={model.outputs}"
        )


def _check_vgg(model: schema.Model) -> None:
    for name in ("weights", "weights_like"):
        if (value := getattr(model, name)) is not None:
            raise InputError(
                f"model.{name}={value} is for model=torchvision and model=timm: {model.name} takes "
                "model.checkpoint=<path>"
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
    if model.input_size and model.input_size % 32:
        raise InputError(
            f"model.input_size={model.input_size} does not halve five times: a multiple of 32"
        )


def check_preprocessing(model: schema.Model) -> None:
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


def _check_layer(layer: schema.Layer, model: schema.Model) -> None:
    if layer.depth is not None or layer.output is not None:
        return
    if model.source != "vgg":
        raise InputError(
            f"layer={layer.name} is a layer of the dual-task networks: for {model.name} take "
            "layer=module layer.name=<module>; python -m app.layers with the same model=… lists all"
        )
    if layer.name not in LAYERS:
        raise InputError(limits.one_of(LAYERS).says.format(name="layer.name", value=layer.name))


def _check_lesion(lesion: schema.Lesion) -> None:
    if len(set(lesion.sets)) < len(lesion.sets):
        raise InputError(schema.PERCENTAGE.says.format(name="lesion.sets", value=lesion.sets))
    for task in ("faces", "objects"):
        own = getattr(lesion, task)
        if own.classes and not own.root:
            raise InputError(
                f"lesion.{task}.classes={own.classes} lists folders: "
                f"give lesion.{task}.root=<folder that holds them>"
            )


def _check_layers_of_steps(config: schema.Config) -> None:
    if config.model.source != "vgg":  # any module's name may be meant
        return
    for name in [*(config.lesion.layers or ()), *(config.decoding.layers or ())]:
        if re.fullmatch(r"conv\d+", name) and name not in LAYERS:
            raise InputError(
                f"lesion.layers or decoding.layers name {name}: the convolutions are "
                f"{', '.join(LAYERS)}"
            )


def _check_penalty(decoding: schema.Decoding) -> None:
    decoder, penalty = decoding.name, decoding.penalty
    if penalty is None and decoder in PENALISED:
        raise InputError(f"decoding.penalty=null: {decoder} needs one, its C")
    if penalty is not None and decoder in set(DECODERS) - set(PENALISED):
        raise InputError(f"decoding.penalty={penalty}: {decoder} has none; take decoding={decoder}")


def _check_responses(responses: schema.Responses) -> None:
    given, window = responses.path, responses.window
    if responses.name == "network":
        for name in ("path", "stimuli", "variable", "window"):
            if (value := getattr(responses, name)) is not None:
                raise InputError(f"responses.{name}={value} is for responses=file: give that, too")
    elif given is None:
        raise InputError(
            "responses=file needs responses.path=<file of presentations x units>: NetCDF, HDF5, "
            ".npy, .npz, Parquet, Zarr or NWB"
        )
    for name in ("path", "stimuli"):
        if (value := getattr(responses, name)) is not None and "://" in value:
            raise InputError(
                f"responses.{name}={value} is an address, and files on this machine are read: "
                f"download it, and give responses.{name}=<path>"
            )
    if window is not None and not (len(window) == 2 and window[0] < window[1]):
        raise InputError(
            f"responses.window={window} must be [first, last], the first the smaller, in the "
            "file's own times"
        )


def _check_multiverse(config: schema.Config) -> None:
    if config.multiverse and config.aggregation.name == "unit":
        raise InputError(
            "multiverse=true asks kernels by every aggregation: take aggregation=mean, l2 or max"
        )


def _check_folders(config: schema.Config) -> None:
    stimuli = config.stimuli
    if stimuli.name == "recorded":
        raise InputError("stimuli=recorded is what responses=file was shown: give that, too")
    fetched = stimuli.name == "floc" and stimuli.root is None
    for group, kind in (("stimuli", "category"), ("identities", "identity")):
        chosen = getattr(config, group)
        if not (chosen.root or chosen.name == "synthetic" or (chosen is stimuli and fetched)):
            raise InputError(
                f"{group}={chosen.name} needs {group}.root="
                f"<folder that holds one folder per {kind}>"
            )
    if fetched and not (stimuli.address or "").startswith(("http://", "https://")):
        raise InputError(
            f"stimuli.address={stimuli.address}: the http(s) address of the files of fLoc, or "
            "give stimuli.root=<folder that holds adult, child, …>"
        )


def _checked_domains(domains: Any, target: str) -> dict[str, list[str]]:
    """Spell the names of domains and categories; what looks like a value was meant as a name."""
    plain = (str, int, float, type(None))
    sound = isinstance(domains, dict) and all(
        isinstance(members, list) and members and all(isinstance(m, plain) for m in members)
        for members in domains.values()
    )
    if not sound:
        raise InputError(
            f"stimuli.domains={domains} must map each domain to a list of its categories, "
            "e.g. {faces:[adult,child],places:[house]}"
        )
    spelled = {spell(str(k)): [spell(str(m)) for m in members] for k, members in domains.items()}
    for category, times in Counter(chain(*spelled.values())).items():
        if times > 1:
            raise InputError(
                f"stimuli.domains names the category {category!r} twice: a category belongs to one "
                "domain, once"
            )
    if spelled and target not in spelled:
        raise InputError(
            f"target={target} is no domain of the stimuli: they have {', '.join(spelled)}"
        )
    return spelled
