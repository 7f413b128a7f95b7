"""Overrides as people type them: what Hydra would read otherwise is told how to type."""

from __future__ import annotations

import copy
import json
import math
import os
import re
import shlex
from collections.abc import Sequence
from decimal import Decimal
from itertools import takewhile
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    FloatRange,
    Override,
    Quote,
    QuotedString,
    ValueType,
)
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException, ValidationError

from app.errors import InputError

_QUOTED = r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'"""
# Of a list or mapping: a quoted text, a sign, or a text that is not quoted.
_PIECES = re.compile(_QUOTED + r"|[][{},:]|[^][{},:]+")
_QUOTED_OR_SIGN = re.compile(r"""["'].*["']|[][{},:]""", re.DOTALL)
# A quoted text; a range, or a fraction of many digits, that is a value, or one of several.
_QUOTED_OR_NUMBERS = re.compile(
    _QUOTED + r"|(?<=[][{}(),:=\s])(?:range\([^()]*\)|-?\d+\.\d{9,}(?![^][{}(),:\s]))"
)
_AS_READ = "target"  # is found by what an override makes of it: `app.spelling.find_name`


def type_override(key: str, value: str) -> str:
    """Spell an override so that a shell and Hydra leave its value as it is, a text.

    >>> print(type_override("stimuli.root", "/data/a=b (c)"))
    'stimuli.root="/data/a=b (c)"'
    """
    return shlex.quote(write_override(key, value))


def write_override(key: str, value: str) -> str:
    """Spell an override whose value Hydra leaves as it is, a text."""
    return f"{key}={_quote(value)}"


def parse(words: Sequence[str], *, sweeps: bool = False) -> list[Override]:
    """Parse overrides; InputError with what to type where a word is none.

    In a line that `sweeps`, commas may separate values.
    """
    found = []
    for place, word in enumerate(words):
        try:
            found += OverridesParser.create().parse_overrides([word])
        except HydraException as error:
            raise InputError(_tell_unreadable(words, place, sweeps)) from error
    return found


def spell_numbers(word: str) -> str:
    """Spell decimal fractions as they are meant: slips of sums, and ranges, which would make some.

    >>> spell_numbers("threshold.fsi=sort(range(0.6,0.9,0.1))")  # 0.7 + 0.1 is 0.7999999999999999
    'threshold.fsi=sort(choice(0.6,0.7,0.8))'
    >>> spell_numbers("x=[0.30000000000000004,'0.30000000000000004']")
    "x=[0.3,'0.30000000000000004']"
    """
    return _QUOTED_OR_NUMBERS.sub(_spell_meant, word)


def _spell_meant(found: re.Match[str]) -> str:
    piece = found[0]
    if piece[0] in "\"'":
        return piece
    if not piece.startswith("range"):
        value, meant = float(piece), float(f"{float(piece):.10g}")
        slipped = meant != value and math.isclose(meant, value, rel_tol=1e-14)
        return str(meant) if slipped else piece
    swept: Any = OverridesParser.create().parse_override(f"x={piece}").value()
    if isinstance(swept.range(), range):
        return piece
    ends = (Decimal(str(each)) for each in (swept.start, swept.stop, swept.step))
    values = ",".join(map(str, FloatRange(*ends)))
    nested = found.end() < len(found.string)
    return (f"choice({values})" if nested else values) or piece


def _tell_unreadable(words: Sequence[str], place: int, sweeps: bool) -> str:
    key, equals, value = words[place].partition("=")
    shown = shlex.quote(words[place])
    if not equals:
        parts = [*words[:place][-1:], *takewhile(lambda word: "=" not in word, words[place:])]
        before, separator, text = " ".join(parts).partition("=")
        belongs = f"; as part of the value before it type {type_override(before, text)}"
        return f"{shown} is no override, name=value{belongs if separator else ''}"
    if not _is_read(f"{key}=x"):
        return f"{shown} is no override: {shlex.quote(key)} is no name of a setting"
    said = f"{key} holds signs that need quotes: type "
    if value[:1] in ("[", "{"):
        if sum(map(value.count, "[{")) != sum(map(value.count, "]}")):
            return f"{shown} cannot be read: its brackets do not match"
        if value[-1] in "]}":
            return said + shlex.quote(f"{key}={_quote_within(value)}")
    if sweeps and "," in value and not _is_path(value):
        each = ",".join(
            part if _is_read(f"x={part}") else _quote(part) for part in value.split(",")
        )
        return f"{said}{shlex.quote(f'{key}={each}')}; as one value {type_override(key, value)}"
    return said + type_override(key, value)


