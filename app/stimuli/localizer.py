"""The localizer: images in categories, and the domain of each category."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.stimuli import floc
from app.stimuli.folders import ImageFolders
from app.stimuli.images import Images, drawn
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

    Parameters
    ----------
    settings : Stimuli
        `domains` names the categories of each domain; None: each is a domain of its own.
    memo : Memo
        Remembers what was drawn.

    Raises
    ------
    InputError
        For a category without a folder or images, and for what `floc.fetch` refuses.
    """
    named = [category for members in (settings.domains or {}).values() for category in members]
    if settings.name == "synthetic":
        seed = settings.seed
        pixels, labels = memo(draw_localizer, seed, settings.images_per_category, settings.size)
        images: Images = drawn(pixels, labels, f"drawn, seed {seed}")
    elif settings.root is None:
        images = _fetch_floc(settings, named)
    else:
        folders = ImageFolders(settings.root, "category", "stimuli.root")
        images = folders.read(folders.find(named or None, leave_out=settings.leave_out))
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
