"""A sweep's jobs that ask their kernels in every other way, by the command line."""

import json

import pandas as pd
import pytest

from app.errors import InputError
from tests.composing import check_config
from tests.conftest import SMALL, finished, run_app


def test_the_command_line(outputs):
    process = run_app(
        outputs, "-m", "multiverse=true", "model=dualtask_mini,dualtask_mini_untrained",
        "layer=conv10,conv13", *SMALL, "lesion.sets=[]", "lesion.layers=[conv13]", "decoding=none",
        "figures=true", "hydra.sweep.dir=multiverse",
    )  # fmt: skip
    finished(process)
    folder = outputs / "multiverse"
    deepest = folder / "1"
    metrics = json.loads((deepest / "metrics.json").read_text())
    table = pd.read_parquet(deepest / "multiverse.parquet")
    assert metrics["multiverse/specifications"] == len(table) == 240
    own = table[table["own"] & (table["aggregation"] == "l2")].set_index("metric")
    assert own.loc["fsi", "percent"] == pytest.approx(metrics["selectivity/percent"])
    assert own.loc["fsi", "null_percent"] == pytest.approx(metrics["null/percent"])
    assert own.loc["fsi", "lesion_spearman"] == pytest.approx(metrics["lesion/spearman"])
    shares = pd.read_parquet(deepest / "multiverse_shares.parquet")
    assert set(shares["outcome"]) == {"percent", "consistency", "lesion_spearman"}
    assert (deepest / "figures/multiverse.png").is_file()
    assert (deepest / "multiverse_choices.parquet").is_file()
    panel = pd.read_csv(folder / "report/panel_m.csv")
    assert set(panel["layer"]) == {"conv10", "conv13"} and set(panel["trained"]) == {True, False}
    total = panel.groupby(["trained", "layer", "outcome"])["share"].sum()
    assert total.to_numpy() == pytest.approx(1)
    said = " ".join(process.stdout.split())
    assert "m: In conv13, of the variance over specifications: selected (%) (trained)" in said


def test_single_units_have_no_aggregation_to_vary():
    with pytest.raises(InputError, match="take aggregation=mean, l2 or max"):
        check_config("multiverse=true", "aggregation=unit")
