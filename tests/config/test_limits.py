"""Limits in annotations: what they refuse, in which words, and where they are found."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from omegaconf import OmegaConf

from app.config import limits
from app.config.limits import NOT_EMPTY, OneOf, Range, Text
from app.errors import InputError


@dataclass
class Inner:
    side: Annotated[int, Range(16, 64)] | None = None
    name: Annotated[str, OneOf(("a", "b"))] = "a"


@dataclass
class Outer:
    inner: Inner = field(default_factory=Inner)
    share: Annotated[float, Range(above=0, below=1, says="{name}={value}: a share")] = 0.5
    rate: Annotated[float, Range(0)] = 0.0
    parts: list[Annotated[int, Range(1, 100)]] = field(default_factory=list)
    path: Annotated[str, NOT_EMPTY] | None = None
    colour: Annotated[str, Text("#[0-9A-F]{6}", "{name} is none")] = "#00FF00"
    free: Any = None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Outer(Inner(side=15)), "inner.side=15 is too small: at least 16"),
        (Outer(Inner(side=65)), "inner.side=65 is too large: at most 64"),
        (Outer(Inner(name="c")), "inner.name=c is unknown: it is one of a, b"),
        (Outer(share=0.0), "share=0.0: a share"),
        (Outer(share=1.0), "share=1.0: a share"),
        (Outer(share=math.nan), "share=nan: a share"),
        (Outer(rate=math.nan), "rate=nan: at least 0"),
        (Outer(parts=[5, 0]), "parts=[5, 0] is too small: at least 1"),
        (Outer(path=""), "path is empty: give it a value, or leave it out"),
        (Outer(colour="red"), "colour is none"),
    ],
)
def test_what_limits_refuse(settings: Outer, said: str):
    with pytest.raises(InputError) as told:
        limits.check(settings)
    assert str(told.value) == said


def test_what_limits_let_through():
    limits.check(Outer())
    limits.check(Outer(Inner(16, "b"), 0.999, math.inf, [1, 100], "a\nb", "#ABCDEF", -1))
    limits.check(Outer(Inner(side=1)), leave=["inner"])
    with pytest.raises(InputError, match=r"^there\.rate=-1 is too small"):
        limits.check(Outer(rate=-1), "there.")


def test_hydra_sees_the_types_alone():
    node = OmegaConf.structured(Outer)
    node.inner.side, node.parts = "3", ["7"]
    assert OmegaConf.to_object(node) == Outer(Inner(side=3), parts=[7])
