"""Any torch network, its layers read by the dotted names of its modules.

What a network calls, in which order and with what shapes, is seen by running it once on one blank
image (`ModuleNetwork.calls`); nothing is guessed from names.
"""

from __future__ import annotations

import difflib
import functools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from app.errors import InputError

# How a module's output becomes maps (images, channels, rows, columns).
OUTPUT_MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "map": lambda values: values,  # (images, channels, rows, columns)
    "map_channels_last": lambda values: values.permute(0, 3, 1, 2),
    "tokens": lambda values: values.transpose(1, 2)[..., None],  # (images, tokens, channels)
    "vector": lambda values: values[..., None, None],  # (images, channels)
}
DIMENSIONS = {"map": 4, "map_channels_last": 4, "tokens": 3, "vector": 2}
LIST_LAYERS = "python -m app.layers with the same model=… lists all"

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm)
_NOT_ACTIVATIONS = (nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin)


# A tensor and how often it had been changed in place tell whether one call's output is what another
# sees; None: it is no tensor.
Version = tuple[int, int] | None


@dataclass(frozen=True)
class Call:
    """One call of a module, in the order in which calls end."""

    name: str
    number: int  # of the calls of this module, from 0
    kind: str  # the module's class
    shape: tuple[int, ...] | None  # of the output, images first; None where it is no tensor
    seen: Version
    given: Version


class _Deep(Exception):
    """The deepest layer that is asked for has been read."""


