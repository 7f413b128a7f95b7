"""A sweep's parent run: opened before the first job, closed after the last with a report of all.

Jobs may run in other processes, so they learn of the parent, and tell of their results, through
files in the sweep's folder. Imports nothing heavy: Hydra loads this file for `--help` too.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from app.commandline import report
from app.config import Tracking
from app.errors import InputError

log = logging.getLogger(__name__)

PARENT = "sweep.json"
RESULT = "result.json"
PLAN = "plan.json"
DRAWN = 16  # jobs, at most, whose single figures `figures=null` draws


def parent_of(folder: Path, settings: Tracking) -> str | None:
    """The MLflow run of the sweep in `folder`, opened by the first job that asks.

    None where tracking is off.
    """
    from filelock import FileLock

    from app.record import tracking

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / PARENT
    with FileLock(folder / f"{PARENT}.lock"):
        if not path.is_file():
            command = plan_of(folder).command
            run_id = tracking.open_run(
                settings,
                name=title_of(command),
                params={},
                tags={"sweep": "true"},
                description="All jobs of: " + " ".join(command),
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
    """Leave a job's result where the sweep's end finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).write_text(json.dumps(result, indent=2))


def record_failure(folder: Path, settings: Tracking, job: str, result: Mapping[str, Any]) -> None:
    """Leave a job that failed as a FAILED run under the parent of the sweep in `folder`."""
    from app.record import tracking

    try:
        parent = parent_of(folder, settings)
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


@dataclass(frozen=True)
class Plan:
    """What a sweep's jobs know of each other."""

    layers: tuple[str, ...] = ()  # that the sweep asks for; none where it asks for the default one
    jobs: int = 1
    command: tuple[str, ...] = ()  # its words, which a job in another process does not have


def plan_of(folder: Path) -> Plan:
    """The plan of the sweep in `folder`, made before its first job."""
    path = folder / PLAN
    if not path.is_file():
        return Plan()
    plan = json.loads(path.read_text())
    return Plan(tuple(plan["layers"]), plan["jobs"], tuple(plan["command"]))


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
        begun = [config for config in _open if (Path(config.hydra.sweep.dir) / PARENT).is_file()]
        for config in begun:
            # joblib's workers end with the launcher; what SLURM has in its queue goes on.
            if "submitit" not in config.hydra.launcher._target_:
                _end_jobs(config)
            if isinstance(error, Exception):
                report(error, debug=config.debug)
                SweepCallback().on_multirun_end(config, lost=1)
            else:
                folder = Path(config.hydra.sweep.dir)
                close(folder, config.tracking, "KILLED", *_counts(read_results(folder)))
        raise


def _end_jobs(config: DictConfig) -> None:
    """End the runs of jobs whose processes were ended before they could."""
    from app.record import tracking

    parent = _parent_id(Path(config.hydra.sweep.dir))
    if parent is not None:
        tracking.end_children(config.tracking, parent, "its process was ended")


def _counts(results: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """How many jobs finished and how many failed."""
    failed = sum(result["status"] == "failed" for result in results)
    return len(results) - failed, failed


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
        try:
            check_launcher(config.hydra.launcher._target_)
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
        plan = planned([*overrides, *config.hydra.overrides.task], loader, sys.argv[1:])
        folder = Path(config.hydra.sweep.dir)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / PLAN).write_text(json.dumps(dataclasses.asdict(plan)))

    def on_multirun_end(self, config: DictConfig, lost: int = 0, **_: Any) -> None:
        from app.record import tables, tracking

        _open.clear()
        folder = Path(config.hydra.sweep.dir)
        results = read_results(folder)
        finished, failed = _counts(results)
        failed += lost
        if results:
            tables.show(tables.sweep_table(results))
        status = "FAILED" if failed else "FINISHED"
        report_folder: Path | None = None
        try:  # Hydra would make a warning of an error here, and the exit code 0
            try:
                if results:
                    report_folder = write_report(folder, config.tracking, results)
            finally:
                close(folder, config.tracking, status, finished, failed, report_folder)
        except Exception as error:
            report(error, debug=config.debug)
            failed += 1
        print(f"Results: {folder}")
        print(tracking.how_to_compare(config.tracking))
        if failed:
            raise SystemExit(1)


def write_report(folder: Path, settings: Tracking, results: Sequence[Mapping[str, Any]]) -> Path:
    """The report of the sweep in `folder`, told from the store, or without one from the results."""
    from app.record import report as reports
    from app.record import runs, tables

    parent = _parent_id(folder)
    if parent is None:
        title, rows = title_of(plan_of(folder).command), runs.of_results(results)
    else:
        title, rows = runs.of_store(settings, parent)
    made = reports.of_runs(runs.table(rows), title)
    tables.show(made.summary)
    return reports.save(made, folder / "report")
