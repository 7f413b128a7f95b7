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


def run(folder: Path, name: str, device: str, *asked: str) -> Path:
    finished(
        run_app(
            folder, *SMALL, *asked, f"device={device}", f"cache={name}",
            f"hydra.run.dir={name}.run", "tracking=none", "figures=false",
        )
    )  # fmt: skip
    return folder / f"{name}.run"


def scores(folder: Path, name: str, device: str, aggregation: str) -> pd.DataFrame:
    found = run(folder, name, device, f"aggregation={aggregation}", "layer=conv13")
    return pd.read_parquet(found / "scores.parquet")


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


RESNET = ["model=torchvision", "model.name=resnet18", "model.weights=null", "layer=module"]
READOUT = [
    "lesion.task=readout", "lesion.readout.identities=10", "lesion.readout.categories=10",
    "lesion.readout.images_each=10",
]  # fmt: skip


@pytest.mark.parametrize(
    "asked",
    [
        ["layer=conv13"],
        ["layer=conv10", "lesion.replacement=mean"],
        ["layer=conv10", "lesion.replacement=resample"],
        ["layer=conv10", "lesion=attribution", "lesion.points=2"],
        ["layer=conv10", "lesion=attribution", "lesion.replacement=mean"],
        [*RESNET, "layer.name=layer4.0", *READOUT],
        [*RESNET, "layer.name=layer4.0", *READOUT, "lesion=attribution"],
    ],
    ids=" ".join,
)
def test_lesions_are_nearly_the_cpus(tmp_path: Path, asked: list[str]):
    mine, other = (
        pd.read_parquet(run(tmp_path, device, device, *asked, "certainty=none") / "lesion.parquet")
        for device in ("cuda", "cpu")
    )
    losses = [name for name in other if "loss" in name]
    spread = other[losses].max() - other[losses].min()
    assert (spread > 0).any()
    np.testing.assert_allclose(mine[losses], other[losses], rtol=1e-4, atol=1e-5)
