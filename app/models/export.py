"""From a torch network to its graph, by torch.export: a hook marks the end of each module's call.

A network that cannot be exported is run once on one blank image, and its modules' calls are seen.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from app.errors import InputError
from app.models.graph import OWN, PIXELS, Call, Graph, Operation, Ref, Setting
from app.models.program import Program

_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.LocalResponseNorm)
_NOT_ACTIVATIONS = (nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin)
# Of outputs against the network's own, relative to the largest: sums in another order.
TOLERANCE = 1e-4


@torch.library.custom_op("selective_units::mark", mutates_args=())
def mark(values: Tensor, call: int) -> Tensor:
    """Stand in the graph for the end of a module's call."""
    return values.clone()


@mark.register_fake
def _(values: Tensor, call: int) -> Tensor:
    return torch.empty_like(values)


def export(network: nn.Module, size: int, name: str) -> Graph:
    """The graph of a network in evaluation mode, on images (n, 3, size, size) for any n.

    It is held against the network's own outputs. InputError where the network itself fails on such
    images; `name` is for that message.
    """
    try:
        graph = _export(network, size)
    except Exception as error:  # torch.export, and a network's code, may raise anything
        graph = _watch(network, size, name, _say(error))
    called = {call.name for call in graph.calls}
    uncalled = tuple(name for name, _ in network.named_modules() if name not in called)
    return replace(graph, uncalled=uncalled)


def _export(network: nn.Module, size: int) -> Graph:
    blank = torch.zeros(2, 3, size, size)
    with _hooks(network, mark) as calls:
        batch = ({0: torch.export.Dim.DYNAMIC},)
        exported = torch.export.export(network, (blank,), dynamic_shapes=batch, strict=False)
    shown = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        own = torch.cat([network(each[None].clone()) for each in shown])  # which it may change
    # As it stands what works in place is put beside its input, which views of that would not see.
    for make in (lambda: exported, lambda: exported.run_decompositions({})):
        graph = _translate(make(), calls, size)
        if graph is None:
            continue
        program = Program(graph, network, torch.device("cpu"), torch.float32)
        with torch.inference_mode():
            found = program.get({PIXELS: shown}, graph.result)
        if found.shape == own.shape and (found - own).abs().max() <= TOLERANCE * own.abs().max():
            return graph
    raise ValueError(
        "its graph gives other outputs for several images than the network for each: chance, or "
        "the other images, may have a part in them"
    )


def _translate(
    exported: torch.export.ExportedProgram, calls: list[Call], size: int
) -> Graph | None:
    """The graph as plain data, without marks; None where an operation has no place in it."""
    signature = exported.graph_signature
    held = signature.inputs_to_lifted_tensor_constants
    tensors = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **held}
    names = {node: OWN + name for node, name in tensors.items()}
    names[str(signature.user_inputs[0])] = PIXELS
    operations: dict[str, Operation] = {}
    ends: dict[int, str] = {}
    for node in exported.graph.nodes:
        if node.op != "call_function":
            continue
        shown = _measure(node)
        if node.target is torch.ops.selective_units.mark.default:
            marked, call = node.args
            source = _tell(marked, names)
            names[node.name] = ends[call] = source.name
            if len(marked.users) > 1:  # what the module gives back as it is, others take, too
                names[node.name] = ends[call] = node.name
                operations[node.name] = Operation(
                    node.name, "aten.alias.default", (source,), {}, calls[call].name, *shown
                )
            continue
        target = _name(node.target)
        if target is None:
            return None
        stack = list((node.meta.get("nn_module_stack") or {"": ("", "")}).values())
        module = stack[-1][0].partition("@")[0]
        kwargs = {key: _tell(value, names) for key, value in node.kwargs.items()}
        if target == "aten.clone.default" and not kwargs:  # a dropout, say; nothing is written to
            target = "aten.alias.default"
        args = _tell(node.args, names)
        operations[node.name] = Operation(node.name, target, args, kwargs, module, *shown)
    if len(signature.user_outputs) != 1:
        raise ValueError(f"the network gives {len(signature.user_outputs)} tensors")
    result = str(signature.user_outputs[0])
    result = names.get(result, result)
    if not operations[result].each:
        raise ValueError("its outputs do not follow the number of images")
    shapes: dict[str, Any] = {name: each.shape for name, each in operations.items() if each.each}
    shapes[PIXELS] = (1, 3, size, size)
    made = tuple(
        replace(call, value=ends.get(place, ""), shape=shapes.get(ends.get(place, "")))
        for place, call in enumerate(calls)
    )
    arrays: Any = {name: exported.constants[name] for name in held.values()}
    constants = {OWN + name: np.asarray(each.detach()) for name, each in arrays.items()}
    return Graph(tuple(operations.values()), made, result, size, constants)


