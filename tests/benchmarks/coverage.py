"""Whether intervals of 95 % contain the truth: `python -m tests.benchmarks.coverage`.

Units whose truth is known answer to images drawn anew in every repetition; images draw features
that units share, so that all units are off together, as those of a network are. What a repetition
finds is held against two truths: the number that ever more images lead to, and the mean of what so
many images find. They differ where noise shifts a number, as it does a count above a threshold.
Percentile intervals, which the program makes, stand beside three others from the same resamples.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from app.findings.certainty import INTERVAL
from app.findings.consistency import measure_consistency, spearman
from app.findings.lesion import LesionEffects, Performance
from app.findings.lesion_certainty import certify_lesions
from app.findings.lesioned import Lesioned
from app.findings.resampled import Inquiry, Plan, certify_kernels
from app.findings.selection import measure
from app.responses.hardware import Hardware
from app.stimuli.classes import OwnClasses
from tests.benchmarks.material import domain, inquiry, random_images, scored

METRICS = ("fsi", "dprime", "wilcoxon")
FEATURES = 40  # of an image, which units share
CLASSES, EACH = 10, 10  # of test images, and images of each
LIMIT = 20_000  # images that stand for ever more
WAYS = ("percentile", "basic", "bias-corrected", "centred")


@dataclass(frozen=True)
class World:
    """Units that answer to images, and what losses their lesions cause."""

    name: str
    selective: float  # how differently units weigh what faces have and other images lack
    silent: float  # share of images to which a unit does not respond
    images: int = 480
    units: int = 96

    def draw_responses(self, images: int, random: np.random.Generator) -> NDArray[np.float32]:
        """Responses (images, units) to new images."""
        fixed = np.random.default_rng(0)
        weights = fixed.normal(size=(FEATURES, self.units)) / np.sqrt(FEATURES)
        domains = fixed.normal(scale=0.5, size=(5, FEATURES))
        faces = fixed.normal(0.5, 1, self.units) * self.selective
        own = domain(images)
        features = domains[own] + random.normal(size=(images, FEATURES))
        drive = features @ weights + np.outer(own == 0, faces)
        drive += random.normal(scale=0.5, size=drive.shape)
        return np.maximum(drive - norm.ppf(self.silent), 0).astype(np.float32)

    def draw_losses(self, random: np.random.Generator) -> NDArray[np.float32]:
        """Losses (units, test images): lesions of selective units cost more."""
        fixed = np.random.default_rng(1)
        faces = np.random.default_rng(0)
        faces.normal(size=(FEATURES, self.units)), faces.normal(size=(5, FEATURES))
        cost = faces.normal(0.5, 1, self.units) + fixed.normal(size=self.units)
        hard = np.repeat(random.normal(size=CLASSES), EACH)[: CLASSES * EACH]
        each = random.normal(size=(self.units, CLASSES * EACH))
        return (0.3 * cost[:, None] + hard + each).astype(np.float32)


WORLDS = (
    World("clear", 1.0, 0.5),
    World("weak", 0.3, 0.5),
    World("sparse", 1.0, 0.9),
    World("many images", 1.0, 0.5, images=1440),
)


@functools.cache
def ask(images: int, resamples: int) -> Inquiry:
    return inquiry(images, Plan(resamples, 0, 0), *METRICS)


def find(responses: NDArray[np.float32], asked: Inquiry) -> tuple[dict[str, float], NDArray]:
    """What a run says of responses: percent selected, agreement; and d' for lesions."""
    found = scored(responses, dict(asked.questions))
    percent = {
        f"% {name}": 100 * float(criterion.select(measure(found[name], criterion.rule)).mean())
        for name, criterion in asked.criteria.items()
    }
    agreed = measure_consistency({name: each.score for name, each in found.items()})
    pairs = {f"r {a} {b}": value for (a, b), value in agreed.pairs.items()}
    return {**percent, **pairs, "r mean": agreed.mean}, found["dprime"].score


