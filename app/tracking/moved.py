"""A project that was moved, or copied: what in it names its old place follows to the new one."""

from __future__ import annotations

import os
import sqlite3
from os.path import exists  # False, and no error, in folders that others closed
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

# The tag of the experiments that the program makes, without which MLflow's pages open on a view
# for language models.
KIND = ("mlflow.experimentKind", "custom_model_development")
ARTIFACTS = "artifacts"  # the folder beside the database that holds the runs' files


def is_same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one place, by links perhaps."""
    return one == other or (exists(one) and exists(other) and one.samefile(other))


def follow(path: Path, old: Path, new: Path) -> Path:
    """Where a path leads now that another one went from `old` to `new`; all are absolute.

    What moved, or was copied, is the part in which the two differ: whatever lay below that went
    along, but for what is in its old place alone.

    >>> follow(Path("/a/gone/mlruns"), Path("/a/gone/outputs/1"), Path("/b/outputs/1"))
    PosixPath('/b/mlruns')
    """
    while old.name and old.name == new.name:
        old, new = old.parent, new.parent
    if not path.is_relative_to(old):
        return path
    moved = new / path.relative_to(old)
    return moved if exists(moved) or not exists(path) else path


def mend_addresses(connection: sqlite3.Connection, folder: Path) -> str | None:
    """Let MLflow's database, in a folder that was moved or copied, name what came along.

    MLflow would go on writing files to the old place: its addresses are absolute. Where a database
    was, the experiments that this program made tell. Returns what was done, if anything was.
    """
    old = _find_old(connection)
    if old is None or is_same(old, folder):
        return None

    def mend(address: str | None, anyway: bool) -> str | None:
        if (path := _read_address(address)) is None:
            return address
        moved = follow(path, old, folder)
        if anyway and path.is_relative_to(old):
            moved = folder / path.relative_to(old)
        return address if moved == path else moved.as_uri()

    def lies(address: str | None) -> bool:
        path = _read_address(address)
        return path is not None and path.is_relative_to(old)

    connection.create_function("mend", 2, mend)
    connection.create_function("lies", 1, lies)
    connection.create_function("follow", 1, lambda path: str(follow(Path(path), old, folder)))
    with connection:  # all of it or nothing
        for change in (
            "experiments SET artifact_location = mend(artifact_location, TRUE)",  # of runs to come
            "runs SET artifact_uri = mend(artifact_uri, FALSE)",
            "logged_models SET artifact_location = mend(artifact_location, FALSE)",
            "tags SET value = follow(value) WHERE key = 'folder'",
        ):
            connection.execute(f"UPDATE {change}")
    find_left = "SELECT count(*) FROM runs WHERE lies(artifact_uri)"
    (left,) = connection.execute(find_left).fetchone()
    stay = f"; the files of {left} run(s) did not come along and stay there" if left else ""
    return f"{folder} came from {old}: the addresses in its database were mended{stay}"


def _find_old(connection: sqlite3.Connection) -> Path | None:
    """Where a database was: the first experiment is MLflow's own, those of the kind are ours."""
    find = (
        "SELECT e.experiment_id, artifact_location FROM experiments AS e LEFT JOIN experiment_tags "
        "AS t ON t.experiment_id = e.experiment_id AND key = ? WHERE e.experiment_id = 0 OR "
        "value = ? ORDER BY e.experiment_id"
    )
    for number, address in connection.execute(find, KIND):
        if (path := _read_address(address)) is not None:
            place = path if number else path.parent
            if place.name == ARTIFACTS:
                return place.parent
    return None


def _read_address(address: str | None) -> Path | None:
    """The path of an address of files, as MLflow writes them; None where it is none on a disk."""
    parts = urlsplit(address or "")
    if parts.scheme == "file":
        return Path(url2pathname(parts.path))
    return Path(address) if address and os.path.isabs(address) else None
