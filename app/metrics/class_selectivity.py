"""Class selectivity index: the preferred class against the mean of the other classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.metrics import Scores
from app.metrics.contrast import Contrast
from app.metrics.moments import NOISE, Moments, add_groups, compare_groups, divide, find_constant


def score(responses: NDArray[Any], contrast: Contrast) -> Scores:
    """Compute ``(μmax − μ−max) / (μmax + μ−max)``, with a minus where the target isn't preferred.

    μmax is the highest of the classes' mean responses, μ−max the mean of the other classes' means
    (Morcos et al. 2018, "On the importance of single directions for generalization",
    arXiv:1803.06959): 0 where a unit responds to all classes alike, 1 where to one alone. Classes
    are the target and the other groups of the contrast, all of one weight. That index knows no
    target; assumed here: a unit that prefers another class has minus its index, and where classes
    tie for the highest mean, the target is preferred.

    Of all groups together, it is the statistic of every contrast. Undefined where all means are 0,
    and for a unit with the same response to every image. Made for rates: the denominator is
    ``|μmax| + |μ−max|``, the same where nothing is negative, so that −1 … 1 holds of all, and
    `Scores.signed` says where means of two signs are compared.
    """
    return compare_groups(responses, contrast, from_moments)


def from_moments(target: Moments, others: Moments, *, by_image: bool = False) -> Scores:
    """Compute the index of moments (…, 1, units) and (…, contrasts, units).

    `by_image`: the mean of the others is that of their images, not of their classes' means.
    """
    means = np.concatenate([target.mean, others.mean], axis=-2)
    images = np.concatenate([target.images, others.images], axis=-2)
    preferred = np.expand_dims(means.argmax(axis=-2), -2)  # of equal ones the first: the target
    weights = (images if by_image else 1) * (np.arange(means.shape[-2])[:, None] != preferred)
    highest = means.max(axis=-2, keepdims=True)
    total = add_groups(weights * means)
    total[np.abs(total) <= NOISE["d"] * add_groups(weights * np.abs(means))] = 0
    rest = total / add_groups(weights)
    index = divide(highest - rest, np.abs(highest) + np.abs(rest))
    index = np.where(preferred == 0, index, 0 - index)
    index = np.where(find_constant(target, others), np.nan, index)
    signed = np.sign(highest) * np.sign(rest) < 0
    statistic = index + np.zeros_like(others.mean)
    return Scores(statistic, statistic, signed=signed[..., 0, :])
