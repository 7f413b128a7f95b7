"""The memory budget: what fits, what is refused, and what the process is seen to hold."""

import numpy as np
import pytest

from app import memory
from app.errors import InputError

CONV2 = (64, 224, 224)


def rows(budget, shape=CONV2, fixed=1e9, bytes_a_unit=192):
    return memory.rows_within(
        budget, shape, 1440, fixed=int(fixed), bytes_a_unit=bytes_a_unit, what="the units of conv2"
    )


def test_more_memory_more_rows():
    found = [rows(budget) for budget in (3.2, 4, 8, 16, 40)]
    assert found == sorted(found) and found[0] >= 1
    assert found[-1] == 224, "never more than there are"


def test_what_is_planned_stays_below_the_budget():
    for budget in (3.2, 4, 6):
        count = rows(budget)
        block = count * 64 * 224 * 1440 * 4
        assert 1e9 + block + 192 * np.prod(CONV2) < budget * 1e9


def test_too_small_a_budget_is_refused_with_the_smallest_that_works():
    with pytest.raises(InputError, match=r"memory_gb=1 is too little for the units of conv2"):
        rows(1)
    try:
        rows(1)
    except InputError as error:
        needed = float(str(error).split("at least ")[1].split(" ")[0])
    assert rows(needed) >= 1
    with pytest.raises(InputError):
        rows(needed - 0.1)


def test_the_peak_is_seen_and_forgotten():
    memory.forget_peak()
    before = memory.peak()
    block = np.ones(2**25)  # 268 MB
    assert memory.resident() > 0.25e9
    del block
    assert memory.peak() >= before + 0.2e9
    memory.forget_peak()
    assert memory.peak() <= before + 0.1e9
