"""What a run has to say, kept in its folder as `record.json`.

Parameters, tags, points of metrics, data sets, the list of its artifacts, its state: all that
`app.tracking.run` brings to the store.
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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.config.schema import Tracking
from app.errors import InputError
from app.files import whole
from app.tracking.client import DATABASE
from app.tracking.moved import follow, is_same
from app.tracking.origin import origin
from app.tracking.store import connect

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

RECORD = "record.json"
RESULT = "result.json"  # what a job tells its sweep, beside the record
RUNNING = "RUNNING"
NOTE = "mlflow.note.content"  # the tag that MLflow's page of a run shows, in Markdown
# MLflow's limits, in characters.
NAME_LENGTH = 250  # of a run, which SQLite does not hold to; PostgreSQL does
PARAM_LENGTH = 6000
TAG_LENGTH = 8000

DIGEST_LENGTH = 16  # MLflow takes 36, but prints them in a narrow column


@dataclass(frozen=True)
class Description:
    """What a run is, before it begins."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    sentence: str = ""  # for MLflow's page of the run
    parent: str | None = None  # MLflow's id of the sweep's run


@dataclass
class Record:
    """All that the store is to know of a run. Times are milliseconds since 1970."""

    folder: Path  # that keeps it
    store: dict[str, Any]  # the tracking settings; addresses hold no credentials
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    parent: str | None = None  # MLflow's id of the sweep's run
    key: str = field(default_factory=lambda: uuid.uuid4().hex)  # the run's tag `record`
    begun: int = field(default_factory=lambda: _now())
    ended: int | None = None
    status: str = RUNNING  # or FINISHED, FAILED, KILLED
    # Value and time, by name and step.
    points: dict[tuple[str, int], tuple[float, int]] = field(default_factory=dict)
    datasets: list[dict[str, Any]] = field(default_factory=list)
    model: dict[str, Any] | None = None  # that was asked
    artifacts: list[tuple[str, str]] = field(default_factory=list)  # file, folder among artifacts
    run_id: str | None = None  # MLflow's, once it is known
    sent: int = 0  # points that the store has before the run's end
    delivered: bool = False  # the store has everything, the end included
    undelivered: str | None = None  # why it has not, as this process found

    @classmethod
    def of(cls, settings: Tracking, folder: Path, description: Description) -> Record:
        """Begin the record of a run in a folder."""
        record = cls(
            folder,
            dataclasses.asdict(settings),
            cut(description.name, NAME_LENGTH),
            as_text(description.params),
            {},
            description.parent,
        )
        own = {"record": record.key, "folder": str(folder.absolute()), "host": platform.node()}
        shown = {NOTE: description.sentence, "mlflow.parentRunId": description.parent}
        record.add_tags({**origin(), **own, **description.tags})
        record.add_tags({name: text for name, text in shown.items() if text})
        return record

    @property
    def settings(self) -> Tracking:
        """The tracking settings."""
        return Tracking(**self.store)

    def take_over(self, old: Record) -> bool:
        """Go on with the run of an old record, where it is the same; whether it is."""
        own, others = ((each.store, each.name, each.params, each.parent) for each in (self, old))
        if own != others:
            return False
        self.key, self.begun, self.run_id = old.key, old.begun, old.run_id
        self.tags["record"], self.points = old.key, old.points
        return True

    def add_tags(self, values: Mapping[str, str]) -> None:
        """Note tags; what is too long for MLflow is cut."""
        self.tags |= as_text(values, TAG_LENGTH)

    def add_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Note metrics; those that are not finite become the tag `undefined_metrics`.

        MLflow's database stores NaN as 0 with a mark that filters ignore, and infinity as the
        largest number; some versions of its pages fail on either. What is noted again keeps its
        time: the store may have it already.
        """
        undefined = self.tags.get("undefined_metrics", "").split(", ")
        for name, value in values.items():
            if not math.isfinite(value):
                undefined.append(f"{name}={value}")
            elif self.points.get((name, step), (None, 0))[0] != value:
                self.points[name, step] = float(value), _now()
        if any(undefined):
            self.tags["undefined_metrics"] = ", ".join(filter(None, undefined))

    def add_curves(self, values: Mapping[str, Mapping[int, float]]) -> None:
        """Note metrics by step, which MLflow's pages draw as curves.

        What is not finite is left out. The tag `curves` names them: of a curve's points the runs'
        table has the last alone, which is no finding.
        """
        for name, curve in values.items():
            for step, value in curve.items():
                if math.isfinite(value):
                    self.add_metrics({name: value}, step)
        self.add_tags({"curves": ", ".join(values)})

    def add_dataset(
        self, table: pd.DataFrame, *, name: str, source: str, digest: str, context: str = "stimuli"
    ) -> None:
        """Note a data set that the run used for `context`: MLflow's description; the data stay.

        The table has one row an item, of text. `source` is a folder, an address, or words; of the
        content's digest MLflow shows the beginning and keeps the whole as a tag.
        """
        if connect(self.settings).off:
            return
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.pandas_dataset import from_pandas

        short, where = digest[:DIGEST_LENGTH], CodeDatasetSource({"source": source})
        # Of text, one row tells what columns hold: MLflow would look at every cell.
        dataset = from_pandas(table[:1], where, name=name, digest=short).to_dict()
        profile = {"num_rows": len(table), "num_elements": table.size}
        self.datasets.append(
            {
                "dataset": {**dataset, "profile": json.dumps(profile)},
                "tags": {"mlflow.data.context": context, "digest": digest},
            }
        )

    def set_model(
        self, name: str, digest: str, params: Mapping[str, Any], tags: Mapping[str, Any]
    ) -> None:
        """Note the network that the run asked; of the same name and weights it is one in MLflow."""
        self.model = {
            "name": re.sub(r"[/:.%\"']", "-", name),  # which MLflow keeps from such names
            "digest": digest,
            "params": as_text(params),
            "tags": as_text(tags),
        }

    def add_artifacts(self, root: Path, names: Iterable[str] | None = None) -> None:
        """Note that the files below `root`, or those of these names there, belong to the run."""
        paths = root.rglob("*") if names is None else map(root.joinpath, names)
        for path in sorted(path for path in paths if path.is_file()):
            # The keeping's own are no results: the record, locks, half-written files.
            if path.name in (RECORD, RESULT) or path.name.startswith("."):
                continue
            place = path.parent.relative_to(root).as_posix()
            entry = (os.path.relpath(path, self.folder), "" if place == "." else place)
            if entry not in self.artifacts:
                self.artifacts.append(entry)

    def send(self) -> None:
        """Let the store see the points so far, if it answers: a run goes on without it."""
        if self.run_id is None:  # nothing is tracked
            return
        self.save()
        try:
            connect(self.settings).log(self.run_id, points=list_points(self)[self.sent :])
            self.sent = len(self.points)
        except InputError as error:
            log.info("points are not in the store yet: %s", error)

    def end(self, status: str, reason: str | None = None, at: int | None = None) -> None:
        """Note the run's end; the tag `error` has the reason."""
        self.status, self.ended, self.delivered = status, at or _now(), False
        if reason:
            self.add_tags({"error": reason})

    def save(self) -> None:
        """Put the record in place, whole: a kill or a power cut leaves the old one or the new."""
        content = {**vars(self), "points": list_points(self)}
        del content["folder"], content["undelivered"]
        write_text(self.folder / RECORD, json.dumps(content))


