"""Networks of torchvision and timm, by name, with the preprocessing that these give them.

Both keep downloaded weights in their own folders, checked against their own digests.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import nn

from app.errors import InputError
from app.models.torchvision import import_torchvision
from app.stimuli.images import Preprocessing


class Found(NamedTuple):
    """A network of a library."""

    network: nn.Module
    weights: str | None  # what the library calls them; None: drawn from the seed
    preprocessing: Preprocessing


def torchvision(name: str, weights: str | None, seed: int, outputs: int | None) -> Found:
    """A classification network of torchvision.

    `weights` is DEFAULT or one of the network's own (IMAGENET1K_V1), None draws them from `seed`.
    `outputs` None: as many as the weights have. InputError for unknown names, and where the
    weights cannot be fetched.
    """
    models = import_torchvision("models")
    known = models.list_models(module=models)
    if name not in known:
        raise _unknown("model.name", name, known, "torchvision")
    choices = models.get_model_weights(name)
    if weights is not None and weights not in choices.__members__:
        raise _unknown("model.weights", weights, list(choices.__members__), name)
    chosen = None if weights is None else choices[weights]
    size: dict[str, Any] = {} if outputs is None else {"num_classes": outputs}
    with _fetching(name, weights), _seeded(seed):
        # Some networks would draw their weights twice over, with a warning that it takes long.
        slow = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
        network = models.get_model(name, weights=chosen, **size, **(slow if not chosen else {}))
    shown = (chosen or choices.DEFAULT).transforms()  # untrained ones see what trained ones would
    preprocessing = Preprocessing(
        resize=_side(shown.resize_size, name),
        size=_side(shown.crop_size, name),
        mean=_three(shown.mean, name),
        sd=_three(shown.std, name),
        interpolation=shown.interpolation.value,
    )
    return Found(network.eval(), chosen.name if chosen else None, preprocessing)


def timm(name: str, weights: str | None, seed: int, outputs: int | None) -> Found:
    """A network of timm; its name may end in the weights' tag (`resnet50.a1_in1k`).

    `weights` is DEFAULT or None, which draws them from `seed`. The rest as in `torchvision`.
    """
    import_torchvision("models")  # which timm imports
    import timm as library

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
    size: dict[str, Any] = {} if outputs is None else {"num_classes": outputs}
    with _fetching(name, weights), _seeded(seed):
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
    preprocessing = Preprocessing(
        resize=math.floor(height / shown["crop_pct"]),
        size=height,
        mean=_three(shown["mean"], name),
        sd=_three(shown["std"], name),
        interpolation=shown["interpolation"],
        squash=mode == "squash",
    )
    shown_as: Any = network.pretrained_cfg if weights else {}
    return Found(network.eval(), shown_as.get("tag") or weights, preprocessing)


LIBRARIES = {"torchvision": torchvision, "timm": timm}


def find_last_linear(network: nn.Module) -> str | None:
    """The name of the linear layer that is defined last: it gives the outputs. None: no linear."""
    linear = [name for name, part in network.named_modules() if isinstance(part, nn.Linear)]
    return linear[-1] if linear else None


@contextmanager
def _seeded(seed: int):  # type: ignore[no-untyped-def]
    """Weights drawn in the body come from the seed; torch's own random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def _fetching(name: str, weights: str | None):  # type: ignore[no-untyped-def]
    """Turn what goes wrong on the way to the weights into one line."""
    try:
        yield
    except Exception as error:  # each library has its own for no network, no room, wrong digest
        if weights is None:
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the weights {weights} of {name} cannot be had: {reason}; give the network access, "
            "put them into the library's cache, or take model.weights=null"
        ) from error


def _unknown(setting: str, value: str, known: Sequence[str], where: str) -> InputError:
    near = difflib.get_close_matches(value, known, n=3, cutoff=0.0)
    return InputError(f"{setting}={value} is unknown to {where}: nearest are {', '.join(near)}")


def _side(sizes: Sequence[int] | int, name: str) -> int:
    sides = {sizes} if isinstance(sizes, int) else set(sizes)
    if len(sides) != 1:
        raise InputError(f"{name} takes images of {sizes}: only square ones are made here")
    return int(sides.pop())


def _three(values: Sequence[float], name: str) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue
