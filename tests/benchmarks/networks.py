"""`python -m tests.benchmarks.networks [name ...]`: lesions inside 21 networks, as a table.

Each is drawn from a seed, exported, and held against full passes of its own torch module, in which
a forward hook sets the kernel to zero. What is timed is the CPU time of the process, all in turn,
which other programs trouble least; with OMP_WAIT_POLICY=passive threads that wait take none.
"""

from __future__ import annotations

import argparse
import copy
import functools
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional

from app.config.schema import Model
from app.errors import InputError
from app.findings.lesion import LesionSite, judge_each, lesion_kernels, read_shared
from app.models.attribution import attribute
from app.models.export import export
from app.models.graph import PIXELS, Graph
from app.models.loading import make_preprocessing
from app.models.network import Network
from app.models.places import Place, Places
from app.responses.hardware import Hardware
from app.stimuli.classes import OwnClasses
from tests.benchmarks.material import random_images
from tests.benchmarks.network import compute
from tests.benchmarks.report import NONE, duration

# Layers from early to late.
NETWORKS = {
    "torchvision": {
        "alexnet": ("features.0", "features.6", "features.10"),
        "vgg11": ("features.3", "features.8", "features.18"),
        "resnet50": ("layer1.2", "layer3.5", "layer4.0", "layer4.2"),
        "densenet121": tuple(f"features.denseblock{block}.denselayer{layer}"
                             for block, layer in ((1, 3), (3, 12))) + ("features.denseblock4",),
        "inception_v3": ("Mixed_5b", "Mixed_6c", "Mixed_7c"),
        "googlenet": ("inception3a", "inception4c", "inception5b"),
        "efficientnet_b0": ("features.2", "features.4", "features.7"),
        "mobilenet_v3_small": ("features.1", "features.6", "features.11"),
        "convnext_tiny": ("features.1.1", "features.5.4", "features.7.1"),
        "regnet_y_400mf": ("trunk_output.block1", "trunk_output.block3", "trunk_output.block4"),
        "swin_t": ("features.1.0", "features.5.3", "features.7.0"),
        "maxvit_t": ("blocks.0", "blocks.2", "blocks.3.layers.0"),
        "vit_b_32": tuple(f"encoder.layers.encoder_layer_{layer}" for layer in (1, 6, 10)),
    },
    "timm": {
        "vit_tiny_patch16_224": ("blocks.1", "blocks.6", "blocks.10"),
        "resnet26d": ("layer1.0", "layer3.0", "layer4.1"),
        "tf_efficientnet_lite0": ("blocks.1.1", "blocks.3.2", "blocks.5.3"),
        "mixer_s16_224": ("blocks.1", "blocks.4", "blocks.6"),
        "convnextv2_atto": ("stages.0.blocks.1", "stages.2.blocks.3", "stages.3.blocks.1"),
        "cait_xxs24_224": ("blocks.2", "blocks.12", "blocks.22"),
        "xcit_nano_12_p16_224": ("blocks.1", "blocks.6", "blocks.10"),
        "beit_base_patch16_224": ("blocks.1", "blocks.6", "blocks.10"),
    },
}  # fmt: skip
BATCHES = (1, 4)  # of full passes: the fastest counts
IMAGES = 4  # that are lesioned; and, where few are enough:
FEW = 2
LAYERS = 6  # that are held against full passes, spread over all
SECONDS = 0.5  # that lesions of one layer may take
ROUNDS = 2  # the best counts
SAMPLE = 32  # kernels, of all that were lesioned, held against full passes


@dataclass(frozen=True)
class Speed:
    """Seconds a kernel and image at a layer, all kernels lesioned."""

    layer: str
    kernels: int
    ours: float
    full: float

    def __str__(self) -> str:
        ratio = self.full / self.ours
        told = f"{ratio:.0f}" if ratio >= 10 else f"{ratio:.2g}"
        return f"{self.layer} {told}× ({duration(self.full)})"


