"""The cache returns what was computed, computes it once, and never returns anything damaged."""

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import app.errors
import app.memo.store
from app.errors import InputError
from app.memo.store import Cache, array_digest, code_digest, file_digest

INGREDIENTS = {"weights": "ab12", "size": [64, 64], "range": float("inf")}


def arrays() -> dict[str, np.ndarray]:
    return {
        "conv1/l2": np.arange(12, dtype=np.float32).reshape(3, 4),
        "conv2/max": np.array([[np.nan, -0.0], [1.5, np.inf]]),
        "names": np.array(["adult", "car"]),
        "empty": np.empty((0, 3)),
        "number": np.array(7),
    }


class Compute:
    """Counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, np.ndarray]:
        self.calls += 1
        return arrays()


def assert_same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_computes_once_and_returns_the_same(cache: Cache) -> None:
    compute = Compute()
    assert not cache.has("responses", INGREDIENTS)
    assert_same(cache.get("responses", INGREDIENTS, compute), arrays())
    assert cache.has("responses", INGREDIENTS)
    reordered = dict(reversed(INGREDIENTS.items()))
    assert_same(cache.get("responses", reordered, compute), arrays())
    assert compute.calls == 1


def test_other_ingredients_or_step_are_other_entries(cache: Cache) -> None:
    compute = Compute()
    cache.get("responses", INGREDIENTS, compute)
    cache.get("responses", {**INGREDIENTS, "weights": "ab13"}, compute)
    cache.get("scores", INGREDIENTS, compute)
    assert compute.calls == 3


def test_names_read_only_these(cache: Cache) -> None:
    compute = Compute()
    some = {name: arrays()[name] for name in ("number", "conv1/l2")}
    assert_same(cache.get("responses", INGREDIENTS, compute, names=list(some)), some)
    assert_same(cache.get("responses", INGREDIENTS, compute, names=list(some)), some)
    assert compute.calls == 1


def test_numpy_opens_an_entry(cache: Cache) -> None:
    cache.get("responses", INGREDIENTS, arrays)
    with np.load(cache.path("responses", INGREDIENTS)) as entry:
        np.testing.assert_array_equal(entry["conv1/l2"], arrays()["conv1/l2"])


def test_equal_entries_are_equal_files(cache: Cache, tmp_path: Path) -> None:
    other = Cache(tmp_path / "other")
    for each in (cache, other):
        each.get("responses", INGREDIENTS, arrays)
    paths = [each.path("responses", INGREDIENTS) for each in (cache, other)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def flip_a_value(path: Path) -> None:
    content = bytearray(path.read_bytes())
    position = content.index(arrays()["conv1/l2"].tobytes()) + 5
    content[position] ^= 1
    path.write_bytes(content)


def change(path: Path, edit: str) -> None:
    """Rewrite the zip, sound in itself, with other content."""
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    head = json.loads(members["entry.json"])
    if edit == "ingredients":
        head["identity"] = head["identity"].replace("ab12", "ab99")
    elif edit == "format":
        older = {**json.loads(head["identity"]), "format": app.memo.store.FORMAT - 1}
        head["identity"] = json.dumps(older)
    elif edit == "head":
        head = {}
    else:
        del members["conv2/max.npy"]
    members["entry.json"] = json.dumps(head).encode()
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)


def of_other_ingredients(path: Path) -> None:
    change(path, "ingredients")


def of_an_older_format(path: Path) -> None:
    change(path, "format")


def without_head(path: Path) -> None:
    change(path, "head")


def without_a_member(path: Path) -> None:
    change(path, "member")


@pytest.mark.parametrize(
    "damage",
    [
        truncate,
        empty,
        flip_a_value,
        of_other_ingredients,
        of_an_older_format,
        without_head,
        without_a_member,
    ],
)
def test_damage_is_noticed_reported_and_mended(
    cache: Cache, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    compute = Compute()
    cache.get("responses", INGREDIENTS, compute)
    path = cache.path("responses", INGREDIENTS)
    damage(path)
    with caplog.at_level(logging.WARNING):
        assert_same(cache.get("responses", INGREDIENTS, compute), arrays())
    assert compute.calls == 2
    assert [str(path) in message for message in caplog.messages] == [True]
    caplog.clear()
    assert_same(cache.get("responses", INGREDIENTS, compute), arrays())
    assert compute.calls == 2
    assert not caplog.messages


@settings(max_examples=150, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_changes_a_result(
    tmp_path_factory: pytest.TempPathFactory, position: float, bit: int
) -> None:
    cache = Cache(tmp_path_factory.getbasetemp() / "flips")
    cache.get("responses", INGREDIENTS, arrays)
    path = cache.path("responses", INGREDIENTS)
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    path.write_bytes(content)
    assert_same(cache.get("responses", INGREDIENTS, arrays), arrays())


def test_an_array_that_is_not_stored_is_computed(cache: Cache) -> None:
    cache.get("responses", INGREDIENTS, lambda: {"a": np.zeros(2)})
    got = cache.get("responses", INGREDIENTS, lambda: {"b": np.ones(2)}, names=["b"])
    np.testing.assert_array_equal(got["b"], np.ones(2))


def test_python_objects_are_refused_and_leave_nothing(cache: Cache) -> None:
    with pytest.raises(ValueError, match="Object arrays"):
        cache.get("responses", INGREDIENTS, lambda: {"a": np.array([{}], dtype=object)})
    assert not cache.has("responses", INGREDIENTS)
    assert list(cache.folder.glob("responses/.*")) == []


def test_a_failed_computation_stores_nothing_and_can_be_repeated(cache: Cache) -> None:
    def fails() -> dict[str, np.ndarray]:
        raise OSError("the computation's own trouble")

    with pytest.raises(OSError, match="own trouble"):
        cache.get("responses", INGREDIENTS, fails)
    assert not cache.has("responses", INGREDIENTS)
    assert_same(cache.get("responses", INGREDIENTS, arrays), arrays())


PROCESS = """
import sys, time
from pathlib import Path
import numpy as np
from app.memo.store import Cache

