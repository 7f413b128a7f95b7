"""
Read and lesion inside a network
================================

A network's kernels are read by the names of its modules, and lesioned in several layers at once.
Here it is the small dual-task network that ships with the program: its face kernels are lesioned in
the last three convolutions together, beside as many random kernels of the same layers.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image

from app.notebook import ask, open_network
from app.stimuli.synthetic import draw_localizer, draw_own_classes

network, prepare = open_network("dualtask_mini")


def show(pixels):
    """Images as the network wants them."""
    return torch.from_numpy(np.stack([prepare(Image.fromarray(each)) for each in pixels]))


# %%
# The localizer's images are read in three layers from one forward pass; a kernel's response is the
# norm of its map. d' picks the face kernels.

layers = ["features.24", "features.26", "features.28"]  # conv11, conv12, conv13
pixels, categories = draw_localizer(0, 40)
maps = network.read(show(pixels), layers)
domains = {"faces": ["adult", "child"], "bodies": ["body", "limb"], "places": ["house", "corridor"],
           "objects": ["car", "instrument"], "characters": ["word", "number"]}  # fmt: skip
faces = {}
for layer in layers:
    responses = maps[layer].flatten(2).norm(dim=2)
    answer = ask("dprime", responses, categories, "faces", domains=domains)
    faces[layer] = np.flatnonzero(answer.selected)
print({layer: len(kernels) for layer, kernels in faces.items()})

# %%
# Lesions are judged by what the network was trained for: 120 face identities and 60 categories of
# objects. Random kernels are matched layer by layer.

random = np.random.default_rng(0)
others = {
    layer: random.choice(128, len(kernels), replace=False) for layer, kernels in faces.items()
}
pixels, labels = draw_own_classes(0, faces=(120, 2), objects=(60, 4))
shown = show(pixels)
right = torch.tensor([list(dict.fromkeys(labels)).index(label) for label in labels])
tasks = {"faces": right < 120, "objects": right >= 120}
bars = {}
for name, kernels in {"no lesion": {}, "face kernels": faces, "random": others}.items():
    for replacement in ["zero", "resample"] if kernels else ["zero"]:
        outputs = network.lesion(shown, kernels, replacement)
        hits = outputs.argmax(1) == right
        bar = name if not kernels else f"{name},\n{replacement}"
        bars[bar] = {task: float(hits[own].float().mean()) for task, own in tasks.items()}
        print(f"{bar!r:26}", {task: round(value, 2) for task, value in bars[bar].items()})

# %%
# What is left of both tasks:

figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
for shift, task, colour in ((-0.2, "faces", "#CC79A7"), (0.2, "objects", "#0072B2")):
    heights = [100 * bar[task] for bar in bars.values()]
    ax.bar(np.arange(len(bars)) + shift, heights, 0.4, color=colour, label=task)
ax.set_xticks(range(len(bars)), bars, fontsize=8)
ax.set(ylabel="Top-1 accuracy (%)", ylim=(0, 125), yticks=range(0, 101, 20))
ax.legend(frameon=False, ncols=2)
