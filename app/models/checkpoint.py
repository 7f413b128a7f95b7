"""Weights from and to files: safetensors, or PyTorch files read as tensors only."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import textwrap
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from app.errors import InputError
from app.files import find_pointer, reading, whole
from app.models.vgg import DualTaskVGG

State = Mapping[str, Tensor]

NESTED = " > "  # behind each key that leads to a mapping of tensors; then come their names
_AVERAGED = re.compile(r"(?i)(^|[._ ])(ema|swa|teacher)([._ ]|$)")  # rather than what is averaged
# What DataParallel, torch.compile and FSDP put between the parts of a network's names.
_WRAPPERS = re.compile(r"(?<=\.)(module|_orig_mod|_(fsdp|checkpoint)_wrapped_module)\.")
_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.(?=[12]\.)")  # as of 2017: norm.1
_CUT = re.compile(r"incomplete metadata|EOF|Ran out of input|corrupt|wrong size|bytes? size")
# What counts operations or serves training alone; whole numbers are tables or counts, too.
_SPARE = re.compile(r"(^|\.)(total_ops|total_params|attn_mask|aux\d|AuxLogits)(\.|$)")
_STATISTICS = {"weight", "bias", "running_mean", "running_var"}  # which often have one shape

# By how a file begins: what is no checkpoint, and what would be right.
_OTHERS = {
    rb"\Z": "is empty: copy or download it again",
    rb"(\xef\xbb\xbf)?\s*<": "is a web page, HTML or XML: download the file itself",
    rb"\s*\{.*weight_map": "is an index of shards: merge the shards {shards} into one",
    rb"\s*[\[{]": "is JSON: download the file of the weights themselves",
    rb"\x08[\x01-\x1f][\x12\x1a\x22\x2a\x3a\x42]": "is ONNX: export the state dict instead",
    rb"\x89HDF": "is HDF5, as Keras writes it: convert it to a state dict",
    rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!": (
        "is compressed (gzip, bzip2, xz, zstd, 7z, rar): unpack it"
    ),
    rb".{257}ustar": "is a tar archive: unpack it",
    rb"GGUF|.{4}TFL3": "is GGUF or TensorFlow Lite: convert it to a state dict",
    rb"\x93NUMPY": "is an array of NumPy, not a state dict: save torch.save(state, …)",
}


def read(path: Path) -> dict[str, Tensor]:
    """Read all tensors in a file, by the keys that lead to them: `model > module.conv1.weight`.

    Nothing but tensors and NumPy's numbers is unpickled (`weights_only`): a file cannot run code.
    """
    if reason := _find_reason(path):
        raise InputError(f"checkpoint {path} cannot be read: it {reason}")
    content: Any
    try:
        if is_safetensors(path):
            content = load_file(path)
        else:
            safe = torch.serialization.safe_globals(_list_numpy())
            # What is wrong is told below; torch would go by the name of a file that it opens.
            with safe, warnings.catch_warnings(action="ignore"), open(path, "rb") as file:
                content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        kind = re.search(r"GLOBAL (\S+)", str(error))
        held = f"more than tensors ({kind[1]})" if kind else "a pickle not of torch.save"
        raise InputError(
            f"checkpoint {path} is refused: it holds {held}, and loading pickled objects could run "
            "code; save torch.save(network.state_dict(), …) or safetensors"
        ) from error
    except Exception as error:  # damaged files make the readers raise nearly anything
        first_line = (str(error).splitlines() or [""])[0]
        if _CUT.search(first_line):
            damaged = "is cut short or damaged: copy or download it again"
            raise InputError(f"checkpoint {path} cannot be read: it {damaged}") from error
        raise _unreadable(path, first_line or type(error).__name__) from error
    state = dict(_find_tensors(content))
    if not state:
        keys = ", ".join(map(str, content)) if isinstance(content, Mapping) else ""
        keys = textwrap.shorten(keys, 200, placeholder="…")
        raise _unreadable(path, f"it holds no state dict{keys and f', but {keys}'}")
    return state


def name_tensors(
    state: State, expected: State, key_map: str | None = None
) -> tuple[dict[str, Tensor], str]:
    """Find the tensors that have a network's own names; what was taken and left out, in words.

    They stand behind the prefix, keys of mappings included, that most of the names stand behind; of
    several such prefixes, that of a moving average is taken, else the first. `key_map` is a file of
    lines `theirs: own` (`theirs:` leaves one out), or `order`: their names do not count.
    """
    names = [name for name, value in expected.items() if value.is_floating_point()]
    if key_map is not None:
        state = _rename(state, names, key_map)
    own, wrapped = set(names), not any(map(_WRAPPERS.search, names))
    state = {_DENSENET.sub(r"\1", _WRAPPERS.sub("", key) if wrapped else key): value
             for key, value in state.items()}  # fmt: skip
    counts = Counter(key[:end] for key in state for end in _split(key) if key[end:] in own)
    most = max(counts.values(), default=0)
    best = [prefix for prefix, count in counts.items() if count == most] or [_find_largest(state)]
    prefix = next(filter(_AVERAGED.search, best), best[0])
    behind = {key: key[len(prefix) :] for key in state if key.startswith(prefix)}
    taken = {name: state[key] for key, name in behind.items()
             if name in own or _is_learned(name, state[key])}  # fmt: skip
    others = [key for key in state if behind.get(key) not in {*taken, *expected}]
    said = [f"the checkpoint's tensors behind {prefix!r} are taken"] if prefix else []
    if others:
        said.append(f"{len(others)} other(s) left out, the first is {others[0]}")
    return taken, ", ".join(said)


def is_safetensors(path: Path) -> bool:
    """Whether a file is one of safetensors: the length of its header, and the header, JSON."""
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"


def read_metadata(path: Path) -> dict[str, str]:
    """What a file of safetensors, or a training's checkpoint, says of its weights."""
    if is_safetensors(path):
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    with suppress(Exception):  # others say nothing
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
        return {"face_classes": str(content["settings"]["model.face_classes"])}
    return {}


