"""Networks of torchvision and timm, by name, with the preprocessing that these give them.

Both keep downloaded weights in their own folders, checked against their own digests.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from app.errors import InputError

if TYPE_CHECKING:
    from app.config.schema import Model


class Found(NamedTuple):
    """A network of a library, in evaluation mode."""

    network: nn.Module
    own: dict[str, Any]  # what it has for settings of `app.config.schema.Model` that are left open


def torchvision(settings: Model) -> Found:
    """A classification network of torchvision.

    `settings.weights` is DEFAULT or one of the network's own (IMAGENET1K_V1), None draws them from
    the seed. `settings.outputs` None: as many as the weights have. InputError for unknown names,
    and where the weights cannot be fetched.
    """
    models, name, weights = import_torchvision("models"), settings.name, settings.weights
    known = models.list_models(module=models)
    if name not in known:
        raise _unknown("model.name", name, known, "torchvision")
    choices = models.get_model_weights(name)
    if weights is not None and weights not in choices.__members__:
        raise _unknown("model.weights", weights, list(choices.__members__), name)
    chosen = None if weights is None else choices[weights]
    with _building(settings) as size:
        network = models.get_model(name, weights=chosen, **size)
    shown = (chosen or choices.DEFAULT).transforms()  # untrained ones see what trained ones would
    (resize,), (side,) = shown.resize_size, shown.crop_size
    own = {
        "weights": chosen.name if chosen else None,
        "resize": resize,
        "input_size": side,
        "mean": list(shown.mean),
        "sd": list(shown.std),
        "interpolation": shown.interpolation.value,
        "squash": False,
    }
    return Found(network.eval(), own)


def timm(settings: Model) -> Found:
    """A network of timm; its name may end in the weights' tag (`resnet50.a1_in1k`).

    `settings.weights` is DEFAULT or None. The rest as in `torchvision`.
    """
    import_torchvision("models")  # which timm imports
    import timm as library

    name, weights = settings.name, settings.weights
    if weights not in (None, "DEFAULT"):
        raise InputError(
            f"model.weights={weights}: timm's weights are named by a tag in model.name, such as "
            "resnet50.a1_in1k; take model.weights=DEFAULT, or null for a seeded network"
        )
    base, _, tag = name.partition(".")
    known = library.list_models()
    if base not in known:
        raise _unknown("model.name", name, known, "timm")
    tags = [full.partition(".")[2] for full in library.list_pretrained(f"{base}.*")]
    if tag and tag not in tags:
        raise _unknown("model.name", name, [f"{base}.{t}" for t in tags], "timm")
    if weights and not tags:
        raise InputError(f"timm has no weights for {name}: take model.weights=null")
    with _building(settings) as size:
        network = library.create_model(name, pretrained=weights is not None, **size)
    resolve: Any = import_module("timm.data").resolve_model_data_config
    shown = resolve(network)
    channels, height, width = shown["input_size"]
    mode = shown["crop_mode"]
    if channels != 3 or height != width or mode == "border":
        raise InputError(
            f"{name} of timm takes images of {channels} x {height} x {width}, crop mode {mode}: "
            "only square RGB images cut from the centre are made here"
        )
    pretrained: Any = network.pretrained_cfg if weights else {}
    own = {
        "weights": pretrained.get("tag") or weights,
        "resize": math.floor(height / shown["crop_pct"]),
        "input_size": height,
        "mean": list(shown["mean"]),
        "sd": list(shown["std"]),
        "interpolation": shown["interpolation"],
        "squash": mode == "squash",
    }
    return Found(network.eval(), own)


LIBRARIES = {"torchvision": torchvision, "timm": timm}


def import_torchvision(module: str) -> Any:
    """Import a module of torchvision, also where its compiled part does not fit torch.

    That part (a build for GPUs beside a torch for CPUs, say) serves detection alone, yet the
    import fails over it: two operators are declared here, without an implementation.

    Examples
    --------
    >>> v2 = import_torchvision("transforms.v2")
    """
    try:
        import torchvision  # noqa: F401  named, so that its version is part of stored results' keys

        return import_module(f"torchvision.{module}")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    for operator in ("nms", "qnms"):
        torch.library.define(
            f"torchvision::{operator}",
            "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        )
    return import_module(f"torchvision.{module}")


@contextmanager
def _building(settings: Model) -> Iterator[dict[str, Any]]:
    """Yield the number of outputs as both libraries take it; turn what goes wrong into one line.

    Weights drawn in the body come from the seed; torch's own random state stays as it is.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            yield {} if settings.outputs is None else {"num_classes": settings.outputs}
    except Exception as error:  # each library has its own for no network, no room, wrong digest
        if settings.weights is None:
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the weights {settings.weights} of {settings.name} cannot be had: {reason}; give the "
            "network access, put them into the library's cache, or take model.weights=null"
        ) from error


def _unknown(setting: str, value: str, known: Sequence[str], where: str) -> InputError:
    near = difflib.get_close_matches(value, known, n=3, cutoff=0.0)
    return InputError(f"{setting}={value} is unknown to {where}: nearest are {', '.join(near)}")
