"""Labelled images, drawn or in files, and how a network wants to see them."""

from __future__ import annotations

import hashlib
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import compress, count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageChops, ImageOps, UnidentifiedImageError

from app.errors import InputError
from app.files import find_pointer

with suppress(ImportError):  # Pillow's plugin for photographs of phones, where it is installed
    import pillow_heif.HeifImagePlugin  # noqa: F401

T = TypeVar("T")

DECODERS = 2  # images that are decoded, or files that are read, at the same time
_STRIP = 16  # times as long as wide: of such images the crop alone is resized
_PHOTOMETRIC, _SAMPLE_FORMAT = 262, 339  # of TIFF
_DARK = 64  # of 255: an image that stays below leaves three quarters of the range empty


@dataclass(frozen=True)
class Preprocessing:
    """Shorter side to `resize`, centre crop of `size`, then (x / 255 - mean) / sd.

    `interpolation` is one of `app.choices.INTERPOLATIONS`; with `squash` both sides are made
    `resize`.
    """

    resize: int
    size: int
    mean: tuple[float, ...]  # of the three channels
    sd: tuple[float, ...]
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
        left, top = (round((side - self.size) / 2) for side in scaled)
        seen = (left, top, left + self.size, top + self.size)
        method = Image.Resampling[self.interpolation.upper()]
        if max(width, height) > _STRIP * shorter and not self.squash:  # equal but for rounding
            across, down = width / scaled[0], height / scaled[1]
            box = (seen[0] * across, seen[1] * down, seen[2] * across, seen[3] * down)
            return np.asarray(image.resize((self.size, self.size), method, box))
        if scaled != (width, height):
            image = image.resize(scaled, method)
        return np.asarray(image.crop(seen))

    def scale(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Scale the values of pixels (…, 3) as the network wants them."""
        mean, sd = (np.array(values, dtype=np.float32) for values in (self.mean, self.sd))
        return (pixels.astype(np.float32) / np.float32(255) - mean) / sd


def to_rgb(image: Image.Image) -> Image.Image:
    """Make an 8-bit RGB image of any mode that Pillow reads.

    What is transparent, by alpha or by a key colour, shows mid-grey, the localizer's background.
    Integers of more than 8 bits are taken for 16 and keep the high byte; floating-point values for
    0 … 1 if that is where they are, else for 0 … 255. InputError for values outside of that.
    """
    key = image.info.get("transparency")
    tags = getattr(image, "tag_v2", {})  # a TIFF's
    if tags.get(_SAMPLE_FORMAT) in (2, (2,), (2, 2, 2)) and image.mode in ("L", "RGB"):
        raise InputError("holds signed integers of 8 bits, which Pillow misreads: save unsigned")
    if image.mode[0] in "IF":
        values = np.asarray(image)
        if image.mode == "I" and tags and tags.get(_SAMPLE_FORMAT, (1,)) == (1,):
            values = values.view(np.uint32)  # as the file has them; Pillow's have a sign
        image = _to_8_bits(values, key)
        if tags.get(_PHOTOMETRIC) == 0:  # 0 is white, to which Pillow holds in 8 bits alone
            image = ImageChops.invert(image)
    elif image.mode == "RGB" and key is not None and max(key) > 255:  # of 16 bits, as it was
        image = image.copy()
        image.info["transparency"] = tuple(level >> 8 for level in key)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        background = Image.new("RGBA", image.size, (128, 128, 128, 255))
        image = Image.alpha_composite(background, image)
    return image.convert("RGB")


def _to_8_bits(values: NDArray[Any], key: int | None) -> Image.Image:
    """Make a greyscale image of deeper values, transparent where they are the key."""
    low, high, largest = values.min(), values.max(), 65535
    if floating := values.dtype.kind == "f":
        largest = 1 if high < _DARK else 255
    if not (low >= 0 and high <= largest):  # nor is NaN
        wrong = f"negative values ({low:g})" if low < 0 else f"values up to {high:.10g}"
        range_ = "floating-point images is 0 to 1 or 255" if floating else "16 bits is 0 to 65535"
        raise InputError(f"has {wrong}, and the range of {range_}: save it with 8 bits")
    eight = np.rint(values * (255 / largest)) if floating else values >> 8
    image = Image.fromarray(eight.astype(np.uint8))
    if key is not None:
        image.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return image


@dataclass(frozen=True, eq=False)
class Images:
    """Images with a label each: a category, an identity or an output of the network.

    `contents` holds the pixels of each, uint8 (height, width), or the path of its file; of what was
    shown in a recording, the numbers of its presentations. `digest` is the SHA-256 over names,
    labels and contents: equal digests, equal images.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    digest: str
    source: str  # for people: where they came from
    contents: Sequence[NDArray[Any] | Path] = field(repr=False)
    notes: tuple[str, ...] = ()  # a line for what is to be told of files that were read, or not
    megapixels: float | None = None  # that a file may have, see `read_image`

    def __len__(self) -> int:
        return len(self.names)

    def __memo__(self) -> str:
        return self.digest

    @property
    def presentations(self) -> list[NDArray[np.int64]]:
        """The numbers of each one's presentations in a recording."""
        return [np.asarray(each, np.int64) for each in self.contents]

    def take(self, chosen: NDArray[np.bool_]) -> Images:
        """The images that are chosen, by a mask (images,)."""
        names, labels = (tuple(compress(of, chosen)) for of in (self.names, self.labels))
        contents = [*compress(self.contents, chosen)]
        told = "\0".join([self.digest, *map(str, np.flatnonzero(chosen))])
        digest = hashlib.sha256(told.encode()).hexdigest()
        return replace(self, names=names, labels=labels, digest=digest, contents=contents)

    def open(self, index: int) -> Image.Image:
        """Return one image, as it is before any preprocessing; InputError as `read_image`."""
        content = self.contents[index]
        if isinstance(content, Path):
            return read_image(content, self.megapixels)
        return Image.fromarray(content)

    def crops(
        self, preprocessing: Preprocessing, start: int = 0, stop: int | None = None
    ) -> NDArray[np.uint8]:
        """Decode what a network sees of images `start` to `stop`: uint8 (images, size, size, 3)."""
        chosen = range(len(self))[start:stop]
        seen = np.dtype((np.uint8, (preprocessing.size, preprocessing.size, 3)))
        with ThreadPoolExecutor(DECODERS) as pool:
            crops = pool.map(lambda index: preprocessing.crop(self.open(index)), chosen)
            return np.fromiter(crops, seen, len(chosen))

    def batches(
        self, preprocessing: Preprocessing, batch_size: int
    ) -> Iterator[NDArray[np.float32]]:
        """Yield all images in order: (batch, 3, size, size) arrays, channels last in memory."""
        for start in range(0, len(self), batch_size):
            pixels = self.crops(preprocessing, start, start + batch_size)
            yield preprocessing.scale(pixels).transpose(0, 3, 1, 2)


def read_image(path: Path, megapixels: float | None = None) -> Image.Image:
    """Read an image upright and as 8-bit RGB, of several in a file the first.

    InputError naming a file that is none, is cut short, has values outside of their range, or more
    pixels than Pillow allows (179 million) and than `megapixels`, in millions.
    """
    return _read(path, megapixels, lambda image, _: _show(image))


def inspect(path: Path, closely: bool, megapixels: float | None = None) -> tuple[str, list[str]]:
    """SHA-256 of an image file, whose beginning at least is an image's; see `_describe`."""

    def use(image: Image.Image, content: bytes) -> tuple[str, list[str]]:
        return hashlib.sha256(content).hexdigest(), _describe(image, closely)

    return _read(path, megapixels, use)


def _show(image: Image.Image) -> Image.Image:
    image.load()
    with suppress(Exception):  # of EXIF that is damaged, Pillow raises nearly anything
        ImageOps.exif_transpose(image, in_place=True)
    return to_rgb(image)


def _describe(image: Image.Image, closely: bool) -> list[str]:
    """Say what people may not expect of an image; of 8 bits it is decoded for that if `closely`."""
    said = []
    if image.format not in ("MPO", "PSD") and getattr(image, "n_frames", 1) > 1:
        said.append("hold several frames or pages: the first is shown")
    with suppress(Exception):  # as in `_show`
        known = image.format != "PNG" or "exif" in image.info  # else it would be decoded to see
        if known and image.getexif().get(ExifTags.Base.Orientation) in range(2, 9):
            said.append("are turned upright, as EXIF says")
    tiles = getattr(image, "tile", [])  # how the file has the pixels: "RGB;16B"
    deep = image.mode[0] in "IF" or ";16" in str([tile[3] for tile in tiles])
    if (closely or deep) and np.asarray(_show(image)).max() < _DARK:
        said.append("are dark: three quarters of the range of their bits or more is empty")
    return said


def _read(path: Path, megapixels: float | None, use: Callable[[Image.Image, bytes], T]) -> T:
    """Use an image that is open, and the file's content; InputError as `read_image`."""
    content = b""
    try:
        content = path.read_bytes()
        try:
            return use(_open(content, megapixels), content)
        except ValueError:
            if not content.startswith(b"\x89PNG"):
                raise
            return use(_open(_drop_texts(content), megapixels), content)
    except UnidentifiedImageError:
        wrong = find_pointer(path) or "is not an image that Pillow can read: replace or remove it"
    except Image.DecompressionBombError as error:
        wrong = _tell_size(content, str(error), megapixels)
    except InputError as error:
        wrong = str(error)
    except Exception as error:  # damaged files make Pillow's readers raise nearly anything
        reason = getattr(error, "strerror", None)
        if "Ghostscript" in str(error):  # which Pillow needs for EPS
            reason = "Ghostscript is not installed: install it, or save the picture as PNG"
        damaged = f"is truncated or damaged ({error}): replace or remove it"
        wrong = find_pointer(path) or (f"cannot be read: {reason}" if reason else damaged)
    raise InputError(f"{path} {wrong}")


def _tell_size(content: bytes, said: str, megapixels: float | None) -> str:
    """Say what to do with a picture of more pixels than Pillow, or `megapixels`, allows."""
    millions = math.ceil(int(re.findall(r"\d+", said)[0]) / 1e6)
    tiff = content[:2] in (b"II", b"MM")  # its reader holds to Pillow's own limit
    return (
        f"has {millions} million pixels, more than the {megapixels or 179:g} that are read: "
        f"shrink it, or {'save it as PNG and ' * tiff}allow it with megapixels={millions}"
    )


def _open(content: bytes, megapixels: float | None) -> Image.Image:
    """Open an image of Pillow's limit or of that one; DecompressionBombError."""
    try:
        return Image.open(BytesIO(content))
    except Image.DecompressionBombError:
        if megapixels is None:
            raise
        for name in Image.ID:  # as Image.open does, whose limit is one of the whole process
            reader, accept = Image.OPEN[name]
            if not accept or accept(content[:16]) is True:
                with suppress(SyntaxError, IndexError, TypeError, struct.error):
                    image = reader(BytesIO(content), "")
                    if image.width * image.height <= megapixels * 1e6:
                        return image
        raise


def _drop_texts(content: bytes) -> bytes:
    """Drop the texts of a PNG file, which Pillow refuses to read where they are long."""
    kept, start = content[:8], 8
    while start < len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        if content[start + 4 : start + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept += content[start:end]
        start = end
    return kept


def drawn(pixels: NDArray[np.uint8], labels: Sequence[str], source: str) -> Images:
    """Label images (n, height, width) of uint8; their names count within each label."""
    numbers = {label: count(1) for label in labels}
    names = [f"{label}/{label}-{next(numbers[label])}" for label in labels]
    digest = hashlib.sha256("\0".join([*names, str(pixels.shape)]).encode())
    digest.update(pixels.tobytes())
    return Images(tuple(names), tuple(labels), digest.hexdigest(), source, tuple(pixels))


def join_images(parts: Mapping[str, Images], labels: Sequence[str] | None = None) -> Images:
    """Join the images of all parts, maybe with new labels; its part leads an image's name."""
    if labels is None:
        labels = [label for part in parts.values() for label in part.labels]
    digest = hashlib.sha256("\0".join(labels).encode())
    for name, part in parts.items():
        digest.update(f"\n{name}\0{part.digest}".encode())
    return Images(
        tuple(f"{name}/{image}" for name, part in parts.items() for image in part.names),
        tuple(labels),
        digest.hexdigest(),
        ", ".join(part.source for part in parts.values()),
        [content for part in parts.values() for content in part.contents],
        tuple(note for part in parts.values() for note in part.notes),
        next((part.megapixels for part in parts.values()), None),
    )
