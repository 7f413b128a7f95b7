"""Sweeps whose jobs are processes of their own: on a SLURM, and killed or interrupted.

That joblib's jobs find the bits of jobs one after another is tested with the main job.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from app import machine
from tests import slurm
from tests.conftest import REPOSITORY, SMALL, computed, entries, finished, run_app

# Two jobs that share everything but their metric, and two that fail before they begin.
SWEEP = ["-m", "metric=fsi,ttest", "seed=0,-1", "layer=conv13", *SMALL, "figures=false"]
JOBLIB = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One job after another, on two threads."""
    folder = tmp_path_factory.mktemp("alone")
    jobs = ["-m", "metric=fsi,ttest", "layer=conv13", *SMALL, "figures=false"]
    finished(run_app(folder, *jobs, "tracking=none", "threads=2", fresh=True, OMP_NUM_THREADS="2"))
    return folder


def assert_sweep_is_right(folder: Path, process: subprocess.CompletedProcess[str]) -> list[str]:
    """Also returns how the runs of job 0 ended, in the order they began."""
    assert process.returncode == 1, process.stdout + process.stderr
    assert process.stdout.count("2 of 4 jobs finished") == 1
    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("selectivity").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if run is not parent]
    assert parent.info.status == "FAILED"
    assert parent.info.run_name.startswith("sweep -m metric=fsi,ttest seed=0,-1")
    assert (parent.data.metrics["jobs/finished"], parent.data.metrics["jobs/failed"]) == (2, 2)
    assert client.list_artifacts(parent.info.run_id), "the report"
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    ends: dict[str, list[str]] = {}
    for run in sorted(children, key=lambda run: run.info.start_time):
        ends.setdefault(run.data.tags["job"], []).append(run.info.status)
    first = ends.pop("0")
    assert ends == {"1": ["FAILED"], "2": ["FINISHED"], "3": ["FAILED"]}
    return first


@pytest.mark.skipif(slurm.why_not() is not None, reason=str(slurm.why_not()))
def test_slurm_too_and_a_job_at_its_time_out_goes_on(alone, tmp_path):
    """On a real SLURM; job 0 gets the signal that SLURM sends before a time-out."""
    pytest.importorskip(
        "hydra_plugins.hydra_submitit_launcher", reason="no hydra-submitit-launcher"
    )
    launcher = {"timeout_min": 5, "mem_gb": 1, "cpus_per_task": 1}
    settings = [f"hydra.launcher.{name}={value}" for name, value in launcher.items()]

    def call(*command: str) -> str:
        done = subprocess.run(command, env=reached, capture_output=True, text=True)
        return done.stdout if done.returncode == 0 else ""

    def wait_for(seen) -> None:
        until = time.monotonic() + 200
        while not seen():
            assert time.monotonic() < until and thread.is_alive()
            time.sleep(0.1)

    with slurm.cluster() as reached:
        answer: list[subprocess.CompletedProcess[str]] = []
        arguments = [*SWEEP, "hydra/launcher=submitit_slurm", *settings]
        thread = threading.Thread(
            target=lambda: answer.append(run_app(tmp_path, *arguments, fresh=True, **reached))
        )
        thread.start()
        wait_for(lambda: any(tmp_path.glob("outputs/sweeps/*/*/0/.hydra/overrides.yaml")))
        call("scancel", "--signal=USR2", "1_0")
        wait_for(lambda: "BeginTime" in call("squeue", "--jobs=1_0", "--format=%r"))
        call("scontrol", "update", "jobid=1_0", "StartTime=now")  # not in two minutes
        thread.join()
    script = next(tmp_path.glob("outputs/sweeps/*/*/.submitit/*/*.sh")).read_text()
    assert {"--array=0-3%4", "--mem=1GB", "--time=5"} <= set(re.findall(r"--[\w=%-]+", script))
    assert assert_sweep_is_right(tmp_path, answer[0])[-1] == "FINISHED"
    logs = next(tmp_path.glob("outputs/sweeps/*/*/.submitit/1_0/*.out")).read_text()
    assert "Requeued job 1_0 (2 remaining timeouts)" in logs
    stored = entries(tmp_path)
    assert computed(tmp_path) == Counter(list(stored))
    assert stored == entries(alone)


def ends(folder: Path) -> dict[bool, set[str]]:
    """How the parent run (True) and its children ended."""
    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    found: dict[bool, set[str]] = {}
    for run in client.search_runs([client.get_experiment_by_name("selectivity").experiment_id]):
        found.setdefault("mlflow.parentRunId" not in run.data.tags, set()).add(run.info.status)
    return found


def test_a_job_whose_process_dies_ends_the_sweep_in_one_line(tmp_path):
    """The job's process kills itself, as a machine out of memory would."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, signal, sys\n"
        "def kill(event, arguments):\n"
        "    if event == 'open' and 'cache/read_kernels' in str(arguments[0]):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "if 'loky' in ' '.join(sys.orig_argv):\n"
        "    sys.addaudithook(kill)\n"
    )
    process = run_app(
        tmp_path, "-m", "seed=0", *SMALL, *JOBLIB,
        PYTHONPATH=f"{tmp_path}{os.pathsep}{REPOSITORY}",
    )  # fmt: skip
    assert process.returncode == 1
    assert process.stderr.count("error: ") == 1, process.stderr
    assert "SIGKILL" in process.stderr and "Traceback" not in process.stderr
    assert ends(tmp_path) == {True: {"FAILED"}, False: {"KILLED"}}


def test_ctrl_c_ends_the_parent_run_and_every_worker(tmp_path):
    command = [sys.executable, "-m", "app", "-m", "seed=0,1", *JOBLIB]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        # What a shell starts in the background ignores Ctrl-C, and so does what that starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    until = time.monotonic() + 200
    while not list(tmp_path.glob("outputs/cache/*/*.lock")) and time.monotonic() < until:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "interrupted\n" in errors and "Traceback" not in errors
    assert set.union(*ends(tmp_path).values()) == {"KILLED"}


def test_threads_are_the_share_that_the_environment_gives(monkeypatch):
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        monkeypatch.delenv(name, raising=False)
    assert machine.count_threads() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert machine.count_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert machine.count_threads() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")  # nested, as OpenMP allows
    assert machine.count_threads() == 3