def compute():
    with open(sys.argv[2], "a") as file:
        file.write("computed\\n")
    time.sleep(0.5)
    return {"a": np.arange(1000.0)}

while not Path(sys.argv[3]).exists():
    time.sleep(0.005)
print(Cache(sys.argv[1]).get("step", {"a": 1}, compute)["a"].sum())
"""


def test_four_processes_compute_once(tmp_path: Path) -> None:
    record, go = tmp_path / "record", tmp_path / "go"
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "cache"), str(record), str(go)]
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=repository())
        for _ in range(4)
    ]
    time.sleep(1.5)  # all have imported numpy and wait
    go.touch()
    assert {child.communicate(timeout=30)[0].strip() for child in children} == {"499500.0"}
    assert record.read_text() == "computed\n"


def repository() -> Path:
    return Path(__file__).parents[2]


KILLED = """
import os, signal, sys
import numpy as np
from app.memo import store as cache

write = cache.npy.write_array

def write_half(member, array, **options):
    write(member, array[: len(array) // 2], **options)
    member._fileobj.flush()
    os.kill(os.getpid(), signal.SIGKILL)

cache.npy.write_array = write_half
cache.Cache(sys.argv[1]).get("step", {"a": 1}, lambda: {"a": np.arange(1_000_000.0)})
"""


def test_kill_while_writing_leaves_no_entry_no_lock_and_no_file(cache: Cache) -> None:
    command = [sys.executable, "-c", KILLED, str(cache.folder)]
    child = subprocess.run(command, cwd=repository(), timeout=30)
    assert child.returncode == -signal.SIGKILL
    assert not cache.has("step", {"a": 1})
    leftover = list(cache.folder.glob("step/.*.tmp"))
    assert len(leftover) == 1
    assert leftover[0].stat().st_size > 1_000_000
    got = cache.get("step", {"a": 1}, lambda: {"a": np.arange(3.0)})
    np.testing.assert_array_equal(got["a"], np.arange(3.0))
    assert list(cache.folder.glob("step/.*.tmp")) == []


FULL = """
import resource, signal, sys
import numpy as np
from app.errors import InputError
from app.memo.store import Cache

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    Cache(sys.argv[1]).get("step", {"a": 1}, lambda: {"a": np.arange(1_000_000.0)})
except InputError as error:
    print(error)
"""


def test_a_disk_that_takes_no_more_is_one_clear_line_and_leaves_nothing(cache: Cache) -> None:
    command = [sys.executable, "-c", FULL, str(cache.folder)]
    child = subprocess.run(command, cwd=repository(), timeout=30, capture_output=True, text=True)
    assert child.stdout.count("\n") == 1, child.stdout + child.stderr
    assert f"cannot store a result in {cache.folder / 'step'}" in child.stdout
    assert not cache.has("step", {"a": 1})
    assert list(cache.folder.glob("step/.*")) == []


def test_a_folder_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    compute = Compute()
    with pytest.raises(InputError, match="cannot store a result in .*file"):
        Cache(tmp_path / "file").get("responses", INGREDIENTS, compute)
    assert compute.calls == 0


def test_reading_needs_no_lock(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.get("responses", INGREDIENTS, arrays)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("took a lock")

    monkeypatch.setattr(app.memo.store, "FileLock", refuse)
    assert_same(cache.get("responses", INGREDIENTS, Compute()), arrays())


READ_ONLY = """
import os, sys
from app.errors import InputError
from app.memo.store import Cache

cache = Cache(sys.argv[1])
if os.getuid() == 0:  # whom modes do not bind
    cache.get("step", {"a": 1}, lambda: 1 / 0)  # imports, from where others may not read
    os.setuid(65534)
print(cache.get("step", {"a": 1}, lambda: 1 / 0)["a"].sum())
try:
    cache.get("step", {"a": 2}, lambda: 1 / 0)
except InputError as error:
    print(error)
"""


def test_a_cache_that_may_only_be_read_is_read() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own may not be entered by others
        Path(folder).chmod(0o755)
        cache = Cache(Path(folder) / "cache")
        cache.get("step", {"a": 1}, lambda: {"a": np.arange(4.0)})
        step = cache.folder / "step"
        step.chmod(0o555)
        command = [sys.executable, "-c", READ_ONLY, str(cache.folder)]
        child = subprocess.run(
            command, cwd=repository(), timeout=30, capture_output=True, text=True
        )
        step.chmod(0o755)
    first, second = child.stdout.splitlines()
    assert first == "6.0"
    assert f"cannot store a result in {step}: Permission denied" in second, "before the work"


def used(cache: Cache, number: int, days: float) -> Path:
    """An entry that was last used so many days ago."""
    cache.get("step", {"a": number}, lambda: {"a": np.arange(100.0)})
    path = cache.path("step", {"a": number})
    when = time.time() - days * 86400
    os.utime(path, (when, when))
    return path


def test_the_last_use_of_an_entry_is_known(cache: Cache) -> None:
    path = used(cache, 1, days=3)
    old, recent = used(cache, 2, days=2), used(cache, 3, days=1 / 48)
    before = recent.stat().st_mtime
    for number in (1, 3):
        cache.get("step", {"a": number}, dict)
    found = app.memo.store.entries(cache.folder)
    assert [entry.path for entry in found] == [old, recent, path]
    assert abs(found[-1].used - time.time()) < 60
    assert recent.stat().st_mtime == before, "to the hour: not every reading writes"


@settings(max_examples=50)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8),
    keep=st.none() | st.integers(0, 40),
    old=st.none() | st.integers(0, 9),
)
def test_what_is_pruned_is_the_oldest_and_no_more_than_asked(sizes, keep, old) -> None:
    found = [
        app.memo.store.Entry(Path(str(number)), size, float(used))
        for number, (size, used) in enumerate(sizes)
    ]
    gone = app.memo.store.to_prune(found, keep_bytes=keep, older_than=old, now=10.0)
    stays = [entry for entry in found if entry not in gone]
    assert all(10 - entry.used <= old for entry in stays if old is not None)
    assert keep is None or sum(entry.size for entry in stays) <= keep
    assert max((e.used for e in gone), default=0) <= min((e.used for e in stays), default=10)
    young = [entry for entry in gone if old is None or 10 - entry.used <= old]
    if young:  # the last of those that went for their size had to
        assert sum(entry.size for entry in [*stays, young[-1]]) > keep


def test_an_entry_in_use_is_not_removed(cache: Cache) -> None:
    (entry,) = app.memo.store.entries(used(cache, 1, days=3).parents[1])
    leftover = entry.path.with_name(f".{entry.path.stem}.99.tmp")
    leftover.touch()
    with app.memo.store.FileLock(entry.path.with_suffix(".lock")):
        child = threading.Thread(target=lambda: gone.append(app.memo.store.remove(entry)))
        gone: list[bool] = []
        child.start()
        child.join()
        (unfinished,) = app.memo.store.unfinished(cache.folder)
        assert gone == [False] and not app.memo.store.remove(unfinished)
    assert entry.path.exists() and leftover.exists()
    assert app.memo.store.remove(entry) and app.memo.store.remove(unfinished)
    assert not entry.path.exists() and not leftover.exists()


def test_threads_wait_for_each_other(cache: Cache) -> None:
    calls = []

    def compute() -> dict[str, np.ndarray]:
        calls.append(1)
        time.sleep(0.2)
        return arrays()

    threads = [
        threading.Thread(target=cache.get, args=("responses", INGREDIENTS, compute))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_array_digest_tells_values_shape_and_type_apart() -> None:
    base = np.arange(6.0)
    others = [
        np.arange(6.0) + 1e-15,
        base.reshape(2, 3),
        base.astype(np.float32),
        base.view(np.int64),
        np.empty((0, 3)),
        np.empty((3, 0)),
        np.array("face"),
    ]
    digests = [array_digest(array) for array in (base, *others)]
    assert len(set(digests)) == len(digests)
    grid = np.arange(12).reshape(3, 4)
    assert array_digest(grid.T) == array_digest(grid.T.copy())
    with pytest.raises(TypeError):
        array_digest(np.array([{}], dtype=object))


def test_file_digest(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_digest(tmp_path / "file") == expected


def test_code_digest_follows_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "step_to_digest.py"
    source.write_text("raise SystemExit('found, not imported')\n")
    before = code_digest("step_to_digest", "app.errors")
    assert before == code_digest("step_to_digest", "app.errors")
    source.write_text("a = 2\n")
    assert before != code_digest("step_to_digest", "app.errors")
    assert code_digest("app.errors") != code_digest("app.memo.store")
    with pytest.raises(ValueError, match="nowhere has no source file"):
        code_digest("nowhere")


def test_import_is_light() -> None:
    code = "import sys, app.memo.store; print({'mlflow', 'matplotlib', 'torch'} & {*sys.modules})"
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, cwd=repository(), capture_output=True, text=True, timeout=30)
    assert out.stdout.strip() == "set()"
