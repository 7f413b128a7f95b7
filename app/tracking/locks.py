"""Who is alive: a process holds a lock in the folder of what it runs.

The system releases it when the process dies, however it dies. That is how the next start tells the
dead from the living.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from app.errors import InputError

LEAVING_SECONDS = 10  # that a process may take to leave its folder: one just interrupted delivers
OVER = "over"  # what a lock's file holds once its process has left the folder


class Presence:
    """That this process works in a folder, for as long as this is kept, until `leave`.

    Raises
    ------
    InputError
        Where another process does.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._own = _lock_path(folder)
        self._lock = FileLock(self._own)
        try:
            self._lock.acquire(timeout=1)  # longer than another process takes to look
        except Timeout:
            raise InputError(
                f"another run writes to {folder} now: wait for its end, or give it another folder"
            ) from None
        for path in _locks(folder):  # the job may have been on another machine before
            _mark(path, "" if path == self._own else OVER)

    def leave(self) -> None:
        """Take the mark away."""
        if self._lock.is_locked:
            _mark(self._own, OVER)
            self._lock.release()

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        self.leave()


@contextmanager
def claimed(folder: Path, ended: bool) -> Iterator[bool]:
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
