"""
A survey of networks, asked by SQL
==================================

``+experiment=survey`` asks many networks of torchvision and timm the same; its jobs become one
Parquet data set, partitioned by network. This script makes a tiny one and asks it by DuckDB.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import matplotlib.pyplot as plt

# %%
# Three untrained networks at two depths, one target by two recipes, few and small images: for an
# example, not for conclusions. It is ``python -m app +experiment=survey model.name=… …``.

folder = tempfile.mkdtemp()


def run(*words):
    """Run ``python -m`` with these words in the folder."""
    subprocess.run([sys.executable, "-m", *words], cwd=folder, check=True, capture_output=True)


networks = "torchvision/shufflenet_v2_x0_5,torchvision/squeezenet1_1,timm/lcnet_050"
run(
    *("app", "+experiment=survey", f"model.name={networks}", "model.weights=null"),
    *("layer.depth=0.5,1", "target=faces", "+recipe=floc,lado2025"),
    *("model.input_size=64", "model.resize=64", "stimuli.images_per_category=24"),
    *("hydra.sweep.dir=swept", "tracking=none"),
)
run("app.export", "run=swept", "format=dataset", "output=survey")

# %%
# Two tables: ``jobs`` has a row a job, with its config and all numbers by the names that they are
# logged under; ``scores`` a row a unit (here a kernel) of each job. Sweeps that are exported into
# the same folder join them.

for path in sorted(Path(folder, "survey").glob("*/*/*")):
    print(path.relative_to(folder))
for table in ("jobs", "scores"):
    files = f"'{folder}/survey/{table}/*/*.parquet'"
    duckdb.sql(f"CREATE VIEW {table} AS FROM read_parquet({files}, union_by_name = true)")

# %%
# Which share of kernels is selective, by network and depth?

shares = duckdb.sql("""
    SELECT network, "layer.depth" AS depth, recipe, "selectivity/percent" AS percent
    FROM jobs ORDER BY ALL
""").df()
print(shares.round(1).to_string(index=False))

# %%
# How far do the recipes agree? Jaccard's index of what both select in a layer (None: nothing).

overlap = duckdb.sql("""
    WITH asked AS (SELECT * FROM jobs JOIN scores USING (network, sweep, job))
    SELECT network, "layer.depth" AS depth,
        count(*) FILTER (one.selected AND other.selected)
            / nullif(count(*) FILTER (one.selected OR other.selected), 0) AS jaccard,
        corr(one.score, other.score) AS r
    FROM asked AS one JOIN asked AS other USING (network, "layer.depth", unit)
    WHERE one.recipe = 'floc' AND other.recipe = 'lado2025'
    GROUP BY ALL ORDER BY ALL
""").df()
print(overlap.round(2).to_string(index=False))

# %%
# Both as a figure:

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
for network, own in shares[shares["recipe"] == "floc"].groupby("network"):
    left.plot(own["depth"], own["percent"], "o-", label=network)
for network, own in overlap.groupby("network"):
    right.plot(own["depth"], own["r"], "o-", label=network)
left.set(xlabel="Depth", ylabel="Face-selective kernels (%), floc", xticks=[0.5, 1], ylim=(0, None))
right.set(xlabel="Depth", ylabel="r of the scores of two recipes", xticks=[0.5, 1], ylim=(-1, 1))
left.legend(fontsize=7)
plt.show()
