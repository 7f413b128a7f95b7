"""All lesions of a run: of each kernel, of ever more that a task needs, of what ranks high."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app import names
from app.choices import TASKS
from app.findings.consistency import spearman
from app.findings.dissociation import KernelSet, kernel_sets
from app.findings.greedy import GreedySearch, search_greedily
from app.findings.lesion import (
    LesionEffects,
    LesionSite,
    Performance,
    lesion_kernels,
    lesion_sets,
)

if TYPE_CHECKING:
    from app.config.schema import Layer, Lesion, Model
    from app.memo import Memo


@dataclass(frozen=True)
class Lesioned:
    """What remains of both tasks when kernels of the layer are lesioned."""

    tasks: Sequence[str]  # those of `app.choices.TASKS` of which there are images
    effects: LesionEffects  # of each kernel by itself
    searches: Mapping[str, GreedySearch]  # a greedy search a task; none unless lesion=greedy
    sets: Sequence[KernelSet]  # lesioned together; none where lesion.sets is empty
    without: Performance  # (sets,)

    @property
    def notes(self) -> list[str]:
        """One line for each task that is left out."""
        return [
            f"lesion: the {task} task is left out; images of its classes are named by "
            f"lesion.{task}s.root=<folder>"
            for task in TASKS
            if task not in self.tasks
        ]

    def remains(self, task: str) -> NDArray[Any]:
        """What each kernel's lesion leaves of a task, (kernels,); less: the kernel matters more.

        -loss without it, or its place in the task's greedy search.
        """
        if task in self.searches:
            return self.searches[task].place
        return -self.effects.without.of(task).loss

    def metrics(self, score: NDArray[np.float64]) -> dict[str, float]:
        """Single numbers by the names that they are logged under.

        Spearman of score with what remains of each task, negative where such kernels matter;
        accuracy without what the criterion selects, and without as many random kernels (mean over
        draws). Of a task without images there is nothing.

        Parameters
        ----------
        score
            (kernels,), NaN where it is undefined.
        """
        found = {names.LESION_SPEARMAN[task]: spearman(score, self.remains(task))
                 for task in self.tasks}  # fmt: skip
        for name, value in self.effects.intact.by_measure(self.tasks).items():
            found[names.intact(name)] = float(value)
        for task, search in self.searches.items():
            found[names.GREEDY_DROPPED] = float(search.dropped[-1])
            for name, values in search.remaining.by_measure(self.tasks).items():
                found[names.after_search(task, name)] = float(values[-1])
        for task in self.tasks if self.sets else ():
            selection, random = (
                self.without.of(task).top1[self._places(kind)].mean()
                for kind in ("selection", "random_selection")
            )
            found[names.selection_lesioned(task)] = float(selection)
            found[names.random_lesioned(task)] = float(random)
        return found

    def curves(self) -> dict[str, dict[int, float]]:
        """Accuracy without the highest-ranked kernels, by the percentage of kernels lesioned."""
        places = self._places("none", "top")
        return {
            names.top_lesioned(task): {
                round(self.sets[place].percent): float(self.without.of(task).top1[place])
                for place in places
            }
            for task in (self.tasks if self.sets else ())
        }

    def table(self) -> pd.DataFrame:
        """A row a kernel: what remains of both tasks without it; intact performance beside it.

        Of a greedy search for a task, `<task>_search_…`: the kernel's place, 0 dropped first; the
        step that dropped it, from 1; what remained then (missing where it was never dropped).
        """
        table = pd.DataFrame(self.effects.without.by_measure())
        table.insert(0, "kernel", np.arange(len(table)))
        for name, value in self.effects.intact.by_measure().items():
            table[f"intact_{name}"] = float(value)
        for task, search in self.searches.items():
            step = pd.Series(search.step, dtype="Int64")
            table[f"{task}_search_place"] = search.place
            table[f"{task}_search_step"] = step.mask(step == 0)
            for name, values in search.remaining.by_measure().items():
                table[f"{task}_search_{name}"] = np.where(step == 0, np.nan, values[search.step])
        return table

    def set_table(self) -> pd.DataFrame:
        """A row a set of kernels that were lesioned together: what remains of both tasks.

        `set` is none, top (highest-ranked), selection, random or random_selection (as many random
        kernels as are selected); `percent` of all kernels, the exact share; `draw` of random ones.
        """
        kernels = np.array([len(each.kernels) for each in self.sets], dtype=np.int64)
        return pd.DataFrame(
            {
                "set": [each.kind for each in self.sets],
                "percent": 100 * kernels / len(self.effects.without.face.loss),
                "kernels": kernels,
                "draw": pd.array([each.draw for each in self.sets], dtype="Int64"),
                **self.without.by_measure(),
            }
        )

    def _places(self, *kinds: str) -> list[int]:
        return [place for place, each in enumerate(self.sets) if each.kind in kinds]


def lesion(
    site: LesionSite,
    score: NDArray[np.float64],
    selected: NDArray[np.bool_],
    settings: Lesion,
    seed: int,
    memo: Memo,
) -> Lesioned:
    """The lesions that the settings ask for; each is stored by itself, whoever asks for it.

    Parameters
    ----------
    site
        Where.
    score, selected
        (kernels,), of the metric whose ranking and selection are lesioned as sets.
    settings
        Of the config.
    seed
        Of random kernels.
    memo
        Remembers.
    """
    site = replace(site, remember=memo)

    def lesion_each(dropped: Sequence[int], kernels: Sequence[int] | None = None) -> LesionEffects:
        return memo(lesion_kernels, site, dropped, kernels)

    searches = {}
    if settings.name == "greedy":
        how = site.kernels, settings.fraction, settings.group_size
        searches = {task: search_greedily(lesion_each, task, *how) for task in site.own.tasks}
    sets = []
    if settings.sets:
        sets = kernel_sets(score, selected, settings.sets, settings.random_draws, seed)
    named = {each.name: each.kernels for each in sets}
    found = memo.each(lesion_sets, named, list(named), site)
    without = Performance.stack([found[each.name] for each in sets])
    return Lesioned(site.own.tasks, lesion_each(()), searches, sets, without)


def why_not_lesioned(settings: Lesion, model: Model, layer: Layer, aggregation: str) -> str | None:
    """One line where lesioning does not apply to a run with these settings, else None."""
    if settings.name == "none":
        return "lesion: switched off (lesion=none)"
    if aggregation == "unit":
        return "lesion: single units are not lesioned; take aggregation=mean, l2 or max"
    if settings.layers is not None and layer.name not in settings.layers:
        return f"lesion: {layer.name} is not one of lesion.layers={settings.layers}"
    if model.source != "vgg" or layer.output is not None:
        return "lesion: only the convolutions of the dual-task networks are lesioned"
    if not model.face_classes:
        return f"lesion: none of the outputs of {model.name} are faces (model.face_classes)"
    if model.classes != "synthetic" and not (settings.faces.root or settings.objects.root):
        return (
            f"lesion: no held-out images of the classes of {model.name} are at hand; "
            "lesion.faces.root and lesion.objects.root name folders of them"
        )
    return None
