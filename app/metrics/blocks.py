"""The responses of a contrast's images, a block of units at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import InputError
from app.metrics.contrast import Contrast

# Responses that a metric looks at together: small enough to stay in a processor's cache with its
# temporaries, large enough that a block is worth a call.
BLOCK_VALUES = 2**20


def split(responses: NDArray[Any], contrast: Contrast) -> Iterator[NDArray[Any]]:
    """Split responses (images, units) into blocks of units; at least one, of no units if need be.

    Each unit is to be reduced by itself, so that its result does not depend, to the bit, on its
    block or its neighbours. Blocks are float32 or float64. ValueError where the responses have
    another shape than the contrast.
    """
    if responses.ndim != 2 or len(responses) != len(contrast.target):
        raise ValueError(
            f"responses must be (images, units) with {len(contrast.target)} images, "
            f"but are {responses.shape}"
        )
    if responses.dtype not in (np.float32, np.float64):
        responses = responses.astype(np.float64)
    width = max(1, BLOCK_VALUES // len(responses))
    for start in range(0, max(1, responses.shape[1]), width):
        yield responses[:, start : start + width]


def refuse_not_finite(responses: NDArray[Any], contrast: Contrast) -> None:
    """Refuse responses to included images that are NaN or infinite, by an InputError."""
    per_unit = np.zeros(responses.shape[1], dtype=np.int64)
    for image in np.flatnonzero(contrast.included):  # all at once would double the memory
        per_unit += ~np.isfinite(responses[image])
    if per_unit.any():
        raise InputError(
            f"{per_unit.sum()} responses are NaN or infinite, the first in unit "
            f"{np.flatnonzero(per_unit)[0]}; responses must be finite numbers"
        )
