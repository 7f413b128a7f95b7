"""
Ask an array, and ask scipy
===========================

Responses of any network, as an array, are all that a metric needs. Here they are simulated, so that
we know which units prefer faces, and the answers are set beside scipy's.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from app.notebook import ask

# %%
# 1,000 units see 48 images of each of four categories. The first hundred prefer faces, each more
# than the one before. Negative values are cut off, as a ReLU does.

random = np.random.default_rng(0)
categories = np.repeat(["face", "body", "house", "car"], 48)
responses = random.normal(0.5, 1, size=(192, 1000))
responses[categories == "face", :100] += np.linspace(0, 2, 100)
responses = np.maximum(responses, 0)

# %%
# One call a metric. The answer has a score for each unit, and which ones its criterion selects.

found = {
    metric: ask(metric, responses, categories, "face")
    for metric in ("fsi", "dprime", "wilcoxon", "ttest")
}
for metric, answer in found.items():
    right = answer.selected[:100].sum()
    print(f"{metric:9} selects {right:3} of the 100, and {answer.selected[100:].sum():2} others")

# %%
# The score of the rank-sum test is its smallest z against another category; the one of the t-test
# its smallest t. scipy, a pair of categories at a time:

faces = responses[categories == "face"]
others = [responses[categories == name] for name in ("body", "house", "car")]
t = np.min([stats.ttest_ind(faces, other).statistic for other in others], axis=0)
tests = [stats.mannwhitneyu(faces, other, method="asymptotic") for other in others]
sign = [np.sign(test.statistic - 48 * 48 / 2) for test in tests]
z = np.min(
    [s * stats.norm.isf(test.pvalue / 2) for s, test in zip(sign, tests, strict=True)], axis=0
)

np.testing.assert_allclose(found["ttest"].score, t, rtol=1e-9)
np.testing.assert_allclose(found["wilcoxon"].score, z, rtol=1e-9, atol=1e-9)

# %%
# Both agree to nine digits. What differs is what each metric makes of the same unit: the larger
# the preference that we built in, the higher every score, but criteria cut at different places.

labels = {"fsi": "FSI", "dprime": "d′", "wilcoxon": "rank-sum z", "ttest": "t"}
figure, axes = plt.subplots(1, 4, figsize=(11, 3), layout="constrained", sharex=True)
for ax, (metric, answer) in zip(axes, found.items(), strict=True):
    preference = np.linspace(0, 2, 100)
    chosen = answer.selected[:100]
    ax.scatter(
        preference[~chosen], answer.score[:100][~chosen], 9, color="0.65", label="not selected"
    )
    ax.scatter(preference[chosen], answer.score[:100][chosen], 9, color="#0072B2", label="selected")
    ax.set(title=labels[metric], xlabel="preference for faces (sd)")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("score")
axes[0].legend(frameon=False)
plt.show()
