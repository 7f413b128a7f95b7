"""Area under the ROC curve: how well one response tells the target's images from the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.metrics import Scores
from app.metrics.contrast import Contrast
from app.metrics.ranks import Pairs, compare_ranks


def score(responses: NDArray[Any], contrast: Contrast, *, device: str = "cpu") -> Scores:
    """Compute P(T > N) + P(T = N) / 2 for a response T to the target and one N to other images.

    This is the area under the ROC curve (Green & Swets 1966, *Signal detection theory and
    psychophysics*), and U / (nT nN) of the rank-sum test (Bamber 1975,
    doi:10.1016/0022-2496(75)90001-2): 1 where every response to the target is above all others, 1/2
    where there is no difference; statistics are areas less 1/2. Pairs are counted in integers,
    exact, with ties, the same on every `device`. In a contrast whose images all give the same
    response the area is undefined. p-values are the metric `wilcoxon`'s.
    """
    return from_pairs(compare_ranks(responses, contrast, device))


def from_pairs(pairs: Pairs) -> Scores:
    """Compute the area of counts (…, contrasts, units)."""
    area = pairs.twice_u / (2 * pairs.size * pairs.others)
    area[pairs.all_tied] = np.nan
    return Scores(area, area - 0.5)
