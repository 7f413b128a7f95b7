"""What a file of weights is, by its first bytes: its name says little."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from app.files import find_pointer

# What is no checkpoint, and what would be right.
OTHERS = {
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


def is_safetensors(path: Path) -> bool:
    """Whether a file is one of safetensors: the length of its header, and the header, JSON."""
    with open(path, "rb") as file:
        return file.read(9)[8:] == b"{"


def find_reason(path: Path) -> str | None:
    """Why a file is neither of safetensors nor of PyTorch; None: it may be."""
    if is_safetensors(path):
        return None
    if pointer := find_pointer(path):
        return pointer
    with open(path, "rb") as file:
        start = file.read(4096)
    for pattern, reason in OTHERS.items():
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
