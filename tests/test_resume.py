"""A sweep that was killed, or whose jobs failed, is resumed: what is missing runs, once."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest
from filelock import FileLock
from mlflow import MlflowClient

from tests.conftest import MATERIAL, Ended, _warm, finished, run_warm

QUICK = ["certainty=none", "decoding=none", "lesion=none", "figures=false", *MATERIAL[:1]]
SWEEP = ["-m", "--config-dir", "own", "threshold=mine", "metric=fsi,ttest", "seed=0,1",
         "layer=conv13", "cache=shared", *QUICK]  # fmt: skip
MINE = "own/threshold/mine.yaml"
MINE_HAS = "name: mine\nfsi: 0.3\ndprime: 0.65\nwilcoxon: 0.001\nttest: {}\n"


def resume(folder: Path, *words: str) -> Ended:
    return run_warm(folder, *words, module="app.resume")


def sweep_of(folder: Path) -> Path:
    (found,) = folder.glob("outputs/sweeps/*/*")
    return found.relative_to(folder)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a sweep of four jobs was killed in the middle of its second."""
    folder, ended = tmp_path_factory.mktemp("killed"), list[Ended]()
    (folder / MINE).parent.mkdir(parents=True)
    (folder / MINE).write_text(MINE_HAS.format(0.05))
    (folder / "shared").mkdir()  # what lies there changes, and is no input
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
    table = pd.read_csv(killed / sweep / "report/jobs.csv")
    assert table["run_id"].tolist() == [jobs[job].info.run_id for job in "0123"]

    again = finished(resume(killed, str(sweep)))
    assert again.stdout == f"All 4 jobs finished: nothing is missing in {sweep}\n"


def test_a_changed_threshold_is_named_and_runs_anyway(killed: Path):
    sweep = sweep_of(killed)
    (killed / sweep / "3/result.json").unlink()
    (killed / MINE).write_text(MINE_HAS.format(0.01))
    refused = resume(killed, str(sweep))
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert "began, this changed: config threshold/mine.yaml; undo that" in refused.stderr
    assert not (killed / sweep / "3/result.json").exists()

    process = finished(resume(killed, str(sweep), "anyway=true"))
    assert process.stderr.startswith(
        f"note: since the sweep in {sweep} began, this changed: config"
    )
    assert "1 of 4 jobs, results in" in process.stdout
    params = [json.loads((killed / sweep / f"{job}/result.json").read_text())["params"]
              for job in (2, 3)]  # fmt: skip
    assert [each["metric.criterion.threshold"] for each in params] == [0.05, 0.01]


def test_what_cannot_be_resumed_is_one_line(killed: Path, tmp_path: Path):
    sweep = killed / sweep_of(killed)
    for place, words, said in (
        (tmp_path, ["nowhere"], "nowhere is no folder: name that of a sweep"),
        (tmp_path, [str(tmp_path)], f"{tmp_path} has no manifest.json: name the folder of a sweep"),
        (tmp_path, [str(sweep)], f"the sweep in {sweep} ran in {killed}: resume it there"),
        (killed, [str(sweep), "threshold.fsi=0.2"], "threshold.fsi=0.2: a sweep that is resumed"),
        (killed, [], "the following arguments are required: folder"),
    ):
        process = resume(place, *words)
        assert process.returncode == 1 and process.stderr.startswith(f"error: {said}")
        assert process.stderr.count("\n") == 1
    with FileLock(sweep / "2/.running.lock"):
        process = resume(killed, str(sweep))
    assert process.stderr.startswith(f"error: {sweep}/2 is running, here or on another machine")


def test_another_sweep_in_the_folder_of_an_earlier_one(tmp_path: Path):
    own = ["-m", "hydra.sweep.dir=fixed", *QUICK]
    finished(run_warm(tmp_path, *own, "seed=0,1"))
    refused = run_warm(tmp_path, *own, "layer=conv2,nope")
    assert refused.returncode == 1 and "Could not find 'layer/nope'" in refused.stderr
    assert "finished" not in refused.stdout, "its jobs were not the earlier one's"
    client = MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    runs = client.search_runs(["1"])
    assert [run.info.status for run in runs] == ["FINISHED"] * 3
    # As `kill -9` leaves a sweep.
    (earlier,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    client.update_run(earlier.info.run_id, status="RUNNING")
    record = tmp_path / "fixed/record.json"
    record.write_text(record.read_text().replace('"FINISHED"', '"RUNNING"'))

    finished(run_warm(tmp_path, *own, "metric=fsi,ttest"))
    assert client.get_run(earlier.info.run_id).info.status == "KILLED"
    new = [run for run in client.search_runs(["1"]) if run.info.run_id not in
           {each.info.run_id for each in runs}]  # fmt: skip
    (parent,) = [run for run in new if "mlflow.parentRunId" not in run.data.tags]
    assert parent.data.params == {"metric": "fsi,ttest"} and len(new) == 3
