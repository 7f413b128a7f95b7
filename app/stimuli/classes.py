"""Images of a network's own classes from disk: a folder per class, and the output it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.errors import InputError
from app.stimuli import images
from app.stimuli.images import Images


@dataclass(frozen=True)
class Task:
    """Where the images of one task of the network are, and which outputs are its own."""

    root: str  # the folder of class folders
    classes: str | None  # a text file: the folder of each output, one a line; None: sorted folders
    outputs: range


def from_folders(
    tasks: Mapping[str, Task], *, setting: str, at_most: int | None = None
) -> tuple[Images, NDArray[np.int64]]:
    """The images of all tasks and the right output (images,) of each.

    Sorted folder names are the task's outputs in order, as torchvision's ImageFolder numbers them,
    if there are as many as outputs; otherwise its list of classes must say which is which, and not
    every class needs a folder. At least one image of each folder, the first `at_most` (None: all)
    by name. `setting` ("lesion") words the errors: InputError for a folder that is no output's.
    """
    output = check_folders(tasks, setting=setting)
    parts: dict[str, Images] = {}
    answers: list[int] = []
    for name, task in tasks.items():
        parts[name] = images.from_folder(
            task.root,
            list(output[name]),
            what="class",
            setting=f"{setting}.{name}.root",
            at_least=1,
            at_most=at_most,
        )
        answers += [output[name][label] for label in parts[name].labels]
    return images.joined(parts, [str(answer) for answer in answers]), np.array(answers, np.int64)


def check_folders(tasks: Mapping[str, Task], *, setting: str) -> dict[str, dict[str, int]]:
    """The output of each folder of each task; InputError as `from_folders`. Opens no image."""
    output = {}
    for name, task in tasks.items():
        where = f"{setting}.{name}"
        root, present = images.folders(task.root, what="class", setting=f"{where}.root")
        output[name] = output_of(present, task, where)
        images.list_folder(root, present, what="class", setting=f"{where}.root", at_least=1)
    return output


def output_of(present: Sequence[str], task: Task, where: str) -> dict[str, int]:
    """The output of each of the sorted folders `present`; see `from_folders`."""
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
    """The lines of a text file, each once and none empty; InputError otherwise."""
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
