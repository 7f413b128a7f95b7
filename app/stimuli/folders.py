"""Images in folders on disk: which there are, which are used, and what is told of the others."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from PIL import Image

from app.errors import InputError
from app.files import digest_file, user_cache
from app.progress import progress_bar
from app.spelling import find_name, spell
from app.stimuli.images import DECODERS, Images, inspect

_NAMED = 3  # files, of those that are told of
_UNREADABLE = {"BUFR", "GRIB", "HDF5", "MPEG"}  # formats that Pillow knows, but does not decode
_SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}
# Folders that systems keep beside those of people; hidden ones are none in any case.
_SYSTEM = {"@eaDir", "@Recycle", "#recycle", "$RECYCLE.BIN", "System Volume Information",
           "lost+found", "__MACOSX", "__pycache__"}  # fmt: skip


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
        """Return the names of the folders, sorted as the file system has them; InputError if none.

        So does torchvision's ImageFolder, by which outputs of networks are numbered.
        """
        return [*self._folders()]

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
            if len(images) < leave_below:
                continue
            if len(images) < at_least:
                needed = {1: "one is", 2: "two are"}.get(at_least, f"{at_least} are")
                raise InputError(
                    f"{self.what} {label!r} in {self} has {len(images)} image(s): at least "
                    f"{needed} needed{because}"
                )
            found[label] = sorted(images, key=_number_runs)
        if not found:
            raise InputError(f"{self} has no {self.what} of {leave_below} images or more")
        below = [name.count("/") > 1 for names in found.values() for name in names]
        if labels is None and {*map(str.lower, found)} <= _SPLITS and all(below):
            place = self.root / next(iter(found))
            raise InputError(
                f"{self} has {', '.join(found)}: {expected}; try {self.setting}={place}"
            )
        return found

    def read(
        self,
        found: Mapping[str, Sequence[str]],
        megapixels: float | None = None,
        *,
        aside: Collection[str] = (),
    ) -> Images:
        """Return the images that `find` found, of up to so many pixels, known by their content.

        Their notes tell of what is odd about them, and of what is no image of theirs, but for the
        labels `aside` and hidden files that are no images. InputError for a file that cannot be
        read, or does not begin as an image does.
        """
        files = [name for each in found.values() for name in each]
        labels = tuple(label for label, each in found.items() for _ in each)
        names, paths = tuple(map(spell, files)), [self.root / file for file in files]
        firsts = {each[0] for each in found.values()}
        digest, told = hashlib.sha256(), defaultdict[str, list[str]](list)
        known: set[str] = set()
        with (
            ThreadPoolExecutor(DECODERS) as pool,
            progress_bar("reading images", len(names)) as progress,
        ):
            closely = [file in firsts for file in files]
            contents = pool.map(inspect, paths, closely, repeat(megapixels))
            for name, label, (content, said) in zip(names, labels, contents, strict=True):
                digest.update(f"{name}\0{label}\0{content}\n".encode())
                for each in said:
                    told[each].append(name)
                if content in known:
                    told["are copies of others"].append(name)
                known.add(content)
                progress(1)
        notes = tuple(self.note(those, f"image(s) {said}") for said, those in told.items())
        if unused := self._list_unused(found, aside):
            notes += (self.note(unused, "file(s) or folder(s) are not used"),)
        source = spell(str(self.root))
        return Images(names, labels, digest.hexdigest(), source, paths, notes, megapixels)

    def _list_unused(self, labels: Collection[str], aside: Collection[str]) -> list[str]:
        folders = self._folders()
        top = {spell(name) for name in os.listdir(self.root) if not name.startswith(".")}
        below = [each for label in labels for each in self._walk(folders[label])]
        others = [spell(each) for each in below if not _is_image(self.root / each)]
        return sorted(top - {*labels, *aside}) + others + self._list_hidden()

    def _list_hidden(self) -> list[str]:
        """Hidden images, and folders that have some; not what macOS puts beside each file."""
        hidden = [place for place in self.root.rglob(".*") if not place.name.startswith("._")]
        told = [each for each in hidden
                if any(map(_is_image, each.iterdir() if each.is_dir() else [each]))]  # fmt: skip
        return sorted(spell(each.relative_to(self.root).as_posix()) for each in told)

    def __str__(self) -> str:
        return f"{self.setting}={self.root}"

    def note(self, names: Sequence[str], said: str) -> str:
        """Say something of so many, and name the first."""
        shown = ", ".join([*names[:_NAMED], *(["…"] if len(names) > _NAMED else [])])
        return f"{self.setting.partition('.')[0]}: {len(names)} {said}: {shown}"

    def note_drawn(self) -> tuple[str, ...]:
        """Say of a folder that is named, but not asked for, that images are drawn instead."""
        group = self.setting.partition(".")[0]
        said = f"{group}: images are drawn, and {self} is not read: give {group}=folder, too"
        return (said,) if self.place else ()

    def _folders(self) -> dict[str, str]:
        """The folder of each label, as the file system has its name."""
        if not self.root.is_dir():
            made = self.root.is_relative_to(user_cache("photographs"))
            hint = ", or make it with python -m app.photographs" if made else ""
            raise InputError(
                f"{self} is not a folder: give the folder of {self.what} folders{hint}"
            )
        names = [place.name for place in os.scandir(self.root) if place.is_dir()]
        shown = [name for name in sorted(names) if name[0] != "." and name not in _SYSTEM]
        folders = {spell(name): name for name in shown}
        if len(folders) < len(shown):
            twice = {spell(name) for name in shown if folders[spell(name)] != name}
            raise InputError(
                f"{self} has two folders of the name {', '.join(sorted(twice))}, spelled in "
                "Unicode in two ways: rename or join them"
            )
        return folders

    def _walk(self, folder: str) -> Iterator[str]:
        """Yield the paths below the root of a folder's files, and of folders not entered."""
        start = self.root / folder
        entered = {real := os.path.realpath(start), *map(str, Path(real).parents)}
        for place, below, files in os.walk(start, followlinks=True, onerror=_raise):
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


