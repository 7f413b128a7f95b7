"""Readouts against scikit-learn's own pipeline, and lesions that a readout judges."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from app.config.schema import Lesion
from app.config.schema import Readout as Settings
from app.findings.lesion import lesion_kernels, read_features, recover_sets
from app.findings.lesioned import lesion
from app.findings.readout import Readout, fit_readout
from tests.findings.sites import FACES, IMAGES, Remembered, make_network, make_site, pixels

EMPTY = np.zeros((0, 0))


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_weights_are_those_of_a_pipeline(classes: int):
    rng = np.random.default_rng(classes)
    right = np.arange(40) % classes
    features = (rng.normal(size=(40, 6)) + right[:, None]).astype(np.float32)
    features[:, 4] = 2  # it says nothing
    readout = Readout("x", "vector", EMPTY, EMPTY).refit(features, right)
    own = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(features, right)
    found = readout.decide(torch.from_numpy(features)).softmax(1).numpy()
    np.testing.assert_allclose(found, own.predict_proba(features), atol=1e-4)


def test_few_images_of_each_of_many_classes_are_no_warning(recwarn: pytest.WarningsRecorder):
    features = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    Readout("x", "vector", EMPTY, EMPTY).refit(features, np.arange(40) % 25)
    assert not recwarn.list


def judged_by_readout():
    """A site whose classes a readout names; it is fitted on the same images."""
    site = make_site("conv13")
    own = replace(site.own, outputs=site.own.outputs % 5)
    readout = fit_readout(site.network, Settings(), own, site.hardware)
    return replace(site, own=own, readout=readout, fitted=own)


def test_features_are_what_the_head_takes():
    site = judged_by_readout()
    network = make_network("conv13")
    with torch.inference_mode():
        hidden = network.classifier[:6](torch.flatten(network.features(pixels()), 1))
    np.testing.assert_allclose(read_features(site, ()), hidden.numpy(), atol=1e-5)


def test_lesions_judged_by_a_readout_equal_full_passes():
    site = judged_by_readout()
    network = make_network("conv13")
    effects = lesion_kernels(site)
    right = torch.from_numpy(site.own.outputs)
    for kernel in (0, 4, 11):
        with torch.inference_mode():
            maps = network.features[:-1](pixels())
            maps[:, kernel] = 0
            hidden = network.classifier[:6](torch.flatten(network.features[-1](maps), 1))
            logits = site.readout.decide(hidden).double()
            loss = torch.nn.functional.cross_entropy(logits, right, reduction="none").numpy()
        faces = site.own.outputs < FACES
        assert effects.without.face_loss[kernel] == pytest.approx(loss[faces].mean(), abs=1e-5)
        assert effects.without.object_loss[kernel] == pytest.approx(loss[~faces].mean(), abs=1e-5)
    assert np.ptp(effects.without.face_loss) > 0


def test_a_readout_that_is_fitted_again_recovers():
    """Without kernels it never saw, it is the one that was fitted; of its own images it is best."""
    site = judged_by_readout()
    found = recover_sets({"none": (), "some": (1, 3, 4, 6, 8)}, site)
    intact = lesion_kernels(site, (), ()).intact
    assert found["none"].face_loss == pytest.approx(intact.face_loss, abs=1e-5)
    damaged = lesion_kernels(site, (1, 3, 4, 6, 8), ()).intact
    assert found["some"].face_loss + found["some"].object_loss < (
        damaged.face_loss + damaged.object_loss
    )


@pytest.mark.parametrize("replacement", ["mean", "resample"])
def test_maps_are_replaced(replacement: str):
    """By their mean over images, or by that of another image, before the pooling."""
    site = replace(make_site("conv13"), replacement=replacement, seed=3)
    network = make_network("conv13")
    with torch.inference_mode():
        maps = network.features[:-1](pixels())
        if replacement == "mean":
            others = maps.mean(0, keepdim=True).expand_as(maps)
        else:
            order = np.random.default_rng(3).permutation(IMAGES)
            other = np.empty_like(order)
            other[order] = np.roll(order, 1)
            assert (other != np.arange(IMAGES)).all()
            others = maps[torch.from_numpy(other)]
        for kernel in (0, 5):
            changed = maps.clone()
            changed[:, kernel] = others[:, kernel]
            logits = network.classifier(torch.flatten(network.features[-1](changed), 1)).double()
            right = torch.from_numpy(site.own.outputs)
            loss = torch.nn.functional.cross_entropy(logits, right, reduction="none").numpy()
            effects = lesion_kernels(site, (), [kernel])
            faces = site.own.outputs < FACES
            assert effects.without.face_loss[0] == pytest.approx(loss[faces].mean(), abs=1e-5)
            dropped = lesion_kernels(site, [kernel], ()).intact
            assert dropped.face_loss == pytest.approx(loss[faces].mean(), abs=1e-5)


@pytest.mark.parametrize("replacement", ["zero", "mean"])
def test_estimates_are_of_what_a_readout_names(replacement: str):
    """Against plain gradients through the readout; exact lesions of a sample are its, too."""
    site = replace(judged_by_readout(), memo=Remembered(), replacement=replacement)
    network, right = make_network("conv13"), torch.from_numpy(site.own.outputs)
    maps = network.features[:-1](pixels()).detach().requires_grad_()
    hidden = network.classifier[:6](torch.flatten(network.features[-1](maps), 1))
    logits = site.readout.decide(hidden).double()
    losses = torch.nn.functional.cross_entropy(logits, right, reduction="none")
    losses.sum().backward()
    step = (maps.mean(0) if replacement == "mean" else 0) - maps
    expected = (losses[:, None] + (step * maps.grad).sum((2, 3))).detach().numpy()
    faces = site.own.outputs < FACES
    score = np.random.default_rng(0).random(site.kernels)
    settings = Lesion(name="attribution", sets=[], checked=5, points=1)
    found = lesion(site, score, score > 0.5, settings, 0)
    left = found.effects.without
    np.testing.assert_allclose(left.face_loss, expected[faces].mean(0), atol=1e-5)
    np.testing.assert_allclose(left.object_loss, expected[~faces].mean(0), atol=1e-5)
    exact = lesion_kernels(site, (), found.checked.sample.tolist())
    np.testing.assert_allclose(found.checked.exact.face_loss, exact.without.face_loss, atol=1e-6)
    assert found.effects.intact.face_loss == pytest.approx(losses[faces].mean().item(), abs=1e-5)
    assert np.ptp(left.face_loss) > 0 and any("a linear readout" in note for note in found.notes)
