"""Criteria: the rules that turn a metric's scores into a selection, a mask over units.

A rule looks once at a layer's scores and finds the one value of each unit that decides: its score,
its place among them, or the p-value of its weakest contrast. To select, at one number or at many,
then is to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil, inf, nan
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack
from scipy.stats import rankdata

from app import names
from app.errors import InputError
from app.metrics import Scores

if TYPE_CHECKING:
    from app.config.schema import Metric
    from app.memo import Memo

POINTS = 50  # of a curve


@dataclass(frozen=True)
class Rule:
    """How values of units are compared with a criterion's number, and what that is."""

    words: str  # with a place for the number
    axis: str  # what the number is called on an axis
    passes: Callable[..., NDArray[np.bool_]]  # compares values with the number
    kind: str = "a probability"
    limits: tuple[float, float] = (0, 1)  # between which the number lies
    scale: str = "log"  # of an axis: linear or log
    stricter: int = -1  # 1: larger numbers are stricter; -1: smaller ones
    together: bool = False  # whether a unit's value depends on the layer's others


ABOVE = "above"  # the score is greater; others are conjunctions of tests, see `measure`
TOP = "top"  # the score is among the highest
RULES = {
    ABOVE: Rule("score > {:g}", "score", np.greater, "a score", (-inf, inf), "linear", 1),
    TOP: Rule(
        "the highest {:g} of {of}",
        "fraction",
        np.less_equal,
        "a fraction below 1, or a whole number of units,",
        (0, inf),
        together=True,
    ),  # fmt: skip
    "p": Rule("p < {:g}, every contrast", "p", np.less),
    "fdr_bh": Rule(
        "Benjamini-Hochberg at {:g}, every contrast", "FDR", np.less_equal, together=True
    ),
    "fdr_by": Rule(
        "Benjamini-Yekutieli at {:g}, every contrast", "FDR", np.less_equal, together=True
    ),
}


def measure(scores: Scores, rule: str, others: Sequence[Scores] = ()) -> NDArray[np.float64]:
    """Find the value (…, units) that a rule compares with its number.

    That is the score; or how many of all units, those of `others` too, score as high or higher, as
    a fraction, so that no more than the number are selected, however many are tied; or the p-value
    of the weakest contrast, infinite where one is undefined or not for the target: a unit is
    selected where in every contrast p is small and the target responds more. That is what the
    statistic's sign says, or, where it was asked for, the groups' means (`Scores.preferred`): other
    units' scores then count as undefined. For false discovery rates p is adjusted in each contrast
    over the units for which it is defined (Benjamini & Hochberg 1995; Benjamini & Yekutieli 2001,
    under any dependence of the tests). InputError where the rule needs p-values and the metric has
    none.
    """
    if rule == ABOVE:
        return leave_preferred(scores)
    if rule == TOP:
        pool = np.concatenate([leave_preferred(each) for each in (scores, *others)])
        ranks = rankdata(-pool, method="max", nan_policy="omit")
        return np.asarray(ranks[: len(scores.score)] / len(ranks))
    if scores.p is None:
        raise InputError(
            f"criterion {rule!r} needs p-values, which this metric does not have; use {ABOVE!r}"
        )
    p = scores.p.copy()
    if rule != "p":
        from statsmodels.stats.multitest import multipletests  # a second to import

        for each, defined in zip(p, ~np.isnan(scores.statistic), strict=True):
            if defined.any():
                each[defined] = multipletests(each[defined], method=rule)[1]
    return np.asarray(np.where(find_signs(scores) > 0, p, inf).max(axis=-2))


def leave_preferred(scores: Scores) -> NDArray[np.float64]:
    """Leave the scores (…, units) of those that prefer the target, where that was asked for."""
    if scores.preferred is None:
        return scores.score
    return np.where(scores.preferred, scores.score, nan)


def find_signs(scores: Scores) -> NDArray[np.float64]:
    """Find numbers (…, contrasts, units) that are positive where the target responds more."""
    if scores.preferred is None:
        return scores.statistic
    signs = np.where(scores.preferred, 1.0, -1.0)[..., None, :]
    return np.where(np.isnan(scores.statistic), nan, signs)


class Small(NamedTuple):
    """What a false discovery rate needs of some units: p-values up to the rate."""

    signed: csr_array[Any]  # (draws × contrasts, units) p, with the sign of the statistic
    tests: NDArray[np.int64]  # (draws, contrasts) units for which p is defined


Kept = Any  # (draws, units) what is selected, or scores; or `Small`


