"""Forward passes through the full-size network: responses by unit, by kernel, and lesions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from app.choices import LAYERS
from app.findings.lesion import LesionSite, lesion_kernels
from app.machine import count_threads
from app.memo import Memo
from app.metrics.layer_scoring import score_units
from app.models.network import Network
from app.models.vgg import WIDTHS_VGG16, DualTaskVGG, layer_position, seeded
from app.responses.hardware import Hardware
from app.responses.kernels import AGGREGATE, Reader, read_kernels
from app.stimuli.classes import OwnClasses
from app.stimuli.images import Images, Preprocessing
from tests.benchmarks.material import composed, questions, random_images, scored, simulated
from tests.benchmarks.measure import Apart, best, in_turn
from tests.benchmarks.report import Goal, Growth, Row, Way
from tests.benchmarks.scoring import SORTED, one_sort
from tests.benchmarks.sizes import Sizes

PREPARE = Preprocessing(256, 224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
BARE_BATCH = {"cpu": 2, "cuda": 32}  # what suits two cores, and a GPU, best
PLAIN_BATCH = 32
FACES = 1714  # outputs
GROWTH_IMAGES = 16


def prepare(device: str) -> Hardware:
    """All cores, and float32 that is float32 on a GPU, for every way alike."""
    hardware = Hardware(torch.device(device), threads=count_threads())
    hardware.prepare()
    return hardware


def wait(device: str) -> None:
    """Until a GPU has done what it was asked for."""
    if device == "cuda":
        torch.cuda.synchronize()


# ------------------------------------------------------------------- four metrics at conv2


def conv2(sizes: Sizes) -> Iterator[Row]:
    """All four metrics over the units of conv2, in the memory that the program allows itself."""
    images, few = sizes.conv2_images, min(sizes.bare_images, sizes.conv2_images)
    units = math.prod((64, 224, 224))
    with (
        Apart(score_conv2, images) as ours,
        Apart(pass_alone, layer_position("conv2") + 1, "cpu") as bare,
        Apart(one_sort, SORTED, 0.6, images) as sort,
    ):
        limit = {"bare": partial(bare, few), "sort": sort}
        before = in_turn(1, **limit)
        found = ours()
        after = in_turn(1, **limit)
    forward, sorting = (min(before[way].seconds, after[way].seconds) for way in limit)
    bare_way = Way("forward pass and one sort", forward * images / few + sorting * units / SORTED)
    yield Row(
        f"four metrics, conv2: {units:,} units × {images:,}",
        found.seconds,
        found.peak,
        bare=bare_way,
        goals=(
            Goal("≤ 1.5× bare limit", found.seconds <= 1.5 * bare_way.seconds),
            Goal("≤ 4 GB", found.peak <= 4e9),
        ),
        note=(
            f"the plain way would hold {units * images * 4 / 1e9:.1f} GB of responses; "
            f"forward pass to conv2 timed on {few:,} images, sort on {SORTED:,} units by "
            "one core, and scaled"
        ),
    )


def score_conv2(images: int) -> Callable[[], None]:
    """This software: blocks of units as the memory budget allows, scored one after another."""
    config = composed("model=dualtask_vgg16_untrained", "layer=conv2", "aggregation=unit")
    network = Network(config.model)
    hardware = Hardware.choose(config)
    network.load()
    shown, asked = random_images(images), questions(images)
    scored(simulated(8, images, 0.6), asked)  # compiled code is read from disk

    def run() -> None:
        score_units(asked, Reader(network, "conv2", hardware, Memo("unused")), shown)

    return run


def pass_alone(depth: int, device: str) -> Callable[[int], None]:
    """The bare limit: so many modules of the features on so many images, nothing read."""
    prepare(device)
    features = seeded(0, hidden=1, outputs=1).features  # the classifier is not run
    modules = list(features.to(device, memory_format=torch.channels_last))[:depth]
    together = BARE_BATCH[device]
    shown = next(random_images(together).batches(PREPARE, together))
    batch = torch.from_numpy(shown).to(device, memory_format=torch.channels_last)

    @torch.inference_mode()
    def run(images: int) -> None:
        for _ in range(0, images, together):
            maps = batch
            for module in modules:
                maps = maps.relu_() if isinstance(module, nn.ReLU) else module(maps)
        wait(device)

    return run


# -------------------------------------------------------------- kernels of all layers


def forward(sizes: Sizes) -> Iterator[Row]:
    """The kernels of all layers in all aggregations."""
    images = sizes.forward_images
    with (
        Apart(kernels, images, sizes.device) as ours,
        Apart(hooked, images, sizes.device) as plain,
        Apart(pass_alone, len(seeded_features()), sizes.device) as bare,
    ):
        found = in_turn(sizes.slow_rounds, ours=ours, plain=plain, bare=partial(bare, images))
    for layer, expected in found["plain"].result.items():
        close = {"rtol": 1e-4, "atol": 1e-5 * expected.max()}
        np.testing.assert_allclose(found["ours"].result[layer], expected, **close)
    seconds = {way: run.seconds / images for way, run in found.items()}
    yield Row(
        "forward pass, full VGG-16, kernels of 13 layers",
        seconds["ours"],
        found["ours"].peak,
        Way("hooks that keep all maps", seconds["plain"], found["plain"].peak),
        Way("forward pass", seconds["bare"]),
        (Goal("≤ 1.2×", seconds["ours"] <= 1.2 * seconds["bare"]),),
        each="an image",
        note=f"{images} images; the hooks' memory grows with the images",
    )


def seeded_features() -> list[nn.Module]:
    """The modules of the features, without their weights."""
    with torch.device("meta"):
        return list(DualTaskVGG().features)


def kernels(count: int, device: str) -> Callable[[], dict[str, NDArray[Any]]]:
    """This software; returns the mean L2 norm of each layer's kernels."""
    network = Network(composed("model=dualtask_vgg16_untrained").model)
    hardware = prepare(device)
    network.load()
    shown = random_images(count)

    def run() -> dict[str, NDArray[Any]]:
        found = read_kernels({layer: layer for layer in LAYERS}, network, shown, hardware)
        return {layer: found[layer]["l2"].mean(axis=0) for layer in LAYERS}

    return run


