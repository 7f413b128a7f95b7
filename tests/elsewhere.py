"""A device that is not there: what a GPU refuses, refused on a machine without one.

Within `pretend()`, tensors sent to `DEVICE` hold their values on the CPU, but say that they are
elsewhere, and an operation on tensors here and there fails as it does with a GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only


class _Backend(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]


backend_registration._setup_privateuseone_for_python_backend("elsewhere", _Backend())
DEVICE = torch.device("elsewhere:0")
# Which of two devices: numbers of places may be the CPU's, and values are copied between them.
_INDEXED = ("aten.index.Tensor", "aten.index_put_.default", "aten.index_put.default")
_COPIES = ("aten.copy_.default", "aten._to_copy.default")


class Elsewhere(torch.Tensor):
    """A tensor that says it is on `DEVICE`; its values are on the CPU."""

    values: torch.Tensor

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> Elsewhere:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=DEVICE,
        )
        made.values = values
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _compute(func, args, kwargs or {})

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.values.__reduce_ex__(protocol)

    def tolist(self) -> Any:
        """Python's numbers, as from a GPU."""
        return self.values.tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Refuse, as a GPU's tensor does."""
        raise TypeError("a tensor elsewhere is no array: use Tensor.cpu()")


class _Pretending(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:  # in inference mode operations come whole that consist of others
            found = func.decompose(*args, **(kwargs or {}))
        return _compute(func, args, kwargs or {}) if found is NotImplemented else found


def _compute(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    given = [each for each in tree_leaves((args, kwargs)) if isinstance(each, torch.Tensor)]
    places = {isinstance(each, Elsewhere) for each in given if each.ndim}
    together = str(func) not in _COPIES and not (
        str(func) in _INDEXED and isinstance(args[0], Elsewhere)
    )
    if together and len(places) > 1:
        raise RuntimeError(f"{func}: expected all tensors to be on the same device")
    there = any(isinstance(each, Elsewhere) for each in given)
    if (asked := kwargs.get("device")) is not None:
        there = torch.device(asked).type == DEVICE.type
        kwargs = kwargs | {"device": torch.device("cpu")}
    own, kwargs = tree_map_only(Elsewhere, lambda each: each.values, (args, kwargs))
    found = func(*own, **kwargs)
    if own and found is own[0]:  # changed in place
        return args[0]
    # A view is an inference tensor where what it shows is one, whatever the mode.
    inference = args[0].is_inference() if func.is_view else torch.is_inference_mode_enabled()
    with torch.inference_mode(inference):
        return tree_map_only(torch.Tensor, Elsewhere, found) if there else found


@contextmanager
def pretend() -> Iterator[torch.device]:
    """Be on a machine with one more device, which this gives."""
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(…, device=…) sends what it made here
    try:
        with _Pretending():
            yield DEVICE
    finally:
        torch._C._set_only_lift_cpu_tensors(False)
