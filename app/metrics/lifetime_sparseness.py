"""Lifetime sparseness: how few of all images a unit responds to, whatever they show."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.metrics import Scores
from app.metrics.contrast import Contrast
from app.metrics.moments import Moments, add_groups, compare_groups, divide, find_constant


def score(responses: NDArray[Any], contrast: Contrast) -> Scores:
    """Compute ``(1 − (Σ r / n)² / (Σ r² / n)) / (1 − 1/n)`` of the responses r to n images.

    Vinje & Gallant 2000, "Sparse coding and decorrelation in primary visual cortex during natural
    vision" (doi:10.1126/science.287.5456.1273): 0 where a unit responds to all images alike, 1
    where to one alone. All images compared count alike, whatever their category, so this is no
    measure of selectivity for a target, but what sparse responses alone give: a control. The
    statistic of every contrast is the score. Undefined for a unit with the same response to every
    image. Made for rates: of responses of two signs it is defined, but no sparseness.
    """
    return compare_groups(responses, contrast, from_moments)


def from_moments(target: Moments, others: Moments) -> Scores:
    """Compute sparseness of moments (…, 1, units) and (…, contrasts, units)."""
    both = target, others
    images = np.concatenate([each.images for each in both], axis=-2)
    mean = np.concatenate([each.mean for each in both], axis=-2)
    squares = np.concatenate([each.squares for each in both], axis=-2)
    n = add_groups(images)
    middle = add_groups(images * mean) / n
    spread = add_groups(squares + images * (mean - middle) ** 2)
    sparse = divide(spread, spread + n * middle**2) / (1 - 1 / n)
    sparse = np.where(find_constant(target, others), np.nan, sparse)
    return Scores(sparse[..., 0, :], sparse + np.zeros_like(others.mean))
