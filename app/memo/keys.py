"""Keys that derive themselves: a stored result is found again while all that made it is the same.

That is the content of the step's arguments, the source of everything in this package that the step
can reach by imports, and the versions of the other packages that this source imports. There is no
list to keep: what a step imports tomorrow is in its keys tomorrow.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import inspect
import json
import sys
from collections.abc import Callable, Mapping, Set
from dataclasses import fields, is_dataclass
from importlib.util import resolve_name
from pathlib import Path
from typing import Any

import numpy as np

PACKAGE = __name__.partition(".")[0]
ROOT = Path(__file__).parents[1]


def derive_key(step: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """SHA-256 that stands for a step and the content of all its arguments, defaults filled in.

    A step is a function at the top level of one of this package's modules. Arrays count by type,
    shape and values; dataclasses, named tuples and collections by their parts; functions, and
    objects of this package's classes, by the source that they reach, too. An object that is not its
    fields (a network that is loaded later) says by `__memo__()` what identifies it. TypeError for
    an argument whose content cannot be told.
    """
    bound = inspect.signature(step).bind(*args, **kwargs)
    bound.apply_defaults()
    told = json.dumps([describe(step), describe(bound.arguments)], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def describe(value: Any) -> Any:
    """The content of a value as JSON can say it; see `derive_key`."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, np.ndarray):
        return digest_array(value)
    if callable(value) and hasattr(value, "__qualname__"):
        if "<" in value.__qualname__:
            raise TypeError(f"{value.__qualname__} has no place of its own: it cannot be told")
        return {"function": value.__qualname__, "source": digest_source(value.__module__)}
    kind = type(value)
    own = kind.__module__.partition(".")[0] == PACKAGE
    source = digest_source(kind.__module__) if own else None
    return {"type": kind.__qualname__, "content": _describe_parts(value), "source": source}


def _describe_parts(value: Any) -> Any:
    if hasattr(value, "__memo__"):
        return describe(value.__memo__())
    if is_dataclass(value):
        return [[each.name, describe(getattr(value, each.name))] for each in fields(value)]
    if isinstance(value, Mapping):  # in their order, which may matter
        return [[describe(key), describe(part)] for key, part in value.items()]
    if isinstance(value, (tuple, list, range)):
        return [describe(part) for part in value]
    if isinstance(value, Set):
        return sorted(json.dumps(describe(part), sort_keys=True) for part in value)
    raise TypeError(f"the content of a {type(value).__qualname__} cannot be told: {value!r:.100}")


def digest_array(array: np.ndarray) -> str:
    """SHA-256 over an array's type, shape and values."""
    if array.dtype.hasobject:
        raise TypeError("an array of Python objects has no digest")
    digest = hashlib.sha256(f"{array.dtype.str} {array.shape} ".encode())
    digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


@functools.cache
def digest_source(module: str, root: Path = ROOT) -> str:
    """SHA-256 over the source that a module reaches, and the versions of what this imports.

    Comments, docstrings, blanks and what only type checkers import do not count: code is hashed as
    it is parsed.
    """
    digest = hashlib.sha256()
    packages: set[str] = set()
    for name in sorted(find_closure(module, root)):
        code, imports = _read(name, root)
        digest.update(f"{name} {code}\n".encode())
        packages |= {each.partition(".")[0] for each in imports}
    others = packages - {PACKAGE} - sys.stdlib_module_names
    digest.update(json.dumps({name: _version(name) for name in sorted(others)}).encode())
    return digest.hexdigest()


def find_closure(module: str, root: Path = ROOT) -> set[str]:
    """The modules of this package that a module reaches by imports, itself included.

    Imports within functions count, those for type checkers alone do not. A module brings the
    packages that it lies in, as Python's import does. Modules are read in the package's folder
    `root`, not imported.
    """
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in found and _path(name, root) is not None:
            found.add(name)
            waiting += [*_read(name, root)[1], name.rpartition(".")[0]]
    return found


@functools.cache
def _read(name: str, root: Path) -> tuple[str, list[str]]:
    """Parse a module: its code, hashed, and the full names that it imports."""
    path = _path(name, root)
    assert path is not None, f"{name} is no module of {root}"
    tree = ast.parse(path.read_bytes())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body[0] = ast.Pass()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            node.body = [ast.Pass()]
    package, imports = name if path.stem == "__init__" else name.rpartition(".")[0], []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):  # a module, and names in it that may be modules
            module = resolve_name("." * node.level + (node.module or ""), package)
            imports += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), imports


def _path(name: str, root: Path) -> Path | None:
    first, *parts = name.split(".")
    place = root.joinpath(*parts)
    paths = (place / "__init__.py", place.with_name(f"{place.name}.py"))
    return next((path for path in paths if first == PACKAGE and path.is_file()), None)


@functools.cache
def _version(package: str) -> str:
    """The versions of the distributions that bring a package; empty where none does."""
    names = sorted(set(_distributions().get(package, [])))
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)


_distributions = functools.cache(importlib.metadata.packages_distributions)
