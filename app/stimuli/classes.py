"""Images of classes that a network, or a readout of it, names; the right output for each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.choices import TASKS
from app.errors import InputError
from app.files import reading
from app.spelling import spell
from app.stimuli.folders import ImageFolders
from app.stimuli.images import Images, drawn, join_images
from app.stimuli.presented import read_columns
from app.stimuli.synthetic import draw_own_classes

if TYPE_CHECKING:
    from app.config.schema import Lesion, Model
    from app.memo import Memo


@dataclass(frozen=True, eq=False)
class OwnClasses:
    """Images of classes of faces and of objects, and the right output of each."""

    images: Images
    outputs: NDArray[np.int64]  # (images,)
    face_classes: int  # outputs below it are faces, the others objects
    names: Mapping[int, str] = field(default_factory=dict)  # of outputs

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
    held_out: str | None = None  # a table of the images that are used, see `keep_held_out`

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
        present = folders.labels()
        if self.classes is not None:
            where = f"{setting}={self.classes}"
            listed = _read_list(self.classes, where)
            lines = [re.fullmatch(r"(.+?)\s*:\s*(\d+)", line) for line in listed]
            if listed and all(lines):  # `folder: output`; folders without a line are not shown
                output = {line[1]: int(line[2]) for line in lines if line}
                if len(output) < len(lines):
                    raise InputError(f"{where} names a folder twice: a folder has one output")
                if strange := [number for number in output.values() if number not in self.outputs]:
                    raise InputError(
                        f"{where} names the output {strange[0]}: those of these classes are "
                        f"{self.outputs.start} to {self.outputs.stop - 1}"
                    )
            elif len(listed) != count:
                raise InputError(
                    f"{where} has {len(listed)} lines, but the network has {count} such outputs: "
                    "one line for each, or lines `folder: output` for those that have images"
                )
            elif unlisted := [folder for folder in present if folder not in listed]:
                raise InputError(
                    f"{folders} has a folder {unlisted[0]!r} that {where} does not list: remove it "
                    "or correct the list"
                )
            else:
                output = {folder: self.outputs[listed.index(folder)] for folder in present}
        elif len(present) != count:
            raise InputError(
                f"{folders} has {len(present)} folders, but the network has {count} such outputs: "
                f"give {setting}=<text file, one folder name a line, in the order of the outputs>"
            )
        else:
            output = dict(zip(present, self.outputs, strict=True))
        found = folders.find([*output], at_least=1)
        return output, keep_held_out(self.held_out, found, self.name)


def make_own_classes(
    settings: Lesion, face_classes: int, outputs: int, memo: Memo, megapixels: float | None = None
) -> OwnClasses:
    """Read the images where the settings name folders, of one task or both, else draw them.

    The network has so many `outputs` in all, the first `face_classes` of them for faces.
    """
    if tasks := name_tasks(settings, face_classes, outputs):
        images, right, names = read_classes(tasks, settings.images_per_class, megapixels)
        return OwnClasses(images, right, face_classes, names)
    faces = (face_classes, settings.images_per_identity)
    objects = (outputs - face_classes, settings.images_per_object)
    images = _draw(settings, faces, objects, memo)
    right, labels = pd.factorize(np.array(images.labels, object))
    return OwnClasses(images, right, face_classes, dict(enumerate(labels)))


def _draw(settings: Lesion, faces: tuple[int, int], objects: tuple[int, int], memo: Memo) -> Images:
    """Draw images of so many classes, so many each."""
    pixels, labels = memo(draw_own_classes, settings.seed, faces, objects, settings.size)
    return drawn(pixels, labels, f"drawn, seed {settings.seed}")


def choose_task(settings: Lesion, model: Model) -> str:
    """One of `app.choices.LESION_TASKS`: own where images of the network's classes are at hand."""
    at_hand = model.classes == "synthetic" or settings.faces.root or settings.objects.root
    return settings.task or ("own" if at_hand else "readout")


def name_learned(settings: Lesion) -> str | None:
    """Name the folder of people whom the network learned; those of a readout are not."""
    return settings.faces.root if settings.task == "own" else None


def check_classes(settings: Lesion, model: Model) -> None:
    """Refuse folders of classes that `make_classes` would stumble over; no image is opened."""
    if settings.task == "readout":
        find_readout_classes(settings)
    else:
        for task in name_tasks(settings, model.face_classes or 0, model.outputs or 0):
            task.find()


def make_classes(
    settings: Lesion, model: Model, memo: Memo, megapixels: float | None = None
) -> tuple[OwnClasses, OwnClasses | None]:
    """The images that lesions are judged by, and those that a readout is fitted on, if it is."""
    if settings.task == "readout":
        fitted, tested = make_readout_classes(settings, memo, megapixels)
        return tested, fitted
    faces, outputs = model.face_classes or 0, model.outputs or 0
    return make_own_classes(settings, faces, outputs, memo, megapixels), None