@dataclass(frozen=True)
class Found:
    """What is told of a network."""

    name: str
    export: float  # seconds
    readable: int  # layers, of so many modules that are called
    called: int
    outputs: float  # the largest difference, of the largest output
    checked: int  # layers
    effect: float  # of a lesion on an image's loss, of that: the largest
    difference: float  # of these from full passes: the largest
    own: float  # of full passes in float32 from one in float64
    batch: int  # images of the fastest full passes
    speeds: Sequence[Speed]
    agreement: Sequence[float] = ()  # of attribution with exact lesions, Spearman, of these layers
    failed: Sequence[str] = ()  # layers that cannot be lesioned

    def __str__(self) -> str:
        cells = (
            self.name, duration(self.export), f"{self.readable} of {self.called}",
            f"{self.outputs:.0e}", f"{self.difference:.0e} ({self.effect:.0e})", f"{self.own:.0e}",
            "; ".join(map(str, self.speeds)),
            ", ".join(f"{each:.2f}" for each in self.agreement) or NONE,
        )  # fmt: skip
        return f"| {' | '.join(cells)} |"


HEAD = ("network", "export", "layers", "outputs", "lesions (their effect)", "float32 itself",
        "speed (of a full pass)", "attribution")  # fmt: skip


class Case:
    """One of the networks, with what full passes of it need."""

    def __init__(self, source: str, name: str, threads: int) -> None:
        self.hardware = Hardware(torch.device("cpu"), threads=threads)
        self.hardware.prepare()
        loaded = Network(Model(name=name, source=source, weights=None)).load()
        self.name, self.settings, self.loaded = name, loaded.settings, loaded
        self.module = loaded.network
        self.size = self.settings.input_size
        assert self.size is not None
        answers = np.arange(IMAGES) * 7
        self.own = OwnClasses(random_images(IMAGES, self.size), answers, 20)
        (pixels,) = self.own.images.batches(make_preprocessing(self.settings), IMAGES)
        self.pixels = torch.from_numpy(np.ascontiguousarray(pixels))
        self.answers = torch.from_numpy(answers)
        self.intact = torch.empty(0)  # losses
        enliven(self.module, self.pixels)
        start = time.process_time()
        self.graph: Graph = export(self.module, self.size, name)
        self.seconds = time.process_time() - start
        if self.graph.failure:
            raise InputError(f"{name} has no graph: {self.graph.failure}")

    def network(self, output: str) -> Network:
        """The same network as a run has it."""
        network = Network(self.settings, output, loaded=lambda: self.loaded)
        network.graph = self.graph
        return network

    def site(self, layer: str) -> LesionSite:
        """A layer as a run lesions it."""
        _, _, _, outputs = next(row for row in self.listed if row[0] == layer)
        network = self.network(outputs[0])
        return LesionSite(network, layer, self.own, self.hardware, compute)

    @functools.cached_property
    def listed(self) -> list[tuple[str, str, str, list[str]]]:
        """The layers that can be read."""
        rows = Places(self.graph, self.name).list_all()
        return [row for row in rows if row[3] and row[2] != "1"]

    @contextmanager
    def silenced(self, place: Place, kernel: int) -> Iterator[None]:
        """Hook the layer, or the activation after it, to give zero for a kernel."""
        value = place.value
        calls = [call for call in self.graph.calls if call.value == value]
        if not calls:  # the activation is a function: what it is given as zero, it leaves zero
            value = self.graph.named[value].takes[0]
            calls = [call for call in self.graph.calls if call.value == value]
        own = [call for call in calls if call.name == place.layer]
        asked = own[-1] if own else calls[0]
        number = 0

        def silence(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor | None:
            nonlocal number
            number += 1
            if number - 1 != asked.number:
                return None
            output = output.clone()
            place.view(output)[:, kernel] = 0
            return output

        def start(*_: object) -> None:
            nonlocal number
            number = 0

        hooks = [self.module.register_forward_pre_hook(start),
                 self.module.get_submodule(asked.name).register_forward_hook(silence)]  # fmt: skip
        yield
        for hook in hooks:
            hook.remove()

    def losses(self, logits: Tensor) -> Tensor:
        """Cross-entropy of each image, nats."""
        answers = self.answers[: len(logits)]
        return functional.cross_entropy(logits.double(), answers, reduction="none")


@torch.no_grad()
def enliven(network: nn.Module, pixels: Tensor) -> None:
    """Draw weights by which images, and lesions, matter: of libraries' own they often hardly do.

    Heads and scales of layers that begin at about zero get a size, and batch normalisation the
    statistics of the images.
    """
    generator = torch.Generator().manual_seed(0)
    for name, weights in network.named_parameters():
        if weights.ndim > 1:
            size = (2 / weights[0].numel()) ** 0.5
            weights.normal_(0, size, generator=generator)
        elif not name.endswith("bias") and weights.abs().max() < 0.1:
            weights.uniform_(0.5, 1, generator=generator)
    norms = [
        each for each in network.modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)
    ]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    network(pixels)
    network.eval()


