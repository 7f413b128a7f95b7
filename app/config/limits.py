"""What single settings may hold: limits that stand in their annotations, and what reads them.

`size: Annotated[int, Range(16, 4096)] = 64` is an int to Hydra, which checks types alone; `check`
holds the number against the range.
"""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from app.errors import InputError


class Limit(Protocol):
    """A rule for one value, or for each value of a list."""

    def refuse(self, value: Any) -> str | None:
        """Say what is wrong, `{name}` and `{value}` left open; None where nothing is."""


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, above `above` and below `below`, where these are given.

    `says` is told instead of what is wrong with the number.
    """

    low: float = -math.inf
    high: float = math.inf
    above: float | None = None
    below: float | None = None
    says: str = ""

    def refuse(self, value: Any) -> str | None:
        """Refuse a number that lies outside, and NaN."""
        above = self.above is None or value > self.above
        below = self.below is None or value < self.below
        if self.low <= value <= self.high and above and below:
            return None
        if self.says:
            return self.says
        if value > self.high:
            return f"{{name}}={{value}} is too large: at most {self.high}"
        small = " is too small" if value < self.low else ""  # and not NaN
        return f"{{name}}={{value}}{small}: at least {self.low}"


@dataclass(frozen=True)
class OneOf:
    """A name of a closed list, see `app.choices`."""

    names: tuple[str, ...]

    def refuse(self, value: Any) -> str | None:
        """Refuse a name that is not in the list."""
        if value in self.names:
            return None
        return f"{{name}}={{value}} is unknown: it is one of {', '.join(self.names)}"


@dataclass(frozen=True)
class Text:
    """A text that fits a regular expression as a whole."""

    pattern: str = "(?s).+"
    says: str = "{name} is empty: give it a value, or leave it out"

    def refuse(self, value: Any) -> str | None:
        """Refuse a text that does not fit."""
        return None if re.fullmatch(self.pattern, value) else self.says


NOT_EMPTY = Text()


def check(settings: Any, path: str = "", leave: Collection[str] = ()) -> None:
    """Hold every value of a dataclass, and of those inside it, against its limits.

    Parameters
    ----------
    settings
        The instance; None is always let through where the type allows it.
    path
        What the names of its fields are told with, such as `stimuli.`.
    leave
        Fields that are not looked at.

    Raises
    ------
    InputError
        One line that names the first value that a limit refuses.
    """
    hints = typing.get_type_hints(type(settings), include_extras=True)
    for name, hint in hints.items():
        value = getattr(settings, name)
        if name in leave:
            continue
        if dataclasses.is_dataclass(value):
            check(value, f"{path}{name}.")
            continue
        for each in value if isinstance(value, list) else [value]:
            for limit in _limits(hint) if each is not None else ():
                if (wrong := limit.refuse(each)) is not None:
                    raise InputError(wrong.format(name=f"{path}{name}", value=value))


def _limits(hint: Any) -> Iterator[Limit]:
    """Find what is annotated anywhere in a type: `Annotated[…] | None`, `list[Annotated[…]]`."""
    yield from getattr(hint, "__metadata__", ())
    inner = typing.get_args(hint)
    for part in inner[:1] if hasattr(hint, "__metadata__") else inner:
        yield from _limits(part)
