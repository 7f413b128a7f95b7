"""A sweep that was killed, or whose jobs failed, is resumed: what is missing runs, once."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from tests.conftest import MATERIAL, Ended, _warm, finished, run_warm

SWEEP = ["-m", "metric=fsi,ttest", "threshold.fsi=0.3,0.4", "layer=conv13", "certainty=none",
         "decoding=none", "lesion=none", "figures=false", *MATERIAL[:1]]  # fmt: skip


def resume(folder: Path, *words: str) -> Ended:
    return run_warm(folder, *words, module="app.resume")


def sweep_of(folder: Path) -> Path:
    (found,) = folder.glob("outputs/sweeps/*/*")
    return found.relative_to(folder)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a sweep of four jobs was killed in the middle of its second."""
    folder, ended = tmp_path_factory.mktemp("killed"), list[Ended]()
    run = threading.Thread(target=lambda: ended.append(run_warm(folder, *SWEEP)))
    run.start()
    while run.is_alive() and not list(folder.glob("outputs/sweeps/*/*/1/record.json")):
        time.sleep(0.01)
    (process,) = psutil.Process(_warm().pid).children()
    process.kill()
    run.join()
    assert ended[0].returncode == -9, ended[0].stdout + ended[0].stderr
    return folder


def test_a_killed_sweep_is_resumed(killed: Path):
    sweep = sweep_of(killed)
    finished_before = (killed / sweep / "0/result.json").read_bytes()
    was_running = json.loads((killed / sweep / "1/record.json").read_text())["key"]
    assert [path.parent.name for path in (killed / sweep).glob("*/result.json")] == ["0"]

    process = finished(resume(killed, str(sweep)))
    assert f"3 of 4 jobs, results in {sweep}" in process.stdout
    assert "4 of 4 jobs finished" in process.stdout
    assert (killed / sweep / "0/result.json").read_bytes() == finished_before
    client = MlflowClient(f"sqlite:///{killed}/mlruns/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("selectivity").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    jobs = {run.data.tags["job"]: run for run in runs if run is not parent}
    assert len(runs) == 5 and jobs.keys() == set("0123")
    assert jobs["1"].data.tags["record"] == was_running, "it is the same run, begun again"
    assert {run.data.tags["mlflow.parentRunId"] for run in jobs.values()} == {parent.info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert parent.data.metrics == {"jobs/finished": 4, "jobs/failed": 0}
    report = (killed / sweep / "report/report.md").read_text()
    assert all(run.info.run_id in report for run in jobs.values())

    again = finished(resume(killed, str(sweep)))
    assert again.stdout == f"All 4 jobs finished: nothing is missing in {sweep}\n"
