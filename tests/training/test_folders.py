"""Folders of images: classes and outputs, the held-out split, augmentation, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.config.training import Augmentation, Train
from app.errors import InputError
from app.models.loading import make_preprocessing
from app.stimuli.images import Preprocessing
from app.training.material import Material, make_look, make_material, read_batches
from tests.test_train import settings
from tests.training.conftest import write

PREPARE = Preprocessing(36, 32, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))


def ours(root: Path, *overrides: str) -> Train:
    return settings(
        f"faces.root={root}/faces", f"objects.root={root}/objects", "held_out_per_class=3",
        *overrides,
    )  # fmt: skip


def test_sorted_face_folders_then_sorted_object_folders_are_the_outputs(photos: Path):
    (photos / "faces" / ".hidden").mkdir()
    (photos / "objects" / "car" / "notes.txt").write_text("not an image")
    found = make_material(ours(photos))
    assert (found.faces, found.objects) == (["ann", "bob"], ["apple", "car", "shoe"])
    for examples, each in ((found.learned, 7), (found.held_out, 3)):
        assert examples.outputs == [output for output in range(5) for _ in range(each)]
        assert examples.images.labels[::each] == ("ann", "bob", "apple", "car", "shoe")
    spare = make_material(ours(photos, "model.face_classes=4"))
    assert sorted(set(spare.learned.outputs)) == [0, 1, 4, 5, 6]


def test_held_out_images_are_the_same_for_a_seed_whatever_other_classes_there_are(photos: Path):
    before = make_material(ours(photos))
    assert not set(before.learned.images.names) & set(before.held_out.images.names)
    assert len(before.learned.images.names) + len(before.held_out.images.names) == 50
    write(photos / "faces", {"abe": 5})
    after = make_material(ours(photos))
    assert set(before.held_out.images.names) < set(after.held_out.images.names)
    other = make_material(ours(photos, "split_seed=1"))
    assert set(other.held_out.images.names) != set(after.held_out.images.names)


def test_validation_folders_hold_images_out_instead(photos: Path, tmp_path: Path):
    write(tmp_path / "val", {"bob": 2, "ann": 4}, first=50)
    found = make_material(ours(photos, f"faces.validation={tmp_path}/val"))
    assert found.learned.outputs.count(0) == 10 and found.learned.outputs.count(2) == 7
    assert [found.held_out.outputs.count(output) for output in range(5)] == [4, 2, 3, 3, 3]
    write(tmp_path / "val", {"ann": 1})  # also learned
    with pytest.raises(InputError, match=r"val/ann/0\.png is the same image as .*/ann/0\.png"):
        make_material(ours(photos, f"faces.validation={tmp_path}/val"))


def test_what_is_passed_over_is_told_once(photos: Path):
    (photos / "faces" / "list.csv").write_text("not an image")
    (photos / "objects" / "car" / "notes.txt").write_text("nor this")
    held_out = make_material(ours(photos)).held_out.images.names[-1]
    copied = (photos / held_out).with_name("copy.png")
    copied.write_bytes((photos / held_out).read_bytes())
    assert make_material(ours(photos)).notes == [
        "faces: 1 file(s) or folder(s) are not used: list.csv",
        "objects: 1 file(s) or folder(s) are not used: car/notes.txt",
        "objects: 1 image(s) are learned that are held out by another name: shoe/copy.png",
    ]


def test_digests_follow_contents_names_and_classes(photos: Path):
    first = make_material(ours(photos))
    assert make_material(ours(photos)).images == first.images
    name = first.learned.images.names[0]
    write(photos / "faces", {"ann": 10}, seed=1)
    changed = make_material(ours(photos))
    assert changed.learned.images.names[0] == name
    assert changed.learned.images.digest != first.learned.images.digest
    assert changed.held_out.images.digest != first.held_out.images.digest


def test_batches_are_tested_in_order_as_the_analyses_see_them(photos: Path):
    chosen = ours(photos, "model.mean=[0.4,0.5,0.6]", "model.sd=[0.2,0.3,0.4]")
    found = make_material(chosen)
    batches = list(read_batches(found.to_test))
    assert len(batches) == len(found.to_test) == 3
    assert torch.cat([right for _, right in batches]).tolist() == found.held_out.outputs
    inputs = torch.cat([found.inputs(pixels) for pixels, _ in batches])
    prepare = make_preprocessing(chosen.model)
    for got, name in zip(inputs, found.held_out.images.names, strict=True):
        np.testing.assert_array_equal(got.numpy(), prepare(Image.open(photos / name)))


def read_epoch(found: Material, seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(seed)  # as the loop does for each epoch
    read = list(read_batches(found.to_learn))
    assert len(read) == len(found.to_learn) == 35 // 6
    return [*read, (torch.rand(5), torch.rand(0))]  # what dropout would draw next


@pytest.mark.slow
def test_an_epoch_is_the_same_whatever_came_before_and_however_many_read_it(photos: Path):
    found = make_material(ours(photos, "workers=1"))
    first, second, again = read_epoch(found, 0), read_epoch(found, 1), read_epoch(found, 0)
    several = make_material(ours(photos, "workers=2"))
    read_epoch(several, 3)
    for other in (again, read_epoch(several, 0)):
        for (pixels, right), (same_pixels, same_right) in zip(first, other, strict=True):
            assert torch.equal(pixels, same_pixels) and torch.equal(right, same_right)
    # The same image looks different in another epoch: no pixels of the one occur in the other.
    seen, later = (
        {bytes(p.numpy()) for pixels, _ in epoch[:-1] for p in pixels} for epoch in (first, second)
    )
    assert len(seen) == 30 and not seen & later
    cut = photos / next(iter(several.learned.images.names))
    cut.write_bytes(cut.read_bytes()[:400])
    with pytest.raises(InputError) as told:
        read_epoch(several, 0)
    assert str(told.value).startswith(f"{cut} is truncated or damaged"), "as a worker tells it"


def looks(image: Image.Image, varied: Augmentation, count: int) -> list[np.ndarray]:
    torch.manual_seed(0)
    return [make_look(varied, PREPARE)(image) for _ in range(count)]


def test_without_scale_the_centre_is_learned_and_half_of_it_mirrored():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8))
    centre = PREPARE.crop(image)
    (plain,) = looks(image, Augmentation(None, [1, 1], 0.0), 1)
    (always,) = looks(image, Augmentation(None, [1, 1], 1.0), 1)
    np.testing.assert_array_equal(plain, centre)
    np.testing.assert_array_equal(always, centre[:, ::-1])
    half = [look[0, 0, 0] for look in looks(image, Augmentation(None, [1, 1], 0.5), 400)]
    assert 150 < half.count(centre[0, 0, 0]) < 250


def test_crops_have_the_share_and_shape_asked_for():
    """The image tells where a pixel was: red its column, green its row."""
    down, across = np.mgrid[:200, :250].astype(np.uint8)
    image = Image.fromarray(np.dstack([across, down, down]))
    for look in looks(image, Augmentation([0.2, 0.6], [0.5, 2.0], 0.0), 300):
        middle = look[PREPARE.size // 2].astype(float), look[:, PREPARE.size // 2].astype(float)
        width, height = ((line[-3, k] - line[2, k]) * 32 / 27 for k, line in enumerate(middle))
        assert 0.19 < width * height / (200 * 250) < 0.62
        assert 0.48 < width / height < 2.1


def refused(chosen: Train) -> str:
    with pytest.raises(InputError) as caught:
        found = make_material(chosen)
        list(read_batches(found.to_learn)), list(read_batches(found.to_test))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
def test_what_is_missing_or_damaged_is_named_in_one_line(photos: Path, tmp_path: Path):
    assert "nowhere is not a folder" in refused(ours(photos, "faces.root=nowhere"))
    (tmp_path / "empty").mkdir()
    assert "is empty: it should hold one folder per class" in refused(
        ours(photos, f"objects.root={tmp_path}/empty")
    )
    few = refused(ours(photos, "held_out_per_class=10"))
    assert "'ann'" in few and "has 10 image(s): at least 11 are needed, as held_out" in few
    assert "batch_size=36 is more than the 35 images" in refused(ours(photos, "batch_size=36"))
    (tmp_path / "linked").symlink_to(photos / "faces")
    for place in ("faces/", "linked", ""):
        assert "is the same image as" in refused(ours(photos, f"objects.root={photos}/{place}"))
    write(tmp_path / "val", {"bob": 2, "eve": 2})
    assert "no folder 'ann' for that class" in refused(
        ours(photos, f"faces.validation={tmp_path}/val")
    )
    assert "model.outputs=4: the classes of faces and objects need 5" in refused(
        ours(photos, "model.outputs=4")
    )

    cut = photos / "objects" / "car" / "1.jpg"
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    assert refused(ours(photos, "batch_size=2")).startswith(f"{cut} is truncated or damaged")
    cut.write_text("no image")
    assert "car/1.jpg is not an image that Pillow can read" in refused(ours(photos))
