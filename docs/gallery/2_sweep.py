"""
Read a sweep back into Python
=============================

What the command line found comes back by ``app.notebook.runs``: from a sweep's folder, or from
MLflow by the id of the sweep's run. This script runs a small sweep and reads it.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

from app.notebook import runs

# %%
# Four metrics, two layers of the network that ships with the program, few images: a sweep for an
# example, not for conclusions. It is the same as ``python -m app -m metric=… layer=… …``.

folder = tempfile.mkdtemp()
subprocess.run(
    [
        *(sys.executable, "-m", "app", "-m"),
        *("metric=fsi,dprime,wilcoxon,ttest", "layer=conv7,conv13", "figures=false"),
        *("stimuli.images_per_category=24", "decoding=none", "certainty=none"),
        *("lesion.layers=[conv13]", "lesion.sets=[]", "lesion.images_per_identity=1"),
    ],
    cwd=folder,
    check=True,
    capture_output=True,
)
(sweep,) = Path(folder).glob("outputs/sweeps/*/*")
swept = runs(sweep)  # or runs("<id of the sweep's run>", folder="mlruns")

# %%
# A table, a row a job: the config's dotted names and the names of findings, numbers as numbers.

columns = ["layer", "metric", "selectivity/percent", "consistency/mean", "lesion/spearman"]
print(swept.jobs[columns].round(2).to_string(index=False, na_rep="–"))

# %%
# Runs are filtered and grouped by these values:

for layer, part in swept.group("layer").items():
    print(layer, part.jobs["selectivity/count"].astype(int).tolist())
(run,) = swept.filter(layer="conv13", metric="dprime")
print(run)

# %%
# The scores of all runs are one long table, a row a unit (here a kernel):

print(swept.scores.groupby(["layer", "metric"], observed=True)[["score", "selected"]].mean())

# %%
# What the sweep's report says in words; its tables are in ``swept.report.tables``.

print(*swept.report.summary, sep="\n")

# %%
# And a run's figures, drawn again into axes of your own:

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10, 3.4), layout="constrained")
run.plot_scores(ax=left).legend(fontsize=6)
run.plot_pair("fsi", ax=middle)
run.plot_lesions(ax=right)
plt.show()
