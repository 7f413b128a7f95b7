"""What a run found as NetCDF and Parquet: the same numbers, with the coordinates of both sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from app.notebook import ask
from tests.conftest import MATERIAL, finished, run_app

xarray = pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")

QUICK = [MATERIAL[0], "layer=conv13", "certainty=none", "decoding=none", "lesion=none",
         "figures=false", "tracking=none"]  # fmt: skip


def run(folder: Path, *words: str) -> Path:
    before = {*folder.glob("outputs/runs/*/*")}
    finished(run_app(folder, *QUICK, *words))
    (made,) = {*folder.glob("outputs/runs/*/*")} - before
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("work"))


def export(made: Path, *words: str) -> str:
    folder = made.parents[3]
    asked = [f"run={made.relative_to(folder)}", *words]
    return finished(run_app(folder, *asked, module="app.export")).stdout


def test_netcdf_opens_as_assemblies_do(made: Path):
    assert export(made).startswith(f"outputs/exports/{made.parent.name}_{made.name}/conv13_fsi")
    found = [xarray.open_dataset(file) for file in
             sorted(made.parents[3].glob("outputs/exports/*/*.nc"))]  # fmt: skip
    data, exported = found
    assert data.sizes == {"presentation": 80, "neuroid": 128} and list(data) == ["responses"]
    scores = pd.read_parquet(made / "scores.parquet")
    for name in ("fsi", "ttest", "selected_dprime"):
        np.testing.assert_array_equal(exported[name], scores[name])
    # The same scores to the bit, from what was written alone.
    domains = {domain: sorted(rows["category"].unique()) for domain, rows in
               data[["category", "domain"]].to_dataframe().groupby("domain")}  # fmt: skip
    answer = ask("fsi", data["responses"].values, list(data["category"].values), "faces",
                 domains=domains)  # fmt: skip
    np.testing.assert_array_equal(answer.score, scores["fsi"])
    # As Brain-Score gathers its indexes.
    assembly = data["responses"].set_index(
        presentation=["stimulus_id", "category", "domain"],
        neuroid=["neuroid_id", "layer", "channel"],
    )
    faces = assembly.sel(domain="faces")
    assert faces.sizes["presentation"] == 16 and faces.sizes["neuroid"] == 128
    assert assembly.sel(channel=3)["neuroid_id"].item() == "conv13.3"
    assert data["stimulus_id"].values.tolist() == data["stimulus"].values.tolist()
    assert data.attrs["layer"] == "conv13" and data.attrs["target"] == "faces"


def test_parquet_has_the_same(made: Path):
    export(made, "format=parquet", "output=tables")
    tables = {path.stem.rpartition("_")[2]: pd.read_parquet(path)
              for path in made.parents[3].glob("tables/*/*.parquet")}  # fmt: skip
    assert tables["responses"].columns[:4].tolist() == [
        "stimulus",
        "category",
        "domain",
        "conv13.0",
    ]
    assert len(tables["responses"]) == 80 and len(tables["scores"]) == 128
    scores = pd.read_parquet(made / "scores.parquet")
    np.testing.assert_array_equal(tables["scores"]["wilcoxon"], scores["wilcoxon"])
    assert tables["scores"]["neuroid_id"][5] == "conv13.5"


def test_without_responses_the_scores_alone(made: Path):
    units = run(made.parents[3], "aggregation=unit")
    assert "scores alone, for responses of single units are not stored" in export(units)
    (file,) = made.parents[3].glob(f"outputs/exports/*_{units.name}/*.nc")
    data = xarray.open_dataset(file)
    assert set(data["fsi"].dims) == {"neuroid"}
    scores = pd.read_parquet(units / "scores.parquet")
    for name in ("channel", "row", "column"):
        np.testing.assert_array_equal(data[name], scores[name])
    for path in made.parents[3].glob("outputs/cache/read_kernels/*.npz"):
        path.unlink()
    assert "scores alone, for its responses are not in outputs/cache" in export(made)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give run=<folder of a sweep or a run"),
        (["run=nowhere"], "nowhere is no folder, and no id of a run"),
        (["run=x", "format=csv"], "format=csv is unknown: it is one of netcdf, parquet"),
    ],
)
def test_what_cannot_be_exported_is_one_line(words, said, tmp_path: Path):
    process = run_app(tmp_path, *words, module="app.export")
    assert process.returncode == 1 and process.stderr.startswith(f"error: {said}")
    assert process.stderr.count("\n") == 1
