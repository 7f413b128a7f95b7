"""Lesioning against full passes with a hook that sets the kernels to zero."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from app.findings import lesion
from app.findings.greedy import rank
from app.findings.lesion import kept_maps, lesion_each
from app.models.vgg import LAYERS, layer_position, seeded
from app.stimuli.images import Preprocessing, drawn

PREPARE = Preprocessing(resize=32, size=32, mean=(0.5, 0.5, 0.5), sd=(0.5, 0.5, 0.5))
WIDTHS = (4, 4, 6, 6, 8, 8, 8, 10, 10, 10, 12, 12, 12)
FACES, OUTPUTS, IMAGES = 4, 9, 14
CPU = torch.device("cpu")


def network_of(layer: str):
    """Two of the layer's kernels are silent: kernel 2 in every image, kernel 0 in about half."""
    network = seeded(2, WIDTHS, 16, OUTPUTS, 32)
    convolution = network.features[layer_position(layer) - 1]
    with torch.no_grad():
        before = network.features[: layer_position(layer)](pixels())
        convolution.bias[0] = -before[:, 0].amax(dim=(1, 2)).median()
        convolution.bias[2] = -before[:, 2].max() - 1
    return network


def images():
    rng = np.random.default_rng(0)
    return drawn(rng.integers(0, 256, (IMAGES, 32, 32), dtype=np.uint8), ["x"] * IMAGES, "drawn")


def pixels() -> torch.Tensor:
    return torch.from_numpy(np.stack([PREPARE(images().open(i)) for i in range(IMAGES)]))


OUTPUT = np.random.default_rng(1).integers(0, OUTPUTS, IMAGES)


def effects_of(network, layer: str, *, batch_size: int | None = 5, progress=lambda _: None, **more):
    return lesion_each(
        network, layer, images(), OUTPUT, FACES, PREPARE,
        batch_size=batch_size, device=CPU, progress=progress, **more,
    )  # fmt: skip


def full_pass(network, layer: str, silenced) -> dict[str, tuple[float, float]]:
    """(loss, top-1) of each task from one pass of the whole network."""

    def silence(_module, _inputs, output):
        output = output.clone()
        output[:, list(silenced)] = 0
        return output

    handle = network.features[layer_position(layer)].register_forward_hook(silence)
    with torch.no_grad():
        logits = network(pixels()).double()
    handle.remove()
    answers = torch.from_numpy(OUTPUT)
    right = (logits.argmax(1) == answers).double()
    return {
        task: (
            float(functional.cross_entropy(logits[members], answers[members])),
            float(right[members].mean()),
        )
        for task, members in (("face", OUTPUT < FACES), ("object", OUTPUT >= FACES))
    }


def assert_same(first, second, **tolerance) -> None:
    for name in ("face", "object", "intact_face", "intact_object"):
        for one, other in zip(getattr(first, name), getattr(second, name), strict=True):
            np.testing.assert_allclose(one, other, **tolerance)


@pytest.mark.parametrize("layer", ["conv1", "conv2", "conv7", "conv10", "conv12", "conv13"])
@pytest.mark.parametrize("dropped", [(), (3, 1)])
def test_effects_equal_full_passes(layer: str, dropped: tuple[int, ...]):
    network = network_of(layer)
    told: list[int] = []
    effects = effects_of(network, layer, progress=told.append, dropped=dropped)
    kernels = WIDTHS[LAYERS.index(layer)]
    assert sum(told) == IMAGES * (kernels + 1)
    intact = full_pass(network, layer, dropped)
    for kernel in range(kernels):
        expected = full_pass(network, layer, {kernel, *dropped})
        for task in ("face", "object"):
            found = getattr(effects, task)
            assert found.loss[kernel] == pytest.approx(expected[task][0], abs=1e-5)
            assert found.top1[kernel] == pytest.approx(expected[task][1], abs=1e-9)
            whole = getattr(effects, f"intact_{task}")
            assert whole.loss == pytest.approx(intact[task][0], abs=1e-5)
            assert whole.top1 == pytest.approx(intact[task][1], abs=1e-9)
            if kernel in {2, *dropped}:  # silent, or gone already
                assert found.loss[kernel] == whole.loss
    assert np.ptp(effects.face.loss) > 0, "some kernel matters"


@pytest.mark.parametrize("layer", ["conv2", "conv12", "conv13"])
def test_sizes_of_groups_and_batches_do_not_matter(layer: str, monkeypatch):
    network = network_of(layer)
    usual = effects_of(network, layer)
    assert_same(effects_of(network, layer, batch_size=None), usual, rtol=0, atol=1e-6)
    for values in (1, 2000):
        monkeypatch.setattr(lesion, "GROUP_VALUES", {"cpu": values})
        monkeypatch.setattr(lesion, "MAPS_VALUES", values)
        assert_same(effects_of(network, layer, batch_size=3), usual, rtol=0, atol=1e-6)


@pytest.mark.parametrize("layer", ["conv7", "conv12", "conv13"])
def test_kept_maps_give_identical_effects(layer: str):
    network = network_of(layer)
    settings = dict(batch_size=5, device=CPU)
    told: list[int] = []
    maps = kept_maps(network, layer, images(), PREPARE, progress=told.append, **settings)
    assert maps is not None and sum(told) == IMAGES
    for dropped in ((), (1,), ()):  # what is dropped leaves the kept maps as they are
        computed = effects_of(network, layer, dropped=dropped)
        assert_same(effects_of(network, layer, dropped=dropped, maps=maps), computed, rtol=0)
    size = sum(part.numel() * 4 for part in maps)
    for most, kept in ((size, True), (size - 1, False)):
        again = kept_maps(
            network, layer, images(), PREPARE, progress=told.append, most_bytes=most, **settings
        )
        assert (again is not None) == kept


def test_only_the_kernels_asked_for():
    network = network_of("conv13")
    effects = effects_of(network, "conv13")
    some = effects_of(network, "conv13", kernels=[5, 3])
    np.testing.assert_allclose(some.face.loss, effects.face.loss[[5, 3]], rtol=1e-6)
    none = effects_of(network, "conv13", kernels=[])
    assert none.face.loss.shape == (0,)
    assert none.intact_object.loss == pytest.approx(effects.intact_object.loss, abs=1e-9)


@pytest.mark.parametrize("group_size", [1, 3])
@pytest.mark.parametrize("task", ["face", "object"])
def test_greedy_equals_a_plain_loop_of_full_passes(task: str, group_size: int):
    layer, drop = "conv13", 7
    network = network_of(layer)
    kernels = WIDTHS[LAYERS.index(layer)]
    dropped: list[int] = []
    while len(dropped) < drop:
        left = [kernel for kernel in range(kernels) if kernel not in dropped]
        losses = [full_pass(network, layer, {*dropped, kernel})[task][0] for kernel in left]
        worst_first = [left[i] for i in np.argsort(-np.array(losses), kind="stable")]
        group = worst_first[: min(group_size, drop - len(dropped))]
        dropped += group
    expected = dropped + [kernel for kernel in worst_first if kernel not in group]

    def loss_without(gone):
        return getattr(effects_of(network, layer, dropped=gone), task).loss

    assert rank(kernels, drop, group_size, loss_without).tolist() == expected
