"""Where a command writes, held against the disk before it begins."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from app.errors import InputError


def check_places(config: DictConfig, settings: Iterable[str]) -> None:
    """Refuse, in one line, all folders that these settings of a composed config name in vain.

    And a change of folder, by which each job would have a store, a cache and inputs of its own.
    What is wrong with a folder beside the right to write to it is told by who needs it.
    """
    if OmegaConf.select(config, "hydra.job.chdir"):
        raise InputError(
            "hydra.job.chdir=true would have each job look for the store, the cache and its inputs "
            "in its own folder: leave it false"
        )
    closed = []
    for setting in settings:
        with suppress(OmegaConfBaseException):  # a value that cannot be told: Hydra says so
            folder = OmegaConf.select(config, setting)
            path = _find_target(config, setting, Path(folder or ".").expanduser())
            if path is not None and not _is_open(path.absolute()):
                closed.append(f"{setting}={folder}")
    if closed:
        raise InputError(
            f"you may not write to {', '.join(closed)}: "
            "give each another folder, or run the command in a folder of your own"
        )


def _find_target(config: DictConfig, setting: str, folder: Path) -> Path | None:
    """What would be written to first; None where nothing need be."""
    if setting == "tracking.folder":
        elsewhere = config.tracking.name == "none" or config.tracking.uri is not None
        return None if elsewhere else folder / "mlflow.db"
    if setting == "cache" and os.path.isdir(folder):  # it serves as it is, see `Memo`
        return None
    return folder


def _is_open(path: Path) -> bool:
    """Whether a file or folder may be written to, or made, for all that rights say."""
    found = next(each for each in (path, *path.parents) if os.path.exists(each))
    return os.access(found, os.W_OK) or (found != path and not found.is_dir())