def repeat(world: World, resamples: int, number: int) -> dict[str, tuple[float, NDArray]]:
    """One repetition: every number and its resamples."""
    torch.set_num_threads(1)
    random = np.random.default_rng([2, number])
    responses, losses = world.draw_responses(world.images, random), world.draw_losses(random)
    asked = replace(ask(world.images, resamples), seed=number)
    sure = certify_kernels(asked, responses, Hardware(torch.device("cpu")))
    numbers, score = find(responses, asked)
    again = {f"% {name}": each.percent for name, each in sure.metrics.items()}
    again |= {f"r {pair}": values for pair, values in sure.pairs.items()} | {"r mean": sure.mean}

    outputs = np.repeat(np.arange(CLASSES), EACH)
    without = Performance(losses.mean(axis=1), *np.zeros((3, world.units)))
    effects = LesionEffects(without, Performance(*np.zeros(4)), losses)
    lesions = Lesioned(("face",), effects, {}, (), without)
    shown = OwnClasses(random_images(1, 8), outputs, CLASSES)
    numbers["r lesion"] = spearman(score, -losses.mean(axis=1))
    again["r lesion"] = certify_lesions(lesions, shown, sure["dprime"], asked).spearman["face"]
    return {name: (value, again[name]) for name, value in numbers.items()}


def find_limit(world: World) -> dict[str, float]:
    """What ever more images lead to; nothing of tests, whose p-values have no limit."""
    random = np.random.default_rng(3)
    responses = world.draw_responses(LIMIT, random)
    losses = np.mean([world.draw_losses(random).mean(axis=1) for _ in range(200)], axis=0)
    numbers, score = find(responses, ask(LIMIT, 0))
    numbers["r lesion"] = spearman(score, -losses)
    return {name: each for name, each in numbers.items() if name != "% wilcoxon"}


def make_intervals(value: float, again: NDArray) -> dict[str, tuple[float, float]]:
    """Intervals of 95 % from the same resamples, by the way they are made.

    Percentile; basic, which turns it over; bias-corrected (Efron 1981); centred: its mean is moved
    to the value.
    """
    low, high = np.percentile(again, INTERVAL)
    shift = value - again.mean()
    below = (np.mean(again < value) + np.mean(again <= value)) / 2
    bias = norm.ppf(np.clip(below, 1 / len(again), 1 - 1 / len(again)))
    ends = 100 * norm.cdf(2 * bias + norm.ppf(np.array(INTERVAL) / 100))
    corrected = np.percentile(again, ends)
    made = (low, high), (2 * value - high, 2 * value - low), corrected, (low + shift, high + shift)
    return dict(zip(WAYS, made, strict=True))


def measure_coverage(
    world: World, repetitions: int, resamples: int, processes: int = 1
) -> pd.DataFrame:
    """A row a number: its truths, its bias, and the % of intervals that contain each truth."""
    work = partial(repeat, world, resamples)
    if processes == 1:
        runs = [work(number) for number in range(repetitions)]
    else:
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            runs = list(pool.map(work, range(repetitions), chunksize=5))
    limit = find_limit(world)
    rows = []
    for name in runs[0]:
        values = np.array([run[name][0] for run in runs])
        intervals = [make_intervals(*run[name]) for run in runs]
        row: dict[str, object] = {"world": world.name, "number": name}
        truths = {"limit": limit.get(name, np.nan), "mean": float(values.mean())}
        row |= truths | {"resampled": float(np.mean([run[name][1].mean() for run in runs]))}
        for way in WAYS:
            low, high = np.array([each[way] for each in intervals]).T
            for truth, true in truths.items():
                inside = (low - 1e-9 <= true) & (true <= high + 1e-9)
                row[f"{way}, {truth}"] = 100 * inside.mean() if np.isfinite(true) else np.nan
            row[f"{way}, width"] = float(np.mean(high - low))
        rows.append(row)
    return pd.DataFrame(rows)


def measure_all(repetitions: int, resamples: int, processes: int) -> Iterator[pd.DataFrame]:
    """Every world's table."""
    for world in WORLDS:
        yield measure_coverage(world, repetitions, resamples, processes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.coverage")
    parser.add_argument("--repetitions", type=int, default=500)
    parser.add_argument("--resamples", type=int, default=200)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--csv", help="a file for the table")
    given = parser.parse_args()
    tables = []
    for table in measure_all(given.repetitions, given.resamples, given.processes):
        print(table.round(3).to_string(index=False), flush=True)
        tables.append(table)
        if given.csv:
            pd.concat(tables).to_csv(given.csv, index=False)
