"""Intervals of 95 % on data whose truth is known; `tests.benchmarks.coverage` has more of it."""

from __future__ import annotations

import pytest

from tests.benchmarks.coverage import World, measure_coverage


@pytest.mark.slow
def test_intervals_contain_the_truth():
    """Few repetitions: what holds 95 % holds less than 76 % of 30 by a chance below 0.001."""
    world = World("clear", 1.0, 0.5, images=240, units=48)
    found = measure_coverage(world, repetitions=30, resamples=80).set_index("number")
    counts, others = found.filter(like="% ", axis=0), found.filter(like="r ", axis=0)
    assert (counts["percentile, mean"] >= 80).all(), found.T
    assert (others["percentile, mean"] >= 70).all(), found.T
    assert (found["centred, mean"] >= 76).all(), found.T
    assert (found["resampled"] != found["mean"]).all()
