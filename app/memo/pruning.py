"""What is stored, and what may go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from app.errors import InputError
from app.files import PARTIAL


@dataclass(frozen=True)
class Entry:
    """A stored result's file, or what a process that died left of one."""

    path: Path
    size: int  # bytes
    used: float  # when it was last read or written, seconds since the epoch

    @property
    def step(self) -> str:
        """The step whose result it is."""
        return self.path.parent.name


def list_entries(folder: Path) -> list[Entry]:
    """All entries below a memo's folder, the least recently used first."""
    return _list(folder.glob("*/*.npz"))


def list_unfinished(folder: Path) -> list[Entry]:
    """The files of entries that are being written, or whose writer died; see `remove`."""
    return _list(folder.glob(f"*/.*{PARTIAL}"))


def choose_to_prune(
    found: Sequence[Entry],
    *,
    keep_bytes: float | None = None,
    older_than: float | None = None,
    now: float,
) -> list[Entry]:
    """The old ones, then the least recently used, as many as let `keep_bytes` stay.

    `now` is in seconds since the epoch, `older_than` in seconds before it; None bounds nothing.
    """
    ordered = sorted(found, key=lambda entry: entry.used)
    stays = sum(entry.size for entry in ordered)
    gone = []
    for entry in ordered:
        old = older_than is not None and now - entry.used > older_than
        if not old and (keep_bytes is None or stays <= keep_bytes):
            break
        gone.append(entry)
        stays -= entry.size
    return gone


def remove(entry: Entry) -> bool:
    """Delete a file unless a process holds its entry's lock; whether it is gone.

    Whoever reads the file goes on reading; an unfinished file without a lock has no writer.
    InputError where it may not be deleted.
    """
    stem = entry.path.name.lstrip(".").partition(".")[0]
    try:
        with FileLock(entry.path.with_name(f"{stem}.lock"), timeout=0):
            entry.path.unlink(missing_ok=True)
    except Timeout:
        return False
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"{entry.path} cannot be deleted: {reason}; its owner may prune the cache"
        ) from error
    return True


def _list(paths: Iterable[Path]) -> list[Entry]:
    found = []
    for path in paths:
        with suppress(FileNotFoundError):  # moved or deleted meanwhile
            status = path.stat()
            found.append(Entry(path, status.st_size, status.st_mtime))
    return sorted(found, key=lambda entry: (entry.used, entry.path))