def hooked(count: int, device: str) -> Callable[[], dict[str, NDArray[Any]]]:
    """The plain way: hooks keep the maps of all images, then kernels are aggregated."""
    prepare(device)
    network, shown = seeded(0).to(device), random_images(count)
    kept: dict[str, list[Tensor]] = {layer: [] for layer in LAYERS}
    for layer in LAYERS:
        network.features[layer_position(layer)].register_forward_hook(
            lambda _module, _inputs, output, layer=layer: kept[layer].append(output)
        )

    @torch.inference_mode()
    def run() -> dict[str, NDArray[Any]]:
        for parts in kept.values():
            parts.clear()
        for batch in shown.batches(PREPARE, PLAIN_BATCH):
            network.features(torch.from_numpy(np.ascontiguousarray(batch)).to(device))
        found = {
            layer: {
                name: torch.cat([aggregate(part) for part in parts]).cpu().numpy()
                for name, aggregate in AGGREGATE.items()
            }
            for layer, parts in kept.items()
        }
        return {layer: by_name["l2"].mean(axis=0) for layer, by_name in found.items()}

    return run


# --------------------------------------------------------------------------- lesions


def lesion(sizes: Sizes) -> Iterator[Row]:
    """All kernels of four layers, lesioned one at a time."""
    with (
        Apart(lesioner, sizes.device) as ours,
        Apart(full_passes, sizes.device) as plain,
        Apart(pass_alone, len(seeded_features()), sizes.device) as bare,
    ):
        for layer in ("conv13", "conv10", "conv7", "conv2"):
            if layer == "conv13":
                images, lesioned = sizes.lesion_images, sizes.lesion_kernels
            else:
                images, lesioned = sizes.lesion_images_elsewhere, sizes.lesion_kernels_elsewhere
            yield _lesion_row(ours, plain, bare, layer, images, lesioned, sizes)


def lesion_growth(sizes: Sizes) -> Iterator[Growth]:
    """More and more kernels of conv13, lesioned one at a time."""
    with Apart(lesioner, "cpu") as run:
        run("maps", "conv13", GROWTH_IMAGES)
        for count in sizes.growing_kernels:
            found = best(2, partial(run, "lesions", "conv13", GROWTH_IMAGES, count))
            yield Growth(
                f"lesions, kernels of conv13 × {GROWTH_IMAGES} images",
                count,
                found.seconds,
                {"a kernel": found.seconds / count},
                found.peak,
            )


