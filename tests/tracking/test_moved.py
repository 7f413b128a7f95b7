"""A project that was moved or copied keeps to itself; the place that it came from is left alone."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from app import sync
from app.config.schema import Tracking
from app.sweeps.parent import settle_dead
from app.tracking.moved import follow, is_same
from app.tracking.record import Description
from app.tracking.run import end_run, open_run, start
from app.tracking.store import connect

SWEEP = Description("sweep", {"a": 1})


def tracking(project: Path) -> Tracking:
    return Tracking(name="sqlite", folder=str(project / "mlruns"))


def run(project: Path, name: str) -> str:
    """A run with a file; its id."""
    folder = project / "outputs" / name
    settle_dead(connect(tracking(project)))  # as every command begins
    with start(connect(tracking(project)), folder, Description(name)) as record:
        (folder / "scores.txt").write_text(name)
        record.add_artifacts(folder)
    assert record.undelivered is None and record.run_id is not None
    return record.run_id


@pytest.fixture
def project(store: Tracking, tmp_path: Path) -> Path:
    """With a run that ended and a sweep that was killed, in a folder whose name needs quoting."""
    project = tmp_path / "a project #1" / "é"
    (project / "mlruns").mkdir(parents=True)
    shutil.copy(Path(store.folder, "mlflow.db"), project / "mlruns")
    made, own = Path(store.folder, "artifacts").as_uri(), project / "mlruns/artifacts"
    with closing(sqlite3.connect(project / "mlruns/mlflow.db")) as database, database:
        database.execute(
            "UPDATE experiments SET artifact_location = replace(artifact_location, ?, ?)",
            [made, own.as_uri()],
        )
    run(project, "ended")
    assert open_run(connect(tracking(project)), project / "outputs/killed", SWEEP)
    return project


def move(old: Path, new: Path) -> None:
    old.rename(new)


def copy(old: Path, new: Path) -> None:
    shutil.copytree(old, new)


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("go", [move, copy])
def test_all_that_came_along_is_used_and_the_old_place_is_not(go, project, tmp_path, capsys):
    new = tmp_path / "elsewhere" / "new"
    new.parent.mkdir()
    go(project, new)
    left = files(project)
    first = run(new, "first")
    assert f"{new}/mlruns came from {project}/mlruns" in capsys.readouterr().err
    client = MlflowClient(connect(tracking(new)).uri)
    runs = {each.info.run_name: each for each in client.search_runs(["1"])}
    assert runs.keys() == {"ended", "sweep", "first"} and runs["first"].info.run_id == first
    for name in ("ended", "first"):
        place = new / "mlruns/artifacts" / runs[name].info.run_id / "artifacts"
        assert runs[name].info.artifact_uri == place.as_uri()
        assert (place / "scores.txt").read_text() == name
    for each in runs.values():
        assert Path(each.data.tags["folder"]).is_relative_to(new)
    assert runs["sweep"].info.status == "KILLED", "by the first start, which found its record"
    assert sync.sync([new / "outputs"]) == ({"complete": 3}, [])
    assert files(project) == left and capsys.readouterr().err == ""


@pytest.mark.parametrize("go", [move, copy])
def test_what_was_left_is_delivered_in_the_new_place(go, project, tmp_path):
    new = tmp_path / "new"
    go(project, new)
    left = files(project)
    assert sync.sync([new / "outputs"]) == ({"delivered": 1, "complete": 1}, [])
    settle_dead(connect(tracking(new)))
    assert files(project) == left


def test_a_sweep_goes_on_where_it_was_moved_to(project, tmp_path):
    (killed,) = [each.info.run_id for each in connect(tracking(project)).unfinished()]
    new = tmp_path / "new"
    move(project, new)
    assert open_run(connect(tracking(new)), new / "outputs/killed", SWEEP) == killed
    end_run(new / "outputs/killed", "FINISHED", {})
    assert sync.sync([new / "outputs"])[0] == {"delivered": 1, "complete": 1}
    assert MlflowClient(connect(tracking(new)).uri).get_run(killed).info.status == "FINISHED"
    assert not project.exists()


def test_results_that_are_moved_alone_stay_with_their_store(project, tmp_path):
    move(project / "outputs", tmp_path / "archive")
    assert sync.sync([tmp_path / "archive"]) == ({"delivered": 1, "complete": 1}, [])
    assert not (tmp_path / "mlruns").exists()


def test_files_that_did_not_come_along_are_told_of(project, tmp_path, capsys):
    new = tmp_path / "new"
    (new / "mlruns").mkdir(parents=True)
    shutil.copy(project / "mlruns/mlflow.db", new / "mlruns")
    connect(tracking(new)).prepare()
    assert "the files of 1 run(s) did not come along and stay there" in capsys.readouterr().err
    client = MlflowClient(connect(tracking(new)).uri)
    (ended,) = client.search_runs(["1"], "attributes.status = 'FINISHED'")
    assert [file.path for file in client.list_artifacts(ended.info.run_id)] == ["scores.txt"]
    run(new, "next")
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_database_of_plain_mlflow_follows_too(tmp_path, capsys, monkeypatch):
    """Its addresses may have no scheme, and what an experiment keeps elsewhere stays there."""
    old, new, elsewhere = (tmp_path / name for name in ("a project é", "new", "artifacts"))
    (old / "mlruns").mkdir(parents=True)
    monkeypatch.chdir(old)
    uri = "sqlite:///mlflow.db"
    client = MlflowClient(uri)
    for name, place in {"plain": None, "file": "file:art", "kept": str(elsewhere)}.items():
        made = client.create_run(client.create_experiment(name, place)).info.run_id
        client.log_text(made, name, "a.txt")
    settings = Tracking(name="sqlite", folder=str(old))
    connect(settings).prepare()
    monkeypatch.chdir(tmp_path)
    move(old, new)
    connect(Tracking(name="sqlite", folder=str(new))).prepare()
    assert f"{new} came from {old}" in capsys.readouterr().err
    client = MlflowClient(f"sqlite:///{new}/mlflow.db")
    for name, place in {"plain": new / "mlruns", "file": new / "art", "kept": elsewhere}.items():
        experiment = client.get_experiment_by_name(name)
        (ended,) = client.search_runs([experiment.experiment_id])
        assert Path(client.download_artifacts(ended.info.run_id, "a.txt")).read_text() == name
        client.log_text(client.create_run(experiment.experiment_id).info.run_id, name, "b.txt")
        assert len(list(place.rglob("b.txt"))) == 1
    assert not old.exists()


def test_a_link_is_the_same_place(project, tmp_path, capsys):
    (tmp_path / "link").symlink_to(project)
    run(tmp_path / "link", "first")
    assert "came from" not in capsys.readouterr().err


def test_a_place_that_was_closed_is_as_good_as_gone(monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "stat", refuse)
    assert not is_same(Path("/a/mlruns"), Path("/b/mlruns"))
    assert follow(Path("/a/mlruns"), Path("/a/x"), Path("/b/x")) == Path("/b/mlruns")


@pytest.mark.parametrize(
    ("path", "old", "new", "leads"),
    [
        ("/a/p/mlruns", "/a/p/outputs/x", "/b/q/outputs/x", "/b/q/mlruns"),
        ("/elsewhere/mlruns", "/a/p/outputs/x", "/b/q/outputs/x", "/elsewhere/mlruns"),
        ("/a/p/mlruns", "/a/p/outputs/x", "/a/p/outputs/y", "/a/p/mlruns"),
        ("/a/p/mlruns", "/a/p/x", "/mnt/a/p/x", "/mnt/a/p/mlruns"),
        ("/mnt/a/p/mlruns", "/mnt/a/p/x", "/a/p/x", "/a/p/mlruns"),
    ],
)
def test_what_moved_is_where_two_places_differ(path, old, new, leads):
    assert follow(Path(path), Path(old), Path(new)) == Path(leads)
