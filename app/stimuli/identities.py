"""The faces whose identity is decoded; the network was not trained on them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from app.errors import InputError
from app.stimuli.folders import ImageFolders, refuse_shared
from app.stimuli.images import Images, drawn
from app.stimuli.synthetic import draw_identities

if TYPE_CHECKING:
    from app.config.schema import Identities
    from app.memo import Memo


def make_identities(
    settings: Identities, memo: Memo, megapixels: float | None = None, learned: str | None = None
) -> Images:
    """Draw the images, or read them from a folder; each one's label is its identity.

    Their notes tell whose names are those of people in `learned`, the folder of the network's own.
    """
    if settings.name == "folder":
        folders, found = _find(settings)
        images = folders.read(found, megapixels)
        known = _find_learned(learned).labels() if learned else []
        if shared := [label for label in found if label in known]:
            said = folders.note(shared, "are called as people whom the network learned")
            images = replace(images, notes=(*images.notes, said))
        return images
    count, each, size = settings.count, settings.images_each, settings.size
    pixels, labels = memo(draw_identities, settings.seed, count, each, split="decoding", size=size)
    images = drawn(pixels, labels, f"drawn, seed {settings.seed}")
    return replace(images, notes=_name_folders(settings).note_drawn())


def check_identities(settings: Identities, learned: str | None = None) -> None:
    """Refuse folders that decoding would stumble over; InputError. No image is decoded.

    Refused are images that are in `learned`, too, the folder of people whom the network learned.
    """
    if settings.name == "folder":
        folders, found = _find(settings)
        if len(found) < 2:
            enough = f" of {settings.at_least} images or more" if settings.at_least else ""
            raise InputError(
                f"{folders} has one folder{enough}, {[*found][0]!r}: decoding needs two identities "
                "or more"
            )
        if learned:
            own = _find_learned(learned)
            why = "nobody whom the network learned is to be decoded"
            refuse_shared(why, (own, own.find(at_least=1, leave_below=1)), (folders, found))


def _find_learned(root: str) -> ImageFolders:
    return ImageFolders(root, "class", "lesion.faces.root")


def _name_folders(settings: Identities) -> ImageFolders:
    return ImageFolders(settings.root or "", "identity", "identities.root")


def _find(settings: Identities) -> tuple[ImageFolders, dict[str, list[str]]]:
    folders = _name_folders(settings)
    because = "; identities.at_least=2 leaves out whoever has fewer"
    return folders, folders.find(leave_below=settings.at_least or 1, because=because)
