"""What a store lost, by deletion or as a whole, is made again from the records in the folders."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.entities import Run as StoredRun

from app import sync
from app.config.schema import Tracking
from app.sweeps.parent import Plan, settle_dead, write_plan
from app.tracking.record import Description
from app.tracking.run import end_run, find_runs, open_run, settle, start
from app.tracking.store import connect
from tests.conftest import finished, run_app

SWEEP = Description("sweep", tags={"sweep": "true"})
JOBS = ("0", "1", "2")


def run_sweep(settings: Tracking, folder: Path) -> None:
    """As its process would, from the first job to the end of the parent run."""
    store = connect(settings)
    write_plan(folder, Plan({"a": JOBS}))
    for job in JOBS:
        parent = open_run(store, folder, SWEEP)
        with start(store, folder / job, Description(job, {"a": job}, parent=parent)) as run:
            (folder / job / "scores.txt").write_text(job)
            run.add_metrics({"m": float(job)})
            run.add_artifacts(folder / job)
        assert run.undelivered is None
    end_run(folder, "FINISHED", {"jobs/finished": 3.0})
    assert not [reason for _, reason in settle(find_runs(folder), ended=True) if reason]


def list_views(settings: Tracking) -> set[str]:
    """The sweeps that have a view in MLflow's pages, by the ids of their runs."""
    client = MlflowClient(connect(settings).uri)
    experiment = client.get_experiment_by_name(settings.experiment)
    assert experiment is not None
    found = (re.fullmatch(r"mlflow\.sharedViewState\.(\w+)", tag) for tag in experiment.tags)
    return {each[1] for each in found if each is not None}


def list_active(settings: Tracking, parent: bool) -> list[StoredRun]:
    client = MlflowClient(connect(settings).uri)
    experiment = client.get_experiment_by_name(settings.experiment)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    return [run for run in runs if ("sweep" in run.data.tags) == parent]


def check_whole(settings: Tracking) -> None:
    """One sweep, with each of its jobs once and complete, and all of them its children."""
    client = MlflowClient(connect(settings).uri)
    (parent,) = list_active(settings, parent=True)
    assert parent.info.status == "FINISHED" and parent.data.metrics == {"jobs/finished": 3.0}
    children = connect(settings).children(parent)
    assert len(list_active(settings, parent=False)) == len(children) == 3
    assert {(run.info.run_name, *run.data.metrics.values()) for run in children} == {
        ("0", 0.0), ("1", 1.0), ("2", 2.0)
    }  # fmt: skip
    for run in children:
        assert run.info.status == "FINISHED"
        assert [file.path for file in client.list_artifacts(run.info.run_id)] == ["scores.txt"]


def delete(settings: Tracking, *, parents: bool = False, jobs: int = 0) -> None:
    """As MLflow's pages do."""
    gone = list_active(settings, parent=True) if parents else []
    for run in [*gone, *list_active(settings, parent=False)[:jobs]]:
        MlflowClient(connect(settings).uri).delete_run(run.info.run_id)


def clear(settings: Tracking, **which: bool | int) -> None:
    """Delete for good: `mlflow gc`."""
    from mlflow.cli import gc  # which imports MLflow's server

    uri = connect(settings).uri
    delete(settings, **which)  # type: ignore[arg-type]
    done = CliRunner().invoke(gc, [f"--{name}-uri={uri}" for name in ("backend-store", "tracking")])
    assert done.exit_code == 0, done.output


@pytest.fixture
def settings(store: Tracking, tmp_path: Path) -> Tracking:
    shutil.copy(Path(store.folder, "mlflow.db"), tmp_path)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database, database:
        place = (tmp_path / "artifacts").as_uri()
        database.execute("UPDATE experiments SET artifact_location = ?", [place])
    return Tracking(name="sqlite", folder=str(tmp_path))


WAYS = [
    (delete, {"jobs": 1}),
    (delete, {"parents": True}),
    (clear, {"jobs": 2}),
    (clear, {"parents": True}),
    (clear, {"parents": True, "jobs": 3}),
]


@pytest.mark.parametrize(("lose", "which"), WAYS)
def test_sync_makes_again_what_was_deleted(
    lose: Callable[..., None], which: dict[str, int], settings: Tracking, tmp_path: Path
) -> None:
    run_sweep(settings, tmp_path / "sweep")
    before = {run.info.run_id for run in list_active(settings, parent=False)}
    lose(settings, **which)
    counts, reasons = sync.sync([tmp_path])
    assert reasons == [] and counts["delivered"] >= 1
    check_whole(settings)
    (parent,) = list_active(settings, parent=True)
    assert parent.info.run_id in list_views(settings) or "parents" not in which
    if lose is delete:
        assert {run.info.run_id for run in list_active(settings, parent=False)} == before
    assert sync.sync([tmp_path]) == ({"complete": 4}, [])


@pytest.mark.parametrize(("lose", "which"), WAYS[1:])
def test_the_same_sweep_again_makes_again_what_was_deleted(
    lose: Callable[..., None], which: dict[str, int], settings: Tracking, tmp_path: Path
) -> None:
    run_sweep(settings, tmp_path / "sweep")
    lose(settings, **which)
    run_sweep(settings, tmp_path / "sweep")
    check_whole(settings)


@pytest.mark.parametrize("lose", [delete, clear])
def test_what_is_deleted_while_a_sweep_runs(
    lose: Callable[..., None], settings: Tracking, tmp_path: Path
) -> None:
    folder, store = tmp_path / "sweep", connect(settings)
    parent = open_run(store, folder, SWEEP)
    with start(store, folder / "0", Description("0", {"a": "0"}, parent=parent)):
        pass
    lose(settings, parents=True, jobs=1)
    run_sweep(settings, folder)
    check_whole(settings)


@pytest.mark.parametrize("synced", [True, False], ids=["sync", "the next start"])
def test_a_sweep_that_was_killed_before_its_first_result_has_a_view(
    synced: bool, settings: Tracking, tmp_path: Path
) -> None:
    write_plan(tmp_path / "sweep", Plan({"a": JOBS}))
    parent = open_run(connect(settings), tmp_path / "sweep", SWEEP)
    if synced:
        assert sync.sync([tmp_path]) == ({"delivered": 1}, [])
    else:
        settle_dead(connect(settings))
    assert list_views(settings) == {parent}


def test_a_store_that_is_gone_is_made_again(tmp_path: Path) -> None:
    """By the command, whose process has no connection to the old one."""
    settings = Tracking(name="sqlite", folder=str(tmp_path / "mlruns"))
    run_sweep(settings, tmp_path / "outputs/sweep")
    shutil.rmtree(tmp_path / "mlruns")
    synced = finished(run_app(tmp_path, module="app.sync"))
    assert synced.stdout == "4 run(s) delivered\n" and synced.stderr.count("\n") <= 1
    moved = Tracking(name="sqlite", folder=str(tmp_path / "moved"))  # new to this process, too
    (tmp_path / "mlruns").rename(moved.folder)
    connect(moved).prepare()
    check_whole(moved)


def test_of_a_deleted_experiment_sync_says_how_to_restore_it(
    settings: Tracking, tmp_path: Path
) -> None:
    run_sweep(settings, tmp_path / "sweep")
    MlflowClient(connect(settings).uri).delete_experiment("1")
    connect(settings)._experiment = None  # as in a new process
    counts, reasons = sync.sync([tmp_path])
    assert counts == {"failed": 4}
    assert "mlflow experiments restore --experiment-id 1" in reasons[0]
