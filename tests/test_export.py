"""What a run found as NetCDF and Parquet: the same numbers, with the coordinates of both sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from app.errors import InputError
from app.export import export_dataset, find_responses
from app.notebook import ask, runs
from app.sweeps.parent import Plan, write_plan
from app.sweeps.results import Result, write_result
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


def test_responses_are_those_that_were_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Others are stored under what the config names where images of the same names took over."""
    monkeypatch.chdir(tmp_path)
    words = ["stimuli=folder", "stimuli.root=shown", "stimuli.domains={faces: [a], places: [b]}"]
    draw_noise(tmp_path / "shown", 0)
    first = run(tmp_path, *words)
    shown, _, why_not = find_responses(runs(first)[0])
    assert shown is not None and len(shown) == 8 and not why_not
    draw_noise(tmp_path / "shown", 1)
    second = run(tmp_path, *words)
    assert find_responses(runs(second)[0])[0] is not None
    said = "images or weights are others now than the run was made with"
    assert find_responses(runs(first)[0]) == (None, None, said)
    (tmp_path / "shown").rename(tmp_path / "elsewhere")
    assert "scores alone, for stimuli.root=shown is not a folder" in export(first)


def draw_noise(folder: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    for category in ("a", "b"):
        (folder / category).mkdir(parents=True, exist_ok=True)
        for number in range(4):
            pixels = random.integers(0, 256, (64, 64), np.uint8)
            Image.fromarray(pixels).save(folder / category / f"{number}.png")


def test_files_of_runs_that_are_called_alike(made: Path):
    folder = made.parents[3]
    run(folder, "seed=1")
    asked = f"run={made.parent.relative_to(folder)}"
    said = finished(run_app(folder, asked, module="app.export")).stdout
    assert "conv13_fsi_0.3_l2_dualtask_mini_0_scores.nc" in said
    files = [name for line in said.splitlines() for name in line.split(": ")[0].split(", ")]
    assert len(files) == len({*files}) and all((folder / name).is_file() for name in files)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give run=<folder of a sweep or a run"),
        (["run=nowhere"], "nowhere is no folder, and no id of a run"),
        (["run=x", "format=csv"], "format=csv is unknown: it is one of netcdf, parquet, dataset"),
    ],
)
def test_what_cannot_be_exported_is_one_line(words, said, tmp_path: Path):
    process = run_app(tmp_path, *words, module="app.export")
    assert process.returncode == 1 and process.stderr.startswith(f"error: {said}")
    assert process.stderr.count("\n") == 1


# --- sweeps as one data set -----------------------------------------------------------------------

NETWORKS = ("resnet18", "own/a b")


def finish(sweep: Path, job: int, network: str, count: int = 3, **params: object) -> None:
    """A job of a sweep that finished: its result and its scores of so many kernels."""
    asked = {"model": network, "layer": "conv1", "metric": "fsi", "aggregation": "l2",
             "target": "faces", "recipe": "floc", "lesion.sets": [1, 2], **params}  # fmt: skip
    tags = {"job": str(job), "trained": "false"}
    found = {"selectivity/percent": 100 / 3, "consistency/mean": np.nan}
    result = Result("finished", f"job {job}", asked, tags, found, job=job)
    write_result(sweep / str(job), result)
    unit, nowhere = np.arange(count), pd.array([None] * count, dtype="Int64")
    table = pd.DataFrame({"unit": unit, "channel": unit, "row": nowhere, "column": nowhere})
    table = table.assign(fsi=[np.nan, *unit[1:] / 10], selected_fsi=unit == 2, ttest=0.0)
    table.to_parquet(sweep / str(job) / "scores.parquet")


@pytest.fixture
def swept(tmp_path: Path) -> Path:
    """A sweep of four jobs: two finished, one failed, one has not begun."""
    sweep = tmp_path / "swept/12-00"
    write_plan(sweep, Plan({"model.name": NETWORKS, "target": ["faces", "places"]}))
    for job, network in enumerate(NETWORKS):
        finish(sweep, job, network)
    write_result(sweep / "2", Result("failed", "job 2", {"model": "x"}, job=2, reason="no"))
    return sweep


def make_dataset(sweep: Path, folder: Path, **asked: bool) -> dict[str, pd.DataFrame]:
    tables = export_dataset(runs(sweep).filter(status="finished"), folder, **asked)
    return {table.name: pd.read_parquet(table).astype({"network": str}) for table in tables}


