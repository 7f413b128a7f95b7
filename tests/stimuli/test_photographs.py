"""Photographs, fetched from a server on this machine and made into folders per class."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import app.photographs  # its config's schema
import app.train  # noqa: F401
from app.config.photographs import Photographs, checked
from app.config.schema import Identities
from app.errors import InputError
from app.stimuli import photographs
from app.stimuli.folders import ImageFolders
from app.stimuli.identities import check_identities, make_identities
from tests.composing import compose_config
from tests.conftest import run_app, run_warm

PEOPLE = {"Ann": 25, "Bob": 21, "Cid": 12, "Dot": 10, "Eve": 3}
THINGS = {"001.ak47": 6, "002.flag": 5, "003.bag": 2, "159.people": 9}


def pack(top: str, classes: dict[str, int], mode: str) -> bytes:
    """An archive of a folder per class, and of files that are no images of theirs."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:

        def add(name: str, content: bytes) -> None:
            member = tarfile.TarInfo(f"{top}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))

        add("pairs.txt", b"no image")
        for label, count in classes.items():
            add(f"{label}/more/deeper.jpg", b"nor this")
            for number in range(1, count + 1):
                rng = np.random.default_rng([number, *label.encode()])
                pixels = rng.integers(0, 256, (250, 250, 3), dtype=np.uint8)
                picture = io.BytesIO()
                Image.fromarray(pixels).save(picture, "jpeg")
                add(f"{label}/{label}_{number:04d}.jpg", picture.getvalue())
    return buffer.getvalue()


@dataclass
class Server:
    """Stand-ins for the two archives, and what happens to those who ask for them."""

    address: str
    files: dict[str, bytes]
    asked: list[tuple[str, int]] = field(default_factory=list)  # name, first byte
    breaks: int = 0  # how often a file breaks off half-way
    ranges: bool = True  # whether parts of a file can be had

    def overrides(self, folder: Path) -> list[str]:
        words = [f"folder={folder}/made", f"archives={folder}/archives", "objects.at_least=4"]
        for part, name in (("people", "lfw.tgz"), ("things", "256.tar")):
            digest = hashlib.sha256(self.files[name]).hexdigest()
            words += [f"{part}.address={self.address}/{name}", f"{part}.digest=sha256:{digest}"]
        return words

    def settings(self, folder: Path, *others: str) -> Photographs:
        return checked(compose_config(*self.overrides(folder), *others, name="photographs"))


@pytest.fixture(scope="module")
def archives() -> dict[str, bytes]:
    return {"lfw.tgz": pack("lfw_funneled", PEOPLE, "w:gz"),
            "256.tar": pack("256_ObjectCategories", THINGS, "w")}  # fmt: skip


@pytest.fixture
def server(archives: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("PHOTOGRAPHS", raising=False)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/")
            content = known.files.get(name, b"")
            wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            start = int(wanted[1]) if wanted and known.ranges else 0
            known.asked.append((name, start))
            found = 206 if wanted and known.ranges else 200
            self.send_response(404 if not content else 416 if start >= len(content) else found)
            content = content[start:]
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            broken = known.breaks > 0
            known.breaks -= broken
            with suppress(ConnectionError):
                self.wfile.write(content[: len(content) // 2] if broken else content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        known = Server(f"http://127.0.0.1:{listening.server_port}", dict(archives))
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        yield known
        listening.shutdown()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that does not arrive is given up at once."""
    monkeypatch.setattr(photographs, "RETRIES", 0)


def make(settings: Photographs) -> Path:
    folder = Path(settings.folder)
    photographs.make_photographs(settings, folder)
    return folder


def counts(folder: Path) -> dict[str, int]:
    return {place.name: len(list(place.iterdir())) for place in sorted(folder.iterdir())}


def refusal(settings: Photographs) -> str:
    """The one line; nothing is made, and nothing else is left that looks as if it were."""
    with pytest.raises(InputError) as caught:
        make(settings)
    assert "\n" not in str(caught.value)
    left = {place.name for place in Path(settings.folder).parent.iterdir()}
    assert left <= {"archives", ".made.lock"}
    return str(caught.value)


# ------------------------------------------------------------------------------ what is made


def test_people_to_learn_people_to_decode_and_objects(server: Server, tmp_path: Path):
    folder = make(server.settings(tmp_path, "faces.most=22"))
    assert sorted(os.listdir(folder)) == ["decode", "faces", "objects", "sources.json"]
    assert counts(folder / "faces") == {"Ann": 22, "Bob": 21}
    assert counts(folder / "decode") == {"Cid": 10, "Dot": 10}, "none of those who are learned"
    assert counts(folder / "objects") == {"001.ak47": 6, "002.flag": 5}, "large, and no people"
    for file in folder.glob("*/*/*"):
        with Image.open(file) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "L", (96, 96))
    told = json.loads((folder / "sources.json").read_text())
    assert told["people"]["title"] == "Labeled Faces in the Wild" and told["size"] == 96


def test_the_part_of_a_face_that_scikit_learn_takes(server: Server, tmp_path: Path):
    """At the box's own size no pixel is resampled."""
    folder = make(server.settings(tmp_path, "size=125"))
    with tarfile.open(fileobj=io.BytesIO(server.files["lfw.tgz"])) as archive:
        member = archive.extractfile("lfw_funneled/Bob/Bob_0007.jpg")
        assert member is not None
        expected = np.asarray(Image.open(member).convert("L"))[70:195, 62:187]
    with Image.open(folder / "faces/Bob/Bob_0007.png") as image:
        np.testing.assert_array_equal(np.asarray(image), expected)


def test_which_images_follows_from_the_seed(server: Server, tmp_path: Path):
    few = "faces.most=5", "decode.most=5", "size=16"
    names = []
    for number, seed in enumerate((0, 0, 1)):
        own = f"folder={tmp_path}/{number}"
        folder = make(server.settings(tmp_path, *few, f"seed={seed}", own))
        names.append({str(file.relative_to(folder)) for file in folder.rglob("*.png")})
    assert names[0] == names[1] != names[2]
    assert len(server.asked) == 2, "the archives stay"


def test_what_is_made_needs_no_server(server: Server, tmp_path: Path):
    make(server.settings(tmp_path, "size=16"))
    server.asked.clear()
    make(server.settings(tmp_path, "size=16", "people.address=http://127.0.0.1:9/x"))
    assert not server.asked
    with pytest.raises(InputError, match=r"was made with size=16, not 32: give another folder="):
        make(server.settings(tmp_path, "size=32"))


def test_a_folder_of_somebody_is_left_alone(server: Server, tmp_path: Path):
    (tmp_path / "made/faces/mine").mkdir(parents=True)
    with pytest.raises(InputError, match="holds what this command did not make"):
        make(server.settings(tmp_path))
    assert os.listdir(tmp_path / "made") == ["faces"] and not server.asked


def test_what_a_killed_process_left_is_made_anew(server: Server, tmp_path: Path):
    (tmp_path / ".made.new/faces/half").mkdir(parents=True)
    (tmp_path / "archives").mkdir()
    (tmp_path / "archives/tmphalf").write_bytes(b"half")
    folder = make(server.settings(tmp_path, "size=16"))
    assert counts(folder / "faces") == {"Ann": 25, "Bob": 21}
    assert not (tmp_path / ".made.new").exists() and not (tmp_path / "archives/tmphalf").exists()


# ---------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("ranges", [True, False])
def test_half_a_download_goes_on_or_starts_again(server: Server, tmp_path: Path, ranges: bool):
    server.breaks, server.ranges = 1, ranges
    settings = server.settings(tmp_path, "size=16")
    assert "/lfw.tgz of Labeled Faces in the Wild cannot be fetched" in refusal(settings)
    part = tmp_path / "archives/.lfw-funneled.tgz.part"
    half = part.stat().st_size
    assert 0 < half < len(server.files["lfw.tgz"]), "kept, and never taken for the whole"
    assert counts(make(settings) / "faces") == {"Ann": 25, "Bob": 21}
    assert server.asked == [("lfw.tgz", 0), ("lfw.tgz", half if ranges else 0), ("256.tar", 0)]
    assert not part.exists()


def test_a_part_that_lacks_nothing(server: Server, tmp_path: Path):
    (tmp_path / "archives").mkdir()
    whole = server.files["lfw.tgz"]
    (tmp_path / "archives/.lfw-funneled.tgz.part").write_bytes(whole)
    assert counts(make(server.settings(tmp_path, "size=16")) / "faces") == {"Ann": 25, "Bob": 21}
    assert server.asked == [("lfw.tgz", len(whole)), ("256.tar", 0)], "nothing comes twice"


def test_an_archive_of_another_digest(server: Server, tmp_path: Path):
    sound = server.files["256.tar"]
    settings = server.settings(tmp_path, "size=16")
    server.files["256.tar"] = b"<html>Please log in</html>"
    assert "256.tar of Caltech-256 cannot be fetched: it is not the file" in refusal(settings)
    assert not [name for name in os.listdir(tmp_path / "archives") if "256" in name]
    server.files["256.tar"] = sound
    make(settings)


def test_nothing_listens(server: Server, tmp_path: Path):
    told = refusal(server.settings(tmp_path, "people.address=http://127.0.0.1:9/lfw.tgz"))
    assert "Connection refused" in told and "archives/lfw-funneled.tgz" in told


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "faces.at_least=25",
            "has 1 classes of 25 images or more, and two are needed: lower faces",
        ),
        ("decode.at_least=12", "classes of 12 images or more and below 20"),
        ("objects.at_least=7", "Caltech-256 has 0 classes of 7 images or more"),
    ],
)
def test_too_few_classes(server: Server, tmp_path: Path, override: str, said: str):
    assert said in refusal(server.settings(tmp_path, override))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("decode.at_least=20", "nobody is both learned and decoded"),
        ("faces.most=1", "faces.most=1 is too small"),
        ("people.box=[9,9]", "box=[9, 9]: it is [left, upper, right, lower]"),
        ("archives=${folder}/archives", "which holds what is made alone: give another archives="),
    ],
)
def test_settings_that_contradict(tmp_path: Path, override: str, said: str):
    with pytest.raises(InputError, match=re.escape(said)):
        checked(compose_config(override, name="photographs"))


