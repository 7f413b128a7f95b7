"""A network's own classes from folders: which output each folder stands for."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.config.schema import Lesion
from app.config.schema import OwnClasses as Own
from app.errors import InputError
from app.memo import Memo
from app.models.libraries import import_torchvision
from app.spelling import spell
from app.stimuli.classes import (
    Task,
    make_own_classes,
    make_readout_classes,
    name_tasks,
    read_classes,
)
from app.stimuli.synthetic import HELD_OUT, OBJECT_CATEGORIES, draw_identities


def folders(root: Path, counts: dict[str, int]) -> Path:
    """A folder for each name, with so many images; pixels say which it is."""
    for number, (name, count) in enumerate(counts.items()):
        (root / name).mkdir(parents=True)
        for image in range(1, count + 1):
            pixels = np.full((8, 8), 10 * number + image, dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{image}.png")
    return root


def listed(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    root = folders(tmp_path / "people", {"b": 1, "a": 3, "c": 12})
    (root / ".hidden").mkdir()
    (root / "notes.txt").write_text("no folder")
    return root


@pytest.fixture
def things(tmp_path: Path) -> Path:
    return folders(tmp_path / "things", {"a": 2, "cup": 2})


def read(*tasks: Task):
    images, outputs, _ = read_classes(tasks)
    return images, outputs


def test_sorted_folders_are_the_outputs_in_order(people: Path, things: Path):
    images, outputs = read(
        Task("faces", str(people), None, range(3)), Task("objects", str(things), None, range(3, 5))
    )
    assert outputs.tolist() == [0] * 3 + [1] + [2] * 12 + [3] * 2 + [4] * 2
    assert images.names[:4] == ("faces/a/1.png", "faces/a/2.png", "faces/a/3.png", "faces/b/1.png")
    assert images.names[15] == "faces/c/12.png", "by number"
    assert images.names[-1] == "objects/cup/2.png"
    shown = [int(np.asarray(images.open(index))[0, 0, 0]) for index in range(len(images))]
    assert shown == [11, 12, 13, 1, *range(21, 33), 1, 2, 11, 12]
    with pytest.raises(IndexError):
        images.open(len(images))


def test_outputs_are_numbered_as_torchvision_numbers_folders(tmp_path: Path):
    root = folders(tmp_path, {"Zoe\u0308": 1, "Zof": 1, "B": 1, "a b": 1})  # \xeb comes after f
    numbered, _ = import_torchvision("datasets.folder").find_classes(root)
    images, outputs = read(Task("faces", str(root), None, range(4)))
    assert [spell(name) for name in numbered] == [name.split("/")[1] for name in images.names]
    assert outputs.tolist() == [0, 1, 2, 3]


def test_one_task_alone_keeps_its_outputs(things: Path):
    images, outputs = read(Task("objects", str(things), None, range(7, 9)))
    assert outputs.tolist() == [7, 7, 8, 8]
    assert images.labels == ("7", "7", "8", "8")


def test_a_list_names_the_outputs(people: Path, tmp_path: Path):
    path = listed(tmp_path / "list.txt", "c", "x", "b ", "y y", "a", "")
    _, outputs = read(Task("faces", str(people), path, range(5)))
    assert outputs.tolist() == [4] * 3 + [2] + [0] * 12


def test_a_list_counts_even_where_there_are_as_many_folders(people: Path, tmp_path: Path):
    path = listed(tmp_path / "list.txt", "c", "b", "a")
    _, outputs = read(Task("faces", str(people), path, range(3)))
    assert outputs.tolist() == [2] * 3 + [1] + [0] * 12


def test_the_first_images_of_each_class(people: Path):
    tasks = [Task("faces", str(people), None, range(3))]
    images, outputs, _ = read_classes(tasks, at_most=2)
    assert outputs.tolist() == [0, 0, 1, 2, 2]
    assert images.names[-1] == "faces/c/2.png"


def test_only_images_that_were_held_out_are_used(people: Path, things: Path, tmp_path: Path):
    kept = [
        "faces/c/12.png",
        "faces/a/2.png",
        "faces/b/1.png",
        "objects/a/1.png",
        "objects/cup/2.png",
    ]
    table = listed(tmp_path / "held_out.csv", "image,class", *(f"{name},x" for name in kept))
    settings = Lesion(faces=Own(str(people)), objects=Own(str(things)), held_out=table)
    images, outputs, _ = read_classes(name_tasks(settings, 3, 5))
    assert images.names == tuple(sorted(kept)) and outputs.tolist() == [0, 1, 2, 3, 4]
    own = replace(settings, objects=Own(str(things), listed(tmp_path / "map", "cup: 4")))
    images, outputs, _ = read_classes(name_tasks(own, 3, 5))
    assert images.names[3:] == ("objects/cup/2.png",) and outputs[-1] == 4

    (things / "cup").rename(things / "Zo\xeb")
    listed(tmp_path / "held_out.csv", "image", "objects/a/1.png", "objects/Zoe\u0308/2.png")
    images, _ = read(*name_tasks(replace(settings, faces=Own()), 3, 5))
    assert images.names == ("objects/Zo\xeb/2.png", "objects/a/1.png")

    everything = [f"{each.parent.name}/{each.name}" for each in people.glob("*/*.png")]
    some = [f"faces/{name}" for name in everything if not name.startswith("b/")]
    listed(tmp_path / "held_out.csv", "image", *some)
    (people / "b" / "2.png").write_bytes((people / "a" / "1.png").read_bytes())
    for line, problem in (
        (
            "faces/b/1.png\nfaces/b/9.png",
            r"lists faces/b/9.png, which lesion.faces.root does not have",
        ),
        ("faces/d/1.png", r"lists 0 image.* of 'b' of lesion.faces.root: at least 2"),
        ("faces/b/1.png", r"lists 1 image.* of 'b' of lesion.faces.root: at least 2"),
    ):
        listed(tmp_path / "held_out.csv", "image", *some, line)
        with pytest.raises(InputError, match=problem):
            make_readout_classes(replace(settings, objects=Own(), task="readout"), Memo("unused"))
    listed(tmp_path / "held_out.csv", "file", *some)
    with pytest.raises(InputError, match="held_out.csv has no column 'image': give the held_out"):
        read_classes(name_tasks(settings, 3, 5))
    with pytest.raises(InputError, match=r"lesion.held_out=.*none.csv cannot be read: No such"):
        read_classes(name_tasks(replace(settings, held_out=str(tmp_path / "none.csv")), 3, 5))


def test_the_digest_follows_contents_and_outputs(people: Path, things: Path, tmp_path: Path):
    faces = Task("faces", str(people), None, range(3))
    other = Task("faces", str(people), listed(tmp_path / "list.txt", "b", "a", "c"), range(3))
    objects = Task("objects", str(things), None, range(3, 5))
    digests = [
        read(*tasks)[0].digest
        for tasks in (
            [faces],
            [other],
            [replace(faces, name="objects")],
            [faces, objects],
        )
    ]
    Image.new("L", (8, 8)).save(people / "b" / "1.png")
    digests.append(read(faces)[0].digest)
    assert len(set(digests)) == len(digests)
    assert read(faces)[0].digest == digests[-1]


@pytest.mark.parametrize(
    ("lines", "outputs", "message"),
    [
        (None, 4, r"lesion\.faces\.root=.*people has 3 folders, but the network has 4 such "
                  r"outputs: give lesion\.faces\.classes="),
        (["a", "b", "c"], 4, r"lesion\.faces\.classes=.* has 3 lines, .* 4 such outputs"),
        (["a", "b", "d"], 3, r"has a folder 'c' that lesion\.faces\.classes=.* does not list"),
        (["a", "b", "c", "a"], 4, r"lines 1 and 4 are both 'a'"),
        (["a: 0", "b 1", "c: 2"], 4, r"has 3 lines, .* or lines `folder: output` for those"),
        (["a: 0", "b: 1", "a: 2"], 4, r"names a folder twice: a folder has one output"),
    ],
)  # fmt: skip
def test_folders_that_do_not_fit(people: Path, tmp_path: Path, lines, outputs, message):
    path = None if lines is None else listed(tmp_path / "list.txt", *lines)
    with pytest.raises(InputError, match=message):
        read(Task("faces", str(people), path, range(outputs)))


def test_a_list_that_is_none(people: Path, tmp_path: Path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name, said in (("nowhere", "No such file"), ("binary", "not UTF-8"), (".", "directory")):
        with pytest.raises(InputError, match=rf"faces\.classes=.* cannot be read: .*{said}"):
            read(Task("faces", str(people), str(tmp_path / name), range(3)))


def test_a_folder_without_images_is_named(people: Path):
    (people / "d").mkdir()
    with pytest.raises(InputError, match=r"class 'd' in lesion\.faces\.root=.* has 0 image"):
        read(Task("faces", str(people), None, range(4)))


def test_no_folder(tmp_path: Path):
    with pytest.raises(InputError, match=r"lesion\.faces\.root=.*nowhere is not a folder"):
        read(Task("faces", str(tmp_path / "nowhere"), None, range(3)))


def call(function, *args, **kwargs):
    """Remembers nothing."""
    return function(*args, **kwargs)


def test_own_classes_are_drawn_held_out_faces_first():
    drawn = Lesion(images_per_identity=2, images_per_object=3, size=16, seed=4)
    own = make_own_classes(drawn, 3, 5, call)
    assert own.outputs.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 3, 4, 4, 4]
    assert own.outputs.dtype == np.int64 and own.face_classes == 3
    assert own.images.labels[6:] == (OBJECT_CATEGORIES[0],) * 3 + (OBJECT_CATEGORIES[1],) * 3
    people = draw_identities(4, 3, 2, split="network", first_image=HELD_OUT, size=16)
    np.testing.assert_array_equal(own.images.contents[:6], people.pixels)
    assert own.images.source == "drawn, seed 4"


def test_own_classes_are_read_where_the_settings_name_folders(things: Path):
    own = make_own_classes(Lesion(objects=Own(str(things)), images_per_class=1), 7, 9, call)
    assert own.outputs.tolist() == [7, 8] and own.face_classes == 7


def test_lines_may_map_folders_to_outputs(people: Path, tmp_path: Path):
    lines = listed(tmp_path / "map.txt", "c: 4", "a : 0")
    images, outputs = read(Task("objects", str(people), lines, range(5)))
    assert outputs.tolist() == [4] * 12 + [0] * 3
    assert "b" in " ".join(images.notes), "a folder without a line is told"


def test_an_output_that_is_none_is_refused(people: Path, tmp_path: Path):
    lines = listed(tmp_path / "map.txt", "c: 5", "a: 0")
    with pytest.raises(InputError, match="names the output 5: those of these classes are 0 to 4"):
        read(Task("objects", str(people), lines, range(5)))


def test_a_readout_is_fitted_on_every_other_image(people: Path, things: Path):
    shutil.rmtree(people / "b")  # who has one image
    settings = Lesion("single", faces=Own(str(people)), objects=Own(str(things)), task="readout")
    fitted, tested = make_readout_classes(settings, Memo("unused"))
    assert fitted.face_classes == 2 and fitted.names == {
        0: "faces/a", 1: "faces/c", 2: "objects/a", 3: "objects/cup"
    }  # fmt: skip
    assert fitted.outputs.tolist() == [0] * 2 + [1] * 6 + [2, 3]
    assert tested.outputs.tolist() == [0] + [1] * 6 + [2, 3]
    assert not {*fitted.images.names} & {*tested.images.names}
    assert fitted.images.digest != tested.images.digest


def test_a_readout_needs_two_images_a_class_and_two_classes(
    people: Path, things: Path, tmp_path: Path
):
    settings = Lesion("single", faces=Own(str(people)), task="readout")
    with pytest.raises(InputError, match="'b' .* has 1 image.* one to fit a readout on"):
        make_readout_classes(settings, Memo("unused"))
    alone = replace(settings, faces=Own(str(folders(tmp_path / "alone", {"a": 3}))))
    with pytest.raises(InputError, match="has one class: a readout needs two"):
        make_readout_classes(alone, Memo("unused"))
    with pytest.raises(InputError, match="lesion.images_per_class=1 is too small: one to fit"):
        few = replace(settings, faces=Own(str(things)), images_per_class=1)
        make_readout_classes(few, Memo("unused"))
