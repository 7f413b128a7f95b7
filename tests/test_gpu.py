"""What a GPU may change of a run: nothing from one run to the next, little beside the CPU's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from tests.conftest import SMALL, finished, run_app

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here"),
]
METRICS = ("fsi", "dprime", "wilcoxon", "ttest")


def scores(folder: Path, name: str, device: str, aggregation: str) -> pd.DataFrame:
    finished(
        run_app(
            folder, *SMALL, f"device={device}", f"cache={name}", f"hydra.run.dir={name}.run",
            f"aggregation={aggregation}", "layer=conv13", "tracking=none", "figures=false",
        )
    )  # fmt: skip
    return pd.read_parquet(folder / f"{name}.run" / "scores.parquet")


@pytest.mark.parametrize("aggregation", ["l2", "unit"])
def test_the_same_bits_twice_and_nearly_the_cpus(tmp_path: Path, aggregation: str):
    first, again = (scores(tmp_path, name, "cuda", aggregation) for name in ("first", "again"))
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    cpu = scores(tmp_path, "cpu", "cpu", aggregation)
    for metric in METRICS:
        assert (first[metric].isna() == cpu[metric].isna()).all()
        defined = cpu[metric].notna()
        mine, other = first[metric][defined], cpu[metric][defined]
        assert stats.spearmanr(mine, other).statistic > 0.9999
        if metric in ("fsi", "dprime"):  # z and t move by a rank, or with a small variance
            np.testing.assert_allclose(mine, other, atol=1e-3)
