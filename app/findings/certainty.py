"""How sure scores, selections and correlations are: intervals, split halves, shuffled labels.

A bootstrap interval is the 2.5 and 97.5 % of a number over resamples of the images within each
category (Efron & Tibshirani 1993, *An introduction to the bootstrap*). Reliability correlates the
scores from random halves of the images, corrected to their whole number (Spearman 1910; Brown
1910). The null is what a criterion selects when labels are shuffled over images, its p that of
Phipson & Smyth (2010), doi:10.2202/1544-6115.1585. A cross-validated score is that of units
selected by other images (Kriegeskorte et al. 2009, doi:10.1038/nn.2303).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from app import names

INTERVAL = (2.5, 97.5)  # percentiles
Numbers = NDArray[np.float64]  # one of each draw


@dataclass(frozen=True)
class MetricCertainty:
    """How sure one metric's scores and selection of a layer are; empty arrays without draws."""

    low: NDArray[np.float32]  # (units,) of the bootstrap interval of a score
    high: NDArray[np.float32]
    split_half: NDArray[np.float32]  # (units,) mean score of the halves
    both_halves: NDArray[np.float32]  # (2, units) scores of the first split's; (0, units) of none
    resampled: NDArray[np.float32]  # (resamples, kernels) scores; those of single units: none
    unsure: int  # units with a score that some resamples leave undefined
    percent: Numbers  # (resamples,) selected
    halves: Numbers  # (splits,) Spearman of both halves' scores
    jaccard: Numbers  # (splits,) of both halves' selections
    replication: Numbers  # (splits,) of one half's selection, what the other selects; 0 … 1
    crossvalidated: Numbers  # (splits,) score of one half's selection in the other
    null: Numbers  # (shuffles,) % selected when labels are shuffled
    matched: float  # the score that a given share of units exceed when labels are shuffled
    # (splits,) Spearman of scores from both halves of each stimulus' repetitions
    repetitions: Numbers = field(default_factory=lambda: np.empty(0))

    @property
    def reliability(self) -> float:
        """Of the scores from all images; NaN without splits."""
        return lengthen(average(self.halves))

    def metrics(self, score: NDArray[np.float64], percent: float) -> dict[str, float]:
        """The numbers by the names that they are logged under; none of what was not drawn.

        `score` (units,) and `percent` selected are those from all images.
        """
        found = name_interval(names.PERCENT, self.percent)
        if len(self.halves):
            found[names.RELIABILITY] = self.reliability
            found[names.SELECTION_JACCARD] = average(self.jaccard)
            found[names.REPLICATION] = average(self.replication)
            found[names.CROSSVALIDATED] = average(self.crossvalidated)
        if len(self.repetitions):
            found[names.RELIABILITY_REPETITIONS] = lengthen(average(self.repetitions))
        if len(self.null):
            found[names.NULL_PERCENT] = float(self.null.mean())
            found[names.NULL_P95] = float(np.percentile(self.null, 95))
            found[names.NULL_P] = compute_p(percent, self.null)
            found[names.MATCHED_THRESHOLD] = self.matched
            found[names.MATCHED_PERCENT] = 100 * float(np.mean(score > self.matched))
        return found


