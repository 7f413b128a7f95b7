"""What a job leaves in its folder is what its sweep reads."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from app.sweeps.manifest import Planned, make_manifest, write_manifest
from app.sweeps.parent import Plan, write_plan
from app.sweeps.results import Result, count, read_results, write_result


def test_results_are_read_as_they_were_written(tmp_path: Path):
    written = [
        Result("finished", f"job {number}", {"seed": number, "lesion.sets": [1, 2]},
               {"trained": "true"}, {"a/b": 0.1}, ["lesion: none"], "0" * 32, job=number,
                   folder=str(tmp_path / str(number)))
        for number in range(12)
    ]  # fmt: skip
    for result in reversed(written):
        write_result(tmp_path / str(result.job), result)
    assert read_results(tmp_path) == written, "in the order of their numbers, not of their names"
    assert sorted(path.name for path in (tmp_path / "0").iterdir()) == ["result.json"]


def test_jobs_are_found_where_the_sweep_has_them(tmp_path: Path):
    places = ["l2/b", "l2/a", "max"]
    jobs = [Planned(number, [], place) for number, place in enumerate(places)]
    write_manifest(tmp_path, make_manifest(tmp_path, jobs, [], []))
    for number, place in [*enumerate(places), (7, "left")]:  # by another sweep
        write_result(tmp_path / place, Result("finished", "job", {}, job=number))
    assert [result.folder for result in read_results(tmp_path)] == [
        str(tmp_path / place) for place in places
    ]
    (tmp_path / "manifest.json").unlink()
    assert [result.job for result in read_results(tmp_path)] == [2, 7], "no sweep: runs in it"
    write_plan(tmp_path, Plan(trials=4))
    assert [result.job for result in read_results(tmp_path)] == [0, 1, 2, 7], "a search's"
    write_plan(tmp_path, Plan(trials=2))
    assert read_results(tmp_path) == [], "another one begins in the folder"


def test_what_is_not_finite_and_why_a_job_failed(tmp_path: Path):
    write_result(tmp_path / "0", Result("failed", "job", {}, reason="one\ntwo"))
    write_result(
        tmp_path / "1",
        Result("finished", "job", {"range": [-math.inf, 2]}, metrics={"a": math.nan}, job=1),
    )
    assert json.loads((tmp_path / "1/result.json").read_text())["metrics"] == {"a": None}
    failed, finished = read_results(tmp_path)
    assert finished.params == {"range": "[-Infinity, 2]"}
    assert failed.failed and failed.reason_line == "one" and not finished.failed
    assert finished.metrics["a"] == pytest.approx(math.nan, nan_ok=True)
    assert count([failed, finished]) == (1, 1)
    assert Result("failed", "job", {}).reason_line == "no reason given"
