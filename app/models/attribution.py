"""What lesions would change, estimated for all kernels and units at once: attribution.

A loss L of values a, part of which is replaced by b, changes by about (b - a) ∂L/∂a, summed over
the part. One forward and one backward pass of each image give that for all parts of all places:
attribution patching (Nanda 2023), with b = 0 gradient × activation (Shrikumar et al. 2017). On
several points of the straight path from a to b, along which all kernels of a place are moved
together, gradients are averaged: integrated gradients (Sundararajan et al. 2017), of activations
as in Hanna et al. (2024, arXiv 2403.17806).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from app.errors import InputError
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
    judge: Callable[[Tensor], Tensor],
    replacements: Mapping[str, Tensor] = MappingProxyType({}),
    points: int = 1,
) -> Attributed:
    """Estimate the change of each image's loss if positions of maps were replaced.

    `given` are values that the result can be computed from: pixels, or the places' own and what
    they share with it. `judge` tells the loss (images,) of the result (images, …). `replacements`,
    by layer, are like the maps or broadcast to them; 0 where there is none. With one point all
    places share one forward and one backward pass; with more, each has its own that many times,
    after a first one of all. What sums over a kernel's positions estimates the kernel's lesion.
    InputError for a place whose values are no floating-point numbers.
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
            total = place.view(gradient)
            for number in range(1, points):
                moved = torch.empty_like(maps).copy_(maps.detach())
                place.view(moved).add_(step, alpha=number / points)
                _, there = _differentiate(
                    program, [place.value], {**given, place.value: moved}, judge
                )
                total = total + place.view(there[place.value][1])
            changes[place.layer] = step * total / points
    return Attributed(loss, changes)


def _differentiate(
    program: Program,
    names: Sequence[str],
    given: Mapping[str, Tensor],
    judge: Callable[[Tensor], Tensor],
) -> tuple[Tensor, dict[str, tuple[Tensor, Tensor]]]:
    """The loss (images,), and some values with its gradient: of those that it rests on."""
    kept: dict[str, Tensor] = {}

    def keep(name: str, value: Any) -> Tensor:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise InputError(f"{name} in the network is no floating-point tensor: no gradient")
        kept[name] = value if value.requires_grad else value.detach().requires_grad_()
        return kept[name]

    given = {name: keep(name, each) if name in names else each for name, each in given.items()}
    change = {name: partial(keep, name) for name in names if name not in given}
    ((_, result),) = program.run(given, [program.graph.result], change)
    loss = judge(result)
    gradients = torch.autograd.grad(
        loss.sum(), list(kept.values()), allow_unused=True, materialize_grads=True
    )
    return loss.detach(), dict(zip(kept, zip(kept.values(), gradients, strict=True), strict=True))
