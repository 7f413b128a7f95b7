"""Scores of a layer: of its kernels, or of single units, read and scored block by block."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from app.metrics.scoring import count_bytes, score_blocks, score_kernels
from app.responses.units import read_units

if TYPE_CHECKING:
    from app.metrics import Question, Scored
    from app.models.network import Network
    from app.responses.hardware import Hardware
    from app.responses.reader import Reader
    from app.stimuli.images import Images


def score_layer(
    questions: Mapping[str, Question], reader: Reader, images: Images, aggregation: str
) -> dict[str, Scored]:
    """Score a layer by every metric; each one's scores are remembered by themselves.

    Parameters
    ----------
    questions
        What each metric is asked, by name.
    reader
        Of the layer.
    images
        What the network is shown.
    aggregation
        How a kernel's map becomes one number an image; `unit`: single units are scored.
    """
    memo, hardware = reader.memo, reader.hardware
    if aggregation == "unit":
        network, layer = reader.network, reader.layer
        return memo.each(score_units, questions, questions, network, layer, images, hardware)
    responses = reader.read(images)[aggregation]
    return memo.each(score_kernels, questions, questions, responses, hardware)


def score_units(
    questions: Mapping[str, Question],
    network: Network,
    layer: str,
    images: Images,
    hardware: Hardware,
) -> dict[str, Scored]:
    """Every metric's scores of a layer's single units, from forward passes that fit the memory.

    Parameters
    ----------
    questions
        What each metric is asked, by name.
    network, layer, images
        What is read, and what it is shown.
    hardware
        What the network runs on, and how much memory it may take.

    Returns
    -------
    dict
        Scores of all units, in the order channel, row, column, by the metrics' names.
    """
    kept = sum(count_bytes(question) for question in questions.values())
    blocks = read_units(network, layer, images, hardware, kept)
    units = math.prod(network.map_shape(layer))
    return score_blocks(blocks, units, questions, hardware.threads)
