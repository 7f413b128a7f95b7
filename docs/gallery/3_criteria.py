"""
What a criterion lets through
=============================

Metrics are compared at criteria that were chosen one by one: an index above 0.3, p < 0.001, a
false discovery rate of 5 %. How many units of no preference pass them? In a simulation that can be
counted.
"""

import matplotlib.pyplot as plt
import numpy as np

from app.notebook import ask

# %%
# Two layers of 2,000 units each, a tenth of which prefer faces by 0.8 standard deviations. Units of
# the second layer are sparse: most of their responses are cut off at zero.

random = np.random.default_rng(0)
categories = np.repeat(["face", "body", "house", "car"], 48)
prefers = np.arange(2000) < 200


def simulate(mean):
    """Return rectified responses (images, units) around a mean, in standard deviations."""
    values = random.normal(mean, 1, size=(len(categories), len(prefers)))
    values[np.ix_(categories == "face", prefers)] += 0.8
    return np.maximum(values, 0)


layers = {"dense": simulate(1.0), "sparse": simulate(-1.5)}

# %%
# The share of units that pass at the paper's criteria, of those that prefer faces (hits) and of
# those that do not (false alarms):

metrics = {"fsi": "FSI", "dprime": "d′", "wilcoxon": "rank-sum z", "ttest": "t"}
answers = {
    (layer, metric): ask(metric, responses, categories, "face")
    for layer, responses in layers.items()
    for metric in metrics
}
for (layer, metric), answer in answers.items():
    hits, alarms = answer.selected[prefers].mean(), answer.selected[~prefers].mean()
    print(f"{layer:6} {metrics[metric]:10} hits {hits:6.1%}   false alarms {alarms:6.2%}")

# %%
# FSI > 0.3 finds one in six of the dense units that prefer faces. Of the sparse ones it finds
# nearly all, and with these 357 of the 1,800 that do not: an index divides by the mean response,
# and where units are nearly silent noise alone passes. The other three err the other way.
#
# Over all criteria, hits against false alarms are a curve; a criterion is a point on it. The curves
# say what the scores are worth, the points where the criteria happen to lie.

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharey=True)
colours = ["#0072B2", "#E69F00", "#009E73", "#D55E00"]
for ax, layer in zip(axes, layers, strict=True):
    for (metric, label), colour in zip(metrics.items(), colours, strict=True):
        answer = answers[layer, metric]
        score = np.nan_to_num(answer.score, nan=-np.inf)
        order = np.argsort(-score, kind="stable")
        ax.plot(
            np.cumsum(~prefers[order]) / np.sum(~prefers),
            np.cumsum(prefers[order]) / np.sum(prefers),
            color=colour,
            label=label,
        )
        chosen = answer.selected
        ax.plot(chosen[~prefers].mean(), chosen[prefers].mean(), "o", color=colour, clip_on=False)
    ax.set(title=f"{layer} responses", xlabel="false alarms", xlim=(0, 1))
    ax.set_xscale("symlog", linthresh=0.01)
    ax.set_xticks([0, 0.01, 0.1, 1], ["0", "0.01", "0.1", "1"])
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("hits")
axes[1].legend(frameon=False, title="• the paper's criterion")
plt.show()
