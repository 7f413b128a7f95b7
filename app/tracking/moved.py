"""A project that was moved, or copied: what in it names its old place follows to the new one."""

from __future__ import annotations

import sqlite3
from os.path import exists  # False, and no error, in folders that others closed
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

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
    of this program was made, its first experiment tells. Returns what was done, if anything was.
    """
    find_first = "SELECT artifact_location FROM experiments WHERE experiment_id = 0"
    first = [_read_address(address) for (address,) in connection.execute(find_first)]
    if not first or first[0] is None or first[0].parent.name != ARTIFACTS:
        return None
    old = first[0].parents[1]
    if is_same(old, folder):
        return None

    def mend(address: str | None, anyway: bool) -> str | None:
        path = _read_address(address)
        if path is None or not path.is_relative_to(old):
            return address
        moved = folder / path.relative_to(old)
        return (moved if anyway else follow(path, old, folder)).as_uri()

    connection.create_function("mend", 2, mend)
    connection.create_function("follow", 1, lambda path: str(follow(Path(path), old, folder)))
    with connection:  # all of it or nothing
        for change in (
            "experiments SET artifact_location = mend(artifact_location, TRUE)",  # of runs to come
            "runs SET artifact_uri = mend(artifact_uri, FALSE)",
            "logged_models SET artifact_location = mend(artifact_location, FALSE)",
            "tags SET value = follow(value) WHERE key = 'folder'",
        ):
            connection.execute(f"UPDATE {change}")
    find_left = "SELECT count(*) FROM runs WHERE instr(artifact_uri, ?) = 1"
    (left,) = connection.execute(find_left, [f"{old.as_uri()}/"]).fetchone()
    stay = f"; the files of {left} run(s) did not come along and stay there" if left else ""
    return f"{folder} came from {old}: the addresses in its database were mended{stay}"


def _read_address(address: str | None) -> Path | None:
    """The path of an address of files; None where it is no place on a disk."""
    parts = urlsplit(address or "")
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None
