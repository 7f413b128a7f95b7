"""Does the network need a kernel? Replace its map, and see what remains of its two tasks.

Effects are read on held-out images of the network's own classes. The single classifier decides
over faces and objects together, as in Dobs et al. (2022), doi:10.1126/sciadv.abl8913.

A lesion repeats only what it changes (`app.models.lesioning`). An image in which the kernel is
silent anyway keeps its result.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from app.choices import MEASURES
from app.errors import InputError
from app.findings.readout import Readout
from app.models.graph import PIXELS
from app.models.lesioning import Lesioning
from app.models.program import Program, move
from app.progress import Progress, progress_bar
from app.responses.passes import collect, to_device

if TYPE_CHECKING:
    from app.memo import Memo
    from app.models.network import Network
    from app.responses.hardware import Hardware
    from app.stimuli.classes import OwnClasses

# Of the maps of all images, which are stored and lesion after lesion goes on from.
KEPT_BYTES = 2**29
# Values of the maps of as many images, and of the largest activation of as many lesions, as are
# run together. Modest tensors are fastest on a CPU; a GPU wants more to do at once.
GROUP_VALUES = {"cpu": 2**21, "cuda": 2**27}


class Performance(NamedTuple):
    """What a network achieves in both tasks: a number each, or an array over lesions.

    The fields are `app.choices.MEASURES`; NaN for a task without images.
    """

    face_loss: NDArray[np.float64]  # mean cross-entropy, nats
    face_top1: NDArray[np.float64]  # accuracy, 0 … 1
    object_loss: NDArray[np.float64]
    object_top1: NDArray[np.float64]

    def of(self, *tasks: str) -> dict[str, NDArray[np.float64]]:
        """By measure, of some of `app.choices.TASKS`."""
        return {name: each for name, each in self._asdict().items() if name.startswith(tasks)}

    @classmethod
    def stack(cls, parts: Sequence[Performance]) -> Performance:
        """Arrays (parts,) of single numbers."""
        return cls(*np.array(parts, dtype=np.float64).reshape(len(parts), len(MEASURES)).T)


class LesionEffects(NamedTuple):
    """What remains of both tasks without each kernel, arrays (kernels,), and without any."""

    without: Performance
    intact: Performance
    # (kernels, images) of each lesion by itself; None where others are dropped throughout
    losses: NDArray[np.float32] | None = None


@dataclass(frozen=True, eq=False)
class LesionSite:
    """A layer to lesion, and the images that say what remains. What lesions share is kept."""

    network: Network  # its weights are loaded when a lesion is due
    layer: str
    own: OwnClasses  # images of the network's own classes
    hardware: Hardware  # what lesions run on, in float32
    memo: Memo
    replacement: str = "zero"  # one of `app.choices.REPLACEMENTS`
    seed: int = 0  # of which image's map replaces which, where they are resampled
    readout: Readout | None = None  # that says the classes; None: the network's own outputs
    fitted: OwnClasses | None = None  # the images that the readout was fitted on
    units: bool = False  # single units stand where kernels are spoken of, by their numbers

    def __memo__(self) -> Any:
        """What effects depend on."""
        own = self.own.images.digest, self.own.outputs, self.own.face_classes
        replaced = self.replacement, self.seed if self.replacement == "resample" else None
        return self.network, self.layer, own, self.hardware, replaced, self.readout, self.units

    @property
    def told(self) -> tuple[str, ...]:
        """What names the classes, in words; nothing where it is the network's own outputs."""
        if self.fitted is None:
            return ()
        return (
            f"lesion: a linear readout names {len(self.fitted.names)} classes; it was fitted on "
            f"{len(self.fitted.images)} images ({self.fitted.images.source}), and is tested on "
            f"{len(self.own.images)} others",
        )

    @property
    def kernels(self) -> int:
        """How many there are."""
        shape = self.network.map_shape(self.layer)
        return math.prod(shape) if self.units else shape[0]

    @functools.cached_property
    def lesioning(self) -> Lesioning:
        """The network as lesions of the layer run it."""
        program = self.network.program(self.hardware.device, torch.float32)
        assert isinstance(program, Program), "a network without a graph is not lesioned"
        value = self.readout.value if self.readout else None
        pooled = self.replacement != "mean"
        return Lesioning(program, self.network.place(self.layer), value, pooled, self.units)

    @functools.cached_property
    def shared(self) -> dict[str, Tensor] | None:
        """What lesions share, of all images; None: too large to keep."""
        shapes = self.lesioning.program.graph.shapes
        values = sum(math.prod(shapes[name]) for name in self.lesioning.shared)
        size = 4 * len(self.own.images) * values
        if size > KEPT_BYTES:
            if self.replacement == "resample":
                raise InputError(
                    f"lesion.replacement=resample keeps the maps of all images of {self.layer}: "
                    f"{size / 1e9:.1f} GB of at most {KEPT_BYTES / 1e9:.1f}; take fewer images "
                    "(lesion.images_per_class), a deeper layer, or lesion.replacement=mean"
                )
            return None
        kept = self.memo(read_shared, self)
        return {name: move(torch.from_numpy(each), self.hardware.device, torch.float32)
                for name, each in kept.items()}  # fmt: skip

    @functools.cached_property
    def donors(self) -> Tensor | None:
        """What maps of kernels are replaced by, (images, kernels, rows, columns); None: 0."""
        if self.replacement == "zero":
            return None
        if self.replacement == "resample":
            assert self.shared is not None
            order = np.random.default_rng(self.seed).permutation(len(self.own.images))
            other = np.empty_like(order)
            other[order] = np.roll(order, 1)  # never an image's own
            return self.lesioning.view(self.shared)[torch.from_numpy(other)]
        images = len(self.own.images)
        sums: Any = sum(self.lesioning.view(part).double().sum(0) for part in self._split())
        return torch.as_tensor(sums / images).float().expand(images, *self.lesioning.shape)

    def batches(
        self, together: int | None = None
    ) -> Iterator[tuple[slice, dict[str, Tensor], Tensor | None]]:
        """So many images after others: which, what lesions share, and what replaces maps.

        None: as many as are well lesioned together. In inference mode.
        """
        donors, done = self.donors, 0
        for shared in self._split(together):
            shown = slice(done, done := done + len(shared[self.lesioning.maps]))
            yield shown, shared, None if donors is None else donors[shown]

    def _split(self, together: int | None = None) -> Iterator[dict[str, Tensor]]:
        room = GROUP_VALUES[self.hardware.device.type] // math.prod(self.lesioning.shape)
        together = max(1, together or room)
        for shared in self.read() if self.shared is None else [self.shared]:
            for first in range(0, len(shared[self.lesioning.maps]), together):
                yield {name: each[first : first + together] for name, each in shared.items()}

    def judge(self, values: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy (nats) and correctness of what the network gives for images (images, …)."""
        logits = self.readout.decide(values) if self.readout else values
        losses = functional.cross_entropy(logits.double(), answers, reduction="none")
        return losses, logits.argmax(dim=1) == answers

    def read(self) -> Iterator[dict[str, Tensor]]:
        """The same from a forward pass."""
        shapes = self.lesioning.program.shapes(self.lesioning.shared)
        batch_size = self.hardware.batch(max(map(math.prod, shapes)))
        for batch in self.own.images.batches(self.network.preprocessing, batch_size):
            yield self.lesioning.prepare(to_device(batch, self.hardware))


def read_shared(site: LesionSite) -> dict[str, NDArray[np.float32]]:
    """What lesions of the layer share, of all images, from one forward pass."""
    images = len(site.own.images)
    with torch.inference_mode(), progress_bar(f"{site.layer} maps", images) as progress:

        def keep(shared: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
            progress(len(shared[site.lesioning.maps]))
            return {name: values.cpu().numpy() for name, values in shared.items()}

        return collect(map(keep, site.read()), images)


def lesion_kernels(
    site: LesionSite, dropped: Sequence[int] = (), kernels: Sequence[int] | None = None
) -> LesionEffects:
    """Lesion the layer's kernels one at a time: those of `kernels` in their order; None: all.

    Kernels in `dropped` are lesioned throughout. The "intact" performance is then that with these
    alone lesioned, and so is a dropped kernel's own.
    """
    kernels = range(site.kernels) if kernels is None else kernels
    losses, right = _judge(site, [dropped], kernels)
    (found,) = _average(site, losses, right)
    each = None if dropped or not len(kernels) else losses[0, 1:].astype(np.float32)
    return LesionEffects(Performance(*found[:, 1:]), Performance(*found[:, 0]), each)


class Remaining(NamedTuple):
    """What remains of both tasks, and of each class, when a set of kernels is lesioned."""

    whole: Performance
    # (classes,) of those that there are images of, by their outputs
    loss: NDArray[np.float64]  # mean cross-entropy, nats
    top1: NDArray[np.float64]  # accuracy, 0 … 1


def lesion_sets(sets: Mapping[str, Sequence[int]], site: LesionSite) -> dict[str, Remaining]:
    """What remains without each set of kernels, lesioned together."""
    return _tell(sets, site, *_judge(site, list(sets.values()), ()))


def lesion_together(
    sets: Mapping[str, Sequence[tuple[str, int]]], sites: Mapping[str, LesionSite]
) -> dict[str, Remaining]:
    """What remains without each set of kernels (layer, number) of several layers, by full passes.

    `sites` are the layers', alike but for that. What replaces maps is the intact network's.
    InputError for two layers of which lesions are the same.
    """
    if len({each.lesioning.maps for each in sites.values()}) < len(sites):
        told = ", ".join(sites)
        raise InputError(f"lesion.together=[{told}]: lesions of two of them are the same")
    site, *_ = sites.values()
    program, result, images = site.lesioning.program, site.lesioning.result, site.own.images
    losses = np.empty((len(sets), 1, len(images)))
    right, done = np.empty(losses.shape, dtype=bool), 0
    batch_size = site.hardware.batch(max(map(math.prod, program.shapes([result]))))
    with torch.inference_mode(), progress_bar("lesioning layers together", right.size) as progress:
        for batch in images.batches(site.network.preprocessing, batch_size):
            shown = slice(done, done := done + len(batch))
            pixels = to_device(batch, site.hardware)
            answers = torch.from_numpy(site.own.outputs[shown]).to(pixels.device)
            for place, kernels in enumerate(sets.values()):
                change = {}
                for layer, each in sites.items():
                    numbers = [number for name, number in kernels if name == layer]
                    donors = None if each.donors is None else each.donors[shown]
                    own = each.lesioning
                    change[own.maps] = partial(own.replace, kernels=numbers, donors=donors)
                loss, hit = site.judge(program.get({PIXELS: pixels}, result, change), answers)
                losses[place, 0, shown], right[place, 0, shown] = loss.cpu(), hit.cpu()
                progress(len(batch))
    return _tell(sets, site, losses, right)


def _tell(
    sets: Iterable[str], site: LesionSite, losses: NDArray[np.float64], right: NDArray[np.bool_]
) -> dict[str, Remaining]:
    """What remains by losses and correctness (sets, 1, images)."""
    wholes = _average(site, losses, right)
    _, place, images = np.unique(site.own.outputs, return_inverse=True, return_counts=True)
    return {
        name: Remaining(
            Performance(*whole[:, 0]),
            *(np.bincount(place, each[0]) / images for each in (loss, hit)),
        )
        for name, whole, loss, hit in zip(sets, wholes, losses, right, strict=True)
    }


def recover_sets(sets: Mapping[str, Sequence[int]], site: LesionSite) -> dict[str, Performance]:
    """What a readout that is fitted again recovers of both tasks without each set of kernels."""
    assert site.readout is not None and site.fitted is not None
    training = replace(site, own=site.fitted)
    found = {}
    for name, kernels in sets.items():
        again = site.readout.refit(read_features(training, kernels), site.fitted.outputs)
        (left,) = lesion_sets({name: kernels}, replace(site, readout=again)).values()
        found[name] = left.whole
    return found


def read_features(site: LesionSite, kernels: Sequence[int]) -> NDArray[np.float32]:
    """The features (images, features) that a readout takes, without a set of kernels."""
    assert site.readout is not None
    readout, lesioning = site.readout, site.lesioning

    def read() -> Iterator[dict[str, NDArray[np.float32]]]:
        for _, shared, donors in site.batches():
            left = lesioning.drop(shared, kernels, donors)
            given = lesioning.resume(left, len(left[lesioning.maps]))
            values = lesioning.program.get(given, lesioning.result)
            yield {"features": readout.pool(values).cpu().numpy()}

    with torch.inference_mode():
        return collect(read(), len(site.own.images))["features"]


def _judge(
    site: LesionSite, sets: Sequence[Sequence[int]], kernels: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Losses and correctness, (sets, 1 + kernels, images): see `judge_each`.

    Each set of kernels is dropped throughout.
    """
    losses = np.empty((len(sets), 1 + len(kernels), len(site.own.images)))
    right = np.empty(losses.shape, dtype=bool)
    with torch.inference_mode(), progress_bar(f"lesioning {site.layer}", right.size) as progress:
        for shown, shared, donors in site.batches():
            for place, dropped in enumerate(sets):
                left = site.lesioning.drop(shared, dropped, donors)
                losses[place, :, shown], right[place, :, shown] = judge_each(
                    site, left, donors, kernels, site.own.outputs[shown], progress
                )
    return losses, right


def _average(
    site: LesionSite, losses: NDArray[np.float64], right: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The fields of `Performance` over the images of each task, (sets, fields, 1 + kernels)."""
    faces = site.own.outputs < site.own.face_classes
    with np.errstate(invalid="ignore"):  # a task without images has no performance: NaN
        measures = [
            values[..., task].sum(axis=-1) / task.sum()
            for task in (faces, ~faces)
            for values in (losses, right)
        ]
    return np.stack(measures, axis=1)


def judge_each(
    site: LesionSite,
    shared: dict[str, Tensor],
    donors: Tensor | None,
    kernels: Sequence[int],
    answers: NDArray[np.int64],
    progress: Progress,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Run the network on from what lesions share of some images.

    `answers` (images,) is the right output of each; progress is told how many more lesions x images
    are done. Returns cross-entropy (nats) and correctness, both (1 + kernels, images): with the
    maps as they are, then without each of the `kernels`.
    """
    lesioning = site.lesioning
    maps, sums = lesioning.view(shared), lesioning.sum(shared)
    right_output = torch.from_numpy(answers).to(maps.device)
    number = torch.tensor([-1, *kernels], device=maps.device)
    # A kernel whose map is replaced by its like is not missed: only other pairs are run.
    responds = lesioning.find_active(shared, kernels, donors)
    changed = torch.cat([responds.new_ones(1, len(maps)), responds])
    losses = torch.zeros_like(changed, dtype=torch.float64)
    right = torch.zeros_like(changed)
    progress(int((~changed).sum()))
    # Lesions x images. Few alone are slow: an operation costs something however little it does.
    together = max(4, GROUP_VALUES[maps.device.type] // lesioning.largest)
    waiting = [*torch.split(changed.nonzero(), together)][::-1]
    while waiting:
        rows, shown = (pairs := waiting.pop()).T
        try:
            values = lesioning.run(shared, sums, shown, number[rows], donors)
        except torch.OutOfMemoryError:  # of a GPU that others use, too
            if len(pairs) == 1:
                raise
            waiting += [*pairs.tensor_split(2)][::-1]
            continue
        loss, hit = site.judge(values, right_output[shown])
        losses[rows, shown], right[rows, shown] = loss, hit
        progress(len(pairs))
    return (
        torch.where(changed, losses, losses[0]).cpu().numpy(),
        torch.where(changed, right, right[0]).cpu().numpy(),
    )
