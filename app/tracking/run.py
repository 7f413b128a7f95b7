"""A run's life: begun, ended, delivered to the store, and settled by others where its process died.

What a run says goes into its record, and from there to the store. Delivery is a function of the
folder. What was delivered in part is completed: the store keeps a point or an input that it is told
twice once, and a run whose creation was never answered is found by its tag `record`.

A process holds a lock in the folder of what it runs. The system releases it when the process dies,
however it dies: that is how the next start tells the dead from the living.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from app.errors import InputError
from app.files import PARTIAL
from app.tracking.record import NOTE, RECORD, RUNNING, Description, Record, list_points, read
from app.tracking.store import Store, connect

log = logging.getLogger(__name__)

LOCK = ".running.lock"  # stays: removing it while others open it would let two of them in
MACHINE = ".running"  # names the machine whose process works in the folder
LEAVING_SECONDS = 10  # that a process may take to leave its folder: one just interrupted delivers
DIED = "its process died before the run's end: killed, or the machine went down"


def occupy(folder: Path) -> ExitStack:
    """Mark a folder as one that this process works in, until what is returned is closed.

    InputError where another process does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    machine, presence = folder / MACHINE, ExitStack()
    try:  # longer than another process takes to look
        presence.enter_context(FileLock(folder / LOCK).acquire(timeout=1))
    except Timeout:
        raise InputError(
            f"another run writes to {folder} now: wait for its end, or give it another folder"
        ) from None
    presence.callback(machine.unlink, missing_ok=True)
    machine.write_text(platform.node(), encoding="utf-8")
    return presence


@contextmanager
def start(store: Store, folder: Path, description: Description) -> Iterator[Record]:
    """Track the body of the `with` statement as one run, whose record `folder` keeps.

    The run ends as FINISHED; as FAILED, with the tag `error`, when the body raises; as KILLED on
    Ctrl-C. Exceptions go on their way. A store that is not there is an InputError before the body,
    but for a run with a parent: that sweep has begun, and what the run finds stays in the folder.
    A store that went away is waited for at the end, `tracking.patience_s`; `Record.undelivered`
    then says why it lacks the run.

    The same run again in the same folder (requeued, killed, done before) stays one run.
    """
    if store.off:
        yield Record.of(store.settings, folder, description)
        return
    with occupy(folder):
        record = _begin(store, folder, description)
        try:
            _announce(record)
        except InputError as error:
            if record.parent is None:
                raise
            log.info("the run begins without the store: %s", error)
        try:
            yield record
        except BaseException as error:
            # Ctrl-C, or a cluster that takes the job off its node to put it back into the queue.
            killed = not isinstance(error, Exception)
            reason = "interrupted" if killed else str(error) or type(error).__name__
            _end(record, "KILLED" if killed else "FAILED", reason)
            raise
        _end(record, "FINISHED")


def open_run(store: Store, folder: Path, description: Description) -> str | None:
    """Open a run that `end_run` ends, the first that asks; MLflow's id, None without tracking.

    The caller holds a lock: processes may ask together.
    """
    if store.off:
        return None
    old = read(folder)
    if old is not None and old.status == RUNNING and old.run_id is not None:
        with suppress(InputError):  # of a store that is away: what jobs find waits for it
            return _identify(store, old)
        return old.run_id
    record = _begin(store, folder, description)
    _announce(record)
    return record.run_id


def describe_run(folder: Path, page: str, root: Path, names: Sequence[str]) -> None:
    """Note what an open run's page in MLflow is to show, in Markdown, and files below `root`."""
    record = read(folder)
    if record is not None:
        record.add_tags({NOTE: page})
        record.add_artifacts(root, names)
        record.save()


def end_run(folder: Path, status: str, metrics: Mapping[str, float]) -> None:
    """End the run that `open_run` left running, if one did; `settle` delivers it."""
    record = read(folder)
    if record is None:
        return
    record.add_metrics(metrics)
    record.end(status)
    record.save()


def record_failure(store: Store, folder: Path, description: Description, reason: str) -> None:
    """Leave a sweep's job that failed as a FAILED child, whether it began a run or not."""
    with occupy(folder):
        record = read(folder)
        if record is None or record.status != "FAILED":
            record = _begin(store, folder, description)
        _end(record, "FAILED", reason)


def _begin(store: Store, folder: Path, description: Description) -> Record:
    """Go on with the run that the folder has; another one than this is delivered as it was left."""
    record, old = Record.of(store.settings, folder, description), read(folder)
    if old is not None and not record.take_over(old):
        with suppress(InputError):
            _settle_record(old)
    return record


def _end(record: Record, status: str, reason: str | None = None) -> None:
    """Deliver a run at its end; where that fails, the record says why."""
    record.end(status, reason)
    try:
        record.save()
        _deliver(record, 0 if status == "KILLED" else record.settings.patience_s)
    except InputError as error:  # the run's own, if it failed, is the one to report
        record.undelivered = str(error)
        log.info("the run's end is not in the store: %s", error)


# --- brought to the store -------------------------------------------------------------------------


def _announce(record: Record) -> None:
    """Create the run, or open it again. InputError where the store is not there."""
    store, alone = connect(record.settings), record.parent is None
    record.folder.mkdir(parents=True, exist_ok=True)
    record.save()
    try:
        store.experiment_id()
        # A job of a sweep does not wait: what it finds stays in its folder.
        with store.waiting(store.settings.patience_s if alone else 0):
            known = record.run_id is not None
            run_id = _identify(store, record)
            if known:
                store.reopen(run_id)
            store.log(run_id, record.params)
    except InputError:
        if alone and record.run_id is None:  # nothing has begun
            (record.folder / RECORD).unlink()
        raise


