"""Strings to read: words that do not exist, and numbers."""

import numpy as np

from app.stimuli.drawing import Figure, text

_FONTS = ("DejaVuSans-Bold", "DejaVuSansMono-Bold", "DejaVuSerif-Bold", "STIXGeneralBol")


def _write(rng: np.random.Generator, characters: str) -> Figure:
    u = rng.uniform
    dark = rng.random() < 0.5
    fill, line = (u(0.0, 0.25), u(0.75, 1.0)) if dark else (u(0.75, 1.0), u(0.0, 0.25))
    font = str(rng.choice(_FONTS))
    height, width = u(0.4, 0.65), u(0.12, 0.2)
    # The outline first and the filled letters on it, so that it only shows outside of them.
    yield text(characters, height, font, line, line, width)
    yield text(characters, height, font, fill)


def word(rng: np.random.Generator) -> Figure:
    """Draw a pseudo-word of four or five letters, lower case, upper case or capitalised."""
    length, first = rng.integers(4, 6), rng.integers(2)
    kinds = (list("bcdfghklmnprstvwz"), list("aeiou"))
    letters = [str(rng.choice(kinds[(place + first) % 2])) for place in range(length)]
    style = (str.lower, str.upper, str.capitalize)[rng.integers(3)]
    return _write(rng, style("".join(letters)))


def number(rng: np.random.Generator) -> Figure:
    """Four or five digits."""
    return _write(rng, "".join(map(str, rng.integers(0, 10, rng.integers(4, 6)))))
