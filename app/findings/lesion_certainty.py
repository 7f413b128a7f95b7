"""How sure the correlation of scores with lesion effects is: both rest on images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app import names
from app.findings.certainty import (
    MetricCertainty,
    Numbers,
    average,
    find_ceiling,
    lengthen,
    name_interval,
)
from app.findings.consistency import correlate_draws
from app.findings.lesioned import Lesioned
from app.metrics.draws import TEST_IMAGES, Draws, draw_halves, draw_resamples

if TYPE_CHECKING:
    from app.findings.resampled import Inquiry
    from app.stimuli.classes import OwnClasses


@dataclass(frozen=True)
class LesionCertainty:
    """Of each task, by its name; without draws there is nothing."""

    spearman: Mapping[str, Numbers]  # (resamples,) of scores and what remains
    halves: Mapping[str, Numbers]  # (splits,) of what remains, by both halves of the test images
    notes: tuple[str, ...]

    def metrics(self, reliability: float) -> dict[str, float]:
        """The numbers by the names that they are logged under; `reliability` is the scores'."""
        found: dict[str, float] = {}
        for task, values in self.spearman.items():
            found |= name_interval(names.LESION_SPEARMAN[task], values)
        for task, values in self.halves.items():
            own = lengthen(average(values))
            found[names.LESION_RELIABILITY[task]] = own
            found[names.LESION_CEILING[task]] = find_ceiling(reliability, own)
        return found


def certify_lesions(
    lesions: Lesioned, shown: OwnClasses, scores: MetricCertainty, inquiry: Inquiry
) -> LesionCertainty:
    """Draw localizer and test images again, and correlate scores with what then remains.

    Test images are drawn within their classes, or within tasks where a class has one alone. A
    greedy search is not made again: its places stay, and only localizer images are drawn. Of
    single units there is nothing.
    """
    if lesions.checked is not None and lesions.checked.units:
        said = "effects of single units are not kept by image: lesion/spearman has no interval"
        return LesionCertainty({}, {}, (f"certainty: {said}",))
    tasks = np.where(shown.outputs < shown.face_classes, "face", "object")
    classes, notes = [str(output) for output in shown.outputs], []
    if min(Counter(classes).values()) < 2:
        classes = tasks.tolist()
        notes.append(
            "certainty: some classes have one test image: test images are drawn within tasks"
        )
    drawn = draw_resamples(len(scores.resampled), classes, inquiry.seed, TEST_IMAGES)
    both = draw_halves(inquiry.plan.splits, classes, inquiry.seed, TEST_IMAGES)
    correlations, halves = {}, {}
    for task in lesions.tasks:
        own = tasks == task
        remains = np.tile(lesions.remains(task), (len(drawn), 1))
        if task not in lesions.searches:
            remains = measure_remains(lesions, own, drawn)
            first, second = (measure_remains(lesions, own, half) for half in both)
            if len(first):
                (halves[task],) = correlate_draws({"first": first, "second": second}).values()
        asked = {"score": scores.resampled, "remains": remains}
        (correlations[task],) = correlate_draws(asked).values()
    if lesions.searches:
        notes.append(
            "certainty: a greedy search is not made again: intervals rest on localizer images alone"
        )
    return LesionCertainty(correlations, halves, tuple(notes))


def measure_remains(lesions: Lesioned, own: NDArray[np.bool_], draws: Draws) -> NDArray[np.float64]:
    """-loss without each kernel (draws, kernels), over the images of a task that each draw has."""
    assert lesions.effects.losses is not None
    times = draws.times[:, own].astype(np.float64)
    losses = times @ lesions.effects.losses[:, own].T.astype(np.float64)
    return np.asarray(-losses / times.sum(axis=1, keepdims=True))
