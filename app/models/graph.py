"""A network as a flat graph of operations, with the calls of its modules: plain data.

`app.models.export` makes it, `app.models.program` runs it, `app.models.places` names places in it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PIXELS = "pixels"  # the value that is given: images (n, 3, rows, columns)
OWN = "self."  # before the names of the network's tensors, which operations may have, too


@dataclass(frozen=True)
class Ref:
    """A value that an operation takes: another's, or one of the network's tensors."""

    name: str


@dataclass(frozen=True)
class Setting:
    """A type, layout or memory format of torch by its name there; `device`: where it is run."""

    name: str


@dataclass(frozen=True)
class Operation:
    """One call of a function of torch. Its value goes by its name."""

    name: str
    target: str  # "aten.conv2d.default", "operator.mul"
    args: Any  # values, `Ref` and `Setting` in tuples
    kwargs: Mapping[str, Any]
    module: str  # whose forward pass calls it: the innermost one's dotted name
    shape: tuple[int, ...] | None = None  # of one image's value; None: it is no tensor
    grows: tuple[int, ...] = ()  # the dimensions that more images make larger
    whole: bool = False  # its values are whole numbers, or true and false

    @property
    def kind(self) -> str:
        """The function's bare name."""
        return self.target.split(".")[1]

    @property
    def each(self) -> bool:
        """Whether its value has images first, one by one."""
        return self.grows == (0,) and self.shape is not None and self.shape[0] == 1

    @property
    def sliding(self) -> tuple[Any, Any, Any]:
        """Stride, padding and dilation of a `conv2d`, a number or one for rows and columns each."""
        return self.argument(3, 1), self.argument(4, 0), self.argument(5, 1)

    def argument(self, place: int, default: Any) -> Any:
        """A positional argument, or its default where it was left out."""
        return self.args[place] if place < len(self.args) else default

    @functools.cached_property
    def takes(self) -> tuple[str, ...]:
        """The names of the values that it takes."""
        return tuple(each.name for each in _walk((self.args, tuple(self.kwargs.values())))
                     if isinstance(each, Ref))  # fmt: skip


@dataclass(frozen=True)
class Call:
    """One call of a module, in the order in which calls end."""

    name: str
    number: int  # of the calls of this module, from 0
    kind: str  # the module's class
    shape: tuple[int, ...] | None  # of the output for one image; None where it is no tensor
    value: str  # the operation whose value the output is
    activates: bool = False  # an activation, or a normalisation that ends in one
    normalises: bool = False


@dataclass(frozen=True)
class Graph:
    """All that a network computes from images; without operations, its modules' calls alone."""

    operations: tuple[Operation, ...]
    calls: tuple[Call, ...]
    result: str  # the name of the outputs' value
    size: int  # rows, and columns, of its images
    constants: Mapping[str, NDArray[np.generic]]  # tensors that its code holds
    uncalled: tuple[str, ...] = ()  # modules that the forward pass does not call
    failure: str = ""  # why there are no operations

    @functools.cached_property
    def named(self) -> dict[str, Operation]:
        """The operations by their names."""
        return {each.name: each for each in self.operations}

    @functools.cached_property
    def order(self) -> dict[str, int]:
        """Where each operation stands."""
        return {each.name: place for place, each in enumerate(self.operations)}

    @functools.cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape of one image's value, of those that have images first, one by one."""
        shapes = {call.value: call.shape for call in self.calls if call.shape is not None}
        return shapes | {each.name: each.shape for each in self.operations
                         if each.each and each.shape is not None}  # fmt: skip

    @functools.cached_property
    def users(self) -> dict[str, list[Operation]]:
        """The operations that take each value, in their order."""
        users: dict[str, list[Operation]] = {}
        for operation in self.operations:
            for name in dict.fromkeys(operation.takes):
                users.setdefault(name, []).append(operation)
        return users

    def find_dependent(self, changed: Iterable[str]) -> set[str]:
        """The names of all values that rest on some values, these among them."""
        reached = set(changed)
        for each in self.operations:
            if reached.intersection(each.takes):
                reached.add(each.name)
        return reached

    @functools.cached_property
    def bottlenecks(self) -> list[str]:
        """The values that all of the result rests on, in their order: no way around leads there.

        A residual block's output is one, what lies within its branch is none.
        """
        rest, last = {PIXELS}, dict[str, int]()  # of numbers of images only counts rest
        for place, each in enumerate(self.operations):
            if each.shape is not None and rest.intersection(each.takes):
                rest.add(each.name)
                last |= dict.fromkeys(rest.intersection(each.takes), place)
        found, until = list[str](), last.get(PIXELS, -1)
        for place, each in enumerate(self.operations):
            if each.name in rest and until <= place:
                found.append(each.name)
            until = max(until, last.get(each.name, -1))
        return found

    @functools.cached_property
    def features(self) -> tuple[str, str]:
        """The value that the last operation with weights, the head, takes, and its layout."""
        name = self.result
        while name in self.named and self.named[name].kind not in ("linear", "conv2d"):
            name = self.named[name].takes[0]
        name = self.named[name].takes[0] if name in self.named else self.result
        layout = {2: "vector", 3: "tokens", 4: "map"}
        return name, layout[len(self.shapes[name])]


def _walk(value: Any) -> Iterator[Any]:
    if isinstance(value, (tuple, list)):
        for each in value:
            yield from _walk(each)
    else:
        yield value
