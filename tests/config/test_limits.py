"""Limits in annotations: what they refuse, in which words, and where they are found."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from omegaconf import OmegaConf

from app.config import limits
from app.config.limits import NOT_EMPTY, Limit, at_least, at_most, one_of
from app.errors import InputError


@dataclass
class Inner:
    side: Annotated[int, at_least(16), at_most(64)] | None = None
    name: Annotated[str, one_of(("a", "b"))] = "a"


@dataclass
class Outer:
    inner: Inner = field(default_factory=Inner)
    share: Annotated[float, Limit(lambda value: 0 < value < 1, "{name}={value}: a share")] = 0.5
    count: Annotated[int, at_least(0)] = 0
    parts: list[Annotated[int, at_least(1), at_most(100)]] = field(default_factory=list)
    path: Annotated[str, NOT_EMPTY] | None = None
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
        (Outer(parts=[5, 0]), "parts=[5, 0] is too small: at least 1"),
        (Outer(path=""), "path is empty: give it a value, or leave it out"),
    ],
)
def test_what_limits_refuse(settings: Outer, said: str):
    with pytest.raises(InputError) as told:
        limits.check(settings)
    assert str(told.value) == said


def test_what_limits_let_through():
    limits.check(Outer())
    limits.check(Outer(Inner(16, "b"), 0.999, 7, [1, 100], "a\nb", -1))
    with pytest.raises(InputError, match=r"^there\.count=-1 is too small"):
        limits.check(Outer(count=-1), "there.")


def test_hydra_sees_the_types_alone():
    node = OmegaConf.structured(Outer)
    node.inner.side, node.parts = "3", ["7"]
    assert OmegaConf.to_object(node) == Outer(Inner(side=3), parts=[7])
