"""Folders as people keep them: all pictures are used, and what is not used is counted and told."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from app.config.schema import Identities, Lesion
from app.errors import InputError
from app.memo import Memo
from app.stimuli.classes import name_tasks, read_classes
from app.stimuli.identities import check_identities, make_identities
from app.stimuli.localizer import make_localizer
from tests.field.asked import choose, count_images, read_localizer, set_stimuli
from tests.field.inputs import ANNEX, HEIC, POINTER, base, encoded, images, plant

PICTURE = encoded()
THREE = {"car": 3, "face": 3, "house": 3}
JUNK = {name: b"\0" for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "._face-1.png")}


def more(name: str = "", content: bytes = PICTURE, **further: bytes) -> dict[str, bytes]:
    """A folder of three categories, with more files in it."""
    return {**base(), **({name: content} if name else {}), **further}


def few(folder: str, suffix: str, kind: str = "PNG") -> dict[str, bytes]:
    return {f"{folder}/more{number}{suffix}": encoded(kind) for number in range(2)}


def row(name: str, files: dict[str, bytes], right: dict[str, int], **settings):
    return pytest.param(files, right, settings, id=name)


MORE = {**THREE, "face": 5}
TABLE = [
    row("nested", base() | few("face/session2", ".png"), MORE),
    row("deeply", base() | few("face/a/b/c", ".png"), MORE),
    row("upper_case", base() | few("face", ".JPEG", "JPEG"), MORE),
    row("ico", base() | few("face", ".ico", "ICO"), MORE),
    row("pcx", base() | few("face", ".pcx", "PCX"), MORE),
    row("netpbm", base() | few("face", ".ppm", "PPM"), MORE),
    row("jfif", base() | few("face", ".jfif", "JPEG"), MORE),
    row("no_suffix", base() | few("face", ""), MORE),
    row("png_called_heic", base() | few("face", ".HEIC"), MORE),
    row("odd_suffix", base() | few("face", ".jpg_large", "JPEG"), MORE),
    row("dots", base() | few("face", ".2019.v2"), MORE),
    row("junk", base() | {f"{folder}{name}": content for name, content in JUNK.items()
        for folder in ("", "face/")}, THREE),
    row("checkpoints_of_notebooks", more(".ipynb_checkpoints/face-1.png"), THREE),
    row("synology", more("face/@eaDir/face-1.png/SYNOPHOTO_THUMB_M.png"), THREE),
    row("macosx_inside", more("face/__MACOSX/face-1.png"), THREE),
    row("scrambled", base() | images("scrambled"), {**THREE, "scrambled": 3}),
    row("uneven", base(count=40) | images("cars", 2), {**THREE, "cars": 2, "face": 40}),
    row("left_out", base(), {"face": 3, "house": 3}, leave_out=["car"]),
    row("left_out_of_domains", base(), {"face": 3, "house": 3},
        leave_out=["car"], domains={"face": ["face"], "other": ["house", "car"]}),
]  # fmt: skip


@pytest.mark.parametrize(("files", "right", "settings"), TABLE)
def test_all_pictures_are_used_and_nothing_else(tmp_path: Path, files, right, settings):
    assert count_images(read_localizer(plant(tmp_path, files), **settings)) == right


def test_drawn_categories_can_be_left_out(tmp_path: Path):
    settings = {"images_per_category": 2, "size": 16, "leave_out": ["car"]}
    localizer = make_localizer(set_stimuli("synthetic", **settings), Memo(tmp_path))
    assert "car" not in count_images(localizer)


TOLD = [
    ("heic", more("face/x0.HEIC", HEIC) | {"face/x1.HEIC": HEIC}, "2 .*HEIC"),
    ("notes", more("face/notes.txt", b"x") | {"face/README": b"x"}, "2 "),
    ("video", more("face/clip.mp4", b"\0\0\0 ftypisom" + bytes(40)), "1 .*mp4"),
    ("beside_the_categories", more("extra.png"), "1 .*extra.png"),
    ("macosx", more("__MACOSX/face/._face-1.png", b"\0"), "__MACOSX"),
    ("eadir", more("@eaDir/face/x.db", b"\0"), "@eaDir"),
    ("a_hidden_folder", more(".5/a.png") | {".git/x": b"x"}, r"1 .*used: \.5"),
    ("a_hidden_image", more("face/.a.png"), r"1 .*used: face/\.a\.png"),
    ("a_folder_of_tables", more("results/scores.csv", b"a,b"), "results"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "words"), [pytest.param(*r[1:], id=r[0]) for r in TOLD])
def test_what_is_not_used_is_counted_and_told(tmp_path: Path, told, files, words):
    localizer = read_localizer(plant(tmp_path, files))
    assert count_images(localizer) == THREE
    assert re.search(words, told(localizer, localizer.images))


FLAT = {f"face-{number}.png": PICTURE for number in range(3)}
SPLIT = {f"{split}/{name}": content for split in ("train", "val") for name, content in
         base().items()}  # fmt: skip
REFUSED = [
    ("no_such_left_out", base(), {"leave_out": ["hause"]}, "hause.*house"),
    ("left_out_case", base(), {"leave_out": ["Car"]}, "Car.*car"),
    ("flat", FLAT, {}, "(?s)(?!.*empty).*3 (image|picture|file)"),
    ("flat_one_below", {"all/a.png": PICTURE, "all/b.png": PICTURE}, {"domains": {"x": ["y"]}},
     "no folder 'y'.*it has all"),
    ("cut_pointer", base() | {"face/a.png": POINTER}, {}, "(?i)LFS"),
    ("annex_pointer", base() | {"face/a.png": ANNEX}, {}, "git-annex"),
    ("broken_picture", base() | {"face/a.png": PICTURE[:9]}, {}, "a.png"),
    ("empty_file", base() | {"face/a.png": b""}, {}, "a.png"),
    ("named_but_empty", base() | {"body/x.txt": b"x"}, {"domains": {"a": ["face"], "b": ["body"]}},
     "'body'.*0 image"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "settings", "words"),
    [pytest.param(*r[1:], id=r[0]) for r in REFUSED],
)
def test_mistakes_are_refused_in_their_own_words(tmp_path: Path, files, settings, words):
    with pytest.raises(InputError, match=words) as caught:
        read_localizer(plant(tmp_path, files), **settings)
    assert "\n" not in str(caught.value)


def test_a_tree_of_splits_is_refused_naming_the_folder_of_categories(tmp_path: Path):
    with pytest.raises(InputError, match=r"stimuli\.root=.*/train"):
        read_localizer(plant(tmp_path, SPLIT))


Link = Callable[[Path], Any]
LINKS = [
    ("category", lambda root: (root / "body").symlink_to(root / "face"), {**THREE, "body": 3}),
    ("file", lambda root: (root / "face/x.png").symlink_to(root / "car/car-1.png"),
     {**THREE, "face": 4}),
    ("loop", lambda root: (root / "face/again").symlink_to(root / "face"), THREE),
    ("loop_above", lambda root: (root / "face/again").symlink_to(root), THREE),
]  # fmt: skip


@pytest.mark.parametrize(
    ("link", "right"),
    [pytest.param(*r[1:], id=r[0]) for r in LINKS],
)
def test_links_are_followed_once(tmp_path: Path, link: Link, right: dict[str, int]):
    link(plant(tmp_path, base()))
    assert count_images(read_localizer(tmp_path)) == right


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(plant(tmp_path, base()) / "face/pipe.png")
    assert count_images(read_localizer(tmp_path)) == THREE


def test_a_link_to_nothing_is_named(tmp_path: Path):
    """As files of git-annex are that were not fetched."""
    plant(tmp_path, base())
    link = tmp_path / "face/gone.png"
    for target, said in ((".git/annex/objects/X/SHA256E-s9--4d7a.png", "is .* git-annex"),
                         ("elsewhere.png", "cannot be read")):  # fmt: skip
        link.unlink(missing_ok=True)
        link.symlink_to(f"../{target}")
        with pytest.raises(InputError, match=f"face/gone.png {said}"):
            read_localizer(tmp_path)


@pytest.mark.parametrize(
    ("names", "right"),
    [
        pytest.param([b"face/caf\xe9.png"], [3, 3, 4], id="file"),
        pytest.param([b"caf\xe9/1.png", b"caf\xe9/2.png"], [2, 3, 3, 3], id="folder"),
    ],
)
def test_names_in_latin_1_are_read(tmp_path: Path, names: list[bytes], right: list[int]):
    """From archives of other systems: no text in UTF-8, but the file system takes them."""
    plant(tmp_path, base() | {os.fsdecode(name): PICTURE for name in names})
    localizer = read_localizer(tmp_path)
    assert sorted(count_images(localizer).values()) == right
    "\n".join([*localizer.images.names, *localizer.images.labels]).encode()  # as records are


PEOPLE = {**images("ann"), **images("bob"), **images("eve", 1), "joe/notes.txt": b"x"}


@pytest.mark.parametrize(
    ("files", "at_least"),
    [
        pytest.param(PEOPLE, 2, id="one_or_none"),
        pytest.param({**images("ann"), **images("bob"), **images("eve", 2)}, 3, id="two_of_three"),
    ],
)  # fmt: skip
def test_identities_of_few_images_can_be_left_out(tmp_path: Path, told, files, at_least):
    chosen = {"root": str(plant(tmp_path, files)), "at_least": at_least}
    settings = OmegaConf.to_object(choose(Identities, "identities", "folder", **chosen))
    found = make_identities(settings, Memo("never stored to"))
    assert set(found.labels) == {"ann", "bob"}
    assert "eve" in told(found)


def test_one_image_of_an_identity_is_refused_by_default(tmp_path: Path):
    settings = Identities(name="folder", root=str(plant(tmp_path, PEOPLE)))
    with pytest.raises(InputError, match=r"'eve'.*1 image"):
        make_identities(settings, Memo("never stored to"))


def test_of_drawn_images_a_folder_that_is_named_is_told_as_not_read(tmp_path: Path):
    memo, few = Memo(tmp_path / "cache"), {"images_per_category": 2, "size": 16}
    (note,) = make_localizer(set_stimuli("synthetic", root="my/own", **few), memo).images.notes
    assert note == ("stimuli: images are drawn, and stimuli.root=my/own is not read: give "
                    "stimuli=folder, too")  # fmt: skip
    people = Identities(name="synthetic", root="my/people", count=2, images_each=2, size=16)
    assert "identities.root=my/people is not read" in make_identities(people, memo).notes[0]


def test_a_category_that_is_not_drawn_is_refused(tmp_path: Path):
    settings = set_stimuli("synthetic", domains={"faces": ["adult", "chlid"]})
    with pytest.raises(InputError, match=r"faces names the category 'chlid'.*adult, child"):
        make_localizer(settings, Memo(tmp_path))


def test_one_identity_of_enough_images_is_told_as_that(tmp_path: Path):
    root = plant(tmp_path, {**images("ann"), **images("eve", 2)})
    with pytest.raises(InputError, match=r"has one folder of 3 images or more, 'ann'"):
        check_identities(Identities(name="folder", root=str(root), at_least=3))


@pytest.mark.parametrize(("task", "face_classes"), [("faces", 2), ("objects", 0)])
def test_own_classes_are_read_as_stimuli_are(tmp_path: Path, task: str, face_classes: int):
    """ImageFolder's numbers: folders of nested images, what systems keep beside them aside."""
    plant(tmp_path, {**images("n02"), **images("n01/session2"), ".DS_Store": b"\0"})
    settings = Lesion(name="single")
    getattr(settings, task).root = str(tmp_path)
    found, outputs, _ = read_classes(name_tasks(settings, face_classes, 2))
    assert list(outputs) == [0, 0, 0, 1, 1, 1]
    assert found.names[0].startswith(f"{task}/n01/session2")
