"""Lesioning against full passes with a hook that sets the kernels to zero."""

from functools import partial

import numpy as np
import pytest
import torch

from app.choices import LAYERS, TASKS
from app.findings import lesion
from app.findings.lesion import LesionEffects, lesion_kernels, lesion_sets
from app.findings.lesioned import search_greedily
from app.models.lesioning import Lesioning
from tests.findings.sites import FACES, IMAGES, OUTPUT, WIDTHS, make_site, run_full_pass


def assert_same(first: LesionEffects, second: LesionEffects) -> None:
    for one, other in zip(first[:2], second[:2], strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)
    assert (first.losses is None) == (second.losses is None)
    if first.losses is not None:  # of single images, in float32
        np.testing.assert_allclose(first.losses, second.losses, rtol=1e-5, atol=1e-5)


@pytest.fixture
def told(monkeypatch) -> list[int]:
    """What progress was told."""
    steps: list[int] = []

    class Bar:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return steps.append

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(lesion, "progress_bar", Bar)
    return steps


@pytest.mark.parametrize("layer", ["conv1", "conv2", "conv7", "conv10", "conv12", "conv13"])
@pytest.mark.parametrize("dropped", [(), (3, 1)])
def test_effects_equal_full_passes(layer: str, dropped: tuple[int, ...], told: list[int]):
    site = make_site(layer)
    assert site.shared is not None
    told.clear()
    effects = lesion_kernels(site, dropped)
    kernels = WIDTHS[LAYERS.index(layer)]
    assert sum(told) == IMAGES * (kernels + 1)
    intact = run_full_pass(layer, dropped)
    for kernel in range(kernels):
        expected = run_full_pass(layer, [kernel, *dropped])
        for task in TASKS:
            loss, top1 = (each[kernel] for each in effects.without.of(task).values())
            whole_loss, whole_top1 = effects.intact.of(task).values()
            assert loss == pytest.approx(expected[task][0], abs=1e-5)
            assert top1 == pytest.approx(expected[task][1], abs=1e-9)
            assert whole_loss == pytest.approx(intact[task][0], abs=1e-5)
            assert whole_top1 == pytest.approx(intact[task][1], abs=1e-9)
            if kernel in {2, *dropped}:  # silent, or gone already
                assert loss == whole_loss
    assert np.ptp(effects.without.face_loss) > 0, "some kernel matters"


@pytest.mark.parametrize("layer", ["conv2", "conv12", "conv13"])
def test_sizes_of_groups_and_batches_do_not_matter(layer: str, monkeypatch):
    usual = lesion_kernels(make_site(layer))
    assert_same(lesion_kernels(make_site(layer, None)), usual)
    for values in (1, 2000):
        monkeypatch.setattr(lesion, "GROUP_VALUES", {"cpu": values})
        assert_same(lesion_kernels(make_site(layer, 3)), usual)


@pytest.mark.parametrize("layer", ["conv7", "conv12", "conv13"])
def test_maps_that_are_stored_or_computed_again_leave_the_same(layer: str, monkeypatch):
    site = make_site(layer)
    size = 4 * IMAGES * np.prod(site.lesioning.shape)
    asked = []

    def remember(step, of):
        asked.append(of.layer)
        return step(of)

    usual = {dropped: lesion_kernels(site, dropped) for dropped in ((), (1,))}
    for kept in (size, size - 1):
        monkeypatch.setattr(lesion, "KEPT_BYTES", kept)
        site = make_site(layer, memo=remember)
        for dropped in ((), (1,), ()):  # what is dropped leaves the kept maps as they are
            found = lesion_kernels(site, dropped)
            assert_same(found, usual[dropped])
        assert (site.shared is not None) == (kept == size)
        assert asked == ([layer] if kept == size else []), "once, where they are small"
        asked.clear()


def test_batches_that_memory_does_not_hold_are_halved(monkeypatch):
    usual = lesion_kernels(make_site("conv12"))
    run, sizes = Lesioning.run, []

    def run_out(own, shared, sums, shown, *asked):
        if len(shown) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(len(shown))
        return run(own, shared, sums, shown, *asked)

    monkeypatch.setattr(Lesioning, "run", run_out)
    assert_same(lesion_kernels(make_site("conv12")), usual)
    assert max(sizes) <= 3


def test_only_the_kernels_asked_for():
    site = make_site("conv13")
    effects, some = lesion_kernels(site), lesion_kernels(site, (), [5, 3])
    np.testing.assert_allclose(some.without.face_loss, effects.without.face_loss[[5, 3]], rtol=1e-6)
    none = lesion_kernels(site, (), [])
    assert none.without.face_loss.shape == (0,)
    assert none.intact.object_loss == pytest.approx(effects.intact.object_loss, abs=1e-9)


@pytest.mark.parametrize("kept", [True, False])
def test_sets_equal_full_passes_and_share_the_maps(kept: bool, monkeypatch):
    if not kept:
        monkeypatch.setattr(lesion, "KEPT_BYTES", 0)
    shown = []
    prepare = Lesioning.prepare
    monkeypatch.setattr(
        Lesioning, "prepare", lambda own, pixels: shown.append(len(pixels)) or prepare(own, pixels)
    )
    sets = {"none": (), "one": (5,), "some": (1, 3, 4), "all": range(12)}
    found = lesion_sets(sets, make_site("conv13"))
    assert list(found) == list(sets) and sum(shown) == IMAGES, "each image once"
    for name, kernels in sets.items():
        for task, expected in run_full_pass("conv13", kernels).items():
            assert tuple(found[name].whole.of(task).values()) == pytest.approx(expected, abs=1e-5)


def test_a_task_without_images_is_not_a_number():
    of_faces = OUTPUT % FACES
    site = make_site("conv13", outputs=of_faces)
    assert site.own.tasks == ("face",)
    effects = lesion_kernels(site, (), [1])
    assert np.isfinite(effects.intact.face_loss) and np.isfinite(effects.without.face_top1).all()
    assert np.isnan(effects.intact.object_loss) and np.isnan(effects.without.object_top1).all()


@pytest.mark.slow
@pytest.mark.parametrize("group_size", [1, 3])
@pytest.mark.parametrize("task", TASKS)
def test_greedy_equals_a_plain_loop_of_full_passes(task: str, group_size: int):
    layer, drop = "conv13", 7
    kernels = WIDTHS[LAYERS.index(layer)]
    dropped: list[int] = []
    while len(dropped) < drop:
        left = [kernel for kernel in range(kernels) if kernel not in dropped]
        losses = [run_full_pass(layer, [*dropped, kernel])[task][0] for kernel in left]
        worst_first = [left[i] for i in np.argsort(-np.array(losses), kind="stable")]
        group = worst_first[: min(group_size, drop - len(dropped))]
        dropped += group
    expected = dropped + [kernel for kernel in worst_first if kernel not in group]
    site = make_site(layer)

    search = search_greedily(
        partial(lesion_kernels, site), task, kernels, drop / kernels, group_size
    )
    assert search.order.tolist() == expected
