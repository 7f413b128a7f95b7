"""What is measured on: simulated responses, the questions they are asked, random images."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from app.config.schema import Config
from app.findings.resampled import Inquiry, Plan
from app.findings.selection import make_criteria
from app.metrics import Question, Scores
from app.metrics.layer_scoring import make_questions
from app.metrics.scoring import score_blocks
from app.stimuli.images import Images, drawn
from tests.composing import check_config

METRICS = ("fsi", "dprime", "wilcoxon", "ttest")
CHUNK = 1000  # units that are drawn at once
DOMAINS = np.repeat(np.arange(5), 2)  # of fLoc's ten categories; domain 0 is faces


def domain(images: int) -> NDArray[np.int64]:
    """The domain of each image; categories take turns."""
    return np.resize(DOMAINS, images)


def simulated(units: int, images: int, zeros: float | None) -> NDArray[np.float32]:
    """Responses (images, units) after a ReLU, of which a share is zero; None: all are distinct.

    The first units are the same, however many there are.
    """
    responses = np.empty((images, units), dtype=np.float32)
    for start in range(0, units, CHUNK):
        random = np.random.default_rng(start)
        width = min(CHUNK, units - start)
        if zeros is None:
            levels = np.tile(np.geomspace(0.05, 20, images, dtype=np.float32), (width, 1))
            values = random.permuted(levels, axis=1)
        else:
            values = random.standard_normal((CHUNK, images), dtype=np.float32)
            values[:, domain(images) == 0] += 0.3 * random.standard_normal((CHUNK, 1))
            values = np.maximum(values[:width] - NormalDist().inv_cdf(zeros), 0)
        responses[:, start : start + width] = values.T
    return responses


def composed(*overrides: str) -> Config:
    """The program's config, with fLoc's categories."""
    return check_config("stimuli=floc", *overrides)


def questions(images: int, *names: str) -> dict[str, Question]:
    """What the metrics are asked by default, of so many images; no names: all four."""
    config = composed()
    domains = config.stimuli.domains
    categories = np.resize([name for members in domains.values() for name in members], images)
    metrics = {name: config.metrics[name] for name in names or METRICS}
    return make_questions(metrics, categories.tolist(), domains, config.target, "cpu")


def inquiry(images: int, plan: Plan, *names: str) -> Inquiry:
    """The metrics' questions and the paper's criteria, asked of so many images again."""
    config = composed()
    domains = config.stimuli.domains
    categories = np.resize([name for members in domains.values() for name in members], images)
    criteria = make_criteria({name: config.metrics[name] for name in names or METRICS})
    return Inquiry(questions(images, *names), criteria, categories.tolist(), plan, config.seed)


def scored(responses: NDArray[np.float32], asked: dict[str, Question]) -> dict[str, Scores]:
    """The scores of all units, in one block."""
    units = responses.shape[1]
    found = score_blocks([(np.arange(units), responses)], units, asked)
    return {name: each.scores for name, each in found.items()}


def random_images(count: int, size: int = 256) -> Images:
    """Noise, with labels that nothing asks for."""
    pixels = np.random.default_rng(0).integers(0, 256, (count, size, size), dtype=np.uint8)
    return drawn(pixels, ["noise"] * count, "noise")
