"""
Estimate all lesions at once
============================

One forward and one backward pass an image estimate the lesion of every kernel of every layer. How
far that can be trusted, exact lesions of a few kernels say: here of the network that ships with the
program, in a late and in a middle layer.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image
from scipy import stats
from torch.nn import functional

from app.notebook import open_network
from app.stimuli.synthetic import draw_own_classes

network, prepare = open_network("dualtask_mini")
pixels, labels = draw_own_classes(0, faces=(60, 1), objects=(0, 0))
shown = torch.from_numpy(np.stack([prepare(Image.fromarray(each)) for each in pixels]))
right = torch.arange(60)


def loss(outputs):
    """Cross-entropy of each image, nats."""
    return functional.cross_entropy(outputs, right[: len(outputs)], reduction="none")


# %%
# Estimates for both layers come from the same two passes; summed over the map, and averaged over
# images, they are a number a kernel.

layers = {"features.14": "conv7", "features.28": "conv13"}
estimates = {
    layer: changes.sum((2, 3)).mean(0).numpy()
    for layer, changes in network.attribute(shown, loss, list(layers)).items()
}

# %%
# Every third kernel is lesioned exactly.

figure, axes = plt.subplots(1, 2, figsize=(6, 2.8), layout="constrained")
intact = loss(network.lesion(shown, {})).mean()
for ax, (layer, name) in zip(axes, layers.items(), strict=True):
    kernels = np.arange(0, len(estimates[layer]), 3)
    exact = [float(loss(network.lesion(shown, {layer: [k]})).mean() - intact) for k in kernels]
    r = stats.spearmanr(estimates[layer][kernels], exact).statistic
    print(f"{name}: Spearman r of estimated and exact lesions {r:.2f}, {len(kernels)} kernels")
    ax.plot(estimates[layer][kernels], exact, "o", markersize=3, color="#CC79A7")
    ax.set(title=f"{name}, r = {r:.2f}", xlabel="estimated (nats)")
axes[0].set_ylabel("added loss, exact (nats)")
