"""What lesions would change, estimated for all kernels and units at once: attribution.

A loss L of values a, part of which is replaced by b, changes by about (b - a) ∂L/∂a, summed over
the part. One forward and one backward pass of each image give that for all parts of all places:
attribution patching (Nanda 2023), with b = 0 activation × gradient.

That is the slope where a is. At several points the kernels of a place are dealt at random into as
many groups; at each point one group lies half way from a to b, where the slopes of its own are
read: the middle of the path that each kernel's lesion takes, a few others moved with it. (On the
straight path of all kernels together, as in integrated gradients, slopes are those of a network
that has lost its layer.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from app.models.places import Place
from app.models.program import Program


class Attributed(NamedTuple):
    """Of images: their loss, and how each position of a place's maps is estimated to change it."""

    loss: Tensor  # (images,)
    changes: dict[str, Tensor]  # (images, channels, rows, columns) by layer; more: lesions hurt


def attribute(
    program: Program,
    places: Sequence[Place],
    given: Mapping[str, Tensor],
    judge: tuple[str, Callable[[Tensor], Tensor]],
    replacements: Mapping[str, Tensor] = MappingProxyType({}),
    points: int = 1,
) -> Attributed:
    """Estimate the change of each image's loss if positions of maps were replaced.

    `given` are values that the result can be computed from: pixels, or the places' own and what
    they share with it. `judge` is the name of the result, and what tells the loss (images,) of it
    (images, …). `replacements`, by layer, are like the maps or broadcast to them; 0 where there is
    none. With one point all places share one forward and one backward pass; with more, each has its
    own that many times, after a first one of all. What sums over a kernel's positions estimates the
    kernel's lesion.
    """
    with torch.inference_mode(False), torch.enable_grad():
        given = {
            name: each.clone() if each.is_inference() else each for name, each in given.items()
        }
        values = list(dict.fromkeys(place.value for place in places))
        loss, found = _differentiate(program, values, given, judge)
        changes = {}
        for place in places:
            if place.value not in found:  # the result does not rest on it
                changes[place.layer] = loss.new_zeros(len(loss), *place.shape)
                continue
            maps, gradient = found[place.value]
            whole = place.view(maps.detach())
            step = replacements.get(place.layer, torch.zeros_like(whole)) - whole
            slope = place.view(gradient)
            if points > 1:
                dealt, slope = _deal(place, points).to(maps.device), torch.zeros_like(slope)
                for number in range(points):
                    own = dealt == number
                    moved = torch.empty_like(maps).copy_(maps.detach())
                    place.view(moved).add_(step * own, alpha=0.5)
                    moved_there = {**given, place.value: moved}
                    _, there = _differentiate(program, [place.value], moved_there, judge)
                    slope += place.view(there[place.value][1]) * own
            changes[place.layer] = step * slope
    return Attributed(loss, changes)


def _deal(place: Place, groups: int) -> Tensor:
    """The group of each kernel (channels, 1, 1), at random."""
    random = torch.Generator().manual_seed(0)
    return (torch.randperm(place.shape[0], generator=random) % groups)[:, None, None]


def _differentiate(
    program: Program,
    names: Sequence[str],
    given: Mapping[str, Tensor],
    judge: tuple[str, Callable[[Tensor], Tensor]],
) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
    """The loss (images,), and some values with its gradient: of those that it rests on."""
    kept: dict[str, Tensor] = {}

    def keep(name: str, value: Tensor) -> Tensor:
        kept[name] = value if value.requires_grad else value.detach().requires_grad_()
        return kept[name]

    given = {name: keep(name, each) if name in names else each for name, each in given.items()}
    change = {name: partial(keep, name) for name in names if name not in given}
    result, measure = judge
    loss = measure(program.get(given, result, change))
    if not loss.requires_grad:
        return loss, {}
    gradients = torch.autograd.grad(
        loss.sum(), list(kept.values()), allow_unused=True, materialize_grads=True
    )
    return loss.detach(), dict(zip(kept, zip(kept.values(), gradients, strict=True), strict=True))
