"""Stores of runs: MLflow makes one in seconds, the others are copies of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.config.schema import Tracking
from app.tracking.store import connect
from tests.warm import empty_store


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database without experiments, which would know its folder."""
    path = tmp_path_factory.mktemp("made") / "mlflow.db"
    path.write_bytes(empty_store())
    return path


@pytest.fixture(scope="module")
def store(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    """A store that the tests of a file share, in a folder whose name needs quoting."""
    folder = tmp_path_factory.mktemp("a store") / "é #1"
    folder.mkdir()
    shutil.copy(made, folder)
    settings = Tracking(name="sqlite", folder=str(folder))
    connect(settings).prepare()
    return settings
