"""All metrics over many units: blocks of responses in, every metric's scores of a layer out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from app.metrics import Question, Scored, Scores
from app.threads import available

# Responses that a thread scores by every metric while they are in its processor's cache.
CHUNK_VALUES = 2**20
EXTREMES = 3  # units at either end of a metric's ranking whose responses are kept


def score_layer(
    blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]],
    units: int,
    questions: Mapping[str, Question],
    threads: int | None = None,
) -> dict[str, Scored]:
    """Every metric's scores of a layer of so many units, from blocks of them in any order.

    A block is the numbers (units,) of its units in the layer and their responses (images, units);
    together the blocks hold each unit once. Scores do not depend, to the bit, on the blocks or on
    the number of `threads` (None: `app.threads.available`).
    """
    whole: dict[str, Scored] = {}
    for numbers, responses in blocks:
        for name, found in score_block(responses, questions, threads).items():
            if name not in whole:
                whole[name] = _empty(found, len(responses), units)
            whole[name] = _put(whole[name], found, numbers, responses)
    return whole


def score_block(
    responses: NDArray[np.float32], questions: Mapping[str, Question], threads: int | None = None
) -> dict[str, Scores]:
    """Every metric's scores of the units of `responses` (images, units)."""
    images, units = responses.shape
    width = max(1, CHUNK_VALUES // images)

    def score(start: int) -> dict[str, Scores]:
        part = np.ascontiguousarray(responses[:, start : start + width])
        return {
            name: question.score(part, question.contrast, **question.options)
            for name, question in questions.items()
        }

    # Sorting and the compiled loops run without the interpreter's lock.
    with ThreadPoolExecutor(threads or available()) as pool:
        parts = list(pool.map(score, range(0, units, width)))
    return {name: _side_by_side([part[name] for part in parts]) for name in questions}


def result_bytes(question: Question) -> int:
    """Bytes a unit that a metric's scores take at most: score, statistics and p-values."""
    return 8 * (1 + 2 * len(question.contrast.others))


def ends(score: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of the highest and the lowest defined scores, highest first, ties by index."""
    defined = np.flatnonzero(np.isfinite(score))
    if len(defined) > 2 * EXTREMES:
        values = score[defined]
        low, high = np.partition(values, (EXTREMES - 1, -EXTREMES))[[EXTREMES - 1, -EXTREMES]]
        defined = defined[(values <= low) | (values >= high)]
    ranked = defined[np.argsort(-score[defined], kind="stable")]
    if len(ranked) <= 2 * EXTREMES:
        return ranked
    return np.concatenate([ranked[:EXTREMES], ranked[-EXTREMES:]])


def _side_by_side(parts: list[Scores]) -> Scores:
    return Scores(
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.statistic for part in parts], axis=1),
        None
        if parts[0].p is None
        else np.concatenate([part.p for part in parts if part.p is not None], axis=1),
    )


def _empty(found: Scores, images: int, units: int) -> Scored:
    """Room for the whole layer."""
    contrasts = len(found.statistic)
    scores = Scores(
        np.empty(units),
        np.empty((contrasts, units)),
        None if found.p is None else np.empty((contrasts, units)),
    )
    return Scored(scores, np.empty(0, np.int64), np.empty((images, 0), np.float32))


def _put(
    whole: Scored,
    found: Scores,
    numbers: NDArray[np.int64],
    responses: NDArray[np.float32],
) -> Scored:
    """Put a block's scores in their places; keep the responses of what may be at either end."""
    for room, array in zip(whole.scores, found, strict=True):
        if room is not None and array is not None:
            room[..., numbers] = array
    mine = ends(found.score)
    units = np.concatenate([whole.extremes, numbers[mine]])
    kept = np.concatenate([whole.responses, responses[:, mine]], axis=1)
    order = np.argsort(units)  # ties among equal scores go by the unit's number
    units, kept = units[order], kept[:, order]
    keep = ends(whole.scores.score[units])
    return Scored(whole.scores, units[keep], kept[:, keep])