def _lesion_row(
    ours: Apart, plain: Apart, bare: Apart, layer: str, images: int, lesioned: int, sizes: Sizes
) -> Row:
    every = WIDTHS_VGG16[LAYERS.index(layer)]
    handful = min(sizes.plain_kernels, lesioned)
    found = in_turn(
        sizes.slow_rounds,
        maps=partial(ours, "maps", layer, images),
        lesions=partial(ours, "lesions", layer, images, lesioned),
        plain=partial(plain, layer, images, handful),
        bare=partial(bare, images),
    )
    # One pass to the layer for all kernels; each lesion, and the intact network, goes on from it.
    whole = found["maps"].seconds + found["lesions"].seconds * (every + 1) / (lesioned + 1)
    seconds = whole / (every * images)
    full_pass = Way("a full pass each", found["plain"].seconds / (handful * images))
    losses = found["lesions"].result[:, :handful]
    difference = float(np.abs(losses - found["plain"].result).max())
    goals = [Goal(f"same loss within 1e-5 ({difference:.1e})", difference <= 1e-5)]
    if layer == "conv13":
        goals.insert(0, Goal("≥ 100×", full_pass.seconds >= 100 * seconds))
    return Row(
        f"lesions of {every} kernels of {layer}",
        seconds,
        max(found["maps"].peak, found["lesions"].peak),
        full_pass,
        Way("forward pass", found["bare"].seconds / images),
        goals,
        each="a kernel and image",
        note=(
            f"{images} images, {lesioned} kernels lesioned by this software and {handful} by full "
            f"passes; {found['maps'].result:.0%} of kernels and images respond"
        ),
    )


def lesion_material(images: int) -> tuple[Images, NDArray[np.int64]]:
    """Images with an answer each, faces and objects in turn."""
    answers = np.arange(images)
    return random_images(images), np.where(answers % 2, FACES + answers, answers)


def compute(step: Callable[..., Any], *arguments: Any) -> Any:
    """In the place of a memo."""
    return step(*arguments)


def lesioner(device: str) -> Callable[..., Any]:
    """This software, in its two parts: the layer's maps, and the lesions that go on from them."""
    config = composed("model=dualtask_vgg16_untrained")
    network, hardware = Network(config.model), prepare(device)
    sites: dict[str, LesionSite] = {}

    def maps(layer: str, images: int) -> float:
        """Returns the share of kernels and images that respond at all."""
        shown, answers = lesion_material(images)
        site = LesionSite(network, layer, OwnClasses(shown, answers, FACES), hardware, compute)
        assert site.shared is not None
        sites[layer] = site
        return float(site.lesioning.view(site.shared).any(dim=(2, 3)).float().mean())

    def lesions(layer: str, _: int, count: int) -> NDArray[np.float64]:
        """Returns the loss of both tasks, (2, kernels)."""
        effects = lesion_kernels(sites[layer], (), range(count))
        return np.array([effects.without.face_loss, effects.without.object_loss])

    return lambda part, *arguments: {"maps": maps, "lesions": lesions}[part](*arguments)


def full_passes(device: str) -> Callable[..., NDArray[np.float64]]:
    """The plain way: a hook sets a kernel to zero and the whole network runs."""
    prepare(device)
    network = seeded(0).to(device)

    @torch.inference_mode()
    def run(layer: str, images: int, count: int) -> NDArray[np.float64]:
        """Returns the loss of both tasks, (2, kernels)."""
        shown, answers = lesion_material(images)
        batch = torch.from_numpy(np.concatenate(list(shown.batches(PREPARE, PLAIN_BATCH))))
        batch, right = batch.contiguous().to(device), torch.from_numpy(answers).to(device)
        tasks = (right < FACES, right >= FACES)
        losses = np.empty((2, count))
        for kernel in range(count):
            silence = partial(_silence, kernel)
            handle = network.features[layer_position(layer)].register_forward_hook(silence)
            loss = functional.cross_entropy(network(batch).double(), right, reduction="none")
            handle.remove()
            losses[:, kernel] = [float(loss[members].mean()) for members in tasks]
        return losses

    return run


def _silence(kernel: int, _module: nn.Module, _inputs: Sequence[Tensor], output: Tensor) -> None:
    output[:, kernel] = 0
