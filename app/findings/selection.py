"""Criteria: the rules that turn a metric's scores into a selection, a mask over units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.errors import InputError
from app.metrics import Scores

RULES = ("above", "p", "fdr_bh", "fdr_by")


def select(scores: Scores, rule: str, threshold: float) -> NDArray[np.bool_]:
    """The units (units,) that a criterion selects; undefined ones never.

    Parameters
    ----------
    scores: what a metric returned for the units of one layer.
    rule: `above`: the score is greater than the threshold. The other rules ask, in every contrast
        (a conjunction), that the target responds more (statistic > 0) and that the p-value is
        `p`: less than the threshold, uncorrected;
        `fdr_bh`: rejected by Benjamini and Hochberg's procedure at the threshold;
        `fdr_by`: rejected by Benjamini and Yekutieli's, which holds under any dependence.
        The false discovery rate is controlled in each contrast over the units that it is defined
        for; a unit that any contrast leaves undefined is not selected.
    threshold: a score for `above`, a probability in 0 … 1 for the others.

    InputError for an unknown rule, and for a rule on p-values that the metric does not have.
    """
    if rule not in RULES:
        raise InputError(f"no criterion is called {rule!r}; there are: {', '.join(RULES)}")
    if rule == "above":
        return scores.score > threshold
    if scores.p is None:
        raise InputError(
            f"criterion {rule!r} needs p-values, which this metric does not have; use 'above'"
        )
    if rule == "p":
        significant = scores.p < threshold
    else:
        pairs = zip(scores.p, scores.statistic, strict=True)
        significant = np.array([rejected(p, s, rule, threshold) for p, s in pairs])
    return np.all(significant & (scores.statistic > 0), axis=0)


def rejected(
    p: NDArray[np.float64], statistic: NDArray[np.float64], rule: str, rate: float
) -> NDArray[np.bool_]:
    """The tests (units,) of one contrast that a false discovery rate of `rate` lets reject.

    See `cutoffs`; tests whose statistic is undefined are not rejected.
    """
    (cutoff,) = cutoffs(p, statistic, rule, [rate])
    return ~np.isnan(statistic) & (p <= cutoff)


def cutoffs(
    p: NDArray[np.float64], statistic: NDArray[np.float64], rule: str, rates: Sequence[float]
) -> NDArray[np.float64]:
    """The largest p-value that each false discovery rate lets reject, (rates,); -inf: none.

    The step-up procedure of Benjamini & Hochberg (1995) for `fdr_bh`, of Benjamini & Yekutieli
    (2001) for `fdr_by`, over the tests (units,) of one contrast whose statistic is defined. `rates`
    ascend. The same as `statsmodels.stats.multitest.multipletests`, but sorts values instead of
    indices, and once for all rates.
    """
    ascending = np.sort(p[~np.isnan(statistic)])
    rank = np.arange(1, len(ascending) + 1)
    share = rank / len(ascending)  # of all tests, up to each rank
    if rule == "fdr_by":
        share = share / np.sum(1 / rank)
    found = np.full(len(rates), -np.inf)
    last = 0  # ranks up to here pass; a higher rate lets them pass too
    for place, rate in enumerate(rates):
        possible = int(np.searchsorted(ascending, rate, side="right"))  # no share is above 1
        passing = np.flatnonzero(ascending[last:possible] <= share[last:possible] * rate)
        if len(passing):
            last += int(passing[-1]) + 1
        if last:
            found[place] = ascending[last - 1]
    return found


def percent_selected(scores: Scores, rule: str, thresholds: Sequence[float]) -> NDArray[np.float64]:
    """The percentage of all units that `select` selects at each threshold, (thresholds,).

    `thresholds` ascend. The work is done once for all of them. NaN where there are no units.
    """
    if not len(scores.score):
        return np.full(len(thresholds), np.nan)
    if rule == "above":
        score = scores.score[~np.isnan(scores.score)]
        passed = np.searchsorted(thresholds, score, side="left")  # so many lie below the score
        counts = np.bincount(passed, minlength=len(thresholds) + 1)[::-1].cumsum()[::-1][1:]
        return 100 * (counts / len(scores.score))
    if scores.p is None:
        select(scores, rule, thresholds[0])  # which says so
    assert scores.p is not None
    first = np.zeros(len(scores.score), dtype=np.int64)  # threshold that lets the unit pass
    for p, statistic in zip(scores.p, scores.statistic, strict=True):
        if rule == "p":
            mine = np.searchsorted(thresholds, p, side="right")
        else:
            mine = np.searchsorted(cutoffs(p, statistic, rule, thresholds), p, side="left")
        first = np.maximum(first, np.where(statistic > 0, mine, len(thresholds)))
    counts = np.bincount(first, minlength=len(thresholds) + 1).cumsum()[:-1]
    return 100 * (counts / len(scores.score))


def grid(
    rule: str, limits: tuple[float, float], numbers: Sequence[float], points: int = 50
) -> list[float]:
    """Criteria over which to look at a selection, ascending, the first of `numbers` among them.

    They do not depend on the scores, so that curves of several layers and networks can be laid
    over each other. `numbers` are criteria in use; where the rule asks for a probability, those
    that are none are passed over. Probabilities are equally far apart on a log scale, 10^-6 … 0.5.
    Scores go from the lower to the upper of the metric's `limits`; where these are infinite, from
    0 to twice the largest of `numbers` (from minus that, if one is negative).
    """
    if rule != "above":
        values = np.geomspace(1e-6, 0.5, points)
        number = next(number for number in numbers if 0 < number < 1)
        nearest = np.abs(np.log(values / number)).argmin()
    else:
        number = numbers[0]
        most = 2 * max(abs(number) for number in numbers) or 1.0
        low, high = limits
        low = low if np.isfinite(low) else -most if min(numbers) < 0 else min(0.0, high - most)
        high = high if np.isfinite(high) else max(most, low + most)
        values = np.linspace(low, high, points)
        nearest = np.abs(values - number).argmin()
    values[nearest] = number
    return values.tolist()
