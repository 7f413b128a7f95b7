"""A sweep's parent run: opened before the first job, closed after the last with a report of all.

Jobs may run in other processes, so they learn of the parent, and tell of their results, through
files in the sweep's folder; the process that launches them holds the folder's lock.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from app import names
from app.config.schema import Tracking
from app.errors import InputError
from app.spelling import shorten
from app.sweeps.manifest import MANIFEST, PLAN
from app.sweeps.results import (
    Result,
    find_differing,
    find_results,
    list_params,
    read_results,
    read_sweep,
)
from app.tracking import record, run
from app.tracking.record import Description
from app.tracking.store import Store, connect
from app.tracking.view import View

log = logging.getLogger(__name__)

DRAWN = 16  # jobs, at most, whose single figures `figures=null` draws


@dataclass(frozen=True)
class Plan:
    """What a sweep's jobs know of each other."""

    swept: Mapping[str, Sequence[str]] = field(default_factory=dict)  # the values of each name
    command: Sequence[str] = ()  # its words, which a job in another process does not have
    trials: int | None = None  # jobs of a search, which chooses each when the others are done

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that the sweep asks for; none where it asks for the default one."""
        asked = ("layer", "layer.name", "layer.depth")
        names = {each for name in asked for each in self.swept.get(name, ())}
        return tuple(sorted(names))

    @property
    def jobs(self) -> int:
        """How many jobs the sweep has."""
        return self.trials or math.prod(map(len, self.swept.values()))

    def find_own(self, overrides: Sequence[str]) -> dict[str, str]:
        """Find what a job was given of what the sweep varies, long values cut to what differs."""
        pairs = (word.lstrip("+~").partition("=") for word in overrides)
        given = {name: value.strip("\"'") for name, _, value in pairs if name in self.swept}
        every = {name: [text.strip("\"'") for text in self.swept[name]] for name in given}
        return {name: shorten([*every[name], value])[value] for name, value in given.items()}

    @property
    def title(self) -> str:
        """What the sweep is called, after the words of its command, as far as names may go."""
        return record.cut(" ".join(("sweep", *self.command)), record.NAME_LENGTH)


def write_plan(folder: Path, plan: Plan) -> None:
    """Leave the plan of a sweep in its folder, before its first job.

    What jobs of an earlier one told it there goes: it is nothing that this one's found.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / PLAN).is_file():
        for path in (*find_results(folder), folder / MANIFEST):
            path.unlink(missing_ok=True)
    (folder / PLAN).write_text(json.dumps(dataclasses.asdict(plan)), encoding="utf-8")


def read_plan(folder: Path) -> Plan:
    """Read the plan of the sweep in `folder`; without one it is one job."""
    path = folder / PLAN
    if not path.is_file():
        return Plan()
    return Plan(**json.loads(path.read_text(encoding="utf-8")))


def open_parent(folder: Path, store: Store) -> str | None:
    """Open the MLflow run of the sweep in `folder`, the first job that asks; its id, if tracked."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = read_plan(folder)
    sentence = "All jobs of: " + " ".join(plan.command)
    params = {name: ",".join(values) for name, values in plan.swept.items()}
    description = Description(plan.title, params, {"sweep": "true"}, sentence)
    with FileLock(folder / ".sweep.lock"):
        return run.open_run(store, folder, description)


def is_open(folder: Path) -> bool:
    """Whether the sweep's run was opened and has not ended: an earlier one's, there, has."""
    found = record.read(folder)
    return found is not None and found.status == record.RUNNING


def find_parent(folder: Path) -> str | None:
    """Find the id of the sweep's run where it was opened."""
    found = record.read(folder)
    return None if found is None else found.run_id


def record_failure(folder: Path, settings: Tracking, result: Result) -> None:
    """Leave a job of the sweep in `folder` that failed as a FAILED run under its parent."""
    try:
        store = connect(settings)
        parent = open_parent(folder, store)
        if parent is not None:
            tags = {"job": str(result.job)}
            description = Description(result.name, result.params, tags, parent=parent)
            run.record_failure(store, Path(result.folder), description, result.reason)
    except InputError as error:  # the job's own error, told already, is the one that counts
        log.info("the failure was not recorded: %s", error)


