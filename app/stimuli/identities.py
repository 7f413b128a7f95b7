"""The faces whose identity is decoded; the network was not trained on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.errors import InputError
from app.stimuli.folders import ImageFolders
from app.stimuli.images import Images, drawn
from app.stimuli.synthetic import draw_identities

if TYPE_CHECKING:
    from app.config.schema import Identities
    from app.memo import Memo


def make_identities(settings: Identities, memo: Memo, megapixels: float | None = None) -> Images:
    """Draw the images, or read them from a folder; each one's label is its identity."""
    if settings.name == "folder":
        folders, found = _find(settings)
        return folders.read(found, megapixels)
    count, each, size = settings.count, settings.images_each, settings.size
    pixels, labels = memo(draw_identities, settings.seed, count, each, split="decoding", size=size)
    return drawn(pixels, labels, f"drawn, seed {settings.seed}")


def check_identities(settings: Identities) -> None:
    """Refuse folders that decoding would stumble over; InputError. No image is decoded."""
    if settings.name == "folder":
        folders, found = _find(settings)
        if len(found) < 2:
            raise InputError(
                f"{folders} has one folder, {[*found][0]!r}: decoding needs two identities or more"
            )


def _find(settings: Identities) -> tuple[ImageFolders, dict[str, list[str]]]:
    folders = ImageFolders(settings.root or "", "identity", "identities.root")
    because = "; identities.at_least=2 leaves out whoever has fewer"
    return folders, folders.find(leave_below=settings.at_least or 1, because=because)
