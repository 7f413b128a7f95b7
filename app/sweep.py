"""A sweep's parent run: opened before the first job, closed after the last with a report of all.

Jobs may run in other processes, so they learn of the parent, and tell of their results, through
files in the sweep's folder; the process that launches them holds the folder's lock. Imports nothing
heavy: Hydra loads this file for `--help` too.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from app.config import Tracking
from app.errors import InputError
from app.record import tracking
from app.record.delivery import RESULT

log = logging.getLogger(__name__)

LAYERS_FILE = "layers.json"
KEPT_CONFIGS = 1000  # of a sweep's jobs, at most: a third of a megabyte each


def parent_of(folder: Path, settings: Tracking, overrides: Sequence[str]) -> str | None:
    """The MLflow run of the sweep in `folder`, opened by the first job that asks.

    None where tracking is off.
    """
    from filelock import FileLock

    from app.record import delivery

    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".sweep.lock"):
        return delivery.opened(
            settings,
            folder,
            name=title_of(overrides),
            tags={"sweep": "true"},
            description="All jobs of: " + " ".join(overrides),
        )


def title_of(overrides: Sequence[str]) -> str:
    """What a sweep is called, after the words of its command line, as far as names may go."""
    return tracking.cut(" ".join(("sweep", *overrides)), tracking.NAME_LENGTH)


def _parent_id(folder: Path) -> str | None:
    from app.record import delivery

    record = delivery.read(folder)
    return None if record is None else record.run_id


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Leave a job's result where the sweep's end finds it."""
    from app.record import delivery

    folder.mkdir(parents=True, exist_ok=True)
    delivery.write_whole(folder / RESULT, json.dumps(result, indent=2))


def record_failure(
    folder: Path,
    sweep_folder: Path,
    settings: Tracking,
    overrides: Sequence[str],
    job: str,
    result: Mapping[str, Any],
) -> None:
    """Leave a job that failed, in `folder`, as a FAILED run under the sweep's parent."""
    from app.record import delivery

    try:
        parent = parent_of(sweep_folder, settings, overrides)
        if parent is not None:
            delivery.record_failure(
                settings,
                folder,
                name=result["name"],
                params=result["params"],
                tags={"job": job},
                parent=parent,
                reason=result["reason"],
            )
    except InputError as error:  # the job's own error, told already, is the one that counts
        log.info("the failure was not recorded: %s", error)


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The results of all jobs below the sweep's folder, in the order of their numbers."""
    paths = sorted(folder.glob(f"*/{RESULT}"), key=lambda path: (len(path.parent.name), path))
    return [json.loads(path.read_text()) for path in paths if path.stat().st_size]


def close(
    folder: Path, status: str, finished: int, failed: int, artifacts: Path | None = None
) -> str | None:
    """End the sweep: its jobs are over, on whichever machines they ran.

    Delivers what they could not, then the parent run; `artifacts` is the folder of the sweep's
    report. Returns why something cannot be delivered now, or None.
    """
    from app.record import delivery

    delivery.end(
        folder,
        status=status,
        metrics={"jobs/finished": float(finished), "jobs/failed": float(failed)},
        artifacts=artifacts,
    )
    delivery.release(folder)
    try:
        delivery.settle_sweep(folder, ended=True)
    except InputError as error:
        return str(error)
    return None


def deliver_jobs(folder: Path, settings: Tracking) -> bool:
    """Deliver what the sweep's jobs could not; whether the store has all of them now."""
    from app.record import delivery

    try:
        delivery.settle_jobs(folder, ended=True, patience=settings.patience_s)
    except InputError:
        return False
    return True


def layers_of(folder: Path) -> tuple[str, ...]:
    """The layers that the sweep in `folder` asks for; none where it asks for the default one."""
    path = folder / LAYERS_FILE
    return tuple(json.loads(path.read_text())) if path.is_file() else ()


def swept_layers(overrides: Sequence[str]) -> list[str]:
    """The layers that a sweep's overrides name: `layer=conv2,conv13`, `layer.name=fc6,fc7`.

    As in Hydra, what comes later in the list stands for what came before under the same name.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_overrides(list(overrides))
    last = {override.key_or_group: override for override in parsed}
    return [
        layer.partition("=")[2] if "=" in layer else layer
        for name in ("layer", "layer.name")
        if name in last and last[name].is_choice_sweep()
        for layer in last[name].sweep_string_iterator()
    ]


def compose_once() -> None:
    """Let the launcher use the configs that the sweeper composed to see whether they are legal.

    Hydra composes each job's config twice, a third of a second each time: most of what a job
    costs whose work is stored. A config is handed out once, since the launcher changes it.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    compose = ConfigLoaderImpl.load_sweep_config
    composed: dict[tuple[str, ...], DictConfig] = {}

    def load_sweep_config(
        self: ConfigLoaderImpl, master_config: DictConfig, sweep_overrides: list[str]
    ) -> DictConfig:
        key = tuple(sweep_overrides)
        if key in composed:
            return composed.pop(key)
        config = compose(self, master_config, sweep_overrides)
        if len(composed) < KEPT_CONFIGS:
            composed[key] = config
        return config

    ConfigLoaderImpl.load_sweep_config = load_sweep_config  # type: ignore[method-assign]


class SweepCallback(Callback):
    """Hydra calls it before the first job of a multirun and when all are done."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        from app import commandline
        from app.record import delivery

        compose_once()
        folder = Path(config.hydra.sweep.dir)
        if config.tracking.name != "none":
            try:
                delivery.hold(folder)  # until this process ends, however it does
            except InputError as error:
                commandline.report(error, debug=config.debug)
                raise SystemExit(1) from None
        # Hydra's own words for a sweep: the command line's, and those of its `params`.
        params = config.hydra.sweeper.get("params") or {}
        overrides = [f"{name}={value}" for name, value in params.items()]
        layers = swept_layers([*overrides, *config.hydra.overrides.task])
        if layers:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / LAYERS_FILE).write_text(json.dumps(sorted(set(layers))))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        from app import commandline
        from app.record import tables

        folder = Path(config.hydra.sweep.dir)
        results = read_results(folder)
        failed = sum(result["status"] == "failed" for result in results)
        tables.show(tables.sweep_table(results))
        ended = "FAILED" if failed else "FINISHED"
        counts = {"finished": len(results) - failed, "failed": failed}
        report_folder: Path | None = None
        behind: str | None = None
        try:  # Hydra would make a warning of an error here, and the exit code 0
            try:
                report_folder = write_report(folder, config.tracking, results)
            finally:
                behind = close(folder, ended, **counts, artifacts=report_folder)
        except Exception as error:
            commandline.report(error, debug=config.debug)
            failed += 1
        print(f"Results: {folder}")
        if behind is not None:
            commandline.tell_undelivered(behind, folder)
        else:
            print(tracking.how_to_compare(config.tracking))
        if failed or behind is not None:
            raise SystemExit(1 if failed else commandline.UNDELIVERED)


def write_report(folder: Path, settings: Tracking, results: Sequence[Mapping[str, Any]]) -> Path:
    """The report of the sweep in `folder`, told from the store; without one, or one that went away,
    from the results: the same but for the ids of runs that the store does not have."""
    from app.record import report, runs, tables

    title, rows = title_of(sys.argv[1:]), runs.of_results(results)
    parent = _parent_id(folder)
    if parent is not None and deliver_jobs(folder, settings):
        try:
            title, rows = runs.of_store(settings, parent)
        except InputError as error:
            log.info("the report is made from what the jobs left: %s", error)
    made = report.of_runs(runs.table(rows), title)
    tables.show(made.summary)
    return report.save(made, folder / "report")