def refuse_shared(why: str, *pair: tuple[ImageFolders, Mapping[str, Sequence[str]]]) -> None:
    """Refuse two sets of images, as `find` gives them, that have one in common, by its content."""
    for path, same in find_shared(*pair):
        raise InputError(f"{path} is the same image as {same}: {why}")


def find_shared(
    *pair: tuple[ImageFolders, Mapping[str, Sequence[str]]],
) -> Iterator[tuple[Path, Path]]:
    """Yield each image of the second set that is, by its content, one of the first, and that."""
    sizes: tuple[dict[int, list[Path]], ...] = (defaultdict(list), defaultdict(list))
    for own, (folders, found) in zip(sizes, pair, strict=True):
        for path in (folders.root / name for names in found.values() for name in names):
            if path.is_file():  # what is none is told when it is read
                own[path.stat().st_size].append(path)
    first, second = sizes
    for size in first.keys() & second.keys():
        known = {digest_file(path): path for path in first[size]}
        for path in second[size]:
            if (same := known.get(digest_file(path))) is not None:
                yield path, same


def choose_images(names: Sequence[str], count: int, seed: int) -> list[str]:
    """Choose some of a class's images by the hash of seed and name, whatever others there are."""

    def key(name: str) -> bytes:
        return hashlib.sha256(f"{seed}\0{name}".encode()).digest()

    chosen = set(sorted(names, key=key)[:count])
    return [name for name in names if name in chosen]


def _raise(error: OSError) -> None:
    raise error


def _is_image(path: Path) -> bool:
    """Whether a file is called as an image, or is one."""
    kind = Image.registered_extensions().get(path.suffix.lower())
    if path.is_fifo():  # which would wait
        return False
    if kind in Image.OPEN and kind not in _UNREADABLE:
        return True
    if path.is_file():
        with suppress(Exception), Image.open(path) as image:
            return image.format not in _UNREADABLE
    return False


def _number_runs(name: str) -> list[tuple[int, str]]:
    """Sort key under which runs of digits count by their value."""
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", name)]
