"""The memo returns what was computed, computes it once, and never returns anything damaged."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InputError
from app.findings.selection import Selectivity
from app.memo import Memo, store
from app.metrics.contrast import Contrast

calls: list[Any] = []  # of the steps below


@pytest.fixture(autouse=True)
def no_calls() -> None:
    calls.clear()


def arrays() -> dict[str, np.ndarray]:
    return {
        "conv1/l2": np.arange(12, dtype=np.float32).reshape(3, 4),
        "conv2/max": np.array([[np.nan, -0.0], [1.5, np.inf]]),
        "names": np.array(["adult", "car"]),
        "empty": np.empty((0, 3)),
        "number": np.array(7),
    }


def respond(weights: str, size: tuple[int, ...] = (64, 64), most: float = np.inf) -> Any:
    calls.append(weights)
    return arrays()


def score(weights: str, size: tuple[int, ...] = (64, 64), most: float = np.inf) -> Any:
    calls.append(weights)
    return arrays()


def assert_same(got: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert list(got) == list(expected)
    for name, array in expected.items():
        assert got[name].dtype == array.dtype
        np.testing.assert_array_equal(got[name], array)


@pytest.fixture
def memo(tmp_path: Path) -> Memo:
    return Memo(tmp_path / "cache")


def test_computes_once_and_returns_the_same(memo: Memo) -> None:
    assert not memo.path(respond, "ab12").exists()
    assert_same(memo(respond, "ab12"), arrays())
    assert memo.path(respond, "ab12").is_file()
    assert_same(memo(respond, "ab12", (64, 64)), arrays())
    assert_same(memo(respond, most=float("inf"), weights="ab12"), arrays())
    assert calls == ["ab12"]


def test_other_arguments_or_steps_are_other_entries(memo: Memo) -> None:
    memo(respond, "ab12")
    memo(respond, "ab13")
    memo(respond, "ab12", (64, 65))
    memo(score, "ab12")
    assert calls == ["ab12", "ab13", "ab12", "ab12"]


class Pair(NamedTuple):
    first: Any
    second: Any


def make_up(number: int) -> Any:
    mask = np.array([True, False])
    return {
        "nested": (Selectivity(2, float("nan"), 4, 0), Contrast(mask, (~mask,), ("others",))),
        "plain": ("text", 3, None, True, {"a": np.arange(number)}),
    }


def test_results_are_typed_and_nested(memo: Memo) -> None:
    for _ in range(2):
        found = memo(make_up, 3)
        counted, contrast = found["nested"]
        assert isinstance(counted, Selectivity) and counted.units == 4
        assert np.isnan(counted.percent)
        assert isinstance(contrast, Contrast) and contrast.names == ("others",)
        np.testing.assert_array_equal(contrast.others[0], [False, True])
        assert found["plain"][:4] == ("text", 3, None, True)
        np.testing.assert_array_equal(found["plain"][4]["a"], np.arange(3))


def foreign(number: int) -> Any:
    return Pair(number, number)


def test_types_of_others_are_not_brought_back(memo: Memo, caplog) -> None:
    """An entry may be somebody else's: it cannot name what is called."""
    memo(foreign, 1)
    with caplog.at_level(logging.WARNING):
        assert memo(foreign, 1) == Pair(1, 1)
    assert "is no type of this package" in caplog.text


def double(items: Mapping[str, int], factor: int = 2) -> dict[str, Any]:
    calls.append(dict(items))
    return {name: np.array([factor * item]) for name, item in items.items() if item >= 0}


def test_each_computes_what_is_missing_together(memo: Memo) -> None:
    found = memo.each(double, {"a": 1, "b": 2}, ["a", "b"])
    assert {name: int(each[0]) for name, each in found.items()} == {"a": 2, "b": 4}
    assert calls == [{"a": 1, "b": 2}]
    found = memo.each(double, {"a": 1, "b": 3, "c": 4}, ["a", "c"])
    assert {name: int(each[0]) for name, each in found.items()} == {"a": 2, "c": 8}
    assert calls[1:] == [{"b": 3, "c": 4}], "all that are missing, once one is wanted"
    memo.each(double, {"a": 1, "b": 3, "c": 4}, ["a", "b", "c"])
    memo.each(double, {"a": 1, "z": 5}, ["a"])
    assert len(calls) == 2
    memo.each(double, {"a": 1}, ["a"], factor=3)
    assert len(calls) == 3
    found = memo.each(double, {"a": 7, "lost": -1}, ["a"])
    assert list(found) == ["a"]


