"""A run while its process works: what it says goes into its record, and from there to the store."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import InputError
from app.tracking.delivery import announce, deliver, settle_record
from app.tracking.locks import Presence
from app.tracking.record import RUNNING, Description, Record, read, write
from app.tracking.store import Store
from app.tracking.text import as_text

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

DIGEST_LENGTH = 16  # MLflow takes 36, but prints them in a narrow column


class Run:
    """One run while its process works."""

    def __init__(self, store: Store, folder: Path, record: Record) -> None:
        self.undelivered: str | None = None  # why the store lacks what the record has
        self._store = store  # that is off: nothing is kept
        self._folder = folder
        self._record = record
        self._sent = 0  # points that the store has

    @property
    def id(self) -> str | None:
        """MLflow's id of the run; None where it is not tracked, or not known yet."""
        return self._record.run_id

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Note metrics. Those that are not finite become the tag `undefined_metrics`."""
        self._record.add(values, step)

    def curves(self, values: Mapping[str, Mapping[int, float]]) -> None:
        """Note metrics by step, which MLflow's pages draw as curves.

        What is not finite is left out. The tag `curves` names them: of a curve's points the runs'
        table has the last alone, which is no finding.
        """
        for name, curve in values.items():
            for step, value in curve.items():
                if math.isfinite(value):
                    self._record.add({name: value}, step)
        self.tags({"curves": ", ".join(values)})

    def tags(self, values: Mapping[str, str]) -> None:
        """Note tags; what is too long for MLflow is cut."""
        self._record.tag(values)

    def dataset(
        self,
        table: pd.DataFrame,
        *,
        name: str,
        source: str,
        digest: str,
        context: str = "stimuli",
    ) -> None:
        """Note a data set that the run used: MLflow's description of it; the data stay.

        Parameters
        ----------
        table
            One row an item, of text; its columns and size are recorded.
        name
            Shown in the runs table.
        source
            Where the data come from: a folder, an address, or words.
        digest
            Of the content; MLflow shows its beginning and keeps the whole as a tag.
        context
            What the run used it for.
        """
        if self._store.off:
            return
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.pandas_dataset import from_pandas

        short, where = digest[:DIGEST_LENGTH], CodeDatasetSource({"source": source})
        self._record.datasets.append(
            {
                "dataset": from_pandas(table, where, name=name, digest=short).to_dict(),
                "tags": {"mlflow.data.context": context, "digest": digest[:500]},
            }
        )

    def model(
        self, name: str, digest: str, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> None:
        """Note the network that the run asked; of the same name and weights it is one in MLflow."""
        self._record.model = {
            "name": re.sub(r"[/:.%\"']", "-", name),  # which MLflow keeps from such names
            "digest": digest,
            "params": as_text(params),
            "tags": dict(tags),
        }

    def artifacts(self, root: Path, names: Iterable[str] | None = None) -> None:
        """Note that all files below a folder, or those of these names, belong to the run."""
        if not self._store.off:
            self._record.add_artifacts(self._folder, root, names)

    def send(self) -> None:
        """Let the store see the points so far, if it answers: a run goes on without it."""
        if self._store.off:
            return
        record = self._record
        write(self._folder, record)
        try:
            if record.announced and record.run_id is not None:
                self._store.log(record.run_id, points=record.points[self._sent :])
                self._sent = len(record.points)
        except InputError as error:
            log.info("points are not in the store yet: %s", error)

    def _end(self, status: str, reason: str | None, patience: float | None = None) -> None:
        self._record.end(status, reason)
        if self._store.off:
            return
        try:
            write(self._folder, self._record)
            deliver(self._folder, patience)
            self._record = read(self._folder) or self._record
        except InputError as error:
            self.undelivered = str(error)


@contextmanager
def start(store: Store, folder: Path, description: Description) -> Iterator[Run]:
    """Track the body of the `with` statement as one run, whose record `folder` keeps.

    The run ends as FINISHED; as FAILED, with the tag `error`, when the body raises; as KILLED on
    Ctrl-C. Exceptions go on their way. A store that is not there is an InputError before the body,
    but for a run with a parent: that sweep has begun, and what the run finds stays in the folder.
    A store that went away is waited for at the end, `tracking.patience_s`; `Run.undelivered` then
    says why it lacks the run.

    The same run again in the same folder (requeued, killed, done before) stays one run.
    """
    record = Record.of(store.settings, folder, description)
    if store.off:
        yield Run(store, folder, record)
        return
    with Presence(folder):
        _take_over(folder, record)
        try:
            announce(store, folder, record)
        except InputError as error:
            if record.parent is None:
                raise
            log.info("the run begins without the store: %s", error)
        run = Run(store, folder, record)
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


def open_run(store: Store, folder: Path, description: Description) -> str | None:
    """Open a run that `end_run` ends, the first that asks; MLflow's id, None without tracking.

    The caller holds a lock: processes may ask together.
    """
    if store.off:
        return None
    old = read(folder)
    if old is not None and old.status == RUNNING and old.run_id is not None:
        return old.run_id
    record = Record.of(store.settings, folder, description)
    _take_over(folder, record)
    announce(store, folder, record)
    return record.run_id


def end_run(
    folder: Path, status: str, metrics: Mapping[str, float], artifacts: Path | None = None
) -> None:
    """End the run that `open_run` left running, if one did; `delivery.settle` delivers it."""
    record = read(folder)
    if record is None:
        return
    record.forget_points()
    record.add(metrics)
    if artifacts is not None:
        record.add_artifacts(folder, artifacts)
    record.end(status)
    write(folder, record)


def record_failure(store: Store, folder: Path, description: Description, reason: str) -> None:
    """Leave a sweep's job that failed as a FAILED child, whether it began a run or never came to.

    The tag `error` holds the reason. InputError where it is not delivered.
    """
    with Presence(folder):
        record = read(folder)
        if record is None or record.status != "FAILED":
            record = Record.of(store.settings, folder, description)
            _take_over(folder, record)
        record.end("FAILED", reason)
        write(folder, record)
        deliver(folder)


def _take_over(folder: Path, record: Record) -> None:
    """Go on with the run that the folder has; another one than this is delivered as it was left."""
    old = read(folder)
    if old is not None and not record.take_over(old):
        with suppress(InputError):
            settle_record(folder, old)
