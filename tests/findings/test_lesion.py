"""Lesioning against full passes with a hook that sets the kernel to zero."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from app.findings.lesion import lesion_each
from app.models.vgg import LAYERS, layer_position, seeded
from app.stimuli.images import Preprocessing, drawn

PREPARE = Preprocessing(resize=32, size=32, mean=(0.5, 0.5, 0.5), sd=(0.5, 0.5, 0.5))
WIDTHS = (4, 4, 6, 6, 8, 8, 8, 10, 10, 10, 12, 12, 12)
FACES = 4


@pytest.mark.parametrize("layer", ["conv1", "conv2", "conv7", "conv13"])
def test_effects_equal_full_passes(layer: str):
    network = seeded(2, WIDTHS, 16, 9, 32).eval()
    rng = np.random.default_rng(0)
    images = drawn(rng.integers(0, 256, (14, 32, 32), dtype=np.uint8), ["x"] * 14, "drawn")
    outputs = rng.integers(0, 9, 14)
    told = []
    effects = lesion_each(
        network, layer, images, outputs, FACES, PREPARE,
        batch_size=5, device=torch.device("cpu"), progress=told.append,
    )  # fmt: skip
    kernels = WIDTHS[LAYERS.index(layer)]
    assert sum(told) == 14 * (kernels + 1)

    pixels = torch.from_numpy(np.stack([PREPARE(images.open(i)) for i in range(14)]))
    answers = torch.from_numpy(outputs)
    for kernel in [None, *range(kernels)]:

        def silence(_module, _inputs, output, kernel=kernel):
            output = output.clone()
            if kernel is not None:
                output[:, kernel] = 0
            return output

        handle = network.features[layer_position(layer)].register_forward_hook(silence)
        with torch.no_grad():
            logits = network(pixels)
        handle.remove()
        for task, members in (("face", outputs < FACES), ("object", outputs >= FACES)):
            loss = float(functional.cross_entropy(logits[members], answers[members]))
            top1 = float((logits[members].argmax(1) == answers[members]).double().mean())
            if kernel is None:
                found = getattr(effects, f"intact_{task}")
                assert float(found.loss) == pytest.approx(loss, abs=1e-5)
                assert float(found.top1) == pytest.approx(top1, abs=1e-9)
            else:
                found = getattr(effects, task)
                assert found.loss[kernel] == pytest.approx(loss, abs=1e-5)
                assert found.top1[kernel] == pytest.approx(top1, abs=1e-9)
    assert np.ptp(effects.face.loss) > 0, "some kernel matters"
