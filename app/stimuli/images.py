"""Labelled images, drawn or in folders on disk, and how a network wants to see them."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from app.errors import InputError
from app.progress import progress_bar
from app.spelling import find_name, spell

with suppress(ImportError):  # Pillow's plugin for photographs of phones, where it is installed
    import pillow_heif.HeifImagePlugin  # noqa: F401

T = TypeVar("T")

_DECODERS = 2  # images that are decoded, or files that are read, at the same time
_STRIP = 16  # times as long as wide: of such images the crop alone is resized
_DARK = 64  # of 255: an image that stays below leaves three quarters of the range empty
_NAMED = 3  # files, of those that are told of
# What turns an image upright that is stored with an EXIF orientation.
_UPRIGHT = dict(enumerate((
    Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180, Image.Transpose.FLIP_TOP_BOTTOM,
    Image.Transpose.TRANSPOSE, Image.Transpose.ROTATE_270, Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90), start=2))  # fmt: skip
_UNREADABLE = {"BUFR", "GRIB", "HDF5", "MPEG"}  # formats that Pillow knows, but does not decode
_SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
# Folders that systems keep beside those of people; hidden ones are none in any case.
_SYSTEM = {"@eaDir", "@Recycle", "#recycle", "$RECYCLE.BIN", "System Volume Information",
           "lost+found", "__MACOSX", "__pycache__"}  # fmt: skip


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
    if image.mode[0] in "IF":
        image = _to_8_bits(np.asarray(image), key)
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
        wrong = f"negative values ({low:g})" if low < 0 else f"values up to {high:g}"
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

    `contents` holds the pixels of each, uint8 (height, width), or the path of its file. `digest` is
    the SHA-256 over names, labels and contents: equal digests, equal images.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    digest: str
    source: str  # for people: where they came from
    contents: Sequence[NDArray[np.uint8] | Path] = field(repr=False)
    notes: tuple[str, ...] = ()  # a line for what is to be told of files that were read, or not

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


def read_image(path: Path) -> Image.Image:
    """Read an image upright and as 8-bit RGB, of several in a file the first.

    InputError naming a file that is none, is cut short, or has values outside of their range.
    """
    return _read(path, _show)


def _show(image: Image.Image) -> Image.Image:
    image.load()
    shown, turn = to_rgb(image), _UPRIGHT.get(_find_orientation(image))
    return shown if turn is None else shown.transpose(turn)


def _find_orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # Pillow's readers raise nearly anything
        return None


def _describe(image: Image.Image, closely: bool) -> list[str]:
    """Say what people may not expect of an image; of 8 bits it is decoded for that if `closely`."""
    said = []
    if image.format not in ("MPO", "PSD") and getattr(image, "n_frames", 1) > 1:
        said.append("hold several frames or pages: the first is shown")
    if "exif" in image.info and _find_orientation(image) in _UPRIGHT:
        said.append("are turned upright, as EXIF says")
    if image.mode == "F":
        said.append("hold floating-point values: 0 to 1 if that is where they are, else 0 to 255")
    tiles = getattr(image, "tile", [])  # how the file has the pixels: "RGB;16B"
    deep = image.mode[0] in "IF" or ";16" in str([tile[3] for tile in tiles])
    if (closely or deep) and np.asarray(_show(image)).max() < _DARK:
        said.append("are dark: three quarters of the range of their bits or more is empty")
    return said


def _read(path: Path, use: Callable[[Image.Image], T]) -> T:
    """Use an image that is open; InputError as `read_image`."""
    try:
        try:
            with Image.open(path) as image:
                return use(image)
        except ValueError:
            if not (content := path.read_bytes()).startswith(b"\x89PNG"):
                raise
            with Image.open(_drop_texts(content)) as image:
                return use(image)
    except UnidentifiedImageError:
        wrong = "is not an image that Pillow can read: replace or remove it"
        if path.read_bytes().startswith(b"version https://git-lfs"):
            wrong = "is a pointer of Git LFS, not the image: git lfs pull fetches it"
    except Image.DecompressionBombError as error:
        wrong = f"is too large for Pillow ({error}): shrink it"
    except InputError as error:
        wrong = str(error)
    except Exception as error:  # damaged files make Pillow's readers raise nearly anything
        reason = getattr(error, "strerror", None)
        damaged = f"is truncated or damaged ({error}): replace or remove it"
        wrong = f"cannot be read: {reason}" if reason else damaged
    raise InputError(f"{path} {wrong}")


def _drop_texts(content: bytes) -> BytesIO:
    """Drop the texts of a PNG file, which Pillow refuses to read where they are long."""
    kept, start = [content[:8]], 8
    while start < len(content):
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        if content[start + 4 : start + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept.append(content[start:end])
        start = end
    return BytesIO(b"".join(kept))


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
        tuple(note for part in parts.values() for note in part.notes),
    )


@dataclass(frozen=True)
class ImageFolders:
    """A folder that holds a folder of images for each label, its name as `spell` has it.

    Images are the files below a label's folder, at any depth, that are called as those of a format
    that Pillow reads, or are one. Hidden files and folders, and those that systems keep, are left
    out. Links are followed, but not to a folder that was entered already.
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
        return sorted(self._folders())

    def find(
        self,
        labels: Sequence[str] | None = None,
        *,
        aside: Collection[str] = (),
        at_least: int = 2,
        leave_below: int = 0,
        because: str = "",
    ) -> dict[str, list[str]]:
        """Find the images of each label (None: of all but those set aside); none is decoded.

        Returns their paths below the root by label, runs of digits ordered by their value (adult-2
        before adult-10). Labels of fewer than `leave_below` images are left out. InputError where
        there are no folders, one that is wanted is not there, or has not `at_least` so many images,
        which `because` explains.
        """
        folders, found = self._folders(), {}
        wanted = [each for each in folders if each not in aside] if labels is None else labels
        expected = f"it should hold one folder per {self.what}"
        if not wanted:
            files = sum(path.is_file() for path in self.root.glob("[!.]*"))
            raise InputError(f"{self} {f'has {files} files' if files else 'is empty'}: {expected}")
        for name in wanted:
            if (label := find_name(name, folders)) is None:
                raise InputError(
                    f"{self} has no folder {name!r} for that {self.what}: "
                    f"it has {', '.join(sorted(folders)) or 'no folders'}"
                )
            images = [each for each in self._walk(folders[label]) if _is_image(self.root / each)]
            if len(images) >= leave_below:
                found[label] = sorted(images, key=_number_runs)
        needed = {1: "one is", 2: "two are"}.get(at_least, f"{at_least} are")
        for label, names in found.items():
            if len(names) < at_least:
                raise InputError(
                    f"{self.what} {label!r} in {self} has {len(names)} image(s): at least "
                    f"{needed} needed{because}"
                )
        if not found:
            raise InputError(f"{self} has no {self.what} of {leave_below} images or more")
        splits = [label for label, names in found.items() if names]
        below = [name.count("/") > 1 for names in found.values() for name in names]
        if labels is None and {*map(str.lower, splits)} <= _SPLITS and all(below):
            place = self.root / splits[0]
            raise InputError(
                f"{self} has {', '.join(splits)}: {expected}; try {self.setting}={place}"
            )
        return found

    def read(self, found: Mapping[str, Sequence[str]], aside: Collection[str] = ()) -> Images:
        """Return the images that `find` found, known by their content.

        Their notes tell of what is not among them: all but hidden files and the labels `aside`.
        InputError for a file that cannot be read, or does not begin as an image does.
        """
        files = [name for each in found.values() for name in each]
        labels = tuple(label for label, each in found.items() for _ in each)
        names, paths = tuple(map(spell, files)), [self.root / file for file in files]
        firsts = {each[0] for each in found.values() if each}
        digest, told = hashlib.sha256(), defaultdict[str, list[str]](list)
        with (
            ThreadPoolExecutor(_DECODERS) as pool,
            progress_bar("reading images", len(names)) as progress,
        ):
            contents = pool.map(_inspect, paths, [file in firsts for file in files])
            for name, label, (content, said) in zip(names, labels, contents, strict=True):
                digest.update(f"{name}\0{label}\0{content}\n".encode())
                for each in said:
                    told[each].append(name)
                progress(1)
        notes = tuple(self._note(those, "image(s)", said) for said, those in told.items())
        if unused := self._list_unused(found, aside):
            notes += (self._note(unused, "file(s) or folder(s)", "are not used"),)
        return Images(names, labels, digest.hexdigest(), spell(str(self.root)), paths, notes)

    def _list_unused(self, found: Mapping[str, Sequence[str]], aside: Collection[str]) -> list[str]:
        used, folders = {name for each in found.values() for name in each}, self._folders()
        top = {spell(name) for name in os.listdir(self.root) if not name.startswith(".")}
        below = [each for label in found for each in self._walk(folders[label])]
        return sorted(top - {*found, *aside}) + [spell(each) for each in below if each not in used]

    def __str__(self) -> str:
        return f"{self.setting}={self.root}"

    def _note(self, names: Sequence[str], what: str, said: str) -> str:
        shown = ", ".join([*names[:_NAMED], *(["…"] if len(names) > _NAMED else [])])
        return f"{self.setting.partition('.')[0]}: {len(names)} {what} {said}: {shown}"

    def _folders(self) -> dict[str, str]:
        """The folder of each label, as the file system has its name."""
        if not self.root.is_dir():
            raise InputError(f"{self} is not a folder: give the folder of {self.what} folders")
        _, names, _ = next(os.walk(self.root, onerror=self._refuse))
        shown = [name for name in sorted(names) if name[0] != "." and name not in _SYSTEM]
        folders = {spell(name): name for name in shown}
        if len(folders) < len(shown):
            raise InputError(f"{self} has two folders of one name, spelled in Unicode in two ways")
        return folders

    def _walk(self, folder: str) -> Iterator[str]:
        """Yield the paths below the root of a folder's files, and of folders not entered."""
        start = self.root / folder
        entered = {real := os.path.realpath(start), *map(str, Path(real).parents)}
        for place, below, files in os.walk(start, followlinks=True, onerror=self._refuse):
            for name in sorted(below):
                real = os.path.realpath(path := Path(place, name))
                # A folder that is called as an image is taken for one, and refused when it is read.
                if name in _SYSTEM or real in entered or _is_image(path):
                    below.remove(name)
                    files.append(name)
                entered.add(real)
            below[:] = sorted(name for name in below if not name.startswith("."))
            shown = [Path(place, name) for name in files if not name.startswith(".")]
            yield from (path.relative_to(self.root).as_posix() for path in shown)

    def _refuse(self, error: OSError) -> None:
        reason = error.strerror or error
        raise InputError(f"{error.filename} of {self.setting} cannot be read: {reason}") from None


def _is_image(path: Path) -> bool:
    """Whether a file is called as an image, or is one."""
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind in Image.OPEN and kind not in _UNREADABLE:
        return True
    if path.is_file():  # no pipe, which would wait
        with suppress(Exception), Image.open(path) as image:
            return image.format not in _UNREADABLE
    return False


def _inspect(path: Path, closely: bool) -> tuple[str, list[str]]:
    """SHA-256 of an image file, whose beginning at least is an image's; see `_describe`."""
    said = _read(path, partial(_describe, closely=closely))
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), said


def _number_runs(name: str) -> list[tuple[int, str]]:
    """Sort key under which runs of digits count by their value."""
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", name)]
