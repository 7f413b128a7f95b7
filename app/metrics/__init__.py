"""Metrics: responses and a contrast in, scores and p-values out.

One file a metric, each with a function `score(responses, contrast, **options) -> Scores`. Metrics
are pure functions of arrays; the rules that select units on what they return are in
`app.findings.selection`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.errors import InputError


class Scores(NamedTuple):
    """What a metric says of every unit; NaN stands for undefined."""

    score: NDArray[np.float64]  # (units,) larger = more selective
    statistic: NDArray[np.float64]  # (contrasts, units) signed, positive = target responds more
    p: NDArray[np.float64] | None = None  # (contrasts, units) two-sided; None: no test


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


def _modules() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def _score_function(module: str) -> Callable[..., Scores] | None:
    return getattr(import_module(f"{__name__}.{module}"), "score", None)
