"""How names and counts are written: in file systems, on a command line, where room is short."""

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import takewhile


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


def shorten(values: Iterable[str], most: int = 30) -> dict[str, str]:
    """Map each value to itself, those of more than `most` characters to what tells them apart.

    Of paths, the folders that all of these share at either end go. Of what is still too long the
    middle does; where values would then read alike, the words that they share at either end.

    >>> shorten(["-", "/data/run/vgg_1.pth", "/data/run/vgg_2.pth"], 12)
    {'-': '-', '/data/run/vgg_1.pth': '…vgg_1.pth', '/data/run/vgg_2.pth': '…vgg_2.pth'}
    """
    every = list(dict.fromkeys(values))
    long = [value for value in every if len(value) > most]
    paths, head = _strip_shared(long, "/"), most // 3
    short = [text if len(text) <= most else f"{text[:head]}…{text[head + 1 - most :]}"
             for text in paths]  # fmt: skip
    if len(set(short)) < len(long):
        short = _strip_shared(paths, r"\W_")
    return dict(zip(every, every, strict=True)) | dict(zip(long, short, strict=True))


def _strip_shared(texts: Sequence[str], ends: str) -> list[str]:
    """Leave out the parts, which end in one of `ends`, that all texts share at either end."""
    parts = [re.findall(rf"[^{ends}]*[{ends}]|[^{ends}]+", text) for text in texts]
    head = _count_shared(parts)
    tail = _count_shared([each[head:][::-1] for each in parts])
    kept = ["".join(each[head : len(each) - tail]) for each in parts]
    return [f"{'…' * bool(head)}{f'{text[:-1]}…' if tail else text}" for text in kept]


def _count_shared(parts: Sequence[Sequence[str]]) -> int:
    """How many parts all begin with; one of each is kept."""
    shared = sum(1 for _ in takewhile(lambda level: len(set(level)) == 1, zip(*parts)))  # noqa: B905
    return min(shared, *(len(each) - 1 for each in parts)) if parts else 0


def tell_count(count: float) -> str:
    """How many; of several networks the mean, with one digit.

    >>> tell_count(20), tell_count(16 / 3)
    ('20', '5.3')
    """
    return f"{round(count, 1):g}"
