"""Metrics against scipy and against one sort of the values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from tests.benchmarks.material import domain, questions, scored, simulated
from tests.benchmarks.measure import Apart, in_turn
from tests.benchmarks.report import Goal, Row, Way
from tests.benchmarks.sizes import Sizes

IMAGES = 1440
CHECKED = 200  # units whose z is compared with scipy's
SORTED = 20_000  # units, at most, that are sorted


def rank_sum(sizes: Sizes) -> Iterator[Row]:
    """The rank-sum test in four contrasts, with many ties and with none."""
    for kind, zeros in (("60 % zeros", 0.6), ("all distinct", None)):
        yield _row(
            f"rank-sum, {sizes.units:,} units × {IMAGES:,}, {kind}",
            sizes,
            sizes.units,
            zeros,
            ["wilcoxon"],
            [("≥ 25× scipy", 25)] if zeros else [],
        )


def conv13(sizes: Sizes) -> Iterator[Row]:
    """All four metrics over the units of conv13."""
    yield _row(
        f"four metrics, conv13: {sizes.conv13_units:,} units × {IMAGES:,}",
        sizes,
        sizes.conv13_units,
        0.65,
        ["fsi", "dprime", "wilcoxon", "ttest"],
        [("≥ 20× scipy", 20)],
        most_bytes=2e9,
    )


def _row(
    what: str,
    sizes: Sizes,
    units: int,
    zeros: float | None,
    metrics: list[str],
    goals: list[tuple[str, float]],
    most_bytes: float | None = None,
) -> Row:
    some, few = min(sizes.plain_units, units), min(SORTED, units)
    with (
        Apart(this, units, zeros, metrics) as ours,
        Apart(by_scipy, some, zeros, metrics) as plain,
        Apart(one_sort, few, zeros) as bare,
    ):
        found = in_turn(sizes.rounds, ours=ours, plain=plain, bare=bare)
    check(simulated(CHECKED, IMAGES, zeros), found["ours"].result, found["plain"].result)
    seconds, peak, _ = found["ours"]
    scipy = Way("scipy", found["plain"].seconds * units / some)
    reached = [Goal(text, scipy.seconds / seconds >= times) for text, times in goals]
    if most_bytes:
        reached.append(Goal(f"≤ {most_bytes / 1e9:g} GB", peak <= most_bytes))
    return Row(
        what,
        seconds,
        peak,
        scipy,
        Way("one sort, one core", found["bare"].seconds * units / few),
        reached,
        note=f"scipy timed on {some:,} units and scaled; z of {CHECKED} units agrees to 1e-9",
    )


def this(units: int, zeros: float | None, metrics: list[str]) -> Callable[[], NDArray[Any]]:
    """This software, on all cores; returns z (contrasts, units) of the units that are checked."""
    responses = simulated(units, IMAGES, zeros)
    asked = questions(IMAGES, *metrics)
    scored(responses[:, :8], asked)  # compiled code is read from disk

    def run() -> NDArray[Any]:
        return scored(responses, asked)["wilcoxon"].statistic[:, :CHECKED]

    return run


def by_scipy(units: int, zeros: float | None, metrics: list[str]) -> Callable[[], NDArray[Any]]:
    """The plain way; returns U (contrasts, units) of the units that are checked."""
    responses, group = simulated(units, IMAGES, zeros), domain(IMAGES)
    score = {"fsi": _fsi, "dprime": _dprime, "wilcoxon": _wilcoxon, "ttest": _ttest}

    def run() -> NDArray[Any]:
        scores = {name: score[name](responses, group) for name in metrics}
        return scores["wilcoxon"][:, :CHECKED]

    return run


def one_sort(units: int, zeros: float | None, images: int = IMAGES) -> Callable[[], None]:
    """The bare limit of a rank-sum test: the values of each unit sorted once, by one core."""
    responses = np.ascontiguousarray(simulated(units, images, zeros).T)

    def run() -> None:
        np.sort(responses, axis=1)

    return run


def score_once(units: int, images: int = IMAGES) -> Callable[[], None]:
    """Scores units on so many images by four metrics."""
    responses, asked = simulated(units, images, 0.6), questions(images)
    scored(responses[:, :8], asked)  # compiled code is read from disk

    def run() -> None:
        scored(responses, asked)

    return run


def check(responses: NDArray[np.float32], z: NDArray[Any], u: NDArray[Any]) -> None:
    """AssertionError unless z is that of scipy's U, corrected for ties and continuity."""
    group = domain(IMAGES)
    for row, other in enumerate(range(1, 5)):
        both = responses[(group == 0) | (group == other)]
        size, other_size = (np.count_nonzero(group == number) for number in (0, other))
        total = len(both)
        ties = [np.sum(c**3.0 - c) for c in (np.unique(v, return_counts=True)[1] for v in both.T)]
        variance = size * other_size / 12 * (total + 1 - np.array(ties) / (total * (total - 1)))
        distance = u[row] - size * other_size / 2
        expected = np.sign(distance) * (np.abs(distance) - 0.5) / np.sqrt(variance)
        np.testing.assert_allclose(z[row], expected, rtol=1e-9, atol=1e-9)


def _fsi(responses: NDArray[np.float32], group: NDArray[np.int64]) -> NDArray[Any]:
    target, other = responses[group == 0].mean(axis=0), responses[group > 0].mean(axis=0)
    return (target - other) / (np.abs(target) + np.abs(other))


def _dprime(responses: NDArray[np.float32], group: NDArray[np.int64]) -> NDArray[Any]:
    target, other = responses[group == 0], responses[group > 0]
    spread = np.sqrt((target.var(axis=0, ddof=1) + other.var(axis=0, ddof=1)) / 2)
    return (target.mean(axis=0) - other.mean(axis=0)) / spread


def _ttest(responses: NDArray[np.float32], group: NDArray[np.int64]) -> NDArray[Any]:
    target = responses[group == 0]
    tests = [stats.ttest_ind(target, responses[group == other]) for other in range(1, 5)]
    return np.array([test.statistic for test in tests])


def _wilcoxon(responses: NDArray[np.float32], group: NDArray[np.int64]) -> NDArray[Any]:
    target = responses[group == 0]
    tests = [
        stats.mannwhitneyu(
            target, responses[group == other], method="asymptotic", use_continuity=True
        )
        for other in range(1, 5)
    ]
    return np.array([test.statistic for test in tests])
