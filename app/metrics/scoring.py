"""All metrics over many units: blocks of responses in, every metric's scores of a layer out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from app.errors import InputError
from app.machine import count_threads
from app.metrics.moments import NOISE
from app.metrics.scores import Question, Scored, Scores

if TYPE_CHECKING:
    from app.responses.hardware import Hardware

# Responses that a thread scores by every metric while they are in its processor's cache.
CHUNK_VALUES = 2**19
EXTREMES = 3  # units at either end of a metric's ranking whose responses are kept


def score_blocks(
    blocks: Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]],
    units: int,
    questions: Mapping[str, Question],
    threads: int | None = None,
) -> dict[str, Scored]:
    """Score a layer of so many units by every metric, from blocks of them in any order.

    A block is the numbers (units,) of its units in the layer and their responses (images, units);
    no unit is in two blocks, and one that is in none is undefined. Scores do not depend, to the
    bit, on the blocks or on the number of `threads` (None: `app.machine.count_threads`). A unit
    whose responses to compared images differ by rounding alone (`app.metrics.moments.NOISE`) counts
    as constant; InputError for such responses that are not finite.
    """
    whole: dict[str, Scored] = {}
    absent = units
    compared = np.any([question.contrast.included for question in questions.values()], axis=0)

    def score(numbers: NDArray[np.int64], responses: NDArray[np.float32]) -> dict[str, Scores]:
        part = still_noise(numbers, responses, compared)
        return {name: question.ask(part) for name, question in questions.items()}

    # Sorting and the compiled loops run without the interpreter's lock.
    with ThreadPoolExecutor(threads or count_threads()) as pool:
        for numbers, responses in blocks:
            absent -= len(numbers)
            width = max(1, CHUNK_VALUES // len(responses))
            ends = range(width, len(numbers), width)
            some, chunks = np.split(numbers, ends), np.split(responses, ends, axis=1)
            found = pool.map(score, some, chunks)
            for numbered, by_metric in zip(some, found, strict=True):
                for name, scores in by_metric.items():
                    if name not in whole:
                        whole[name] = _make_room(scores, len(responses), units)
                    _put(whole[name].scores, scores, numbered)
            whole = {name: _keep_ends(each, numbers, responses) for name, each in whole.items()}
    return {name: replace(each, absent=absent) for name, each in whole.items()}


def still_noise(
    numbers: NDArray[np.int64], responses: NDArray[Any], compared: NDArray[np.bool_]
) -> NDArray[Any]:
    """Make constant what differs by rounding alone over the compared images; see `score_blocks`."""
    part = np.ascontiguousarray(responses)
    shown = part if compared.all() else part[compared]
    low, high = shown.min(axis=0), shown.max(axis=0)
    if not np.isfinite([low, high]).all():
        finite = np.isfinite(shown)
        raise InputError(
            f"{np.count_nonzero(~finite)} responses are NaN or infinite, the first in unit "
            f"{numbers[~finite.all(axis=0)].min()}; responses must be finite numbers"
        )
    flat = low >= high - NOISE.get(part.dtype.char, 0) * np.maximum(-low, high)
    return np.where(flat, low, part) if (low < high)[flat].any() else part


def score_kernels(
    questions: Mapping[str, Question], responses: NDArray[np.float32], hardware: Hardware
) -> dict[str, Scored]:
    """Score kernels by every metric, from their responses (images, kernels)."""
    kernels = responses.shape[1]
    return score_blocks([(np.arange(kernels), responses)], kernels, questions, hardware.threads)


def count_bytes(question: Question) -> int:
    """Count the bytes a unit that a metric's score, statistics and p-values take at most."""
    return 8 * (1 + 2 * len(question.contrast.others)) + question.preferred


def note_absent(scored: Scored, what: str) -> str | None:
    """Say how many units or kernels had no responses to score, if any."""
    if not scored.absent:
        return None
    return (
        f"responses: {scored.absent} of {len(scored.scores.score)} {what} have no finite response "
        "to some stimulus: their scores are undefined"
    )


def make_room(shape: Sequence[int], dtype: DTypeLike) -> NDArray[Any]:
    """Make room for what is said of units: of those that nothing is said of, NaN, or no."""
    return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 0, dtype)


def find_ends(score: NDArray[np.float64]) -> NDArray[np.int64]:
    """Find the units of the highest and the lowest defined scores, highest first, ties by index."""
    defined = np.flatnonzero(np.isfinite(score))
    ranked = defined[np.argsort(-score[defined], kind="stable")]
    return np.delete(ranked, slice(EXTREMES, -EXTREMES))  # of few, none


def _make_room(found: Scores, images: int, units: int) -> Scored:
    """Make room for the whole layer."""
    rooms = [part if part is None else make_room((*part.shape[:-1], units), part.dtype)
             for part in found]  # fmt: skip
    return Scored(Scores._make(rooms), np.empty(0, np.int64), np.empty((images, 0), np.float32))


def _put(whole: Scores, found: Scores, numbers: NDArray[np.int64]) -> None:
    """Put some units' scores in their places."""
    for room, array in zip(whole, found, strict=True):
        if room is not None and array is not None:
            room[..., numbers] = array


def _keep_ends(whole: Scored, numbers: NDArray[np.int64], responses: NDArray[np.float32]) -> Scored:
    """Keep the responses of those of a block that may be at either end of the layer."""
    mine = find_ends(whole.scores.score[numbers])
    units = np.concatenate([whole.extremes, numbers[mine]])
    kept = np.concatenate([whole.responses, responses[:, mine]], axis=1)
    order = np.argsort(units)  # ties among equal scores go by the unit's number
    units, kept = units[order], kept[:, order]
    keep = find_ends(whole.scores.score[units])
    return Scored(whole.scores, units[keep], kept[:, keep])
