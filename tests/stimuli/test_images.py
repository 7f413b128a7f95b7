"""Reading folders and preparing images, against plain Pillow and NumPy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app.errors import InputError
from app.stimuli.images import ImageFolders, Preprocessing, drawn, read_image, to_rgb

PLAIN = Preprocessing(resize=64, size=64, mean=(0.5, 0.5, 0.5), sd=(0.5, 0.5, 0.5))


def grey(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, size[::-1], dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for category, count in (("adult", 12), ("car", 2), ("scrambled", 2)):
        (tmp_path / category).mkdir()
        for number in range(1, count + 1):
            grey(number).save(tmp_path / category / f"{category}-{number}.png")
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