def _tell(value: Any, names: dict[str, str]) -> Any:
    """What an operation takes, as plain data."""
    if isinstance(value, fx.Node):
        return Ref(names.get(value.name, value.name))
    if isinstance(value, (tuple, list)):
        return tuple(_tell(each, names) for each in value)
    if isinstance(value, torch.device):
        return Setting("device")
    if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
        return Setting(str(value).removeprefix("torch."))
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ValueError(f"the graph has a {type(value).__name__}")


def _name(target: Any) -> str | None:
    """An operation's name, of its twin where it works in place; None for one without."""
    if not isinstance(target, torch._ops.OpOverload):
        name = getattr(target, "__name__", "")
        if getattr(operator, name, None) is not target:
            raise ValueError(f"the graph calls {target}")
        return f"operator.{name}"
    if target.namespace != "aten":
        raise ValueError(f"the graph calls {target}")
    _, name, overload = str(target).split(".")
    if target._schema.is_mutable:
        twin = getattr(getattr(torch.ops.aten, name.removesuffix("_"), None), overload, None)
        if twin is None or not name.endswith("_"):
            return None
        name = name.removesuffix("_")
    return f"aten.{name}.{overload}"


def _measure(node: fx.Node) -> tuple[tuple[int, ...] | None, tuple[int, ...], bool]:
    """The shape of one image's value, the dimensions that grow with images; if it has no floats."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return None, (), False

    def count(size: Any, images: int) -> int:
        if isinstance(size, int):
            return size
        return int(size.node.expr.subs(dict.fromkeys(size.node.expr.free_symbols, images)))

    sizes = [(count(size, 2), count(size, 3)) for size in value.shape]
    grows = tuple(place for place, (two, three) in enumerate(sizes) if two != three)
    shape = tuple(three - two if two != three else two for two, three in sizes)
    return shape, grows, not value.is_floating_point()


def _watch(network: nn.Module, size: int, name: str, failure: str) -> Graph:
    """The calls of one forward pass on one blank image."""
    blank = torch.zeros(1, 3, size, size)
    with _hooks(network, lambda output, _: output) as calls, torch.inference_mode():
        try:
            network(blank)
        except Exception as error:
            shape = " x ".join(map(str, blank.shape))
            raise InputError(
                f"the network {name} fails on images {shape}: {_say(error)}"
            ) from error
    made = tuple(replace(call, value=f"{call.name} {call.number}") for call in calls)
    return Graph((), made, "", size, {}, failure=failure)


@contextmanager
def _hooks(network: nn.Module, see: Callable[[Tensor, int], Tensor]) -> Iterator[list[Call]]:
    """List all calls of modules; each output that is a tensor is put through `see`."""
    calls: list[Call] = []
    count: Counter[str] = Counter()

    # By its name, since torch.export may call a copy of the module.
    def after(name: str, module: nn.Module, _: object, output: object) -> object:
        shape = tuple(output.shape) if isinstance(output, Tensor) else None
        roles = _activates(module), isinstance(module, _NORMS)
        calls.append(Call(name, count[name], type(module).__name__, shape, "", *roles))
        count[name] += 1
        return see(output, len(calls) - 1) if isinstance(output, Tensor) else None

    with ExitStack() as hooks:
        for name, module in network.named_modules():
            hooks.enter_context(module.register_forward_hook(partial(after, name)))
        yield calls


def _activates(module: nn.Module) -> bool:
    """An activation, or a normalisation that ends in one."""
    return any(
        type(part).__module__.startswith(("torch.nn.modules.activation", "timm.layers.activations"))
        and not isinstance(part, _NOT_ACTIVATIONS)
        for part in (module.modules() if isinstance(module, _NORMS) else [module])
    )


def _say(error: Exception) -> str:
    return ": ".join([type(error).__name__, *str(error).strip().splitlines()[:1]])
