"""The counts of `app.metrics.ranks` on a GPU, by torch; the same integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHUNK_VALUES = 2**25  # sorted at once; a dozen 64-bit arrays of as many are held meanwhile


def count_pairs(
    responses: NDArray[Any], images: Sequence[NDArray[np.int64]], device: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """As `app.metrics.ranks.count_pairs`, computed on the torch device named."""
    order = np.concatenate(images)
    sizes = [len(members) for members in images]
    groups = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)).to(device)
    width = max(1, CHUNK_VALUES // len(order))
    parts = []
    with torch.inference_mode():
        for start in range(0, responses.shape[1], width):
            chunk = np.ascontiguousarray(responses[order, start : start + width].T)
            parts.append(_count(torch.from_numpy(chunk).to(device), groups, len(sizes)))
    empty = np.empty((len(sizes) - 1, 0), dtype=np.int64)
    twice_u = np.concatenate([empty, *(part[0].cpu().numpy() for part in parts)], axis=1)
    ties = np.concatenate([empty, *(part[1].cpu().numpy() for part in parts)], axis=1)
    return twice_u, ties


def _count(values: Tensor, groups: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """2U and ties, (count - 1, units), of `values` (units, images) in groups (images,)."""
    ascending, order = torch.sort(values, dim=1)
    group = groups[order]
    place = torch.arange(values.shape[1], device=values.device).expand_as(order)
    differs = ascending[:, 1:] != ascending[:, :-1]
    edge = torch.ones_like(differs[:, :1])
    # Where the run of equal responses that each one is in begins, and where it ends.
    begin = torch.where(torch.cat([edge, differs], 1), place, 0).cummax(dim=1).values
    last = torch.where(torch.cat([differs, edge], 1), place, values.shape[1])
    end = last.flip(1).cummin(dim=1).values.flip(1)

    def in_run(member: Tensor) -> tuple[Tensor, Tensor]:
        """How many members are in each one's run, and how many up to its end."""
        reached = member.cumsum(dim=1)
        before = reached.gather(1, begin) - member.long().gather(1, begin)
        up_to_end = reached.gather(1, end)
        return up_to_end - before, up_to_end

    target = group == 0
    targets_tied, targets_reached = in_run(target)
    # What a response of another group adds to 2U: the target's above it twice, the tied once.
    adds = 2 * (target.sum(dim=1, keepdim=True) - targets_reached) + targets_tied
    twice_u, ties = [], []
    for number in range(1, count):
        other = group == number
        together = targets_tied + in_run(other)[0]
        twice_u.append((adds * other).sum(dim=1))
        # A run of c is met c times, and c (c² - 1) = c³ - c.
        ties.append(((together**2 - 1) * (target | other)).sum(dim=1))
    return torch.stack(twice_u), torch.stack(ties)
