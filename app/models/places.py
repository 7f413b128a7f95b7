"""Places in a network: what a layer's name stands for, what is read there, and in which layout."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from app.choices import LAYERS
from app.errors import InputError
from app.models.graph import Call, Graph, Operation
from app.models.vgg import layer_position

# How a value becomes maps (images, channels, rows, columns), as a view of it.
OUTPUT_MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "map": lambda values: values,  # (images, channels, rows, columns)
    "map_channels_last": lambda values: values.permute(0, 3, 1, 2),
    "tokens": lambda values: values.transpose(1, 2)[..., None],  # (images, tokens, channels)
    "vector": lambda values: values[..., None, None],  # (images, channels)
}
DIMENSIONS = {"map": 4, "map_channels_last": 4, "tokens": 3, "vector": 2}
LIST_LAYERS = "python -m app.layers with the same model=… lists all"

ACTIVATIONS = ("relu", "relu6", "hardtanh", "leaky_relu", "elu", "selu", "celu", "prelu", "gelu",
               "silu", "mish", "hardswish", "softplus")  # fmt: skip
_NORMS = ("batch_norm", "_native_batch_norm_legit_no_training", "layer_norm", "group_norm",
          "instance_norm")  # fmt: skip
# What tells where a map's channels are: of its second dimension, or of its last.
_FIRST = ("conv2d", "batch_norm", "_native_batch_norm_legit_no_training", "max_pool2d",
          "avg_pool2d", "adaptive_avg_pool2d", "group_norm")  # fmt: skip
_LAST = ("linear", "layer_norm")
_PERMUTED = ((0, 3, 1, 2), (0, 2, 3, 1))  # to channels first, to last
_ELEMENTWISE = (*ACTIVATIONS, "add", "mul", "dropout", "clone", "contiguous", "sigmoid", "alias")


@dataclass(frozen=True)
class Place:
    """What is read for a layer."""

    layer: str
    value: str  # the graph's name of it
    output: str  # its layout, one of `app.choices.OUTPUTS`
    shape: tuple[int, int, int]  # channels, rows, columns; tokens are rows
    depth: int  # of the layer's call in the order in which calls end, from 1; of convN: N
    words: str

    def view(self, values: Tensor) -> Tensor:
        """The values as maps (images, channels, rows, columns); writing to them writes to both."""
        return OUTPUT_MAPS[self.output](values)

    def replace(self, values: Tensor, where: Any, donors: Tensor | None = None) -> Tensor:
        """The values with those of `donors`, maps as theirs, at some places; None: with zero."""
        values = values.clone()
        self.view(values)[where] = 0 if donors is None else donors[where]
        return values


class Places:
    """The layers of a network by their modules' names; `name` is the network's, for messages."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name
        self.modules = list(dict.fromkeys(call.name for call in graph.calls if call.name))

    def find(self, layer: str, output: str | None) -> Place:
        """The place that a layer's name stands for; `output` says what it gives.

        None: layers are conv1 … conv13 of a dual-task network. InputError for a name that is no
        layer, and where `output` does not fit what it gives.
        """
        if output is None:
            if layer not in LAYERS:
                raise InputError(f"layer.name={layer} is no convolution of the dual-task networks")
            module = f"features.{layer_position(layer) - 1}"
            _, value, shape, _ = self._read(module)
            _, channels, rows, columns = shape or ()
            words = f"{layer} after its ReLU: {channels} x {rows} x {columns}"
            depth = LAYERS.index(layer) + 1
            return Place(layer, value, "map", (channels, rows, columns), depth, words)
        asked, value, shape, after = self._read(layer)
        if shape is None:
            raise InputError(
                f"layer.name={layer} of {self.name} gives no single floating-point tensor with "
                f"images first: name a module inside or around it ({LIST_LAYERS})"
            )
        fitting = self._find_outputs(value, shape)
        if output not in fitting:
            hint = f"take layer.output={' or '.join(fitting)}" if fitting else LIST_LAYERS
            raise InputError(
                f"layer.output={output} does not fit layer.name={layer} of {self.name}, which "
                f"gives {_by(shape[1:])} values an image: {hint}"
            )
        _, channels, rows, columns = OUTPUT_MAPS[output](torch.empty(shape)).shape
        words = ", ".join([f"{asked.name} ({asked.kind})", *after])
        depth = self.graph.calls.index(asked) + 1
        return Place(layer, value, output, (channels, rows, columns), depth,
                     f"{words}: {_by(shape[1:])}")  # fmt: skip

    def find_at(self, depth: float) -> tuple[str, str]:
        """The layer at a share of the depth, above 0 and at most 1, and its `output`.

        Of those that give maps or tokens and that no way through the network leads around: the one
        that ends the share, 1 the last. Of layers that read the same the outermost, then the first.
        """
        names = dict[str, str]()
        for name in sorted(self.modules, key=lambda name: name.count(".")):
            _, value, shape, _ = self._read(name)
            if shape is not None and math.prod(shape[2:]) > 1:
                names.setdefault(value, name)
        ordered = [names[value] for value in self.graph.bottlenecks if value in names]
        found = [(name, outputs) for name in ordered
                 if len(outputs := self.find_outputs(name)) == 1]  # fmt: skip
        if not found:
            raise InputError(f"layer.depth={depth}: {self.name} has no layer that all pass through")
        name, (output,) = found[math.ceil(depth * len(found)) - 1]
        return name, output

    def list_all(self) -> list[tuple[str, str, str, list[str]]]:
        """Each layer's name, what it is, what it gives and which `output` fits."""
        rows = []
        for name in self.modules:
            asked, value, shape, after = self._read(name)
            if shape is not None:
                kind = " ".join([asked.kind, *after])
                rows.append((name, kind, _by(shape[1:]), self._find_outputs(value, shape)))
        return rows

    def _read(self, layer: str) -> tuple[Call, str, tuple[int, ...] | None, list[str]]:
        """The call that a layer names, the value that is read, its shape, and what it is after.

        That is what the activation gives which alone, or after a normalisation, takes the layer's
        output as it is and lies in the same module, be it a module or a function. A module that is
        called more than once is read at its last call.
        """
        if "/" in layer:
            return self._read_function(layer)
        named = [call for call in self.graph.calls if call.name == layer]
        if not named or not layer:
            raise InputError(self._unknown(layer))
        asked = named[-1]
        read = self._find_activation(asked.value, layer.rpartition(".")[0]) or asked
        if isinstance(read, Operation):
            return asked, read.name, self._measure(read.name), [f"after {read.kind}"]
        after = [f"after {read.name} ({read.kind})"] if read is not asked else []
        count = sum(call.name == read.name for call in self.graph.calls)
        after += [f"call {read.number + 1} of {count}"] if count > 1 else []
        return asked, read.value, self._measure(read.value), after

    def _measure(self, value: str) -> tuple[int, ...] | None:
        """A value's shape; None where it is no tensor with images first, or of whole numbers."""
        made, shape = self.graph.named.get(value), self.graph.shapes.get(value)
        return None if shape is None or shape[:1] != (1,) or (made and made.whole) else shape

    def _read_function(self, layer: str) -> tuple[Call, str, tuple[int, ...] | None, list[str]]:
        """As `_read`, of a function that a module calls itself: `attn/softmax`; its last call."""
        module, _, function = layer.rpartition("/")
        within = [each for each in self.graph.operations if each.module == module]
        called = [each for each in within if each.kind == function]
        calls = [call for call in self.graph.calls if call.name == module]
        if not called or not calls:
            kinds = dict.fromkeys(each.kind for each in within if each.each)
            known = f"calls {', '.join(kinds)}" if kinds else f"is none that does: {LIST_LAYERS}"
            raise InputError(
                f"layer.name={layer} is no function that {module} of {self.name} calls itself: it "
                f"{known}"
            )
        value = called[-1].name
        count = [f"call {len(called)} of {len(called)}"] if len(called) > 1 else []
        return calls[-1], value, self._measure(value), [f"its {function}", *count]

    def _find_activation(self, value: str, parent: str) -> Call | Operation | None:
        """The activation within `parent` that takes a value, as it is or normalised."""
        users, within = self.graph.users.get(value, []), f"{parent}." if parent else ""
        for user in users:
            if user.module == parent and len(users) == 1 and user.kind in (*ACTIVATIONS, *_NORMS):
                activates = user.kind in ACTIVATIONS
                return user if activates else self._find_activation(user.name, parent)
            if not user.module.startswith(within):
                continue
            child = within + user.module.removeprefix(within).partition(".")[0]
            place = self.graph.order[user.name]
            call = next((call for call in self.graph.calls if call.name == child
                         and self.graph.order.get(call.value, -1) >= place), None)  # fmt: skip
            if call is not None and (call.activates or call.normalises):
                return call if call.activates else self._find_activation(call.value, parent)
        return None

    def find_outputs(self, layer: str) -> list[str]:
        """What `output` may be for a layer; nothing where it gives no single tensor."""
        _, value, shape, _ = self._read(layer)
        return self._find_outputs(value, shape) if shape is not None else []

    def _find_outputs(self, value: str, shape: tuple[int, ...]) -> list[str]:
        """What `output` may be for a value; nothing where it is no tensor with images first.

        Images are square: rows and columns of a map are alike, and channels are what differs. Where
        all are alike, the operations around it tell.
        """
        fitting = [name for name, count in DIMENSIONS.items() if count == len(shape)]
        if len(shape) != 4:
            return fitting
        _, first, second, third = shape
        if first != third and second in (first, third):
            return ["map_channels_last" if first == second else "map"]
        return self._find_layout(value) or fitting

    def _find_layout(self, value: str) -> list[str]:
        """The layout of a map by the nearest operation that needs, or gives, one of them."""
        waiting, seen = [value], {value}
        while waiting:
            name = waiting.pop(0)
            made = [self.graph.named[name]] if name in self.graph.named else []
            for operation in [*made, *self.graph.users.get(name, [])]:
                first, last = operation.kind in _FIRST, operation.kind in _LAST
                if operation.kind == "permute":  # of other orders it tells nothing
                    first, last = (operation.args[1] == order for order in _PERMUTED)
                    first, last = (first, last) if operation in made else (last, first)
                if first or last:
                    return ["map" if first else "map_channels_last"]
                if operation.kind in _ELEMENTWISE:
                    near = {operation.name, *operation.takes} - seen
                    seen |= near
                    waiting += [each for each in near if each in self.graph.named]
        return []

    def _unknown(self, layer: str) -> str:
        if layer in self.graph.uncalled and layer:
            what = f"is not called as a module in the forward pass of {self.name}"
        else:
            what = f"is no module of {self.name}"
        near = difflib.get_close_matches(layer, self.modules, n=3, cutoff=0.0)
        return f"layer.name={layer} {what}: nearest are {', '.join(near)}; {LIST_LAYERS}"


def _by(sizes: Sequence[int]) -> str:
    return " x ".join(map(str, sizes)) or "single"
