"""Mutual information: how much a response tells of whether the image shows the target."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from app.errors import InputError
from app.metrics import Scores
from app.metrics.compiled import compiled
from app.metrics.contrast import Contrast


def score(responses: NDArray[Any], contrast: Contrast, *, neighbours: int = 3) -> Scores:
    """Estimate the bits that a response tells of its group, target or others, signed.

    Negative where responses to the target are rather the lower ones (area under the ROC curve below
    1/2) and 0 where they are neither: information has no sign, which is assumed here for scores to
    be of the target. Target against others, as the other metrics ask; Amjad et al. 2018
    (arXiv:1804.06679) take the class of all at once, which asks of no target.

    Estimated from each image's `neighbours` nearest of its own group, as Ross 2014
    (doi:10.1371/journal.pone.0087357), in the form of scikit-learn's
    `mutual_info_classif`: ``ψ(N) + ⟨ψ(k)⟩ − ⟨ψ(n)⟩ − ⟨ψ(m)⟩``, with n the images of the own group
    and m those of both groups nearer than the k-th neighbour; at least 0. It equals scikit-learn's
    where no responses are equal. Where they are, that adds noise; here, without chance, k counts
    the images of the own group that are as near as those that m counts, and where more than k have
    the very response, it is these that both count (Gao et al. 2017, arXiv:1709.06212). An image
    that a bootstrap has twice is its own neighbour, so that scores of resamples lie above.

    In a contrast whose images all give the same response it is undefined. InputError where
    `neighbours` is not 1 or more.
    """
    contrast.check(responses)
    if neighbours < 1:
        raise InputError(
            f"mutual_information: metric.options.neighbours={neighbours} is not 1 or more"
        )
    digamma = special.digamma(np.arange(len(responses) + 1))
    target = np.sort(np.asarray(responses[contrast.target].T, np.float64), axis=1)
    statistic = np.empty((len(contrast.others), responses.shape[1]))
    for row, mask in zip(statistic, contrast.others, strict=True):
        others = np.sort(np.asarray(responses[mask].T, np.float64), axis=1)
        _estimate(target, others, neighbours, digamma, row)
    return Scores(statistic, statistic)


@compiled
def _estimate(  # noqa: C901  one compiled pass
    target: NDArray[np.float64],
    others: NDArray[np.float64],
    neighbours: int,
    digamma: NDArray[np.float64],
    bits: NDArray[np.float64],
) -> None:
    """Fill `bits` (units,) from ascending responses (units, images of a group)."""
    total = target.shape[1] + others.shape[1]
    for unit in range(len(target)):
        first, second = target[unit], others[unit]
        if first[0] == second[0] and first[-1] == second[-1] and first[0] == first[-1]:
            bits[unit] = np.nan
            continue
        nats = 0.0
        for own, other in ((first, second), (second, first)):
            images = len(own)
            nearest = min(neighbours, images - 1)
            start, stop = 0, 0  # of the run of equal responses
            low = 0  # of the window of the nearest
            for place in range(images):
                value = own[place]
                if place == stop:
                    start = place
                    while stop < images and own[stop] == value:
                        stop += 1
                low = max(low, place - nearest)
                while (
                    low < place
                    and low + nearest + 1 < images
                    and (own[low + nearest + 1] - value < value - own[low])
                ):
                    low += 1
                radius = max(value - own[low], own[low + nearest] - value)
                if radius == 0:
                    near = stop - start
                    left = np.searchsorted(other, value)
                    right = np.searchsorted(other, value, side="right")
                else:
                    near = 0
                    for neighbour in range(low, low + nearest + 1):
                        near += abs(own[neighbour] - value) < radius
                    left = np.searchsorted(other, value - radius, side="right")
                    right = np.searchsorted(other, value + radius)
                nats += digamma[near] - digamma[near + right - left]
            nats -= images * digamma[images]
        nats = max(0.0, nats / total + digamma[total])
        won = 0.0  # pairs in which the target responds more, less those in which it responds less
        for value in first:
            won += np.searchsorted(second, value) + np.searchsorted(second, value, side="right")
        won -= len(first) * len(second)
        bits[unit] = nats / np.log(2) * np.sign(won) + 0.0  # no -0.0