def make_readout_classes(
    settings: Lesion, memo: Memo, megapixels: float | None = None
) -> tuple[OwnClasses, OwnClasses]:
    """Images to fit a readout on, and images to test it: of identities, and of object categories.

    Every other image of a class is for the test. They are read from a folder per class where the
    settings name folders of faces or objects, else drawn. InputError as `ImageFolders.find`.
    """
    found = find_readout_classes(settings)
    if found:
        parts = {task: folders.read(each, megapixels) for task, (folders, each) in found.items()}
        images = join_images(
            parts, [f"{task}/{label}" for task, part in parts.items() for label in part.labels]
        )
        faces = len(found["faces"][1]) if "faces" in found else 0
    else:
        asked, each = settings.readout, settings.readout.images_each
        faces = asked.identities
        images = _draw(settings, (faces, each), (asked.categories, each), memo)
    right, labels = pd.factorize(np.array(images.labels, object))
    tests = pd.Series(right).groupby(right).cumcount().to_numpy() % 2 == 1

    fitted, tested = (OwnClasses(images.take(own), right[own], faces, dict(enumerate(labels)))
                      for own in (~tests, tests))  # fmt: skip
    return fitted, tested


def find_readout_classes(
    settings: Lesion,
) -> dict[str, tuple[ImageFolders, dict[str, list[str]]]]:
    """Find the folders of identities and categories that the settings name; no image is opened."""
    found = {}
    because = ": one to fit a readout on, one to test it"
    for task, own in (("faces", settings.faces), ("objects", settings.objects)):
        if own.root:
            folders = ImageFolders(own.root, "class", f"lesion.{task}.root")
            classes = folders.find(at_least=2, because=because)
            classes = keep_held_out(settings.held_out, classes, task, at_least=2)
            first = {label: each[: settings.images_per_class] for label, each in classes.items()}
            found[task] = folders, first
    if found and settings.images_per_class == 1:
        raise InputError(f"lesion.images_per_class=1 is too small{because}")
    if found and sum(len(classes) for _, classes in found.values()) < 2:
        raise InputError(
            f"{folders} has one class: a readout needs two or more (lesion.faces.root and "
            "lesion.objects.root)"
        )
    return found


def name_tasks(settings: Lesion, face_classes: int, outputs: int) -> list[Task]:
    """Name the tasks whose images the settings name folders of, faces first."""
    faces, objects = range(face_classes), range(face_classes, outputs)
    if settings.faces.root and not faces:
        raise InputError(
            f"lesion.faces.root={settings.faces.root}, but none of the network's outputs are faces "
            "(model.face_classes=0): give how many are, or take lesion.task=readout"
        )
    given = (("faces", settings.faces, faces), ("objects", settings.objects, objects))
    return [Task(name, own.root, own.classes, right, settings.held_out)
            for name, own, right in given if own.root]  # fmt: skip


def keep_held_out(
    table: str | None, found: Mapping[str, Sequence[str]], task: str, at_least: int = 1
) -> dict[str, list[str]]:
    """Keep the images that a table lists, such as a training's `held_out.csv`; None: keep all.

    Its column `image` has their places below the folders of both tasks: `faces/<class>/<file>`,
    `objects/<class>/<file>`. InputError for a table that cannot be read or has an image that is not
    there, and for a class of which it has fewer than `at_least`.
    """
    if table is None:
        return {label: [*names] for label, names in found.items()}
    listed = read_columns(Path(table).expanduser(), "lesion.held_out")
    if "image" not in listed:
        raise InputError(
            f"lesion.held_out={table} has no column 'image': give the held_out.csv of a training"
        )
    kept, told = {}, f"lesion.held_out={table} lists"
    for label, names in found.items():
        start = f"{task}/{label}/"
        wanted = {name for name in map(spell, listed["image"]) if name.startswith(start)}
        kept[label] = [name for name in names if f"{task}/{spell(name)}" in wanted]
        if len(wanted) < at_least:
            raise InputError(
                f"{told} {len(wanted)} image(s) of {label!r} of lesion.{task}.root: at least "
                f"{at_least} of each class must be there"
            )
        if missing := sorted(wanted - {f"{task}/{spell(name)}" for name in kept[label]}):
            raise InputError(
                f"{told} {missing[0]}, which lesion.{task}.root does not have: give the folders "
                "that were trained on"
            )
    return kept


def read_classes(
    tasks: Sequence[Task], at_most: int | None = None, megapixels: float | None = None
) -> tuple[Images, NDArray[np.int64], dict[int, str]]:
    """Read the images of all tasks; the right output (images,) of each, and the outputs' names.

    Of each folder the first `at_most` images by name are taken. InputError as `Task.find`.
    """
    parts: dict[str, Images] = {}
    right: list[int] = []
    called: dict[int, str] = {}
    for task in tasks:
        output, found = task.find()
        first = {label: names[:at_most] for label, names in found.items()}
        images = task.folders.read(first, megapixels)
        if left := sum(map(len, found.values())) - len(images):
            said = f"lesion: {left} image(s) of {task.folders} above {at_most} a class are not used"
            images = replace(images, notes=(*images.notes, said))
        parts[task.name] = images
        right += [output[label] for label in images.labels]
        called |= {number: label for label, number in output.items()}
    images = join_images(parts, [str(output) for output in right])
    return images, np.array(right, np.int64), called


def _read_list(path: str, where: str) -> list[str]:
    """Read the lines of a text file, each once; InputError otherwise."""
    with reading(where, Path(path)):
        text = Path(path).expanduser().read_text(encoding="utf-8-sig")
    lines = [spell(line.strip()) for line in text.rstrip().splitlines()]
    for number, line in enumerate(lines, 1):
        if (first := lines.index(line) + 1) < number:
            raise InputError(
                f"{where}: lines {first} and {number} are both {line!r}; "
                "every output has a folder name of its own"
            )
    return lines
