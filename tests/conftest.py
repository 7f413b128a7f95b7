"""The command line as a user runs it: a process of its own in a folder of its own."""

from __future__ import annotations

import atexit
import functools
import gc
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

# Tests run side by side, one a core: threads that wait for each other would slow them all down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).parents[1]
SECONDS = 600  # that a command may take
# This checkout's program, whichever is installed.
OURS = {"COLUMNS": "120", "PYTHONPATH": str(REPOSITORY)}

# A localizer, identities and lesion images of few pictures: every step runs, in seconds.
MATERIAL = [
    "stimuli.images_per_category=8",
    "identities.count=6",
    "identities.images_each=4",
    "lesion.images_per_identity=1",
    "lesion.images_per_object=1",
    "lesion.sets=[10,50]",
    "lesion.random_draws=2",
    "decoding.random_draws=3",
]
# How often images are drawn again, split and shuffled, for how sure the numbers are.
FEW = ["certainty.resamples=40", "certainty.splits=3", "certainty.shuffles=9"]
SMALL = [*MATERIAL, *FEW]


class Ended(subprocess.CompletedProcess[str]):
    """What a fork of the warm process left, and for how long it kept a processor busy."""

    seconds: float


def run_app(
    folder: Path, *arguments: str, module: str = "app", fresh: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python -m app …` in `folder`.

    By default as a fork of a process that has imported everything (see `tests.warm`); in a new
    interpreter where it is `fresh`: what is read on import, such as `OMP_NUM_THREADS`, needs one.
    """
    if not fresh:
        return run_warm(folder, *arguments, module=module, environment=environment)
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env={**os.environ, **OURS, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        stdin=subprocess.DEVNULL,
    )


def run_warm(
    folder: Path,
    *arguments: str,
    module: str = "app",
    environment: Mapping[str, str] = MappingProxyType({}),
    bare: bool = False,
    dies_after: float | None = None,
    file_bytes: int | None = None,
) -> Ended:
    """`python -m app …` as a fork of the warm process.

    Of the one that has imported nothing of the program, where it is `bare`. The command is killed
    when it `dies_after` so many seconds of work, and can write no file of more than `file_bytes`.
    """
    with tempfile.TemporaryDirectory() as streams:
        paths = [Path(streams) / name for name in ("stdout", "stderr")]
        for path in paths:
            path.touch()
        asked = {
            "folder": str(folder),
            "module": module,
            "arguments": arguments,
            "environment": {**os.environ, **OURS, **environment},
            "dies_after": dies_after,
            "file_bytes": file_bytes,
            "streams": list(map(str, paths)),
        }
        server = _warm(*(["bare"] if bare else []))
        assert server.stdin is not None and server.stdout is not None
        # The children are of its group: a command that does not end is ended with it.
        watch = threading.Timer(SECONDS, os.killpg, (server.pid, signal.SIGKILL))
        watch.start()
        try:
            print(json.dumps(asked), file=server.stdin, flush=True)
            code, seconds = server.stdout.readline().split()
        finally:
            watch.cancel()
        stdout, stderr = (path.read_text() for path in paths)
    ended = Ended([module, *arguments], int(code), stdout, stderr)
    ended.seconds = float(seconds)
    return ended


@functools.cache
def _warm(*kind: str) -> subprocess.Popen[str]:
    """The process that forks, ended with this one: its standard input closes."""
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.warm", *kind],
        cwd=REPOSITORY,
        env={**os.environ, **OURS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n", "the warm process did not start"
    atexit.register(server.communicate)
    return server


def finished(process: subprocess.CompletedProcess[str]) -> subprocess.CompletedProcess[str]:
    """The process, which must have ended well."""
    assert process.returncode == 0, process.stdout + process.stderr
    return process


def entries(folder: Path) -> dict[str, bytes]:
    """What the cache in a folder of `run_app` holds."""
    cache = folder / "outputs/cache"
    return {str(path.relative_to(cache)): path.read_bytes() for path in cache.rglob("*.npz")}


def computed(folder: Path) -> Counter[str]:
    """How often each of these entries was computed, as the logs of sweeps' jobs have it."""
    return Counter(
        path
        for log in folder.glob("outputs/sweeps/*/*/*/app.log")
        for path in re.findall("computed .*outputs/cache/(.*)", log.read_text())
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules that run the command line are `cli`, and what is `cli` is slow and begins first.

    Else the last file of all would keep one worker busy for minutes, and the others idle. What
    needs a database that MLflow made is slow, too.
    """
    long = set()
    for item in items:
        if {"run_app", "run_warm"} & vars(getattr(item, "module", item)).keys():
            item.add_marker("cli")
        if item.get_closest_marker("cli"):
            item.add_marker("slow")
            long.add(item.path)
        elif "made" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="session")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose cache the tests of the command line share."""
    return tmp_path_factory.mktemp("work")


def pytest_collection_finish() -> None:
    """Leave what was imported out of garbage collection, which took a seventh of the time."""
    gc.freeze()
