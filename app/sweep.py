"""A sweep's parent run: opened before the first job, closed after the last with a report of all.

Jobs may run in other processes, so they learn of the parent, and tell of their results, through
files in the sweep's folder. Imports nothing heavy: Hydra loads this file for `--help` too.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from app.config import Tracking
from app.errors import InputError

log = logging.getLogger(__name__)

PARENT = "sweep.json"
RESULT = "result.json"
LAYERS_FILE = "layers.json"
KEPT_CONFIGS = 1000  # of a sweep's jobs, at most: a third of a megabyte each


def parent_of(folder: Path, settings: Tracking, overrides: Sequence[str]) -> str | None:
    """The MLflow run of the sweep in `folder`, opened by the first job that asks.

    None where tracking is off.
    """
    from filelock import FileLock

    from app.record import tracking

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PARENT
    with FileLock(folder / f"{PARENT}.lock"):
        if not path.is_file():
            run_id = tracking.open_run(
                settings,
                name=title_of(overrides),
                params={},
                tags={"sweep": "true"},
                description="All jobs of: " + " ".join(overrides),
            )
            path.write_text(json.dumps({"run_id": run_id}))
    return _parent_id(folder)


def title_of(overrides: Sequence[str]) -> str:
    """What a sweep is called, after the words of its command line."""
    return " ".join(("sweep", *overrides))


def _parent_id(folder: Path) -> str | None:
    path = folder / PARENT
    return json.loads(path.read_text())["run_id"] if path.is_file() else None


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Leave a job's result where the sweep's end finds it, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{RESULT}.partial"
    try:
        partial.write_text(json.dumps(result, indent=2))
        partial.replace(folder / RESULT)
    finally:
        partial.unlink(missing_ok=True)


def record_failure(
    folder: Path, settings: Tracking, overrides: Sequence[str], job: str, result: Mapping[str, Any]
) -> None:
    """Leave a job that failed as a FAILED run under the parent of the sweep in `folder`."""
    from app.record import tracking

    try:
        parent = parent_of(folder, settings, overrides)
        if parent is not None:
            tracking.record_failure(
                settings, parent, job, result["name"], result["params"], result["reason"]
            )
    except InputError as error:  # the job's own error, told already, is the one that counts
        log.info("the failure was not recorded: %s", error)


def read_results(folder: Path) -> list[dict[str, Any]]:
    """The results of all jobs below the sweep's folder, in the order of their numbers."""
    paths = sorted(folder.glob(f"*/{RESULT}"), key=lambda path: (len(path.parent.name), path))
    return [json.loads(path.read_text()) for path in paths]


def close(
    folder: Path,
    settings: Tracking,
    status: str,
    finished: int,
    failed: int,
    artifacts: Path | None = None,
) -> None:
    """End the parent run; `artifacts` is the folder of the sweep's report."""
    from app.record import tracking

    tracking.finish(
        settings,
        _parent_id(folder),
        status=status,
        metrics={"jobs/finished": float(finished), "jobs/failed": float(failed)},
        artifacts=artifacts,
    )


def layers_of(folder: Path) -> tuple[str, ...]:
    """The layers that the sweep in `folder` asks for; none where it asks for the default one."""
    path = folder / LAYERS_FILE
    return tuple(json.loads(path.read_text())) if path.is_file() else ()


def words(hydra: Any) -> list[str]:
    """The command line's overrides of the program's config, references in them as they stand."""
    found: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    return found


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
        compose_once()
        # Hydra's own words for a sweep: the command line's, and those of its `params`.
        params = config.hydra.sweeper.get("params") or {}
        overrides = [f"{name}={value}" for name, value in params.items()]
        layers = swept_layers([*overrides, *words(config.hydra)])
        if layers:
            folder = Path(config.hydra.sweep.dir)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / LAYERS_FILE).write_text(json.dumps(sorted(set(layers))))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        from app import commandline
        from app.record import tables, tracking

        folder = Path(config.hydra.sweep.dir)
        results = read_results(folder)
        failed = sum(result["status"] == "failed" for result in results)
        tables.show(tables.sweep_table(results))
        ended = "FAILED" if failed else "FINISHED"
        counts = {"finished": len(results) - failed, "failed": failed}
        report_folder: Path | None = None
        try:  # Hydra would make a warning of an error here, and the exit code 0
            try:
                report_folder = write_report(folder, config.tracking, results)
            finally:
                close(folder, config.tracking, ended, **counts, artifacts=report_folder)
        except Exception as error:
            commandline.report(error, debug=config.debug)
            failed += 1
        print(f"Results: {folder}")
        print(tracking.how_to_compare(config.tracking))
        if failed:
            raise SystemExit(1)


def write_report(folder: Path, settings: Tracking, results: Sequence[Mapping[str, Any]]) -> Path:
    """The report of the sweep in `folder`, told from the store, or without one from the results."""
    from app.record import report, runs, tables

    parent = _parent_id(folder)
    if parent is None:
        title, rows = title_of(sys.argv[1:]), runs.of_results(results)
    else:
        title, rows = runs.of_store(settings, parent)
    made = report.of_runs(runs.table(rows), title)
    tables.show(made.summary)
    return report.save(made, folder / "report")
