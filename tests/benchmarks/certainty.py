"""How sure every number is, against `scipy.stats.bootstrap` and against scoring once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from app.findings.resampled import KERNELS, UNITS, Plan, certify, certify_units, look_everywhere
from app.models.network import Network
from app.responses.hardware import Hardware
from app.responses.units import Units
from tests.benchmarks.material import METRICS, composed, inquiry, random_images, simulated
from tests.benchmarks.measure import Apart, best, in_turn
from tests.benchmarks.network import prepare, score_conv2
from tests.benchmarks.report import Goal, Row, Way
from tests.benchmarks.scoring import IMAGES, score_once
from tests.benchmarks.sizes import Sizes

*_, LAYER, STREAMED = UNITS.values()
BY_SCIPY = 4  # units that scipy is given


def certainty(sizes: Sizes) -> Iterator[Row]:
    """Kernels, each metric's intervals alone, and single units."""
    kernels = sizes.certainty_kernels
    yield _row(f"certainty, {kernels:,} kernels × {IMAGES:,}", sizes, kernels, KERNELS, 10, None)
    for name in METRICS:
        resamples = sizes.certainty_resamples
        with (
            Apart(this, kernels, Plan(resamples, 0, 0), name) as ours,
            Apart(by_scipy, BY_SCIPY, resamples, name) as plain,
        ):
            found = in_turn(sizes.slow_rounds, ours=ours, plain=plain)
        seconds = found["ours"].seconds
        scipy = Way("scipy.stats.bootstrap", found["plain"].seconds * kernels / BY_SCIPY)
        low, high = found["plain"].result
        spread = np.abs(found["ours"].result - [low, high]) / (high - low)
        yield Row(
            f"intervals of {name}, {kernels:,} kernels, {resamples:,} resamples",
            seconds,
            found["ours"].peak,
            scipy,
            goals=(Goal("≥ 50× scipy", scipy.seconds / seconds >= 50),),
            note=(
                f"scipy timed on {BY_SCIPY} kernels and scaled; ends of intervals differ by "
                f"{100 * spread.max():.0f} % of their width at most, drawn apart"
            ),
        )
    units = sizes.conv13_units
    yield _row(f"certainty, conv13: {units:,} units × {IMAGES:,}", sizes, units, LAYER, 180, 4e9)


def certainty_conv2(sizes: Sizes) -> Iterator[Row]:
    """Split halves and shuffles of the units of conv2, against scoring them once."""
    images, units = sizes.conv2_images, math.prod((64, 224, 224))
    with Apart(certify_conv2, images) as ours, Apart(score_conv2, images) as once:
        before, found, after = once(), ours(), once()
    alone = min(before.seconds, after.seconds)
    yield Row(
        f"certainty, conv2: {units:,} units × {images:,}",
        found.seconds,
        found.peak,
        bare=Way("scoring them once", alone),
        goals=(
            Goal("≤ 3× scoring", found.seconds <= 3 * alone),
            Goal("≤ 4 GB", found.peak <= 4e9),
        ),
        note=f"{STREAMED.splits} splits, {STREAMED.shuffles} shuffles",
    )


def _row(
    what: str, sizes: Sizes, units: int, plan: Plan, most: float, most_bytes: float | None
) -> Row:
    with Apart(this, units, plan) as ours, Apart(score_once, units) as once:
        alone = best(sizes.rounds, once)
        found = best(sizes.slow_rounds, ours)
    goals = [Goal(f"≤ {most:g} s", found.seconds <= most)]
    if most_bytes:
        goals.append(Goal(f"≤ {most_bytes / 1e9:g} GB", found.peak <= most_bytes))
    return Row(
        what,
        found.seconds,
        found.peak,
        bare=Way("scoring them once", alone.seconds),
        goals=goals,
        note=(
            f"{plan.resamples:,} resamples, {plan.splits} splits, {plan.shuffles} shuffles, "
            "four metrics"
        ),
    )


def this(units: int, plan: Plan, *metrics: str) -> Callable[[], NDArray[Any]]:
    """This software, on all cores; returns the intervals (2, few units) of the first metric."""
    responses, asked = simulated(units, IMAGES, 0.6), inquiry(IMAGES, plan, *metrics)
    hardware = prepare("cpu")

    def run(count: int = units) -> NDArray[Any]:
        blocks = [(np.arange(count), responses[:, :count])]
        found = certify(blocks, count, asked, hardware, keep=plan == KERNELS)
        first, *_ = found.metrics.values()
        return np.array([first.low[:BY_SCIPY], first.high[:BY_SCIPY]])

    run(8)  # compiled code is read from disk
    return run


def by_scipy(units: int, resamples: int, metric: str) -> Callable[[], NDArray[Any]]:
    """Intervals (2, units) by scipy: a sample a category, each drawn by itself."""
    responses = simulated(units, IMAGES, 0.6)
    own = [responses[number::10].T for number in range(10)]

    def run() -> NDArray[Any]:
        found = stats.bootstrap(
            own, SCORES[metric], n_resamples=resamples, batch=20, vectorized=True, axis=-1,
            method="percentile",
        )  # fmt: skip
        return np.array(found.confidence_interval)

    return run


def _fsi(*own: NDArray[Any], axis: int) -> NDArray[Any]:
    target, other = (part.mean(axis=axis) for part in _pool(own, axis))
    return (target - other) / (np.abs(target) + np.abs(other))


def _dprime(*own: NDArray[Any], axis: int) -> NDArray[Any]:
    target, other = _pool(own, axis)
    spread = np.sqrt((target.var(axis=axis, ddof=1) + other.var(axis=axis, ddof=1)) / 2)
    return (target.mean(axis=axis) - other.mean(axis=axis)) / spread


def _ttest(*own: NDArray[Any], axis: int) -> NDArray[Any]:
    target, *others = _domains(own, axis)
    return np.min([stats.ttest_ind(target, other, axis=axis).statistic for other in others], axis=0)


def _wilcoxon(*own: NDArray[Any], axis: int) -> NDArray[Any]:
    target, *others = _domains(own, axis)
    z = []
    for other in others:
        found = stats.mannwhitneyu(target, other, axis=axis, method="asymptotic")
        middle = target.shape[axis] * other.shape[axis] / 2
        z.append(np.sign(found.statistic - middle) * stats.norm.isf(found.pvalue / 2))
    return np.min(z, axis=0)


SCORES = {"fsi": _fsi, "dprime": _dprime, "wilcoxon": _wilcoxon, "ttest": _ttest}


def _domains(own: tuple[NDArray[Any], ...], axis: int) -> list[NDArray[Any]]:
    """Faces first: two categories of fLoc are a domain."""
    pairs = zip(own[::2], own[1::2], strict=True)
    return [np.concatenate(np.broadcast_arrays(*pair), axis=axis) for pair in pairs]


def _pool(own: tuple[NDArray[Any], ...], axis: int) -> tuple[NDArray[Any], NDArray[Any]]:
    return np.concatenate(own[:2], axis=axis), np.concatenate(own[2:], axis=axis)


def certify_conv2(images: int) -> Callable[[], None]:
    """This software: the same blocks of units as where they are scored."""
    config = composed("model=dualtask_vgg16_untrained", "layer=conv2", "aggregation=unit")
    network, hardware = Network(config.model), Hardware.choose(config)
    network.load()
    shown, asked = random_images(images), inquiry(images, STREAMED)
    few = simulated(8, images, 0.6)
    look_everywhere([(np.arange(8), few)], 8, asked, hardware)  # compiled code is read from disk

    def run() -> None:
        certify_units(asked, Units(network, "conv2"), shown, hardware)

    return run
