"""A sweep's parent run: opened before the first job, closed after the last with a report of all.

Jobs may run in other processes, so they learn of the parent, and tell of their results, through
files in the sweep's folder; the process that launches them holds the folder's lock. Imports nothing
heavy: Hydra loads this file for `--help` too.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from app.commandline import UNDELIVERED, report, tell_undelivered
from app.config import Tracking
from app.errors import InputError
from app.record import tracking
from app.record.delivery import RESULT

log = logging.getLogger(__name__)

PLAN = "plan.json"
DRAWN = 16  # jobs, at most, whose single figures `figures=null` draws


def parent_of(folder: Path, settings: Tracking) -> str | None:
    """The MLflow run of the sweep in `folder`, opened by the first job that asks.

    None where tracking is off.
    """
    from filelock import FileLock

    from app.record import delivery

    folder.mkdir(parents=True, exist_ok=True)
    command = plan_of(folder).command
    with FileLock(folder / ".sweep.lock"):
        return delivery.opened(
            settings,
            folder,
            name=title_of(command),
            tags={"sweep": "true"},
            description="All jobs of: " + " ".join(command),
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
    folder: Path, sweep_folder: Path, settings: Tracking, job: str, result: Mapping[str, Any]
) -> None:
    """Leave a job that failed, in `folder`, as a FAILED run under the sweep's parent."""
    from app.record import delivery

    try:
        parent = parent_of(sweep_folder, settings)
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
    folder: Path,
    status: str,
    finished: int,
    failed: int,
    artifacts: Path | None = None,
    *,
    over: bool = True,
) -> str | None:
    """End the sweep, whose jobs are `over`, on whichever machines they ran.

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
        if over:
            delivery.settle_sweep(folder, ended=True)
        else:
            delivery.settle(folder)
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


def words(hydra: Any) -> list[str]:
    """The command line's overrides of the program's config, references in them as they stand."""
    found: Any = OmegaConf.to_container(hydra.overrides.task, resolve=False)
    return found


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
        for config in list(_open):
            folder = Path(config.hydra.sweep.dir)
            if _parent_id(folder) is None:
                continue
            if isinstance(error, Exception):
                report(error, debug=config.debug)
                SweepCallback().on_multirun_end(config, lost=1)
            else:
                # joblib's workers end with the launcher; what SLURM has in its queue goes on.
                queued = "submitit" in config.hydra.launcher._target_
                close(folder, "KILLED", *_counts(read_results(folder)), over=not queued)
        raise


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
        from app.record import delivery

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
        from app.record import tables

        _open.clear()
        folder = Path(config.hydra.sweep.dir)
        results = read_results(folder)
        finished, failed = _counts(results)
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


def write_report(folder: Path, settings: Tracking, results: Sequence[Mapping[str, Any]]) -> Path:
    """The report of the sweep in `folder`, told from the store; without one, or one that went away,
    from the results: the same but for the ids of runs that the store does not have."""
    from app.record import report as reports
    from app.record import runs, tables

    title, rows = title_of(plan_of(folder).command), runs.of_results(results)
    parent = _parent_id(folder)
    if parent is not None and deliver_jobs(folder, settings):
        try:
            title, rows = runs.of_store(settings, parent)
        except InputError as error:
            log.info("the report is made from what the jobs left: %s", error)
    made = reports.of_runs(runs.table(rows), title)
    tables.show(made.summary)
    return reports.save(made, folder / "report")
