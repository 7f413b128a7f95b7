"""What follows from the settings of a training: its outputs, and what a checkpoint remembers.

torch is not imported: the command's `--help` reads this module.
"""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from typing import Any

from app.config.parameters import leaves
from app.config.training import Train
from app.errors import InputError

# Settings that change where things go, how fast or how long, not what an epoch learns. The images
# of folders are known by their content.
FREE = (
    "output", "workers", "tracking", "faces", "objects", "keep", "stopping", "device", "debug",
)  # fmt: skip
# What of the model's settings the training depends on.
OF_MODEL = (
    "widths", "hidden", "outputs", "face_classes", "input_size", "resize", "mean", "sd", "seed",
)  # fmt: skip


def from_folders(settings: Train) -> bool:
    """Tell whether images are read rather than drawn."""
    return settings.faces.root is not None or settings.objects.root is not None


def with_outputs(settings: Train, faces: int, objects: int) -> Train:
    """Give the network as many outputs as so many classes of each task need.

    Faces have the outputs 0 … model.face_classes - 1, objects those that follow. Larger numbers
    that the user gave stay, and outputs without a class are never right. InputError for smaller
    ones.
    """
    model = settings.model
    first = _allow(model.face_classes, faces, "model.face_classes", "faces")
    outputs = _allow(model.outputs, first + objects, "model.outputs", "faces and objects")
    return replace(settings, model=replace(model, face_classes=first, outputs=outputs))


def _allow(given: Any, needed: int, name: str, what: str) -> int:
    if given is None:
        return needed
    if not isinstance(given, int) or given < needed:
        raise InputError(f"{name}={given}: the classes of {what} need {needed}, or leave it out")
    return given


def identity(settings: Train, images: str) -> dict[str, Any]:
    """Tell all that the weights after an epoch depend on, flat, under the command line's names.

    `images` says which images are learned. What two identities differ in tells a checkpoint of
    another training from one to go on from.
    """
    whole = dataclasses.asdict(settings)
    whole["model"] = {key: whole["model"][key] for key in OF_MODEL}
    kept = {key: value for key, value in whole.items() if key not in FREE}
    return {"images": images, **dict(leaves(kept))}


def check_drawn(settings: Train) -> None:
    """Refuse more classes or images than can be drawn; InputError with one line."""
    from app.stimuli.synthetic import HELD_OUT, OBJECT_CATEGORIES

    drawn = settings.drawn
    if drawn.objects > len(OBJECT_CATEGORIES):
        raise InputError(
            f"drawn.objects={drawn.objects}: {len(OBJECT_CATEGORIES)} categories can be drawn"
        )
    per_class = max(1.0, drawn.people / drawn.objects) * drawn.images_per_person
    if per_class > HELD_OUT:
        raise InputError(
            f"drawn.images_per_person={drawn.images_per_person} reaches held-out images: "
            f"at most {HELD_OUT} of a class are learned"
        )
    if settings.batch_size > drawn.people * drawn.images_per_person:
        raise InputError(f"batch_size={settings.batch_size} is more than there are faces to learn")
