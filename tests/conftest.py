"""The command line as a user runs it: a process of its own in a folder of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

# Tests run side by side, one a core: threads that wait for each other would slow them all down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).parents[1]

# A localizer, identities and lesion images of few pictures: every step runs, in seconds.
SMALL = [
    "stimuli.images_per_category=8",
    "identities.count=6",
    "identities.images_each=4",
    "lesion.images_per_identity=1",
    "lesion.images_per_object=1",
    "lesion.sets=[10,50]",
    "lesion.random_draws=2",
    "decoding.random_draws=3",
]


def run_app(folder: Path, *arguments: str, module: str = "app", **environment: str):
    """`python -m app …` in `folder`."""
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        # This checkout's program, whichever is installed.
        env={**os.environ, "COLUMNS": "120", "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        timeout=600,
        stdin=subprocess.DEVNULL,
    )


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


@pytest.fixture(scope="session")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose cache the tests of the command line share."""
    return tmp_path_factory.mktemp("work")
