"""The typed settings of the photographs that are fetched; conf/photographs.yaml has the values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from omegaconf import MISSING, DictConfig, OmegaConf

from app.config import limits
from app.config.limits import at_least
from app.config.schema import Pixels, Seed
from app.errors import InputError


@dataclass
class Archive:
    """A tar archive of a folder per class, and what people should know before they fetch it."""

    title: str = MISSING
    terms: str = MISSING
    address: str = MISSING
    digest: str = MISSING  # algorithm:hexadecimal
    file: str = MISSING  # its name here
    gigabytes: float = MISSING
    box: list[int] | None = None  # left, upper, right, lower
    leave_out: dict[str, list[str]] | None = field(default_factory=dict)  # by the reason


@dataclass
class Classes:
    """Which classes are taken, by how many images they have, and how many of these."""

    at_least: Annotated[int, at_least(2)] = MISSING
    most: Annotated[int, at_least(2)] = MISSING


@dataclass
class Photographs:
    """What conf/photographs.yaml holds."""

    accept_terms: bool = MISSING
    folder: str = MISSING
    archives: str = MISSING
    size: Pixels = MISSING
    seed: Seed = MISSING
    most: int = MISSING
    faces: Classes = field(default_factory=Classes)
    decode: Classes = field(default_factory=Classes)
    objects: Classes = field(default_factory=Classes)
    people: Archive = field(default_factory=Archive)
    things: Archive = field(default_factory=Archive)
    debug: bool = False


def checked(config: DictConfig) -> Photographs:
    """Make the settings an object of plain values, and check it; InputError with one line."""
    settings: Any = OmegaConf.to_object(config)
    limits.check(settings)
    first, second = settings.faces.at_least, settings.decode.at_least
    if second >= first:
        raise InputError(
            f"decode.at_least={second} is not below faces.at_least={first}: who has that many "
            "images is learned, and nobody is both learned and decoded"
        )
    folder, archives = (Path(each).expanduser().absolute()
                        for each in (settings.folder, settings.archives))  # fmt: skip
    if archives.is_relative_to(folder):
        raise InputError(
            f"archives={settings.archives} is in folder={settings.folder}, which holds what is "
            "made alone: give another archives=<folder>"
        )
    for box in filter(None, (settings.people.box, settings.things.box)):
        if len(box) != 4 or not (0 <= box[0] < box[2] and 0 <= box[1] < box[3]):
            raise InputError(f"box={box}: it is [left, upper, right, lower] in pixels, or null")
    return settings  # type: ignore[no-any-return]
