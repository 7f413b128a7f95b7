"""Single units through the command line: what a small budget and a full disk leave.

What a kill leaves: `tests.test_killed`, whose run is of single units, too.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app import experiment
from app.config.schema import Config, metric_set
from app.experiment import Job
from app.responses import units
from tests.composing import check_config
from tests.conftest import SMALL, run_warm

UNITS = [*SMALL, "aggregation=unit", "layer=conv10", "metric=wilcoxon", "figures=false"]


def newest_scores(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "run/scores.parquet")


def run_here(folder: Path) -> Config:
    """The run in this process, with the cache of one in the folder."""
    config = check_config(*UNITS, f"cache={folder}/outputs/cache", "tracking=none")
    experiment.run(config, folder / "run", Job(figures=False))
    return config


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.glob("outputs/cache/**/*") if path.suffix == ".new"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    run_here(folder)
    return folder


def test_every_unit_is_scored(undisturbed: Path):
    table = newest_scores(undisturbed)
    assert len(table) == 128 * 8 * 8
    assert table["unit"].tolist() == list(range(len(table)))
    place = table[["channel", "row", "column"]].to_numpy()
    np.testing.assert_array_equal(np.ravel_multi_index(place.T, (128, 8, 8)), table["unit"])
    assert table[["fsi", "dprime", "wilcoxon", "ttest"]].notna().mean().min() > 0.9


def test_what_fits_the_budget_changes_no_score(undisturbed: Path, tmp_path, monkeypatch):
    monkeypatch.setattr(units, "fit_rows", lambda *_, **__: 7)  # the last block has fewer
    config = run_here(tmp_path)
    table, found = newest_scores(undisturbed), newest_scores(tmp_path)
    for name in metric_set(config):
        np.testing.assert_allclose(found[name], table[name], rtol=1e-4, atol=1e-5)


def test_a_full_disk_leaves_nothing_behind(undisturbed: Path, tmp_path: Path):
    """No file may grow beyond 0.4 MB: scores with four contrasts of 8,192 units do."""
    process = run_warm(tmp_path, *UNITS, "tracking=none", file_bytes=400_000)
    assert process.returncode == 1
    message = process.stderr.strip()
    assert len(message.splitlines()) == 1 and message.startswith("error: cannot store a result in")
    assert "cache=" in message and "Traceback" not in message
    assert not leftovers(tmp_path)
    # The two metrics whose scores are smaller are stored, whole; of the others there is nothing.
    stored = list(tmp_path.glob("outputs/cache/score_units/*.npz"))
    assert len(stored) == 2 and all(zipfile.ZipFile(path).testzip() is None for path in stored)
    run_here(tmp_path)
    pd.testing.assert_frame_equal(
        newest_scores(tmp_path), newest_scores(undisturbed), check_exact=True
    )
