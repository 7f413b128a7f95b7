"""Tables fit the terminal and say what tells the jobs apart."""

import dataclasses
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.sweeps import tables
from app.sweeps.results import Result

REPOSITORY = Path(__file__).parents[2]


METRICS = {
    "selectivity/count": 1234.0,
    "selectivity/percent": 18.756,
    "selectivity/undefined": 2.0,
    "consistency/mean": 0.8123,
    "lesion/spearman": -0.2914,
    "lesion/spearman_object": math.nan,
    "decoding/accuracy": 0.6234,
    "decoding/ci95_low": 0.6012,
    "decoding/ci95_high": 0.6456,
    "decoding/difference_fsi": 0.0123,
    "decoding/difference_fsi_ci95_low": -0.01,
    "decoding/difference_fsi_ci95_high": 0.0345,
    "decoding/chance": 0.01,
    "decoding/random_kernels": 0.5891,
    "decoding/all_kernels": 0.8712,
}


NOTE = "decoding: no kernel selected: decoded from the top 9"


def job(layer: str = "conv2", metric: str = "fsi", number: int = 0, **params: Any) -> Result:
    asked = {
        "model": "dualtask_mini",
        "layer": layer,
        "metric": metric,
        "threshold": "paper",
        "aggregation": "l2",
        "seed": 0,
        "metric.contrast": "pooled" if metric == "fsi" else "each",
    }
    return Result("finished", "job", asked | params, metrics=METRICS, notes=[NOTE], job=number)


def failed(layer: str, metric: str, number: int = 0) -> Result:
    params = job(layer, metric).params
    return Result("failed", "job", params, reason="no such layer\nTraceback", job=number)


def sweep() -> list[Result]:
    metrics = ("fsi", "dprime", "wilcoxon", "ttest")
    jobs = [(layer, metric) for layer in ("conv2", "conv13") for metric in metrics]
    return [job(*asked, number=number) for number, asked in enumerate(jobs)]


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")


def test_a_wide_terminal_gets_one_row_a_job() -> None:
    lines = tables.describe_sweep(sweep()).split("\n")
    head = " ".join(lines[0].split())
    expected = "layer metric count % undefined consistency lesion r decoding [95 % CI] chance"
    assert head == f"{expected} random all"
    row = "conv2 fsi 1,234 18.76 2 0.812 -0.291 0.623 [0.601, 0.646] 0.010 0.589 0.871"
    assert " ".join(lines[1].split()) == row
    assert len(lines) == 1 + 8 + 3
    assert lines[-2:] == ["8 of 8 jobs finished", f"note (8 of 8 jobs): {NOTE}"]


def test_rows_follow_the_network_and_empty_columns_are_left_out() -> None:
    depths = {"fc": 9.0, "layer1.0": 2.0, "conv1": 1.0}
    asked = [("fc", "fsi"), ("conv1", "fsi"), ("layer1.0", "fsi"), ("fc", "ttest")]
    found = {"selectivity/count": 3.0, "selectivity/percent": 1.5}
    jobs = [
        dataclasses.replace(
            job(*each, number=n), metrics=found | {"layer/depth": depths[each[0]]}, notes=()
        )
        for n, each in enumerate(asked)
    ]
    lines = tables.describe_sweep(jobs).splitlines()
    assert lines[0].split() == ["layer", "metric", "count", "%"]
    layers = [line.split()[0] for line in lines[1:5]]
    assert layers == ["conv1", "layer1.0", "fc", "fc"]
    unknown = [job(layer, number=n) for n, layer in enumerate(["conv10", "conv9", "conv13"])]
    rows = tables.describe_sweep(unknown).splitlines()[1:4]
    assert [row.split()[0] for row in rows] == ["conv9", "conv10", "conv13"]


