"""Images of one's own to learn: a folder per class, held-out images, and how they are varied."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from PIL import Image

from app.config.training import Augmentation, Train
from app.errors import InputError
from app.models.loading import make_preprocessing
from app.models.torchvision import import_torchvision
from app.stimuli.images import ImageFolders, Images, Preprocessing, join_images, to_rgb
from app.training.material import Examples, Look, Material, Pixels, make_loaders, number_labels
from app.training.settings import with_outputs

v2 = import_torchvision("transforms.v2")


def make_material(settings: Train) -> Material:
    """List the images of both tasks' folders, those held out apart; they are decoded when needed.

    InputError names what is missing: a folder, a class, images of a class.
    """
    faces, tested_faces = split_task("faces", settings)
    objects, tested_objects = split_task("objects", settings)
    names, things = (list(dict.fromkeys(part.labels)) for part in (faces, objects))
    first = with_outputs(settings, len(names), len(things)).model.face_classes
    prepare = make_preprocessing(settings.model)
    learned = _join(faces, objects, first, partial(show_part, settings.augmentation, prepare))
    held_out = _join(tested_faces, tested_objects, first, prepare.crop)
    if settings.batch_size > len(learned):
        raise InputError(
            f"batch_size={settings.batch_size} is more than the {len(learned)} images to learn"
        )
    loaders = make_loaders(learned, held_out, settings.batch_size, settings.workers)
    return Material(names, things, learned, held_out, *loaders, prepare)


def _join(faces: Images, objects: Images, first: int, look: Look) -> Examples:
    images = join_images({"faces": faces, "objects": objects}, faces.labels + objects.labels)
    outputs = number_labels(faces.labels, 0) + number_labels(objects.labels, first)
    return Examples(replace(images, names=faces.names + objects.names), outputs, look)


def show_part(settings: Augmentation, prepare: Preprocessing, image: Image.Image) -> Pixels:
    """Show a random part of an image, maybe mirrored (Szegedy et al. 2015).

    Without `scale` the part is the centre that is tested.
    """
    if settings.scale is None:
        part = Image.fromarray(prepare.crop(image))
    else:
        part = v2.RandomResizedCrop(prepare.size, settings.scale, settings.ratio)(to_rgb(image))
    return np.asarray(v2.RandomHorizontalFlip(settings.flip)(part))


def split_task(task: str, settings: Train) -> tuple[Images, Images]:
    """Split the images of a task, "faces" or "objects", in what is learned and what tests it."""
    chosen, each = getattr(settings, task), settings.held_out_per_class
    folders = ImageFolders(chosen.root, "class", f"{task}.root")
    if chosen.validation is not None:
        others = ImageFolders(chosen.validation, "class", f"{task}.validation")
        _check_same(task, folders.labels(), others.labels())
        return folders.read(folders.find(at_least=1)), others.read(others.find(at_least=1))
    found = folders.find(
        at_least=each + 1, because=f", as held_out_per_class={each} are not learned"
    )
    tested = {k: choose_held_out(names, each, settings.split_seed) for k, names in found.items()}
    learned = {k: [n for n in names if n not in tested[k]] for k, names in found.items()}
    return folders.read(learned), folders.read(tested)


def choose_held_out(names: Sequence[str], count: int, seed: int) -> list[str]:
    """Choose `count` of a class's images by the hash of seed and name.

    Other classes change nothing about the choice.
    """

    def key(name: str) -> bytes:
        return hashlib.sha256(f"{seed}\0{name}".encode()).digest()

    chosen = set(sorted(names, key=key)[:count])
    return [name for name in names if name in chosen]


def _check_same(task: str, learned: Iterable[str], tested: Iterable[str]) -> None:
    for label in sorted(set(learned) ^ set(tested)):
        has, lacks = ("root", "validation") if label in learned else ("validation", "root")
        raise InputError(
            f"{task}.{has} has a class {label!r} that {task}.{lacks} lacks: "
            "both need the same folders"
        )
