"""What a run has to say, kept in its folder as `record.json`.

Parameters, tags, points of metrics, data sets, the list of its artifacts, its state: all that
`app.tracking.delivery` brings to the store.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import platform
import re
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.errors import InputError
from app.files import whole
from app.tracking.address import Stored
from app.tracking.origin import origin
from app.tracking.text import NAME_LENGTH, TAG_LENGTH, as_text, cut

RECORD = "record.json"
RESULT = "result.json"  # what a job tells its sweep, beside the record
RUNNING = "RUNNING"

Point = tuple[str, float, int, int]  # name, value, step, milliseconds since 1970


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

    store: dict[str, Any]  # the tracking settings; addresses hold no credentials
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    parent: str | None = None  # MLflow's id of the sweep's run
    key: str = field(default_factory=lambda: uuid.uuid4().hex)  # the run's tag `record`
    begun: int = field(default_factory=lambda: _now())
    ended: int | None = None
    status: str = RUNNING  # or FINISHED, FAILED, KILLED
    points: list[Point] = field(default_factory=list)
    datasets: list[dict[str, Any]] = field(default_factory=list)
    model: dict[str, Any] | None = None  # that was asked
    artifacts: list[tuple[str, str]] = field(default_factory=list)  # file, folder among artifacts
    run_id: str | None = None  # MLflow's, once it is known
    announced: bool = False  # the store has the run with its parameters
    delivered: bool = False  # the store has everything, the end included

    @classmethod
    def of(cls, settings: Stored, folder: Path, description: Description) -> Record:
        """Begin the record of a run in a folder."""
        record = cls(
            dataclasses.asdict(settings),
            cut(description.name, NAME_LENGTH),
            as_text(description.params),
            {},
            description.parent,
        )
        tags = {
            **origin(),
            "record": record.key,
            "folder": str(folder.absolute()),
            "host": platform.node(),
            **description.tags,
        }
        if description.sentence:
            tags["mlflow.note.content"] = description.sentence
        if description.parent is not None:
            tags["mlflow.parentRunId"] = description.parent
        record.tag(tags)
        return record

    @property
    def settings(self) -> Stored:
        """The tracking settings."""
        return Stored(**self.store)

    def __post_init__(self) -> None:
        self._known: dict[tuple[str, float, int], int] = {}

    def take_over(self, old: Record) -> bool:
        """Go on with the run of an old record, where it is the same; whether it is.

        Points that the store may have already keep the times that they had.
        """
        own, others = ((each.store, each.name, each.params, each.parent) for each in (self, old))
        if own != others:
            return False
        self.key, self.begun, self.run_id = old.key, old.begun, old.run_id
        self.tags["record"] = old.key
        self._known = old._times
        return True

    def forget_points(self) -> None:
        """Begin anew with points; those that are noted again keep the times that they had."""
        self._known, self.points = self._times, []

    @property
    def _times(self) -> dict[tuple[str, float, int], int]:
        return {(name, value, step): at for name, value, step, at in self.points}

    def tag(self, tags: Mapping[str, str]) -> None:
        """Note tags; what is too long for MLflow is cut."""
        self.tags |= as_text(tags, TAG_LENGTH)

    def end(self, status: str, reason: str | None = None, at: int | None = None) -> None:
        """Note the run's end; the tag `error` has the reason."""
        self.status, self.ended, self.delivered = status, at or _now(), False
        if reason:
            self.tag({"error": reason})

    def add(self, values: Mapping[str, float], step: int = 0) -> None:
        """Note points of metrics; those that are not finite become the tag `undefined_metrics`.

        MLflow's database stores NaN as 0 with a mark that filters ignore, and infinity as the
        largest number; some versions of its pages fail on either.
        """
        now, undefined = _now(), []
        for name, value in values.items():
            if math.isfinite(value):
                point = (name, float(value), step)
                self.points.append((*point, self._known.get(point, now)))
            else:
                undefined.append(f"{name}={value}")
        if undefined:
            before = self.tags.get("undefined_metrics")
            self.tags["undefined_metrics"] = ", ".join(filter(None, [before, *undefined]))

    def add_artifacts(self, folder: Path, root: Path, names: Iterable[str] | None = None) -> None:
        """Note the files below `root`, or those of these names there, if they exist."""
        paths = root.rglob("*") if names is None else map(root.joinpath, names)
        for path in sorted(path for path in paths if path.is_file() and not _is_own(path)):
            place = path.parent.relative_to(root).as_posix()
            entry = (os.path.relpath(path, folder), "" if place == "." else place)
            if entry not in self.artifacts:
                self.artifacts.append(entry)


def read_undefined(text: str) -> dict[str, float]:
    """Read what the tag `undefined_metrics` says: `a=nan, b=inf`."""
    pairs = [part.partition("=") for part in text.split(", ") if part]
    return {name: float(value) for name, _, value in pairs}


def read(folder: Path) -> Record | None:
    """Read the record in a folder; None where there is none.

    Raises
    ------
    InputError
        For one that is no record.
    """
    path = folder / RECORD
    try:
        text = path.read_text(encoding="utf-8")
        if not text:
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
    content = {each.name: getattr(record, each.name) for each in dataclasses.fields(record)}
    write_text(folder / RECORD, json.dumps(content))


def write_text(path: Path, text: str) -> None:
    """Write a small file that lasts; InputError, and nothing half-made, where that fails."""
    try:
        with whole(path, lasting=True) as new:
            new.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}; is the disk full? Make room"
        ) from error


def _is_own(path: Path) -> bool:
    """Whether a file belongs to the keeping, not to the run's results."""
    return path.name in (RECORD, RESULT) or re.fullmatch(r"\..*\.(lock|new)", path.name) is not None


def _now() -> int:
    return int(time.time() * 1000)
