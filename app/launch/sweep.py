"""The jobs that the words of a command line stand for, as Hydra's sweeper reads them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

if TYPE_CHECKING:
    from app.sweeps.parent import Plan


def words(hydra: Any) -> list[str]:
    """List the command line's overrides of the program's config, references left as they are."""
    return cast(list[str], OmegaConf.to_container(hydra.overrides.task, resolve=False))


def all_words(hydra: Any) -> list[str]:
    """List all that makes jobs: the sweeper's `params` and then the command line's overrides."""
    params = (hydra.sweeper or {}).get("params") or {}
    return [*(f"{name}={value}" for name, value in params.items()), *words(hydra)]


def choices(overrides: Sequence[str], loader: ConfigLoader | None = None) -> dict[str, list[str]]:
    """Spell out overrides: for each name the one, or all those of a sweep, in its order.

    What comes later in the list stands for what came before under the same name. `loader` finds
    what `metric=glob(*)` stands for. Ranges that only other sweepers understand are left out.
    """
    found = {}
    for override in OverridesParser.create(loader).parse_overrides(list(overrides)):
        name = override.get_key_element()
        if override.is_discrete_sweep():
            found[name] = [f"{name}={value}" for value in override.sweep_string_iterator()]
        elif not override.is_sweep_override():
            found[name] = [f"{name}={override.get_value_element_as_str()}"]
    return found


def planned(
    overrides: Sequence[str], loader: ConfigLoader | None = None, command: Sequence[str] = ()
) -> Plan:
    """Plan the sweep of these overrides: `layer=conv2,conv13`, `layer.name=fc6,fc7`."""
    from app.sweeps.parent import Plan

    swept = {name: each for name, each in choices(overrides, loader).items() if len(each) > 1}
    layers = {
        word.rpartition("=")[2] for name in ("layer", "layer.name") for word in swept.get(name, [])
    }
    return Plan(tuple(sorted(layers)), math.prod(map(len, swept.values())), tuple(command))
