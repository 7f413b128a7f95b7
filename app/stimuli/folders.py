"""Folders of folders of images: which images there are, and what is in them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from app.errors import InputError
from app.progress import progress_bar
from app.stimuli.images import DECODERS, ImageFiles, open_image


@dataclass(frozen=True)
class ImageFolders:
    """A folder that holds a folder of images for each label.

    Images are the files below a label's folder, at any depth, whose names end as those of a format
    that Pillow reads. Hidden files and folders are left out.

    Parameters
    ----------
    place : str or Path
        The folder of folders; `~` is the user's home.
    what : str
        What a label is ("category", "identity", "class"), for the errors.
    setting : str
        The setting that names the folder ("stimuli.root"), for the errors.
    """

    place: str | Path
    what: str
    setting: str

    @property
    def root(self) -> Path:
        """The folder of folders."""
        return Path(self.place).expanduser()

    def labels(self) -> list[str]:
        """Return the sorted names of the folders; InputError where there is no folder of them."""
        if not self.root.is_dir():
            raise InputError(
                f"{self.setting}={self.root} is not a folder: give the folder of {self.what} "
                "folders"
            )
        try:
            names = os.listdir(self.root)
        except OSError as error:
            raise self._unreadable(error) from None
        return sorted(n for n in names if (self.root / n).is_dir() and not n.startswith("."))

    def find(
        self,
        labels: Sequence[str] | None = None,
        *,
        leave_out: Sequence[str] = (),
        at_least: int = 2,
        at_most: int | None = None,
        because: str = "",
    ) -> dict[str, list[str]]:
        """Find the images of each label; none is opened.

        Parameters
        ----------
        labels : sequence of str, optional
            Whose images are wanted; None: all but `leave_out`.
        at_least, at_most : int, optional
            How many images each label has to have, and how many of them are taken.
        because : str
            Ends the error about too few images: why so many are needed.

        Returns
        -------
        dict of str to list of str
            Paths below the root by label, runs of digits ordered by their value (adult-2 before
            adult-10).

        Raises
        ------
        InputError
            Where there are no folders, one that is wanted is not there, or has too few images.
        """
        present = self.labels()
        wanted = [p for p in present if p not in leave_out] if labels is None else labels
        where = f"{self.setting}={self.root}"
        if not wanted:
            raise InputError(f"{where} is empty: it should hold one folder per {self.what}")
        if missing := [label for label in wanted if label not in present]:
            raise InputError(
                f"{where} has no folder {missing[0]!r} for that {self.what}: "
                f"it has {', '.join(present) or 'no folders'}"
            )
        found = {label: self._images(label)[:at_most] for label in wanted}
        needed = {1: "one is", 2: "two are"}.get(at_least, f"{at_least} are")
        for label, names in found.items():
            if len(names) < at_least:
                raise InputError(
                    f"{self.what} {label!r} in {where} has {len(names)} image(s): at least "
                    f"{needed} needed{because}"
                )
        return found

    def _images(self, label: str) -> list[str]:
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
        return sorted(found, key=_by_number)

    def _refuse(self, error: OSError) -> None:
        raise self._unreadable(error) from None

    def _unreadable(self, error: OSError) -> InputError:
        return InputError(
            f"{error.filename} of {self.setting} cannot be read: {error.strerror or error}"
        )

    def read(self, found: Mapping[str, Sequence[str]]) -> ImageFiles:
        """Return the images that `find` found, known by their content.

        Raises
        ------
        InputError
            For a file that cannot be read, or does not begin as an image does.
        """
        names = tuple(name for each in found.values() for name in each)
        labels = tuple(label for label, each in found.items() for _ in each)
        digest = hashlib.sha256()
        with (
            ThreadPoolExecutor(DECODERS) as pool,
            progress_bar("reading images", len(names)) as progress,
        ):
            contents = pool.map(lambda name: _hash_image(self.root / name), names)
            for name, label, content in zip(names, labels, contents, strict=True):
                digest.update(f"{name}\0{label}\0{content}\n".encode())
                progress(1)
        return ImageFiles(names, labels, digest.hexdigest(), str(self.root), self.root)


def _hash_image(path: Path) -> str:
    """SHA-256 of an image file, whose beginning at least is an image's."""
    open_image(path).close()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _by_number(name: str) -> list[tuple[int, str]]:
    """Sort key under which runs of digits count by their value."""
    return [(int(p), "") if p.isdecimal() else (-1, p) for p in re.split(r"(\d+)", name)]
