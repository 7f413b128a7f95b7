"""`python -m app.cache`: what the cache holds by step; with `prune=true` less of it.

An entry that a job is computing or writing is locked and stays; whoever reads one that goes reads
on. What is gone is computed again when it is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from app.config import limits
from app.config.training import NotNegative
from app.errors import InputError
from app.launch.commandline import run_hydra, told
from app.memo.store import Entry, choose_to_prune, list_entries, remove


@dataclass
class Settings:
    """What conf/cache.yaml holds."""

    cache: str = MISSING
    prune: bool = False
    keep_gb: NotNegative | None = None
    older_than: NotNegative | None = None
    dry_run: bool = False
    debug: bool = False


ConfigStore.instance().store(name="cache_schema", node=Settings)


def job(config: DictConfig) -> None:
    """Prune the cache where the settings ask for it, and print what there is then, a row a step."""
    with told(debug=config.debug):
        settings: Any = OmegaConf.to_object(config)
        check(settings)
        folder = Path(settings.cache).expanduser()
        if not folder.is_dir():
            raise InputError(
                f"cache={folder} is no folder: give the one that jobs store results in"
            )
        if settings.prune:
            prune(settings, folder)
        show(folder, list_entries(folder))


def check(settings: Settings) -> None:
    """Refuse bounds that are none; InputError with one line."""
    limits.check(settings)
    asked = settings.dry_run or settings.keep_gb is not None or settings.older_than is not None
    if asked and not settings.prune:
        raise InputError("keep_gb, older_than and dry_run are of prune=true: add prune=true")


def prune(settings: Settings, folder: Path) -> None:
    """Delete what the settings say and what killed processes left, and say how much that was."""
    keep = None if settings.keep_gb is None else settings.keep_gb * 1e9
    old = None if settings.older_than is None else settings.older_than * 86400  # seconds
    chosen = choose_to_prune(list_entries(folder), time.time(), keep, old)
    left = list_entries(folder, unfinished=True)
    if settings.dry_run:
        print(f"Would delete {_amount(chosen)} and {len(left)} unfinished files.")
        return
    gone = [entry for entry in chosen if remove(entry)]
    ended = [entry for entry in left if remove(entry)]
    print(f"Deleted {_amount(gone)} and {len(ended)} unfinished files.")
    if kept := len(chosen) + len(left) - len(gone) - len(ended):
        print(f"{kept} are in use by running jobs and stay.")


def show(folder: Path, found: Sequence[Entry]) -> None:
    """Print the table of steps: entries, size, when the newest and the oldest were last used."""
    import pandas as pd

    from app.sweeps.tables import lay_out

    rows = []
    for step in sorted({entry.step for entry in found}):
        own = [entry for entry in found if entry.step == step]
        days = [datetime.fromtimestamp(entry.used).strftime("%Y-%m-%d") for entry in own]
        size = sum(entry.size for entry in own) / 1e6
        rows.append((step, str(len(own)), f"{size:.1f}", days[-1], days[0]))
    heads = ["step", "entries", "MB", "last used", "least recently used"]
    if rows:
        print(lay_out(pd.DataFrame(rows, columns=heads), ["step"]))
    print(f"Cache: {folder}, {_amount(found)}")


def _amount(found: Sequence[Entry]) -> str:
    return f"{len(found)} entries of {sum(entry.size for entry in found) / 1e6:.1f} MB"


def main() -> None:
    """Run the command line."""
    run_hydra(job, "cache", writes=())


if __name__ == "__main__":
    main()
