"""Inputs as people have them, made on the spot: pictures, folders of them, checkpoints."""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import zipfile
import zlib
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin
from torch import Tensor, nn

SIDE = 48
KEYED = (slice(0, 24), slice(0, 24))  # where pictures with a key colour or alpha are transparent
# What turns an upright picture into the one that is stored with an EXIF orientation.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def levels() -> NDArray[np.uint8]:
    """A grey ramp (SIDE, SIDE) of 2 … 237 that looks different from every side, 0 where KEYED."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    grey = (2 + 4 * columns + rows).astype(np.uint8)
    grey[KEYED] = 0
    return grey


def grey_picture() -> Image.Image:
    return Image.fromarray(levels())


def on_grey() -> NDArray[np.uint8]:
    """`levels` on the localizer's mid-grey background, which shows where it is transparent."""
    shown = levels()
    shown[KEYED] = 128
    return shown


def alpha() -> Image.Image:
    opaque = np.full((SIDE, SIDE), 255, np.uint8)
    opaque[KEYED] = 0
    return Image.fromarray(opaque)


def save_turned(path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = grey_picture().convert("RGB").transpose(STORED[orientation])
    image.save(path, exif=exif, **({"quality": 100} if path.suffix == ".jpg" else {}))


def save_alpha(path: Path, mode: str) -> None:
    image = grey_picture().convert(mode.removesuffix("A") if mode == "LA" else "RGB")
    image.putalpha(alpha())
    image.save(path)


def save_text(path: Path) -> None:
    """A PNG with the history of a paint program in it: small, and large once it is unpacked."""
    about = PngImagePlugin.PngInfo()
    about.add_text("history", "crop; level; " * 200_000, zip=True)
    grey_picture().save(path, pnginfo=about)


def save_huge(path: Path, width: int = 14_000, height: int = 13_500) -> None:
    """The beginning of a PNG of 189 million pixels: nobody has to decode it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(9)))
        + chunk(b"IEND", b"")
    )


def save_tiff(
    path: Path,
    values: NDArray[Any],
    size: tuple[int, int] | None = None,
    photometric: int | None = None,
) -> None:
    """An uncompressed TIFF of the values (rows, columns) or (rows, columns, 3), as they are.

    Its header may claim another size; 0 is white where `photometric` is 0.
    """
    order = ">" if values.dtype.byteorder == ">" else "<"
    rows, columns, *rest = values.shape
    columns, rows = size or (columns, rows)
    samples = rest[0] if rest else 1
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    strip = values.tobytes()
    shown = (2 if rest else 1) if photometric is None else photometric
    tags = [(256, columns), (257, rows), (258, values.dtype.itemsize * 8), (259, 1),
            (262, shown), (273, 8), (277, samples), (278, rows), (279, len(strip)),
            (339, kind)]  # fmt: skip
    after = 8 + len(strip)
    several = b""
    directory = struct.pack(f"{order}H", len(tags))
    for tag, value in tags:
        if samples > 1 and tag in (258, 339):  # one value a sample, kept behind the directory
            where = after + 2 + 12 * len(tags) + 4 + len(several)
            several += struct.pack(f"{order}3H", *[value] * 3)
            directory += struct.pack(f"{order}HHII", tag, 3, 3, where)
        else:
            directory += struct.pack(f"{order}HHII", tag, 4, 1, value)
    mark = b"MM\0*" if order == ">" else b"II*\0"
    path.write_bytes(
        mark + struct.pack(f"{order}I", after) + strip + directory + bytes(4) + several
    )


def save_frames(path: Path) -> None:
    """Three pictures in a file, the upright one first."""
    first = grey_picture().convert("RGB")
    others = [first.transpose(Image.Transpose.ROTATE_180), first.transpose(STORED[6])]
    # Without loss where the format can.
    best = {".webp": {"lossless": True}, ".mpo": {"quality": 100}}.get(path.suffix, {})
    first.save(path, save_all=True, append_images=others, **best)


def encoded(kind: str = "PNG") -> bytes:
    """The bytes of a picture."""
    content = io.BytesIO()
    grey_picture().convert("RGB").save(content, kind)
    return content.getvalue()


# The first box of a photograph as phones write it. Pillow reads none without a plugin.
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)


def images(category: str, count: int = 3) -> dict[str, bytes]:
    return {f"{category}/{category}-{number}.png": encoded() for number in range(1, count + 1)}


def base(target: str = "face", count: int = 3) -> dict[str, bytes]:
    """A folder of three categories."""
    return {**images(target, count), **images("house"), **images("car")}


def plant(root: Path, files: Mapping[str, bytes]) -> Path:
    """Write files below a folder, and return it."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


# Checkpoints. `State` is what a network's own `state_dict` gives.
State = dict[str, Tensor]
Save = Callable[[Path, State], object]


def under(*keys: str, **beside: Any) -> Save:
    """The state below keys, one in another, with what else a training keeps."""

    def save(path: Path, state: State) -> None:
        content: Any = state
        for key in reversed(keys):
            content = {key: content}
        torch.save({"epoch": 3, **content, **beside}, path)

    return save


def prefixed(prefix: str, *keys: str, **beside: Any) -> Save:
    """The state with every name behind a prefix, below keys."""

    def save(path: Path, state: State) -> None:
        named = {prefix + name: value for name, value in state.items()}
        (under(*keys, **beside) if keys else bare(dict))(path, named)

    return save


def bare(change: Callable[[State], Mapping[str, Any]]) -> Save:
    """The state alone, changed."""
    return lambda path, state: torch.save(dict(change(state)), path)


def without(part: str) -> Save:
    return bare(lambda state: {name: v for name, v in state.items() if part not in name})


def wrapped_within(word: str) -> Save:
    """Parts of the network wrapped one by one, as `features.module.0` of AlexNet and VGG is."""
    return bare(lambda state: {
        re.sub(r"^(layer[12])\.", rf"\1.{word}.", name): value for name, value in state.items()
    })  # fmt: skip


def other(state: State) -> State:
    """Weights of the same names that are not asked for."""
    return {name: torch.zeros_like(value) for name, value in state.items()}


def save_dino(path: Path, state: State) -> None:
    """Self-distillation, trained on several GPUs: both networks, heads of the pretext task."""
    head = {"module.head.mlp.0.weight": torch.zeros(4, 4)}
    teacher = {f"module.backbone.{name}": value for name, value in state.items()}
    student = {f"module.backbone.{name}": value for name, value in other(state).items()}
    torch.save({"student": student | head, "teacher": teacher | head, "epoch": 99}, path)


def save_moco(path: Path, state: State) -> None:
    """Momentum contrast: the encoder that is trained, its moving average, a queue."""
    query = {f"module.encoder_q.{name}": value for name, value in state.items()}
    key = {f"module.encoder_k.{name}": value for name, value in other(state).items()}
    queue = {"module.queue": torch.zeros(4, 8), "module.queue_ptr": torch.zeros(1).long()}
    torch.save({"arch": "resnet", "state_dict": query | key | queue}, path)


def save_lightning(path: Path, state: State) -> None:
    """A LightningModule: the network beside what its loss holds, and the settings."""
    named = {f"model.{name}": value for name, value in state.items()}
    whole = {"criterion.weight": torch.ones(10), **named}
    torch.save({"epoch": 3, "state_dict": whole, "hyper_parameters": {"lr": 0.1}}, path)


def save_torchscript(path: Path, state: State) -> None:
    torch.jit.trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)).save(str(path))


def save_zip(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "{}")


def save_bytes(content: bytes) -> Save:
    return lambda path, _: path.write_bytes(content)


def save_gzip(path: Path, state: State) -> None:
    content = io.BytesIO()
    torch.save(state, content)
    path.write_bytes(gzip.compress(content.getvalue(), 1))


def save_safetensors(path: Path, state: State) -> None:
    path.write_bytes(safetensors.torch.save(state))


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 102502400\n"
ANNEX = b"/annex/objects/SHA256E-s31390--4d7a.png\n"  # of a file that was unlocked
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>404</title></head><body>Not found</body></html>"
INDEX = json.dumps({"metadata": {"total_size": 9}, "weight_map": {"a": "model-1-of-2.safetensors"}})
ONNX = b"\x08\x08\x12\x07pytorch\x1a\x052.6.0:\xa1\x05\n" + bytes(64)
HDF5 = b"\x89HDF\r\n\x1a\n" + bytes(64)
ARGUMENTS = Namespace(lr=0.1)