def test_a_box_beyond_an_image(server: Server, tmp_path: Path):
    said = refusal(server.settings(tmp_path, "people.box=[0,0,250,251]"))
    assert re.fullmatch(r"box=.* leaves lfw_funneled/.*\.jpg, 250 x 250 pixels", said)


def test_an_image_in_an_archive_that_is_none(server: Server, tmp_path: Path):
    damaged = bytearray(server.files["256.tar"])
    start = damaged.index(b"\xff\xd8\xff", damaged.index(b"002.flag_0003.jpg"))
    damaged[start : start + 16] = b"no picture, text"
    server.files["256.tar"] = bytes(damaged)
    said = refusal(server.settings(tmp_path))
    assert said.endswith(
        "256_ObjectCategories/002.flag/002.flag_0003.jpg is no image of a known kind"
    )


def test_names_left_out_that_are_no_classes(server: Server, tmp_path: Path):
    settings = server.settings(tmp_path)
    settings.things.leave_out = {"a": ["159.people", "001.ak48"], "b": ["bag"]}
    (note,) = photographs.make_photographs(settings, Path(settings.folder))
    assert note == "things.leave_out has 2 name(s) that are no classes, the first is 001.ak48"
    assert not photographs.make_photographs(settings, Path(settings.folder))


def test_nothing_is_left_out(server: Server, tmp_path: Path):
    folder = make(server.settings(tmp_path, "things.leave_out=null", "size=16"))
    assert sorted(os.listdir(folder / "objects")) == ["001.ak47", "002.flag", "159.people"]


