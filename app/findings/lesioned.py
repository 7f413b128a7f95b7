"""All lesions of a run: of each kernel, of ever more that a task needs, of what ranks high.

As in Dobs et al. (2022), doi:10.1126/sciadv.abl8913: a greedy search for each task; and ever more
of what a metric ranks high, to see whether it tells the tasks apart, beside random kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app import names
from app.choices import TASKS
from app.findings.attribution import Checked, attribute_each
from app.findings.consistency import spearman
from app.findings.lesion import (
    LesionEffects,
    LesionSite,
    Performance,
    Remaining,
    lesion_kernels,
    lesion_sets,
    lesion_together,
    recover_sets,
)
from app.progress import progress_bar

if TYPE_CHECKING:
    from app.config.schema import Lesion
    from app.stimuli.classes import OwnClasses

BY_CLASS = ("none", "selection", "random_selection")  # sets of which what remains is told by class


@dataclass(frozen=True)
class GreedySearch:
    """A task's search: the kernels' ranking, and what remains of both tasks on the way."""

    order: NDArray[np.int64]  # (kernels,), the kernel in each place; the first ones were dropped
    dropped: NDArray[np.int64]  # (steps + 1,), how many were after each step; 0 at the start
    remaining: Performance  # (steps + 1,)

    @property
    def place(self) -> NDArray[np.int64]:
        """(kernels,), each kernel's place in the ranking; 0 was dropped first."""
        return np.argsort(self.order)

    @property
    def step(self) -> NDArray[np.int64]:
        """(kernels,), the step, from 1, that dropped each kernel; 0 where none did."""
        step = np.searchsorted(self.dropped, self.place, side="right")
        return np.where(step < len(self.dropped), step, 0)


@dataclass(frozen=True)
class KernelSet:
    """Kernels that are lesioned together, and why these."""

    # none | top | selection | random | random_selection: as many as the selection; together: the
    # selections of several layers | random_together: as many of each
    kind: str
    kernels: tuple[Any, ...]  # ascending numbers; of several layers (layer, number)
    percent: int = 0  # of the layer's kernels that was asked for; none of a selection
    draw: int | None = None  # of random kernels, from 0
    among: int | None = None  # how many kernels there are; None: the layer's


@dataclass(frozen=True)
class Damage:
    """What remains of each class without the selection, and without as many random kernels."""

    classes: tuple[str, ...]  # their names, by output
    faces: NDArray[np.bool_]  # (classes,)
    images: NDArray[np.int64]  # (classes,)
    remaining: Mapping[str, Sequence[Remaining]]  # by the kind of the set, a draw each

    @classmethod
    def describe(cls, own: OwnClasses, found: Sequence[tuple[str, Remaining]]) -> Damage:
        """Describe what was found, by the kind of the set of kernels."""
        outputs, images = np.unique(own.outputs, return_counts=True)
        classes = tuple(own.names.get(int(output), str(output)) for output in outputs)
        kinds = dict.fromkeys(kind for kind, _ in found)
        remaining = {kind: [each for of, each in found if of == kind] for kind in kinds}
        return cls(classes, outputs < own.face_classes, images, remaining)

    def table(self) -> pd.DataFrame:
        """A row a class: loss and top-1 intact, and without either; of draws the mean."""
        columns = {
            f"{kind}_{measure}": np.mean([getattr(each, measure) for each in draws], axis=0)
            for kind, draws in self.remaining.items()
            for measure in ("loss", "top1")
        }
        task = np.where(self.faces, *TASKS)
        return pd.DataFrame(
            {"class": self.classes, "task": task, "images": self.images, **columns}
        ).rename(columns=lambda name: name.replace("none_", "intact_"))


