"""Lesions at a place of a network: what all of them share, and what each repeats.

What does not depend on the place (skip connections, say) is computed once an image, what does for
many lesions in one batch. Where the next operation is linear in each kernel's map (a pooling
between acts on each map alone), its sums are computed once, too, and a lesion subtracts its
kernel's share.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from app.errors import InputError
from app.models.graph import PIXELS, Operation
from app.models.places import Place
from app.models.program import Program

_EACH_MAP = ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "dropout")
_FLATTEN = ("flatten", "view", "reshape")


@dataclass(frozen=True)
class Cut:
    """How a network falls apart where some of its values change."""

    shared: tuple[str, ...]  # values of each image that do not change, but are needed
    repeated: tuple[Operation, ...]  # what is computed again


def cut(program: Program, changed: Sequence[str], result: str) -> Cut:
    """Find what a change of some values leaves as it is on the way to the result.

    Numbers of images, and values that do not have images first, are computed again for the larger
    batch of many lesions: what they rest on is shared instead.
    """
    graph = program.graph
    reached, needed = graph.find_dependent(changed), {result}
    known = {*changed, *program.tensors}
    shared, repeated = list[str](), list[Operation]()
    for each in reversed(graph.operations):
        if each.name not in needed or each.name in known:
            continue
        if each.name not in reached and each.each:
            shared.append(each.name)
        else:
            repeated.append(each)
            needed.update(each.takes)
    if any(PIXELS in each.takes and each.shape is not None for each in repeated):
        shared.append(PIXELS)
    return Cut(tuple(sorted(shared)), tuple(repeated[::-1]))


class Lesioning:
    """Lesions of the kernels of one place, judged by one value of the network: its result.

    Or of its single `units`, which then stand wherever kernels are spoken of, by their numbers.
    Maps are lesioned as they are, or, where `pooled` allows it, after a pooling that acts on each:
    what replaces them is pooled, too.
    """

    def __init__(
        self,
        program: Program,
        place: Place,
        result: str | None = None,
        pooled: bool = True,
        units: bool = False,
    ) -> None:
        self.program, self.place = program, place
        self.counted = place.shape if units else place.shape[:1]  # that are lesioned
        self.result = result or program.graph.result
        self.maps, self.linear = place.value, None
        if not units and place.output in ("map", "vector"):
            self.maps, self.linear = _find_linear(program, place, self.result, pooled)
        self.seed = self.linear.name if self.linear else self.maps
        if self.result not in program.graph.find_dependent([self.seed]):
            raise InputError(
                f"nothing is left of a lesion of {place.layer} where its effect is measured: "
                "take lesion.readout.layer=<a layer that follows it>, or lesion.task=own"
            )
        self.cut = cut(program, [self.seed], self.result)

    @property
    def largest(self) -> int:
        """Values of the largest map that a lesion of one image computes again."""
        shapes = [each.shape for each in self.cut.repeated if each.shape is not None]
        return max(map(math.prod, [self.program.graph.shapes[self.seed], *shapes]))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(kernels, rows, columns) of what is lesioned, pooled where a pooling follows."""
        maps = self.place.view(torch.empty(self.program.graph.shapes[self.maps]))
        _, kernels, rows, columns = maps.shape
        return kernels, rows, columns

    @property
    def shared(self) -> list[str]:
        """The values that lesions share: the maps that are lesioned, and what does not change."""
        return [self.maps, *self.cut.shared]

    def prepare(self, pixels: Tensor) -> dict[str, Tensor]:
        """What lesions share, of images: maps to lesion, and all values that do not change."""
        return dict(self.program.run({PIXELS: pixels}, self.shared))

    def view(self, shared: dict[str, Tensor]) -> Tensor:
        """The maps that are lesioned, (images, kernels, rows, columns), as a view."""
        return self.place.view(shared[self.maps])

    def drop(
        self, shared: dict[str, Tensor], kernels: Sequence[int], donors: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The same with some kernels lesioned in all images; `donors` as in `run`."""
        maps = self.replace(shared[self.maps], kernels, donors) if kernels else shared[self.maps]
        return {**shared, self.maps: maps}

    def replace(self, maps: Tensor, kernels: Sequence[int], donors: Tensor | None = None) -> Tensor:
        """The value that is lesioned, of images, with some kernels lesioned in all of them."""
        return self.place.replace(maps, self._find_all(kernels), donors)

    def find_active(
        self, shared: dict[str, Tensor], kernels: Sequence[int], donors: Tensor | None = None
    ) -> Tensor:
        """Which kernels' lesions change their maps at all, in which images: (kernels, images)."""
        maps = self.view(shared)
        changed = (maps if donors is None else maps != donors)[self._find_all(kernels)]
        return changed[..., None].flatten(2).any(dim=2).T  # of units there is one value

    def sum(self, shared: dict[str, Tensor]) -> Tensor:
        """What single lesions start from: the linear operation's sums, channels last, or maps."""
        maps = shared[self.maps]
        if self.linear is None:
            return maps
        given = {self.maps: maps, PIXELS: self._stand_in(len(maps))}
        sums: Tensor = self.program.get(given, self.seed)
        return sums if sums.ndim == 2 else sums.permute(0, 2, 3, 1).contiguous()

    def run(
        self,
        shared: dict[str, Tensor],
        sums: Tensor,
        shown: Tensor,
        kernels: Tensor,
        donors: Tensor | None = None,
    ) -> Tensor:
        """The result for pairs of an image and a kernel that is lesioned in it.

        `sums` are those of `sum`; `shown` (pairs,) and `kernels` (pairs,) are numbers, those of
        kernels ascending, -1 for no lesion. `donors` (images, kernels, rows, columns) are what maps
        are replaced by; None: zero.
        """
        lesioned = sums[shown]
        cut_off = kernels >= 0
        if self.linear is None:
            view, pairs = self.place.view(lesioned), cut_off.nonzero().squeeze(1)
            where = self._find(kernels[pairs])
            view[(pairs, *where)] = 0 if donors is None else donors[(shown[pairs], *where)]
        else:
            maps, first = self.view(shared), 0
            for kernel, count in Counter(kernels.tolist()).items():  # in their order
                part = slice(first, first := first + count)
                if kernel >= 0:
                    lost = maps[shown[part], kernel]
                    if donors is not None:
                        lost = lost - donors[shown[part], kernel]
                    self._subtract(lesioned[part], kernel, lost)
            lesioned = lesioned if lesioned.ndim == 2 else lesioned.permute(0, 3, 1, 2)
        given = self.resume({name: shared[name][shown] for name in self.cut.shared}, len(shown))
        return self.program.get({**given, self.seed: lesioned}, self.result)

    def resume(self, shared: dict[str, Tensor], images: int) -> dict[str, Tensor]:
        """What the network goes on from, of so many images: what they share, and the rest."""
        return {PIXELS: self._stand_in(images), **shared}

    def _find_all(self, kernels: Sequence[int]) -> tuple[slice | Tensor, ...]:
        """Where they are in the maps of all images."""
        return slice(None), *self._find(torch.tensor(kernels, dtype=torch.int64))

    def _find(self, kernels: Tensor) -> tuple[Tensor, ...]:
        """Where kernels are in maps (channels, rows, columns), or units."""
        return torch.unravel_index(kernels, self.counted)

    @functools.cached_property
    def _weights(self) -> Tensor:
        """Those of the linear operation, (channels, kernels, taps)."""
        assert self.linear is not None
        weights: Tensor = self.program.tensors[self.linear.takes[1]]
        return weights.reshape(len(weights), self.place.shape[0], -1)

    def _stand_in(self, images: int) -> Tensor:
        """Images for what needs their number alone."""
        size = self.program.graph.size
        return torch.zeros((), device=self.program.device).expand(images, 3, size, size)

    def _subtract(self, sums: Tensor, kernel: int, maps: Tensor) -> None:
        """Take a kernel's share out of the sums; `maps` (images, rows, columns) is its."""
        assert self.linear is not None
        if self.linear.kind == "linear":
            taps = maps.flatten(1)
        else:
            size = self.program.tensors[self.linear.takes[1]].shape[2:]
            stride, padding, dilation = self.linear.sliding
            taps = functional.unfold(maps[:, None], size, dilation, padding, stride)
            taps = taps.transpose(1, 2).flatten(0, 1)
        sums.view(-1, sums.shape[-1]).sub_(functional.linear(taps, self._weights[:, kernel]))


def _find_linear(
    program: Program, place: Place, result: str, pooled: bool
) -> tuple[str, Operation | None]:
    """The value that holds a place's maps, as they are or pooled, and what is linear in each map.

    That is an operation with weights which alone takes them, if there is one.
    """
    graph, name, maps, flat = program.graph, place.value, place.value, place.output == "vector"
    while name != result and len(users := graph.users.get(name, [])) == 1:
        each, name = users[0], users[0].name
        if each.kind in _EACH_MAP and each.each and (pooled or each.kind == "dropout"):
            maps = maps if flat else name
        elif each.kind in _FLATTEN and each.shape == (1, math.prod(graph.shapes[maps])):
            flat = True
        elif (
            each.target == "aten.conv2d.default"
            and each.argument(6, 1) == 1
            or (each.kind == "linear" and flat)
        ) and each.takes[1] in program.tensors:  # else weights are the image's own
            return maps, each
        else:
            break
    return maps, None
