"""A run's record, brought from its folder to the tracking store.

Delivery is a function of the folder. What was delivered in part is completed: the store keeps a
point or an input that it is told twice once, and a run whose creation was never answered is found
by its tag `record`.
"""

from __future__ import annotations

import logging
from pathlib import Path

from app.errors import InputError
from app.files import PARTIAL
from app.tracking.locks import claimed
from app.tracking.record import RECORD, RUNNING, Record, read, write, write_text
from app.tracking.store import Store, connect

log = logging.getLogger(__name__)

DIED = "its process died before the run's end: killed, or the machine went down"


def announce(store: Store, folder: Path, record: Record) -> None:
    """Create the run, or open it again. InputError where the store is not there."""
    path = folder / RECORD
    folder.mkdir(parents=True, exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.is_file() else None
    write(folder, record)
    try:
        store.experiment_id()
        if record.parent is None:
            settle_dead(store)
        # A job of a sweep does not wait: what it finds stays in its folder.
        with store.waiting(store.settings.patience_s if record.parent is None else 0):
            if record.run_id is None:
                _create(store, folder, record)
            else:
                store.reopen(record.run_id)
            store.log(_id(record), params=record.params)
    except InputError:
        if record.parent is None and record.run_id is None:  # nothing has begun
            path.unlink() if before is None else write_text(path, before)
        raise
    record.announced = True
    write(folder, record)


def deliver(folder: Path, patience: float | None = None, *, again: bool = False) -> bool:
    """Bring the folder's ended run to its store, or complete what was brought.

    The caller is the only one at the folder.

    Parameters
    ----------
    folder
        The run's.
    patience
        Seconds that a store that went away is waited for, once a process; None: those of the
        settings.
    again
        Deliver what the record says was delivered.

    Returns
    -------
    bool
        False where the store had it.

    Raises
    ------
    InputError
        Where the store does not come back.
    """
    record = read(folder)
    if record is None or (record.delivered and not again):
        return False
    store = connect(record.settings)
    wait = record.settings.patience_s if patience is None else patience
    try:
        with store.waiting(0 if store.is_away else wait):
            _deliver(store, folder, record)
    except InputError:
        store.is_away = True
        raise
    store.is_away = False
    # Last: who is killed on the way delivers again, which changes nothing.
    record.announced = record.delivered = True
    write(folder, record)
    return True


def _deliver(store: Store, folder: Path, record: Record) -> None:
    store.experiment_id()
    if record.run_id is None:
        _create(store, folder, record)
    run_id = _id(record)
    store.log(run_id, {} if record.announced else record.params, record.tags, record.points)
    store.log_inputs(run_id, record.datasets, record.model)
    for file, place in record.artifacts:
        if (folder / file).is_file():  # else the user took it away
            store.add_artifact(run_id, folder / file, place)
    store.terminate(run_id, record.status, record.ended)


def _create(store: Store, folder: Path, record: Record) -> None:
    record.run_id = store.create_run(record.key, record.name, record.begun, record.tags)
    write(folder, record)


def _id(record: Record) -> str:
    assert record.run_id is not None
    return record.run_id


# --- what others left behind ----------------------------------------------------------------------


def settle(folder: Path, *, ended: bool = False, patience: float = 0, again: bool = False) -> str:
    """Deliver what the run of a folder left behind, if its process is gone; see `deliver`.

    A run that did not come to its end is delivered as KILLED. What runs on another machine cannot
    be seen from here, and counts as running; `ended` says that nothing does.

    Returns
    -------
    str
        `running` where a process is at it, `delivered`, or `complete` where nothing was to be done.
    """
    with claimed(folder, ended) as free:
        record = read(folder) if free else None
        if not free:
            return "running"
        delivered = record is not None and settle_record(folder, record, patience, again)
        return "delivered" if delivered else "complete"


def settle_record(folder: Path, record: Record, patience: float = 0, again: bool = False) -> bool:
    """The same of a record that its folder has; whether something was delivered."""
    if record.status == RUNNING:
        last_sign = int((folder / RECORD).stat().st_mtime * 1000)
        for left in folder.rglob(f".*{PARTIAL}"):  # which its process was writing
            left.unlink(missing_ok=True)
        record.end("KILLED", DIED, max(last_sign, record.begun))
        write(folder, record)
    return deliver(folder, patience, again=again)


def settle_jobs(folder: Path, *, ended: bool = False, patience: float = 0) -> list[str]:
    """`settle` the runs below a folder. What became of each; InputError as in `settle_sweep`."""
    below = sorted(path.parent for path in folder.glob(f"*/**/{RECORD}"))
    return [settle(each, ended=ended, patience=patience) for each in below]


def settle_sweep(folder: Path, *, ended: bool = False, again: bool = False) -> list[str]:
    """`settle` the runs below a folder, then its own: unless one of them runs. What became of each.

    Raises
    ------
    InputError
        Where one cannot be delivered; those above it are left for the next time.
    """
    found = settle_jobs(folder, ended=ended)
    if "running" not in found and (folder / RECORD).is_file():
        found.append(settle(folder, ended=ended, again=again))
    return found


def settle_dead(store: Store) -> None:
    """Deliver, or mark as KILLED, the store's running runs whose processes are gone.

    Known from the lock in the run's folder; what has none that can be seen from here is left.
    """
    for run in store.unfinished():
        folder = Path(run.data.tags["folder"])
        try:
            record = read(folder)
            if record is not None and record.key == run.data.tags["record"]:
                settle_sweep(folder, again=True)
        except (InputError, OSError) as error:  # another user's folder, say
            log.info("the run in %s stays as it is: %s", folder, error)
