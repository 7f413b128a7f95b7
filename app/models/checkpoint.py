"""Weights from and to files: safetensors, or PyTorch files read as tensors only."""

from __future__ import annotations

import hashlib
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from app.errors import InputError
from app.files import whole


def read(path: Path) -> dict[str, Tensor]:
    """Read the state dict in a file, bare or under `model_state_dict` / `state_dict`.

    `module.` (nn.DataParallel) is taken off the keys. Nothing but tensors is unpickled
    (`weights_only`), so a file cannot run code.
    """
    try:
        content: Any
        if path.suffix == ".safetensors":
            content = load_file(path)
        else:
            with warnings.catch_warnings(action="ignore"):  # what is wrong is told below
                content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"checkpoint {path} is refused: it holds more than tensors, and loading pickled "
            "objects could run code; save torch.save(network.state_dict(), …) or safetensors"
        ) from error
    except Exception as error:  # damaged files make the readers raise nearly anything
        first_line = (str(error).splitlines() or [""])[0]
        raise _unreadable(path, first_line or type(error).__name__) from error
    for key in ("model_state_dict", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise _unreadable(path, "it holds no state dict")
    state = {str(key).removeprefix("module."): value for key, value in content.items()}
    for key, value in state.items():
        if not isinstance(value, Tensor):
            raise _unreadable(path, f"{key} is no tensor but {type(value).__name__}")
    return state


def read_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says of its weights; PyTorch's files say nothing."""
    if path.suffix != ".safetensors":
        return {}
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata() or {})


def count_outputs(state: Mapping[str, Tensor], classifier: str, path: Path) -> int:
    """How many outputs the weights of a file have: the rows of the last linear layer."""
    weight = state.get(f"{classifier}.weight")
    if weight is None or weight.ndim != 2:
        raise _mismatch(path, f"it lacks {classifier}.weight, whose rows are the outputs")
    return len(weight)


def digest_tensors(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over the names, shapes and values of tensors."""
    found = hashlib.sha256()
    for key, value in state.items():
        found.update(f"{key}\0{value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def fill(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Give the network the tensors of a state dict, in its own precision.

    InputError names the first key or shape that differs, or tensor that is not finite.
    """
    expected = network.state_dict()
    spare = [f"{key} {tuple(value.shape)}" for key, value in state.items() if key not in expected]
    for key, value in expected.items():
        shape = tuple(value.shape)
        if key not in state:
            found = f", but has {spare[0]}" if spare else ""
            raise _mismatch(path, f"it lacks {key} {shape}{found}")
        if (own := tuple(state[key].shape)) != shape:
            raise _mismatch(path, f"{key} has shape {own} where the network has {shape}")
    if spare:
        raise _mismatch(path, f"it has {spare[0]}, which the network does not have")
    for key, value in state.items():
        count = int((~torch.isfinite(value)).sum())
        if count:
            raise InputError(
                f"checkpoint {path}: {key} holds {count} NaN or infinite value(s): "
                "use weights of a training that did not diverge"
            )
    network.load_state_dict(
        {key: value.to(expected[key].dtype) for key, value in state.items()}, assign=True
    )


def write(path: Path, state: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write a state dict as a safetensors file; `about` goes into its metadata."""
    tensors = {key: value.contiguous() for key, value in state.items()}
    with whole(path) as new:
        new.write_bytes(save(tensors, {"format": "pt", **about}))


def _unreadable(path: Path, why: str) -> InputError:
    return InputError(
        f"checkpoint {path} cannot be read: {why}: a state dict saved by torch.save or "
        "safetensors is expected"
    )


def _mismatch(path: Path, what: str) -> InputError:
    return InputError(
        f"checkpoint {path} is of another architecture: {what}; "
        "check model.widths, model.hidden, model.outputs and model.input_size, or the file"
    )
