"""Single units through the command line: what a small budget, a full disk and a kill leave."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from hydra import compose, initialize_config_dir

from app import experiment
from app.config import schema
from app.config.checks import checked
from app.config.schema import metric_set
from app.launch.commandline import CONFIG_FOLDER
from app.responses import units
from tests.conftest import SMALL, finished, run_app
from tests.test_killed import began, killed_at, seconds

UNITS = [*SMALL, "aggregation=unit", "layer=conv2", "metric=wilcoxon", "figures=false"]


def newest_scores(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(max(folder.glob("outputs/runs/*/*/scores.parquet")))


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.glob("outputs/cache/**/*") if path.suffix == ".new"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    finished(run_app(folder, *UNITS))
    return folder


def test_every_unit_is_scored(undisturbed: Path):
    table = newest_scores(undisturbed)
    assert len(table) == 16 * 64 * 64
    assert table["unit"].tolist() == list(range(len(table)))
    place = table[["channel", "row", "column"]].to_numpy()
    np.testing.assert_array_equal(np.ravel_multi_index(place.T, (16, 64, 64)), table["unit"])
    assert table[["fsi", "dprime", "wilcoxon", "ttest"]].notna().mean().min() > 0.9


@pytest.mark.parametrize("rows", [7, 30])
def test_what_fits_the_budget_changes_no_score(undisturbed: Path, tmp_path, monkeypatch, rows):
    monkeypatch.setattr(units, "fit_rows", lambda *_, **__: rows)
    schema.register()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config = checked(compose("config", [*UNITS, f"cache={tmp_path}", "tracking=none"]))
    experiment.run(config, tmp_path / "run")
    table, found = newest_scores(undisturbed), pd.read_parquet(tmp_path / "run" / "scores.parquet")
    for name in metric_set(config):
        np.testing.assert_allclose(found[name], table[name], rtol=1e-4, atol=1e-5)


def test_a_full_disk_leaves_nothing_behind(undisturbed: Path, tmp_path: Path):
    """No file may grow beyond 2 MB: scores with four contrasts of 65,536 units do."""

    def full() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    process = subprocess.run(
        [sys.executable, "-m", "app", *UNITS, "tracking=none"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=full,
        timeout=300,
    )
    assert process.returncode == 1
    message = process.stderr.strip()
    assert len(message.splitlines()) == 1 and message.startswith("error: cannot store a result in")
    assert "cache=" in message and "Traceback" not in message
    assert not leftovers(tmp_path)
    # The two metrics whose scores are smaller are stored, whole; of the others there is nothing.
    stored = list(tmp_path.glob("outputs/cache/score_units/*.npz"))
    assert len(stored) == 2 and all(zipfile.ZipFile(path).testzip() is None for path in stored)
    finished(run_app(tmp_path, *UNITS))
    pd.testing.assert_frame_equal(
        newest_scores(tmp_path), newest_scores(undisturbed), check_exact=True
    )


def test_killed_at_any_moment_the_same_command_finishes(undisturbed: Path, tmp_path: Path):
    chance = random.Random(0)
    for _ in range(2):
        process = began(["app", *UNITS], tmp_path)
        while not list(tmp_path.glob("outputs/cache/*/*")) and process.poll() is None:
            time.sleep(0.01)
        killed_at(process, seconds(psutil.Process(process.pid)) + chance.uniform(0, 2))
    finished(run_app(tmp_path, *UNITS))
    assert not leftovers(tmp_path)
    pd.testing.assert_frame_equal(
        newest_scores(tmp_path), newest_scores(undisturbed), check_exact=True
    )