@dataclass(frozen=True)
class Curve:
    """What a rule selects at each of many numbers."""

    criteria: NDArray[np.float64]  # (points,) the numbers, ascending
    percent: NDArray[np.float64]  # (points,) of all units; NaN where there are none
    scale: str = "linear"  # of an axis of criteria: linear or log

    def metrics(self) -> dict[str, list[float]]:
        """Both by the names that they are logged under."""
        criteria, percent = self.criteria.tolist(), self.percent.tolist()
        return {names.CRITERION_CURVE: criteria, names.PERCENT_CURVE: percent}

    def steps(self) -> list[int]:
        """The criteria as whole numbers: what they are logged at, since MLflow has no other steps.

        Thousandths of a score, or a smaller power of ten where criteria are closer; hundredths of
        -log10 of a probability, so that 300 is 0.001.
        """
        if self.scale == "log":
            return [round(-100 * number) for number in np.log10(self.criteria).tolist()]
        digits = max(3, int(np.ceil(np.log10(2 / np.diff(self.criteria).min()))))
        return [round(number * 10**digits) for number in self.criteria.tolist()]

    def logged(self, metric: str) -> dict[str, dict[int, float]]:
        """`metrics` by step; besides, the metric's criteria on their scale by a name of its own."""
        on_axis = np.log10(self.criteria) if self.scale == "log" else self.criteria
        own = {names.CRITERION_OF[self.scale].format(metric=metric): on_axis.tolist()}
        steps = self.steps()
        return {
            name: dict(zip(steps, values, strict=True))
            for name, values in {**self.metrics(), **own}.items()
        }


