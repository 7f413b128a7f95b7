"""Files are whole or not there, and a disk that is full is told in one line."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from app.errors import InputError

PARTIAL = ".new"  # ends the hidden name of a file that is being written


# How the beginning of a file, or what a link leads to, tells that the content was not fetched.
POINTERS = {
    rb"version https://git-lfs": "is a pointer of Git LFS, not the file: git lfs pull fetches it",
    rb"(.*\.git)?/annex/objects/": (
        "is a pointer of git-annex, not the file: git annex get, or datalad get, fetches it"
    ),
}


def find_pointer(path: Path) -> str | None:
    """Why a file holds, or a link leads to, less than its name says, and the mend."""
    try:
        with open(path, "rb") as file:
            start = file.read(100)
    except OSError:
        start = os.fsencode(path.readlink()) if path.is_symlink() else b""
    return next((said for sign, said in POINTERS.items() if re.match(sign, start)), None)


def digest_file(path: Path) -> str:
    """SHA-256 of a file; size and time of change stand for its content within one process."""
    status = path.stat()
    return _digest(path, status.st_size, status.st_mtime_ns)


@functools.cache  # every step of a run asks for it, and full-size weights are half a gigabyte
def _digest(path: Path, size: int, modified: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def reading(what: str, path: Path, hint: str = "") -> Iterator[None]:
    """Turn what a reader of a file raises into an InputError of one line, which ends in a hint."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of damaged files readers raise nearly anything
        pointer, reason = find_pointer(path), getattr(error, "strerror", None)
        if isinstance(error, UnicodeDecodeError):
            reason = "it is not UTF-8 text"
        if not (pointer or reason):
            reason = " ".join(str(error).split()) or type(error).__name__
            hint = hint or "; is it whole, and of the format its name says?"
        raise InputError(f"{what} {pointer or f'cannot be read: {reason}'}{hint}") from error


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


def user_cache(name: str) -> str:
    """Return the folder of that name in the user's cache, where what is fetched once is kept."""
    import pooch  # slow to import, and most runs fetch nothing

    return str(pooch.os_cache("selective-units") / name)


def to_json(tree: Any) -> str:
    """Write JSON, which has neither NaN nor infinity: null stands for them."""
    return json.dumps(json.loads(json.dumps(tree), parse_constant=lambda _: None), indent=2)


@contextmanager
def whole(path: Path, *, lasting: bool = False) -> Iterator[Path]:
    """The path of a new file to fill in the body, which then takes the place of `path`.

    A kill, an error or a full disk leaves the old file, or none; a power cut, too, if `lasting`.
    The body may make a folder there, which takes the place of none, or of an empty one.
    """
    new = path.with_name(f".{path.name}{PARTIAL}")
    try:
        yield new
        if lasting:
            with open(new, "rb") as file:
                os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        with suppress(OSError):
            if new.is_dir():
                shutil.rmtree(new)
            new.unlink(missing_ok=True)
        raise
