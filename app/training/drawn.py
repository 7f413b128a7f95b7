"""Drawn faces and objects to learn."""

from __future__ import annotations

import numpy as np
from joblib import Parallel, delayed
from PIL import Image

from app.config.training import Train
from app.models.libraries import import_torchvision
from app.models.loading import make_preprocessing
from app.progress import progress_bar
from app.stimuli.images import drawn, to_rgb
from app.stimuli.synthetic import HELD_OUT, OBJECT_CATEGORIES, draw_identities, draw_objects
from app.training.material import Examples, Look, Material, Pixels, make_loaders, number_labels
from app.training.settings import with_outputs

v2 = import_torchvision("transforms.v2")


def make_material(settings: Train) -> Material:
    """Draw all that is learned and tested, into memory."""
    learned, held_out = draw_learned(settings), draw_held_out(settings)
    classes, people = list(dict.fromkeys(learned.images.labels)), settings.drawn.people
    loaders = make_loaders(learned, held_out, settings.batch_size, workers=1)  # nothing is read
    prepare = make_preprocessing(settings.model)
    return Material(classes[:people], classes[people:], learned, held_out, *loaders, prepare)


def draw_learned(settings: Train) -> Examples:
    """Draw what the network learns from: as many faces as objects, but for rounding.

    Each time it is looked at, an image is moved by up to `drawn.shift` pixels, and its border
    repeats.
    """
    asked, size = settings.drawn, settings.model.input_size
    per_object = round(asked.people * asked.images_per_person / asked.objects)
    moved = v2.RandomCrop(size, asked.shift, padding_mode="edge")
    look = v2.Compose([to_rgb, moved, np.asarray])
    return _draw(settings, 0, asked.images_per_person, per_object, look)


def draw_held_out(settings: Train) -> Examples:
    """Draw further images of the same people and categories, none of them trained on."""
    each = settings.held_out_per_class
    return _draw(settings, HELD_OUT, each, each, show)


def show(image: Image.Image) -> Pixels:
    """Show a whole image in three equal channels: the layout of networks for colour images."""
    return np.asarray(to_rgb(image))


def _draw(settings: Train, first: int, per_person: int, per_object: int, look: Look) -> Examples:
    """Draw images from number `first` on, a round of all people or all categories at a time."""
    seed, people, size = settings.drawn.seed, settings.drawn.people, settings.model.input_size
    categories = OBJECT_CATEGORIES[: settings.drawn.objects]
    rounds = [
        delayed(draw_identities)(seed, people, 1, split="network", first_image=k, size=size)
        for k in range(first, first + per_person)
    ] + [
        delayed(draw_objects)(seed, 1, first_image=k, size=size, categories=categories)
        for k in range(first, first + per_object)
    ]
    found = []
    with progress_bar("drawing", len(rounds), "round") as progress:
        for each in Parallel(settings.workers, return_as="generator")(rounds):
            found.append(each)
            progress(1)
    labels = [label for each in found for label in each.labels]
    faces, things = labels[: people * per_person], labels[people * per_person :]
    before = with_outputs(settings, people, len(categories)).model.face_classes
    return Examples(
        drawn(np.concatenate([each.pixels for each in found]), labels, "drawn by this program"),
        number_labels(faces, 0) + number_labels(things, before),
        look,
    )
