"""Labelled images, drawn or read from disk, and how a network wants to see them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from app.errors import InputError

DECODERS = 2  # images that are decoded, or files that are read, at the same time


@dataclass(frozen=True)
class Preprocessing:
    """Shorter side to `resize`, centre crop of `size`, then (x / 255 - mean) / sd.

    `interpolation` is one of `app.choices.INTERPOLATIONS`; with `squash` both sides are made
    `resize`.

    Examples
    --------
    >>> prepare = Preprocessing(256, 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    >>> prepare(Image.new("L", (300, 400), 255)).shape
    (3, 224, 224)
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
        """Cut out what the network sees of an image, (size, size, 3); values stay as they are."""
        image = to_rgb(image)
        width, height = image.size
        shorter = min(width, height)
        # Sizes are truncated as torchvision's Resize does, so that crops agree to the pixel.
        scaled = (self.resize * width // shorter, self.resize * height // shorter)
        if self.squash:
            scaled = (self.resize, self.resize)
        if scaled != (width, height):
            image = image.resize(scaled, Image.Resampling[self.interpolation.upper()])
        left = round((image.width - self.size) / 2)
        top = round((image.height - self.size) / 2)
        return np.asarray(image.crop((left, top, left + self.size, top + self.size)))

    def scale(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Scale the values of pixels (…, 3) as the network wants them."""
        mean, sd = (np.array(values, dtype=np.float32) for values in (self.mean, self.sd))
        return (pixels.astype(np.float32) / np.float32(255) - mean) / sd


def to_rgb(image: Image.Image) -> Image.Image:
    """Make an 8-bit RGB image of any mode Pillow reads; 16-bit greyscale keeps its high byte."""
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
        """Return one image, as it is before any preprocessing."""
        raise NotImplementedError

    def crops(
        self, preprocessing: Preprocessing, start: int = 0, stop: int | None = None
    ) -> NDArray[np.uint8]:
        """Decode the images `start` to `stop` (None: all that follow).

        Returns
        -------
        array of uint8, (images, size, size, 3)
            What the network sees of each.
        """
        chosen = range(len(self))[start:stop]
        pixels = np.empty((len(chosen), preprocessing.size, preprocessing.size, 3), np.uint8)

        def load(place: int) -> None:
            pixels[place] = preprocessing.crop(self.open(chosen[place]))

        with ThreadPoolExecutor(DECODERS) as pool:
            list(pool.map(load, range(len(chosen))))  # asking for results raises what went wrong
        return pixels

    def batches(
        self, preprocessing: Preprocessing, batch_size: int
    ) -> Iterator[NDArray[np.float32]]:
        """Yield all images in order: (batch, 3, size, size) arrays, channels last in memory."""
        for start in range(0, len(self), batch_size):
            pixels = self.crops(preprocessing, start, start + batch_size)
            yield preprocessing.scale(pixels).transpose(0, 3, 1, 2)


@dataclass(frozen=True)
class DrawnImages(Images):
    """Images in memory."""

    pixels: NDArray[np.uint8] = field(repr=False, default_factory=lambda: np.zeros((0, 1, 1), "u1"))

    def open(self, index: int) -> Image.Image:
        """Return one image."""
        return Image.fromarray(self.pixels[index])


@dataclass(frozen=True)
class ImageFiles(Images):
    """Images on disk: `names` are paths below `root`."""

    root: Path = Path()

    def open(self, index: int) -> Image.Image:
        """Read one image; InputError as `read_image`."""
        return read_image(self.root / self.names[index])


@dataclass(frozen=True)
class JoinedImages(Images):
    """Images of several sources, one after another."""

    parts: tuple[Images, ...] = ()

    def open(self, index: int) -> Image.Image:
        """Return one image of the part that has it."""
        for part in self.parts:
            if index < len(part):
                return part.open(index)
            index -= len(part)
        raise IndexError(f"there are {len(self)} images")


def open_image(path: Path) -> Image.Image:
    """Open an image without decoding it; InputError naming the file where it is none."""
    try:
        return Image.open(path)
    except UnidentifiedImageError:
        raise InputError(
            f"{path} is not an image that Pillow can read: replace or remove it"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # damaged files make Pillow's readers raise nearly anything
        raise _damaged(path, error) from None


def read_image(path: Path) -> Image.Image:
    """Decode an image; InputError naming the file where it is none or is cut short."""
    image = open_image(path)
    try:
        image.load()
    except Exception as error:
        raise _damaged(path, error) from None
    return image


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(f"{path} is truncated or damaged ({error}): replace or remove it")


def drawn(pixels: NDArray[np.uint8], labels: Sequence[str], source: str) -> DrawnImages:
    """Label images (n, height, width) of uint8; their names count within each label."""
    seen: Counter[str] = Counter()
    names = []
    for label in labels:
        seen[label] += 1
        names.append(f"{label}/{label}-{seen[label]}")
    digest = hashlib.sha256("\0".join([*names, str(pixels.shape)]).encode())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return DrawnImages(tuple(names), tuple(labels), digest.hexdigest(), source, pixels)


def join_images(parts: Mapping[str, Images], labels: Sequence[str]) -> JoinedImages:
    """Join the images of all parts, with new labels; a part's name leads its images' names.

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


def domain_of(domains: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the domain of each category."""
    return {category: domain for domain, members in domains.items() for category in members}
