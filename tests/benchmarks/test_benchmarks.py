"""The command of the benchmarks. Timings never make a test fail."""

import subprocess
import sys
from pathlib import Path

from tests.benchmarks.report import Goal, Row, Way, duration, row_cells

ROOT = Path(__file__).parents[2]


def run(*arguments: str):
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_a_row_from_the_command_line():
    process = run("--quick", "--only", "rank-sum", "--markdown")
    assert process.returncode == 0, process.stdout + process.stderr
    table = [line for line in process.stdout.splitlines() if line.startswith("|")]
    assert table[0].startswith("| what | this software | plain way ÷ this | this ÷ bare limit |")
    assert [line.split(",")[0] for line in table[2:]] == ["| rank-sum"] * 2
    assert all("(scipy: " in line and "(one sort, one core: " in line for line in table[2:])
    assert "≥ 25× scipy: " in table[2]
    assert "processors" in process.stdout


def test_an_unknown_row_is_refused_with_those_there_are():
    process = run("--only", "nothing")
    assert process.returncode == 2
    assert "rank-sum" in process.stderr


def test_cells():
    row = Row("this", 2, 3 * 10**9, Way("loop", 50, None), Way("pass", 1), [Goal("≥ 20×", True)])
    assert row_cells(row) == (
        "this",
        "2 s",
        "25 (loop: 50 s)",
        "2 (pass: 1 s)",
        "3.00 GB",
        "≥ 20×: met",
    )
    assert [duration(s) for s in (123.4, 0.0123, 4.5e-6, 7e-9)] == [
        "123 s",
        "12.3 ms",
        "4.5 µs",
        "7 ns",
    ]