def test_a_person_who_is_learned_and_decoded(tmp_path: Path):
    """An image of both is refused, whatever it is called; names of both are told."""
    for number, (part, people) in enumerate((("faces", "xy"), ("decode", "yz"))):
        for place, name in enumerate(people):
            (tmp_path / part / name).mkdir(parents=True)
            for each in range(2):
                grey = np.full((8, 8), 100 + 10 * number + 2 * place + each, np.uint8)
                Image.fromarray(grey).save(tmp_path / part / name / f"{each}.bmp")
    learned = str(tmp_path / "faces")
    settings = Identities("folder", root=str(tmp_path / "decode"))
    check_identities(settings, learned)
    (note,) = make_identities(settings, memo=None, learned=learned).notes  # type: ignore[arg-type]
    assert note == "identities: 1 are called as people whom the network learned: y"
    assert not make_identities(settings, memo=None).notes  # type: ignore[arg-type]
    copied = tmp_path / "decode/z/1.bmp"
    copied.write_bytes((tmp_path / "faces/x/0.bmp").read_bytes())
    with pytest.raises(InputError, match=f"{copied} is the same image as {learned}/x/0.bmp: nob"):
        check_identities(settings, learned)
    check_identities(settings, None)


# ------------------------------------------------------------------------------- the command