@torch.inference_mode()
def measure(case: Case, layers: int, kernels: int) -> Found:
    """All that is told of a network, attribution's agreement of so many kernels."""
    program = case.network("map").program(torch.device("cpu"), torch.float32)
    intact = case.module(case.pixels)
    case.intact = case.losses(intact)
    ours = program.get({PIXELS: case.pixels}, case.graph.result)
    outputs = float((ours - intact).abs().max() / intact.abs().max())
    exact = copy.deepcopy(case.module).double()(case.pixels[:FEW].double())
    own = float((case.intact[:FEW] / case.losses(exact) - 1).abs().max())
    names = [row[0] for row in case.listed]
    spread = np.unique(np.linspace(0, len(names) - 1, layers).astype(int))
    effect, difference, failed = 0.0, 0.0, []
    timed = NETWORKS[case.settings.source][case.name]
    for layer in dict.fromkeys([*[names[each] for each in spread], *timed]):
        try:
            found = compare(case, layer)
        except Exception:
            traceback.print_exc()
            failed.append(layer)
            continue
        _tell(f"  {case.name} {layer}: differs {found[1]:.1e}, effect {found[0]:.1e}")
        effect, difference = max(effect, found[0]), max(difference, found[1])
    batch = min(BATCHES, key=functools.partial(time_passes, case))
    speeds = [time_layer(case, layer, batch) for layer in timed]
    agreement = [agree(case, layer, kernels) for layer in timed if kernels]
    called = len({call.name for call in case.graph.calls if call.name})
    return Found(case.name, case.seconds, len(names), called, outputs, len(spread), effect,
                 difference, own, batch, speeds, agreement, failed)  # fmt: skip


def compare(case: Case, layer: str) -> tuple[float, float]:
    """What a lesion of the strongest kernel does to losses, and how far that differs.

    Both are the largest of the images, as a share of the loss.
    """
    site = case.site(layer)
    pixels, answers = case.pixels[:FEW], case.answers[:FEW].numpy()
    shared = site.lesioning.prepare(pixels)
    kernel = int(site.lesioning.view(shared).abs().amax(dim=(0, 2, 3)).argmax())
    found, _ = judge_each(site, shared, None, [kernel], answers, lambda _: None)
    with case.silenced(site.network.place(layer), kernel):
        full = case.losses(case.module(pixels))
    effect, difference = full - case.intact[:FEW], full - torch.from_numpy(found[1])
    return float((effect / full).abs().max()), float((difference / full).abs().max())


def time_passes(case: Case, batch: int) -> float:
    """Seconds an image of full passes."""
    return min(_time(lambda: case.module(case.pixels[:batch])) for _ in range(2)) / batch


