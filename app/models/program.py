"""A network's graph with its weights, run from any of its values to any other."""

from __future__ import annotations

import copy
import functools
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.errors import InputError
from app.models.graph import OWN, PIXELS, Graph, Operation, Ref, Setting

Values = Mapping[str, Any]


class Program:
    """A graph whose tensors are those of a network, on a device and in a type.

    What no image has a part in, such as weights that are standardised, is computed once.
    """

    def __init__(
        self, graph: Graph, network: nn.Module, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.graph, self.device = graph, device
        own: dict[str, Tensor] = dict(network.named_parameters(remove_duplicate=False))
        own |= network.named_buffers(remove_duplicate=False)
        own = {OWN + name: each for name, each in own.items()}
        own |= {name: torch.from_numpy(each) for name, each in graph.constants.items()}
        used = {name for each in graph.operations for name in each.takes}
        with torch.inference_mode(False):  # whoever asks first: gradients may pass through them
            self.tensors: dict[str, Any] = {
                name: move(each.detach(), device, dtype)
                for name, each in own.items()
                if name in used
            }
            self.functions = {each.target: _find(each.target) for each in graph.operations}
            self.plan = functools.cache(self._plan)
            of_images = graph.find_dependent([PIXELS])
            taken = {name for each in graph.operations if each.name in of_images
                     for name in each.takes}  # fmt: skip
            fixed = taken - of_images - self.tensors.keys()
            self.tensors |= dict(self.run({}, sorted(fixed)))

    def run(
        self,
        given: Values,
        wanted: Sequence[str],
        change: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType({}),
    ) -> Iterator[tuple[str, Any]]:
        """Yield each wanted value by its name, in the network's order.

        Only what lies between the `given` values and the wanted is computed, and a value is kept as
        long as an operation needs it. `change` says what becomes of a value as soon as it is there.
        """
        values = dict(given)
        asked = frozenset(wanted)
        for name in asked & values.keys():
            yield name, values[name]
        for operation, done in self.plan(frozenset(given), asked):
            args, kwargs = self._fill(operation.args, values), self._fill(operation.kwargs, values)
            value = self.functions[operation.target](*args, **kwargs)
            name = operation.name
            values[name] = change[name](value) if name in change else value
            if operation.name in asked:
                yield operation.name, values[operation.name]
            for name in done:
                del values[name]

    def get(
        self,
        given: Values,
        wanted: str,
        change: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType({}),
    ) -> Tensor:
        """One value, as `run` computes it."""
        ((_, value),) = self.run(given, [wanted], change)
        assert isinstance(value, Tensor)
        return value

    def shapes(self, wanted: Sequence[str]) -> list[tuple[int, ...]]:
        """The shapes of all values of one image on the way to the wanted ones."""
        steps = self.plan(frozenset([PIXELS]), frozenset(wanted))
        return [each.shape for each, _ in steps if each.shape is not None]

    def _plan(
        self, given: frozenset[str], wanted: frozenset[str]
    ) -> list[tuple[Operation, list[str]]]:
        """The operations that are needed, each with the values that nothing needs after it."""
        needed, steps, seen = set(wanted - given), list[tuple[Operation, list[str]]](), set[str]()
        for operation in reversed(self.graph.operations):
            if operation.name not in needed:
                continue
            takes = [name for name in dict.fromkeys(operation.takes) if name not in self.tensors]
            last = [name for name in takes if name not in seen]
            if operation.name not in seen:
                last.append(operation.name)  # wanted alone
            seen.update(takes)
            needed.update(name for name in takes if name not in given)
            steps.append((operation, last))
        return steps[::-1]

    def _fill(self, value: Any, values: dict[str, Any]) -> Any:
        if isinstance(value, Ref):
            return values[value.name] if value.name in values else self.tensors[value.name]
        if isinstance(value, tuple):
            return [self._fill(each, values) for each in value]
        if isinstance(value, Mapping):
            return {name: self._fill(each, values) for name, each in value.items()}
        if isinstance(value, Setting):
            return self.device if value.name == "device" else getattr(torch, value.name)
        return value


class _Deep(Exception):
    """The deepest value that is wanted has been read."""


class Hooks:
    """A network that has no graph: from images to what its modules give."""

    def __init__(
        self, graph: Graph, network: nn.Module, device: torch.device, dtype: torch.dtype
    ) -> None:
        # Other steps need the weights as they are.
        network = network if dtype == torch.float32 else copy.deepcopy(network)
        self.calls, self.network = graph.calls, network.to(device, dtype)

    def shapes(self, wanted: Sequence[str]) -> list[tuple[int, ...]]:
        """The shapes of all that the modules give for one image."""
        return [call.shape for call in self.calls if call.shape is not None]

    def run(self, given: Values, wanted: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Yield each wanted value by its name; the pass ends at the deepest."""
        left = {call.value: call for call in self.calls if call.value in wanted}
        names = {self.network.get_submodule(call.name): call.name for call in left.values()}
        called: Counter[str] = Counter()
        found: list[tuple[str, Tensor]] = []

        def after(module: nn.Module, _: object, output: Tensor) -> None:
            value = f"{names[module]} {called[names[module]]}"
            called[names[module]] += 1
            if left.pop(value, None):  # what follows may change it in place
                found.append((value, output.clone() if left else output))
            if not left:
                raise _Deep

        (pixels,) = given.values()
        with ExitStack() as hooks, suppress(_Deep):
            for module in names:
                hooks.enter_context(module.register_forward_hook(after))
            self.network(pixels)
        yield from found


def _find(target: str) -> Any:
    """The function of an operation's name; InputError for one that has no place in a graph."""
    if target in OURS:
        return OURS[target]
    library, name, *overload = target.split(".")
    if library == "operator" and hasattr(operator, name):
        return getattr(operator, name)
    if library == "aten" and overload:
        return getattr(getattr(torch.ops.aten, name), overload[0])
    raise InputError(f"{target} is no operation of a network's graph")


def _apply_linear(values: Tensor, weights: Tensor, bias: Tensor | None = None) -> Tensor:
    """As torch's, in which one product would become many where values are transposed."""
    return functional.linear(values.contiguous(), weights, bias)


# Maps lie channels last here, of which what was exported may be no view.
OURS = {
    "aten.linear.default": _apply_linear,
    **dict.fromkeys(("aten.view.default", "aten._unsafe_view.default"), torch.reshape),
}


def move(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    """To a device, floats in a type; maps channels last, as convolutions are fast."""
    kind = dtype if tensor.is_floating_point() else tensor.dtype
    layout: Any = {"memory_format": torch.channels_last} if tensor.ndim == 4 else {}
    return tensor.to(device, kind, **layout)
