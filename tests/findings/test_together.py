"""Kernels of several layers lesioned at once, against hooks on full passes of the network."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from app import experiment
from app.config.schema import Lesion
from app.errors import InputError
from app.experiment import Job
from app.findings.lesion import lesion_together
from app.findings.lesioned import join_selections, lesion
from app.models.vgg import layer_position
from tests.composing import check_config
from tests.conftest import SMALL
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

MASKS = {"conv4": np.arange(WIDTHS[3]) % 3 == 1, "conv13": np.arange(WIDTHS[12]) > 8}
SETTINGS = Lesion(name="single", sets=[50], random_draws=2)


def run_full_pass(chosen: dict[str, list[int]], replacement: str) -> dict[str, tuple[float, float]]:
    """(loss, top-1) of each task; maps are replaced by those that the intact network has."""
    network, kept = make_network("conv12"), {}
    order = np.random.default_rng(0).permutation(IMAGES)
    other = np.empty_like(order)
    other[order] = np.roll(order, 1)

    def keep(layer):
        return lambda _module, _inputs, maps: kept.update({layer: maps.clone()})

    def silence(layer):
        def hook(_module, _inputs, maps):
            maps, donors = maps.clone(), {
                "zero": torch.zeros_like(maps),
                "mean": kept[layer].mean(0).expand_as(maps),
                "resample": kept[layer][torch.from_numpy(other)],
            }[replacement]  # fmt: skip
            maps[:, chosen[layer]] = donors[:, chosen[layer]]
            return maps

        return hook

    with torch.no_grad():
        for make in (keep, silence):
            handles = [network.features[layer_position(layer)].register_forward_hook(make(layer))
                       for layer in chosen]  # fmt: skip
            logits = network(pixels()).double()
            for handle in handles:
                handle.remove()
    answers = torch.from_numpy(OUTPUT)
    right = (logits.argmax(1) == answers).double()
    return {
        task: (float(functional.cross_entropy(logits[own], answers[own])), float(right[own].mean()))
        for task, own in (("face", OUTPUT < FACES), ("object", OUTPUT >= FACES))
    }


@pytest.mark.parametrize("replacement", ["zero", "mean", "resample"])
def test_what_remains_is_what_full_passes_give(replacement: str):
    site = replace(make_site("conv12", memo=Remembered()), replacement=replacement)
    score = np.random.default_rng(0).random(site.kernels)
    found = lesion(site, score, score > 0.5, SETTINGS, 3, MASKS)
    alone = lesion(replace(site, memo=Remembered()), score, score > 0.5, SETTINGS, 3)
    table, metrics, damage = found.set_table(), found.metrics(score), found.damage.table()
    joint = [each for each in found.sets if "together" in each.kind]
    assert [each.kind for each in joint] == ["together", "random_together", "random_together"]
    for row, each in enumerate(joint, start=len(alone.sets)):
        chosen = {layer: [n for name, n in each.kernels if name == layer] for layer in MASKS}
        sizes = {layer: len(kernels) for layer, kernels in chosen.items()}
        assert sizes == {layer: mask.sum() for layer, mask in MASKS.items()}, "layer by layer"
        for task, expected in run_full_pass(chosen, replacement).items():
            left = tuple(values[row] for values in found.without.of(task).values())
            assert left == pytest.approx(expected, abs=1e-5)
            if each.kind == "together":
                assert metrics[f"lesion/together_{task}_top1"] == pytest.approx(expected[1])
                own = damage[damage["task"] == task]
                mean = np.average(own["together_loss"], weights=own["images"])
                assert mean == pytest.approx(expected[0], abs=1e-5)
    assert table["percent"].tolist()[-3:] == [100 * 5 / (WIDTHS[3] + WIDTHS[12])] * 3
    random = table.loc[table["set"] == "random_together", "face_top1"].mean()
    assert metrics["lesion/together_random_face_top1"] == pytest.approx(random)
    pd.testing.assert_frame_equal(table[: len(alone.sets)], alone.set_table())
    assert found.curves() == alone.curves() and len(found.set_table()["face_loss"].unique()) > 4


def test_layers_may_be_lesioned_together_alone():
    site = make_site("conv12", memo=Remembered())
    score = np.random.default_rng(0).random(site.kernels)
    found = lesion(site, score, score > 0.5, replace(SETTINGS, sets=[]), 3, MASKS)
    assert set(found.set_table()["set"]) == {"together", "random_together"}
    assert found.damage is None and found.curves() == {}
    nothing = {layer: np.zeros_like(mask) for layer, mask in MASKS.items()}
    found = lesion(site, score, score > 0.5, SETTINGS, 3, nothing)
    assert found.metrics(score)["lesion/together_face_top1"] == found.effects.intact.face_top1


def test_random_kernels_are_of_each_layer_by_itself():
    masks = {"a": np.arange(40) < 10, "b": np.arange(40) < 10}
    own, first, second = join_selections(masks, 2, 0)
    assert own.kernels == tuple((layer, kernel) for layer in "ab" for kernel in range(10))
    (a, b), (c, _) = (
        [[n for name, n in each.kernels if name == layer] for layer in masks]
        for each in (first, second)
    )
    assert a == sorted(set(a)) and len(a) == len(b) == 10 and a != b and a != c
    more = join_selections({"a": np.arange(40) < 20, "b": masks["b"]}, 2, 0)[1].kernels
    assert set(first.kernels) < set(more), "the same ranking, whatever is selected"


def test_lesions_that_are_the_same_are_refused():
    site = make_site("conv13")
    with pytest.raises(InputError, match=r"lesion.together=\[a, b\]: lesions of two of them"):
        lesion_together({}, {"a": site, "b": site})


@pytest.mark.slow
def test_a_run_lesions_layers_together(tmp_path: Path):
    """Whatever its own layer; a wrong name is one line."""
    words = [*SMALL, "decoding=none", "certainty=none", f"cache={tmp_path}/cache", "tracking=none"]
    asked = "lesion.together=[conv10,conv13]"
    experiment.run(check_config("layer=conv11", asked, *words), tmp_path, Job(figures=False))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    sets = pd.read_parquet(tmp_path / "lesion_sets.parquet")
    table = sets.groupby("set").mean(numeric_only=True)
    for kind, name in (("together", "together"), ("random_together", "together_random")):
        expected = table.loc[kind, "face_top1"]
        assert metrics[f"lesion/{name}_face_top1"] == pytest.approx(expected)
    selected = 0
    for layer in ("conv10", "conv13"):
        config = check_config(f"layer={layer}", "lesion=none", *words)
        found = experiment.run(config, tmp_path / layer, Job(figures=False))
        selected += found.metrics["selectivity/count"]
    assert table.loc["together", "kernels"] == selected > 0
    with pytest.raises(InputError, match="lesion.together: layer.name=conv14 is no convolution"):
        experiment.run(check_config("layer=conv11", "lesion.together=[conv14]", *words), tmp_path)