def time_layer(case: Case, layer: str, batch: int) -> Speed:
    """Lesions of a layer, and full passes, in turn."""
    site = case.site(layer)
    place, every, pixels = site.network.place(layer), site.kernels, case.pixels[:batch]
    assert site.shared is not None  # kept, as in a run
    count = min(2, every)  # more, where they are fast: all share what is computed first
    while _time(lambda: _lesion(site, range(count))) < SECONDS and count < every:  # noqa: B023
        count = min(4 * count, every)
    kernels = np.linspace(0, every - 1, count).astype(int).tolist()
    read, ours, full = [], [], []
    for _ in range(ROUNDS):
        read.append(_time(lambda: read_shared(site)))
        ours.append(_time(lambda: _lesion(site, kernels)))
        with case.silenced(place, 0):
            full.append(_time(lambda: case.module(pixels)))
    whole = min(read) + min(ours) * (every + 1) / (count + 1)
    speed = Speed(layer, every, whole / (every * IMAGES), min(full) / batch)
    repeated, operations = len(site.lesioning.cut.repeated), len(case.graph.operations)
    _tell(f"  {case.name} {speed}, {count} of {every} kernels; a kernel and image "
          f"{duration(speed.ours)}, of which shared {duration(min(read) / (every * IMAGES))}; "
          f"{repeated} of {operations} operations repeated, batches of {batch}")  # fmt: skip
    return speed


def lesion_every(case: Case, layer: str) -> str:
    """All kernels of a layer lesioned, and a sample of them held against full passes."""
    site, start = case.site(layer), time.process_time()
    losses = lesion_kernels(site).losses
    seconds = time.process_time() - start
    assert losses is not None
    effect, difference = [], []
    with torch.inference_mode():
        case.intact = case.losses(case.module(case.pixels))
        for kernel in np.linspace(0, site.kernels - 1, SAMPLE).astype(int).tolist():
            with case.silenced(site.network.place(layer), kernel):
                full = case.losses(case.module(case.pixels))
            found = torch.from_numpy(losses[kernel])
            effect.append(float(((full - case.intact) / full).abs().max()))
            difference.append(float(((full - found) / full).abs().max()))
    return (
        f"{case.name} {layer}: {site.kernels:,} kernels, {IMAGES} images, {duration(seconds)}; "
        f"losses of {SAMPLE} differ from full passes by {max(difference):.0e} of the loss at most; "
        f"largest effect {max(effect):.0e}"
    )


def agree(case: Case, layer: str, count: int) -> float:
    """Spearman of attribution's estimates and exact lesions, of some kernels of a layer."""
    site = case.site(layer)
    place = site.network.place(layer)
    with torch.inference_mode(False):  # the weights' layout is made here, for slopes, too
        program = site.lesioning.program
    pixels, answers = case.pixels[:FEW], case.answers[:FEW].numpy()
    kernels = np.linspace(0, site.kernels - 1, min(count, site.kernels)).astype(int).tolist()
    shared = site.lesioning.prepare(pixels)
    losses, _ = judge_each(site, shared, None, kernels, answers, lambda _: None)
    found = attribute(program, [place], {PIXELS: pixels}, (case.graph.result, case.losses))
    estimates = found.changes[layer].sum((2, 3)).mean(0)[kernels]
    return float(spearmanr(estimates, losses[1:].mean(axis=1)).statistic)


def _lesion(site: LesionSite, kernels: Sequence[int]) -> None:
    """As a run does it, all images' shared values at hand."""
    for shown, shared, donors in site.batches():
        judge_each(site, shared, donors, kernels, site.own.outputs[shown], lambda _: None)


def _time(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Print a row for each network; 1 where one failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.networks")
    known = {name: source for source, names in NETWORKS.items() for name in names}
    parser.add_argument("names", nargs="*", help=f"some of {', '.join(known)}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--layers", type=int, default=LAYERS, help="to hold against full passes")
    parser.add_argument("--every", metavar="LAYER", help="lesion all its kernels, no table")
    parser.add_argument("--kernels", type=int, default=0, help="to hold attribution against")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - known.keys():
        parser.error(f"{', '.join(sorted(unknown))}: none of {', '.join(known)}")
    if arguments.every:
        for name in arguments.names:
            print(lesion_every(Case(known[name], name, arguments.threads), arguments.every))
        return 0
    failed = False
    print(f"| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}")
    for name in arguments.names or known:
        try:
            found = measure(
                Case(known[name], name, arguments.threads), arguments.layers, arguments.kernels
            )
        except Exception:
            traceback.print_exc()
            failed = True
            continue
        print(found, flush=True)
        for layer in found.failed:
            print(f"{name}: {layer} cannot be lesioned", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
