"""How values are written for MLflow, whose limits differ by what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

NAME_LENGTH = 250  # of a run, which SQLite does not hold to; PostgreSQL does
PARAM_LENGTH = 6000  # MLflow's limits, in characters
TAG_LENGTH = 8000


def as_text(values: Mapping[str, Any], length: int = PARAM_LENGTH) -> dict[str, str]:
    """Write values as on the command line, cut where they are too long for MLflow."""
    return {name: cut(_spell(value), length) for name, value in values.items()}


def cut(text: str, length: int) -> str:
    """Keep at most that many characters of a text.

    >>> cut("selective", 4)
    'sel…'
    """
    return text if len(text) <= length else f"{text[: length - 1]}…"


def tag_notes(notes: Sequence[str]) -> dict[str, str]:
    """Make the note `lesion: …` the tag `lesion.note`; several of one step, one after another."""
    tags: dict[str, str] = {}
    for step, text in (note.split(": ", 1) for note in notes):
        name = f"{step}.note"
        tags[name] = f"{tags[name]}; {text}" if name in tags else text
    return tags


def _spell(value: Any) -> str:
    """A value as the command line and the config files spell it."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError:
        return str(value)
