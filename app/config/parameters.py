"""The config as a run's flat parameters, and as YAML."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

if TYPE_CHECKING:
    from app.config.schema import Config
    from app.config.training import Train

LEADING_PARAMETERS = (
    "model", "layer", "metric", "threshold", "aggregation", "stimuli", "target", "seed",
)  # fmt: skip
NUMBER = "metric.criterion.threshold"
NAMED = ("layer", "metric", NUMBER, "aggregation", "model")  # in a run's name
LONGEST = 40  # characters of a value there, a path's last ones
# Settings of a run, of a metric, and of its criterion, that seldom are otherwise.
NETWORK = {"name": "network", "path": None, "stimuli": None, "variable": None, "window": None}
USUAL = {"recipe": None, "multiverse": False, "objective": None, "responses": NETWORK}
USUAL_LAYER = {"depth": None}
USUAL_METRIC = {"baseline": False, "score": "smallest"}
USUAL_CRITERION = {"of": "layer", "preferred": False}
WHERE_TO = ("cache", "debug", "figures", "megapixels", "tracking")  # what results do not depend on


def parameters(config: Config, *, resolve: bool = True) -> dict[str, Any]:
    """List the config's values, the leading names first, the rest under dotted names.

    Left out is what says nothing of the results (`WHERE_TO`, names and looks of the metrics), and
    of what is `USUAL` that which nobody asked to be otherwise.
    A config as Hydra composed it will do, where it is whole or is not to `resolve` references.
    """
    composed = OmegaConf.is_config(config)
    tree: Any = (
        OmegaConf.to_container(config, resolve=resolve) if composed else dataclasses.asdict(config)
    )
    flat: dict[str, Any] = {
        name: tree[name] if name in ("target", "seed") else tree[name]["name"]
        for name in LEADING_PARAMETERS
    }
    for name in WHERE_TO:
        del tree[name]
    _leave_out(tree, USUAL)
    _leave_out(tree["layer"], USUAL_LAYER)
    numbers = {}
    for metric in (*tree["metrics"].values(), tree["metric"]):
        del metric["label"], metric["colour"]  # of figures alone
        _leave_out(metric, USUAL_METRIC)
        _leave_out(metric["criterion"], USUAL_CRITERION)
        presets = metric["criterion"].pop("presets")
        if flat["threshold"] in presets:
            numbers[metric["name"]] = presets[flat["threshold"]]
    for metric in tree["metrics"].values():
        del metric["name"]  # its key
    tree["threshold"] = {**numbers, **tree["threshold"]}
    for path, value in leaves(tree):
        if not path.endswith(".name") or path.count(".") > 1:  # group names lead already
            flat.setdefault(path, value)
    return flat


def _leave_out(settings: dict[str, Any], usual: Mapping[str, Any]) -> None:
    for name in [name for name, value in usual.items() if settings[name] == value]:
        del settings[name]


def name_run(params: Mapping[str, Any], swept: Mapping[str, str] | None = None) -> str:
    """Name a run after what it asks, first what it was given of what its sweep varies (`swept`).

    >>> asked = {"layer": "conv13", "metric": "fsi", "metric.criterion.threshold": 0.3, "seed": 1}
    >>> name_run(asked), name_run(asked, {"seed": "1", "threshold.fsi": "0.3"})
    ('conv13 fsi 0.3', 'fsi 0.3 seed=1 conv13')
    """
    of_criterion = ("threshold", f"threshold.{params.get('metric')}")
    varied = {
        NUMBER if name in of_criterion and NUMBER in params else name.removesuffix(".name"): text
        for name, text in (swept or {}).items()
    }
    if varied.keys() & {"metric", NUMBER}:  # which say little without each other
        varied |= {name: "" for name in ("metric", NUMBER) if name in params}
    first = [name for name in NAMED if name in varied]
    others = [name for name in varied if name not in NAMED]
    rest = [name for name in NAMED if name not in varied and name in params]
    words = []
    for name in (*first, *others, *rest):
        value = varied[name] if name in others else params.get(name)
        text = f"{value:g}" if isinstance(value, float) else str(value)
        text = text if len(text) <= LONGEST else f"…{text[1 - LONGEST :]}"
        words.append(f"{name}={text}" if name in others and "…" not in text else text)
    return " ".join(words)


def to_yaml(config: Config | Train) -> str:
    """Write the config as YAML, in the order of its fields."""
    return OmegaConf.to_yaml(OmegaConf.create(dataclasses.asdict(config)))


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of a tree under dotted names; lists without mappings or lists are values."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list) and any(isinstance(value, (dict, list)) for value in node):
        for number, value in enumerate(node):
            yield from leaves(value, f"{path}.{number}")
    else:
        yield path, node
