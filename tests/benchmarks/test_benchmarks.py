"""The command of the benchmarks. Timings never make a test fail."""

import operator
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks import networks, scoring
from tests.benchmarks.measure import Apart, Measured, measured
from tests.benchmarks.report import Goal, Row, Way, duration, row_cells
from tests.benchmarks.sizes import QUICK

FEW = replace(QUICK, rounds=1, units=400, plain_units=200)


def here(prepare: Callable[..., Any], *arguments: Any) -> Any:
    """As `Apart`, in this process."""
    return nullcontext(partial(measured, prepare(*arguments)))


@pytest.mark.slow
def test_a_process_of_its_own_is_prepared_and_measured():
    with Apart(partial, operator.add, 1) as add:
        found = add(2)
    assert isinstance(found, Measured) and found.result == 3
    assert 0 <= found.seconds < 1 and found.peak > 1e6


@pytest.mark.slow
def test_a_row_from_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys):
    """One of the two rows, of a few units."""
    monkeypatch.setattr(scoring, "Apart", here)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # and back: the command takes all cores
    monkeypatch.setitem(command.SECTIONS, "rank-sum", lambda _: [next(scoring.rank_sum(FEW))])
    monkeypatch.setattr("sys.argv", ["x", "--quick", "--only", "rank-sum", "--markdown"])
    assert command.main() == 0
    out = capsys.readouterr().out
    table = [line for line in out.splitlines() if line.startswith("|")]
    assert table[0].startswith("| what | this software | plain way ÷ this | this ÷ bare limit |")
    (row,) = table[2:]
    assert row.startswith("| rank-sum, 400 units × 1,440, 60 % zeros |")
    assert "(scipy: " in row and "(one sort, one core: " in row and "≥ 25× scipy: " in row
    assert "processors" in out


def test_an_unknown_row_is_refused_with_those_there_are(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr("sys.argv", ["x", "--only", "nothing"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2 and "rank-sum" in capsys.readouterr().err


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


@pytest.mark.slow
def test_a_row_of_the_table_of_networks(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(networks, "NETWORKS", {"timm": {"test_resnet": ("layer1", "layer4")}})
    monkeypatch.setattr(networks, "SECONDS", 0.01)
    monkeypatch.setattr("sys.argv", ["x", "--threads", "1", "--layers", "2", "--kernels", "9"])
    assert networks.main() == 0
    *_, row = capsys.readouterr().out.splitlines()
    name, _, layers, outputs, lesions, *_ = row.strip("| ").split(" | ")
    assert name == "test_resnet" and layers.endswith(f" of {layers.split()[0]}")
    assert float(outputs) < 1e-4 and float(lesions.split()[0]) < 1e-4 and "layer4 " in row
    early, late = map(float, row.strip("| ").split(" | ")[-1].split(", "))
    assert -1 <= early <= 1 and -1 <= late <= 1, "attribution's"
