"""Stimuli drawn by code: a localizer like fLoc's, face identities, everyday objects.

Every image comes from its own random stream, named by (seed, set, category, image), so image k of
a category is the same whatever else is drawn. All images share one distribution of backgrounds,
sizes and lights, and all have the same mean and contrast.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from app.progress import progress_bar
from app.stimuli import bodies, characters, faces, objects, places
from app.stimuli.drawing import Figure, Shape, lit, matched, painted, texture

Pixels = NDArray[np.uint8]
Split = Literal["network", "decoding"]  # people that the network learns, and others
Rng = np.random.Generator

_LOCALIZER: dict[str, dict[str, objects.Draw]] = {
    "faces": {
        "adult": lambda rng: faces.face(faces.person(rng, child=False), faces.look(rng)),
        "child": lambda rng: faces.face(faces.person(rng, child=True), faces.look(rng)),
    },
    "bodies": {"body": bodies.body, "limb": bodies.limb},
    "characters": {"word": characters.word, "number": characters.number},
    "places": {"house": places.house, "corridor": places.corridor},
    "objects": {"car": objects.DRAWINGS["car"], "instrument": objects.instrument},
}
DOMAINS = {domain: tuple(members) for domain, members in _LOCALIZER.items()}
SCRAMBLED = "scrambled"  # the category that belongs to no domain, as fLoc's
OBJECT_CATEGORIES = tuple(objects.DRAWINGS)

# The first number of a random stream's name. Localizer faces, the network's people and the people
# to decode come from different ones, so no face is in two of them.
_STREAMS = {"localizer": 0, "network": 1, "decoding": 2, "objects": 3}
_CHILDREN = 0.2  # share of the people whose identity is learned or decoded
_FIGURE_CONTRAST = 0.27  # root mean square distance from mid-grey, of 1

HELD_OUT = 1000  # number of a class's first image that no training reaches


class Drawn(NamedTuple):
    """Drawn images, and what each shows."""

    pixels: Pixels  # uint8 (images, size, size)
    labels: tuple[str, ...]


def draw_localizer(
    seed: int, images_per_category: int = 144, size: int = 64, scrambled: bool = False
) -> Drawn:
    """Draw fLoc's ten categories, in the order of `DOMAINS`; every face is another person.

    With `scrambled`, after these pictures of any of them with their phases scrambled.
    """
    draws = {name: draw for members in _LOCALIZER.values() for name, draw in members.items()}
    names = [*draws, *[SCRAMBLED] * scrambled]

    def draw(index: int, image: int) -> Pixels:
        rng, name = _stream(seed, "localizer", index, image), names[index]
        if name == SCRAMBLED:
            return _scramble(draw(int(rng.integers(len(draws))), image), rng)
        return _scene(draws[name](rng), rng, size, mirror=name not in DOMAINS["characters"])

    return _collect("localizer", names, range(images_per_category), size, draw)


def draw_identities(
    seed: int, count: int, images_each: int, *, split: Split, first_image: int = 0, size: int = 64
) -> Drawn:
    """Draw pictures `first_image` to `first_image + images_each - 1` of each of `count` people."""

    def draw(index: int, image: int) -> Pixels:
        own = _stream(seed, split, index)  # the person's, beside one for each picture
        who = faces.person(own, child=own.random() < _CHILDREN)
        rng = _stream(seed, split, index, image)
        return _scene(faces.face(who, faces.look(rng)), rng, size, mirror=False)

    names = [f"{split}_{index:03d}" for index in range(count)]
    return _collect("identities", names, range(first_image, first_image + images_each), size, draw)


def draw_objects(
    seed: int,
    images_each: int,
    *,
    count: int = len(OBJECT_CATEGORIES),
    first_image: int = 0,
    size: int = 64,
) -> Drawn:
    """Draw images `first_image` to `first_image + images_each - 1` of the first `count` objects."""

    def draw(index: int, image: int) -> Pixels:
        rng = _stream(seed, "objects", index, image)
        return _scene(objects.DRAWINGS[names[index]](rng), rng, size, mirror=True)

    names = OBJECT_CATEGORIES[:count]
    return _collect("objects", names, range(first_image, first_image + images_each), size, draw)


def draw_own_classes(
    seed: int, faces: tuple[int, int], objects: tuple[int, int], size: int = 64
) -> Drawn:
    """Draw held-out images of what a synthetic network learns, faces first.

    `faces` and `objects` are how many classes there are, and how many images of each.
    """
    shown = draw_identities(seed, *faces, split="network", first_image=HELD_OUT, size=size)
    count, each = objects
    things = draw_objects(seed, each, count=count, first_image=HELD_OUT, size=size)
    return Drawn(np.concatenate([shown.pixels, things.pixels]), shown.labels + things.labels)


def _stream(seed: int, stream: str, *place: int) -> Rng:
    # A spawn key keeps (1, 2) and (1, 2, 0) apart, which plain entropy would not.
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STREAMS[stream], *place)))


def _collect(
    what: str, labels: Sequence[str], numbers: range, size: int, draw: Callable[[int, int], Pixels]
) -> Drawn:
    """Draw the images of these numbers of one label after the other, by the label's place."""
    shown = [(place, number) for place in range(len(labels)) for number in numbers]
    pixels = np.empty((len(shown), size, size), np.uint8)
    with progress_bar(f"drawing {what}", len(pixels)) as progress:
        for image, each in zip(pixels, shown, strict=True):
            image[:] = draw(*each)
            progress(1)
    return Drawn(pixels, tuple(labels[place] for place, _ in shown))


