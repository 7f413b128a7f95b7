"""What single settings may hold: limits that stand in their annotations, and what reads them.

`size: Annotated[int, at_least(16), at_most(4096)] = 64` is an int to Hydra, which checks types
alone; `check` holds the number against both limits.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import InputError


@dataclass(frozen=True)
class Limit:
    """A rule for one value, or for each value of a list."""

    holds: Callable[[Any], object]
    says: str  # where it does not hold; {name} and {value} are the setting's


def at_least(low: int) -> Limit:
    """Refuse smaller numbers."""
    return Limit(lambda value: value >= low, f"{{name}}={{value}} is too small: at least {low}")


def at_most(high: int) -> Limit:
    """Refuse larger numbers."""
    return Limit(lambda value: value <= high, f"{{name}}={{value}} is too large: at most {high}")


def one_of(names: Sequence[str]) -> Limit:
    """Refuse what is not in a closed list, see `app.choices`."""
    known = ", ".join(names)
    return Limit(
        lambda value: value in names, f"{{name}}={{value}} is unknown: it is one of {known}"
    )


NOT_EMPTY = Limit(bool, "{name} is empty: give it a value, or leave it out")


def check(settings: Any, path: str = "") -> None:
    """Hold every value of a dataclass, and of those inside it, against its limits.

    `path` leads the names of its fields, such as `stimuli.`; None is always let through. InputError
    names the first value that a limit refuses.
    """
    for name, hint in typing.get_type_hints(type(settings), include_extras=True).items():
        value = getattr(settings, name)
        if dataclasses.is_dataclass(value):
            check(value, f"{path}{name}.")
        for each in value if isinstance(value, list) else [value]:
            for limit in _find_limits(hint):
                if each is not None and not limit.holds(each):
                    raise InputError(limit.says.format(name=f"{path}{name}", value=value))


def _find_limits(hint: Any) -> Iterator[Limit]:
    """Yield the limits in an annotation, and in what it is made of: `list[…]`, `… | None`."""
    yield from (each for each in getattr(hint, "__metadata__", ()) if isinstance(each, Limit))
    for part in typing.get_args(hint):
        yield from _find_limits(part)
