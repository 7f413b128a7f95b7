"""What the process is seen to hold."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import profile

from app import machine
from app.models.inside import Inside
from app.responses.hardware import Hardware


def test_the_peak_is_seen_and_forgotten():
    machine.forget_peak()
    before = machine.measure_peak()
    block = np.ones(2**25)  # 268 MB
    assert machine.measure_memory() > 0.25e9
    del block
    assert machine.measure_peak() >= before + 0.2e9
    machine.forget_peak()
    assert machine.measure_peak() <= before + 0.1e9


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's way with freed memory")
def test_memory_that_was_freed_is_not_held():
    """What a sweep's earlier jobs freed does not count against the budget of the next."""
    program = """
import numpy, psutil
from app.machine import measure_memory
before = measure_memory()
numpy.ones(2_000_000)  # freed at once: from here on the like come from the heap
kept = [(numpy.ones(1_000_000), numpy.ones(2_000)) for _ in range(20)]
kept = [small for _, small in kept]
held = psutil.Process().memory_info().rss
print(held - before, measure_memory() - before)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    held, measured = map(int, said.stdout.split())
    assert held > 140e6 > 20e6 > measured


@pytest.mark.parametrize(
    "begin",
    [
        lambda: Hardware(torch.device("cpu"), threads=2).prepare(),
        lambda: Inside(nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), 8),
    ],
    ids=["a run", "Inside"],
)
def test_functions_of_mkl_are_called_by_one_thread_first(begin: Callable[[], object]):
    """Of two threads that call one first, one may get 12 bits: once in some thousand processes."""
    threads = torch.get_num_threads()
    try:
        with profile(record_shapes=True) as seen:
            begin()
    finally:
        torch.set_num_threads(threads)
    called = [each.name for each in seen.events() if each.input_shapes[:1] == [[1]]]
    for name in ("sqrt", "exp", "log", "tanh", "erf"):
        assert called.count(f"aten::{name}") == 2  # float32 and float64