def test_a_sweep_s_job_is_one_line() -> None:
    line = tables.summarise_job(job(number=2), 8)
    assert line.startswith("job 2 (3 of 8): job: count 1,234, % 18.76, undefined 2, consistency 0")
    assert line.endswith("lesion r -0.291, decoding 0.623 [0.601, 0.646]")
    ends = {"lesion/spearman_ci95_low": -0.1, "lesion/spearman_ci95_high": -0.0004}
    no_lesion = replace(job(), metrics={"lesion/spearman": -0.0002, **ends})
    assert tables.summarise_job(no_lesion, 8).endswith("lesion r 0.000 [-0.100, 0.000]")
    assert tables.summarise_job(failed("a", "b"), 8) == "job 0 (1 of 8): job: failed: no such layer"


def test_a_narrow_terminal_gets_two_tables_and_whole_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = tables.describe_sweep(sweep()).split("\n")
    assert max(map(len, lines)) <= 80
    rows = [" ".join(line.split()) for line in lines if line.startswith("conv13  ttest")]
    assert rows == [
        "conv13 ttest 1,234 18.76 2 0.812 -0.291",
        "conv13 ttest 0.623 [0.601, 0.646] 0.010 0.589 0.871",
    ]


def test_only_params_that_tell_jobs_apart_are_columns() -> None:
    # The metric decides its contrast; a swept number of the threshold is decided by nothing.
    assert "contrast" not in tables.describe_sweep(sweep()).split("\n")[0]
    jobs = [job(**{"threshold.fsi": number}) for number in (0.1, 0.2)]
    assert tables.describe_sweep(jobs).split()[:2] == ["threshold.fsi", "count"]


def test_long_values_are_shortened_to_what_differs() -> None:
    paths = [f"/home/someone/experiments/of/2026/run_{number}/best.pth" for number in (1, 2)]
    jobs = [job(**{"model.checkpoint": path}) for path in paths]
    rows = tables.describe_sweep(jobs).split("\n")
    assert [row.split()[0] for row in rows[:3]] == ["model.checkpoint", "…run_1…", "…run_2…"]
    assert paths[0] in tables.describe_sweep([job(), replace(jobs[0], status="failed", job=1)])


def test_a_failed_job_is_listed_with_the_first_line_of_its_reason() -> None:
    lines = tables.describe_sweep([job("conv2"), failed("conv99", "fsi", 1)]).split("\n")
    assert "1 of 2 jobs finished" in lines
    assert "failed: layer=conv99: no such layer" in lines
    row = next(line for line in lines if line.startswith("conv99"))
    assert set(row.split()) == {"conv99", "-"}


def test_one_job_in_a_sweep() -> None:
    lines = tables.describe_sweep([job()]).split("\n")
    assert lines[0].split()[0] == "count"
    assert lines[-2] == "1 of 1 jobs finished"
    assert "failed: model=dualtask_mini" in tables.describe_sweep([failed("a", "b")])


def test_a_job() -> None:
    lines = tables.describe_job(job()).split("\n")
    cells = {line.split()[0]: " ".join(line.split()[1:]) for line in lines[:-1]}
    assert "count 1,234" in cells["selectivity"]
    units = replace(job(), metrics={"selectivity/units": 128.0})
    for aggregation, counted in (("l2", "kernels 128"), ("unit", "units 128")):
        params = {**units.params, "aggregation": aggregation}
        assert counted in tables.describe_job(replace(units, params=params))
    assert "spearman -0.291, spearman object undefined" in cells["lesion"]
    assert "accuracy 0.623 [0.601, 0.646]" in cells["decoding"]
    assert "difference fsi 0.012 [-0.010, 0.035], chance" in cells["decoding"]
    assert lines[-2] == "note: decoding: no kernel selected: decoded from the top 9"
    assert tables.describe_job(failed("a", "b")).split("\n")[-2] == "failed: no such layer"


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 120])
def test_without_a_terminal_the_width_is_columns(columns: int) -> None:
    code = "from tests.sweeps import test_tables as t; print(t.tables.describe_sweep(t.sweep()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=os.environ | {"COLUMNS": str(columns)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert (columns == 120) == (max(map(len, lines)) > 80)
    assert "\x1b" not in done.stdout
