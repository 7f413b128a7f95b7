"""Estimates of lesions: against plain gradients, and how far exact lesions of a sample agree."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional

from app.choices import LAYERS, TASKS
from app.config.schema import Layer, Lesion, Model
from app.findings import attribution
from app.findings.attribution import choose_sample, estimate_effects
from app.findings.lesion import lesion_kernels
from app.findings.lesion_certainty import measure_remains
from app.findings.lesion_task import why_not_lesioned
from app.findings.lesioned import lesion
from app.metrics.draws import draw_resamples
from app.models.vgg import layer_position
from tests.findings.sites import (
    FACES,
    IMAGES,
    OUTPUT,
    WIDTHS,
    Remembered,
    make_network,
    make_site,
    pixels,
)

SETTINGS = Lesion(name="attribution", sets=[], checked=6)


def estimate_plainly(layer: str) -> np.ndarray:
    """-maps times the loss's gradient by them, (images, channels, rows, columns), by a hook."""
    network, kept = make_network(layer), []

    def keep(_, __, output):
        kept.append(output.detach().requires_grad_())
        return kept[-1]

    network.features[layer_position(layer)].register_forward_hook(keep)
    answers = torch.from_numpy(OUTPUT)
    functional.cross_entropy(network(pixels()).double(), answers, reduction="sum").backward()
    return (-kept[0] * kept[0].grad).detach().numpy()


def make_units(layer: str, **more):
    return replace(make_site(layer, **more), units=True)


@pytest.mark.parametrize("room", [1, 2**21])
@pytest.mark.parametrize("layer", ["conv3", "conv10", "conv13"])
def test_estimates_equal_plain_gradients(layer: str, room: int, monkeypatch):
    monkeypatch.setattr(attribution, "GROUP_VALUES", {"cpu": room})
    expected = estimate_plainly(layer)
    kernels, units = estimate_effects(make_site(layer), 1), estimate_effects(make_units(layer), 1)
    intact = lesion_kernels(make_site(layer), (), ()).intact
    assert kernels.losses.shape == (WIDTHS[LAYERS.index(layer)], IMAGES) and units.losses is None
    for task, own in (("face", OUTPUT < FACES), ("object", OUTPUT >= FACES)):
        name, whole = f"{task}_loss", getattr(intact, f"{task}_loss")
        assert getattr(kernels.intact, name) == pytest.approx(whole, abs=1e-5)
        for found, changes in (
            (kernels, expected.sum(axis=(2, 3))),
            (units, expected.reshape(IMAGES, -1)),
        ):
            remains = whole + changes[own].mean(axis=0)
            np.testing.assert_allclose(getattr(found.without, name), remains, rtol=0, atol=1e-5)
            assert np.isnan(getattr(found.without, f"{task}_top1")).all()
        of_images = kernels.losses[:, own].mean(axis=1)
        np.testing.assert_allclose(of_images, getattr(kernels.without, name), atol=1e-5)


@pytest.mark.parametrize("replacement", ["mean", "resample"])
def test_estimates_lead_to_what_replaces_maps(replacement: str):
    """Half way for each kernel by itself, where as many points as kernels are asked for."""
    site = replace(make_site("conv12"), replacement=replacement)
    single = estimate_effects(site, 1)
    exact = lesion_kernels(site)
    change = single.without.face_loss - single.intact.face_loss
    for points in (1, site.kernels):
        found = estimate_effects(site, points)
        r = stats.spearmanr(found.without.face_loss, exact.without.face_loss).statistic
        assert r > 0.8
    assert np.abs(change).max() > 0


def test_single_units_are_lesioned_at_their_positions():
    layer = "conv10"
    site, network = make_units(layer), make_network(layer)
    shape = site.network.map_shape(layer)
    assert site.kernels == np.prod(shape)
    units = [0, 5, shape[1] * shape[2] * 3 + 1, site.kernels - 1]
    found = lesion_kernels(site, (7,), units)
    unit = -1

    def silence(_, __, output):
        output = output.clone()
        for each in {unit, 7} - {-1}:
            output[(slice(None), *np.unravel_index(each, shape))] = 0
        return output

    network.features[layer_position(layer)].register_forward_hook(silence)
    expected = []
    for unit in [-1, *units]:  # noqa: B007  which the hook reads
        with torch.no_grad():
            faces = torch.from_numpy(OUTPUT) < FACES
            logits = network(pixels())[faces]
        expected.append(float(functional.cross_entropy(logits, torch.from_numpy(OUTPUT)[faces])))
    losses = [found.intact.face_loss, *found.without.face_loss]
    np.testing.assert_allclose(losses, expected, atol=1e-5)


