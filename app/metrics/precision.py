"""Precision: how many of the images that a unit responds to most show the target."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import InputError
from app.metrics import Scores
from app.metrics.contrast import Contrast


def score(responses: NDArray[Any], contrast: Contrast, *, images: int = 60) -> Scores:
    """Compute the share of the target among the `images` of the highest responses: 0 … 1.

    The precision of Zhou et al. 2015, "Object detectors emerge in deep scene CNNs"
    (arXiv:1412.6856), whose raters judged the 60 images of each unit's highest responses (as says
    what they published of them, https://github.com/zhoubolei/cnnvisualizer); Gale et al. 2020
    (doi:10.1016/j.visres.2020.06.007) compare it with other measures of selectivity. Here an
    image's category stands for the rater (assumed). Of fewer images of the target than `images`,
    their number is taken, so that 1 can be reached.

    Of images that tie for the last places, each counts with the same weight: the mean over all
    orders in which they could come. Statistics are precisions less the target's share of the
    images, which is what chance gives. In a contrast whose images all give the same response it is
    undefined. InputError where `images` is not 1 or more.
    """
    contrast.check(responses)
    if images < 1:
        raise InputError(f"precision: metric.options.images={images} is not 1 or more")
    target, *others = (responses[members] for members in contrast.images)
    precision = np.array([_find_share(target, other, images) for other in others])
    chance = [[len(target) / (len(target) + len(other))] for other in others]
    return Scores(precision, precision - chance)


def _find_share(target: NDArray[Any], others: NDArray[Any], images: int) -> NDArray[np.float64]:
    """The share (units,) of the target's among the `images` of the highest responses."""
    own, top = len(target), min(images, len(target))
    responses = np.concatenate([target, others])
    last = np.partition(responses, len(responses) - top, axis=0)[len(responses) - top]
    above, tied = responses > last, responses == last
    places = top - np.count_nonzero(above, axis=0)  # that those tied share
    found = np.count_nonzero(above[:own], axis=0)
    found = found + places * np.count_nonzero(tied[:own], axis=0) / np.count_nonzero(tied, axis=0)
    return np.where(np.ptp(responses, axis=0) == 0, np.nan, found / top)
