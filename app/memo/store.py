"""Work is done once: the results of steps, stored under keys that derive themselves, and pruned.

An entry is one `.npz` file, as `numpy.savez` writes it: the arrays of a result by their names in
it, and, as text under `entry`, how they make it up. Nothing is pickled. The CRC-32 that zip keeps
for every array is checked when it is read.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import numpy as np
from filelock import FileLock, Timeout

from app.files import PARTIAL, whole, writing
from app.memo.keys import PACKAGE, derive_key

log = logging.getLogger(__name__)

P = ParamSpec("P")
Item = TypeVar("Item")
Result = TypeVar("Result")

ENTRY = "entry"  # the name of the text among an entry's arrays
_storing = partial(writing, "store a result in", another="another folder with cache=<folder>")


class Memo:
    """The results of steps, in a folder that several processes may share.

    A step is a pure function at the top level of a module. Its result is made up of arrays,
    numbers, text, None, tuples, lists, mappings by text, and this package's dataclasses and named
    tuples of these; lists come back as tuples. Each step's are in a folder of their own.
    """

    def __init__(self, folder: str | Path, own: str | Path | None = None) -> None:
        self.folder = Path(folder).expanduser()
        # What may only be read serves what it has; the rest goes to this process's own folder.
        self._folders = [self.folder] if own is None else [self.folder, Path(own)]
        self.note: str | None = None  # what became of that

    def __call__(self, step: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """The step's result for these arguments, computed and stored if it is not there.

        Of several processes that ask for the same result, one computes it while the others wait. A
        damaged entry is computed again, with a warning. InputError where a result cannot be stored,
        but for a folder that may only be read: see `note`.
        """
        paths = {"": self.path(step, *args, **kwargs)}
        return self._get(paths, [""], lambda _: {"": step(*args, **kwargs)})[""]

    def each(
        self,
        step: Callable[Concatenate[dict[str, Item], P], Mapping[str, Result]],
        items: Mapping[str, Item],
        wanted: Collection[str],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> dict[str, Result]:
        """The results of a step that makes several at once, each stored by itself.

        The step takes a dictionary of items first, and returns a result for each by the same names,
        which depends on its own item and name alone. Where a `wanted` one is missing, it is called
        with all items whose results are; it may leave out what nobody wants.
        """

        def compute(missing: list[str]) -> Mapping[str, Result]:
            return step({name: items[name] for name in missing}, *args, **kwargs)

        paths = {name: self.path(step, {name: items[name]}, *args, **kwargs) for name in items}
        return self._get(paths, wanted, compute)

    def path(self, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Path:
        """The file that holds, or would hold, the step's result for these arguments."""
        return self.folder / step.__name__ / f"{derive_key(step, *args, **kwargs)}.npz"

    def _get(
        self,
        paths: Mapping[str, Path],
        wanted: Collection[str],
        compute: Callable[[list[str]], Mapping[str, Result]],
    ) -> dict[str, Result]:
        found: dict[str, Any] = {}
        for name in wanted:  # without the locks: entries never change
            with suppress(Exception):
                found[name] = self._find(paths[name])
        if len(found) == len(wanted):
            return found
        missing = {name: path for name, path in paths.items() if name not in found}
        place = self._choose_place(next(iter(paths.values())).parent.name)
        if place is None:
            found |= compute(list(missing))
            return {name: found[name] for name in wanted}
        with ExitStack() as locks:
            with _storing(place):
                place.mkdir(parents=True, exist_ok=True)
                for file in sorted(path.name for path in missing.values()):  # or two would block
                    # A lock's file stays: removing it while others wait would let two of them in.
                    locks.enter_context(FileLock((place / file).with_suffix(".lock")))
            for name, path in list(missing.items()):
                try:  # another process may have finished while this one waited
                    found[name] = self._find(path)
                    del missing[name]
                except FileNotFoundError:
                    pass
                except Exception as error:  # flipped bits raise nearly anything
                    damage = str(error) or type(error).__name__
                    log.warning(
                        "stored result %s is damaged (%s); computing it again", path, damage
                    )
            for name, result in (compute(list(missing)) if missing else {}).items():
                _write(place / missing[name].name, result)
                found[name] = result
        return {name: found[name] for name in wanted}

    def _find(self, path: Path) -> Any:
        """Read an entry, this process's own rather than the shared one; FileNotFoundError."""
        own = self._folders[-1] / path.relative_to(self.folder)
        return _read(own if own.exists() else path)

    def _choose_place(self, step: str) -> Path | None:
        """The folder that takes a step's results: the first that may be written; None: none may."""
        told = f"cache: {self.folder} may only be read; what it lacked was"
        for folder in self._folders:
            place = folder / step
            if os.access(place if place.exists() else folder, os.W_OK) or not folder.is_dir():
                if folder != self.folder:
                    self.note = f"{told} stored in {folder}"
                return place
        self.note = f"{told} not stored"
        return None


