"""The command line killed outright at random moments, then the same command: as if nothing were.

`KILLS=200 python -m pytest -s tests/test_killed.py` kills that often and says what came of it.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient
from safetensors.numpy import load_file

from tests.conftest import SMALL, Ended, finished, run_app, run_warm

KILLS = int(os.environ.get("KILLS", 0))
FIRST = 0.0 if KILLS else 0.3  # of its work
SEED = int(os.environ.get("KILLS_SEED", 0))
FEW = ["layer=conv13", *SMALL, "stimuli.images_per_category=4", "lesion.sets=[50]"]
RUN = ["app", "aggregation=unit", "metric=fsi", "figures=false", *FEW]
SWEEP = ["app", "-m", "metric=fsi,ttest", *FEW]
TRAINING = [
    "app.train", "name=tiny", "model.widths=[2,2,2,2,2,2,2,2,2,2,2,2,2]", "model.hidden=4",
    "model.input_size=32", "model.resize=36", "drawn.people=3", "drawn.objects=3",
    "drawn.images_per_person=6", "drawn.shift=2", "held_out_per_class=2", "epochs=3",
    "batch_size=6", "optimiser.learning_rate=0.01", "workers=1",
]  # fmt: skip
CASES = {"sweep": (SWEEP, KILLS - KILLS // 3), "training": (TRAINING, KILLS // 3)}


def killed_after(moment: float, folder: Path, *words: str, module: str = "app") -> Ended:
    """`python -m app …`, killed when it has kept a processor busy for that long, if it then works.

    Not by the clock: how far a process comes by then should not depend on what else runs.
    """
    ended = run_warm(folder, *words, module=module, dies_after=moment)
    assert ended.returncode in (0, -signal.SIGPROF), ended.stdout + ended.stderr
    return ended


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
    module, *words = command
    undisturbed = run_warm(whole, *words, "tracking=none", module=module)
    finished(undisturbed)
    expected = results(whole)
    assert any(name.endswith((".parquet", ".safetensors")) for name in expected)

    moments, outcomes = random.Random(SEED), Counter[str]()
    tried, lasts = 0, undisturbed.seconds
    while tried < kills:
        # MLflow's part comes on top.
        process = killed_after(
            moments.uniform(FIRST * lasts, 1.4 * lasts), cut, *words, module=module
        )
        if process.returncode == -signal.SIGPROF:
            tried += 1
        else:  # the rest was less work than the moment: it finished, and all begins anew
            check(cut, expected)
            outcomes["finished between"] += 1
            for place in ("outputs", *(["mlruns"] if moments.random() < 0.5 else [])):
                shutil.rmtree(cut / place)
    finished(run_app(cut, *words, module=module))
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
