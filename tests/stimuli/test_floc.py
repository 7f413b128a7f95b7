"""fLoc's images, fetched from a server on this machine that can go wrong in every way."""

from __future__ import annotations

import hashlib
import io
import os
import random
import resource
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from app.config import schema
from app.errors import InputError
from app.files import user_cache
from app.stimuli import floc
from app.stimuli.folders import ImageFolders
from app.stimuli.localizer import make_localizer
from tests.composing import check_config

EACH = 3
CATEGORIES = (
    "adult", "child", "body", "limb", "word", "number", "house", "corridor", "car", "instrument",
    "scrambled",
)  # fmt: skip


@dataclass
class Server:
    """Stand-ins for the images, and what happens to those who ask for them."""

    address: str
    files: dict[str, bytes]
    digests: Path  # their list
    asked: Counter[str] = field(default_factory=Counter)
    breaks: Counter[str] = field(default_factory=Counter)  # how often a file breaks off half-way
    status: dict[str, int] = field(default_factory=dict)  # answered instead of 200
    seconds: float = 0.0  # before an answer, and as long again in the middle of it

    def listed(self) -> dict[str, dict[str, str]]:
        return floc.read_digests(self.digests)


@pytest.fixture
def server(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    rng = np.random.default_rng(0)
    files = {}
    for category in CATEGORIES:
        for number in range(1, EACH + 1):
            buffer = io.BytesIO()
            pixels = rng.integers(0, 256, (64, 64), dtype=np.uint8)
            Image.fromarray(pixels).save(buffer, "jpeg")
            files[f"stimuli/{category}/{category}-{number}.jpg"] = buffer.getvalue()
    digests = tmp_path_factory.mktemp("listed") / "digests"
    digests.write_text(
        "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items())
    )

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/pinned/")
            known.asked[name] += 1
            time.sleep(known.seconds)
            self.send_response(known.status.get(name, 200 if name in known.files else 404))
            content = known.files.get(name, b"")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            broken = known.breaks[name] > 0
            known.breaks[name] -= broken
            half = len(content) // 2
            with suppress(ConnectionError):  # who asked was killed
                self.wfile.write(content[:half])
                if not broken:
                    time.sleep(known.seconds)
                    self.wfile.write(content[half:])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        known = Server(f"http://127.0.0.1:{listening.server_port}/pinned", files, digests)
        threading.Thread(target=listening.serve_forever, args=(0.02,), daemon=True).start()
        yield known
        listening.shutdown()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more attempt, without the pause before it."""
    import pooch.core

    monkeypatch.setattr(floc, "RETRIES", 1)
    monkeypatch.setattr(pooch.core.time, "sleep", lambda _: None)


def fetch(server: Server, folder: Path, *categories: str) -> None:
    """All images of the categories are there afterwards."""
    wanted = categories or ("adult", "car")
    assert floc.fetch(wanted, folder, server.address, server.listed()) == folder / "stimuli"
    assert of(server, *wanted) <= present(folder)


def present(folder: Path) -> set[str]:
    """The files in the folder, but for the lock that stays."""
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    return found - {".lock"}


def of(server: Server, *categories: str) -> set[str]:
    return {name for name in server.files if name.split("/")[1] in categories}


def assert_sound(server: Server, folder: Path) -> None:
    for name in present(folder):
        assert (folder / name).read_bytes() == server.files[name]


def failure(server: Server, folder: Path, *categories: str) -> str:
    with pytest.raises(InputError) as caught:
        fetch(server, folder, *categories)
    message = str(caught.value)
    assert "\n" not in message
    assert_sound(server, folder)
    return message


# ------------------------------------------------------------------------------ what ships


def test_the_list_that_ships():
    listed = floc.read_digests(floc.DIGESTS)
    assert set(listed) == set(CATEGORIES)
    for category, files in listed.items():
        assert set(files) == {f"stimuli/{category}/{category}-{n}.jpg" for n in range(1, 145)}
    assert len({digest for files in listed.values() for digest in files.values()}) > 1500


# ------------------------------------------------------------------------------- fetching


def test_only_the_categories_asked_for_once(server: Server, tmp_path: Path):
    folder = tmp_path / "kept"
    fetch(server, folder)
    assert present(folder) == of(server, "adult", "car")
    assert_sound(server, folder)
    fetch(server, folder)
    fetch(server, folder, "car", "house")
    assert server.asked == Counter(of(server, "adult", "car", "house"))


def test_a_file_damaged_on_disk_is_fetched_again(server: Server, tmp_path: Path):
    fetch(server, tmp_path)
    damaged = tmp_path / "stimuli/car/car-2.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    fetch(server, tmp_path)
    assert_sound(server, tmp_path)
    assert server.asked.pop("stimuli/car/car-2.jpg") == 2
    assert set(server.asked.values()) == {1}


def test_a_complete_folder_needs_neither_server_nor_writing(server: Server, tmp_path: Path):
    fetch(server, tmp_path)
    (tmp_path / ".lock").unlink()
    server.address = "http://127.0.0.1:9"
    fetch(server, tmp_path)
    assert not (tmp_path / ".lock").exists()


@pytest.mark.slow
def test_broken_off_once_it_is_tried_again(server: Server, tmp_path: Path):
    name = "stimuli/adult/adult-2.jpg"
    server.breaks[name] = 1
    fetch(server, tmp_path)
    assert_sound(server, tmp_path)
    assert present(tmp_path) == of(server, "adult", "car")
    assert server.asked[name] == 2


@pytest.mark.usefixtures("impatient")
def test_broken_off_again_and_again_the_next_start_goes_on(server: Server, tmp_path: Path):
    name = "stimuli/car/car-3.jpg"
    server.breaks[name] = 1000
    message = failure(server, tmp_path)
    assert f"{server.address}/{name} of fLoc cannot be fetched" in message
    assert "stimuli.root" in message
    kept = present(tmp_path)
    assert kept == of(server, "adult", "car") - {name}, "it was the last in the queue"
    server.breaks.clear()
    server.asked.clear()
    fetch(server, tmp_path)
    assert server.asked == {name: 1}


@pytest.mark.usefixtures("impatient")
def test_another_content_is_refused(server: Server, tmp_path: Path):
    name = "stimuli/adult/adult-1.jpg"
    sound = server.files[name]
    server.files[name] = b"<html>Please log in</html>"
    assert f"{name} of fLoc cannot be fetched: it is not the file" in failure(server, tmp_path)
    assert name not in present(tmp_path)
    server.files[name] = sound
    fetch(server, tmp_path)
    assert present(tmp_path) == of(server, "adult", "car")


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("status", "said"), [(404, "answers 404"), (429, "wait a while"), (500, "answers 500")]
)
def test_other_answers(server: Server, tmp_path: Path, status: int, said: str):
    name = "stimuli/adult/adult-3.jpg"
    server.status[name] = status
    message = failure(server, tmp_path)
    assert name in message and said in message
    assert name not in present(tmp_path)


@pytest.mark.usefixtures("impatient")
def test_nothing_listens(server: Server, tmp_path: Path):
    server.address = "http://127.0.0.1:9"
    message = failure(server, tmp_path)
    assert "http://127.0.0.1:9/stimuli/" in message and "Connection refused" in message
    assert not present(tmp_path)


def test_a_category_that_floc_has_not(server: Server, tmp_path: Path):
    with pytest.raises(InputError, match="no category 'dog': it has adult, child, .*scrambled"):
        fetch(server, tmp_path / "kept", "adult", "dog")
    assert not (tmp_path / "kept").exists()


def test_a_file_where_the_folder_should_be(server: Server, tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot store .*file/kept.*stimuli\.folder="):
        fetch(server, tmp_path / "file" / "kept")


# --------------------------------------------------------------------- processes of their own

PROGRAM = """
import sys
from pathlib import Path
from app.errors import InputError
from app.files import user_cache
from app.stimuli import floc
folder, address, digests, *categories = sys.argv[1:]
try:
    floc.fetch(categories, Path(folder), address, floc.read_digests(Path(digests)))
except InputError as error:
    sys.exit(str(error))
"""


def started(
    server: Server,
    folder: Path,
    categories: Sequence[str] = ("adult", "car"),
    **options: Callable[[], None],
) -> subprocess.Popen[str]:
    command = [sys.executable, "-u", "-c", PROGRAM, str(folder), server.address]
    return subprocess.Popen(
        [*command, str(server.digests), *categories],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_PROXY": "127.0.0.1"},
        **options,
    )


@pytest.mark.slow
def test_of_two_processes_one_fetches(server: Server, tmp_path: Path):
    server.seconds = 0.3  # so that the other finds it at work
    processes = [started(server, tmp_path / "kept") for _ in range(2)]
    for process in processes:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    assert server.asked == Counter(of(server, "adult", "car"))
    assert_sound(server, tmp_path / "kept")


def test_a_full_disk(server: Server, tmp_path: Path):
    """No file may grow beyond 500 bytes."""
    process = started(
        server,
        tmp_path / "kept",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)),
    )
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert len(err.strip().splitlines()) == 1, err
    assert err.startswith(f"cannot store the images of fLoc in {tmp_path}/kept: File too large")
    assert not present(tmp_path / "kept")
    fetch(server, tmp_path / "kept")


@pytest.mark.slow
def test_what_a_killed_process_left_is_no_image(server: Server, tmp_path: Path):
    """A whole file that was not put in its place would be shown twice."""
    left = tmp_path / "stimuli" / CATEGORIES[0] / "tmp2dxfe4yi"
    left.parent.mkdir(parents=True)
    left.write_bytes(next(iter(server.files.values())))
    process = started(server, tmp_path, CATEGORIES)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    read = ImageFolders(tmp_path / "stimuli", "category", "stimuli.root").find()
    assert sum(map(len, read.values())) == len(server.files) and not left.exists()


@pytest.mark.slow
def test_killed_at_random_moments_then_the_same_command(server: Server, tmp_path: Path):
    server.seconds = 0.05
    moments, under_way = random.Random(0), 0
    for _ in range(5):
        began = server.asked.total()
        process = started(server, tmp_path, CATEGORIES)
        while server.asked.total() == began:
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.15))
        process.kill()
        process.communicate()
        assert process.returncode == -9
        FileLock(tmp_path / ".lock").acquire(timeout=0).lock.release()  # not the dead one's
        found = present(tmp_path)
        whole = {name for name in found if name.endswith(".jpg")}
        assert all((tmp_path / name).read_bytes() == server.files[name] for name in whole)
        under_way += len(found - whole)
    assert whole and under_way, "none was killed in the middle of a file"
    process = started(server, tmp_path, CATEGORIES)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert of(server, *CATEGORIES) <= present(tmp_path)
    read = ImageFolders(tmp_path / "stimuli", "category", "stimuli.root").find()
    assert sum(map(len, read.values())) == len(server.files), "what the dead left is no image"
    assert server.asked.total() < 2 * len(server.files)  # whole ones were not fetched again


# ---------------------------------------------------------------------------- as a localizer


def unused(*_: object, **__: object):
    """A memo: nothing is drawn."""
    raise AssertionError


def composed(folder: Path, *overrides: str) -> schema.Config:
    return check_config("stimuli=floc", f"stimuli.folder={folder}", *overrides)


@pytest.mark.parametrize(
    ("overrides", "categories"),
    [
        ([], CATEGORIES[:-1]),
        (["+stimuli.domains.noise=[scrambled]"], CATEGORIES),
        (
            ["~stimuli.domains.bodies", "stimuli.domains.places=[house]"],
            ("adult", "child", "word", "number", "house", "car", "instrument"),
        ),
        (["stimuli.domains=null", "target=car"], sorted(CATEGORIES[:-1])),
    ],
)
def test_the_localizer(server: Server, tmp_path: Path, monkeypatch, overrides, categories):
    monkeypatch.setattr(floc, "DIGESTS", server.digests)
    config = composed(tmp_path / "kept", f"stimuli.address={server.address}", *overrides)
    images = make_localizer(config.stimuli, unused).images
    assert list(dict.fromkeys(images.labels)) == list(categories)
    assert len(images) == EACH * len(categories)
    assert images.source == server.address
    assert present(tmp_path / "kept") == of(server, *categories)
    given = composed(tmp_path, *overrides, f"stimuli.root={tmp_path}/kept/stimuli")
    assert make_localizer(given.stimuli, unused).images.digest == images.digest


def test_kept_in_the_users_cache(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if sys.platform == "linux":
        assert Path(user_cache("floc")) == tmp_path / "selective-units" / "floc"


@pytest.mark.parametrize("address", ["null", "ftp://host", "/a/folder"])
def test_an_address_of_another_kind(address: str, tmp_path: Path):
    with pytest.raises(InputError, match=r"stimuli\.address=.* http"):
        composed(tmp_path, f"stimuli.address={address}")
