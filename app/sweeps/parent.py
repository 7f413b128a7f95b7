"""A sweep's parent run: opened before the first job, closed after the last with a report of all.

Jobs may run in other processes, so they learn of the parent, and tell of their results, through
files in the sweep's folder; the process that launches them holds the folder's lock.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.config.schema import Tracking
from app.errors import InputError
from app.tracking import store as tracking
from app.tracking.delivery import RESULT

log = logging.getLogger(__name__)

PLAN = "plan.json"
DRAWN = 16  # jobs, at most, whose single figures `figures=null` draws


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


def parent_of(folder: Path, settings: Tracking) -> str | None:
    """The MLflow run of the sweep in `folder`, opened by the first job that asks.

    None where tracking is off.
    """
    from filelock import FileLock

    from app.tracking import delivery

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


def parent_id(folder: Path) -> str | None:
    from app.tracking import delivery

    record = delivery.read(folder)
    return None if record is None else record.run_id


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Leave a job's result where the sweep's end finds it."""
    from app.tracking import delivery

    folder.mkdir(parents=True, exist_ok=True)
    delivery.write_whole(folder / RESULT, json.dumps(result, indent=2))


def record_failure(
    folder: Path, sweep_folder: Path, settings: Tracking, job: str, result: Mapping[str, Any]
) -> None:
    """Leave a job that failed, in `folder`, as a FAILED run under the sweep's parent."""
    from app.tracking import delivery

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


def counts(results: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """How many jobs finished and how many failed."""
    failed = sum(result["status"] == "failed" for result in results)
    return len(results) - failed, failed


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
    from app.tracking import delivery

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
    from app.tracking import delivery

    try:
        delivery.settle_jobs(folder, ended=True, patience=settings.patience_s)
    except InputError:
        return False
    return True


def write_report(folder: Path, settings: Tracking, results: Sequence[Mapping[str, Any]]) -> Path:
    """The report of the sweep in `folder`, told from the store; without one, or one that went away,
    from the results: the same but for the ids of runs that the store does not have."""
    from app.sweeps import report as reports
    from app.sweeps import runs, tables

    title, rows = title_of(plan_of(folder).command), runs.of_results(results)
    parent = parent_id(folder)
    if parent is not None and deliver_jobs(folder, settings):
        try:
            title, rows = runs.of_store(settings, parent)
        except InputError as error:
            log.info("the report is made from what the jobs left: %s", error)
    made = reports.of_runs(runs.table(rows), title)
    tables.show(made.summary)
    return reports.save(made, folder / "report")
