"""Two-sample t-test of the target against each other group."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from app.metrics import Scores
from app.metrics.contrast import Contrast
from app.metrics.moments import Moments, compare_groups, divide


def score(responses: NDArray[Any], contrast: Contrast, *, equal_variance: bool = True) -> Scores:
    """Find the smallest t of the target against each other group, with two-sided p-values.

    What `scipy.stats.ttest_ind` computes, for many units and contrasts at once: Student's test with
    a pooled variance, or Welch's without `equal_variance`. Lado & Dobs, "Selective Is Selective, or
    Not?", compare the target with each other domain. t and p are undefined where both groups are
    constant, also where scipy gives an infinite t.
    """
    test = partial(from_moments, equal_variance=equal_variance)
    return compare_groups(responses, contrast, test)


def from_moments(target: Moments, others: Moments, *, equal_variance: bool = True) -> Scores:
    """Compute t and p of moments (…, 1, units) and (…, contrasts, units)."""
    t, freedom = (run_student if equal_variance else run_welch)(target, others)
    return Scores(t, t, find_p(t, freedom))


def find_p(t: NDArray[np.float64], freedom: NDArray[Any]) -> NDArray[np.float64]:
    """Find the two-sided p of t, (…, contrasts, units), of so many degrees of freedom.

    By the normal deviate of Hill (1970, algorithm 395, doi:10.1145/355598.355599) where that is
    within 1e-9 of Student's p, and there ten times as fast.
    """
    b = 48 * (freedom - 0.5) ** 2
    y = (freedom - 0.5) * np.log1p(t**2 / freedom)
    tail = (((-0.4 * y - 3.3) * y - 24) * y - 85.5) / (0.8 * y**2 + 100 + b)
    p = 2 * special.ndtr(-((tail + y + 3) / b + 1) * np.sqrt(y))
    # t² has an F distribution with 1 degree of freedom; its p is found faster than that of t.
    return np.asarray(special.fdtrc(1, freedom, t**2, out=p, where=(y > 100) | (freedom < 250)))


def run_student(target: Moments, others: Moments) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Compute t with a pooled variance, and the degrees of freedom."""
    freedom = target.images + others.images - 2
    variance = (target.squares + others.squares) / freedom
    error = np.sqrt(variance * (1 / target.images + 1 / others.images))
    return divide(target.mean - others.mean, error), freedom


def run_welch(target: Moments, others: Moments) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Compute t with a variance for each group, and Welch and Satterthwaite's freedom."""
    first, second = target.variance / target.images, others.variance / others.images
    spread = first**2 / (target.images - 1) + second**2 / (others.images - 1)
    freedom = divide((first + second) ** 2, spread)
    return divide(target.mean - others.mean, np.sqrt(first + second)), freedom
