"""What happens around a sweep's jobs: Hydra calls it before the first and after the last.

Imports nothing heavy: Hydra loads this file for `--help` too.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from app.errors import InputError
from app.launch.commandline import UNDELIVERED, report, tell_undelivered
from app.sweeps.parent import (
    PLAN,
    Plan,
    close,
    counts,
    parent_id,
    plan_of,
    read_results,
    write_report,
)
from app.tracking import store as tracking

log = logging.getLogger(__name__)


def words(hydra: Any) -> list[str]:
    """The command line's overrides of the program's config, references in them as they stand."""
    found: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    return found


def planned(
    overrides: Sequence[str],
    config_loader: ConfigLoader | None = None,
    command: Sequence[str] = (),
) -> Plan:
    """The plan of a sweep with these overrides: `layer=conv2,conv13`, `layer.name=fc6,fc7`.

    As in Hydra, what comes later in the list stands for what came before under the same name.
    `config_loader` finds what `metric=glob(*)` stands for.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create(config_loader).parse_overrides(list(overrides))
    last = {override.key_or_group: override for override in parsed}
    swept = {
        name: list(override.sweep_string_iterator())
        for name, override in last.items()
        if override.is_discrete_sweep()
    }
    layers = {
        layer.partition("=")[2] if "=" in layer else layer
        for name in ("layer", "layer.name")
        for layer in swept.get(name, [])
    }
    return Plan(tuple(sorted(layers)), math.prod(map(len, swept.values())), tuple(command))


_open: list[DictConfig] = []  # the sweep that this process began and has not ended


@contextmanager
def ended() -> Iterator[None]:
    """End a sweep that Hydra leaves open: interrupted, or its launcher lost a job's process.

    The jobs that are done are reported; the parent run ends as KILLED or FAILED.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        for config in list(_open):
            folder = Path(config.hydra.sweep.dir)
            if parent_id(folder) is None:
                continue
            if isinstance(error, Exception):
                report(error, debug=config.debug)
                SweepCallback().on_multirun_end(config, lost=1)
            else:
                # joblib's workers end with the launcher; what SLURM has in its queue goes on.
                queued = "submitit" in config.hydra.launcher._target_
                close(folder, "KILLED", *counts(read_results(folder)), over=not queued)
        raise


def check_launcher(target: str) -> None:
    """InputError where the package of a launcher, by its class, is not installed."""
    package = ".".join(target.split(".")[:2])
    try:
        found = find_spec(package) is not None
    except ModuleNotFoundError:
        found = False
    if not found:
        extra = " (pip install 'selective-units[slurm]')" if "submitit" in target else ""
        raise InputError(f"the launcher needs {package}, which is not installed{extra}")


class SweepCallback(Callback):
    """Hydra calls it before the first job of a multirun and when all are done."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        from app.tracking import delivery

        folder = Path(config.hydra.sweep.dir)
        try:
            check_launcher(config.hydra.launcher._target_)
            tracking.store_uri(config.tracking)  # an address that is none
            if config.tracking.name != "none":
                delivery.hold(folder)  # until this process ends, however it does
        except InputError as error:  # Hydra would make a warning of it
            report(error, debug=config.debug)
            raise SystemExit(1) from error
        _open.append(config)
        # joblib starts a worker anew whose memory has grown, as loading torch makes it grow.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        # Hydra's own words for a sweep: the command line's, and those of its `params`.
        params = config.hydra.sweeper.get("params") or {}
        overrides = [f"{name}={value}" for name, value in params.items()]
        loader = GlobalHydra.instance().config_loader()
        plan = planned([*overrides, *words(config.hydra)], loader, sys.argv[1:])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PLAN).write_text(json.dumps(dataclasses.asdict(plan)))

    def on_multirun_end(self, config: DictConfig, lost: int = 0, **_: Any) -> None:
        from app.sweeps import tables

        _open.clear()
        folder = Path(config.hydra.sweep.dir)
        results = read_results(folder)
        finished, failed = counts(results)
        failed += max(lost, plan_of(folder).jobs - len(results))  # that left no result
        if results:
            tables.show(tables.sweep_table(results))
        status = "FAILED" if failed else "FINISHED"
        report_folder: Path | None = None
        behind: str | None = None
        try:  # Hydra would make a warning of an error here, and the exit code 0
            try:
                if results:
                    report_folder = write_report(folder, config.tracking, results)
            finally:
                behind = close(folder, status, finished, failed, report_folder)
        except Exception as error:
            report(error, debug=config.debug)
            failed += 1
        print(f"Results: {folder}")
        if behind is not None:
            tell_undelivered(behind, folder)
        else:
            with suppress(InputError):  # of the store: told by the jobs already
                print(tracking.how_to_compare(config.tracking))
        if failed or behind is not None:
            raise SystemExit(1 if failed else UNDELIVERED)
