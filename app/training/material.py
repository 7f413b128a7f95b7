"""What a network learns and is tested on: drawn images, or folders of images of one's own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from app.config.training import Augmentation, Train, with_outputs
from app.errors import InputError
from app.models.libraries import import_torchvision
from app.models.loading import make_preprocessing
from app.stimuli.folders import ImageFolders, choose_images, find_shared, refuse_shared
from app.stimuli.images import Images, Preprocessing, drawn, join_images, to_rgb
from app.stimuli.synthetic import HELD_OUT, draw_identities, draw_objects

v2 = import_torchvision("transforms.v2")

Pixels = NDArray[np.uint8]
Look = Callable[[Image.Image], Pixels]  # what of an image a network is shown: (size, size, 3)
Batch = tuple[Tensor, Tensor]  # pixels (n, size, size, 3), and the output that is right (n,)


@dataclass(frozen=True)
class Examples(Dataset[tuple[Pixels, int]]):
    """Images, how a network sees them, and the output that is right for each."""

    images: Images
    faces: int  # how many images, the first, show faces; the others show objects
    outputs: Sequence[int]
    look: Look

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Pixels, int]:
        return np.array(self.look(self.images.open(index))), self.outputs[index]


@dataclass(frozen=True)
class Varied(Examples):
    """Examples in a random order, each with a random look: a data set and its own sampler.

    Order and a seed for each look follow from torch's global random numbers, which are seeded for
    each epoch; so they are the same whatever process reads an image.

    A class of n images is drawn in proportion to n^`sampling` (Kang et al. 2020, q there), with
    replacement; at 1 each image is shown once instead.
    """

    sampling: float

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order, seeds = torch.randperm(len(self)), torch.randint(2**63 - 1, (len(self),))
        if self.sampling < 1:
            outputs = torch.tensor(self.outputs)
            weights = outputs.bincount()[outputs].double() ** (self.sampling - 1)
            order = weights.multinomial(len(self), replacement=True)
        else:
            seeds = seeds[order]
        return zip(order.tolist(), seeds.tolist(), strict=True)

    # Asked as its sampler asks, not by a number alone.
    def __getitem__(self, asked: tuple[int, int]) -> tuple[Pixels, int]:  # type: ignore[override]
        index, seed = asked
        with torch.random.fork_rng(devices=[]):  # dropout's random numbers stay as they are
            torch.default_generator.manual_seed(seed)
            return super().__getitem__(index)


@dataclass(frozen=True)
class Material:
    """What a network learns and what it is tested on."""

    learned: Examples
    held_out: Examples
    # Another order and another look each time; a short last batch is left out.
    to_learn: DataLoader[tuple[Pixels, int]]
    to_test: DataLoader[tuple[Pixels, int]]
    prepare: Preprocessing  # scales pixels as the network wants them

    @property
    def faces(self) -> list[str]:
        """Classes in the order of their outputs, from 0."""
        return list(dict.fromkeys(self.learned.images.labels[: self.learned.faces]))

    @property
    def objects(self) -> list[str]:
        """Classes in the order of their outputs, from `model.face_classes`."""
        return list(dict.fromkeys(self.learned.images.labels[self.learned.faces :]))

    @property
    def notes(self) -> list[str]:
        """What is to be told of the files that were read, or not."""
        return list(dict.fromkeys(self.learned.images.notes + self.held_out.images.notes))

    @property
    def images(self) -> str:
        """What is learned and tested, in words that no other material shares."""
        return (
            f"{len(self.faces)} + {len(self.objects)} classes, {len(self.learned)} + "
            f"{len(self.held_out)} images, SHA-256 {self.learned.images.digest[:8]} + "
            f"{self.held_out.images.digest[:8]}"
        )

    def inputs(self, pixels: Tensor) -> Tensor:
        """Scale pixels (n, size, size, 3) to network input (n, 3, size, size), on their device."""
        scaled = pixels.permute(0, 3, 1, 2).float() / 255  # channels last in memory: faster
        normalised: Tensor = v2.functional.normalize(
            scaled, [*self.prepare.mean], [*self.prepare.sd]
        )
        return normalised


def make_material(settings: Train) -> Material:
    """Draw all images, or list those of both tasks' folders, which are decoded when needed.

    InputError names what is missing: a folder, a class, images of a class.
    """
    prepare = make_preprocessing(settings.model)
    if settings.from_folders:
        learned, held_out = read_folders(settings, prepare)
    else:
        learned, held_out = draw_learned(settings), draw_held_out(settings)
    if settings.batch_size > len(learned):
        raise InputError(
            f"batch_size={settings.batch_size} is more than the {len(learned)} images to learn"
        )
    workers = settings.workers if settings.from_folders and settings.workers > 1 else 0
    options: Any = {
        "batch_size": settings.batch_size,
        "num_workers": workers,
        # Forking a process that runs torch's threads can lock up; one that has only imported, once
        # for all workers, does not.
        "multiprocessing_context": "forkserver" if workers else None,
        "persistent_workers": workers > 0,
        # Or it would take random numbers from the global ones, in a new process only.
        "generator": torch.Generator(),
    }
    if workers:
        multiprocessing.set_forkserver_preload([__name__, "app.launch.commandline"])
    varied = Varied(**vars(learned), sampling=settings.sampling)
    to_learn = DataLoader(varied, sampler=varied, drop_last=True, **options)
    return Material(learned, held_out, to_learn, DataLoader(held_out, **options), prepare)


def read_batches(loader: DataLoader[tuple[Pixels, int]]) -> Iterator[Batch]:
    """Yield a loader's batches; InputError in one line, whichever process it comes from."""
    try:
        yield from loader
    except InputError as error:  # that of a worker comes with its traceback
        last = str(error).strip().splitlines()[-1]
        raise InputError(last.removeprefix(f"{InputError.__module__}.InputError: ")) from None


