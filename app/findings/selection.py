"""Criteria: the rules that turn a metric's scores into a selection, a mask over units.

A rule looks once at a layer's scores and finds the one value of each unit that decides: its score,
or the p-value of its weakest contrast. To select, at one number or at many, then is to compare.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from app import names
from app.errors import InputError
from app.metrics import Scores

if TYPE_CHECKING:
    from app.config.schema import Metric

POINTS = 50  # of a curve


@dataclass(frozen=True)
class Curve:
    """What a rule selects at each of many numbers."""

    criteria: NDArray[np.float64]  # (points,) the numbers, ascending
    percent: NDArray[np.float64]  # (points,) of all units; NaN where there are none

    def metrics(self) -> dict[str, list[float]]:
        """Both by the names that they are logged under."""
        criteria, percent = self.criteria.tolist(), self.percent.tolist()
        return {names.CRITERION_CURVE: criteria, names.PERCENT_CURVE: percent}


@dataclass(frozen=True)
class Criterion(ABC):
    """A rule and its number; as text, the rule in words.

    Examples
    --------
    >>> criterion = Above(0.3)
    >>> criterion.select(np.array([0.2, 0.4, np.nan]))
    array([False,  True, False])
    >>> print(criterion)
    score > 0.3
    """

    number: float

    rule: ClassVar[str]  # its name
    words: ClassVar[str]  # with a place for the number
    axis: ClassVar[str]  # what the number is called on an axis
    kind: ClassVar[str] = "a probability"  # what it is
    limits: ClassVar[tuple[float, float]] = (0, 1)  # between which it lies
    scale: ClassVar[str] = "log"  # of an axis: linear or log
    stricter: ClassVar[int] = -1  # 1: larger numbers are stricter; -1: smaller ones
    passes: ClassVar[Callable[..., Any]]  # compares values with the number

    def __str__(self) -> str:
        return self.words.format(self.number)

    @classmethod
    @abstractmethod
    def measure(cls, scores: Scores) -> NDArray[np.float64]:
        """Find the value (units,) of each unit that the number is compared with.

        InputError where the rule needs p-values and the metric has none.
        """

    def select(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Select units (units,) by what `measure` found; never undefined ones."""
        selected: NDArray[np.bool_] = self.passes(values, self.number)
        return selected

    @abstractmethod
    def mark(self, score: NDArray[np.float64], selected: NDArray[np.bool_]) -> float | None:
        """Find the score from which on units (units,) are selected; None: there is none."""

    @classmethod
    @abstractmethod
    def grid(cls, numbers: Sequence[float], limits: tuple[float, float]) -> NDArray[np.float64]:
        """Choose numbers to look at, ascending, the first of `numbers` among them.

        They do not depend on the scores, so that curves of several layers and networks can be laid
        over each other. `numbers` are in use; `limits` are those of the metric's scores.
        """

    def trace(
        self,
        values: NDArray[np.float64],
        presets: Mapping[str, float],
        limits: tuple[float, float] = (-inf, inf),
    ) -> Curve:
        """Select by the numbers of the `grid`; of the metric's presets `paper` is among them."""
        numbers = [presets.get("paper", self.number), *presets.values(), self.number]
        criteria = self.grid(numbers, limits)
        counts = [np.count_nonzero(replace(self, number=n).select(values)) for n in criteria]
        share = np.array(counts) / (len(values) or np.nan)
        return Curve(criteria, 100 * share)

    @classmethod
    def check(
        cls, number: float, limits: tuple[float, float] = (-inf, inf), setting: str = "threshold"
    ) -> None:
        """Refuse a number outside the rule's limits or the metric's; `setting` is its name."""
        low, high = max(limits[0], cls.limits[0]), min(limits[1], cls.limits[1])
        if not low < number < high:
            raise InputError(
                f"{setting}={number} is out of range: {cls.kind} between {low:g} and {high:g}"
            )


class Above(Criterion):
    """The score is greater than the number."""

    rule, words, axis, passes = "above", "score > {:g}", "score", np.greater
    kind, limits, scale, stricter = "a score", (-inf, inf), "linear", 1

    @classmethod
    def measure(cls, scores: Scores) -> NDArray[np.float64]:
        """Take the score itself."""
        return scores.score

    def mark(self, score: NDArray[np.float64], selected: NDArray[np.bool_]) -> float | None:
        """Take the number itself."""
        return self.number

    @classmethod
    def grid(cls, numbers: Sequence[float], limits: tuple[float, float]) -> NDArray[np.float64]:
        """Go from the lower to the upper of `limits`.

        Where these are infinite, from 0 to twice the largest of `numbers`, or from minus that if
        one is negative.
        """
        most = 2 * max(abs(number) for number in numbers) or 1.0
        low, high = limits
        low = low if np.isfinite(low) else -most if min(numbers) < 0 else min(0.0, high - most)
        high = high if np.isfinite(high) else max(most, low + most)
        values = np.linspace(low, high, POINTS)
        values[np.abs(values - numbers[0]).argmin()] = numbers[0]
        return values