def _scene(figure: Figure, rng: Rng, size: int, mirror: bool) -> Pixels:
    """Put the figure, in a random pose and light, on a random background; luminance is matched.

    With `mirror`, one figure in two faces the other way.
    """
    shapes, background = list(figure), texture(rng, size)
    placement = _placed(shapes, rng, mirror and rng.random() < 0.5)
    grey, coverage = painted(shapes, size, placement)
    shaded = lit(grey, coverage, rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.8)) - 0.5
    # Figures stand out from the background equally, or else matching the whole image's contrast
    # would leave the background behind stark figures, such as letters, faint.
    rms = np.sqrt((shaded**2 * coverage).sum() / coverage.sum())
    shaded = 0.5 + shaded * np.clip(_FIGURE_CONTRAST / rms, 0.5, 2)
    return matched(shaded * coverage + background * (1 - coverage), rng)


def _scramble(picture: Pixels, rng: Rng) -> Pixels:
    """Give the spectrum of a picture the phases of noise."""
    phases = np.angle(np.fft.fft2(rng.random(picture.shape)))
    scrambled = np.fft.ifft2(np.abs(np.fft.fft2(picture)) * np.exp(1j * phases))
    return matched(scrambled.real, rng)


def _placed(figure: Sequence[Shape], rng: Rng, flipped: bool) -> Affine2D:
    """Where the figure goes: turned, squeezed, then scaled to a share of the image.

    The share of the image that figures cover has one distribution for all categories, as far as
    thin ones can fill it without leaving the frame.
    """
    angle, squeeze, shear = rng.normal(0, 0.12), rng.uniform(0.85, 1.0), rng.uniform(-0.12, 0.12)
    share, across, up = rng.uniform(0.2, 0.34), *rng.uniform(-1, 1, 2)
    turned = Affine2D().scale(-squeeze if flipped else squeeze, 1).skew(shear, 0).rotate(angle)
    corners = turned.transform(np.vstack([shape.path.vertices for shape in figure]))
    outline = max((shape.width for shape in figure if shape.line is not None), default=0) / 2
    low, high = corners.min(axis=0) - outline, corners.max(axis=0) + outline
    # First as large as the frame allows, to see how much it covers.
    frame = 0.94
    fit = 2 * frame / (high - low).max()
    centred = turned.translate(*(-(low + high) / 2)).scale(fit)
    _, coverage = painted(figure, 32, centred)
    scale = min(1.0, np.sqrt(share / coverage.mean()))
    # At most a sixth of the image off the middle.
    room = np.minimum(frame - (high - low) * fit * scale / 2, 0.33)
    return centred.scale(scale).translate(*(room * (across, up)))
