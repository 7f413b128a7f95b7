"""Pictures of every make are what people see, or are refused or told of."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from PIL.EpsImagePlugin import has_ghostscript

from app.errors import InputError
from app.stimuli.images import Preprocessing
from tests.field import inputs
from tests.field.asked import read_localizer, read_pixels
from tests.field.inputs import SIDE, grey_picture, levels, on_grey, save_tiff

GREY, SHOWN = levels(), on_grey()
Save = Callable[[Path], Any]


def row(name: str, save: Save, right: NDArray[Any], tolerance: int = 0):
    return pytest.param(name, save, right, tolerance, id=name)


def keyed(mode: str, key: Any, **options: Any) -> Save:
    """A file whose key colour is transparent."""
    return lambda path: grey_picture().convert(mode).save(path, transparency=key, **options)


def keyed_palette(path: Path) -> None:
    """A transparency for each colour: the first is seen through, the others are not."""
    image = grey_picture().convert("P")
    image.putpalette([level for grey in range(256) for level in [grey] * 3])
    image.save(path, transparency=bytes([0, *[255] * 255]))


def save_bits(path: Path) -> None:
    grey_picture().point(lambda level: level and 255).convert("1").save(path, transparency=0)


def save_profile(path: Path) -> None:
    """As a camera's own colour space; the values are those in the file, as torchvision has them."""
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey_picture().convert("RGB").save(path, icc_profile=profile)


def save_as(kind: str) -> Save:
    return lambda path: path.write_bytes(inputs.encoded(kind))


TABLE = [
    *(row(f"exif{number}.jpg", partial(inputs.save_turned, orientation=number), GREY, 3)
      for number in (2, 3, 5, 6, 8)),
    row("exif6.png", partial(inputs.save_turned, orientation=6), GREY),
    row("exif6.webp", partial(inputs.save_turned, orientation=6), GREY, 8),
    row("exif6.tif", partial(inputs.save_turned, orientation=6), GREY),
    row("exif_garbage.jpg", lambda path: grey_picture().save(path, exif=b"Exif\0\0junk",
        quality=100), GREY, 3),
    row("l_trns.png", keyed("L", 0), SHOWN),
    row("rgb_trns.png", keyed("RGB", (0, 0, 0)), SHOWN),
    row("i16_trns.png", lambda path: Image.fromarray(GREY.astype(np.uint16) * 257).save(
        path, transparency=0), SHOWN),
    row("bits_trns.png", save_bits, np.where(GREY == 0, 128, 255)),
    row("p_trns.png", keyed_palette, SHOWN),
    row("la.png", partial(inputs.save_alpha, mode="LA"), SHOWN),
    row("rgba.png", partial(inputs.save_alpha, mode="RGBA"), SHOWN),
    row("rgba.tif", partial(inputs.save_alpha, mode="RGBA"), SHOWN),
    row("cmyk.jpg", lambda path: grey_picture().convert("CMYK").save(path, quality=100), GREY,
        tolerance=3),
    row("icc.png", save_profile, GREY),
    row("float01.tif", lambda path: save_tiff(path, (GREY / 255).astype(np.float32)), GREY,
        1),
    row("float255.tif", lambda path: save_tiff(path, GREY.astype(np.float32)), GREY),
    row("i16.png", lambda path: Image.fromarray(GREY.astype(np.uint16) * 257).save(path), GREY),
    row("i16.tif", lambda path: save_tiff(path, GREY.astype("<u2") * 257), GREY),
    row("i16_big_endian.tif", lambda path: save_tiff(path, (GREY.astype(">u2") * 257)
        .astype(">u2")), GREY),
    *(row(f"white_is_0_{kind}.tif", partial(save_tiff, values=values, photometric=0), GREY, 1)
      for kind, values in {"u1": 255 - GREY, "u2": 65535 - GREY.astype("<u2") * 257,
                           "f4": (1 - GREY / 255).astype("<f4")}.items()),
    row("rgb16.tif", lambda path: save_tiff(path, np.stack([GREY.astype("<u2") * 257] * 3, -1)),
        GREY),
    row("big_text.png", inputs.save_text, GREY),
    row("jpeg_called.png", save_as("JPEG"), GREY, tolerance=8),
    row("photo.mpo", inputs.save_frames, GREY, tolerance=3),
    row("pages.tif", inputs.save_frames, GREY),
    row("animated.gif", inputs.save_frames, GREY, tolerance=4),
    row("animated.webp", inputs.save_frames, GREY),
    row("animated.png", inputs.save_frames, GREY),
]  # fmt: skip


@pytest.mark.parametrize(("name", "save", "right", "tolerance"), TABLE)
def test_pixels_are_what_people_see(tmp_path: Path, name, save, right, tolerance):
    save(tmp_path / name)
    seen = read_pixels(tmp_path / name).astype(int)
    assert seen.shape == (SIDE, SIDE, 3)
    # The mean, not each pixel: JPEG rings about the corner.
    assert np.abs(seen - right[..., None]).mean() <= tolerance / 2
    assert abs(seen.mean() - right.mean()) < 2


