"""How names are written: in file systems, and as a command line reads them."""

import os
import unicodedata
from collections.abc import Iterable


def spell(name: str) -> str:
    r"""Spell a name of a file system as text: composed (NFC); as Latin-1 where it is no UTF-8.

    >>> spell("Ha\u0308user") == "H\xe4user" == spell(os.fsdecode(b"H\xe4user"))
    True
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        name = os.fsencode(name).decode("latin-1")
    return unicodedata.normalize("NFC", name)


def read_as(name: str) -> str:
    """Spell what an override makes of a name that is not quoted and looks like a value.

    >>> [read_as(name) for name in ("1e3", "1_1", "true", "face")]
    ['1000.0', '11', 'True', 'face']
    """
    for kind in (int, float):
        try:
            return str(kind(name))
        except ValueError:
            pass
    return {"true": "True", "false": "False", "null": "None"}.get(name.lower(), name)


def find_name(name: str, present: Iterable[str]) -> str | None:
    """Find a name among others: itself, or else the only one that an override would read so."""
    known = list(present)
    alike = [name] if name in known else [each for each in known if read_as(each) == name]
    return alike[0] if len(alike) == 1 else None