def read_key_map(name: str) -> dict[str, str]:
    """The keys in a file of lines `theirs: own`."""
    path = Path(name).expanduser()
    with reading(f"model.key_map={name}", path, ": give a file of lines theirs: own, or order"):
        lines = path.read_text(encoding="utf-8").splitlines()
    told = [line for line in lines if re.match(r"\s*[^\s#{}]", line)]  # JSON's braces aside
    pairs = [line.rpartition(":") for line in told]
    if wrong := [line for line, (_, colon, _) in zip(told, pairs, strict=True) if not colon]:
        raise InputError(f"model.key_map={name} has the line {wrong[0]!r}, not theirs: own")
    return {theirs.strip(" \"'"): own.strip(" \"',") for theirs, _, own in pairs}


def behead(network: nn.Module, state: State, heads: Sequence[str]) -> dict[str, Tensor]:
    """Take the modules that give the outputs, which the file lacks, out of a network.

    With them goes what is around them, as far as the file has nothing of it. Another head's tensors
    in the same place are left out of the state.
    """
    state = {key: value for key, value in state.items()
             if not key.startswith(tuple(f"{head}." for head in heads))}  # fmt: skip
    for head in heads:
        ends = [*(dot.start() for dot in re.finditer(r"\.", head)), len(head)]
        lacking = (head[:end] for end in ends
                   if not any(key.startswith(f"{head[:end]}.") for key in state))  # fmt: skip
        network.set_submodule(next(lacking), nn.Identity())
    return state


def digest_tensors(state: State) -> str:
    """SHA-256 over the names, shapes and values of tensors."""
    found = hashlib.sha256()
    for key, value in state.items():
        found.update(f"{key}\0{value.dtype} {tuple(value.shape)}\n".encode())
        found.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def fill(network: nn.Module, state: State, path: Path) -> None:
    """Give the network the tensors of a file, in its own precision.

    Counts and tables, which are whole numbers, stay the network's own. InputError names the first
    key or shape that differs, or tensor that is not finite.
    """
    filled = network.state_dict()
    state, _ = name_tensors(state, filled)
    spare = [f"{key} {tuple(value.shape)}" for key, value in state.items() if key not in filled]
    widths = "widths, model.hidden, model.outputs and model.input_size"
    check = widths if isinstance(network, DualTaskVGG) else "name, model.outputs and model.key_map"
    for key, value in state.items():
        if value.layout != torch.strided or value.is_quantized or value.is_meta:
            raise InputError(
                f"checkpoint {path}: {key} is sparse, quantised or without values (meta): "
                "save dense tensors of floating-point numbers"
            )
    for key, value in filled.items():
        if not value.is_floating_point():
            continue
        shape, tensor = tuple(value.shape), state.get(key)
        if tensor is None or not tensor.is_floating_point():
            found = f", but has {spare[0]}" if spare else ""
            raise _mismatch(path, f"it lacks {key} {shape}{found}", check)
        if tuple(tensor.shape) != shape:
            differ = f"{key} has shape {tuple(tensor.shape)} where the network has {shape}"
            raise _mismatch(path, differ, check)
        if count := int((~torch.isfinite(tensor)).sum()):
            raise InputError(
                f"checkpoint {path}: {key} holds {count} NaN or infinite value(s): "
                "use weights of a training that did not diverge"
            )
        filled[key] = tensor.to(value.dtype)
    if spare:
        raise _mismatch(path, f"it has {spare[0]}, which the network does not have", check)
    network.load_state_dict(filled, assign=True)