DARK = "(?i)dark|empty|range|bits"  # or refused: the file does not say what its white is
FRAMES = "(?i)frame|page|pictures"
TOLD = [
    ("i12.png", lambda path: Image.fromarray(GREY.astype(np.uint16) * 16).save(path), DARK),
    ("i12.tif", lambda path: save_tiff(path, GREY.astype("<u2") * 16), DARK),
    ("i10.tif", lambda path: save_tiff(path, GREY.astype("<u2") * 4), DARK),
    ("int32_of_8_bits.tif", lambda path: save_tiff(path, GREY.astype("<i4")), DARK),
    ("signed16.tif", lambda path: save_tiff(path, GREY.astype("<i2") - 100), "(?i)negative"),
    ("float_signed.tif", lambda path: save_tiff(path, GREY.astype("<f4") / 127.5 - 1),
     "(?i)negative|range|float"),
    ("float_large.tif", lambda path: save_tiff(path, GREY.astype("<f4") * 257), "(?i)range|float"),
    ("float_nan.tif", lambda path: save_tiff(path, np.where(GREY, GREY, np.nan).astype("<f4")),
     "(?i)nan"),
    ("pages.tif", inputs.save_frames, FRAMES),
    ("animated.gif", inputs.save_frames, FRAMES),
    *((f"exif6.{kind}", partial(inputs.save_turned, orientation=6), "turned upright")
      for kind in ("jpg", "png", "tif", "webp")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "save", "words"), [pytest.param(*r, id=r[0]) for r in TOLD])
def test_what_may_be_meant_otherwise_is_told_or_refused(tmp_path: Path, told, name, save, words):
    root = inputs.plant(tmp_path, inputs.base())
    path = root / "face" / f"odd{Path(name).suffix}"
    save(path)
    try:
        localizer = read_localizer(root)
        localizer.images.crops(Preprocessing(SIDE, SIDE, (0, 0, 0), (1, 1, 1)))
        said = told(localizer, localizer.images)
    except InputError as error:
        said = str(error)
    assert path.name in said and re.search(words, said.replace(str(root), "")), said


REFUSED = [
    ("huge.png", inputs.save_huge, r".*189 million pixels, more than the 179 .* megapixels=189$"),
    ("huge.tif", lambda path: save_tiff(path, np.zeros((1, 1), "u1"), (14_000, 13_500)),
     r".*189 million pixels.* save it as PNG and allow it with megapixels=189$"),
    ("unsigned32.tif", lambda path: save_tiff(path, GREY.astype("<u4") * 16843009),
     r".*values up to 3991793133, and the range of 16 bits is 0 to 65535"),
    ("float_rgb.tif", lambda path: save_tiff(path, np.stack([GREY / 255] * 3, -1).astype("<f4")),
     ".*not an image that Pillow can read"),
    ("double.tif", lambda path: save_tiff(path, GREY / 255), ".*not an image that Pillow can"),
    ("signed8.tif", lambda path: save_tiff(path, (GREY.astype(int) - 128).astype("i1")),
     ".*signed integers of 8 bits"),
    *([] if has_ghostscript() else [
        ("figure.eps", lambda path: path.write_bytes(inputs.encoded("EPS")),
         "(?!.*damaged).*Ghostscript is not installed")]),
    ("empty.jpg", lambda path: path.touch(), ".*not an image that Pillow can read"),
    ("page.jpg", lambda path: path.write_bytes(inputs.PAGE), ".*not an image"),
    ("pointer.jpg", lambda path: path.write_bytes(inputs.POINTER), "(?i).*LFS"),
    ("cut.png", lambda path: path.write_bytes(inputs.encoded()[:-40]), ".*truncated"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "save", "words"),
    [pytest.param(*r, id=r[0]) for r in REFUSED],
)
def test_what_cannot_be_read_is_named_for_what_it_is(tmp_path: Path, name, save, words):
    save(tmp_path / name)
    with pytest.raises(InputError, match=words) as caught:
        read_pixels(tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_of_a_wide_picture_the_crop_alone_is_resized(monkeypatch: pytest.MonkeyPatch):
    wide = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1, 2000), dtype=np.uint8))
    strip = wide.convert("RGB").resize((64 * 2000, 64), Image.Resampling.BILINEAR)
    left = (64 * 2000 - 64) // 2
    right = np.asarray(strip.crop((left, 0, left + 64, 64))).astype(int)
    made, resize = [], Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, *a, **k: made.append(resize(self, *a, **k)) or made[-1]
    )
    seen = Preprocessing(64, 64, (0, 0, 0), (1, 1, 1)).crop(wide)
    assert np.abs(seen - right).max() <= 1
    assert max(image.width * image.height for image in made) <= 16 * 64 * 64
