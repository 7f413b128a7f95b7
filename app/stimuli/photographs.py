"""Photographs of people and of objects: public archives, fetched once, as a folder per class.

An archive is read as it is, never unpacked, and only whole and of the digest that is known. The
folder that is made takes its place at the end: it is complete or not there.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from filelock import FileLock
from PIL import Image, UnidentifiedImageError

from app.config.parameters import leaves
from app.errors import InputError
from app.files import to_json, whole, writing
from app.progress import progress_bar
from app.stimuli.fetching import RETRIES, fetch_file, resume
from app.stimuli.folders import choose_images
from app.stimuli.images import Preprocessing, to_rgb

if TYPE_CHECKING:
    from app.config.photographs import Archive, Classes, Photographs

FACES, DECODE, OBJECTS = "faces", "decode", "objects"
SOURCES = "sources.json"  # where the photographs come from, their terms, and what was asked for
# Settings on which the photographs do not depend.
FREE = {"accept_terms", "folder", "archives", "debug", "title", "terms", "address", "file",
        "gigabytes"}  # fmt: skip

Found = Mapping[str, list[str]]  # names in an archive, by class


def is_made(settings: Photographs, folder: Path) -> bool:
    """Tell whether the folder holds what the settings ask for; InputError for anything else."""
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    another = "give another folder=<folder>, or delete this one"
    try:
        there = json.loads((folder / SOURCES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(
            f"folder={folder} holds what this command did not make: {another}"
        ) from None
    had, asked = dict(leaves(there)), dict(leaves(asdict(settings)))
    for name in {**had, **asked}:
        if had.get(name) != asked.get(name) and name.split(".")[-1] not in FREE:
            shown = f"{name}={had.get(name)}, not {asked.get(name)}"
            raise InputError(f"folder={folder} was made with {shown}: {another}")
    return True


def make_photographs(settings: Photographs, folder: Path) -> list[str]:
    """Fetch the archives, and make `faces`, `decode` and `objects` in a folder, unless it is made.

    Of several processes one does, others wait. Returns what to know of what was made. InputError
    for what `is_made` refuses, an archive that cannot be fetched, an image in it that cannot be
    read, too few classes, and a disk that is full.
    """
    with writing("make photographs in", folder, "another folder with folder=<folder>"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if is_made(settings, folder):
                return []
            archives = Path(settings.archives).expanduser()
            people, things = (fetch_archive(each, archives)
                              for each in (settings.people, settings.things))  # fmt: skip
            with whole(folder) as new:
                shutil.rmtree(new, ignore_errors=True)  # what a process that was killed left
                return _fill(settings, people, things, new)


def fetch_archive(archive: Archive, folder: Path) -> Path:
    """Fetch an archive, unless it is there, and return its path; a start after a stop goes on."""
    import pooch

    known, urls = {archive.file: archive.digest}, {archive.file: archive.address}
    source = pooch.create(folder, "", registry=known, urls=urls, retry_if_failed=RETRIES)
    instead = f"with the archive at hand put it at {folder / archive.file}"
    with writing("store archives in", folder, "another folder with archives=<folder>"):
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            for left in folder.glob("tmp*"):  # by a process that was killed
                left.unlink()
            downloader = resume(archive.title, folder / f".{archive.file}.part")
            return Path(fetch_file(source, archive.file, downloader, archive.title, instead))


def list_images(path: Path) -> Found:
    """List the images of each class in an archive of files `…/<class>/<name>.jpg`."""
    found = defaultdict(list)
    with tarfile.open(path) as archive:
        for member in archive:
            parts = PurePosixPath(member.name).parts
            if member.isfile() and len(parts) == 3 and parts[2].lower().endswith(".jpg"):
                found[parts[1]].append(member.name)
    return found


def list_left_out(archive: Archive) -> set[str]:
    """List the classes that are left out, for whatever reason."""
    return {label for labels in (archive.leave_out or {}).values() for label in labels}


def choose_classes(
    found: Found, archive: Archive, setting: str, chosen: Classes, below: int | None, seed: int
) -> Found:
    """Choose classes of `at_least` and `below` so many images, and up to `most` images of each.

    InputError where fewer than two classes are left.
    """
    left_out = list_left_out(archive)
    taken = {label: choose_images(names, chosen.most, seed)
             for label, names in sorted(found.items())
             if chosen.at_least <= len(names) < (below or len(names) + 1)
             and label not in left_out}  # fmt: skip
    if len(taken) < 2:
        and_fewer = f" and below {below}" if below else ""
        raise InputError(
            f"{archive.title} has {len(taken)} classes of {chosen.at_least} images or more"
            f"{and_fewer}, and two are needed: lower {setting}.at_least"
        )
    return taken


def _fill(settings: Photographs, people: Path, things: Path, folder: Path) -> list[str]:
    """Write all photographs, and where they come from, into a new folder; what to know of them."""
    seed = settings.seed
    persons, kinds = list_images(people), list_images(things)
    learned = choose_classes(persons, settings.people, FACES, settings.faces, None, seed)
    below = settings.faces.at_least  # who has as many is learned
    decoded = choose_classes(persons, settings.people, DECODE, settings.decode, below, seed)
    objects = choose_classes(kinds, settings.things, OBJECTS, settings.objects, None, seed)
    _write(people, {FACES: learned, DECODE: decoded}, settings.people, settings.size, folder)
    _write(things, {OBJECTS: objects}, settings.things, settings.size, folder)
    (folder / SOURCES).write_text(to_json(asdict(settings)), encoding="utf-8")
    read = ("people", settings.people, persons), ("things", settings.things, kinds)
    return [
        f"{name}.leave_out has {len(unknown)} name(s) that are no classes, "
        f"the first is {unknown[0]}"
        for name, archive, found in read
        if (unknown := sorted(list_left_out(archive) - {*found}))
    ]


def _write(
    path: Path, chosen: Mapping[str, Found], archive: Archive, size: int, folder: Path
) -> None:
    """Write an archive's chosen images, greyscale and square, a folder per class."""
    prepare = Preprocessing(size, size, (), ())
    targets: dict[str, Path] = {}
    for part, found in chosen.items():
        for label, names in found.items():
            (folder / part / label).mkdir(parents=True)
            targets |= {name: folder / part / label / f"{PurePosixPath(name).stem}.png"
                        for name in names}  # fmt: skip
    with tarfile.open(path) as tar, progress_bar(archive.title, len(targets)) as progress:
        for member in tar:  # in the archive's order: a compressed one knows no other
            if (target := targets.get(member.name)) is not None:
                try:
                    image = to_rgb(Image.open(tar.extractfile(member)))  # type: ignore[arg-type]
                except UnidentifiedImageError:
                    raise InputError(f"{path}: {member.name} is no image of a known kind") from None
                if (box := archive.box) is not None:
                    if box[2] > image.width or box[3] > image.height:
                        raise InputError(
                            f"box={box} leaves {member.name}, {image.width} x {image.height} pixels"
                        )
                    image = image.crop(tuple(box))  # type: ignore[arg-type]
                Image.fromarray(prepare.crop(image)).convert("L").save(target)
                progress(1)
