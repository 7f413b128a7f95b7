"""What lesions leave, estimated by attribution, and how far exact lesions of a sample agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from app import names
from app.findings.consistency import spearman
from app.findings.lesion import (
    GROUP_VALUES,
    LesionEffects,
    LesionSite,
    Performance,
    lesion_kernels,
)
from app.models.attribution import attribute
from app.names import name_units
from app.progress import progress_bar

if TYPE_CHECKING:
    from app.config.schema import Lesion

# Points, where a run is not told how many. Of single units, kernels half way tell nothing more.
TRIED = {"kernels": (1, 16), "units": (1,)}
# Of all activations behind the layer, which the backward pass needs, as a multiple of what lesions
# run together.
KEPT = 4


@dataclass(frozen=True)
class Checked:
    """Estimates of a layer's lesions beside exact lesions of a sample of them."""

    units: bool  # single units, not kernels
    sample: NDArray[np.int64]  # (sample,), ascending
    exact: Performance  # (sample,) without each
    agreement: Mapping[int, Mapping[str, float]]  # Spearman over the sample, by points and task
    points: int  # that were kept

    def metrics(self) -> dict[str, float]:
        """The numbers by the names that they are logged under."""
        found = {names.ATTRIBUTION_SPEARMAN[task]: value
                 for task, value in self.agreement[self.points].items()}  # fmt: skip
        return {**found, names.ATTRIBUTION_POINTS: float(self.points)}

    @property
    def note(self) -> str:
        """How far the estimates agree with exact lesions, and what more points gain and cost."""
        kept, what = self.agreement[self.points], name_units("unit" if self.units else "kernel")
        agree = ", ".join(f"{value:.2f} ({task}s)" for task, value in kept.items())
        size = len(self.sample)
        told = f"attribution: Spearman with exact lesions of {size} {what} is {agree}"
        for points in self.agreement.keys() - {self.points}:
            few, many = sorted((points, self.points))
            gain = _average(self.agreement[many]) - _average(self.agreement[few])
            told += (f"; {many} points instead of {few} change that by {gain:+z.2f} for "
                     f"{many / few:g} times the passes: {self.points} kept")  # fmt: skip
        return told


def attribute_each(site: LesionSite, settings: Lesion, seed: int) -> tuple[LesionEffects, Checked]:
    """Estimate each lesion of the site, and check a sample of them.

    Where the settings leave the number of points open, those of `TRIED` are tried, and what agrees
    best with the exact lesions is kept. Top-1 is not estimated: NaN. Layers of a sweep share no
    pass: for five of the embedded network that would save 0.9 of 68 CPU seconds.
    """
    what = name_units("unit" if site.units else "kernel")
    tried = TRIED[what] if settings.points is None else (settings.points,)
    found = {points: site.memo(estimate_effects, site, points) for points in tried}
    ranked = found[tried[0]].without.of(site.own.tasks[0])
    sample = choose_sample(next(iter(ranked.values())), settings.checked, seed)
    exact = site.memo(lesion_kernels, site, (), tuple(sample.tolist()))
    agreement = {
        points: {
            task: spearman(effects.without.of(task)[f"{task}_loss"][sample],
                           exact.without.of(task)[f"{task}_loss"])
            for task in site.own.tasks
        }
        for points, effects in found.items()
    }  # fmt: skip
    kept = max(tried, key=lambda points: np.nan_to_num(_average(agreement[points]), nan=-2))
    checked = Checked(site.units, sample, exact.without, agreement, kept)
    return found[kept]._replace(intact=exact.intact), checked


def choose_sample(estimates: NDArray[np.float64], count: int, seed: int) -> NDArray[np.int64]:
    """Choose lesions to check: one at random of each of so many equal parts of their ranking."""
    parts = np.array_split(np.argsort(estimates, kind="stable"), min(count, len(estimates)))
    random = np.random.default_rng(seed)
    return np.sort([random.choice(part) for part in parts])


def estimate_effects(site: LesionSite, points: int) -> LesionEffects:
    """Estimate what each lesion of the site leaves, from `points` passes each image.

    Of kernels the losses of each image, too; of single units the means of the tasks alone.
    """
    lesioning, device = site.lesioning, site.hardware.device
    answers = torch.from_numpy(site.own.outputs).to(device)  # not in inference mode: gradients
    place = replace(lesioning.place, value=lesioning.maps)
    faces = answers < site.own.face_classes
    tasks = [own.double() / own.sum() for own in (faces, ~faces)]
    means, intact, losses = torch.zeros(()), [], []
    # As many images as a backward pass has room for.
    behind = sum(math.prod(each.shape) for each in lesioning.cut.repeated if each.shape)
    room = KEPT * GROUP_VALUES[device.type]
    together = max(1, room // max(behind, math.prod(lesioning.shape)))
    name = f"attribution in {site.layer}"
    with torch.inference_mode(), progress_bar(name, len(answers)) as progress:
        for shown, shared, donors in site.batches(together):
            right = answers[shown]
            given = lesioning.resume(shared, len(right))
            replaced = {} if donors is None else {place.layer: donors}
            judge = lesioning.result, lambda values, right=right: site.judge(values, right)[0]
            found = attribute(lesioning.program, [place], given, judge, replaced, points)
            changes = found.changes[place.layer]
            changes = changes.flatten(1) if site.units else changes.sum(dim=(2, 3))
            means = means + torch.stack([weights[shown] @ changes.double() for weights in tasks])
            intact.append(found.loss)
            if not site.units:
                losses.append((found.loss + changes.T).float().cpu())
            progress(len(right))
    whole = torch.stack([weights @ torch.cat(intact) for weights in tasks])
    face, other = (whole[:, None] + means).cpu().numpy()
    unknown = np.full(len(face), np.nan)
    return LesionEffects(
        Performance(face, unknown, other, unknown),
        Performance(*np.array([whole[0].cpu(), np.nan, whole[1].cpu(), np.nan])),
        torch.cat(losses, dim=1).numpy() if losses else None,
    )


def _average(values: Mapping[str, float]) -> float:
    return float(np.mean([*values.values()]))
