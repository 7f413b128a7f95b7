"""Labelled images, drawn or read from disk, and how a network wants to see them."""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from app.errors import InputError

EXTENSIONS = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jp2", ".j2k", ".png", ".gif", ".webp", ".avif"),
        *(".tif", ".tiff", ".bmp", ".dib", ".tga", ".pgm", ".ppm", ".pbm", ".pnm"),
    }
)

INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
}
DECODERS = 2  # images that are decoded at the same time; batches that are decoded ahead

Progress = Callable[[int], object]  # told how many more images are done


@dataclass(frozen=True)
class Preprocessing:
    """Shorter side to `resize`, centre crop of `size`, then (x / 255 - mean) / sd.

    `interpolation` is one of INTERPOLATIONS; with `squash` both sides are made `resize`.
    """

    resize: int
    size: int
    mean: tuple[float, float, float]
    sd: tuple[float, float, float]
    interpolation: str = "bilinear"
    squash: bool = False

    def __call__(self, image: Image.Image) -> NDArray[np.float32]:
        """One image as a (3, size, size) float32 array; greyscale is repeated over channels."""
        return self.scale(self.crop(image)).transpose(2, 0, 1)

    def crop(self, image: Image.Image) -> NDArray[np.uint8]:
        """What the network sees of an image, (size, size, 3), before its values are scaled."""
        image = to_rgb(image)
        width, height = image.size
        shorter = min(width, height)
        # Sizes are truncated as torchvision's Resize does, so that crops agree to the pixel.
        scaled = (self.resize * width // shorter, self.resize * height // shorter)
        if self.squash:
            scaled = (self.resize, self.resize)
        if scaled != (width, height):
            image = image.resize(scaled, INTERPOLATIONS[self.interpolation])
        left = round((image.width - self.size) / 2)
        top = round((image.height - self.size) / 2)
        return np.asarray(image.crop((left, top, left + self.size, top + self.size)))

    def scale(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The values of pixels (…, 3) as the network wants them."""
        mean, sd = (np.array(values, dtype=np.float32) for values in (self.mean, self.sd))
        return (pixels.astype(np.float32) / np.float32(255) - mean) / sd


def to_rgb(image: Image.Image) -> Image.Image:
    """An 8-bit RGB image of any mode Pillow reads; 16-bit greyscale keeps its high byte."""
    if image.mode.startswith("I"):  # Pillow clips 16-bit values at 255 where it should scale them
        high_byte = np.asarray(image, dtype=np.uint32) >> 8
        image = Image.fromarray(high_byte.clip(0, 255).astype(np.uint8))
    if image.mode in ("P", "LA", "PA"):
        image = image.convert("RGBA")
    if image.mode == "RGBA":  # what is transparent shows mid-grey, the localizer's background
        background = Image.new("RGBA", image.size, (128, 128, 128, 255))
        image = Image.alpha_composite(background, image)
    return image.convert("RGB")


@dataclass(frozen=True)
class Images:
    """Images with a label each: a category, an identity or an output of the network.

    `digest` is the SHA-256 over names, labels and contents: equal digests, equal images.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    digest: str
    source: str  # for people: where they came from

    def __len__(self) -> int:
        return len(self.names)

    def open(self, index: int) -> Image.Image:
        raise NotImplementedError

    def crops(
        self, preprocessing: Preprocessing, progress: Progress | None = None
    ) -> NDArray[np.uint8]:
        """All images, decoded: (images, size, size, 3), what the network sees of each.

        `progress` is told 1 for each image.
        """
        pixels = np.empty((len(self), preprocessing.size, preprocessing.size, 3), dtype=np.uint8)

        def load(index: int) -> None:
            pixels[index] = preprocessing.crop(self.open(index))

        with ThreadPoolExecutor(DECODERS) as pool:
            for _ in pool.map(load, range(len(self))):
                if progress is not None:
                    progress(1)
        return pixels

    def batches(
        self, preprocessing: Preprocessing, batch_size: int
    ) -> Iterator[NDArray[np.float32]]:
        """(batch, 3, size, size) arrays in order, channels last in memory.

        The next batches are decoded while one is used.
        """

        def load(start: int) -> NDArray[np.float32]:
            indices = range(start, min(start + batch_size, len(self)))
            pixels = np.stack([preprocessing.crop(self.open(index)) for index in indices])
            return preprocessing.scale(pixels).transpose(0, 3, 1, 2)

        with ThreadPoolExecutor(DECODERS) as pool:
            waiting: deque[Future[NDArray[np.float32]]] = deque()
            for start in range(0, len(self), batch_size):
                waiting.append(pool.submit(load, start))
                if len(waiting) > DECODERS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


@dataclass(frozen=True)
class DrawnImages(Images):
    """Images in memory."""

    pixels: NDArray[np.uint8] = field(repr=False, default_factory=lambda: np.zeros((0, 1, 1), "u1"))

    def open(self, index: int) -> Image.Image:
        return Image.fromarray(self.pixels[index])


@dataclass(frozen=True)
class ImageFiles(Images):
    """Images on disk: `names` are paths below `root`."""

    root: Path = Path()

    def open(self, index: int) -> Image.Image:
        return read_image(self.root / self.names[index])


@dataclass(frozen=True)
class JoinedImages(Images):
    """Images of several sources, one after another."""

    parts: tuple[Images, ...] = ()

    def open(self, index: int) -> Image.Image:
        for part in self.parts:
            if index < len(part):
                return part.open(index)
            index -= len(part)
        raise IndexError(f"there are {len(self)} images")


def read_image(path: Path) -> Image.Image:
    """The decoded image; InputError naming the file where it is no image or is cut short."""
    try:
        image = Image.open(path)
    except UnidentifiedImageError:
        raise InputError(
            f"{path} is not an image that Pillow can read: replace or remove it"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # damaged files make Pillow's readers raise nearly anything
        raise _damaged(path, error) from None
    try:
        image.load()
    except Exception as error:
        raise _damaged(path, error) from None
    return image


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is truncated or damaged ({error}): replace or remove it")


def drawn(pixels: NDArray[np.uint8], labels: Sequence[str], source: str) -> DrawnImages:
    """Images (n, height, width) uint8 with a label each; names count within each label."""
    seen: Counter[str] = Counter()
    names = []
    for label in labels:
        seen[label] += 1
        names.append(f"{label}/{label}-{seen[label]}")
    digest = hashlib.sha256("\0".join([*names, str(pixels.shape)]).encode())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return DrawnImages(tuple(names), tuple(labels), digest.hexdigest(), source, pixels)


def from_folder(
    root: str | Path,
    labels: Sequence[str] | None,
    *,
    what: str,
    setting: str,
    leave_out: Sequence[str] = (),
    at_least: int = 2,
    at_most: int | None = None,
) -> ImageFiles:
    """Images of the folders below `root` that `labels` names; the rest as in `list_folder`."""
    root, names, owners = list_folder(
        root,
        labels,
        what=what,
        setting=setting,
        leave_out=leave_out,
        at_least=at_least,
        at_most=at_most,
    )
    digest = _files_digest(root, names, owners)
    return ImageFiles(tuple(names), tuple(owners), digest, str(root), root)


def list_folder(
    root: str | Path,
    labels: Sequence[str] | None,
    *,
    what: str,
    setting: str,
    leave_out: Sequence[str] = (),
    at_least: int = 2,
    at_most: int | None = None,
) -> tuple[Path, list[str], list[str]]:
    """The folder, the names below it and the labels of its images; no image is opened.

    Images are those of the folders that `labels` names (None: all but `leave_out`). `what`
    ("category", "identity") and `setting` ("stimuli.root") word the errors. `at_least` so many
    images each and the first `at_most` (None: all), in the order of their names, numbers by value
    (adult-2 before adult-10).
    """
    root, present = folders(root, what=what, setting=setting)
    wanted = list(labels) if labels is not None else [p for p in present if p not in leave_out]
    if not wanted:
        raise InputError(f"{setting}={root} is empty: it should hold one folder per {what}")
    missing = [label for label in wanted if label not in present]
    if missing:
        raise InputError(
            f"{setting}={root} has no folder {missing[0]!r} for that {what}: "
            f"it has {', '.join(present) or 'no folders'}"
        )
    names: list[str] = []
    owners: list[str] = []
    for label in wanted:
        files = sorted(
            (
                name
                for name in _entries(root / label, setting)
                if Path(name).suffix.lower() in EXTENSIONS and not name.startswith(".")
            ),
            key=_by_number,
        )[:at_most]
        if len(files) < at_least:
            raise InputError(
                f"{what} {label!r} in {setting}={root} has {len(files)} image(s): "
                f"at least {'one is' if at_least == 1 else 'two are'} needed"
            )
        names += [f"{label}/{name}" for name in files]
        owners += [label] * len(files)
    return root, names, owners


def folders(root: str | Path, *, what: str, setting: str) -> tuple[Path, list[str]]:
    """The folder and the sorted names of its folders, hidden ones left out; see `from_folder`."""
    root = Path(root).expanduser()
    if not root.is_dir():
        raise InputError(f"{setting}={root} is not a folder: give the folder of {what} folders")
    names = _entries(root, setting)
    return root, sorted(p for p in names if (root / p).is_dir() and not p.startswith("."))


def _entries(folder: Path, setting: str) -> list[str]:
    """The names in a folder."""
    try:
        return os.listdir(folder)
    except OSError as error:
        raise InputError(
            f"{folder} of {setting} cannot be read: {error.strerror or error}"
        ) from None


def joined(parts: Mapping[str, Images], labels: Sequence[str]) -> JoinedImages:
    """The images of all parts, one after another, with new labels; a part's name leads its names.

    The digest follows the parts' contents and the labels.
    """
    digest = hashlib.sha256("\0".join(labels).encode())
    for name, part in parts.items():
        digest.update(f"\n{name}\0{part.digest}".encode())
    return JoinedImages(
        tuple(f"{name}/{image}" for name, part in parts.items() for image in part.names),
        tuple(labels),
        digest.hexdigest(),
        ", ".join(part.source for part in parts.values()),
        tuple(parts.values()),
    )


def _files_digest(root: Path, names: Sequence[str], labels: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for name, label in zip(names, labels, strict=True):
        try:
            with open(root / name, "rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise InputError(f"{root / name} cannot be read: {error.strerror or error}") from None
        digest.update(f"{name}\0{label}\0{content}\n".encode())
    return digest.hexdigest()


def _by_number(name: str) -> list[tuple[int, str]]:
    """Sort key under which runs of digits count by their value."""
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", name)]


def domain_of(domains: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The domain of each category."""
    return {category: domain for domain, members in domains.items() for category in members}