def check_values(config: DictConfig, overrides: Sequence[Override], *, sweeps: bool) -> None:
    """Refuse values that are lost on the way from the command line into the config; InputError.

    They are several where the line does not sweep, a path with commas where it does, and names that
    look like a number or a truth value.
    """
    for override in overrides:
        if override.is_delete():
            continue
        key, text = override.get_key_element(), override.get_value_string()
        simple = override.value_type == ValueType.SIMPLE_CHOICE_SWEEP
        if override.is_sweep_override() and not sweeps:
            said = f"{key}={text} is a sweep: with -m before all overrides each value is a job"
            known = OmegaConf.select(config, override.key_or_group)
            if simple and not isinstance(known, DictConfig):
                listed = shlex.quote(f"{key}=[{text}]")
                said += f"; as one value type {type_override(key, text)}, as a list {listed}"
            raise InputError(said)
        if simple and _is_path(text):
            one = type_override(key, text)
            raise InputError(f"the path of {key} has commas, which tell values apart: type {one}")
        values, names = _list_values(override), text.split(",") if simple else [text]
        if override.key_or_group == _AS_READ or len(values) != len(names):
            continue  # there are names with commas among them, in quotes
        for value, name in zip(values, map(str.strip, names), strict=True):
            lossy = isinstance(value, int | float) and str(value) != name
            if lossy and _is_text(config, override, value):
                named = type_override(key, name)
                raise InputError(f"{key}={name} would be {value}: for the name type {named}")


def check_nulls(config: DictConfig, overrides: Sequence[Override]) -> None:
    """Refuse null for what needs a value; InputError. The config has none of the overrides."""
    for override in overrides:
        key, name = override.get_key_element(), override.key_or_group
        try:
            OmegaConf.update(copy.deepcopy(config), name, None)
        except ValidationError as error:
            said = f"{key}=null: it needs a value"
            if OmegaConf.select(config, name) is not None:
                said += "; leave it out for its default"
            if _is_text(config, override, "null"):
                said += f", or for the name type {type_override(key, 'null')}"
            raise InputError(said) from error
        except OmegaConfBaseException:  # Hydra says what is wrong
            continue


def _is_text(config: DictConfig, override: Override, value: Any) -> bool:
    """Whether a setting makes text of a value."""
    config = copy.deepcopy(config)
    try:
        OmegaConf.update(config, override.key_or_group, value)
    except OmegaConfBaseException:
        return False
    return isinstance(OmegaConf.select(config, override.key_or_group), str)


def holds_null(override: Override) -> bool:
    """Whether null is the value of an override, or one of those that are swept."""
    return not override.is_delete() and None in _list_values(override)


def _list_values(override: Override) -> list[Any]:
    value: Any = override.value()
    return value.list if isinstance(value, ChoiceSweep) else [value]


def _is_path(text: str) -> bool:
    return "," in text and os.path.exists(os.path.expanduser(text))


def _is_read(word: str) -> bool:
    try:
        OverridesParser.create().parse_override(word)
    except HydraException:
        return False
    return True


def _quote(text: str) -> str:
    return QuotedString(text, Quote.double).with_quotes()


def _quote_within(value: str) -> str:
    """Quote what needs it in a list or a mapping.

    Hydra takes no quotes in the keys of a mapping, but backslashes; where that does not do, the
    mapping is handed to OmegaConf, in quotes as a whole.
    """
    pieces = [piece.strip() for piece in _PIECES.findall(value) if piece.strip()]
    mended, quoted = [], []
    for piece, following in zip(pieces, [*pieces[1:], ""], strict=True):
        plain = _QUOTED_OR_SIGN.fullmatch(piece) is None
        quoted.append(json.dumps(piece, ensure_ascii=False) if plain else piece)
        if plain and not _is_read(f"x={piece}"):
            piece = re.sub(r"([\\()=])", r"\\\1", piece) if following == ":" else _quote(piece)
        mended.append(piece)
    if _is_read(f"x={''.join(mended)}"):
        return "".join(mended)
    text = QuotedString("".join(quoted), Quote.single).with_quotes()
    return _quote(f"${{oc.create:{text}}}")
