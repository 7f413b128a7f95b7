"""Reading folders and preparing images, against plain Pillow and NumPy."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from app.errors import InputError
from app.stimuli.folders import ImageFolders
from app.stimuli.images import Preprocessing, drawn, read_image, to_rgb

PLAIN = Preprocessing(resize=64, size=64, mean=(0.5, 0.5, 0.5), sd=(0.5, 0.5, 0.5))


def grey(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, size[::-1], dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for seed, (category, count) in enumerate([("adult", 12), ("car", 2), ("scrambled", 2)]):
        (tmp_path / category).mkdir()
        for number in range(1, count + 1):
            grey(20 * seed + number).save(tmp_path / category / f"{category}-{number}.png")
    (tmp_path / "adult" / "notes.txt").write_text("not an image, and not called one")
    return tmp_path


def read(folder: Path, labels: list[str] | None = None, **options: Any):
    folders = ImageFolders(folder, "category", "stimuli.root")
    return folders.read(folders.find(labels, **options))


def test_preprocessing_repeats_grey_and_normalises():
    image = grey(0)
    expected = (np.asarray(image, dtype=np.float64) / 255 - 0.5) / 0.5
    prepared = PLAIN(image)
    assert prepared.shape == (3, 64, 64) and prepared.dtype == np.float32
    for channel in prepared:
        np.testing.assert_allclose(channel, expected, atol=1e-6)


def test_preprocessing_resizes_the_shorter_side_and_crops_the_centre():
    image = grey(1, (300, 200))
    prepare = Preprocessing(resize=100, size=80, mean=(0, 0, 0), sd=(1, 1, 1))
    resized = np.asarray(image.resize((150, 100), Image.Resampling.BILINEAR)) / 255
    np.testing.assert_allclose(prepare(image)[0], resized[10:90, 35:115], atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_mode_becomes_rgb(mode: str):
    levels = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    if mode == "I;16":
        image = Image.fromarray(levels.astype(np.uint16) * 257)
    elif mode == "I":
        image = Image.fromarray(levels.astype(np.int32) * 257)
    else:
        image = Image.fromarray(levels).convert(mode)
    rgb = np.asarray(to_rgb(image)).astype(int)
    assert rgb.shape == (64, 64, 3)
    if mode != "1":
        assert np.abs(rgb[..., 0] - levels).max() <= 3


def test_files_come_in_the_order_of_their_numbers(folder: Path):
    names = [name for name in read(folder).names if name.startswith("adult")]
    assert names == [f"adult/adult-{number}.png" for number in range(1, 13)]


def test_only_the_folders_asked_for(folder: Path):
    assert set(read(folder, ["adult", "car"]).labels) == {"adult", "car"}


def test_hidden_files_are_left_out(folder: Path):
    (folder / "car" / "._car-1.png").write_bytes(b"what another system keeps beside a file")
    assert read(folder, ["car"]).names == ("car/car-1.png", "car/car-2.png")


def test_images_below_a_folder_count_as_its_own_in_any_format(folder: Path):
    below = folder / "car" / "more" / "still"
    below.mkdir(parents=True)
    (folder / "car" / ".thumbnails").mkdir()
    for path in (below / "car-1.PCX", below.parent / "b.ico", folder / "car/.thumbnails/1.png"):
        grey(1).save(path)
    found = [name for name in read(folder).names if name.startswith("car")]
    assert found == [
        "car/car-1.png", "car/car-2.png", "car/more/b.ico", "car/more/still/car-1.PCX",
    ]  # fmt: skip


def test_text_called_an_image_is_named_before_any_is_decoded(folder: Path):
    (folder / "car" / "car-2.png").write_text("hello")
    with pytest.raises(InputError, match=r"car/car-2\.png is not an image that Pillow can read"):
        read(folder)


def test_digest_follows_content_and_names(folder: Path):
    before = read(folder).digest
    assert read(folder).digest == before
    grey(99).save(folder / "car" / "car-1.png")
    changed = read(folder).digest
    assert changed != before
    (folder / "car" / "car-1.png").rename(folder / "car" / "car-9.png")
    assert read(folder).digest not in (before, changed)


def test_batches_hold_every_image_once_in_order(folder: Path):
    images = read(folder)
    batches = list(images.batches(PLAIN, 5))
    assert [len(batch) for batch in batches] == [5, 5, 5, 1]
    for index, prepared in enumerate(np.concatenate(batches)):
        np.testing.assert_array_equal(prepared, PLAIN(images.open(index)))


def test_crops_of_some(folder: Path):
    images = read(folder)
    some = images.crops(PLAIN, 3, 9)
    np.testing.assert_array_equal(some, images.crops(PLAIN)[3:9])
    assert images.crops(PLAIN, 14, 99).shape == (2, 64, 64, 3)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos", "nearest"])
@pytest.mark.parametrize("size", [(700, 1), (1, 900), (1700, 100), (40, 999)])
def test_of_strips_the_crop_is_that_of_the_whole(size: tuple[int, int], interpolation: str):
    image, shorter = grey(5, size), min(size)
    whole = [40 * side // shorter for side in size]
    resized = image.resize(whole, Image.Resampling[interpolation.upper()])
    left, top = (round((side - 32) / 2) for side in whole)
    seen = np.asarray(resized.crop((left, top, left + 32, top + 32))).astype(int)
    crop = Preprocessing(40, 32, (0, 0, 0), (1, 1, 1), interpolation).crop(image)
    assert np.abs(crop[..., 0] - seen).max() <= 1


@pytest.mark.parametrize("highest", [1.02, 2, 40, 256])
def test_floating_point_values_of_no_range_are_refused(tmp_path: Path, highest: float):
    levels = np.linspace(0, highest, 64, dtype=np.float32).reshape(8, 8)
    Image.fromarray(levels).save(tmp_path / "float.tif")
    with pytest.raises(InputError, match=r"float.tif has values up to .* 0 to 1 or 255"):
        read_image(tmp_path / "float.tif")


def test_dark_images_and_copies_are_told(folder: Path):
    for number in (1, 2):
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(folder / "car" / f"car-{number}.png")
    dark, copies, unused = read(folder).notes
    assert copies == "stimuli: 1 image(s) are copies of others: car/car-2.png"
    assert dark.startswith("stimuli: 1 image(s) are dark") and dark.endswith(": car/car-1.png")
    assert unused.startswith("stimuli: 1 file(s)") and unused.endswith(": adult/notes.txt")


def test_splits_beside_something_else_are_refused(folder: Path):
    for split in ("Train", "val"):
        shutil.copytree(folder, folder / split / "more" / "adult")
    for category in ("adult", "car", "scrambled"):
        shutil.rmtree(folder / category)
    (folder / "annotations").mkdir()
    with pytest.raises(InputError, match=r"has Train, val: .*try stimuli\.root=.*/Train$"):
        read(folder, leave_below=1)


def test_pipes_are_no_images(folder: Path):
    os.mkfifo(folder / "car" / "pipe")
    assert "car/pipe" in read(folder).notes[0]


def test_drawn_images_digest_and_names():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 8, 8), dtype=np.uint8)
    images = drawn(pixels, ["a", "a", "b", "b"], "drawn")
    assert images.names == ("a/a-1", "a/a-2", "b/b-1", "b/b-2")
    assert drawn(pixels, ["a", "a", "b", "c"], "drawn").digest != images.digest
    pixels[0, 0, 0] += 1
    assert drawn(pixels, ["a", "a", "b", "b"], "drawn").digest != images.digest


def test_a_missing_folder_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"stimuli\.root=.*nowhere is not a folder"):
        read(tmp_path / "nowhere")


def test_an_empty_folder_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="is empty"):
        read(tmp_path)


def test_a_missing_category_lists_those_present(folder: Path):
    with pytest.raises(InputError, match="no folder 'house'.*adult, car, scrambled"):
        read(folder, ["adult", "house"])


def test_a_category_of_one_image_is_refused(folder: Path):
    (folder / "car" / "car-2.png").unlink()
    with pytest.raises(InputError, match=r"'car' .* has 1 image\(s\)"):
        read(folder)


def test_text_called_jpg_is_named(tmp_path: Path):
    (tmp_path / "fake.jpg").write_text("hello")
    with pytest.raises(InputError, match=r"fake\.jpg is not an image"):
        read_image(tmp_path / "fake.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_image_is_named(tmp_path: Path, suffix: str):
    path = tmp_path / f"cut.{suffix}"
    grey(3, (200, 200)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=rf"cut\.{suffix} is truncated or damaged"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "texts.png"])
def test_a_picture_beyond_pillow_s_limit_is_read_where_that_is_allowed(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "car").mkdir()
    told = PngImagePlugin.PngInfo()
    told.add_text("more", "x" * 2**21)  # than Pillow takes
    options = {"pnginfo": told} if name == "texts.png" else {}
    grey(5, (200, 100)).save(path := tmp_path / "car" / name, **options)
    expected = np.asarray(read_image(path))
    folders = ImageFolders(tmp_path, "category", "stimuli.root")
    found = folders.find(at_least=1)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5000)  # half of what is refused
    for allowed in (None, 0.019):
        with pytest.raises(InputError, match=f"{name} has .* million pixels.*megapixels="):
            folders.read(found, allowed)
    images = folders.read(found, 0.02)
    assert images.digest == folders.read(found, 1).digest
    np.testing.assert_array_equal(np.asarray(images.open(0)), expected)
