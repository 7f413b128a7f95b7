"""The localizer: images in categories, and the domain of each category."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.stimuli import floc
from app.stimuli.images import ImageFolders, Images, drawn
from app.stimuli.synthetic import draw_localizer

if TYPE_CHECKING:
    from app.config.schema import Stimuli
    from app.memo import Memo


@dataclass(frozen=True)
class Localizer:
    """The stimuli with the categories of each domain."""

    images: Images
    domains: dict[str, tuple[str, ...]]


def make_localizer(settings: Stimuli, memo: Memo) -> Localizer:
    """Draw the images, fetch them, or read them from a folder, as the settings say.

    `settings.domains` names the categories of each domain; None: each is a domain of its own.
    InputError for a category without a folder or images, and for what `floc.fetch` refuses.
    """
    named = [category for members in (settings.domains or {}).values() for category in members]
    if settings.name == "synthetic":
        seed = settings.seed
        pixels, labels = memo(draw_localizer, seed, settings.images_per_category, settings.size)
        images = drawn(pixels, labels, f"drawn, seed {seed}")
    elif settings.root is None:
        images = _fetch_floc(settings, named)
    else:
        folders = ImageFolders(settings.root, "category", "stimuli.root")
        kept = [label for label in folders.labels() if label not in settings.leave_out]
        images = folders.read(folders.find(named or kept))
    domains = settings.domains or {category: [category] for category in images.labels}
    return Localizer(images, {domain: tuple(members) for domain, members in domains.items()})


def _fetch_floc(settings: Stimuli, named: list[str]) -> Images:
    """Fetch fLoc's images of the named categories once; none: all but what is left out."""
    digests = floc.read_digests(floc.DIGESTS)
    wanted = named or sorted(set(digests) - set(settings.leave_out))
    folder = Path(settings.folder).expanduser() if settings.folder else floc.default_folder()
    address = settings.address or ""
    root = floc.fetch(wanted, folder, address, digests)
    folders = ImageFolders(root, "category", "stimuli.folder")
    return replace(folders.read(folders.find(wanted)), source=address)