def _deliver(record: Record, patience: float) -> None:
    """Bring an ended run to its store, or complete what was brought.

    The caller is the only one at the folder. A store that went away is waited for, so many seconds,
    once a process; InputError where it does not come back.
    """
    store = connect(record.settings)
    with store.waiting(patience):
        run_id = _identify(store, record)
        store.log(run_id, record.params, record.tags, list_points(record))
        store.log_inputs(run_id, record.datasets, record.model)
        for name, place in record.artifacts:
            if (file := record.folder / name).is_file():  # else the user took it away
                store.add_artifact(run_id, file, place)
        store.terminate(run_id, record.status, record.ended)
    # Last: who is killed on the way delivers again, which changes nothing.
    record.delivered = True
    record.save()


def _identify(store: Store, record: Record) -> str:
    """MLflow's id of the run, which is made where the store does not have it, or not any more.

    The jobs of a sweep whose run was made again name the new one.
    """
    old, run = record.run_id, store.create_run(record.key, record.name, record.begun, record.tags)
    found: str = run.info.run_id
    if found == old and run.info.lifecycle_stage == "active":
        return found
    for job in map(read, find_runs(record.folder) if old not in (None, found) else ()):
        if job is not None and job.parent == old:
            job.parent, job.delivered = found, False
            job.add_tags({"mlflow.parentRunId": found})
            job.save()
    record.run_id, record.delivered = found, False
    record.save()
    return found


# --- what others left behind ----------------------------------------------------------------------


def find_runs(*folders: Path) -> list[Path]:
    """Find the folders of runs at and below these: a sweep's own after those of its jobs."""
    found = {path.parent for folder in folders for path in folder.rglob(RECORD)}
    return sorted(found, key=lambda folder: (-len(folder.parts), folder))


def settle(
    runs: Sequence[Path], *, ended: bool = False, patience: float = 0
) -> Iterator[tuple[str, str]]:
    """Deliver what runs left behind whose processes are gone; see `_deliver`.

    A run that did not come to its end is delivered as KILLED. What runs on another machine cannot
    be seen from here, and counts as running; `ended` says that nothing does.

    Of each of the runs, in the order of `find_runs`, tells what became of it: `running` where a
    process is at it, `delivered`, `complete` where nothing was to be done, or `failed`, and then
    why. A sweep one of whose jobs is running or failed is left like that job, without a reason.
    """
    known = _make_lost_again(runs, patience)
    for folder in runs:
        try:
            if folder not in known:
                known[folder] = _settle_run(folder, ended, patience), ""
        except (InputError, OSError) as error:  # another user's folder, say
            known[folder] = "failed", str(error)
        outcome, _ = known[folder]
        if outcome in ("failed", "running"):
            known |= dict.fromkeys(folder.parents, (outcome, ""))
        yield known[folder]


def find_running(folder: Path) -> Path | None:
    """Find a run at or below a folder that a process is at, on this machine or on another one."""
    for run in find_runs(folder):
        machine = run / MACHINE
        if machine.is_file() and machine.read_text(encoding="utf-8") != platform.node():
            return run
        try:
            FileLock(run / LOCK).acquire(timeout=0).lock.release()
        except Timeout:
            return run
    return None


def _make_lost_again(runs: Sequence[Path], patience: float) -> dict[Path, tuple[str, str]]:
    """Make runs again that their store lost: deleted ones, and all where the store is a new one.

    They are to be delivered then, as their records have them. A sweep's is made before its jobs',
    which name it. Tells by folder where that failed, and why, as `settle` does.
    """
    failed, away = dict[Path, tuple[str, str]](), dict[Store, str]()
    for folder in reversed(runs):
        with suppress(InputError):  # told where the run is settled
            if (record := read(folder)) is None or record.run_id is None:
                continue
            store = connect(record.settings)
            try:
                if store not in away:
                    with store.waiting(patience):
                        _identify(store, record)
            except (InputError, OSError) as error:
                away[store] = str(error)  # a server that hangs is asked once, not for each run
            if store in away:
                failed[folder] = "failed", away[store]
    return failed


def _settle_run(folder: Path, ended: bool, patience: float) -> str:
    machine = folder / MACHINE
    if not ended and machine.is_file() and machine.read_text(encoding="utf-8") != platform.node():
        return "running"
    try:
        # Where all are said to have ended, one that is about to is waited for.
        with FileLock(folder / LOCK).acquire(timeout=LEAVING_SECONDS if ended else 0):
            record = read(folder)
            delivered = record is not None and _settle_record(record, patience)
            machine.unlink(missing_ok=True)
    except Timeout:
        return "running"
    return "delivered" if delivered else "complete"


def _settle_record(record: Record, patience: float = 0) -> bool:
    """Deliver a record whose process is gone, unless it is; whether something was delivered."""
    if record.status == RUNNING:
        last_sign = int((record.folder / RECORD).stat().st_mtime * 1000)
        for left in record.folder.rglob(f".*{PARTIAL}"):  # which its process was writing
            left.unlink(missing_ok=True)
        record.end("KILLED", DIED, max(last_sign, record.begun))
        record.save()
    if record.delivered:
        return False
    _deliver(record, patience)
    return True
