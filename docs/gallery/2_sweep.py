"""
Read a sweep back into Python
=============================

What the command line logs can be read by any script: runs from MLflow, units from the runs'
``scores.parquet``. This one runs a small sweep and reads it.
"""

import subprocess
import sys
import tempfile

import matplotlib.pyplot as plt
import mlflow
import pandas as pd

# %%
# Four metrics, two layers of the network that ships with the program, few images: a sweep for an
# example, not for conclusions. It is the same as ``python -m app -m metric=… layer=… …``.

folder = tempfile.mkdtemp()
subprocess.run(
    [
        *(sys.executable, "-m", "app", "-m"),
        *("metric=fsi,dprime,wilcoxon,ttest", "layer=conv7,conv13", "figures=false"),
        *("stimuli.images_per_category=24", "decoding=none"),
        *("lesion.layers=[conv13]", "lesion.sets=[]", "lesion.images_per_identity=1"),
    ],
    cwd=folder,
    check=True,
    capture_output=True,
)

# %%
# Each job is a run, a child of the sweep's. A table of them, a row a job:

mlflow.set_tracking_uri(f"sqlite:///{folder}/mlruns/mlflow.db")
runs = mlflow.search_runs(experiment_names=["selectivity"])
jobs = runs[runs["tags.mlflow.parentRunId"].notna()]
columns = {
    "params.layer": "layer",
    "params.metric": "metric",
    "metrics.selectivity/percent": "% selected",
    "metrics.consistency/mean": "consistency",
    "metrics.lesion/spearman": "lesion r",
}
table = jobs[list(columns)].rename(columns=columns).sort_values(["layer", "metric"])
print(table.round(2).to_string(index=False, na_rep="–"))

# %%
# Every run of a layer has the scores of all four metrics, a row a unit (here a kernel):

run = jobs[(jobs["params.layer"] == "conv13") & (jobs["params.metric"] == "dprime")].iloc[0]
path = mlflow.artifacts.download_artifacts(run_id=run["run_id"], artifact_path="scores.parquet")
scores = pd.read_parquet(path)
shown = ["channel", "fsi", "dprime", "wilcoxon", "ttest", "selected_fsi", "selected_dprime"]
print(scores[shown].head().round(2).to_string(index=False))

# %%
# Two metrics over the same kernels, coloured by what FSI selects; and how many each selects.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
for chosen, colour in ((False, "0.65"), (True, "#0072B2")):
    part = scores[scores["selected_fsi"] == chosen]
    label = f"{'' if chosen else 'not '}selected by FSI"
    left.scatter(part["fsi"], part["dprime"], 12, color=colour, label=label)
left.axvline(0.3, color="0.8", linewidth=0.8, zorder=0)
left.set(xlabel="FSI", ylabel="d′", title="conv13, kernels (L2)")
left.legend(frameon=False)

table.pivot(index="metric", columns="layer", values="% selected").reindex(
    ["fsi", "dprime", "wilcoxon", "ttest"], columns=["conv7", "conv13"]
).plot.bar(ax=right, rot=0, color=["#56B4E9", "#0072B2"], width=0.7)
right.set(xlabel="", ylabel="% of kernels selected", title="by metric and layer")
right.legend(frameon=False, title="")
for ax in (left, right):
    ax.spines[["top", "right"]].set_visible(False)
plt.show()
