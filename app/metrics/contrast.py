"""Which images are compared with which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.choices import CONTRASTS, LEVELS
from app.errors import InputError
from app.spelling import find_name


@dataclass(frozen=True, eq=False)
class Contrast:
    """The target's images against one or more groups of other images.

    The groups are disjoint; an image in none of them is left out.
    """

    target: NDArray[np.bool_]  # (images,)
    others: tuple[NDArray[np.bool_], ...]  # a mask (images,) each
    names: tuple[str, ...]  # of the others: "non-target", or domains, or categories

    def __post_init__(self) -> None:
        if not self.others or len(self.others) != len(self.names):
            raise ValueError("a contrast needs at least one other group, and a name for each")
        if self.groups.sum(axis=0).max(initial=0) > 1:
            raise ValueError("the groups of a contrast must not share images")

    @property
    def groups(self) -> NDArray[np.bool_]:
        """The images of each group (groups, images), the target first."""
        return np.stack([self.target, *self.others])

    @property
    def included(self) -> NDArray[np.bool_]:
        """The images (images,) that are in any group."""
        return np.asarray(self.groups.any(axis=0))

    @property
    def images(self) -> list[NDArray[np.int64]]:
        """The numbers of the images in each group, the target first."""
        return [np.flatnonzero(mask) for mask in self.groups]

    def check(self, responses: NDArray[Any]) -> None:
        """Raise a ValueError where responses are not (images, units)."""
        if responses.ndim != 2 or len(responses) != len(self.target):
            raise ValueError(
                f"responses must be (images, units) with {len(self.target)} images, "
                f"but are {responses.shape}"
            )


def contrast(
    categories: Sequence[str],
    domains: Mapping[str, Sequence[str]],
    target: str,
    *,
    kind: str = "each",
    over: str = "domains",
) -> Contrast:
    """Contrast the domain `target`, always the whole of it, with the other domains.

    `categories` has that of each image, in the order of the responses, `domains` the categories of
    each domain; images of a category in no domain are left out. `pooled` compares the target with
    all other images together, `each` with one group after another: with every other one of the
    `domains`, or with their `categories`.

    InputError for an unknown target, kind or over, fewer than two domains, a category in two
    domains, and a group of fewer than two images.
    """
    if kind not in CONTRASTS:
        raise InputError(f"contrast must be {' or '.join(CONTRASTS)}, not {kind!r}")
    if over not in LEVELS:
        raise InputError(f"a contrast goes over {' or '.join(LEVELS)}, not {over!r}")
    _check_domains(domains, target)
    others = {name: list(members) for name, members in domains.items() if name != target}
    if kind == "pooled":
        groups = {"non-target": [category for members in others.values() for category in members]}
    elif over == "categories":
        groups = {category: [category] for members in others.values() for category in members}
    else:
        groups = others
    masks = {name: np.isin(categories, members) for name, members in groups.items()}
    target_mask = np.isin(categories, list(domains[target]))
    for name, mask in ((target, target_mask), *masks.items()):
        count = np.count_nonzero(mask)
        if count < 2:
            few = "one image" if count else "no images"
            raise InputError(f"{name!r} has {few}; each group of a contrast needs two or more")
    return Contrast(target_mask, tuple(masks.values()), tuple(masks))


def _check_domains(domains: Mapping[str, Sequence[str]], target: str) -> None:
    if target not in domains:
        meant = find_name(target, domains)
        quoted = f"; in quotes: \"target='{meant}'\"" if meant else ""
        names = ", ".join(domains)
        raise InputError(f"target {target!r} is no domain; domains are: {names}{quoted}")
    if len(domains) < 2:
        raise InputError(f"a contrast needs at least two domains; {target!r} is the only one")
    owner: dict[str, str] = {}
    for domain, members in domains.items():
        for category in members:
            if owner.setdefault(category, domain) != domain:
                raise InputError(
                    f"category {category!r} is in the domains {owner[category]!r} and {domain!r}; "
                    "a category belongs to one domain"
                )
