"""Images of a network's own classes, drawn or from disk, and the output that is right for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.choices import TASKS
from app.errors import InputError
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

    root: str  # the folder of class folders
    classes: str | None  # a text file: the folder of each output, one a line; None: sorted folders
    outputs: range


def make_own_classes(settings: Lesion, face_classes: int, outputs: int, memo: Memo) -> OwnClasses:
    """Read the images where the settings name folders, of one task or both, else draw them.

    Parameters
    ----------
    settings : Lesion
        Where the images are, or how many are drawn.
    face_classes, outputs : int
        How many outputs the network has for faces, and in all.
    memo : Memo
        Remembers what was drawn.
    """
    if tasks := name_tasks(settings, face_classes, outputs):
        images, right = read_classes(tasks, setting="lesion", at_most=settings.images_per_class)
        return OwnClasses(images, right, face_classes)
    pixels, labels = memo(
        draw_own_classes,
        settings.seed,
        (face_classes, settings.images_per_identity),
        (outputs - face_classes, settings.images_per_object),
        settings.size,
    )
    number = {label: output for output, label in enumerate(dict.fromkeys(labels))}
    right = np.array([number[label] for label in labels], np.int64)
    return OwnClasses(drawn(pixels, labels, f"drawn, seed {settings.seed}"), right, face_classes)


def name_tasks(settings: Lesion, face_classes: int, outputs: int) -> dict[str, Task]:
    """Name the tasks whose images the settings name folders of."""
    return {
        name: Task(own.root, own.classes, right)
        for name, own, right in (
            ("faces", settings.faces, range(face_classes)),
            ("objects", settings.objects, range(face_classes, outputs)),
        )
        if own.root
    }


def read_classes(
    tasks: Mapping[str, Task], *, setting: str, at_most: int | None = None
) -> tuple[Images, NDArray[np.int64]]:
    """Read the images of all tasks.

    Sorted folder names are the task's outputs in order, as torchvision's ImageFolder numbers them,
    if there are as many as outputs; otherwise its list of classes must say which is which, and not
    every class needs a folder.

    Parameters
    ----------
    tasks : mapping of str to Task
        By name: "faces", "objects".
    setting : str
        Words the errors ("lesion").
    at_most : int, optional
        How many images of each folder are taken, the first by name; None: all.

    Returns
    -------
    images : Images
    outputs : array of int64, (images,)
        The right output of each.

    Raises
    ------
    InputError
        For a folder that is no output's, or has no image.
    """
    output = check_classes(tasks, setting=setting)
    parts: dict[str, Images] = {}
    answers: list[int] = []
    for name, task in tasks.items():
        folders = ImageFolders(task.root, "class", f"{setting}.{name}.root")
        parts[name] = folders.read(folders.find(list(output[name]), at_least=1, at_most=at_most))
        answers += [output[name][label] for label in parts[name].labels]
    return join_images(parts, [str(answer) for answer in answers]), np.array(answers, np.int64)


def check_classes(tasks: Mapping[str, Task], *, setting: str) -> dict[str, dict[str, int]]:
    """Return the output of each folder of each task; InputError as `read_classes`.

    No image is opened.
    """
    output = {}
    for name, task in tasks.items():
        where = f"{setting}.{name}"
        folders = ImageFolders(task.root, "class", f"{where}.root")
        present = folders.labels()
        output[name] = find_outputs(present, task, where)
        folders.find(present, at_least=1)
    return output


def find_outputs(present: Sequence[str], task: Task, where: str) -> dict[str, int]:
    """Find the output of each of the sorted folders `present`; see `read_classes`."""
    count = len(task.outputs)
    if task.classes is None:
        if len(present) != count:
            raise InputError(
                f"{where}.root={task.root} has {len(present)} folders, but the network has {count} "
                f"such outputs: give {where}.classes=<text file, one folder name a line, "
                "in the order of the outputs>"
            )
        return dict(zip(present, task.outputs, strict=True))
    listed = read_list(task.classes, f"{where}.classes")
    if len(listed) != count:
        raise InputError(
            f"{where}.classes={task.classes} has {len(listed)} lines, but the network has {count} "
            "such outputs: one line for each"
        )
    output = dict(zip(listed, task.outputs, strict=True))
    for folder in present:
        if folder not in output:
            raise InputError(
                f"{where}.root={task.root} has a folder {folder!r} that "
                f"{where}.classes={task.classes} does not list: remove it or correct the list"
            )
    return {folder: output[folder] for folder in present}


def read_list(path: str, setting: str) -> list[str]:
    """Read the lines of a text file, each once and none empty; InputError otherwise."""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise InputError(f"{setting}={path} cannot be read: {reason}") from None
    lines = [line.strip() for line in text.rstrip().splitlines()]
    first: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line:
            raise InputError(f"{setting}={path}: line {number} is empty, so no output has a name")
        if line in first:
            raise InputError(
                f"{setting}={path}: lines {first[line]} and {number} are both {line!r}; "
                "every output has a folder name of its own"
            )
        first[line] = number
    return lines