class Uncorrected(Criterion):
    """In every contrast (a conjunction) the p-value is less than the number, the statistic above 0.

    That is, the target responds more. A unit that any contrast leaves undefined is not selected.
    """

    rule, words, axis = "p", "p < {:g}, every contrast", "p"
    passes: ClassVar[Callable[..., Any]] = np.less

    @classmethod
    def measure(cls, scores: Scores) -> NDArray[np.float64]:
        """Find the p-value of the weakest contrast; infinite where one is not for the target."""
        if scores.p is None:
            raise InputError(
                f"criterion {cls.rule!r} needs p-values, which this metric does not have; use "
                f"{Above.rule!r}"
            )
        p = np.array([cls.adjust(*each) for each in zip(scores.p, scores.statistic, strict=True)])
        weakest: NDArray[np.float64] = np.where(scores.statistic > 0, p, inf).max(axis=0)
        return weakest

    @classmethod
    def adjust(cls, p: NDArray[np.float64], statistic: NDArray[np.float64]) -> NDArray[np.float64]:
        """Adjust the p-values (units,) of one contrast for their number; here, do not."""
        return p

    def mark(self, score: NDArray[np.float64], selected: NDArray[np.bool_]) -> float | None:
        """Find the smallest score that is selected."""
        return float(score[selected].min()) if selected.any() else None

    @classmethod
    def grid(cls, numbers: Sequence[float], limits: tuple[float, float]) -> NDArray[np.float64]:
        """Go from 10^-6 to 0.5; of `numbers`, those that are no probabilities are passed over."""
        values = np.geomspace(1e-6, 0.5, POINTS)
        number = next(number for number in numbers if 0 < number < 1)
        values[np.abs(np.log(values / number)).argmin()] = number
        return values


class BenjaminiHochberg(Uncorrected):
    """The same with p-values adjusted for the false discovery rate, which the number bounds.

    In each contrast over the units for which it is defined. Benjamini & Hochberg (1995).
    """

    rule, words = "fdr_bh", "Benjamini-Hochberg at {:g}, every contrast"
    axis = "FDR"
    passes = np.less_equal

    @classmethod
    def adjust(cls, p: NDArray[np.float64], statistic: NDArray[np.float64]) -> NDArray[np.float64]:
        """Adjust the p-values (units,) of one contrast; 1 where it is undefined."""
        from statsmodels.stats.multitest import multipletests  # a second to import

        adjusted, defined = np.ones(p.shape), ~np.isnan(statistic)
        if defined.any():
            adjusted[defined] = multipletests(p[defined], method=cls.rule)[1]
        return adjusted


class BenjaminiYekutieli(BenjaminiHochberg):
    """The same under any dependence of the tests. Benjamini & Yekutieli (2001)."""

    rule, words = "fdr_by", "Benjamini-Yekutieli at {:g}, every contrast"


RULES: dict[str, type[Criterion]] = {
    each.rule: each for each in (Above, Uncorrected, BenjaminiHochberg, BenjaminiYekutieli)
}


def make_criterion(rule: str, number: float) -> Criterion:
    """Make a criterion of the name of its rule; InputError where there is no such rule."""
    if rule not in RULES:
        raise InputError(f"no criterion is called {rule!r}; there are: {', '.join(RULES)}")
    return RULES[rule](number)


def make_criteria(compared: Mapping[str, Metric]) -> dict[str, Criterion]:
    """Make the criterion of each metric, from their settings by name.

    Raises
    ------
    InputError
        A number is none that the rule, or the metric, can have.
    """
    found = {}
    for name, settings in compared.items():
        rule, number = settings.criterion.rule, settings.criterion.threshold
        low, high = settings.criterion.range
        found[name] = make_criterion(rule, number)
        found[name].check(number, (low, high), f"threshold.{name}")
    return found


def measure(scores: Scores, rule: str) -> NDArray[np.float64]:
    """Find what a rule compares its number with (units,): seconds of work that serve all numbers.

    See `Criterion.measure`.
    """
    return RULES[rule].measure(scores)


def select(scores: Scores, rule: str, number: float) -> NDArray[np.bool_]:
    """Select the units (units,) of a layer that meet a criterion, never undefined ones.

    See `make_criterion` and `Criterion.measure`, also for what is refused.
    """
    criterion = make_criterion(rule, number)
    return criterion.select(criterion.measure(scores))


@dataclass(frozen=True)
class Selectivity:
    """How many units a criterion selects."""

    count: int
    percent: float  # of all units, undefined ones included
    units: int
    undefined: int  # units whose score is NaN

    def metrics(self) -> dict[str, float]:
        """The numbers by the names that they are logged under."""
        return {
            names.COUNT: float(self.count),
            names.PERCENT: self.percent,
            names.UNITS: float(self.units),
            names.UNDEFINED: float(self.undefined),
        }


def measure_selectivity(score: NDArray[np.float64], selected: NDArray[np.bool_]) -> Selectivity:
    """Count what is selected (units,) of the units scored (units,)."""
    percent, undefined = 100 * float(selected.mean()), int(np.isnan(score).sum())
    return Selectivity(int(selected.sum()), percent, len(score), undefined)