def list_points(record: Record) -> list[tuple[str, float, int, int]]:
    """List the points of metrics: name, value, step, milliseconds since 1970."""
    return [(name, value, step, at) for (name, step), (value, at) in record.points.items()]


def read_undefined(text: str) -> dict[str, float]:
    """Read what the tag `undefined_metrics` says: `a=nan, b=inf`."""
    pairs = [part.partition("=") for part in text.split(", ") if part]
    return {name: float(value) for name, _, value in pairs}


def read(folder: Path) -> Record | None:
    """Read the record in a folder; None where there is none, InputError for one that is none.

    What another version noted besides, and this one does not know, is passed over.
    """
    path = folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        points = {(name, step): (value, at) for name, value, step, at in content["points"]}
        artifacts = [tuple(entry) for entry in content["artifacts"]]
        fields = {each.name for each in dataclasses.fields(Record)}
        known = {name: value for name, value in content.items() if name in fields}
        record = Record(folder, **{**known, "points": points, "artifacts": artifacts})
        return _move_along(record)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        raise InputError(f"{path} cannot be read: {reason}; move it away") from error


def _move_along(record: Record) -> Record:
    """Let a record that was moved or copied name its new place, and the store beside it."""
    old, new = Path(record.tags["folder"]), record.folder.absolute()
    if not is_same(old, new):
        database = follow(Path(record.store["folder"], DATABASE), old, new)
        record.store["folder"], record.tags["folder"] = str(database.parent), str(new)
    return record


def write_text(path: Path, text: str) -> None:
    """Write a small file that lasts; InputError, and nothing half-made, where that fails."""
    try:
        with whole(path, lasting=True) as new:
            new.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}; is the disk full? Make room"
        ) from error


# --- how values are written for MLflow ------------------------------------------------------------


def as_text(values: Mapping[str, Any], length: int = PARAM_LENGTH) -> dict[str, str]:
    """Write values as on the command line, cut where they are too long for MLflow.

    What MLflow does not take in a name becomes a hyphen; names then alike get one more.

    >>> as_text({"domains.face+body": ["face", "body"], "domains.face=body": []})
    {'domains.face-body': '["face", "body"]', 'domains.face-body-': '[]'}
    """
    texts: dict[str, str] = {}
    for name, value in values.items():
        text = (
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        )
        key = re.sub(r"[^\w. :-]", "-", name)
        while key in texts:
            key += "-"
        texts[key] = cut(text, length)
    return texts


def cut(text: str, length: int) -> str:
    """Keep at most that many characters of a text."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def tag_notes(notes: Sequence[str]) -> dict[str, str]:
    """Make the note `lesion: …` the tag `lesion.note`; several of one step, one after another."""
    tags: dict[str, str] = {}
    for step, text in (note.split(": ", 1) for note in notes):
        name = f"{step}.note"
        tags[name] = f"{tags[name]}; {text}" if name in tags else text
    return tags


def _now() -> int:
    return int(time.time() * 1000)
