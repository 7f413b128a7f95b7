"""The command line killed outright at random moments, then the same command: as if nothing were.

`KILLS=200 python -m pytest -s tests/test_killed.py` kills that often and says what came of it.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient
from safetensors.numpy import load_file

from tests.conftest import REPOSITORY, SMALL

pytestmark = pytest.mark.cli
KILLS = int(os.environ.get("KILLS", 0))
FIRST = 0.0 if KILLS else 0.6  # of its work: with few kills none while it still imports
SEED = int(os.environ.get("KILLS_SEED", 0))
FEW = ["layer=conv13", *SMALL, "stimuli.images_per_category=4", "lesion.sets=[50]"]
RUN = ["app", "metric=fsi", "lesion=none", "decoding=none", "figures=false", *FEW]
SWEEP = ["app", "-m", "metric=fsi,ttest", *FEW]
TRAINING = [
    "app.train", "name=tiny", "model.widths=[2,2,2,2,2,2,2,2,2,2,2,2,2]", "model.hidden=4",
    "model.input_size=32", "model.resize=36", "drawn.people=3", "drawn.objects=3",
    "drawn.images_per_person=6", "drawn.shift=2", "held_out_per_class=2", "epochs=3",
    "batch_size=6", "optimiser.learning_rate=0.01", "workers=1",
]  # fmt: skip
CASES = {"sweep": (SWEEP, KILLS - KILLS // 3), "training": (TRAINING, KILLS // 3)}


def began(command: list[str], folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def seconds(process: psutil.Process) -> float:
    used = process.cpu_times()
    return used.user + used.system


def killed_at(process: subprocess.Popen[str], moment: float) -> bool:
    """Kill a process when it has used that much of a processor; False: it had ended before.

    Not by the clock: how far a process comes by then should not depend on what else runs.
    """
    watched = psutil.Process(process.pid)
    try:
        while process.poll() is None:
            if seconds(watched) >= moment:
                watched.kill()
                process.wait()
                return process.returncode == -9
            time.sleep(0.002)
    except psutil.NoSuchProcess:
        pass
    return False


def results(folder: Path) -> dict[str, bytes]:
    """The files of results of the last run or sweep, or of the training."""
    runs = sorted(folder.glob("outputs/*s/*/*"))
    place = runs[-1] if runs else folder / "outputs" / "train" / "tiny"
    wanted = ("*.parquet", "metrics.json", "*.safetensors", "*.png")
    return {
        path.relative_to(place).as_posix(): content(path)
        for pattern in wanted
        for path in place.rglob(pattern)
        if "report" not in path.parts  # which names the runs' ids
    }


def content(path: Path) -> bytes:
    """Of weights the tensors: safetensors writes what it says about them in any order."""
    if path.suffix != ".safetensors":
        return path.read_bytes()
    tensors = load_file(path)
    return b"".join(name.encode() + tensors[name].tobytes() for name in sorted(tensors))


def half_made(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.name.endswith((".tmp", ".new", ".partial", "-journal", "-wal"))
    ]


@pytest.mark.parametrize(
    ("command", "kills"), CASES.values() if KILLS else [(RUN, 2)], ids=CASES if KILLS else ["run"]
)
def test_killed_at_any_moment_then_the_same_command(command, kills, tmp_path: Path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for folder in (whole, cut):
        folder.mkdir()
    undisturbed = began([*command, "tracking=none"], whole)
    watched, lasts = psutil.Process(undisturbed.pid), 0.0
    while undisturbed.poll() is None:
        lasts = max(lasts, seconds(watched))
        time.sleep(0.01)
    said = undisturbed.communicate()[0]
    assert undisturbed.returncode == 0, said
    expected = results(whole)
    assert any(name.endswith((".parquet", ".safetensors")) for name in expected)

    moments, outcomes = random.Random(SEED), Counter[str]()
    tried = 0
    while tried < kills:
        process = began(command, cut)
        if killed_at(
            process, moments.uniform(FIRST * lasts, 1.4 * lasts)
        ):  # MLflow's part comes on top
            tried += 1
        else:  # the rest was less work than the moment: it finished, and all begins anew
            said = process.communicate()[0]
            assert process.returncode == 0, said
            check(cut, expected)
            outcomes["finished between"] += 1
            for place in ("outputs", *(["mlruns"] if moments.random() < 0.5 else [])):
                shutil.rmtree(cut / place)
    process = began(command, cut)
    said = process.communicate()[0]
    assert process.returncode == 0, said
    states = check(cut, expected)
    print(
        f"\n{' '.join(command[:3])}: {tried} kills tried and survived, of {lasts:.1f} s of work; "
        f"{dict(outcomes)}; {dict(states)}"
    )


def check(folder: Path, expected: dict[str, bytes]) -> Counter[str]:
    """Results to the bit, nothing half-made, no run that seems to go on; the runs by state."""
    found = results(folder)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
    assert half_made(folder) == []
    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("selectivity")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    states = Counter(run.info.status for run in runs)
    assert states["RUNNING"] == 0, states
    assert set(states) <= {"FINISHED", "KILLED"}
    last = max(runs, key=lambda run: run.info.end_time)
    assert last.info.status == "FINISHED"
    return states