def test_terms_come_first(server: Server, tmp_path: Path):
    process = run_app(tmp_path, *server.overrides(tmp_path), module="app.photographs")
    assert process.returncode == 1 and not server.asked
    assert process.stdout.count("Terms: ") == 2 and "Caltech-256 (1.2 GB)" in process.stdout
    assert process.stderr.startswith("error: nothing was fetched: read the terms, and give accept")
    assert len(process.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_the_command(server: Server, tmp_path: Path):
    words = [*server.overrides(tmp_path), "accept_terms=true", "size=16"]
    for _ in range(2):
        process = run_app(tmp_path, *words, module="app.photographs")
        assert process.returncode == 0, process.stderr
        assert f"{tmp_path}/made/faces: 2 classes, 46 images to learn\n" in process.stdout
        assert f"{tmp_path}/made/decode: 2 classes, 20 images to decode\n" in process.stdout
    assert len(server.asked) == 2
    command = f"PHOTOGRAPHS={tmp_path}/made python -m app.train +experiment=photographs"
    assert process.stdout.splitlines()[-1] == f"Train on them: {command}"


@pytest.mark.parametrize("bytes_", [20_000, 1_500_000])
def test_a_full_disk(server: Server, tmp_path: Path, bytes_: int):
    """No file may grow beyond so many bytes: within an archive."""
    assert len(server.files["lfw.tgz"]) > 1_500_000
    words = [*server.overrides(tmp_path), "accept_terms=true"]
    process = run_warm(tmp_path, *words, module="app.photographs", file_bytes=bytes_)
    assert process.returncode == 1
    assert process.stderr.startswith(f"error: cannot store archives in {tmp_path}/archives: File")
    assert len(process.stderr.splitlines()) == 1
    assert not (tmp_path / "made").exists() and not (tmp_path / ".made.new").exists()


def test_a_disk_that_is_full_while_images_are_written(server: Server, tmp_path: Path):
    settings = server.settings(tmp_path, "size=1024")
    for archive in (settings.people, settings.things):
        photographs.fetch_archive(archive, tmp_path / "archives")
    words = [*server.overrides(tmp_path), "accept_terms=true", "size=1024"]
    process = run_warm(tmp_path, *words, module="app.photographs", file_bytes=100_000)
    assert process.returncode == 1
    assert process.stderr.startswith(f"error: cannot make photographs in {tmp_path}/made: File")
    assert len(process.stderr.splitlines()) == 1
    assert {place.name for place in tmp_path.iterdir()} == {"archives", ".made.lock"}


def test_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("PHOTOGRAPHS", raising=False)
    settings = checked(compose_config(name="photographs"))
    assert settings.folder.endswith(os.path.join("selective-units", "photographs"))
    assert settings.archives.endswith(os.path.join("selective-units", "archives"))
    trained = compose_config("+experiment=photographs", name="train")
    assert trained.faces.root == f"{settings.folder}/faces"
    with pytest.raises(InputError, match=r"is not a folder: .* with python -m app\.photographs"):
        ImageFolders(trained.faces.root, "class", "faces.root").labels()
    monkeypatch.setenv("PHOTOGRAPHS", "/mine")
    assert trained.objects.root == "/mine/objects"


def test_what_is_trained_is_what_is_asked():
    trained = compose_config("+experiment=photographs", name="train")
    asked = compose_config("+experiment=figure1_photographs", hydra=True)
    shape = ("source", "widths", "hidden", "input_size", "resize", "mean", "sd")
    assert [trained.model[name] for name in shape] == [asked.model[name] for name in shape]
    swept, left = asked.hydra.sweeper.params, trained.output
    assert swept["model"] == asked.model.name == trained.model.name
    files = [f"{left}/{name}.safetensors" for name in ("best", "initial")]
    assert swept["model.checkpoint"].split(",") == files
    assert (asked.model.checkpoint, asked.lesion.held_out) == (files[0], f"{left}/held_out.csv")


def test_the_experiment_of_another_command(tmp_path: Path):
    process = run_app(tmp_path, "+experiment=photographs")
    assert process.returncode == 1 and len(process.stderr.splitlines()) == 1
    assert "In 'experiment/photographs'" in process.stderr
