"""Work is done once: arrays stored on disk under the content of what they were computed from.

An entry is one uncompressed zip of `.npy` arrays (the format of `numpy.savez`), so `numpy.load`
opens it too. The CRC-32 that zip keeps for every member is checked when the member is read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.lib import format as npy

from app.errors import InputError
from app.files import writing

log = logging.getLogger(__name__)

FORMAT = 1  # of the entry files; part of every key, so older entries are never read
HEAD = "entry.json"  # the member that says what the entry is
USED_SECONDS = 3600.0  # to which the time of an entry's last use is kept


class Cache:
    """Arrays by step and ingredients, in a folder that several processes may share."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()

    def path(self, step: str, ingredients: Mapping[str, Any]) -> Path:
        """The file that holds, or would hold, this entry."""
        key = hashlib.sha256(_identity(step, ingredients).encode()).hexdigest()
        return self.folder / step / f"{key}.npz"

    def has(self, step: str, ingredients: Mapping[str, Any]) -> bool:
        """Whether the entry's file exists; its content is checked only when it is read."""
        return self.path(step, ingredients).is_file()

    def get(
        self,
        step: str,
        ingredients: Mapping[str, Any],
        compute: Callable[[], Mapping[str, np.ndarray]],
        *,
        names: Sequence[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Return the entry's arrays, computing and storing them if they are not there.

        Args:
            step: What is computed; a folder of the cache.
            ingredients: All that the result depends on, as JSON can say it (digests of arrays
                and of code, settings). Equal ingredients mean the same entry.
            compute: Called without arguments when there is no sound entry; returns all arrays.
            names: The arrays to return; None returns all.

        Of several processes that ask for the same entry, one computes while the others wait. A
        damaged entry is computed again, with a warning. Raises InputError when the entry cannot
        be written.
        """
        return self.get_each(step, {step: ingredients}, lambda _: {step: compute()}, names=names)[
            step
        ]

    def get_each(
        self,
        step: str,
        ingredients: Mapping[str, Mapping[str, Any]],
        compute: Callable[[list[str]], Mapping[str, Mapping[str, np.ndarray]]],
        *,
        wanted: Sequence[str] | None = None,
        names: Sequence[str] | None = None,
    ) -> dict[str, dict[str, np.ndarray]]:
        """Return several entries' arrays, by the keys of `ingredients`; those missing together.

        Each entry is as in `get`. When a `wanted` one (None: any) is missing, `compute` is called
        with the keys of all that are, and returns their arrays by key. Returns the wanted ones.
        """
        wanted = list(ingredients) if wanted is None else wanted
        path = {key: self.path(step, part) for key, part in ingredients.items()}
        identity = {key: _identity(step, part) for key, part in ingredients.items()}
        found: dict[str, dict[str, np.ndarray]] = {}
        for key in wanted:  # without the locks: entries never change
            arrays, _ = _try_read(path[key], identity[key], names)
            if arrays is not None:
                found[key] = arrays
        if len(found) == len(wanted):
            return found
        with ExitStack() as locks:
            for key in sorted(path, key=path.__getitem__):  # in one order, or two would block
                if key not in found:
                    locks.enter_context(_locked(path[key]))
            # Another process may have finished while this one waited.
            missing = []
            for key in path:
                if key in found:
                    continue
                arrays, damage = _try_read(path[key], identity[key], names)
                if damage is not None:
                    log.warning(
                        "stored result %s is damaged (%s); computing it again", path[key], damage
                    )
                if arrays is None:
                    missing.append(key)
                elif key in wanted:
                    found[key] = arrays
            for key, computed in (compute(missing) if missing else {}).items():
                whole = {name: np.asarray(array) for name, array in computed.items()}
                _write(path[key], identity[key], whole)
                if key in wanted:
                    found[key] = whole if names is None else {name: whole[name] for name in names}
        return found


def code_digest(*modules: str) -> str:
    """SHA-256 over the source files of modules, by name: the code version of what they do.

    The modules are found, not imported.
    """
    digest = hashlib.sha256()
    for name in modules:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise ValueError(f"{name} has no source file")
        digest.update(f"{name}\0{file_digest(spec.origin)}".encode())
    return digest.hexdigest()


def array_digest(array: np.ndarray) -> str:
    """SHA-256 over an array's type, shape and values."""
    array = np.asarray(array)
    if array.dtype.hasobject:
        raise TypeError("an array of Python objects has no digest")
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def file_digest(path: str | Path) -> str:
    """SHA-256 over a file's bytes, read in pieces."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _identity(step: str, ingredients: Mapping[str, Any]) -> str:
    """Canonical JSON: the same for equal ingredients, whatever their order."""
    if not step or step.startswith(".") or "/" in step or os.sep in step:
        raise ValueError(f"a step's name must be a plain folder name, not {step!r}")
    return json.dumps(
        {"format": FORMAT, "step": step, "ingredients": ingredients},
        sort_keys=True,
        separators=(",", ":"),
    )


def _storing(path: Path) -> AbstractContextManager[None]:
    """Turn the failures of writing into the cache into one clear line."""
    return writing("store a result in", path.parent, "another folder with cache=<folder>")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the entry's lock, which the system releases if this process dies.

    The lock's file stays: removing it while others wait for it would let two of them in.
    """
    lock = FileLock(path.with_suffix(".lock"))
    with _storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("waiting for another process to compute %s", path.parent.name)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _try_read(
    path: Path, identity: str, names: Sequence[str] | None
) -> tuple[dict[str, np.ndarray] | None, str | None]:
    """The arrays of a sound entry, or None and, if there is a file, what is wrong with it."""
    try:
        arrays = _read(path, identity, names)
        _mark_used(path)
        return arrays, None
    except FileNotFoundError:
        return None, None
    except Exception as error:  # flipped bits make zipfile and numpy raise nearly anything
        return None, str(error) or type(error).__name__


def _read(path: Path, identity: str, names: Sequence[str] | None) -> dict[str, np.ndarray]:
    arrays = {}
    with zipfile.ZipFile(path) as entry:
        head = json.loads(entry.read(HEAD))
        if head["identity"] != identity:
            raise ValueError("made from other ingredients")
        for name in head["arrays"] if names is None else names:
            with entry.open(f"{name}.npy") as member:
                arrays[name] = npy.read_array(member, allow_pickle=False)
                if member.read(1):  # reaching the end is what checks the CRC
                    raise ValueError(f"{name} is longer than its header says")
    return arrays


def _mark_used(path: Path) -> None:
    """Keep the time of the last use as the file's, where the folder may be written."""
    with suppress(OSError):
        if time.time() - path.stat().st_mtime > USED_SECONDS:
            os.utime(path)


def _write(path: Path, identity: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Put a complete entry in place, or nothing. The caller holds the entry's lock."""
    with _storing(path):
        # Whoever left these is dead: it held the lock.
        for leftover in path.parent.glob(f".{path.stem}.*.tmp"):
            leftover.unlink(missing_ok=True)
        temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
                with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as entry:
                    head = {"identity": identity, "arrays": list(arrays)}
                    # ZipInfo's fixed date makes equal entries equal files.
                    entry.writestr(zipfile.ZipInfo(HEAD), json.dumps(head))
                    for name, array in arrays.items():
                        info = zipfile.ZipInfo(f"{name}.npy")
                        with entry.open(info, "w", force_zip64=True) as member:
                            npy.write_array(member, array, allow_pickle=False)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            log.info("computed %s", path)
        finally:
            temporary.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the new name, too, survives a power cut
        finally:
            os.close(folder)


# --- what is there, and what may go ---------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A file of the cache: an entry, or what a process that died left of one."""

    path: Path
    size: int  # bytes
    used: float  # when it was last read or written, seconds since the epoch

    @property
    def step(self) -> str:
        return self.path.parent.name


def entries(folder: Path) -> list[Entry]:
    """All entries below the cache's folder, the least recently used first."""
    return _files(folder.glob("*/*.npz"))


def unfinished(folder: Path) -> list[Entry]:
    """The files of entries that are being written, or whose writer died; see `remove`."""
    return _files(folder.glob("*/.*.tmp"))


def to_prune(
    found: Sequence[Entry],
    *,
    keep_bytes: float | None = None,
    older_than: float | None = None,
    now: float,
) -> list[Entry]:
    """Those last used more than `older_than` seconds before `now`, and, the least recently used
    first, as many others as let at most `keep_bytes` stay. None: no such bound.
    """
    ordered = sorted(found, key=lambda entry: entry.used)
    old = [entry for entry in ordered if older_than is not None and now - entry.used > older_than]
    rest = ordered[len(old) :]
    stays = sum(entry.size for entry in rest)
    for entry in rest:
        if keep_bytes is None or stays <= keep_bytes:
            break
        old.append(entry)
        stays -= entry.size
    return old


def remove(entry: Entry) -> bool:
    """Delete a file of the cache unless a process holds its entry's lock; whether it is gone.

    Whoever reads the file goes on reading; a temporary file without a lock has no writer.
    InputError where it may not be deleted.
    """
    stem = entry.path.name.lstrip(".").partition(".")[0]
    lock = FileLock(entry.path.with_name(f"{stem}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except OSError as error:
        raise _not_deleted(entry, error) from error
    try:
        entry.path.unlink(missing_ok=True)
    except OSError as error:
        raise _not_deleted(entry, error) from error
    finally:
        lock.release()
    return True


def _not_deleted(entry: Entry, error: OSError) -> InputError:
    return InputError(
        f"{entry.path} cannot be deleted: {error.strerror or error}; its owner may prune the cache"
    )


def _files(paths: Iterable[Path]) -> list[Entry]:
    found = []
    for path in paths:
        with suppress(FileNotFoundError):  # moved or deleted meanwhile
            status = path.stat()
            found.append(Entry(path, status.st_size, status.st_mtime))
    return sorted(found, key=lambda entry: (entry.used, entry.path))
