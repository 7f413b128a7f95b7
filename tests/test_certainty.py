"""How sure a run's numbers are: what is logged, noted and refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app import experiment
from app.errors import InputError
from app.experiment import Job
from tests.composing import check_config
from tests.conftest import MATERIAL, SMALL

ALONE = ["tracking=none", "lesion=none", "decoding=none"]
PLAIN = [*ALONE, *SMALL]
pytestmark = pytest.mark.slow


def ask(
    folder: Path, *arguments: str, words: Sequence[str] = PLAIN
) -> tuple[dict[str, float], Path, str]:
    """What a run in this process logs, its folder, and its notes."""
    results = folder / str(len(list(folder.iterdir())))
    config = check_config(f"cache={folder}/cache", *words, *arguments)
    found = experiment.run(config, results, Job(figures=False))
    return found.metrics, results, "\n".join(found.notes)


def test_the_same_command_finds_the_same_bits(tmp_path: Path):
    logged, folder, _ = ask(tmp_path)
    again, other, _ = ask(tmp_path, f"cache={tmp_path}/another")
    assert again == logged
    for table in ("certainty", "scores"):
        one, two = (pd.read_parquet(run / f"{table}.parquet") for run in (folder, other))
        pd.testing.assert_frame_equal(one, two, check_exact=True)
    draws = pd.read_parquet(folder / "certainty.parquet")
    assert draws["draw"].value_counts().to_dict() == {"resample": 40, "shuffle": 9, "split": 3}
    columns = set(pd.read_parquet(folder / "scores.parquet"))
    assert {"fsi_ci95_low", "fsi_ci95_high", "fsi_split_half", "ttest_ci95_low"} <= columns
    low, high = (logged[f"selectivity/percent_ci95_{end}"] for end in ("low", "high"))
    percent = draws.loc[draws["draw"] == "resample", "percent"]
    np.testing.assert_allclose((low, high), np.percentile(percent, [2.5, 97.5]))
    assert ask(tmp_path, "seed=3")[0] != logged


def test_none_logs_none_of_it(tmp_path: Path):
    logged, folder, _ = ask(tmp_path, "certainty=none", words=[*ALONE, *MATERIAL])
    groups = {name.partition("/")[0] for name in logged}
    assert not groups & {"reliability", "null", "matched", "crossvalidated"}
    assert not any("ci95" in name for name in logged)
    assert not (folder / "certainty.parquet").exists()
    assert not any("ci95" in name for name in pd.read_parquet(folder / "scores.parquet"))


def test_two_images_a_category_are_told(tmp_path: Path):
    logged, _, said = ask(tmp_path, "stimuli.images_per_category=2")
    assert "certainty: a category has 2 images" in said
    assert "selectivity/percent_ci95_low" in logged


def test_a_criterion_that_selects_nothing_by_chance(tmp_path: Path):
    logged, _, _ = ask(tmp_path, "metric=dprime", "threshold.dprime=2.5")
    assert logged["null/percent"] == 0
    assert logged["null/p"] == (1 / 10 if logged["selectivity/percent"] else 1)
    logged, _, _ = ask(tmp_path, "metric=dprime", "threshold.dprime=90")
    assert logged["selectivity/percent"] == 0 and logged["null/p"] == 1


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("certainty.resamples=1", "certainty.resamples=1: an interval of 95 % needs 40 or more"),
        ("certainty.splits=-1", "certainty.splits=-1"),
        ("certainty.shuffles=-1", "certainty.shuffles=-1"),
    ],
)
def test_what_cannot_be_asked_is_one_line(word: str, line: str):
    with pytest.raises(InputError, match=line) as caught:
        check_config(word)
    assert "\n" not in str(caught.value)
