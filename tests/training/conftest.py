"""Small folders of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def _leave_torch_as_it_was():
    import torch

    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def write(folder: Path, classes: dict[str, int], first: int = 0, seed: int = 0) -> Path:
    """So many images of each class, in several formats and modes, each class a brightness."""
    for label, count in classes.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            rng = np.random.default_rng([seed, number, *label.encode()])
            pixels = rng.integers(0, 100, (40, 52, 3)) + sum(label.encode()) % 150
            image = Image.fromarray(pixels.astype(np.uint8))
            kind = ("png", "jpg", "webp", "ppm", "tiff")[number % 5]
            mode = ("RGB", "L")[number % 2]
            image.convert(mode).save(folder / label / f"{number}.{kind}")
    return folder


@pytest.fixture()
def photos(tmp_path: Path) -> Path:
    """`faces` and `objects`, ten images a class."""
    write(tmp_path / "faces", {"bob": 10, "ann": 10})
    write(tmp_path / "objects", {"shoe": 10, "car": 10, "apple": 10})
    return tmp_path