def close(
    folder: Path,
    status: str,
    jobs: tuple[int, int],
    presence: ExitStack | None,
    *,
    over: bool = True,
) -> str | None:
    """End the sweep: deliver what its jobs could not, then the parent run.

    `status` is FINISHED, FAILED or KILLED; `jobs` are how many finished and how many failed; this
    process leaves its `presence` in the folder; `over` is whether no job runs any more, on any
    machine. Returns why something cannot be delivered now.
    """
    finished, failed = jobs
    counts = {names.JOBS_FINISHED: finished, names.JOBS_FAILED: failed}
    run.end_run(folder, status, counts)
    if presence is not None:
        presence.close()
    settled = run.settle(run.find_runs(folder) if over else [folder], ended=over)
    return next((reason for _, reason in settled if reason), None)


def save_view(folder: Path, store: Store, results: Sequence[Result]) -> tuple[str | None, str]:
    """Keep the view of the sweep in `folder`: the id of its run, and what opens the view."""
    from app.findings.selection import RULES
    from app.sweeps.report import MAIN

    parent = find_parent(folder)
    if parent is None:
        return None, ""
    logged = {name for each in results for name in each.metrics}
    asked = list_params(results)
    # Of longer ones, such as paths, the pages show how they begin: runs' names say what differs.
    params = [name for name in find_differing(asked) if asked[name].str.len().max() <= 30]
    curves = {}
    for each in results:
        metric, rule = (each.params.get(key) for key in ("metric", "metric.criterion.rule"))
        if not each.failed and rule in RULES:
            against = names.CRITERION_OF[RULES[rule].scale].format(metric=metric)
            curves[against] = names.PERCENT_CURVE
    found = [name for name in (*MAIN, names.DEPTH) if name in logged and name != names.UNDEFINED]
    title = read_plan(folder).title
    view = View(title, parent, params, found, names.DEPTH, curves, [names.CRITERION_CURVE])
    return parent, store.save_view(view)


def write_report(folder: Path, store: Store, results: Sequence[Result]) -> None:
    """Write the report of the sweep in `folder`, told from the store.

    Without one, or one that went away, from the results: the same but for the ids of runs that the
    store does not have.
    """
    from app.sweeps import report, tables

    plan, parent = read_plan(folder), find_parent(folder)
    title = plan.title
    if parent is not None:
        try:
            jobs = [each for each in run.find_runs(folder) if each != folder]
            for _, reason in run.settle(jobs, ended=True, patience=store.settings.patience_s):
                if reason:
                    raise InputError(reason)
            title, results = read_sweep(store, parent)
        except InputError as error:
            log.info("the report is made from what the jobs left: %s", error)
    made = report.make_report(results, title, plan.jobs)
    print(tables.wrap(made.summary))
    files = report.write_report(made, folder / "report")
    if parent is not None:
        run.describe_run(folder, report.describe(made, parent), folder / "report", files)


def settle(runs: Sequence[Path], *, ended: bool = False) -> Iterator[tuple[str, str]]:
    """Settle runs, see `app.tracking.run.settle`; sweeps among them get their view."""
    for folder, (outcome, reason) in zip(runs, run.settle(runs, ended=ended), strict=True):
        if outcome == "delivered" and (folder / PLAN).is_file():
            with suppress(InputError):  # of a store that went away: told of the next run
                if (left := record.read(folder)) is not None:
                    save_view(folder, connect(left.settings), read_results(folder))
        yield outcome, reason


def settle_dead(store: Store) -> None:
    """Deliver, or mark as KILLED, the store's running runs whose processes are gone.

    Known from the lock in the run's folder; what has none that can be seen from here is left.
    """
    for found in store.unfinished() if not store.off else ():
        folder = Path(found.data.tags["folder"])
        try:
            left = record.read(folder)
        except InputError as error:
            log.info("the run in %s stays as it is: %s", folder, error)
            continue
        if left is not None and left.key == found.data.tags["record"]:
            for _, reason in settle(run.find_runs(folder)):
                if reason:
                    log.info("a run in %s stays as it is: %s", folder, reason)
