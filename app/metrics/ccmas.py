"""Class-conditional mean activity selectivity: the preferred class against all other images."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from app.metrics import Scores, class_selectivity
from app.metrics.contrast import Contrast
from app.metrics.moments import Moments, compare_groups


def score(responses: NDArray[Any], contrast: Contrast) -> Scores:
    """Compute ``(μmax − μ−max) / (μmax + μ−max)``, with a minus where the target isn't preferred.

    The name under which Gale et al. 2020, "Are there any 'object detectors' in the hidden layers of
    CNNs trained to identify objects or scenes?" (doi:10.1016/j.visres.2020.06.007), compare the
    index of Morcos et al. 2018 with others. As the metric `class_selectivity`, but that μ−max is
    the mean over all images of other classes (assumed: of their text the abstract alone was read).
    The two are one where classes have equally many images; and where the target is preferred and no
    mean is negative, it is the metric `fsi`.
    """
    return compare_groups(responses, contrast, from_moments)


def from_moments(target: Moments, others: Moments) -> Scores:
    """Compute the index of moments (…, 1, units) and (…, contrasts, units)."""
    return class_selectivity.from_moments(target, others, by_image=True)