@pytest.mark.parametrize("units", [False, True])
@pytest.mark.parametrize("points", [None, 2])
def test_a_sample_is_lesioned_exactly_and_its_agreement_told(units: bool, points: int | None):
    memo = Remembered()
    site = replace(make_site("conv12", memo=memo), units=units)
    score = np.random.default_rng(0).random(site.kernels)
    settings = replace(SETTINGS, points=points, sets=[50])
    found = lesion(site, score, score > 0.5, settings, 3)
    checked = found.checked
    assert len(checked.sample) == 6 and (found.effects.losses is None) == units
    assert memo.steps("lesion_kernels") == [((), tuple(checked.sample.tolist()))]
    assert list(checked.agreement) == ([points] if points else [1] if units else [1, 16])
    exact = lesion_kernels(site, (), checked.sample.tolist())
    tried = {n: estimate_effects(site, n) for n in checked.agreement}
    agreement = {
        n: [stats.spearmanr(getattr(each.without, f"{task}_loss")[checked.sample],
                            getattr(exact.without, f"{task}_loss")).statistic for task in TASKS]
        for n, each in tried.items()
    }  # fmt: skip
    best = max(agreement, key=lambda n: np.mean(agreement[n]))
    metrics, table = found.metrics(score), found.table()
    assert metrics["lesion/attribution_points"] == checked.points == best
    logged = [metrics[f"lesion/attribution_spearman{end}"] for end in ("", "_object")]
    assert logged == pytest.approx(agreement[best])
    expected = stats.spearmanr(score, -tried[best].without.face_loss).statistic
    assert metrics["lesion/spearman"] == pytest.approx(expected)
    assert metrics["lesion/intact_face_top1"] == exact.intact.face_top1
    assert len(table) == site.kernels and ("unit" if units else "kernel") in table
    rows = table["exact_face_loss"].notna()
    assert np.flatnonzero(rows).tolist() == checked.sample.tolist()
    np.testing.assert_allclose(table.loc[rows, "exact_face_loss"], exact.without.face_loss)
    *left_out, note = found.notes
    assert len(left_out) == units and all("lesioned in no sets" in each for each in left_out)
    assert f"exact lesions of 6 {'units' if units else 'kernels'}" in note
    assert f"{agreement[best][0]:.2f} (faces), {agreement[best][1]:.2f} (objects)" in note
    gain = "16 points instead of 1 change that by [+-]0.* for 16 times the passes"
    assert bool(re.search(gain, note)) == (points is None and not units)
    assert bool(found.sets) != units, "sets of single units are not lesioned"


def test_intervals_rest_on_estimates_of_single_images():
    site = make_site("conv13", memo=Remembered())
    found = lesion(site, np.arange(12.0), np.arange(12) > 8, SETTINGS, 0)
    own = OUTPUT < FACES
    remains = measure_remains(found, own, draw_resamples(3, ["x"] * IMAGES, 0, 1))
    assert remains.shape == (3, 12) and np.isfinite(remains).all()


def test_the_sample_is_spread_over_the_ranking():
    values = np.random.default_rng(0).random(1000)
    sample = choose_sample(values, 10, 1)
    assert (np.diff(sample) > 0).all()
    ranks = np.sort(stats.rankdata(values)[sample]) - 1
    assert (ranks // 100).tolist() == list(range(10))
    assert not np.array_equal(sample, choose_sample(values, 10, 2))
    assert choose_sample(values[:4], 10, 1).tolist() == [0, 1, 2, 3]


def test_single_units_are_asked():
    model = Model(name="small", source="vgg", face_classes=4, classes="synthetic")
    layer = Layer(name="conv13")
    asked = model, layer, "unit", ("outputs",)
    assert why_not_lesioned(SETTINGS, *asked) is None
    assert "single units" in why_not_lesioned(replace(SETTINGS, name="single"), *asked)
