"""Metrics: responses and a contrast in, scores and p-values out.

One file a metric, each with a function `score(responses, contrast, **options) -> Scores`. Metrics
are pure functions of arrays; the rules that select units on what they return are in
`app.findings.selection`.
"""

from __future__ import annotations

import ast
import inspect
import pkgutil
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.errors import InputError

if TYPE_CHECKING:
    from app.metrics.contrast import Contrast


class Scores(NamedTuple):
    """What a metric says of every unit; NaN stands for undefined."""

    score: NDArray[np.float64]  # (units,) larger = more selective
    statistic: NDArray[np.float64]  # (contrasts, units) signed, positive = target responds more
    p: NDArray[np.float64] | None = None  # (contrasts, units) two-sided; None: no test


@dataclass(frozen=True)
class Question:
    """What one metric is asked: its score function, the contrast, and its own options."""

    score: Callable[..., Scores]
    contrast: Contrast
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Scored:
    """A metric's scores over a layer, and the responses of the units at both ends."""

    scores: Scores
    extremes: NDArray[np.int64]  # (units kept,), highest score first
    responses: NDArray[np.float32]  # (images, units kept)


def smallest(statistic: NDArray[np.float64]) -> NDArray[np.float64]:
    """Score of each unit: its smallest statistic over the contrasts that are defined.

    `statistic` is (contrasts, units); the result (units,) is NaN where no contrast is defined.
    """
    return np.fmin.reduce(statistic, axis=0)


def load(name: str) -> Callable[..., Scores]:
    """The score function of the metric `name`, that is of the file `app/metrics/<name>.py`.

    Metrics are the modules of this folder that define `score`, so a new one needs no entry in any
    list. InputError, with the names there are, for any other name.
    """
    function = _score_function(name) if name in _modules() else None
    if function is None:
        known = ", ".join(module for module in _modules() if _score_function(module))
        raise InputError(f"no metric is called {name!r}; there are: {known}")
    return function


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that the metric `name` does not have, or of another kind than its defaults.

    InputError with one line.
    """
    _, _, *known = inspect.signature(load(name)).parameters.values()
    defaults = {option.name: option.default for option in known}
    for option, value in options.items():
        if option not in defaults:
            raise InputError(
                f"metric {name} has no option {option!r} (metric.options.{option}={value}); "
                f"it has {', '.join(defaults) or 'none'}"
            )
        kind = type(defaults[option])
        fits = type(value) is kind or kind is float and type(value) is int
        if kind in (bool, int, float, str) and not fits:
            raise InputError(
                f"metric {name}: metric.options.{option}={value} must be of the type "
                f"{kind.__name__}, as its default {defaults[option]}"
            )


def sources(name: str, known: Collection[str] = ()) -> list[str]:
    """The modules that the metric `name` is made of: its own, and what it imports of this folder.

    Imports are followed, except into the modules `known`, and read, not run. InputError as `load`.
    """
    if name not in (modules := _modules()):
        load(name)
    found = [f"{__name__}.{name}"]
    for module in found:  # which grows meanwhile
        for part in _imported(module):
            full = f"{__name__}.{part}"
            if part in modules and full not in found and full not in known:
                found.append(full)
    return found


def _imported(module: str) -> Iterator[str]:
    """What the file of a module here names after `app.metrics.` in its imports."""
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    for node in ast.walk(ast.parse(Path(spec.origin).read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parent = node.module if not node.level else f"{__name__}.{node.module or ''}".strip(".")
            names = [f"{parent}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith(f"{__name__}."):
                yield name.removeprefix(f"{__name__}.").partition(".")[0]


def _modules() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def _score_function(module: str) -> Callable[..., Scores] | None:
    return getattr(import_module(f"{__name__}.{module}"), "score", None)
