"""How networks are built: the dual-task one; torchvision's and timm's, as these prepare images.

Both libraries keep downloaded weights in their own folders, checked against their own digests.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from app.errors import InputError
from app.models.vgg import DualTaskVGG, seeded

if TYPE_CHECKING:
    from app.config.schema import Model


class Found(NamedTuple):
    """A network, in evaluation mode."""

    network: nn.Module
    own: dict[str, Any]  # what it has for settings of `app.config.schema.Model` that are left open
    heads: Sequence[str]  # its modules that give the outputs, the main one first
    # What the library does to weights that were saved under other names or at another input size.
    adapt: Callable[[Mapping[str, Tensor], nn.Module], dict[str, Tensor]] | None = None
    notes: tuple[str, ...] = ()  # what else became of the library's weights


def vgg(settings: Model) -> Found:
    """A dual-task network, without values where a checkpoint brings them."""
    shape = settings.widths, settings.hidden, settings.outputs or 1, settings.input_size or 224
    if settings.checkpoint is None:
        network = seeded(settings.seed, *shape)
    else:
        with torch.device("meta"):
            network = DualTaskVGG(*shape)
    return Found(network.eval(), {"outputs": settings.outputs}, ["classifier.6"])


def torchvision(settings: Model) -> Found:
    """A classification network of torchvision.

    `settings.weights` is DEFAULT or one of the network's own (IMAGENET1K_V1), None draws them from
    the seed. Preprocessing, and what else the library couples to a set of weights, are those of
    `weights`, else of `weights_like`, else of DEFAULT. `settings.outputs` None: as many as the
    weights have. InputError for unknown names, and where the weights cannot be fetched.
    """
    models, name, weights = import_torchvision("models"), settings.name, settings.weights
    known = models.list_models(module=models)
    if name not in known:
        raise _unknown("model.name", name, known, "torchvision")
    choices = models.get_model_weights(name)
    for setting in ("weights", "weights_like"):
        asked = getattr(settings, setting)
        if asked is not None and asked not in choices.__members__:
            raise _unknown(f"model.{setting}", asked, list(choices.__members__), name)
    chosen = choices[weights or settings.weights_like or "DEFAULT"]
    shown = chosen.transforms()
    (resize,), (side,) = shown.resize_size, shown.crop_size
    size = settings.input_size or side
    inception: dict[str, Any] = {"transform_input": True}
    if not weights:
        # Such heads serve training alone; weights are drawn by default, too, with a warning.
        inception |= {"aux_logits": False, "init_weights": True}
    coupled = {"googlenet": inception, "inception_v3": inception,
               "vit": {"image_size": size}, "maxvit": {"input_size": (size, size)}}  # fmt: skip
    options = coupled.get(name, coupled.get(name.partition("_")[0], {}))
    classes = settings.outputs in (None, len(chosen.meta["categories"]))
    # To another size torchvision resamples positions when it is asked alone, not as it builds.
    resampled = weights and size != side and name.startswith("vit_") and classes
    with _building(settings) as outputs:
        filled = chosen if weights and not resampled else None
        network = models.get_model(name, weights=filled, **options, **outputs)
        if resampled:
            state = chosen.get_state_dict(check_hash=True)
            network.load_state_dict(_resample_positions(state, network))
    head = [each for each, part in network.named_modules()
            if isinstance(part, nn.Linear | nn.Conv2d)][-1]  # fmt: skip  # defined last
    own = {
        "weights": chosen.name if weights else None,
        "weights_like": None if weights else chosen.name,
        "outputs": len(network.get_submodule(head).weight),
        "resize": resize,
        "input_size": side,
        "mean": list(shown.mean),
        "sd": list(shown.std),
        "interpolation": shown.interpolation.value,
        "squash": False,
    }
    adapt = _resample_positions if name.startswith("vit_") else None
    return Found(network.eval(), own, [head], adapt, _note_size(side, size) if resampled else ())


def _resample_positions(state: Mapping[str, Tensor], network: Any) -> dict[str, Tensor]:
    """Resample the embedded positions of torchvision's ViT, as torchvision does for finetuning."""
    resample = import_torchvision("models.vision_transformer").interpolate_embeddings
    return dict(resample(network.image_size, network.patch_size, OrderedDict(state)))


def timm(settings: Model) -> Found:
    """A network of timm; its name may end in the weights' tag (`resnet50.a1_in1k`).

    `settings.weights` is DEFAULT or None; `weights_like` is a tag, for a name without one. The rest
    as in `torchvision`.
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
    if (like := settings.weights_like or tag) and like not in tags:
        setting = "model.weights_like" if settings.weights_like else "model.name"
        raise _unknown(setting, like, tags, base)
    full = f"{base}.{like}" if like else base
    config: Any = library.get_pretrained_cfg(full, allow_unregistered=True)
    size = settings.input_size
    fixed = size and config and config.fixed_input_size
    options: dict[str, Any] = {"img_size": size} if fixed else {}
    with _building(settings) as outputs:
        network = library.create_model(full, pretrained=weights is not None, **options, **outputs)
    resolve: Any = import_module("timm.data").resolve_model_data_config
    shown = resolve(network)
    channels, height, width = shown["input_size"]
    mode = shown["crop_mode"]
    if channels != 3 or height != width or mode == "border":
        raise InputError(
            f"{name} of timm takes images of {channels} x {height} x {width}, crop mode {mode}: "
            "only square RGB images cut from the centre are made here"
        )
    pretrained: Any = network.pretrained_cfg
    heads = pretrained.get("classifier") or ()
    own = {
        "weights": (pretrained.get("tag") or weights) if weights else None,
        "weights_like": None if weights else pretrained.get("tag") or None,
        "outputs": network.num_classes or None,
        "resize": math.floor(height / shown["crop_pct"]),
        "input_size": height,
        "mean": list(shown["mean"]),
        "sd": list(shown["std"]),
        "interpolation": shown["interpolation"],
        "squash": mode == "squash",
    }
    adapt = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    notes = _note_size(config.input_size[-1], size) if weights and fixed and size else ()
    heads = [heads] if isinstance(heads, str) else heads
    return Found(network.eval(), own, heads, adapt, notes)


def _note_size(own: int, size: int) -> tuple[str, ...]:
    """Say that weights of images of one size are taken for images of another, in pixels."""
    said = f"the weights' positions, of {own} pixels a side, were resampled for {size}"
    return () if own == size else (said,)


BUILDERS = {"vgg": vgg, "torchvision": torchvision, "timm": timm}


def import_torchvision(module: str) -> Any:
    """Import a module of torchvision, also where its compiled part does not fit torch.

    That part (a build for GPUs beside a torch for CPUs, say) serves detection alone, yet the
    import fails over it: two operators are declared here, without an implementation.
    """
    try:
        import torchvision  # noqa: F401  named, so that its version is part of stored results' keys

        return import_module(f"torchvision.{module}")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
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
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        # torch's and timm's for a size that does not fit, and the like; not those of a download.
        refused = isinstance(error, ValueError | TypeError | AssertionError)
        if settings.weights is None or (refused and not isinstance(error, OSError)):
            raise InputError(f"{settings.name} cannot be built as is asked: {reason}") from error
        raise InputError(
            f"the weights {settings.weights} of {settings.name} cannot be had: {reason}; give the "
            "network access, put them into the library's cache, or take model.weights=null"
        ) from error


def _unknown(setting: str, value: str, known: Sequence[str], where: str) -> InputError:
    near = difflib.get_close_matches(value, known, n=3, cutoff=0.0)
    return InputError(f"{setting}={value} is unknown to {where}: nearest are {', '.join(near)}")