def test_numpy_opens_an_entry(memo: Memo) -> None:
    memo(respond, "ab12")
    with np.load(memo.path(respond, "ab12")) as entry:
        np.testing.assert_array_equal(entry["conv1/l2"], arrays()["conv1/l2"])


def test_equal_entries_are_equal_files(memo: Memo, tmp_path: Path) -> None:
    other = Memo(tmp_path / "other")
    for each in (memo, other):
        each(respond, "ab12")
    paths = [each.path(respond, "ab12") for each in (memo, other)]
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
    with np.load(path) as old:
        members = dict(old)
    head = json.loads(str(members["entry"]))
    if edit == "key":
        head["key"] = head["key"][::-1]
    elif edit == "head":
        head = {}
    else:
        del members["conv2/max"]
    np.savez(path, **{**members, "entry": np.array(json.dumps(head))})


def of_other_arguments(path: Path) -> None:
    change(path, "key")


def without_head(path: Path) -> None:
    change(path, "head")


def without_a_member(path: Path) -> None:
    change(path, "member")


@pytest.mark.parametrize(
    "damage",
    [truncate, empty, flip_a_value, of_other_arguments, without_head, without_a_member],
)
def test_damage_is_noticed_reported_and_mended(
    memo: Memo, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    memo(respond, "ab12")
    path = memo.path(respond, "ab12")
    damage(path)
    with caplog.at_level(logging.WARNING):
        assert_same(memo(respond, "ab12"), arrays())
    assert len(calls) == 2
    assert [str(path) in message for message in caplog.messages] == [True]
    caplog.clear()
    assert_same(memo(respond, "ab12"), arrays())
    assert len(calls) == 2
    assert not caplog.messages


@settings(max_examples=80, deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_changes_a_result(
    tmp_path_factory: pytest.TempPathFactory, position: float, bit: int
) -> None:
    memo = Memo(tmp_path_factory.getbasetemp() / "flips")
    memo(respond, "ab12")
    path = memo.path(respond, "ab12")
    content = bytearray(path.read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    path.write_bytes(content)
    assert_same(memo(respond, "ab12"), arrays())


def give_objects() -> Any:
    return {"a": np.array([{}], dtype=object)}


def give_nonsense() -> Any:
    return {"a": threading.Lock()}


@pytest.mark.parametrize("step", [give_objects, give_nonsense])
def test_python_objects_are_refused_and_leave_nothing(memo: Memo, step: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="Object arrays|cannot be stored"):
        memo(step)
    assert not memo.path(step).exists()
    assert list(memo.folder.glob(f"{step.__name__}/.*")) == []


def fail_once() -> Any:
    calls.append("")
    if len(calls) == 1:
        raise OSError("the computation's own trouble")
    return arrays()


def test_a_failed_computation_stores_nothing_and_can_be_repeated(memo: Memo) -> None:
    with pytest.raises(OSError, match="own trouble"):
        memo(fail_once)
    assert not memo.path(fail_once).exists()
    assert_same(memo(fail_once), arrays())


def wait(record: str) -> Any:
    with open(record, "a") as file:
        file.write("computed\n")
    time.sleep(0.5)
    return {"a": np.arange(1000.0)}


PROCESS = """
import sys, time
from pathlib import Path
from app.memo import Memo
from tests.memo.test_store import wait

print("ready", flush=True)
while not Path(sys.argv[3]).exists():
    time.sleep(0.005)
print(Memo(sys.argv[1])(wait, sys.argv[2])["a"].sum())
"""


@pytest.mark.slow
def test_four_processes_compute_once(tmp_path: Path) -> None:
    record, go = tmp_path / "record", tmp_path / "go"
    command = [sys.executable, "-c", PROCESS, str(tmp_path / "cache"), str(record), str(go)]
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=repository())
        for _ in range(4)
    ]
    for child in children:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
    go.touch()
    assert {child.communicate(timeout=60)[0].strip() for child in children} == {"499500.0"}
    assert record.read_text() == "computed\n"


def repository() -> Path:
    return Path(__file__).parents[2]


def count_up(number: int, most: int = 1_000_000) -> Any:
    return {"a": np.arange(float(most))}


KILLED = """
import os, signal, sys
from numpy.lib import format
from app.memo import Memo
from tests.memo.test_store import count_up

write = format.write_array

def write_half(member, array, **options):
    if array.size > 1:
        write(member, array[: len(array) // 2], **options)
        member._fileobj.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    write(member, array, **options)

format.write_array = write_half
import numpy.lib._npyio_impl as npyio
npyio.format.write_array = write_half
Memo(sys.argv[1])(count_up, 1)
"""


@pytest.mark.slow
def test_kill_while_writing_leaves_no_entry_no_lock_and_no_file(memo: Memo) -> None:
    command = [sys.executable, "-c", KILLED, str(memo.folder)]
    child = subprocess.run(command, cwd=repository(), timeout=60)
    assert child.returncode == -signal.SIGKILL
    assert not memo.path(count_up, 1).exists()
    (leftover,) = store.list_entries(memo.folder, unfinished=True)
    assert leftover.size > 1_000_000
    np.testing.assert_array_equal(memo(count_up, 1)["a"], np.arange(1_000_000.0))
    assert store.list_entries(memo.folder, unfinished=True) == []


FULL = """
import resource, signal, sys
from app.errors import InputError
from app.memo import Memo
from tests.memo.test_store import count_up

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    Memo(sys.argv[1])(count_up, 1)
except InputError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_disk_that_takes_no_more_is_one_clear_line_and_leaves_nothing(memo: Memo) -> None:
    command = [sys.executable, "-c", FULL, str(memo.folder)]
    child = subprocess.run(command, cwd=repository(), timeout=60, capture_output=True, text=True)
    assert child.stdout.count("\n") == 1, child.stdout + child.stderr
    assert f"cannot store a result in {memo.folder / 'count_up'}" in child.stdout
    assert not memo.path(count_up, 1).exists()
    assert list(memo.folder.glob("count_up/.*")) == []


def test_a_folder_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot store a result in .*file"):
        Memo(tmp_path / "file")(respond, "ab12")
    assert not calls


def test_reading_needs_no_lock(memo: Memo, monkeypatch: pytest.MonkeyPatch) -> None:
    memo(respond, "ab12")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("took a lock")

    monkeypatch.setattr(store, "FileLock", refuse)
    assert_same(memo(respond, "ab12"), arrays())


READ_ONLY = """
import os, sys
from pathlib import Path
from app.memo import Memo
from tests.memo.test_store import count_each, count_up

shared, own, closed = sys.argv[1:]
memos = Memo(shared, own), Memo(shared), Memo(shared, closed), Memo(own, own)
items = {"a": 3, "b": 4}
memos[0].path(count_up, 1), memos[0].path(count_each, items)  # sources, which others may not read
if os.getuid() == 0:  # whom modes do not bind
    memos[0](count_up, 1, 4)  # imports, from where others may not read
    os.setuid(65534)
for memo in memos:
    print(memo(count_up, 1, 4)["a"].sum(), memo.note)
    found = memo.each(count_each, items, ["a", "b"])
    print(memo(count_up, 2, 4)["a"].sum(), [each.tolist() for each in found.values()], memo.note)
print(len(list(Path(own).rglob("*.npz"))), len(list(Path(closed).rglob("*.npz"))))
"""


def count_each(items: dict[str, int]) -> Any:
    return {name: np.arange(number) for name, number in items.items()}


@pytest.mark.slow
def test_a_cache_that_may_only_be_read_is_read_and_the_rest_goes_elsewhere() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own may not be entered by others
        shared, own, closed = (Path(folder) / name for name in ("shared", "own", "closed"))
        for path, mode in ((Path(folder), 0o755), (own, 0o777), (closed, 0o755)):
            path.mkdir(exist_ok=True)
            path.chmod(mode)
        memo = Memo(shared)
        memo(count_up, 1, 4)
        memo.each(count_each, {"a": 3}, ["a"])
        modes = [shared, *shared.iterdir(), closed]
        for path in modes:
            path.chmod(0o555)
        command = [sys.executable, "-c", READ_ONLY, *map(str, (shared, own, closed))]
        child = subprocess.run(
            command, cwd=repository(), timeout=60, capture_output=True, text=True
        )
        for path in modes:
            path.chmod(0o755)
    told = f"cache: {shared} may only be read; what it lacked was"
    found = "6.0 [[0, 1, 2], [0, 1, 2, 3]]"
    assert child.stdout.splitlines() == [
        *("6.0 None", f"{found} {told} stored in {own}"),
        *("6.0 None", f"{found} {told} not stored") * 2,
        *("6.0 None", f"{found} None"),
        "4 0",
    ], child.stderr


def used(memo: Memo, number: int, days: float) -> Path:
    """An entry that was last used so many days ago."""
    memo(count_up, number, 100)
    path = memo.path(count_up, number, 100)
    when = time.time() - days * 86400
    os.utime(path, (when, when))
    return path


def test_the_last_use_of_an_entry_is_known(memo: Memo) -> None:
    path = used(memo, 1, days=3)
    old = used(memo, 2, days=2)
    memo(count_up, 1, 100)
    found = store.list_entries(memo.folder)
    assert [entry.path for entry in found] == [old, path]
    assert abs(found[-1].used - time.time()) < 60


@settings(max_examples=50)
@given(
    sizes=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8),
    keep=st.none() | st.integers(0, 40),
    old=st.none() | st.integers(0, 9),
)
def test_what_is_pruned_is_the_oldest_and_no_more_than_asked(sizes, keep, old) -> None:
    found = [
        store.Entry(Path(str(number)), size, float(used))
        for number, (size, used) in enumerate(sizes)
    ]
    gone = store.choose_to_prune(found, 10.0, keep, old)
    stays = [entry for entry in found if entry not in gone]
    assert all(10 - entry.used <= old for entry in stays if old is not None)
    assert keep is None or sum(entry.size for entry in stays) <= keep
    assert max((e.used for e in gone), default=0) <= min((e.used for e in stays), default=10)
    young = [entry for entry in gone if old is None or 10 - entry.used <= old]
    if young:  # the last of those that went for their size had to
        assert sum(entry.size for entry in [*stays, young[-1]]) > keep


def test_an_entry_in_use_is_not_removed(memo: Memo) -> None:
    (entry,) = store.list_entries(used(memo, 1, days=3).parents[1])
    leftover = entry.path.with_name(f".{entry.path.name}.new")
    leftover.touch()
    with store.FileLock(entry.path.with_suffix(".lock")):
        child = threading.Thread(target=lambda: gone.append(store.remove(entry)))
        gone: list[bool] = []
        child.start()
        child.join()
        (unfinished,) = store.list_entries(memo.folder, unfinished=True)
        assert gone == [False] and not store.remove(unfinished)
    assert entry.path.exists() and leftover.exists()
    assert store.remove(entry) and store.remove(unfinished)
    assert not entry.path.exists() and not leftover.exists()


def take_long(weights: str) -> Any:
    calls.append(weights)
    time.sleep(0.2)
    return arrays()


def test_threads_wait_for_each_other(memo: Memo) -> None:
    threads = [threading.Thread(target=memo, args=(take_long, "ab12")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_import_is_light() -> None:
    code = "import sys, app.memo; print({'mlflow', 'matplotlib', 'torch'} & {*sys.modules})"
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, cwd=repository(), capture_output=True, text=True, timeout=60)
    assert out.stdout.strip() == "set()"
