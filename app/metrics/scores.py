"""What a metric is asked, what it says, and which metrics there are."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.errors import InputError
from app.metrics.contrast import Contrast
from app.metrics.moments import Moments, compute_moments, divide


class Scores(NamedTuple):
    """What a metric says of every unit; NaN stands for undefined."""

    # (…, units) larger = more selective; as a metric's file has it (…, contrasts, units), or
    # (…, units) where it is no reduction over contrasts: see `Question.conclude`
    score: NDArray[np.float64]
    statistic: NDArray[np.float64]  # (…, contrasts, units) signed, positive = target responds more
    p: NDArray[np.float64] | None = None  # (…, contrasts, units) two-sided; None: no test
    # (…, units) whether means of two signs make the statistic 1 or -1; None: they could not
    signed: NDArray[np.bool_] | None = None
    # (…, units) whether the target's mean is above each other group's; None: that is not asked
    preferred: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Question:
    """What one metric is asked: its score function, the contrast, and its own options."""

    score: Callable[..., Scores]
    contrast: Contrast
    options: Mapping[str, Any]
    # Of a metric that is a function of moments, or of counts of pairs: that function, if any.
    from_moments: Callable[..., Scores] | None = None
    from_pairs: Callable[..., Scores] | None = None
    reduction: str = "smallest"  # of what is said of each contrast to a score: of `REDUCTIONS`
    preferred: bool = False  # whether it is asked where the target's mean is the highest

    def ask(self, responses: NDArray[Any]) -> Scores:
        """Ask the metric of responses (images, units), and conclude."""
        found = self.score(responses, self.contrast, **self.options)
        moments = compute_moments(responses, self.contrast.images) if self.preferred else None
        return self.conclude(found, moments)

    def conclude(self, found: Scores, moments: Moments | None) -> Scores:
        """Make one score of those of the contrasts, the same way for images as for draws of them.

        `moments` (…, groups, units) are those of the groups' responses, the target's first, where
        `preferred` asks for them. InputError for a score of the metric's own, which is not reduced.
        """
        if moments is not None:
            target, others = moments.split()
            found = found._replace(preferred=np.all(target.mean > others.mean, axis=-2))
        if found.score.ndim == found.statistic.ndim:
            return found._replace(score=REDUCTIONS[self.reduction](found.score))
        if self.reduction != "smallest":
            raise InputError(
                f"metric.score={self.reduction}: this metric's score is one for all contrasts: "
                "take metric.score=smallest"
            )
        return found


@dataclass(frozen=True)
class Scored:
    """A metric's scores over a layer, and the responses of the units at both ends."""

    scores: Scores
    extremes: NDArray[np.int64]  # (units kept,), highest score first
    responses: NDArray[np.float32]  # (images, units kept)
    absent: int = 0  # units that had no responses to score

    def leave_contrasts(self) -> Scored:
        """Leave out what was said of each contrast: of millions of units, most of the memory."""
        scores = self.scores._replace(statistic=np.empty((0, len(self.scores.score))), p=None)
        return replace(self, scores=scores)


def smallest(statistic: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the score of each unit: its smallest statistic over the contrasts that are defined.

    `statistic` is (…, contrasts, units); the result (…, units) is NaN where none is defined.
    """
    score: NDArray[np.float64] = np.fmin.reduce(statistic, axis=-2)
    return score


def average(statistic: NDArray[np.float64]) -> NDArray[np.float64]:
    """Find the score of each unit, as `smallest`: its mean statistic, as `numpy.nanmean` does."""
    defined = ~np.isnan(statistic)
    return divide(np.nansum(statistic, axis=-2), np.count_nonzero(defined, axis=-2))


REDUCTIONS = {"smallest": smallest, "mean": average}  # the names are `app.choices.SCORES`


def note_signs(scores: Mapping[str, Scores], what: str = "units") -> list[str]:
    """Say of which metrics' scores, of units or kernels, signs decide more than sizes."""
    return [
        f"{name}: {np.count_nonzero(each.signed)} of {len(each.score)} {what} compare a negative "
        "mean with a positive one: the index is then 1 or -1, however close they are"
        for name, each in scores.items()
        if each.signed is not None and each.signed.any()
    ]


def load(name: str) -> Callable[..., Scores]:
    """Load the score function of the metric `name`, that of the file `app/metrics/<name>.py`.

    InputError, with the names there are, for any other name.
    """
    folder = import_module("app.metrics").__path__
    modules = sorted(module.name for module in pkgutil.iter_modules(folder))
    function = find_function(name, "score") if name in modules else None
    if function is None:
        known = ", ".join(module for module in modules if find_function(module, "score"))
        raise InputError(f"no metric is called {name!r}; there are: {known}")
    return function


def check_options(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that the metric does not have, or of another kind than its defaults."""
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


def find_function(metric: str, name: str) -> Callable[..., Scores] | None:
    """Find a function that a metric's file has, or has not: score, from_moments, from_pairs."""
    return getattr(import_module(f"app.metrics.{metric}"), name, None)