def _read(path: Path) -> Any:
    with np.load(path, allow_pickle=False) as arrays:
        head = json.loads(str(arrays[ENTRY]))
        if head["key"] != path.stem:
            raise ValueError("it is another result's")
        result = _build(head["result"], arrays)
    with suppress(OSError):  # the last use is the file's time, where the folder may be written
        os.utime(path)
    return result


def _write(path: Path, result: Any) -> None:
    """Put a complete entry in place, or nothing. The caller holds the entry's lock."""
    arrays: dict[str, np.ndarray] = {}
    head = json.dumps({"key": path.stem, "result": _take_apart(result, arrays)})
    with _storing(path.parent), whole(path, lasting=True) as new, open(new, "wb") as file:
        np.savez(file, allow_pickle=False, **{ENTRY: np.array(head)}, **arrays)
    log.info("computed %s", path)


def _take_apart(value: Any, arrays: dict[str, np.ndarray], place: str = "") -> Any:
    """What a result is made of as JSON can say it; its arrays go to `arrays`, by their place."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        name = place or "result"
        arrays[name] = value
        return {"array": name}
    kind: Any = [type(value).__module__, type(value).__qualname__]
    if isinstance(value, Mapping):
        kind, parts = "mapping", value
    elif is_dataclass(value):
        parts = {each.name: getattr(value, each.name) for each in fields(value)}
    elif hasattr(value, "_asdict"):
        parts = value._asdict()
    elif isinstance(value, (tuple, list)):
        kind, parts = "tuple", {str(place): part for place, part in enumerate(value)}
    else:
        raise TypeError(f"a {type(value).__qualname__} cannot be stored")
    lead = f"{place}/" if place else ""
    told = {name: _take_apart(part, arrays, lead + name) for name, part in parts.items()}
    return {"kind": kind, "parts": told}


def _build(told: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The value that `_take_apart` told of."""
    if not isinstance(told, dict):
        return told
    if "array" in told:
        return arrays[told["array"]]
    parts = {name: _build(part, arrays) for name, part in told["parts"].items()}
    if told["kind"] == "mapping":
        return parts
    if told["kind"] == "tuple":
        return tuple(parts.values())
    module, name = told["kind"]
    if module.partition(".")[0] != PACKAGE:
        raise ValueError(f"{module}.{name} is no type of this package")
    kind = cast(Any, getattr(import_module(module), name))
    if not is_dataclass(kind) and not hasattr(kind, "_fields"):
        raise ValueError(f"{module}.{name} holds no result")
    return kind(**parts)


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


def list_entries(folder: Path, *, unfinished: bool = False) -> list[Entry]:
    """All entries below a memo's folder, the least recently used first.

    Or what is `unfinished`: files that are being written, or whose writer died.
    """
    found = []
    for path in folder.glob(f"*/.*{PARTIAL}" if unfinished else "*/*.npz"):
        with suppress(FileNotFoundError):  # moved or deleted meanwhile
            status = path.stat()
            found.append(Entry(path, status.st_size, status.st_mtime))
    return sorted(found, key=lambda entry: (entry.used, entry.path))


def choose_to_prune(
    found: Sequence[Entry], now: float, keep_bytes: float | None, older_than: float | None
) -> list[Entry]:
    """The old ones, then the least recently used, as many as let `keep_bytes` stay.

    `now` is in seconds since the epoch, `older_than` in seconds before it; None bounds nothing.
    """
    stays, gone = sum(entry.size for entry in found), list[Entry]()
    for entry in sorted(found, key=lambda entry: entry.used):
        old = older_than is not None and now - entry.used > older_than
        if not old and (keep_bytes is None or stays <= keep_bytes):
            break
        gone.append(entry)
        stays -= entry.size
    return gone


def remove(entry: Entry) -> bool:
    """Delete a file unless a process holds its entry's lock; whether it is gone.

    Whoever reads the file goes on reading; an unfinished file without a lock has no writer.
    """
    stem = entry.path.name.lstrip(".").partition(".")[0]
    try:
        with FileLock(entry.path.with_name(f"{stem}.lock"), timeout=0):
            entry.path.unlink(missing_ok=True)
    except Timeout:
        return False
    return True