class ModuleNetwork(nn.Module):
    """A network whose layers are its modules' names; `output` says what they give.

    `body` takes images (n, 3, input_size, input_size) and is in evaluation mode; `name` is for
    messages; `output` is one of `app.choices.OUTPUTS`, for every layer that is read.
    """

    def __init__(self, body: nn.Module, name: str, input_size: int, output: str) -> None:
        super().__init__()
        self.body, self.name = body, name
        self.input_size, self.output = input_size, output

    @functools.cached_property
    def calls(self) -> tuple[Call, ...]:
        """All calls of one forward pass."""
        names = {module: name for name, module in self.body.named_modules()}
        calls: list[Call] = []
        kept: list[Tensor] = []  # while a tensor lives no other has its number
        seen: dict[nn.Module, list[Version]] = {module: [] for module in names}

        def identify(value: object) -> Version:
            if not isinstance(value, Tensor):
                return None
            kept.append(value)
            return id(value), value._version

        def before(module: nn.Module, inputs: tuple[object, ...]) -> None:
            seen[module].append(identify(inputs[0]) if inputs else None)

        def after(module: nn.Module, _: object, output: object) -> None:
            name, kind = names[module], type(module).__name__
            number = sum(call.name == name for call in calls)
            shape = tuple(output.shape) if isinstance(output, Tensor) else None
            calls.append(Call(name, number, kind, shape, seen[module].pop(), identify(output)))

        # Not in inference mode: its tensors do not count changes in place.
        with ExitStack() as hooks, torch.inference_mode(False), torch.no_grad():
            for module in names:
                hooks.enter_context(module.register_forward_pre_hook(before))
                hooks.enter_context(module.register_forward_hook(after))
            blank = torch.zeros(1, 3, self.input_size, self.input_size)
            self._pass(blank.to(next(self.body.parameters())))
        return tuple(calls)

    def point(self, layer: str) -> tuple[Call, Call]:
        """The call that `layer` names, and the one whose output is read: after its activation.

        That is the activation which alone, or after a normalisation, takes the layer's output
        as it is and lies in the same module. A module that is called more than once is read at
        its last call.
        InputError for a name that is no module, or that the forward pass does not call.
        """
        named = [call for call in self.calls if call.name == layer]
        if not named or not layer:
            raise InputError(self._unknown(layer))
        asked = last = named[-1]
        parent = layer.rpartition(".")[0]
        for call in self.calls[self.calls.index(asked) + 1 :]:
            if call.seen != last.given or call.name.rpartition(".")[0] != parent:
                continue
            module = self.body.get_submodule(call.name)
            if _activates(module):
                return asked, call
            if not isinstance(module, _NORMS):
                break
            last = call
        return asked, asked

    def find_depth(self, layer: str) -> int:
        """Where the call of a layer stands in the order in which calls end, from 1."""
        return self.calls.index(self.point(layer)[0]) + 1

    def read_as(self, layer: str) -> str:
        """What is read for a layer, in words."""
        asked, call = self.point(layer)
        assert call.shape is not None
        count = sum(other.name == call.name for other in self.calls)
        parts = [f"{asked.name} ({asked.kind})"]
        if call is not asked:
            parts.append(f"after {call.name} ({call.kind})")
        if count > 1:
            parts.append(f"call {call.number + 1} of {count}")
        return f"{', '.join(parts)}: {' x '.join(map(str, call.shape[1:]))}"

    def shape(self, layer: str) -> tuple[int, int, int]:
        """(channels, rows, columns); tokens are rows. InputError where `output` does not fit."""
        _, call = self.point(layer)
        if call.shape is None or call.shape[0] != 1:
            raise InputError(
                f"layer.name={layer} of {self.name} gives no single tensor with images first: name "
                f"a module inside or around it ({LIST_LAYERS})"
            )
        fitting = self.find_outputs(call)
        if self.output not in fitting:
            hint = f"take layer.output={' or '.join(fitting)}" if fitting else LIST_LAYERS
            raise InputError(
                f"layer.output={self.output} does not fit layer.name={layer} of {self.name}, which "
                f"gives {' x '.join(map(str, call.shape[1:]))} values an image: {hint}"
            )
        _, channels, rows, columns = OUTPUT_MAPS[self.output](torch.empty(call.shape)).shape
        return channels, rows, columns

    def find_outputs(self, call: Call) -> list[str]:
        """What `output` may be for a call; nothing where it gives no tensor with images first.

        Images are square: rows and columns of a map are alike, and channels are what differs. Where
        all are alike, larger images tell, or, where one size alone is taken, timm's format.
        """
        if call.shape is None or call.shape[0] != 1:
            return []
        fitting = [name for name, count in DIMENSIONS.items() if count == len(call.shape)]
        with suppress(InputError):
            for network in (self, self._larger) if len(call.shape) == 4 else ():
                shapes = {(each.name, each.number): each.shape for each in network.calls}
                _, first, second, third = shapes[call.name, call.number] or call.shape
                if first != third and second in (first, third):
                    return ["map_channels_last" if first == second else "map"]
        convolves = isinstance(self.body.get_submodule(call.name), nn.Conv2d | nn.BatchNorm2d)
        if getattr(self.body, "output_fmt", None) == "NHWC" and len(fitting) > 1:
            return ["map" if convolves else "map_channels_last"]
        return fitting

    @functools.cached_property
    def _larger(self) -> ModuleNetwork:
        return ModuleNetwork(self.body, self.name, 2 * self.input_size, self.output)

    def read(self, layers: Sequence[str], pixels: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Each layer with its maps (images, channels, rows, columns), in the network's order.

        The pass ends at the deepest of them.
        """
        asked: dict[tuple[str, int], list[str]] = {}
        for layer in layers:
            _, call = self.point(layer)
            asked.setdefault((call.name, call.number), []).append(layer)
        names = {self.body.get_submodule(name): name for name, _ in asked}
        called: Counter[str] = Counter()
        found: list[tuple[str, Tensor]] = []

        def after(module: nn.Module, _: object, output: Tensor) -> None:
            call = names[module], called[names[module]]
            called[names[module]] += 1
            for layer in asked.pop(call, ()):
                # What follows may change it in place.
                found.append((layer, OUTPUT_MAPS[self.output](output.clone() if asked else output)))
            if not asked:
                raise _Deep

        with ExitStack() as hooks, suppress(_Deep):
            for module in names:
                hooks.enter_context(module.register_forward_hook(after))
            self._pass(pixels)
        yield from found

    def _pass(self, pixels: Tensor) -> None:
        try:
            self.body(pixels)
        except _Deep:
            raise
        except Exception as error:  # a network's code may raise anything
            reason = ": ".join([type(error).__name__, *str(error).splitlines()[:1]])
            size = " x ".join(map(str, pixels.shape))
            raise InputError(f"the network {self.name} fails on images {size}: {reason}") from error

    def _unknown(self, layer: str) -> str:
        names = list(dict.fromkeys(call.name for call in self.calls if call.name))
        if layer in dict(self.body.named_modules()) and layer:
            what = f"is not called as a module in the forward pass of {self.name}"
        else:
            what = f"is no module of {self.name}"
        near = difflib.get_close_matches(layer, names, n=3, cutoff=0.0)
        return f"layer.name={layer} {what}: nearest are {', '.join(near)}; {LIST_LAYERS}"


def _activates(module: nn.Module) -> bool:
    """An activation, or a normalisation that ends in one."""
    return any(
        type(part).__module__.startswith(("torch.nn.modules.activation", "timm.layers.activations"))
        and not isinstance(part, _NOT_ACTIVATIONS)
        for part in (module.modules() if isinstance(module, _NORMS) else [module])
    )
