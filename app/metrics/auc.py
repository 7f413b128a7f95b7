"""Area under the ROC curve: how well one response tells the target's images from the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.metrics import Scores, smallest
from app.metrics.contrast import Contrast
from app.metrics.ranks import group_pairs


def score(responses: NDArray[Any], contrast: Contrast, *, device: str = "cpu") -> Scores:
    """P(T > N) + P(T = N) / 2 for a response T to the target and one N to the other images.

    This is the area under the ROC curve (Green & Swets 1966, *Signal detection theory and
    psychophysics*), and U / (nT nN) of the rank-sum test (Bamber 1975,
    doi:10.1016/0022-2496(75)90001-2). Pairs are counted in integers: exact, with ties.

    Parameters
    ----------
    responses: (images, units), float32 or float64. Values are only compared, never rounded.
    contrast: the groups to compare; with several others, a unit's score is its smallest area.
    device: where to count, `cpu` or a torch device; the counts are integers, the same everywhere.

    Returns areas in 0 … 1 (1 = every response to the target is above all others, 1/2 = no
    difference) for scores, and the areas less 1/2, one a contrast, for statistics; no p-values,
    which are the metric `wilcoxon`'s. In a contrast whose images all give the same response the
    area is undefined: its statistic is NaN and the unit's score is the smallest of the others, NaN
    if there is none. InputError for responses that are not finite.
    """
    area = np.empty((len(contrast.others), responses.shape[1]))
    size, *others = (len(members) for members in contrast.images)
    for units, twice_u, ties in group_pairs(responses, contrast, device):
        for row, other in enumerate(others):
            total = size + other
            all_tied = ties[row] == total**3 - total
            area[row, units] = np.where(all_tied, np.nan, twice_u[row] / (2 * size * other))
    return Scores(smallest(area), area - 0.5)
