"""Files are whole or not there, and a disk that is full is told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.errors import InputError


@contextmanager
def writing(what: str, folder: Path, another: str) -> Iterator[None]:
    """Turn a full disk, or a folder that cannot be written, into an InputError of one line.

    `what` is tried there ("write figures to"), and `another` says what would be right.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"cannot {what} {folder}: {reason}; make room or choose {another}"
        ) from error


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Write the file in the body; one that cannot be written to its end is removed again."""
    try:
        yield path
    except BaseException:
        with suppress(OSError):
            path.unlink(missing_ok=True)
        raise
