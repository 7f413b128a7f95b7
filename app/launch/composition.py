"""How Hydra composes and writes the configs of a sweep's jobs in a tenth of the time.

Hydra reads and merges all files of the config anew for every job, and that twice, first to see
whether it can: most of what a job costs whose work is stored. Here files are read once, which of
them a choice stands for and what they merge to is kept, a job's own values go on a copy of it, and
the job gets the config that was tried. An interpolation is parsed once, not whenever a value is
looked at. Files are written by libyaml. What is composed and written is the same (tested).
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import yaml
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra._internal.defaults_list import DefaultsList, Overrides, create_defaults_list
from hydra.core.default_element import ResultDefault
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, _utils, base, grammar_parser, omegaconf

_read = ConfigRepository.load_config
_merge = ConfigLoaderImpl._compose_config_from_defaults_list
_compose = ConfigLoaderImpl.load_sweep_config
_parse = functools.lru_cache(maxsize=10_000)(grammar_parser.parse)
TRIED = 1000  # configs of jobs that are kept until they are run: a third of a megabyte each


class _Dumper(getattr(yaml, "CDumper", yaml.Dumper)):  # type: ignore[misc]
    """OmegaConf's, by libyaml where PyYAML comes with it."""


_Dumper.add_representer(str, _utils.OmegaConfDumper.str_representer)


def keep() -> None:
    """From now on Hydra keeps, in this process, what it read and merged."""
    files: dict[tuple[Any, ...], Any] = {}
    listed: dict[tuple[Any, ...], DefaultsList] = {}
    merged: dict[tuple[Any, ...], DictConfig] = {}
    tried: dict[tuple[str, ...], DictConfig] = {}

    def load_config(self: ConfigRepository, config_path: str) -> Any:
        key = (_places(self), config_path)
        if key not in files:
            files[key] = _read(self, config_path)
        return copy.deepcopy(files[key])

    def list_files(
        repo: IConfigRepository, config_name: str | None, overrides_list: list[Override],
        prepend_hydra: bool, skip_missing: bool,
    ) -> DefaultsList:  # fmt: skip
        values = Overrides(repo, overrides_list).config_overrides  # the others choose files
        choices = tuple(each.input_line for each in overrides_list if each not in values)
        key = (_places(repo), config_name, choices, prepend_hydra, skip_missing)
        if key not in listed:
            listed[key] = create_defaults_list(
                repo, config_name, overrides_list, prepend_hydra, skip_missing
            )
        return dataclasses.replace(listed[key], config_overrides=values)

    def merge(
        self: ConfigLoaderImpl, defaults: Sequence[ResultDefault], repo: IConfigRepository
    ) -> DictConfig:
        chosen = tuple((each.config_path, each.parent, each.package, each.is_self, each.primary)
                       for each in defaults)  # fmt: skip
        key = (_places(repo), chosen)
        if key not in merged:
            merged[key] = _merge(self, list(defaults), repo)
        return copy.deepcopy(merged[key])

    def load_sweep_config(
        self: ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        key = tuple(sweep_overrides)
        if key in tried:
            return tried.pop(key)  # once: the launcher changes it
        config = _compose(self, master_config, sweep_overrides)
        if len(tried) < TRIED:
            tried[key] = config
        return config

    _utils.parse = base.parse = _parse  # its trees are only read
    omegaconf.get_omega_conf_dumper = lambda: _Dumper
    config_loader_impl.create_defaults_list = list_files
    ConfigRepository.load_config = load_config  # type: ignore[method-assign]
    ConfigLoaderImpl._compose_config_from_defaults_list = merge  # type: ignore[method-assign]
    ConfigLoaderImpl.load_sweep_config = load_sweep_config  # type: ignore[method-assign]


def _places(repo: IConfigRepository) -> tuple[str, ...]:
    """Where the files come from."""
    return tuple(f"{source.scheme()}{source.path}" for source in repo.get_sources())
