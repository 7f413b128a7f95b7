"""What each compared metric is asked about a layer."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from app.metrics.contrast import contrast
from app.metrics.registry import check_options, load
from app.metrics.scores import Question
from app.responses.hardware import choose_device

if TYPE_CHECKING:
    from app.config.schema import Metric


def make_questions(
    compared: Mapping[str, Metric],
    categories: Sequence[str],
    domains: Mapping[str, Sequence[str]],
    target: str,
    device: str,
) -> dict[str, Question]:
    """Word the question to each metric: its score function, its contrast, its options.

    Parameters
    ----------
    compared
        The settings of each metric, by name.
    categories
        The category of each image.
    domains
        The categories of each domain.
    target
        The domain asked about.
    device
        What a metric that has an option `device` runs on, unless its settings say otherwise.

    Raises
    ------
    InputError
        For a metric, an option or a contrast that cannot be.
    """
    questions = {}
    for name, settings in compared.items():
        score, options = load(name), dict(settings.options)
        check_options(name, options)
        if "device" in inspect.signature(score).parameters:
            options["device"] = choose_device(options.get("device", device)).type
        asked = contrast(
            categories,
            domains,
            target,
            kind=settings.contrast,
            over=settings.over,
        )
        questions[name] = Question(score, asked, options)
    return questions
