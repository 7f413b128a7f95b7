"""The t-value of the target against all other images, as maps of selectivity show it."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from app.metrics import Scores, ttest
from app.metrics.contrast import Contrast
from app.metrics.moments import Moments


def score(responses: NDArray[Any], contrast: Contrast) -> Scores:
    """Compute (μT − μN) / √(s²T / nT + s²N / nN) of the target T and other images N: Welch's t.

    The selectivity of Margalit et al. 2024, "A unifying framework for functional organization in
    early and higher ventral visual cortex" (doi:10.1016/j.neuron.2024.04.018), and, for fLoc, the
    counterpart of a voxel's t-value. Variances here are sample variances (n − 1), so that t is what
    `scipy.stats.ttest_ind(equal_var=False)` computes; those authors' code divides by n, which makes
    t larger by at most 0.2 % with fLoc's 1,440 images. The same as the metric `ttest` with
    `equal_variance=False`, under a name of its own. t grows with the number of images.
    """
    return ttest.score(responses, contrast, equal_variance=False)


def from_moments(target: Moments, others: Moments) -> Scores:
    """Compute t and p of moments (…, 1, units) and (…, contrasts, units)."""
    return ttest.from_moments(target, others, equal_variance=False)
