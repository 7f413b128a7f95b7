"""What a run has to say, kept in its folder, and brought from there to the tracking store.

A run writes `record.json` into its folder: parameters, tags, points of metrics, data sets, the list
of its artifacts, its state. Delivery is a function of that folder. What was delivered in part is
completed: the store keeps a point or an input that it is told twice once, and a run whose creation
was never answered is found by its tag `record`.

A process holds a lock in the folder of what it runs; the system releases it when the process dies,
however it dies. That is how the next start tells the dead from the living.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import platform
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from app.errors import InputError
from app.tracking import store as tracking

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

RECORD = "record.json"
RESULT = "result.json"  # what a job tells its sweep, beside the record
RUNNING = "RUNNING"
DIED = "its process died before the run's end: killed, or the machine went down"


@dataclass
class Record:
    """All that the store is to know of a run. Times are milliseconds since 1970."""

    store: dict[str, Any]  # the tracking settings; addresses hold no credentials
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    parent: str | None = None  # MLflow's id of the sweep's run
    key: str = field(default_factory=lambda: uuid.uuid4().hex)  # the run's tag `record`
    begun: int = field(default_factory=lambda: _now())
    ended: int | None = None
    status: str = RUNNING  # or FINISHED, FAILED, KILLED
    points: list[tuple[str, float, int, int]] = field(default_factory=list)  # name, value, step, at
    datasets: list[dict[str, Any]] = field(default_factory=list)
    model: dict[str, Any] | None = None  # that was asked, see `tracking.log`
    artifacts: list[tuple[str, str]] = field(default_factory=list)  # file, folder among artifacts
    run_id: str | None = None  # MLflow's, once it is known
    announced: bool = False  # the store has the run with its parameters
    delivered: bool = False  # the store has everything, the end included

    @property
    def settings(self) -> tracking.Stored:
        return tracking.Stored(**self.store)

    def end(self, status: str, reason: str | None = None, at: int | None = None) -> None:
        self.status, self.ended, self.delivered = status, at or _now(), False
        if reason:
            self.tags |= tracking.as_text({"error": reason}, tracking.TAG_LENGTH)

    def add(self, values: Mapping[str, float], step: int, known: Mapping[Any, int]) -> None:
        """Points of metrics; those that are not finite become the tag `undefined_metrics`.

        MLflow's database stores NaN as 0 with a mark that filters ignore, and infinity as the
        largest number; some versions of its pages fail on either. `known` has the times of points
        that the store may have already.
        """
        now, undefined = _now(), []
        for name, value in values.items():
            if math.isfinite(value):
                point = (name, float(value), step)
                self.points.append((*point, known.get(point, now)))
            else:
                undefined.append(f"{name}={value}")
        if undefined:
            before = self.tags.get("undefined_metrics")
            self.tags["undefined_metrics"] = ", ".join(filter(None, [before, *undefined]))

    def add_artifacts(self, folder: Path, root: Path, names: Iterable[str] | None = None) -> None:
        """The files below `root`, or those of these names there, if they exist."""
        paths = root.rglob("*") if names is None else map(root.joinpath, names)
        for path in sorted(path for path in paths if path.is_file() and not _is_own(path)):
            place = path.parent.relative_to(root).as_posix()
            entry = (os.path.relpath(path, folder), "" if place == "." else place)
            if entry not in self.artifacts:
                self.artifacts.append(entry)


def read(folder: Path) -> Record | None:
    """The record in a folder; None where there is none. InputError for one that is no record."""
    path = folder / RECORD
    try:
        text = path.read_text(encoding="utf-8")
        if not text:  # killed before the first word
            return None
        content = json.loads(text)
        for name in ("points", "artifacts"):
            content[name] = [tuple(entry) for entry in content[name]]
        return Record(**content)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise InputError(f"{path} cannot be read: {reason}; move it away") from error


def write(folder: Path, record: Record) -> None:
    """Put the record in place, whole: a kill or a power cut leaves the old one or the new one."""
    write_whole(folder / RECORD, json.dumps(vars(record)))


def write_whole(path: Path, text: str) -> None:
    """A small text file; one that is there already is replaced by the whole new one.

    InputError where it cannot be written, and nothing half-made.
    """
    first = not path.exists()  # then at once: nothing is left beside it by a kill
    new = path if first else path.with_name(f".{path.name}.new")
    try:
        with open(new, "wb") as file:
            file.write(text.encode())
            file.flush()  # in one write, or, where that falls short, to the end or an error
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        with suppress(OSError):
            new.unlink()
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}; is the disk full? Make room"
        ) from error


# --- a run as it happens --------------------------------------------------------------------------


class Run:
    """One run while its process works: what it says goes into its record."""

    def __init__(self, folder: Path | None, record: Record, known: Mapping[Any, int]) -> None:
        self.undelivered: str | None = None  # why the store lacks what the record has
        self._folder = folder  # None: nothing is kept
        self._record = record
        self._known = known
        self._sent = 0  # points that the store has
        self._failure: str | None = None

    @property
    def id(self) -> str | None:
        """MLflow's id of the run; None where it is not tracked, or not known yet."""
        return self._record.run_id

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Note metrics. Those that are not finite become the tag `undefined_metrics`."""
        self._record.add(values, step, self._known)

    def curves(self, values: Mapping[str, Mapping[int, float]]) -> None:
        """Note metrics by step, which MLflow's pages draw as curves.

        What is not finite is left out. The tag `curves` names them: of a curve's points the runs'
        table has the last alone, which is no finding.
        """
        for name, curve in values.items():
            for step, value in curve.items():
                if math.isfinite(value):
                    self._record.add({name: value}, step, self._known)
        self.tags({"curves": ", ".join(values)})

    def tags(self, values: Mapping[str, str]) -> None:
        """Note tags; what is too long for MLflow is cut."""
        self._record.tags |= tracking.as_text(values, tracking.TAG_LENGTH)

    def dataset(
        self,
        table: pd.DataFrame,
        *,
        name: str,
        source: str,
        digest: str,
        context: str = "stimuli",
    ) -> None:
        """Note a data set that the run used: its description, see `tracking.describe_dataset`."""
        if self._folder is not None:
            described = tracking.describe_dataset(table, name, source, digest, context)
            self._record.datasets.append(described)

    def model(
        self, name: str, digest: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> None:
        """Note the network that the run asked; of the same name and weights it is one in MLflow."""
        self._record.model = {
            "name": re.sub(r"[/:.%\"']", "-", name),  # which MLflow keeps from such names
            "digest": digest,
            "params": tracking.as_text(params),
            "tags": dict(tags),
        }

    def artifacts(self, root: Path, names: Iterable[str] | None = None) -> None:
        """Note that all files below a folder, or those of these names, belong to the run."""
        if self._folder is not None:
            self._record.add_artifacts(self._folder, root, names)

    def send(self) -> None:
        """Let the store see the points so far, if it answers: a run goes on without it."""
        if self._folder is None:
            return
        write(self._folder, self._record)
        record = self._record
        try:
            if record.announced and record.run_id is not None:
                points = record.points[self._sent :]
                tracking.log(record.settings, record.run_id, points=points)
                self._sent = len(record.points)
        except InputError as error:
            log.info("points are not in the store yet: %s", error)

    def fail(self, reason: str) -> None:
        """Let the run end as FAILED for this reason."""
        self._failure = reason

    def _end(self, status: str, reason: str | None, patience: float | None = None) -> None:
        if status == "FINISHED" and self._failure is not None:
            status, reason = "FAILED", self._failure
        self._record.end(status, reason)
        if self._folder is None:
            return
        try:
            write(self._folder, self._record)
            deliver(self._folder, patience)
            self._record = read(self._folder) or self._record
        except InputError as error:
            self.undelivered = str(error)


@contextmanager
def start(
    settings: tracking.Settings,
    folder: Path,
    *,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
    description: str = "",
    parent: str | None = None,
) -> Iterator[Run]:
    """Track the body of the `with` statement as one run, whose record `folder` keeps.

    The run ends as FINISHED; as FAILED, with the tag `error`, when the body raises or calls
    `Run.fail`; as KILLED on Ctrl-C. Exceptions go on their way. A store that is not there is an
    InputError before the body, but for a run with a `parent`: that sweep has begun, and what the
    run finds stays in the folder. A store that went away is waited for at the end,
    `tracking.patience_s`; `Run.undelivered` then says why it lacks the run.

    The same run again in the same folder (requeued, killed, done before) stays one run.
    """
    record = _record(settings, name, params, tags, description, parent, folder)
    if settings.name == "none":
        yield Run(None, record, {})
        return
    hold(folder)
    try:
        known = _take_over(folder, record)
        try:
            _announce(folder, record)
        except InputError as error:
            if parent is None:
                raise
            log.info("the run begins without the store: %s", error)
        run = Run(folder, record, known)
        try:
            yield run
        except BaseException as error:
            # Ctrl-C, or a cluster that takes the job off its node to put it back into the queue.
            killed = not isinstance(error, Exception)
            reason = "interrupted" if killed else str(error) or type(error).__name__
            run._end("KILLED" if killed else "FAILED", reason, 0 if killed else None)
            if run.undelivered:  # the first error is the one to report
                log.info("the run's end was not recorded: %s", run.undelivered)
            raise
        run._end("FINISHED", None)
    finally:
        release(folder)


def opened(
    settings: tracking.Settings,
    folder: Path,
    *,
    name: str,
    tags: Mapping[str, str],
    description: str,
) -> str | None:
    """MLflow's id of a run that `finish` ends, opened by the first that asks; None: no tracking.

    The caller holds a lock: processes may ask together.
    """
    if settings.name == "none":
        return None
    old = read(folder)
    if old is not None and old.status == RUNNING and old.run_id is not None:
        return old.run_id
    record = _record(settings, name, {}, tags, description, None, folder)
    _take_over(folder, record)
    _announce(folder, record)
    return record.run_id


def end(
    folder: Path,
    *,
    status: str,
    metrics: Mapping[str, float] | None = None,
    artifacts: Path | None = None,
) -> None:
    """End the run that `opened` left running, if one did; `settle` delivers it."""
    record = read(folder)
    if record is None:
        return
    known = _times(record)
    record.points = []
    record.add(metrics or {}, 0, known)
    if artifacts is not None:
        record.add_artifacts(folder, artifacts)
    record.end(status)
    write(folder, record)


def record_failure(
    settings: tracking.Settings,
    folder: Path,
    *,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    parent: str,
    reason: str,
) -> None:
    """Leave a sweep's job that failed as a FAILED child, whether it began a run or never came to.

    The tag `error` holds the reason. InputError where it is not delivered.
    """
    hold(folder)
    try:
        record = read(folder)
        if record is None or record.status != "FAILED":
            record = _record(settings, name, params, tags, "", parent, folder)
            _take_over(folder, record)
        record.end("FAILED", reason)
        write(folder, record)
        deliver(folder)
    finally:
        release(folder)


def _record(
    settings: tracking.Settings,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str] | None,
    description: str,
    parent: str | None,
    folder: Path,
) -> Record:
    tracking.store_uri(settings)  # refuses an address that holds credentials
    record = Record(
        dataclasses.asdict(tracking.Stored.of(settings)),
        tracking.cut(name, tracking.NAME_LENGTH),
        tracking.as_text(params),
        {},
        parent,
    )
    all_tags = {
        **tracking.origin(),
        "record": record.key,
        "folder": str(folder.absolute()),
        "host": platform.node(),
        **(tags or {}),
    }
    if description:
        all_tags["mlflow.note.content"] = description
    if parent is not None:
        all_tags["mlflow.parentRunId"] = parent
    record.tags = tracking.as_text(all_tags, tracking.TAG_LENGTH)
    return record


def _take_over(folder: Path, record: Record) -> dict[Any, int]:
    """Go on with the run that the folder's record names, where it is the same; the times of the
    points that it has. Another one is delivered as it was left."""
    old = read(folder)
    if old is None:
        return {}
    if (old.store, old.name, old.params, old.parent) != (
        record.store,
        record.name,
        record.params,
        record.parent,
    ):
        with suppress(InputError):
            _settle(folder, old)
        return {}
    record.key, record.begun, record.run_id = old.key, old.begun, old.run_id
    record.tags["record"] = old.key
    return _times(old)


def _times(record: Record) -> dict[Any, int]:
    return {(name, value, step): at for name, value, step, at in record.points}


def _announce(folder: Path, record: Record) -> None:
    """Create the run, or open it again. InputError where the store is not there."""
    settings, path = record.settings, folder / RECORD
    folder.mkdir(parents=True, exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.is_file() else None
    write(folder, record)
    try:
        tracking.experiment_id(settings)
        if record.parent is None:
            settle_dead(settings)
        give_up = tracking.until(settings.patience_s) if record.parent is None else None
        if record.run_id is None:
            record.run_id = _create(record, give_up, fresh=before is None)
            write(folder, record)
        else:
            tracking.reopen(settings, record.run_id, give_up)
        tracking.log(settings, record.run_id, params=record.params, give_up=give_up)
    except InputError:
        if record.parent is None and record.run_id is None:  # nothing has begun
            path.unlink() if before is None else write_whole(path, before)
        raise
    record.announced = True
    write(folder, record)


def _create(record: Record, give_up: float | None, *, fresh: bool) -> str:
    return tracking.create_run(
        record.settings, record.key, record.name, record.begun, record.tags, give_up, fresh=fresh
    )


# --- delivery -------------------------------------------------------------------------------------

_away: set[str] = set()  # stores that this process has waited for in vain: not for every run again


def deliver(folder: Path, patience: float | None = None, *, again: bool = False) -> bool:
    """Bring the folder's ended run to its store, or complete what was brought; False: it was there.

    A store that went away is waited for, `patience` seconds (None: those of the settings), once a
    process. InputError where it does not come back. The caller is the only one at the folder.
    `again` delivers what the record says was delivered.
    """
    record = read(folder)
    if record is None or (record.delivered and not again):
        return False
    settings = record.settings
    uri = tracking.store_uri(settings)
    wait = settings.patience_s if patience is None else patience
    give_up = tracking.until(0 if uri in _away else wait)
    try:
        tracking.experiment_id(settings, give_up)
        if record.run_id is None:
            record.run_id = _create(record, give_up, fresh=False)
            write(folder, record)
        tracking.log(
            settings,
            record.run_id,
            params={} if record.announced else record.params,
            tags=record.tags,
            points=record.points,
            datasets=record.datasets,
            model=record.model,
            give_up=give_up,
        )
        for file, place in record.artifacts:
            if (folder / file).is_file():  # else the user took it away
                tracking.add_artifact(settings, record.run_id, folder / file, place, give_up)
        tracking.terminate(settings, record.run_id, record.status, record.ended, give_up)
    except InputError:
        _away.add(uri)
        raise
    _away.discard(uri)
    # Last: who is killed on the way delivers again, which changes nothing.
    record.announced = record.delivered = True
    write(folder, record)
    return True


def settle(folder: Path, *, ended: bool = False, patience: float = 0, again: bool = False) -> str:
    """Deliver what the run of a folder left behind, if its process is gone; see `deliver`.

    Returns `running` where a process is at it, `delivered`, or `complete` where nothing was to be
    done. A run that did not come to its end is delivered as KILLED. What runs on another machine
    cannot be seen from here, and counts as running; `ended` says that nothing does. `again` as in
    `deliver`.
    """
    with _claimed(folder, ended) as free:
        record = read(folder) if free else None
        if not free:
            return "running"
        delivered = record is not None and _settle(folder, record, patience, again)
        return "delivered" if delivered else "complete"


def _settle(folder: Path, record: Record, patience: float = 0, again: bool = False) -> bool:
    if record.status == RUNNING:
        last_sign = int((folder / RECORD).stat().st_mtime * 1000)
        record.end("KILLED", DIED, max(last_sign, record.begun))
        write(folder, record)
    return deliver(folder, patience, again=again)


def settle_sweep(folder: Path, *, ended: bool = False, again: bool = False) -> list[str]:
    """`settle` the runs below a folder, then its own: unless one of them runs. What became of each.

    InputError where one cannot be delivered; those above it are left for the next time.
    """
    found = settle_jobs(folder, ended=ended)
    if "running" not in found and (folder / RECORD).is_file():
        found.append(settle(folder, ended=ended, again=again))
    return found


def settle_jobs(folder: Path, *, ended: bool = False, patience: float = 0) -> list[str]:
    """`settle` the runs below a folder. What became of each; InputError as in `settle_sweep`."""
    below = sorted(path.parent for path in folder.glob(f"*/**/{RECORD}"))
    return [settle(each, ended=ended, patience=patience) for each in below]


def settle_dead(settings: tracking.Settings) -> None:
    """Deliver, or mark as KILLED, the store's running runs whose processes are gone.

    Known from the lock in the run's folder; what has none that can be seen from here is left.
    """
    for run in tracking.unfinished(settings):
        folder = Path(run.data.tags["folder"])
        try:
            record = read(folder)
            if record is not None and record.key == run.data.tags["record"]:
                settle_sweep(folder, again=True)
        except (InputError, OSError) as error:  # another user's folder, say
            log.info("the run in %s stays as it is: %s", folder, error)


# --- who is alive ---------------------------------------------------------------------------------

LEAVING_SECONDS = 10  # that a process may take to leave its folder: one just interrupted delivers
OVER = "over"  # what a lock's file holds once its process has left the folder
_held: dict[Path, FileLock] = {}  # as long as this process works in them


def hold(folder: Path) -> None:
    """Mark that this process works in the folder. InputError where another one does."""
    folder.mkdir(parents=True, exist_ok=True)
    own = _lock_path(folder)
    lock = FileLock(own)
    try:
        lock.acquire(timeout=1)  # longer than another process takes to look
    except Timeout:
        raise InputError(
            f"another run writes to {folder} now: wait for its end, or give it another folder"
        ) from None
    for path in _locks(folder):  # the job may have been on another machine before
        _mark(path, "" if path == own else OVER)
    _held[folder.absolute()] = lock


def release(folder: Path) -> None:
    """Take the mark away."""
    lock = _held.pop(folder.absolute(), None)
    if lock is not None:
        _mark(_lock_path(folder), OVER)
        lock.release()


@contextmanager
def _claimed(folder: Path, ended: bool) -> Iterator[bool]:
    """Whether no process works in the folder; if so none begins in the body.

    Where all are said to have `ended`, one that is about to is waited for.
    """
    own = _lock_path(folder)
    elsewhere = [path for path in _locks(folder) if path != own and path.read_text() != OVER]
    lock = FileLock(own)
    try:
        if elsewhere and not ended:
            raise Timeout(str(own))
        lock.acquire(timeout=LEAVING_SECONDS if ended else 0)
    except Timeout:
        yield False
        return
    try:
        yield True
        for path in _locks(folder):
            _mark(path, OVER)
    finally:
        lock.release()


def _mark(path: Path, text: str) -> None:
    """For other machines; without it, where the disk is full, they take the folder for in use."""
    with suppress(OSError):
        path.write_text(text)


def _lock_path(folder: Path) -> Path:
    """By machine: a lock says nothing about the processes of another one.

    The file stays: removing it while others open it would let two of them in.
    """
    return folder / f".running.{re.sub(r'[^A-Za-z0-9-]', '-', platform.node())}.lock"


def _locks(folder: Path) -> list[Path]:
    return list(folder.glob(".running.*.lock"))


def _is_own(path: Path) -> bool:
    """Whether a file belongs to the keeping, not to the run's results."""
    return path.name in (RECORD, RESULT) or re.fullmatch(r"\..*\.(lock|new)", path.name) is not None


def _now() -> int:
    return int(time.time() * 1000)
