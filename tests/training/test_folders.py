"""Folders of images: classes and outputs, the held-out split, augmentation, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.errors import InputError
from app.models import preprocessing
from app.stimuli.images import Preprocessing
from app.training import folders
from app.training.settings import Augmentation, Train
from tests.test_train import settings
from tests.training.conftest import write

PREPARE = Preprocessing(36, 32, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
VARIED = Augmentation([0.3, 1.0], [0.75, 1.3333], 0.5)


def ours(root: Path, *overrides: str) -> Train:
    return settings(
        f"faces.root={root}/faces", f"objects.root={root}/objects", "held_out_per_class=3",
        *overrides,
    )  # fmt: skip


def test_sorted_face_folders_then_sorted_object_folders_are_the_outputs(photos: Path):
    (photos / "faces" / ".hidden").mkdir()
    (photos / "objects" / "car" / "notes.txt").write_text("not an image")
    found = folders.material(ours(photos))
    assert (found.faces, found.objects) == (["ann", "bob"], ["apple", "car", "shoe"])
    for listing, each in ((found.learned, 7), (found.held_out, 3)):
        assert listing.outputs == [output for output in range(5) for _ in range(each)]
        assert listing.labels[::each] == ["ann", "bob", "apple", "car", "shoe"]
    spare = folders.material(ours(photos, "model.face_classes=4"))
    assert sorted(set(spare.learned.outputs)) == [0, 1, 4, 5, 6]


def test_images_below_a_class_folder_count_as_its_own(photos: Path):
    write(photos / "faces" / "ann", {"more": 2})
    found = folders.classes(str(photos / "faces"), "faces.root").images
    assert len(found["ann"]) == 12 and "ann/more/0.png" in found["ann"]


def test_held_out_images_are_the_same_for_a_seed_whatever_other_classes_there_are(photos: Path):
    before = folders.material(ours(photos))
    assert not set(before.learned.names) & set(before.held_out.names)
    assert len(before.learned.names) + len(before.held_out.names) == 50
    write(photos / "faces", {"abe": 5})
    after = folders.material(ours(photos))
    assert set(before.held_out.names) < set(after.held_out.names)
    other = folders.material(ours(photos, "split_seed=1"))
    assert set(other.held_out.names) != set(after.held_out.names)


def test_validation_folders_hold_images_out_instead(photos: Path, tmp_path: Path):
    write(tmp_path / "val", {"bob": 2, "ann": 4}, first=50)
    found = folders.material(ours(photos, f"faces.validation={tmp_path}/val"))
    assert found.learned.outputs.count(0) == 10 and found.learned.outputs.count(2) == 7
    assert [found.held_out.outputs.count(output) for output in range(5)] == [4, 2, 3, 3, 3]


def test_digests_follow_contents_names_and_classes(photos: Path):
    first = folders.material(ours(photos))
    assert folders.material(ours(photos)).images == first.images
    name = first.learned.names[0]
    write(photos / "faces", {"ann": 10}, seed=1)
    changed = folders.material(ours(photos))
    assert changed.learned.names[0] == name
    assert changed.learned.digest != first.learned.digest
    assert changed.held_out.digest != first.held_out.digest


def test_batches_are_decoded_in_order_and_tested_as_the_analyses_see_them(photos: Path):
    chosen = ours(photos, "workers=3", "model.mean=[0.4,0.5,0.6]", "model.sd=[0.2,0.3,0.4]")
    found = folders.material(chosen)
    batches = list(found.to_test())
    assert len(batches) == found.tests == 3
    assert torch.cat([right for _, right in batches]).tolist() == found.held_out.outputs
    inputs = torch.cat([found.inputs(pixels) for pixels, _ in batches])
    prepare = preprocessing(chosen.model)
    roots = [photos / "faces"] * 6 + [photos / "objects"] * 9
    for got, root, name in zip(inputs, roots, found.held_out.names, strict=True):
        np.testing.assert_array_equal(got.numpy(), prepare(Image.open(root / name)))


def test_an_epoch_is_the_same_whatever_was_drawn_before_and_another_differs(photos: Path):
    found = folders.material(ours(photos, "workers=3"))

    def epoch(number: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        torch.manual_seed(number)  # as the loop does
        return list(found.to_learn(number))

    first, second, again = epoch(0), epoch(1), epoch(0)
    assert len(first) == found.steps == 35 // 6
    for (pixels, right), (same_pixels, same_right) in zip(first, again, strict=True):
        assert torch.equal(pixels, same_pixels) and torch.equal(right, same_right)
    # The same image looks different in another epoch: no pixels of the one occur in the other.
    seen, later = ({bytes(p.numpy()) for pixels, _ in e for p in pixels} for e in (first, second))
    assert len(seen) == 30 and not seen & later


def test_augmentation_follows_seed_epoch_and_image_alone():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))

    def look(seed: int, epoch: int, number: int) -> bytes:
        rng = folders.stream(seed, epoch, number)
        return folders.augmented(image, PREPARE, VARIED, rng).tobytes()

    assert look(0, 1, 2) == look(0, 1, 2)
    assert len({look(0, 1, 2), look(1, 1, 2), look(0, 2, 2), look(0, 1, 3)}) == 4


def test_without_scale_the_centre_is_learned_and_half_of_it_mirrored():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8))
    centre = PREPARE.crop(image)
    plain, always = Augmentation(None, [1, 1], 0.0), Augmentation(None, [1, 1], 1.0)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(folders.augmented(image, PREPARE, plain, rng), centre)
    np.testing.assert_array_equal(folders.augmented(image, PREPARE, always, rng), centre[:, ::-1])
    half = Augmentation(None, [1, 1], 0.5)
    looks = [folders.augmented(image, PREPARE, half, rng)[0, 0, 0] for _ in range(400)]
    assert 150 < looks.count(centre[0, 0, 0]) < 250


@given(
    st.integers(1, 500), st.integers(1, 500), st.integers(0, 2**32),
    st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0.1, 10), st.floats(1, 5),
)  # fmt: skip
def test_crops_lie_within_the_image_and_have_the_share_and_shape_asked_for(
    width: int, height: int, seed: int, low: float, high: float, flat: float, spread: float
):
    scale, ratio = sorted((low, high)), (flat, flat * spread)
    box = folders.part(width, height, scale, ratio, np.random.default_rng(seed))
    left, top, right, bottom = box
    assert 0 <= left < right <= width + 1e-9 and 0 <= top < bottom <= height + 1e-9
    across, down = right - left, bottom - top
    assert ratio[0] * (1 - 1e-6) <= across / down <= ratio[1] * (1 + 1e-6)
    share = across * down / (width * height)
    largest = (across > width - 1e-6 * width) or (down > height - 1e-6 * height)
    assert largest or scale[0] * (1 - 1e-6) <= share <= scale[1] * (1 + 1e-6)


def test_the_whole_image_is_the_only_crop_of_its_own_share_and_shape():
    rng = np.random.default_rng(0)
    box = folders.part(80, 40, (1.0, 1.0), (2.0, 2.0), rng)
    assert box == pytest.approx((0, 0, 80, 40))


def refused(chosen: Train) -> str:
    with pytest.raises(InputError) as caught:
        found = folders.material(chosen)
        list(found.to_learn(0)), list(found.to_test())
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_missing_or_damaged_is_named_in_one_line(photos: Path, tmp_path: Path):
    assert "nowhere is not a folder" in refused(ours(photos, "faces.root=nowhere"))
    (tmp_path / "empty").mkdir()
    assert "holds no folders" in refused(ours(photos, f"objects.root={tmp_path}/empty"))
    few = refused(ours(photos, "held_out_per_class=10"))
    assert "'ann'" in few and "has 10 image(s): at least 11 needed" in few
    assert "batch_size=36 is more than the 35 images" in refused(ours(photos, "batch_size=36"))
    write(tmp_path / "val", {"bob": 2, "eve": 2})
    assert "class 'ann' that faces.validation lacks" in refused(
        ours(photos, f"faces.validation={tmp_path}/val")
    )
    assert "model.outputs=4: the classes of faces and objects need 5" in refused(
        ours(photos, "model.outputs=4")
    )

    cut = photos / "objects" / "car" / "1.jpg"
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    assert "car/1.jpg is truncated or damaged" in refused(ours(photos, "batch_size=2"))
    cut.write_text("no image")
    assert "car/1.jpg is not an image that Pillow can read" in refused(ours(photos))
