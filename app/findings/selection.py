"""Criteria: the rules that turn a metric's scores into a selection, a mask over units."""

from __future__ import annotations

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

    The step-up procedure of Benjamini & Hochberg (1995) for `fdr_bh`, of Benjamini & Yekutieli
    (2001) for `fdr_by`, over the tests whose statistic is defined; the rest are not rejected.
    The same as `statsmodels.stats.multitest.multipletests`, but sorts values instead of indices.
    """
    defined = ~np.isnan(statistic)
    ascending = np.sort(p[defined])
    rank = np.arange(1, len(ascending) + 1)
    share = rank / len(ascending)  # of all tests, up to each rank
    if rule == "fdr_by":
        share = share / np.sum(1 / rank)
    passing = np.flatnonzero(ascending <= share * rate)
    if not len(passing):
        return np.zeros(len(p), dtype=bool)
    return defined & (p <= ascending[passing[-1]])
