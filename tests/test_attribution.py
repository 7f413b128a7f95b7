"""Estimates of lesions by the command line, of kernels and of single units."""

import json

import pandas as pd
import pytest

from tests.conftest import SMALL, finished, run_app


@pytest.mark.parametrize("aggregation", ["l2", "unit"])
def test_the_command_line(aggregation: str, outputs):
    folder = f"attribution_{aggregation}"
    process = run_app(
        outputs, "layer=conv13", f"aggregation={aggregation}", "lesion=attribution", *SMALL,
        "lesion.sets=[]", "lesion.checked=8", "decoding=none", "figures=true",
        f"hydra.run.dir={folder}",
    )  # fmt: skip
    finished(process)
    metrics = json.loads((outputs / folder / "metrics.json").read_text())
    table = pd.read_parquet(outputs / folder / "lesion.parquet")
    assert 0.5 < metrics["lesion/attribution_spearman"] <= 1
    assert metrics["lesion/spearman"] < 0
    assert ("lesion/spearman_ci95_low" in metrics) == (aggregation == "l2")
    assert len(table) == (2048 if aggregation == "unit" else 128)
    assert table["exact_face_loss"].notna().sum() == 8
    assert "Spearman with exact lesions of 8" in process.stdout
    assert ("lesion/spearman has no interval" in process.stdout) == (aggregation == "unit")
    assert (outputs / folder / "figures/lesion.png").is_file()
