"""How far scores agree that rest on different repetitions of the same stimuli.

What remains between them is noise of the recording; halves of the stimuli differ by the choice of
stimuli, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.findings.consistency import spearman
from app.findings.resampled import FEWEST_IMAGES, FEWEST_UNITS, Inquiry
from app.metrics import Question
from app.metrics.contrast import Contrast
from app.metrics.draws import halve
from app.metrics.scoring import count_bytes, score_kernels
from app.responses.kernels import Reader

if TYPE_CHECKING:
    from app.findings.certainty import Certainty
    from app.responses.hardware import Hardware
    from app.responses.recording import Recorded, Recording
    from app.stimuli.images import Images


def certify_repetitions(
    sure: Certainty | None,
    notes: list[str],
    inquiry: Inquiry,
    reader: Reader | Recorded,
    images: Images,
) -> tuple[Certainty | None, list[str]]:
    """Add how far scores from halves of repetitions agree, where a recording has them."""
    splits = inquiry.plan.splits
    if sure is None or not splits or isinstance(reader, Reader):
        return sure, notes
    if all(len(own) == 1 for own in images.presentations):
        return sure, notes
    repeated, stream = find_repeated(inquiry.questions, images), reader.recording
    if repeated is None:
        note = (
            "certainty: no halves of repetitions: of a group that is compared fewer than "
            f"{FEWEST_IMAGES} stimuli were presented twice"
        )
        return sure, [*notes, note]
    shown, asked = repeated
    found, fewest = reader.memo(
        correlate_repetitions, asked, splits, inquiry.seed, stream, shown, reader.hardware
    )
    metrics = {name: replace(own, repetitions=found[name]) for name, own in sure.metrics.items()}
    if len(shown) < len(images):
        note = (
            f"certainty: halves of repetitions are of the {len(shown)} of {len(images)} stimuli "
            "that were presented twice or more"
        )
        notes = [*notes, note]
    if fewest < min(FEWEST_UNITS, len(stream)):
        note = (
            f"certainty: as few as {fewest} of {len(stream)} units have a score in both halves of "
            "repetitions, where lost trials count for more: that reliability says little"
        )
        notes = [*notes, note]
    return replace(sure, metrics=metrics), notes


def find_repeated(
    questions: Mapping[str, Question], images: Images
) -> tuple[Images, dict[str, Question]] | None:
    """Find the stimuli shown twice or more, and what is asked of them; None: too few of a group."""
    twice = np.array([len(own) > 1 for own in images.presentations])
    asked = {}
    for name, question in questions.items():
        own = question.contrast
        kept = Contrast(own.target[twice], tuple(mask[twice] for mask in own.others), own.names)
        if min(map(len, kept.images)) < FEWEST_IMAGES:
            return None
        asked[name] = replace(question, contrast=kept)
    return images.take(twice), asked


def correlate_repetitions(
    questions: Mapping[str, Question],
    splits: int,
    seed: int,
    recording: Recording,
    images: Images,
    hardware: Hardware,
) -> tuple[dict[str, NDArray[np.float64]], int]:
    """Correlate each metric's scores of both halves of the repetitions, (splits,).

    Spearman, over the units that both halves define; and the fewest that these are.
    """
    rows, random = np.unique(np.concatenate(images.presentations)), np.random.default_rng([seed, 3])
    halves = [[[np.searchsorted(rows, own) for own in half] for half in split]
              for split in halve(images.presentations, splits, random)]  # fmt: skip
    scores = {name: np.full((splits, 2, len(recording)), np.nan, np.float32) for name in questions}
    kept = sum(4 * 2 * splits + count_bytes(question) for question in questions.values())
    for channels, trials in recording.read_trials(rows, len(images), hardware, kept):
        for split, both in enumerate(halves):
            for place, half in enumerate(both):
                numbers, responses = recording.respond(channels, trials, half)
                if len(numbers):
                    found = score_kernels(questions, responses, hardware)
                    for name, each in found.items():
                        scores[name][split, place, numbers] = each.scores.score
    defined = [~np.isnan(each).any(axis=1) for each in scores.values()]
    fewest = min(int(each.sum(axis=1).min()) for each in defined)
    return {name: np.array([spearman(*both) for both in each])
            for name, each in scores.items()}, fewest  # fmt: skip