def draw_learned(settings: Train) -> Examples:
    """Draw what the network learns from: as many faces as objects, but for rounding.

    Of each there is one at least. Each time it is looked at, an image is moved by up to
    `drawn.shift` pixels, and its border repeats. InputError for so many images that they would
    reach the held-out ones.
    """
    asked, size = settings.drawn, settings.model.input_size
    per_object = max(1, round(asked.people * asked.images_per_person / asked.objects))
    if max(asked.images_per_person, per_object) > HELD_OUT:
        raise InputError(
            f"drawn.images_per_person={asked.images_per_person} reaches held-out images: "
            f"at most {HELD_OUT} of a class are learned"
        )
    moved = v2.RandomCrop(size, asked.shift, padding_mode="edge")
    look = v2.Compose([to_rgb, moved, np.asarray])
    return _draw(settings, 0, asked.images_per_person, per_object, look)


def draw_held_out(settings: Train) -> Examples:
    """Draw further images of the same people and categories, none of them trained on."""
    each = settings.held_out_per_class
    return _draw(settings, HELD_OUT, each, each, v2.Compose([to_rgb, np.asarray]))


def _draw(settings: Train, first: int, per_person: int, per_object: int, look: Look) -> Examples:
    """Draw images from number `first` on, a round of all people or all categories at a time."""
    asked, size = settings.drawn, settings.model.input_size
    people = draw_identities(
        asked.seed, asked.people, per_person, split="network", first_image=first, size=size
    )
    objects = draw_objects(
        asked.seed, per_object, count=asked.objects, first_image=first, size=size
    )
    faces = np.arange(len(people.labels)).reshape(-1, per_person).T.ravel()
    others = np.arange(len(objects.labels)).reshape(-1, per_object).T.ravel()
    pixels = np.concatenate([people.pixels[faces], objects.pixels[others]])
    labels = [people.labels[k] for k in faces] + [objects.labels[k] for k in others]
    images = drawn(pixels, labels, "drawn by this program")
    return _make_examples(settings, images, len(faces), look)


def read_folders(settings: Train, prepare: Preprocessing) -> tuple[Examples, Examples]:
    """List what is learned and what is held out of both tasks' folders."""
    both = [ImageFolders(getattr(settings, task).root, "class", f"{task}.root")
            for task in ("faces", "objects")]  # fmt: skip
    why = "it shows a person or an object"
    refuse_shared(why, *((folders, folders.find(at_least=0)) for folders in both))
    faces, tested_faces = _split_task("faces", settings)
    objects, tested_objects = _split_task("objects", settings)
    learned = join_images({"faces": faces, "objects": objects})
    tested = join_images({"faces": tested_faces, "objects": tested_objects})
    return (
        _make_examples(settings, learned, len(faces), make_look(settings.augmentation, prepare)),
        _make_examples(settings, tested, len(tested_faces), prepare.crop),
    )


def _make_examples(settings: Train, images: Images, faces: int, look: Look) -> Examples:
    """Number the classes of the faces, which come first, and of the objects as they come."""
    face, thing = (pd.factorize(np.array(part, object))
                   for part in (images.labels[:faces], images.labels[faces:]))  # fmt: skip
    model = with_outputs(settings, len(face[1]), len(thing[1])).model
    outputs = [*face[0].tolist(), *(model.face_classes + thing[0]).tolist()]
    return Examples(images, faces, outputs, look)


def make_look(settings: Augmentation, prepare: Preprocessing) -> Look:
    """Make what shows a random part of an image, maybe mirrored (Szegedy et al. 2015).

    Without `scale` the part is the centre that is tested.
    """
    if settings.scale is None:
        part = [prepare.crop, Image.fromarray]
    else:
        part = [to_rgb, v2.RandomResizedCrop(prepare.size, settings.scale, settings.ratio)]
    look: Look = v2.Compose([*part, v2.RandomHorizontalFlip(settings.flip), np.asarray])
    return look


def _split_task(task: str, settings: Train) -> tuple[Images, Images]:
    """Split the images of a task, "faces" or "objects", in what is learned and what tests it."""
    chosen, each = getattr(settings, task), settings.held_out_per_class
    folders, most = ImageFolders(chosen.root, "class", f"{task}.root"), settings.megapixels
    if chosen.validation is not None:
        others = ImageFolders(chosen.validation, "class", f"{task}.validation")
        learned = folders.find(at_least=1)
        tested = others.find([*learned], at_least=1)
        refuse_shared("what is learned tests nothing", (folders, learned), (others, tested))
        return folders.read(learned, most), others.read(tested, most)
    found = folders.find(
        at_least=each + 1, because=f", as held_out_per_class={each} are not learned"
    )
    tested = {k: choose_images(names, each, settings.split_seed) for k, names in found.items()}
    learned = {k: [n for n in names if n not in tested[k]] for k, names in found.items()}
    to_learn, to_test = folders.read(learned, most), folders.read(tested, most)
    shared = find_shared((folders, tested), (folders, learned))
    if twice := sorted(path.relative_to(folders.root).as_posix() for path, _ in shared):
        note = folders.note(twice, "image(s) are learned that are held out by another name")
        to_learn = replace(to_learn, notes=(*to_learn.notes, note))
    return to_learn, to_test
