"""Labelled images, drawn or in folders on disk, and how a network wants to see them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from app.errors import InputError
from app.progress import progress_bar

_DECODERS = 2  # images that are decoded, or files that are read, at the same time


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


@dataclass(frozen=True, eq=False)
class Images:
    """Images with a label each: a category, an identity or an output of the network.

    `contents` holds the pixels of each, uint8 (height, width), or the path of its file. `digest` is
    the SHA-256 over names, labels and contents: equal digests, equal images.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    digest: str
    source: str  # for people: where they came from
    contents: Sequence[NDArray[np.uint8] | Path] = field(repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def __memo__(self) -> str:
        return self.digest

    def open(self, index: int) -> Image.Image:
        """Return one image, as it is before any preprocessing; InputError as `read_image`."""
        content = self.contents[index]
        return read_image(content) if isinstance(content, Path) else Image.fromarray(content)

    def crops(
        self, preprocessing: Preprocessing, start: int = 0, stop: int | None = None
    ) -> NDArray[np.uint8]:
        """Decode what a network sees of images `start` to `stop`: uint8 (images, size, size, 3)."""
        chosen = range(len(self))[start:stop]
        seen = np.dtype((np.uint8, (preprocessing.size, preprocessing.size, 3)))
        with ThreadPoolExecutor(_DECODERS) as pool:
            crops = pool.map(lambda index: preprocessing.crop(self.open(index)), chosen)
            return np.fromiter(crops, seen, len(chosen))

    def batches(
        self, preprocessing: Preprocessing, batch_size: int
    ) -> Iterator[NDArray[np.float32]]:
        """Yield all images in order: (batch, 3, size, size) arrays, channels last in memory."""
        for start in range(0, len(self), batch_size):
            pixels = self.crops(preprocessing, start, start + batch_size)
            yield preprocessing.scale(pixels).transpose(0, 3, 1, 2)


def read_image(path: Path, *, decode: bool = True) -> Image.Image:
    """Open an image; InputError naming the file where it is none or, decoded, is cut short."""
    try:
        image = Image.open(path)
        if decode:
            image.load()
        return image
    except UnidentifiedImageError:
        wrong = "is not an image that Pillow can read: replace or remove it"
    except Exception as error:  # damaged files make Pillow's readers raise nearly anything
        reason = getattr(error, "strerror", None)
        damaged = f"is truncated or damaged ({error}): replace or remove it"
        wrong = f"cannot be read: {reason}" if reason else damaged
    raise InputError(f"{path} {wrong}")


def drawn(pixels: NDArray[np.uint8], labels: Sequence[str], source: str) -> Images:
    """Label images (n, height, width) of uint8; their names count within each label."""
    numbers = {label: count(1) for label in labels}
    names = [f"{label}/{label}-{next(numbers[label])}" for label in labels]
    digest = hashlib.sha256("\0".join([*names, str(pixels.shape)]).encode())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return Images(tuple(names), tuple(labels), digest.hexdigest(), source, tuple(pixels))


def join_images(parts: Mapping[str, Images], labels: Sequence[str]) -> Images:
    """Join the images of all parts, with new labels; a part's name leads its images' names."""
    digest = hashlib.sha256("\0".join(labels).encode())
    for name, part in parts.items():
        digest.update(f"\n{name}\0{part.digest}".encode())
    return Images(
        tuple(f"{name}/{image}" for name, part in parts.items() for image in part.names),
        tuple(labels),
        digest.hexdigest(),
        ", ".join(part.source for part in parts.values()),
        [content for part in parts.values() for content in part.contents],
    )


@dataclass(frozen=True)
class ImageFolders:
    """A folder that holds a folder of images for each label.

    Images are the files below a label's folder, at any depth, whose names end as those of a format
    that Pillow reads. Hidden files and folders are left out.
    """

    place: str | Path  # the folder of folders
    what: str  # a label is ("category", "identity", "class"), for the errors
    setting: str  # that names the folder ("stimuli.root"), for the errors

    @property
    def root(self) -> Path:
        """The place, where `~` is the user's home."""
        return Path(self.place).expanduser()

    def labels(self) -> list[str]:
        """Return the sorted names of the folders; InputError where there is no folder of them."""
        if not self.root.is_dir():
            raise InputError(f"{self} is not a folder: give the folder of {self.what} folders")
        _, names, _ = next(os.walk(self.root, onerror=self._refuse))
        return sorted(name for name in names if not name.startswith("."))

    def find(
        self, labels: Sequence[str] | None = None, *, at_least: int = 2, because: str = ""
    ) -> dict[str, list[str]]:
        """Find the images of each label (None: of all); none is opened.

        Returns their paths below the root by label, runs of digits ordered by their value (adult-2
        before adult-10). InputError where there are no folders, one that is wanted is not there, or
        has not `at_least` so many images, which `because` explains.
        """
        present = self.labels()
        wanted = present if labels is None else labels
        if not wanted:
            raise InputError(f"{self} is empty: it should hold one folder per {self.what}")
        if missing := [label for label in wanted if label not in present]:
            raise InputError(
                f"{self} has no folder {missing[0]!r} for that {self.what}: "
                f"it has {', '.join(present) or 'no folders'}"
            )
        found = {label: self._list_images(label) for label in wanted}
        needed = {1: "one is", 2: "two are"}.get(at_least, f"{at_least} are")
        for label, names in found.items():
            if len(names) < at_least:
                raise InputError(
                    f"{self.what} {label!r} in {self} has {len(names)} image(s): at least "
                    f"{needed} needed{because}"
                )
        return found

    def read(self, found: Mapping[str, Sequence[str]]) -> Images:
        """Return the images that `find` found, known by their content.

        InputError for a file that cannot be read, or does not begin as an image does.
        """
        names = tuple(name for each in found.values() for name in each)
        labels = tuple(label for label, each in found.items() for _ in each)
        paths, digest = [self.root / name for name in names], hashlib.sha256()
        with (
            ThreadPoolExecutor(_DECODERS) as pool,
            progress_bar("reading images", len(names)) as progress,
        ):
            contents = pool.map(_hash_image, paths)
            for name, label, content in zip(names, labels, contents, strict=True):
                digest.update(f"{name}\0{label}\0{content}\n".encode())
                progress(1)
        return Images(names, labels, digest.hexdigest(), str(self.root), paths)

    def __str__(self) -> str:
        return f"{self.setting}={self.root}"

    def _list_images(self, label: str) -> list[str]:
        endings = {e for e, kind in Image.registered_extensions().items() if kind in Image.OPEN}
        found = []
        for folder, below, files in os.walk(
            self.root / label, followlinks=True, onerror=self._refuse
        ):
            # A folder that is called as an image is taken for one, and refused when it is read.
            shown = [name for name in (*files, *below) if not name.startswith(".")]
            taken = {name for name in shown if os.path.splitext(name)[1].lower() in endings}
            found += [Path(folder, name).relative_to(self.root).as_posix() for name in taken]
            below[:] = [name for name in below if name in shown and name not in taken]
        return sorted(found, key=_number_runs)

    def _refuse(self, error: OSError) -> None:
        reason = error.strerror or error
        raise InputError(f"{error.filename} of {self.setting} cannot be read: {reason}") from None


def _hash_image(path: Path) -> str:
    """SHA-256 of an image file, whose beginning at least is an image's."""
    read_image(path, decode=False).close()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _number_runs(name: str) -> list[tuple[int, str]]:
    """Sort key under which runs of digits count by their value."""
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", name)]
