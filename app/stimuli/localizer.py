"""The localizer: images in categories, and the domain of each category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import InputError
from app.files import user_cache
from app.spelling import find_name
from app.stimuli import floc
from app.stimuli.folders import ImageFolders
from app.stimuli.images import Images, drawn
from app.stimuli.synthetic import DOMAINS, SCRAMBLED, draw_localizer

if TYPE_CHECKING:
    from app.config.schema import Stimuli
    from app.memo import Memo


@dataclass(frozen=True)
class Localizer:
    """The stimuli with the categories of each domain."""

    images: Images
    domains: dict[str, tuple[str, ...]]
    people: Images | None = None  # of a recording: what was shown with an identity, if anything

    @property
    def compared(self) -> list[str | None]:
        """The category of each image; None: it is in no domain, and is compared with nothing."""
        named = {category for members in self.domains.values() for category in members}
        return [label if label in named else None for label in self.images.labels]


def make_localizer(settings: Stimuli, memo: Memo, megapixels: float | None = None) -> Localizer:
    """Draw the images, fetch them, or read them from a folder, as the settings say.

    `settings.domains` names the categories of each domain; None: each is a domain of its own.
    What `settings.leave_out` names is in none. InputError for a category without a folder or
    images, and for what `floc.fetch` refuses.
    """
    folders = ImageFolders(settings.root or "", "category", "stimuli.root")
    scrambled = any(SCRAMBLED in members for members in (settings.domains or {}).values())
    if settings.name == "synthetic":
        present = [category for members in DOMAINS.values() for category in members]
        present += [SCRAMBLED] * scrambled
    else:
        present = folders.labels() if settings.root else sorted(floc.read_digests(floc.DIGESTS))
    domains, left = group(settings, present)
    if settings.name == "floc":
        left.append(SCRAMBLED)  # but where a domain names it
    named = [category for members in domains.values() for category in members]
    if settings.name == "synthetic":
        check_shown(domains, present)
        drawing = memo(
            draw_localizer, settings.seed, settings.images_per_category, settings.size, scrambled
        )
        shown = [place for place, label in enumerate(drawing.labels) if label not in left]
        labels = [drawing.labels[place] for place in shown]
        images = drawn(drawing.pixels[shown], labels, f"drawn, seed {settings.seed}")
        images = replace(images, notes=folders.note_drawn())
    elif settings.root is None:
        wanted = named or [each for each in present if each not in left]
        folder, address = Path(settings.folder or user_cache("floc")), settings.address or ""
        root = floc.fetch(wanted, folder.expanduser(), address, floc.read_digests(floc.DIGESTS))
        fetched = ImageFolders(root, "category", "stimuli.folder")
        images = replace(fetched.read(fetched.find(wanted)), source=address, notes=())
    else:
        found = folders.find(named) if named else folders.find(leave_below=1, aside=left)
        images = folders.read(found, megapixels, aside=left)
    return Localizer(images, domains or {category: (category,) for category in images.labels})


def check_shown(domains: Mapping[str, Sequence[str]], present: Sequence[str]) -> None:
    """Refuse a domain that names a category which is not among those present; InputError."""
    for domain, members in domains.items():
        for category in members:
            if category not in present:
                raise InputError(
                    f"stimuli.domains: {domain} names the category {category!r}, which was not "
                    f"shown: there are {', '.join(present)}; stimuli.domains=null makes each a "
                    "domain of its own"
                )


def group(
    settings: Stimuli, present: Sequence[str]
) -> tuple[dict[str, tuple[str, ...]], list[str]]:
    """Find the categories of each domain that settings name, and those that they leave out."""
    left = []
    for name in settings.leave_out:
        if (known := find_name(name, present)) is None:
            raise InputError(f"stimuli.leave_out={name}: the categories are {', '.join(present)}")
        left.append(known)
    domains = {}
    for domain, members in (settings.domains or {}).items():
        own = [find_name(name, present) or name for name in members]
        if kept := tuple(category for category in own if category not in left):
            domains[domain] = kept
    return domains, left
