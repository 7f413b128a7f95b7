"""All that may not be written to is told at once, before anything is."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from app.errors import InputError
from app.launch.commandline import RESULTS, run_hydra
from app.launch.places import check_places
from tests.composing import compose_config

WRITES = ("tracking.folder", "cache")


@pytest.fixture
def closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that may only be read, and is the current one; to the superuser it is said to be."""
    folder, access = tmp_path / "closed", os.access
    for path in (folder / "mlruns/mlflow.db", folder / "stored/a.npz"):
        path.parent.mkdir(parents=True)
        path.touch()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(
        os, "access", lambda path, mode: folder not in (path, *path.parents) and access(path, mode)
    )
    yield folder


def told(*words: str) -> str:
    with pytest.raises(InputError) as caught:
        check_places(compose_config(*words), WRITES)
    return str(caught.value)


def test_each_folder_that_may_not_be_written_to_is_named(closed: Path, tmp_path: Path) -> None:
    mend = ": give each another folder, or run the command in a folder of your own"
    assert told() == f"you may not write to tracking.folder=mlruns, cache=outputs/cache{mend}"
    assert told(f"tracking.folder={tmp_path}") == f"you may not write to cache=outputs/cache{mend}"
    assert told("cache=stored", f"tracking.folder={closed}/a/b").endswith(f"closed/a/b{mend}")


def test_jobs_that_would_go_elsewhere_are_refused() -> None:
    config = OmegaConf.create({"hydra": {"job": {"chdir": True}}})
    with pytest.raises(InputError, match="^hydra.job.chdir=true would have each job look for the"):
        check_places(config, [])


@pytest.mark.parametrize(
    "words",
    [
        ["tracking=none", "cache=stored"],  # a cache that is there serves
        ["tracking=server", "cache={open}/mine"],
        ["tracking.folder={open}/mine", "cache={open}/mine/too"],
        ["tracking=none", "cache={open}/file/cache"],  # told by who writes to it
    ],
)
def test_what_is_not_written_to_need_not_be_open(
    closed: Path, tmp_path: Path, words: list[str]
) -> None:
    (tmp_path / "file").touch()
    check_places(compose_config(*(word.format(open=tmp_path) for word in words)), WRITES)


@pytest.mark.parametrize("sweep", [[], ["-m"]])
def test_a_command_is_refused_before_hydra_makes_a_folder(
    closed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], sweep: list
) -> None:
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")  # which the command changes
    monkeypatch.setattr(sys, "argv", ["app", *sweep, "hydra.run.dir=a", "hydra.sweep.dir=b"])
    with pytest.raises(SystemExit):
        run_hydra(lambda _: None, "config", writes=(RESULTS, *WRITES))
    results = "hydra.sweep.dir=b" if sweep else "hydra.run.dir=a"
    line = f"error: you may not write to {results}, tracking.folder=mlruns, cache=outputs/cache: "
    assert capsys.readouterr().err.startswith(line)
    assert sorted(path.name for path in closed.iterdir()) == ["mlruns", "stored"]
