"""`python -m app.cache`: what is stored, by step, and less of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from app.memo import Memo
from tests.conftest import finished, run_app


def score(days: int) -> dict[str, np.ndarray]:
    return {"a": np.arange(100_000.0)}


def lesion(days: int) -> dict[str, np.ndarray]:
    return {"a": np.arange(100_000.0)}


@pytest.fixture
def stored(tmp_path: Path) -> dict[int, Path]:
    """Entries of 0.8 MB, by the days since their last use."""
    memo = Memo(tmp_path / "outputs/cache")
    paths = {}
    for step, days in ((score, 0), (score, 10), (lesion, 20), (lesion, 30)):
        memo(step, days)
        paths[days] = memo.path(step, days)
        when = time.time() - days * 86400
        os.utime(paths[days], (when, when))
    (paths[0].parent / f".{paths[0].name}.new").write_bytes(b"half")
    return paths


def command(folder: Path, *arguments: str):
    return run_app(folder, *arguments, module="app.cache")


def left(stored: dict[int, Path]) -> list[int]:
    return [days for days, path in stored.items() if path.exists()]


def test_it_lists_the_steps_and_leaves_nothing_behind(tmp_path: Path, stored):
    process = finished(command(tmp_path))
    rows = [line.split() for line in process.stdout.splitlines()]
    assert ["lesion", "2", "1.6"] in [row[:3] for row in rows]
    assert "Cache: outputs/cache, 4 entries of 3.2 MB" in process.stdout
    assert left(stored) == [0, 10, 20, 30]
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


@pytest.mark.parametrize(
    ("bounds", "stays"),
    [
        (["older_than=25", "keep_gb=0.002"], [0, 10]),
        ([], [0, 10, 20, 30]),
    ],
)
def test_it_prunes_by_age_and_size(tmp_path: Path, stored, bounds: list[str], stays: list[int]):
    """What goes by each bound: `tests.memo.test_store`."""
    told = finished(command(tmp_path, "prune=true", "dry_run=true", *bounds)).stdout
    assert f"Would delete {4 - len(stays)} entries" in told and "1 unfinished" in told
    assert left(stored) == [0, 10, 20, 30] and list(tmp_path.rglob("*.new"))
    told = finished(command(tmp_path, "prune=true", *bounds)).stdout
    assert f"Deleted {4 - len(stays)} entries" in told and "1 unfinished" in told
    assert left(stored) == stays and not list(tmp_path.rglob("*.new"))


@pytest.mark.parametrize(
    ("arguments", "needle"),
    [
        (["cache=nowhere"], "cache=nowhere is no folder"),
        (["keep_gb=1"], "add prune=true"),
        (["prune=true", "older_than=-1"], "older_than=-1.0: 0 or more"),
        (["prune=true", "keep_gb=nan"], "keep_gb=nan: 0 or more"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, stored, arguments: list[str], needle: str):
    process = command(tmp_path, *arguments)
    assert process.returncode == 1 and left(stored) == [0, 10, 20, 30]
    (line,) = process.stderr.strip().splitlines()
    assert line.startswith("error: ") and needle in line
