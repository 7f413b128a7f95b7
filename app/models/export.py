"""From a torch network to its graph, by torch.export: a hook marks the end of each module's call.

A network that cannot be exported is run once on one blank image, and its modules' calls are seen.
"""

from __future__ import annotations

import io
import logging
import operator
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
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
def mark(values: Tensor, call: str) -> Tensor:
    """Stand in the graph for the end of a module's call, which `Call.value` names."""
    return values.clone()


@mark.register_fake
def _(values: Tensor, call: str) -> Tensor:
    return torch.empty_like(values)


def export(network: nn.Module, size: int, name: str) -> Graph:
    """The graph of a network in evaluation mode, on images (n, 3, size, size) for any n.

    It is held against the network's own outputs. InputError where the network itself fails on such
    images; `name` is for that message.
    """
    graph = _watch(network, size, name)
    for strict in (False, True):  # its code is run, or read: so len(images) may be any number
        try:
            graph = _export(network, size, graph.calls, strict)
            break
        except Exception as error:  # torch.export, and a network's code, may raise anything
            graph = replace(graph, failure=graph.failure or _say(error))
    called = {call.name for call in graph.calls}
    uncalled = tuple(name for name, _ in network.named_modules() if name not in called)
    return replace(graph, uncalled=uncalled)


def _export(network: nn.Module, size: int, calls: Sequence[Call], strict: bool) -> Graph:
    blank = torch.zeros(2, 3, size, size)
    shapes: Any = torch.export.ShapesCollection()  # type: ignore[no-untyped-call]
    shapes[blank] = {0: torch.export.Dim.DYNAMIC}
    # In no_grad that of the network's own is no operation.
    with _hooks(network, mark), torch.no_grad(), _quiet():
        exported = torch.export.export(network, (blank,), dynamic_shapes=shapes, strict=strict)
    shown = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # of each image by itself, twice: squeeze() would drop a single
        each = [network(image.repeat(2, 1, 1, 1)) for image in shown]
    if not isinstance(each[0], Tensor):
        raise ValueError(f"it gives a {type(each[0]).__name__}, not one tensor")
    own = torch.cat([twice[:1] for twice in each])
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
    exported: torch.export.ExportedProgram, calls: Sequence[Call], size: int
) -> Graph | None:
    """The graph as plain data, without marks; None where an operation has no place in it."""
    signature = exported.graph_signature
    held = signature.inputs_to_lifted_tensor_constants
    tensors = {**signature.inputs_to_parameters, **signature.inputs_to_buffers, **held}
    names = {node: OWN + name for node, name in tensors.items()}
    names[str(signature.user_inputs[0])] = PIXELS
    operations: dict[str, Operation] = {}
    ends: dict[str, str] = {}
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
                module = call.rpartition(" ")[0]
                operations[node.name] = Operation(
                    node.name, "aten.alias.default", (source,), {}, module, *shown
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
        if target == "aten.squeeze.default":  # images stay a dimension, where there is one, too
            shape, grows, _ = _measure(node.args[0])
            alone = [place for place, count in enumerate(shape or ()) if count == 1]
            target, args = "aten.squeeze.dims", (*args, tuple({*alone} - {*grows}))
        operations[node.name] = Operation(node.name, target, args, kwargs, module, *shown)
    result = str(signature.user_outputs[0])
    result = names.get(result, result)
    if not operations[result].each:
        raise ValueError("its outputs do not follow the number of images")
    shapes: dict[str, Any] = {name: each.shape for name, each in operations.items() if each.each}
    shapes[PIXELS] = (1, 3, size, size)
    values = [ends.get(call.value, "") for call in calls]
    made = tuple(
        replace(call, value=value, shape=shapes.get(value))
        for call, value in zip(calls, values, strict=True)
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


def _watch(network: nn.Module, size: int, name: str) -> Graph:
    """The calls of one forward pass on two blank images."""
    blank = torch.zeros(2, 3, size, size)
    try:
        with _hooks(network, lambda output, _: output) as calls, torch.no_grad():
            network(blank)
    except Exception as error:
        shape = " x ".join(map(str, blank.shape))
        raise InputError(f"the network {name} fails on images {shape}: {_say(error)}") from error
    shapes = [call.shape or () for call in calls]  # of one image, where images come first
    made = (
        replace(call, shape=(1, *shape[1:]) if shape[:1] == (2,) else None)
        for call, shape in zip(calls, shapes, strict=True)
    )
    return Graph((), tuple(made), "", size, {})


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what torch logs and prints, in a hundred lines, of an error that is told in one."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        logging.disable(before)


@contextmanager
def _hooks(network: nn.Module, see: Callable[[Tensor, str], Tensor]) -> Iterator[list[Call]]:
    """List all calls of modules; each output that is a tensor is put through `see`."""
    calls: list[Call] = []
    count: Counter[str] = Counter()

    # By its name, since torch.export may call a copy of the module.
    def after(name: str, module: nn.Module, _: object, output: object) -> object:
        shape = tuple(output.shape) if isinstance(output, Tensor) else None
        roles, value = (_activates(module), isinstance(module, _NORMS)), f"{name} {count[name]}"
        calls.append(Call(name, count[name], type(module).__name__, shape, value, *roles))
        count[name] += 1
        return see(output, value) if isinstance(output, Tensor) else None

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