@dataclass(frozen=True)
class Criterion:
    """A rule, one of `RULES`, and its number; as text, the rule in words.

    Examples
    --------
    >>> criterion = Criterion("above", 0.3)
    >>> criterion.select(np.array([0.2, 0.4, np.nan]))
    array([False,  True, False])
    >>> print(criterion)
    score > 0.3
    """

    rule: str
    number: float
    pool: str = "layer"  # of `app.choices.POOLS`
    preferred: bool = False  # whether only units of the highest mean for the target are selected
    units: int = 1  # of the pool: what a number of them is a share of

    def __str__(self) -> str:
        of = "the layer" if self.pool == "layer" else "all layers asked"
        words = RULES[self.rule].words.format(self.number, of=of)
        return f"{words}, the target's mean the highest" if self.preferred else words

    def settle(self, *scores: Scores, setting: str = "threshold") -> Criterion:
        """Note how many units there are to choose from; InputError where `top` wants more."""
        units = sum(each.score.shape[-1] for each in scores)
        if self.rule == TOP and self.number > units:
            raise InputError(f"{setting}={self.number:g} is more than the {units} units there are")
        return replace(self, units=units)

    def hold(self, score: NDArray[np.float64], selected: NDArray[np.bool_]) -> Criterion:
        """Make it a criterion of this layer alone: the score (units,) from which on it selects."""
        if self.pool == "layer":
            return self
        cut = float(np.nextafter(score[selected].min(initial=inf), -inf))
        return replace(self, rule=ABOVE, number=cut, pool="layer")

    def select(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Select units (units,) by what `measure` found; never undefined ones."""
        counts = self.rule == TOP and self.number >= 1
        number = self.number / self.units if counts else self.number
        return RULES[self.rule].passes(values, number)

    def keep(self, scores: Scores) -> Kept:
        """Keep of some units what `judge` needs once all are there; draws × units.

        What is selected; or, where that depends on the layer's other units, their scores, or of
        each contrast's p-values those that a false discovery rate may reject.
        """
        if not RULES[self.rule].together:
            return self.select(measure(scores, self.rule))
        if self.rule == TOP:
            return leave_preferred(scores).astype(np.float32)
        assert scores.p is not None
        defined = ~np.isnan(scores.statistic)
        small: NDArray[np.bool_] = defined & (scores.p <= self.number)
        signed = np.copysign(scores.p[small], find_signs(scores)[small]).astype(np.float32)
        ends = np.cumsum(np.append(0, small.sum(axis=-1).ravel()))
        tests = np.count_nonzero(defined, axis=-1)
        shape = tests.size, small.shape[-1]
        return Small(csr_array((signed, np.nonzero(small)[-1], ends), shape=shape), tests)

    def bytes_a_unit(self, contrasts: int, draws: int, shuffles: int) -> int:
        """Tell how many bytes of a unit are kept, or of its verdicts, in so many draws.

        Of p-values with labels shuffled, no larger share is small than the rate.
        """
        every = draws + shuffles
        if not RULES[self.rule].together:
            return every
        if self.rule == TOP:
            return 4 * every
        return max(8 * contrasts * (draws + ceil(self.number * shuffles)), every)

    def judge(self, kept: Sequence[Kept]) -> NDArray[np.bool_]:
        """Select (draws, units) by what was kept of all units, one part after another."""
        if not RULES[self.rule].together:
            return np.concatenate(kept, axis=-1)
        if self.rule == TOP:
            each = np.concatenate(kept, axis=-1)
            draws = (own.astype(np.float64) for own in each)
            return np.stack([self.select(measure(Scores(own, own), TOP)) for own in draws])
        small = hstack([each.signed for each in kept], format="csr")
        tests = np.sum([each.tests for each in kept], axis=0)
        draws, contrasts = tests.shape
        passed = np.zeros((draws, small.shape[1]), np.uint8)  # contrasts
        rows = np.split(small.data, small.indptr[1:-1]), np.split(small.indices, small.indptr[1:-1])
        for row, (signed, units) in enumerate(zip(*rows, strict=True)):
            draw, count = row // contrasts, tests.flat[row]
            # As adjusted p-values say: all up to the largest p that is at most its share of it.
            p, place = np.abs(signed), np.arange(1, len(signed) + 1)
            ascending = np.sort(p)
            dependence = np.sum(1 / np.arange(1, count + 1)) if self.rule == "fdr_by" else 1
            rejected = ascending * (count * dependence) <= self.number * place
            cut = ascending[rejected].max(initial=-1)
            passed[draw, units[(p <= cut) & ~np.signbit(signed)]] += 1
        return np.asarray(passed == contrasts)

    def mark(self, score: NDArray[np.float64], selected: NDArray[np.bool_]) -> float | None:
        """Find the score from which on units (units,) are selected; None: there is none."""
        if self.rule == ABOVE:
            return self.number
        return float(score[selected].min()) if selected.any() else None

    def trace(
        self,
        values: NDArray[np.float64],
        presets: Mapping[str, float],
        limits: Sequence[float] = (-inf, inf),
    ) -> Curve:
        """Select by the numbers of a grid; of the metric's presets `paper` is among them."""
        numbers = [presets.get("paper", self.number), *presets.values(), self.number]
        criteria = space_numbers(self.rule, numbers, limits)
        counts = [np.count_nonzero(replace(self, number=n).select(values)) for n in criteria]
        share = np.array(counts) / (len(values) or np.nan)
        return Curve(criteria, 100 * share, RULES[self.rule].scale)

    def check(self, limits: Sequence[float] = (-inf, inf), setting: str = "threshold") -> None:
        """Refuse a number outside the rule's limits or the metric's; `setting` is its name.

        A share of units, or how many, is nothing of the metric's.
        """
        rule = RULES[self.rule]
        low, high = rule.limits
        if self.rule != TOP:
            low, high = max(limits[0], low), min(limits[1], high)
        between = self.rule == TOP and self.number > 1 and self.number % 1  # 1.5 units
        if not low < self.number < high or between:
            raise InputError(
                f"{setting}={self.number} is out of range: {rule.kind} between {low:g} and {high:g}"
            )


def space_numbers(
    rule: str, numbers: Sequence[float], limits: Sequence[float]
) -> NDArray[np.float64]:
    """Choose numbers of a rule to look at, ascending, the first of `numbers` among them.

    They do not depend on the scores, so that curves of several layers and networks can be laid over
    each other. Probabilities and shares go from 10^-6 to 0.5. Scores go from the lower to the upper
    of `limits`; where these are infinite, from 0 to twice the largest of `numbers`, or from minus
    that if one is negative.
    """
    if rule != ABOVE:
        values = np.geomspace(1e-6, 0.5, POINTS)
        number = next((number for number in numbers if 0 < number < 1), 0.5)
        values[np.abs(np.log(values / number)).argmin()] = number
        return values
    most = 2 * max(abs(number) for number in numbers) or 1.0
    low, high = limits
    low = low if np.isfinite(low) else -most if min(numbers) < 0 else min(0.0, high - most)
    high = high if np.isfinite(high) else max(most, low + most)
    values = np.linspace(low, high, POINTS)
    values[np.abs(values - numbers[0]).argmin()] = numbers[0]
    return values


def make_criteria(compared: Mapping[str, Metric]) -> dict[str, Criterion]:
    """Make the criterion of each metric, from their settings by name.

    InputError for a number that the rule, or the metric, cannot have.
    """
    found = {}
    for name, metric in compared.items():
        asked = metric.criterion
        found[name] = Criterion(asked.rule, asked.threshold, asked.of, asked.preferred)
        found[name].check(asked.range, f"threshold.{name}")
    return found


def select_units(
    criteria: Mapping[str, Criterion],
    said: Mapping[str, Scores],
    others: Mapping[str, Sequence[Scores]],
    memo: Memo,
) -> tuple[dict[str, Criterion], dict[str, NDArray[np.float64]], dict[str, NDArray[np.bool_]]]:
    """Select by each metric's criterion, of what it `said` of the layer's units.

    `others` is what it said of those of other layers, where it selects from all. Returned are the
    criteria that know of how many units, the values that `measure` finds, and what is selected.
    """
    settled, values, selected = {}, {}, {}
    for name, scores in said.items():
        beside = tuple(others.get(name, ()))
        settled[name] = criteria[name].settle(scores, *beside, setting=f"threshold.{name}")
        values[name] = memo(measure, scores, criteria[name].rule, beside)
        selected[name] = settled[name].select(values[name])
    return settled, values, selected


def note_pools(others: Mapping[str, Sequence[Scores]]) -> list[str]:
    """Say of the metrics that select from all layers how many these are, and what stands still."""
    return [
        f"criterion: {name} selects from all layers that are asked together, here {1 + len(each)}; "
        "in resamples, halves and shuffles from the same score on"
        for name, each in others.items()
    ]


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
