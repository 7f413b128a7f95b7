"""Scores of a layer: of its kernels, or of single units, read and scored block by block."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from app.errors import InputError
from app.metrics.contrast import contrast
from app.metrics.scores import Question, Scored, Scores, check_options, find_function, load
from app.metrics.scoring import count_bytes, score_blocks, score_kernels
from app.responses.hardware import choose_device

if TYPE_CHECKING:
    from app.config.schema import Metric
    from app.responses.kernels import Reader
    from app.stimuli.images import Images


def make_questions(
    compared: Mapping[str, Metric],
    categories: Sequence[str],
    domains: Mapping[str, Sequence[str]],
    target: str,
    device: str,
) -> dict[str, Question]:
    """Word the question to each metric, whose settings are in `compared`.

    The contrast is that of `app.metrics.contrast.contrast`. `device` is what a metric that has an
    option of this name runs on, unless its settings say otherwise. InputError for a metric, an
    option or a contrast that cannot be.
    """
    questions = {}
    for name, settings in compared.items():
        metric, options = settings.name, dict(settings.options)
        check_options(metric, options)
        score = load(metric)
        if "device" in inspect.signature(score).parameters:
            options["device"] = choose_device(options.get("device", device)).type
        asked = contrast(categories, domains, target, kind=settings.contrast, over=settings.over)
        faster = find_function(metric, "from_moments"), find_function(metric, "from_pairs")
        questions[name] = Question(
            score, asked, options, *faster, settings.score, settings.criterion.preferred
        )
    return questions


def note_levels(
    compared: Mapping[str, Metric], domains: Mapping[str, Sequence[str]], target: str
) -> list[str]:
    """Say of which metrics categories are no finer than domains."""
    others = [members for domain, members in domains.items() if domain != target]
    return [
        f"contrast: metrics.{name}.over=categories is as domains: each other one has one category"
        for name, each in compared.items()
        if (each.contrast, each.over) == ("each", "categories") and max(map(len, others)) == 1
    ]


def score_layer(
    questions: Mapping[str, Question], reader: Reader, images: Images, aggregation: str
) -> dict[str, Scored]:
    """Score a layer by every metric; each one's scores are remembered by themselves.

    `aggregation` makes a kernel's map one number an image; `unit`: single units are scored.
    """
    memo, hardware = reader.memo, reader.hardware
    if aggregation == "unit":
        return memo.each(score_units, questions, questions, reader, images)
    responses = reader.read(images)[aggregation]
    return memo.each(score_kernels, questions, questions, responses, hardware)


def score_others(
    questions: Mapping[str, Question], reader: Reader, images: Images, aggregation: str
) -> dict[str, tuple[Scores, ...]]:
    """Score the other layers that the sweep asks for and that the network has, by some metrics."""
    found: dict[str, tuple[Scores, ...]] = {name: () for name in questions}
    for layer in reader.others if questions else ():
        with suppress(InputError):  # another network of the sweep has it
            reader.network.map_shape(layer)
            if layer != reader.layer:
                scored = score_layer(questions, replace(reader, layer=layer), images, aggregation)
                found = {name: (*each, scored[name].scores) for name, each in found.items()}
    return found


def score_units(
    questions: Mapping[str, Question], reader: Reader, images: Images
) -> dict[str, Scored]:
    """Every metric's scores of a layer's single units, from forward passes that fit the memory.

    Units are in the order channel, row, column.
    """
    kept = sum(count_bytes(question) for question in questions.values())
    blocks = reader.read_units(images, kept)
    units = math.prod(reader.network.map_shape(reader.layer))
    return score_blocks(blocks, units, questions, reader.hardware.threads)