def test_a_data_set_by_network_joins_jobs_and_units(swept: Path, tmp_path: Path):
    made = make_dataset(swept, tmp_path / "set")
    assert made["jobs"]["network"].tolist() == ["own/a b", "resnet18"]
    whole = made["jobs"].merge(made["scores"], on=["network", "sweep", "job"])
    assert len(whole) == 6 and whole["selected"].sum() == 2
    own = whole[whole["network"] == "own/a b"]
    np.testing.assert_array_equal(own["score"], [np.nan, 0.1, 0.2])
    assert own["unit"].tolist() == [0, 1, 2] and own["row"].isna().all()
    assert own["lesion.sets"].unique().tolist() == ["[1, 2]"]
    assert own["selectivity/percent"].unique() == pytest.approx([100 / 3])
    alone = make_dataset(swept, tmp_path / "jobs alone", scores=False)
    assert list(alone) == ["jobs"] and len(list((tmp_path / "jobs alone").iterdir())) == 1


def test_a_sweep_takes_its_own_place_and_others_join(swept: Path, tmp_path: Path):
    first = make_dataset(swept, tmp_path / "set")
    again = make_dataset(swept, tmp_path / "set")
    pd.testing.assert_frame_equal(first["scores"], again["scores"])
    finish(swept, 2, NETWORKS[0], target="places")  # resumed
    (tmp_path / "set/jobs/network=resnet18/.killed.parquet.new").touch()
    assert make_dataset(swept, tmp_path / "set")["jobs"]["job"].tolist() == [1, 0, 2]
    more = tmp_path / "more/12-00"
    finish(more, 0, NETWORKS[0], count=5, target=3, metric="fsi")  # a domain called 3
    assert len(make_dataset(more, tmp_path / "set")["scores"]) == 3 * 3 + 5
    assert len(list((tmp_path / "set/jobs/network=resnet18").glob("[!.]*"))) == 2


def test_duckdb_reads_it(swept: Path, tmp_path: Path):
    duckdb = pytest.importorskip("duckdb")
    make_dataset(swept, tmp_path / "set")
    finish(tmp_path / "more", 0, "resnet18", target=3, **{"lesion.sets": None})
    make_dataset(tmp_path / "more", tmp_path / "set")
    files = [f"read_parquet('{tmp_path}/set/{name}/*/*.parquet', union_by_name = true) AS {name}"
             for name in ("jobs", "scores")]  # fmt: skip
    found = duckdb.sql(
        "SELECT network, target, count(*), count(score), avg(score) "
        f"FROM {files[0]} JOIN {files[1]} USING (network, sweep, job) GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    mean = pytest.approx(0.15)
    assert found == [("own/a b", "faces", 3, 2, mean), ("resnet18", "3", 3, 2, mean),
                     ("resnet18", "faces", 3, 2, mean)]  # fmt: skip


@pytest.mark.parametrize("foreign", ["jobs/year=2026/a.parquet", "jobs/network=a/b.parquet",
                                     "scores/a.csv", "scores/network=a/b/c.parquet"])  # fmt: skip
def test_another_data_set_stays_as_it_is(foreign: str, swept: Path, tmp_path: Path):
    (tmp_path / "set" / foreign).parent.mkdir(parents=True)
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "set" / foreign)
    with pytest.raises(InputError, match="is of no data set of this command: take another folder"):
        make_dataset(swept, tmp_path / "set")
    assert len([path for path in (tmp_path / "set").rglob("*") if path.is_file()]) == 1


def test_home_is_found_in_paths(made: Path, monkeypatch: pytest.MonkeyPatch):
    home, place = made.parents[3], made.relative_to(made.parents[3])
    monkeypatch.setenv("HOME", str(home))
    words = [f"run='~/{place}'", "output='~/at/home'"]
    said = finished(run_app(home, *words, module="app.export")).stdout
    assert said.startswith(f"{home}/at/home/{'_'.join(place.parts[-2:])}/")


def test_the_command_says_how_many_jobs_there_are(swept: Path, tmp_path: Path):
    words = [f"run={swept}", "format=dataset", "output=set"]
    said = finished(run_app(tmp_path, *words, module="app.export")).stdout
    assert said == "2 of 4 jobs finished: set/jobs, set/scores\n"
    for job in (0, 1):
        (swept / f"{job}/result.json").unlink()
    process = run_app(tmp_path, *words, module="app.export")
    assert process.returncode == 1 and process.stderr.count("\n") == 1
    assert "nothing finished, so there is nothing to export" in process.stderr
