"""Images of a network's own classes, drawn or from disk, and the output that is right for each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.choices import TASKS
from app.errors import InputError
from app.spelling import spell
from app.stimuli.folders import ImageFolders
from app.stimuli.images import Images, drawn, join_images
from app.stimuli.synthetic import draw_own_classes

if TYPE_CHECKING:
    from app.config.schema import Lesion
    from app.memo import Memo


@dataclass(frozen=True, eq=False)
class OwnClasses:
    """Held-out images of a dual-task network's own classes, and the right output of each."""

    images: Images
    outputs: NDArray[np.int64]  # (images,)
    face_classes: int  # outputs below it are faces, the others objects

    @property
    def tasks(self) -> tuple[str, ...]:
        """Those of `app.choices.TASKS` of which there are images."""
        faces = self.outputs < self.face_classes
        return tuple(t for t, own in zip(TASKS, (faces, ~faces), strict=True) if own.any())


@dataclass(frozen=True)
class Task:
    """Where the images of one task of the network are, and which outputs are its own."""

    name: str  # faces | objects
    root: str  # the folder of class folders
    classes: str | None  # a text file: the folder of each output, one a line; None: sorted folders
    outputs: range

    @property
    def folders(self) -> ImageFolders:
        """The folders of its classes."""
        return ImageFolders(self.root, "class", f"lesion.{self.name}.root")

    def find(self) -> tuple[dict[str, int], dict[str, list[str]]]:
        """Find the output of each folder, and its images; none is opened.

        Sorted folder names are the outputs in order, as torchvision's ImageFolder numbers them, if
        there are as many as outputs; otherwise the list of classes must say which is which, and not
        every class needs a folder. InputError for a folder that is no output's, or has no image.
        """
        folders, count, setting = self.folders, len(self.outputs), f"lesion.{self.name}.classes"
        present = listed = folders.labels()
        if self.classes is not None:
            where = f"{setting}={self.classes}"
            listed = _read_list(self.classes, where)
            if len(listed) != count:
                raise InputError(
                    f"{where} has {len(listed)} lines, but the network has {count} such outputs: "
                    "one line for each"
                )
            if unlisted := [folder for folder in present if folder not in listed]:
                raise InputError(
                    f"{folders} has a folder {unlisted[0]!r} that {where} does not list: remove it "
                    "or correct the list"
                )
        elif len(present) != count:
            raise InputError(
                f"{folders} has {len(present)} folders, but the network has {count} such outputs: "
                f"give {setting}=<text file, one folder name a line, in the order of the outputs>"
            )
        output = {folder: self.outputs[listed.index(folder)] for folder in present}
        return output, folders.find(present, at_least=1)


def make_own_classes(
    settings: Lesion, face_classes: int, outputs: int, memo: Memo, megapixels: float | None = None
) -> OwnClasses:
    """Read the images where the settings name folders, of one task or both, else draw them.

    The network has so many `outputs` in all, the first `face_classes` of them for faces.
    """
    if tasks := name_tasks(settings, face_classes, outputs):
        images, right = read_classes(tasks, settings.images_per_class, megapixels)
        return OwnClasses(images, right, face_classes)
    faces = (face_classes, settings.images_per_identity)
    objects = (outputs - face_classes, settings.images_per_object)
    pixels, labels = memo(draw_own_classes, settings.seed, faces, objects, settings.size)
    number = {label: output for output, label in enumerate(dict.fromkeys(labels))}
    right = np.array([number[label] for label in labels], np.int64)
    return OwnClasses(drawn(pixels, labels, f"drawn, seed {settings.seed}"), right, face_classes)


def name_tasks(settings: Lesion, face_classes: int, outputs: int) -> list[Task]:
    """Name the tasks whose images the settings name folders of, faces first."""
    faces, objects = range(face_classes), range(face_classes, outputs)
    given = (("faces", settings.faces, faces), ("objects", settings.objects, objects))
    return [Task(name, own.root, own.classes, right) for name, own, right in given if own.root]


def read_classes(
    tasks: Sequence[Task], at_most: int | None = None, megapixels: float | None = None
) -> tuple[Images, NDArray[np.int64]]:
    """Read the images of all tasks, and return the right output (images,) of each, too.

    Of each folder the first `at_most` images by name are taken. InputError as `Task.find`.
    """
    parts: dict[str, Images] = {}
    right: list[int] = []
    for task in tasks:
        output, found = task.find()
        first = {label: names[:at_most] for label, names in found.items()}
        images = task.folders.read(first, megapixels)
        if left := sum(map(len, found.values())) - len(images):
            said = f"lesion: {left} image(s) of {task.folders} above {at_most} a class are not used"
            images = replace(images, notes=(*images.notes, said))
        parts[task.name] = images
        right += [output[label] for label in parts[task.name].labels]
    return join_images(parts, [str(output) for output in right]), np.array(right, np.int64)


def _read_list(path: str, where: str) -> list[str]:
    """Read the lines of a text file, each once; InputError otherwise."""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"{where} cannot be read: {reason}") from None
    lines = [spell(line.strip()) for line in text.rstrip().splitlines()]
    for number, line in enumerate(lines, 1):
        if (first := lines.index(line) + 1) < number:
            raise InputError(
                f"{where}: lines {first} and {number} are both {line!r}; "
                "every output has a folder name of its own"
            )
    return lines
