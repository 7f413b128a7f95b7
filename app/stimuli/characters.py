"""Strings to read: words that do not exist, and numbers."""

import numpy as np

from app.stimuli.drawing import Figure, text

CONSONANTS = tuple("bcdfghklmnprstvwz")
VOWELS = tuple("aeiou")
FONTS = ("DejaVuSans-Bold", "DejaVuSansMono-Bold", "DejaVuSerif-Bold", "STIXGeneralBol")


def _string(rng: np.random.Generator, characters: str) -> Figure:
    u = rng.uniform
    dark = rng.random() < 0.5
    fill, line = (u(0.0, 0.25), u(0.75, 1.0)) if dark else (u(0.75, 1.0), u(0.0, 0.25))
    font = str(rng.choice(FONTS))
    height, width = u(0.4, 0.65), u(0.12, 0.2)
    # The outline first and the filled letters on it, so that it only shows outside of them.
    return [
        text(characters, height, line, line, width, font),
        text(characters, height, fill, None, 0, font),
    ]


def word(rng: np.random.Generator) -> Figure:
    """Draw a pseudo-word of four or five letters, lower case, upper case or capitalised."""
    length = rng.integers(4, 6)
    first = rng.integers(2)
    letters = [
        str(rng.choice(VOWELS if (place + first) % 2 else CONSONANTS)) for place in range(length)
    ]
    style = (str.lower, str.upper, str.capitalize)[rng.integers(3)]
    return _string(rng, style("".join(letters)))


def number(rng: np.random.Generator) -> Figure:
    """Four or five digits."""
    digits = rng.integers(0, 10, rng.integers(4, 6))
    return _string(rng, "".join(map(str, digits)))
