"""Configs as a command line would have them; the choices of groups are composed once."""

from __future__ import annotations

import functools
import pickle

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig, open_dict

from app.config import schema
from app.config.checks import checked
from app.config.schema import Config
from app.launch import quoting
from app.launch.commandline import CONFIG_FOLDER

GROUPS = [path.name for path in CONFIG_FOLDER.iterdir() if path.is_dir()]


@functools.cache
def _compose(name: str, *choices: str) -> bytes:
    """A config of choices alone, pickled: Hydra takes a quarter of a second to compose it."""
    register()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return pickle.dumps(compose(name, list(choices), return_hydra_config=True))


@functools.cache
def register() -> None:
    """Make the schema known to Hydra, once a process."""
    schema.register()


def compose_config(*words: str, name: str = "config", hydra: bool = False) -> DictConfig:
    """What Hydra would compose of these words, with its own settings where they are asked for."""
    parsed = quoting.parse(words)
    choices, values = [], []
    for word, each in zip(words, parsed, strict=True):
        key = each.key_or_group
        chosen = not key or key in GROUPS or "/" in key  # what has no name, Hydra refuses
        (choices if chosen else values).append(word if chosen else each)
    config: DictConfig = pickle.loads(_compose(name, *choices))
    quoting.check_nulls(config, list(filter(quoting.holds_null, values)))
    ConfigLoaderImpl._apply_overrides_to_config(values, config)
    quoting.check_values(config, values, sweeps=False)
    with open_dict(config):
        config.hydra.overrides.task = [
            word for word, each in zip(words, parsed, strict=True) if not each.is_hydra_override()
        ]
        if not hydra:
            del config["hydra"]
    return config


def check_config(*words: str) -> Config:
    return checked(compose_config(*words))