def write(path: Path, state: State, about: Mapping[str, str]) -> None:
    """Write a state dict as a safetensors file; `about` goes into its metadata.

    Equal weights are equal files, which stored results are known by: safetensors itself would write
    what is said of them in a random order.
    """
    content = save({key: value.contiguous() for key, value in state.items()})
    start = 8 + int.from_bytes(content[:8], "little")
    said = {"__metadata__": {"format": "pt", **about}, **json.loads(content[8:start])}
    header = json.dumps(said).encode()
    header += b" " * (-len(header) % 8)  # values are aligned
    with whole(path) as new, open(new, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.write(memoryview(content)[start:])


def _find_reason(path: Path) -> str | None:
    """Why a file is neither of safetensors nor of PyTorch; None: it may be."""
    if is_safetensors(path):
        return None
    if pointer := find_pointer(path):
        return pointer
    with open(path, "rb") as file:
        start = file.read(4096)
    for pattern, reason in _OTHERS.items():
        if re.match(pattern, start, re.DOTALL):
            shards = sorted(set(re.findall(rb"[\w.-]+\.(?:safetensors|bin)\b", start)))
            return reason.format(shards=b", ".join(shards).decode())
    if not start.startswith(b"PK"):
        known = start.startswith(b"\x80")  # a pickle, as PyTorch's files were before 1.6
        return None if known else "is no file that PyTorch or safetensors wrote: give a state dict"
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except Exception:  # a damaged directory makes it raise nearly anything
        return "is cut short or damaged: copy or download it again"
    if "constants.pkl" in names:
        return "is TorchScript: save torch.save(torch.jit.load(…).state_dict(), …)"
    if "data.pkl" in names:
        return None
    kind = ".npz of NumPy" if any(name.endswith(".npy") for name in names) else "a zip archive"
    return f"is {kind}, with {min(names, default='nothing')}: unpack it, or save a state dict"


def _find_tensors(content: object, path: str = "") -> Iterator[tuple[str, Tensor]]:
    for key, value in content.items() if isinstance(content, Mapping) else ():
        if isinstance(value, np.ndarray) and value.dtype.kind in "iuf":
            value = torch.from_numpy(value)
        if isinstance(value, Tensor):
            yield f"{path}{key}", value
        else:
            yield from _find_tensors(value, f"{path}{key}{NESTED}")


def _split(key: str) -> list[int]:
    """Where a name may begin in a key: behind each key of a mapping, and each dot."""
    return [0, *(step.end() for step in re.finditer(rf"{NESTED}|\.", key))]


def _is_learned(key: str, value: Tensor) -> bool:
    return value.is_floating_point() and not _SPARE.search(key)


def _find_largest(state: State) -> str:
    """The keys that lead to most tensors; to a moving average rather than to what is averaged."""
    counts = Counter("".join(key.rpartition(NESTED)[:2]) for key in state)
    return max(counts, key=lambda keys: (counts[keys], bool(_AVERAGED.search(keys))))


def _rename(state: State, names: Sequence[str], key_map: str) -> State:
    """The tensors by the names that a file, or their order, gives them."""
    if key_map == "order":
        keys = _find_largest(state)
        theirs = [key for key in state if key.startswith(keys) and _is_learned(key, state[key])]
        ends = [{key.rpartition(".")[2] for key in pair} & _STATISTICS
                for pair in zip(theirs, names, strict=False)]  # fmt: skip
        if len(theirs) != len(names) or max(map(len, ends)) > 1:
            raise InputError(
                f"model.key_map=order does not fit {len(theirs)} tensors in the checkpoint to "
                f"{len(names)} in the network, weights to weights: give a file of lines theirs: own"
            )
        return {name: state[key] for name, key in zip(names, theirs, strict=True)}
    own, renamed = read_key_map(key_map), {}
    for key, value in state.items():
        start = next((start for start in _split(key) if key[start:] in own), len(key))
        name = own.get(key[start:])
        if name != "":  # which leaves it out
            renamed[key[:start] + (name or "")] = value
    return renamed


def _list_numpy() -> list[Any]:
    """What NumPy's numbers and arrays, not of objects, are made of in files; old names included."""
    makers = {"scalar": np.float64().__reduce__()[0], "_reconstruct": np.empty(0).__reduce__()[0]}
    places = [f"numpy.{core}.multiarray" for core in ("core", "_core")]
    named = [(makers[name], f"{place}.{name}") for name in makers for place in places]
    return [*named, np.ndarray, np.dtype, *{type(np.dtype(kind)) for kind in "?bhilqBHILQefdgFDSU"}]


def _unreadable(path: Path, why: str) -> InputError:
    return InputError(
        f"checkpoint {path} cannot be read: {why}: a state dict saved by torch.save or "
        "safetensors is expected"
    )


def _mismatch(path: Path, what: str, check: str) -> InputError:
    shard = "merge all shards into one file" if re.search(r"\d-of-\d", path.name) else ""
    return InputError(
        f"checkpoint {path} is of another architecture: {what}; "
        f"{shard or f'check model.{check}, or the file'}"
    )
