"""What the program finds and refuses is what `tests/goldens/data` has of it.

Compared where it is given: what is said of wrong input (`tests.test_bad_input`) and of files that
are not trusted (`tests.launch.test_trust`), and what the main job and others of `tests.test_app`
and the sweep of `tests.test_report` find. Commands of several minutes are compared with
`GOLDENS=full` in the environment: before and after code moves.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.goldens import collect, refused
from tests.goldens.commands import COMMANDS, REFUSED, UNFIT, found
from tests.test_bad_input import refuse_here

# Compared where they are run: in `tests.test_app`, the last in `tests.test_report`.
ELSEWHERE = ("main", "greedy", "unit", "threshold", "figure1")
SHOWN = 60  # differences, at most, of a command
FULL = pytest.mark.skipif(os.environ.get("GOLDENS") != "full", reason="asked for by GOLDENS=full")


def told(differences: list[str]) -> str:
    more = len(differences) - SHOWN
    return "\n".join([*differences[:SHOWN], *([f"and {more} more"] if more > 0 else [])])


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("goldens")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.cli, *([FULL] if command.slow else [])])
        for name, command in COMMANDS.items()
        if name not in ELSEWHERE
    ],
)
def test_findings_are_those_that_were_kept(name: str, work: Path):
    differences = collect.differences(collect.read(name), found(name, work), name)
    assert not differences, told(differences)


def test_every_refusal_is_kept():
    assert list(refused.kept()) == REFUSED


@pytest.mark.slow
@pytest.mark.parametrize("case", UNFIT)
def test_what_fits_no_network_is_refused_as_it_was(
    case: str, tmp_path: Path, outputs: Path, monkeypatch, capsys
):
    monkeypatch.chdir(outputs)
    process = refuse_here([*UNFIT[case], "tracking=none"], tmp_path, monkeypatch, capsys)
    now = refused.told(process, root=tmp_path, outputs=outputs)
    assert now == refused.kept()[f"network: {case}"]


def test_a_difference_names_job_and_value_and_both_values():
    golden, now = collect.read("main"), collect.read("main")
    job = now["jobs"]["3"]
    job["metrics"]["decoding/accuracy"] += 1e-8
    job["metrics"]["consistency/mean"] *= 1 + 1e-6  # within what floats may differ
    job["tables"]["scores"].loc[5, "selected_fsi"] ^= True
    del job["params"]["seed"]
    now["report"]["text"] = now["report"]["text"].replace("finished", "failed", 1)
    lines = collect.differences(golden, now, "main")
    before, after = (each["jobs"]["3"]["metrics"]["decoding/accuracy"] for each in (golden, now))
    accuracy = f"main: jobs: 3: metrics: decoding/accuracy: was {before!r}, is {after!r}"
    assert accuracy in lines and "main: jobs: 3: params: seed is gone, was '0'" in lines
    selected, text = (
        "main: jobs: 3: tables: scores: row 5: selected_fsi was ",
        "main: report: text:",
    )
    assert [sum(line.startswith(start) for line in lines) for start in (selected, text)] == [1, 1]
    assert len(lines) == 4