@dataclass(frozen=True)
class Lesioned:
    """What remains of both tasks when kernels of the layer are lesioned."""

    tasks: Sequence[str]  # those of `app.choices.TASKS` of which there are images
    effects: LesionEffects  # of each kernel by itself
    searches: Mapping[str, GreedySearch]  # a greedy search a task; none unless lesion=greedy
    sets: Sequence[KernelSet]  # lesioned together; none where lesion.sets is empty
    without: Performance  # (sets,)
    damage: Damage | None = None  # of each class; none where lesion.sets is empty
    # What a readout that is fitted again recovers without the selection, and without as many random
    # kernels, (draws,); none where the network's own outputs name the classes.
    recovered: Mapping[str, Performance] = field(default_factory=dict)
    told: tuple[str, ...] = ()  # about what names the classes
    checked: Checked | None = None  # how far effects that are estimates agree with exact ones

    @property
    def notes(self) -> list[str]:
        """What names the classes; a line for each task left out; how good estimates are."""
        checked = [self.checked.note] if self.checked else []
        return [*self.told, *checked] + [
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
        return -self.effects.without.of(task)[f"{task}_loss"]

    def metrics(self, score: NDArray[np.float64]) -> dict[str, float]:
        """Single numbers by the names that they are logged under.

        Spearman of score (kernels,) with what remains of each task, negative where such kernels
        matter; accuracy without what the criterion selects, and without as many random kernels
        (mean over draws). Of a task without images there is nothing.
        """
        found = {names.LESION_SPEARMAN[task]: spearman(score, self.remains(task))
                 for task in self.tasks}  # fmt: skip
        for name, value in self.effects.intact.of(*self.tasks).items():
            found[names.INTACT.format(measure=name)] = float(value)
        found |= self.checked.metrics() if self.checked else {}
        for task, search in self.searches.items():
            found[names.GREEDY_DROPPED] = float(search.dropped[-1])
            for name, values in search.remaining.of(*self.tasks).items():
                found[names.AFTER_SEARCH.format(task=task, measure=name)] = float(values[-1])
        mean = self.set_table().groupby("set").mean()
        for task in self.tasks:
            left = mean[f"{task}_top1"]
            for kind, name in names.SELECTION_LESIONED.items():
                if kind in left:
                    found[name.format(task=task)] = float(left[kind])
        for kind, again in self.recovered.items():
            for task in self.tasks:
                name = names.RECOVERED[kind].format(task=task)
                found[name] = float(again.of(task)[f"{task}_top1"].mean())
        return found

    def curves(self) -> dict[str, dict[int, float]]:
        """Accuracy without the highest-ranked kernels, by the percentage of kernels lesioned."""
        ranked = {
            each.percent: n for n, each in enumerate(self.sets) if each.kind in ("none", "top")
        }
        if not ranked:
            return {}
        left = self.without._asdict()
        return {
            names.TOP_LESIONED.format(task=task): {
                percent: float(left[f"{task}_top1"][place]) for percent, place in ranked.items()
            }
            for task in self.tasks
        }

    def table(self) -> pd.DataFrame:
        """A row a kernel or unit: what remains of both tasks without it; intact performance beside.

        Where that is estimated, `exact_…` has what remains in the lesions of a sample.
        Of a greedy search for a task, `<task>_search_…`: the kernel's place, 0 dropped first; the
        step that dropped it, from 1; what remained then (missing where it was never dropped).
        """
        what = "unit" if self.checked and self.checked.units else "kernel"
        table = pd.DataFrame(self.effects.without._asdict()).rename_axis(what).reset_index()
        for name, value in self.effects.intact._asdict().items():
            table[f"intact_{name}"] = float(value)
        if self.checked is not None:
            exact = pd.DataFrame(self.checked.exact._asdict(), index=self.checked.sample)
            table = table.join(exact.add_prefix("exact_"))
        for task, search in self.searches.items():
            step = pd.Series(search.step, dtype="Int64")
            table[f"{task}_search_place"] = search.place
            table[f"{task}_search_step"] = step.mask(step == 0)
            for name, values in search.remaining._asdict().items():
                table[f"{task}_search_{name}"] = np.where(step == 0, np.nan, values[search.step])
        return table

    def set_table(self) -> pd.DataFrame:
        """A row a set of kernels that were lesioned together: what remains of both tasks.

        `set` is none, top (highest-ranked), selection, random, random_selection (as many random
        kernels as are selected), together (selected in several layers) or random_together;
        `percent` of all kernels, the exact share; `draw` of random ones.
        """
        kernels = np.array([len(each.kernels) for each in self.sets], dtype=np.int64)
        among = [each.among or len(self.effects.without.face_loss) for each in self.sets]
        return pd.DataFrame(
            {
                "set": [each.kind for each in self.sets],
                "percent": 100 * kernels / np.array(among),
                "kernels": kernels,
                "draw": pd.array([each.draw for each in self.sets], dtype="Int64"),
                **self.without._asdict(),
            }
        )


def lesion(
    site: LesionSite,
    score: NDArray[np.float64],
    selected: NDArray[np.bool_],
    settings: Lesion,
    seed: int,
    together: Mapping[str, NDArray[np.bool_]] = MappingProxyType({}),
) -> Lesioned:
    """The lesions that the settings ask for; each is stored by itself, whoever asks for it.

    `score` and `selected` (kernels,) are those of the metric whose ranking and selection are
    lesioned as sets; `seed` is that of random kernels; `together` is what is selected in layers
    that are lesioned together, by their names.
    """

    def lesion_each(*asked: Sequence[int]) -> LesionEffects:
        return site.memo(lesion_kernels, site, *asked)

    searches = {}
    if settings.name == "greedy":
        how = site.kernels, settings.fraction, settings.group_size
        searches = {task: search_greedily(lesion_each, task, *how) for task in site.own.tasks}
    sets = []
    if settings.sets and not site.units:
        sets = choose_sets(score, selected, settings.sets, settings.random_draws, seed)
    checked = None
    if settings.name == "attribution":
        effects, checked = attribute_each(site, settings, seed)
    else:
        effects = lesion_each(())
    # Single lesions have told what is left without one kernel, or none.
    left: dict[tuple[int, ...], Performance] = {(): effects.intact}
    for kernel, measures in enumerate(zip(*effects.without, strict=True) if not checked else ()):
        left[kernel,] = Performance(*measures)
    # Of some it is also told what remains of each class.
    by_class = [each for each in sets if each.kind in BY_CLASS]
    asked = [each for each in sets if each.kernels not in left]
    more = {str(each.kernels): each.kernels for each in (*by_class, *asked)}
    found = site.memo.each(lesion_sets, more, list(more), site)
    joint = join_selections(together, settings.random_draws, seed) if together else []
    pairs = {str(each.kernels): each.kernels for each in joint if each.kernels not in left}
    sites = {layer: replace(site, layer=layer) for layer in together}
    found |= site.memo.each(lesion_together, pairs, list(pairs), sites)
    left = {(more | pairs)[name]: each.whole for name, each in found.items()} | left
    by_class += joint if by_class else []
    damage = [(each.kind, found[str(each.kernels)]) for each in by_class]
    sets += joint
    without = Performance.stack([left[each.kernels] for each in sets])
    recovered = recover(site, sets) if site.readout is not None else {}
    told = site.told
    if site.units and (settings.sets or settings.together):
        told += ("lesion: single units are lesioned in no sets (lesion.sets, lesion.together)",)
    whole = Damage.describe(site.own, damage) if damage else None
    tasks = site.own.tasks
    return Lesioned(tasks, effects, searches, sets, without, whole, recovered, told, checked)


def recover(site: LesionSite, sets: Sequence[KernelSet]) -> dict[str, Performance]:
    """What a readout that is fitted again recovers without the selection, and random kernels."""
    chosen = [each for each in sets if each.kind in ("selection", "random_selection")]
    asked = {str(each.kernels): each.kernels for each in chosen}
    found = site.memo.each(recover_sets, asked, list(asked), site)
    return {
        kind: Performance.stack([found[str(e.kernels)] for e in chosen if e.kind == kind])
        for kind in dict.fromkeys(each.kind for each in chosen)
    }


def search_greedily(
    lesion: Callable[..., LesionEffects], task: str, kernels: int, fraction: float, group_size: int
) -> GreedySearch:
    """Drop the kernels that a task needs most, keep them dropped, search again.

    Until a `fraction`, above 0 and at most 1, of the layer's `kernels` is dropped, at least one,
    those `group_size` of the left whose lesion leaves the highest loss are dropped next. Those
    never dropped follow in the order of the last search. Ties go by index.

    `lesion(dropped)` is called once a step, with the sorted kernels that are dropped already, and
    `lesion(dropped, ())`, which may lesion no more, at the end. One that remembers lets a search
    that was interrupted go on where it stopped, and one that drops more where another ended.
    """
    drop = max(1, round(fraction * kernels))
    counts = [*range(0, drop, group_size), drop]
    order, path = list(range(kernels)), []
    with progress_bar(f"greedy search, {task} task", len(counts) - 1, "step") as progress:
        for dropped in counts[:-1]:
            effects = lesion(tuple(sorted(order[:dropped])))
            path.append(effects.intact)
            loss = effects.without.of(task)[f"{task}_loss"]
            order[dropped:] = sorted(order[dropped:], key=lambda kernel: (-loss[kernel], kernel))
            progress(1)
    path.append(lesion(tuple(sorted(order[:drop])), ()).intact)
    return GreedySearch(np.array(order), np.array(counts), Performance.stack(path))


def choose_sets(
    score: NDArray[np.float64],
    selected: NDArray[np.bool_],
    percents: Sequence[int],
    draws: int,
    seed: int,
) -> list[KernelSet]:
    """No kernel, the top `percents` by score, the selection, and random sets of each size.

    Each size, rounded and at least one kernel, comes once: of percents (1 … 100) that round to the
    same, the last. A draw is one random ranking of the kernels, whose beginning makes up its sets
    of every size: the same for all scores, and a curve as that of a metric is.

    `score` and `selected` are (kernels,); undefined (NaN) scores rank last, ties go by index.
    """
    count, chosen = len(score), np.flatnonzero(selected)
    sizes = {max(1, round(percent * count / 100)): percent for percent in sorted(percents)}

    def first(order: NDArray[np.int64], size: int) -> tuple[int, ...]:
        return tuple(sorted(order[:size].tolist()))

    ranking = np.argsort(-score, kind="stable")  # NaN last
    random = [np.random.default_rng([seed, draw]).permutation(count) for draw in range(draws)]
    found = [KernelSet("none", ())]
    found += [KernelSet("top", first(ranking, size), sizes[size]) for size in sizes]
    found.append(KernelSet("selection", tuple(chosen.tolist())))
    for size, percent in sizes.items():
        for draw, order in enumerate(random):
            found.append(KernelSet("random", first(order, size), percent, draw))
    for draw, order in enumerate(random):
        found.append(KernelSet("random_selection", first(order, len(chosen)), draw=draw))
    return found


def join_selections(
    selected: Mapping[str, NDArray[np.bool_]], draws: int, seed: int
) -> list[KernelSet]:
    """All that is selected (kernels,) in several layers as one set, and as many random of each.

    A draw ranks the kernels of each layer at random, the same whatever is selected.
    """
    among, sets = sum(map(len, selected.values())), []
    for draw in (None, *range(draws)):
        random, kernels = np.random.default_rng([seed, draw or 0]), list[tuple[str, int]]()
        for layer, mask in selected.items():
            own, order = np.flatnonzero(mask), random.permutation(len(mask))
            own = own if draw is None else np.sort(order[: len(own)])
            kernels += [(layer, kernel) for kernel in own.tolist()]
        kind = "together" if draw is None else "random_together"
        sets.append(KernelSet(kind, tuple(kernels), draw=draw, among=among))
    return sets
