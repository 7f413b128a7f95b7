"""A run while its process works: what it says goes into its record, and from there to the store."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from app.errors import InputError
from app.tracking.delivery import Presence, announce, deliver, settle_record
from app.tracking.record import RUNNING, Description, Record, read
from app.tracking.store import Store

log = logging.getLogger(__name__)


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
    with Presence(folder):
        record = _begin(store, folder, description)
        try:
            announce(record)
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
        return old.run_id
    record = _begin(store, folder, description)
    announce(record)
    return record.run_id


def end_run(
    folder: Path, status: str, metrics: Mapping[str, float], artifacts: Path | None = None
) -> None:
    """End the run that `open_run` left running, if one did; `delivery.settle` delivers it."""
    record = read(folder)
    if record is None:
        return
    record.add_metrics(metrics)
    if artifacts is not None:
        record.add_artifacts(artifacts)
    record.end(status)
    record.save()


def record_failure(store: Store, folder: Path, description: Description, reason: str) -> None:
    """Leave a sweep's job that failed as a FAILED child, whether it began a run or never came to.

    The tag `error` holds the reason.
    """
    with Presence(folder):
        record = read(folder)
        if record is None or record.status != "FAILED":
            record = _begin(store, folder, description)
        _end(record, "FAILED", reason)


def _begin(store: Store, folder: Path, description: Description) -> Record:
    """Go on with the run that the folder has; another one than this is delivered as it was left."""
    record, old = Record.of(store.settings, folder, description), read(folder)
    if old is not None and not record.take_over(old):
        with suppress(InputError):
            settle_record(old)
    return record


def _end(record: Record, status: str, reason: str | None = None) -> None:
    """Deliver a run at its end; where that fails, the record says why."""
    record.end(status, reason)
    try:
        record.save()
        deliver(record, 0 if status == "KILLED" else record.settings.patience_s)
    except InputError as error:  # the run's own, if it failed, is the one to report
        record.undelivered = str(error)
        log.info("the run's end is not in the store: %s", error)
