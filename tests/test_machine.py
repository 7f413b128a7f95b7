"""What the process is seen to hold."""

import numpy as np

from app import machine


def test_the_peak_is_seen_and_forgotten():
    machine.forget_peak()
    before = machine.measure_peak()
    block = np.ones(2**25)  # 268 MB
    assert machine.measure_memory() > 0.25e9
    del block
    assert machine.measure_peak() >= before + 0.2e9
    machine.forget_peak()
    assert machine.measure_peak() <= before + 0.1e9
