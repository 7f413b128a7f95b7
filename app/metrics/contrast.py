"""Which images are compared with which, and their responses, a block of units at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from app.errors import InputError

# Responses copied out at a time. Small enough that a metric's temporaries (tens of bytes a value)
# stay below 64 MB, large enough that a block is worth a call.
BLOCK_VALUES = 2**19


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
        if np.sum([self.target, *self.others], axis=0, dtype=int).max(initial=0) > 1:
            raise ValueError("the groups of a contrast must not share images")

    @property
    def included(self) -> NDArray[np.bool_]:
        """The images (images,) that are in any group."""
        return np.logical_or.reduce((self.target, *self.others))


def contrast(
    categories: Sequence[str],
    domains: Mapping[str, Sequence[str]],
    target: str,
    *,
    kind: Literal["pooled", "each"] = "each",
    over: Literal["domains", "categories"] = "domains",
) -> Contrast:
    """The contrast of the domain `target` with the other domains.

    Parameters
    ----------
    categories: the category of each image, in the order of the responses.
    domains: the categories of each domain. Images of a category in no domain are left out.
    target: the domain asked about; always the whole domain.
    kind: `pooled` compares it with all other images together, `each` with one group after another.
    over: what `each` takes for a group: every other domain, or every category of the others.

    InputError for an unknown target, kind or over, fewer than two domains, a category in two
    domains, and a group of fewer than two images.
    """
    if kind not in ("pooled", "each"):
        raise InputError(f"contrast must be pooled or each, not {kind!r}")
    if over not in ("domains", "categories"):
        raise InputError(f"a contrast goes over domains or categories, not {over!r}")
    if target not in domains:
        raise InputError(f"target {target!r} is no domain; domains are: {', '.join(domains)}")
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

    others = {name: list(members) for name, members in domains.items() if name != target}
    if kind == "pooled":
        groups = {"non-target": [category for members in others.values() for category in members]}
    elif over == "categories":
        groups = {category: [category] for members in others.values() for category in members}
    else:
        groups = others
    masks = {name: _mask(categories, members) for name, members in groups.items()}
    target_mask = _mask(categories, domains[target])
    for name, mask in ((target, target_mask), *masks.items()):
        if mask.sum() < 2:
            raise InputError(
                f"{name!r} has {_images(int(mask.sum()))}; each group of a contrast needs two "
                "or more"
            )
    return Contrast(target_mask, tuple(masks.values()), tuple(masks))


def blocks(
    responses: NDArray[Any], contrast: Contrast
) -> Iterator[tuple[slice, NDArray[Any], list[NDArray[Any]]]]:
    """The responses of each group, a block of units at a time.

    Yields the slice of units, the target's responses (units, images of the group) and a list with
    those of each other group. Rows are contiguous whatever the layout of `responses`
    (images, units), and are reduced one by one, so a unit's result does not depend, to the bit,
    on its block or its neighbours.

    ValueError for responses of another shape than the contrast, InputError for NaN and infinity.
    """
    if responses.ndim != 2 or len(responses) != len(contrast.target):
        raise ValueError(
            f"responses must be (images, units) with {len(contrast.target)} images, "
            f"but are {responses.shape}"
        )
    images = [np.flatnonzero(mask) for mask in (contrast.target, *contrast.others)]
    ends = np.cumsum([len(group) for group in images])
    order = np.concatenate(images)
    width = max(1, BLOCK_VALUES // len(order))
    for start in range(0, responses.shape[1], width):
        units = slice(start, min(start + width, responses.shape[1]))
        values = np.ascontiguousarray(responses[order, units].T)
        if not np.isfinite(values).all():
            raise _not_finite(responses, order)
        target, *others = np.split(values, ends[:-1], axis=1)
        yield units, target, others


def _mask(categories: Sequence[str], members: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([category in members for category in categories], dtype=bool)


def _not_finite(responses: NDArray[Any], images: NDArray[np.int64]) -> InputError:
    per_unit = np.zeros(responses.shape[1], dtype=np.int64)
    for image in images:  # one after another: all at once would be as large as the responses
        per_unit += ~np.isfinite(responses[image])
    return InputError(
        f"{per_unit.sum()} responses are NaN or infinite, the first in unit "
        f"{np.flatnonzero(per_unit)[0]}; responses must be finite numbers"
    )


def _images(count: int) -> str:
    return {0: "no images", 1: "one image"}.get(count, f"{count} images")