@dataclass(frozen=True)
class Certainty:
    """How sure all that was found of a layer's scores is."""

    metrics: Mapping[str, MetricCertainty]
    pairs: Mapping[str, Numbers]  # (resamples,) Spearman of two metrics, "a b"
    mean: Numbers  # (resamples,) over the pairs

    def __getitem__(self, metric: str) -> MetricCertainty:
        return self.metrics[metric]

    def find_others(self, metric: str) -> dict[str, Numbers]:
        """Find a metric's correlations (resamples,) with each other; empty without resamples."""
        pairs = [(pair.split(), values) for pair, values in self.pairs.items()]
        return {b if a == metric else a: values for (a, b), values in pairs if metric in (a, b)}

    def columns(self) -> dict[str, NDArray[np.float32]]:
        """Of each unit: each metric's interval and split-half mean, by the names of columns."""
        found: dict[str, NDArray[np.float32]] = {}
        for name, each in self.metrics.items():
            if len(each.percent):
                low, high = (name + end for end in names.CI95)
                found |= {low: each.low, high: each.high}
            if len(each.halves):
                found[f"{name}_split_half"] = each.split_half
        return found

    def table(self, metric: str, **more: Numbers) -> pd.DataFrame:
        """A row a draw: what a metric found in it; `more` are numbers (resamples,) of others.

        `draw` is resample, split or shuffle; what a kind of draw does not tell is missing.
        """
        own, others = self[metric], self.find_others(metric)
        kinds = {
            "resample": {
                "percent": own.percent,
                "consistency_mean": self.mean,
                **{f"spearman_{other}": values for other, values in others.items()},
                **more,
            },
            "split": {
                "reliability": own.halves,
                "jaccard": own.jaccard,
                "replication": own.replication,
                "crossvalidated": own.crossvalidated,
                **({"repetitions": own.repetitions} if len(own.repetitions) else {}),
            },
            "shuffle": {"percent": own.null},
        }
        parts = {kind: pd.DataFrame(columns) for kind, columns in kinds.items()}
        return pd.concat(parts, names=["draw", "number"]).reset_index()

    def name_consistency(self, metric: str, whole: Mapping[str, float]) -> dict[str, float]:
        """Name the numbers about a metric's agreement with others, as they are logged.

        `whole` has the correlations from all images, as logged. The ceiling is the most that scores
        of their reliability can correlate, √(r_AA r_BB); a disattenuated correlation is divided by
        it (Spearman 1904).
        """
        found: dict[str, float] = {}
        for other, values in self.find_others(metric).items():
            found |= name_interval(names.SPEARMAN_WITH + other, values)
            ceiling = find_ceiling(self[metric].reliability, self[other].reliability)
            if len(self[metric].halves):
                found[names.CEILING_WITH + other] = ceiling
                found[names.DISATTENUATED_WITH + other] = (
                    whole[names.SPEARMAN_WITH + other] / ceiling if ceiling > 0 else nan
                )
        return found | name_interval(names.CONSISTENCY, self.mean)


def name_interval(name: str, values: Numbers) -> dict[str, float]:
    """Name a number's interval, as it is logged; nothing without draws."""
    return name_ends(name, find_interval(values)) if len(values) else {}


def name_ends(name: str, interval: tuple[float, float]) -> dict[str, float]:
    """Name the ends of a number's interval, as they are logged."""
    return {name + end: value for end, value in zip(names.CI95, interval, strict=True)}


def find_interval(values: NDArray[Any]) -> tuple[float, float]:
    """Find the percentile interval of a number over the draws that define it; else NaN."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return nan, nan
    low, high = np.percentile(defined, INTERVAL)
    return float(low), float(high)


def find_intervals(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Find the percentile interval of each column (draws, units), over the draws that define it."""
    low, high = np.full((2, values.shape[1]), np.nan, dtype=np.float32)
    if not len(values):
        return low, high
    unsure = np.isnan(values).any(axis=0)
    low[~unsure], high[~unsure] = np.percentile(values[:, ~unsure], INTERVAL, axis=0)
    for unit in np.flatnonzero(unsure):
        low[unit], high[unit] = find_interval(values[:, unit])
    return low, high


def average(values: ArrayLike) -> float:
    """The mean over the draws that define a number; NaN without any."""
    numbers = np.asarray(values, np.float64)
    defined = numbers[~np.isnan(numbers)]
    return float(defined.mean()) if len(defined) else nan


def lengthen(r: float) -> float:
    """Correct a correlation of halves to that of wholes: 2r / (1 + r); NaN for -1."""
    return 2 * r / (1 + r) if r > -1 else nan


def find_ceiling(first: float, second: float) -> float:
    """Find the most that two scores of these reliabilities can correlate; NaN below 0."""
    return float(np.sqrt(first * second)) if first >= 0 and second >= 0 else nan


def compute_p(observed: float, null: Numbers) -> float:
    """Compute (1 + draws at least as large as what was observed) / (1 + draws): never 0."""
    return (1 + int(np.sum(null >= observed))) / (1 + len(null))
