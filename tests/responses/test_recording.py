"""Responses from a file: as the network's own to the bit, of a known session, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import xarray

from app import experiment
from app.config.schema import Responses, Stimuli
from app.errors import InputError
from app.memo import Memo
from app.models.network import open_network
from app.responses import recording as room
from app.responses.formats import POSITION
from app.responses.hardware import Hardware
from app.responses.kernels import Reader
from app.responses.recording import Recording, average, choose_times, open_recording
from app.stimuli.localizer import make_localizer
from app.stimuli.presented import describe_presentations, make_presented, read_table
from tests.composing import check_config
from tests.conftest import FEW, run_app

CPU = Hardware(torch.device("cpu"))
CATEGORIES = np.repeat(["face", "house", "car"], 4)
VALUES = np.random.default_rng(0).normal(1, 1, (12, 5)).astype(np.float32)


def run(folder: Path, *words: str) -> tuple[dict[str, float], pd.DataFrame, tuple[str, ...]]:
    """Metrics, scores and notes of a run in this process."""
    config = check_config(*words, *FEW, "tracking=none", f"cache={folder.parent}/cache")
    result = experiment.run(config, folder / "run", experiment.Job(figures=False))
    scores = pd.read_parquet(folder / "run" / "scores.parquet")
    return result.metrics, scores, result.notes


def read(recording: Recording, rows: list[list[int]] | None = None) -> np.ndarray:
    """Responses to each presentation, or to images of some, in one array; undefined: NaN."""
    own = [[row] for row in range(recording.presentations)] if rows is None else rows
    images = make_presented(
        pd.DataFrame({"category": ["x"] * len(own)}), Stimuli("recorded"), ""
    ).images
    images = type(images)(images.names, images.labels, "", "", list(map(np.array, own)))
    found = np.full((len(own), len(recording)), np.nan)
    for numbers, responses in recording.read(images, CPU):
        found[:, numbers] = responses
    return found


def lay_out(values: np.ndarray, **coordinates: Any) -> xarray.DataArray:
    lines = {name: ("presentation", list(each)) for name, each in coordinates.items()}
    return xarray.DataArray(values, dims=("presentation", "neuroid"), coords=lines, name="spikes")


def write(path: Path, values: np.ndarray = VALUES, category: Any = CATEGORIES) -> Path:
    """A file of the format that its ending says, with a category each."""
    array = lay_out(values, category=category)
    match path.suffix:
        case ".nc" | ".h5":
            array.to_netcdf(path, engine="h5netcdf")
        case ".zarr":
            pytest.importorskip("zarr")
            array.to_dataset().to_zarr(path, zarr_format=2)
        case ".npy":
            np.save(path, values)
        case ".npz":
            np.savez(path, spikes=values, category=category)
        case ".parquet":
            units = {f"unit{number}": values[:, number] for number in range(values.shape[1])}
            pd.DataFrame({"category": category, **units}).to_parquet(path)
    return path


@pytest.mark.parametrize("ending", ["nc", "h5", "zarr", "npy", "npz", "parquet"])
def test_every_format_gives_the_same_responses(ending: str, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(room, "CHUNK_VALUES", 24)  # several parts
    path = write(tmp_path / f"session.{ending}")
    recording, notes = open_recording(Responses("file", str(path)), 4)
    assert recording.shape == (5, 1, 1) and recording.dtype == np.float32 and not notes
    assert np.array_equal(read(recording), VALUES)
    own = recording.list_presentations()
    assert list(own.get("category", CATEGORIES)) == list(CATEGORIES)


@pytest.mark.parametrize("index", [None, "category", "trial"])
def test_what_pandas_keeps_as_an_index_is_no_unit(index: str | None, tmp_path: Path):
    kept = [0, 2, 3, 5]  # of which parquet keeps the numbers
    table = pd.DataFrame({"category": CATEGORIES, "trial": range(len(VALUES))}).iloc[kept]
    table[["u0", "u1"]] = VALUES[kept, :2]
    table = table.drop(columns="trial") if index is None else table.set_index(index)
    table = table.drop(columns="trial", errors="ignore")
    table.to_parquet(tmp_path / "session.parquet")
    recording, _ = open_recording(Responses("file", str(tmp_path / "session.parquet")), 4)
    assert np.array_equal(read(recording), VALUES[kept, :2])
    told = recording.list_presentations().category
    assert list(told) == [CATEGORIES[row] for row in kept] and list(told.index) == [0, 1, 2, 3]


def test_a_column_that_says_what_was_shown_is_no_unit(tmp_path: Path):
    """By whatever name, also beside another of the same meaning."""
    table = pd.DataFrame(VALUES[:, :2], columns=["u0", "u1"])
    table = table.assign(category=CATEGORIES, stimulus=[*"abcdefghijkl"], image_id=range(12))
    table.to_parquet(tmp_path / "session.parquet")
    recording, _ = open_recording(Responses("file", str(tmp_path / "session.parquet")), 4)
    assert np.array_equal(read(recording), VALUES[:, :2])
    assert list(recording.list_presentations().stimulus) == [*"abcdefghijkl"]


def test_rows_of_a_table_of_stimuli_count_and_not_their_names(tmp_path: Path):
    table, path = pd.DataFrame({"category": ["left out", "face", "house", "face"]}), tmp_path / "a"
    table.iloc[[1, 3]].to_parquet(path.with_suffix(".parquet"))
    path.with_suffix(".csv").write_text("category\n2,face\n4,face\n")  # as R's write.table
    for ending in (".parquet", ".csv"):
        told = read_table(path.with_suffix(ending))
        assert list(told.index) == [0, 1] and list(told.category) == ["face", "face"]


def test_what_programs_write_for_nothing_is_nothing(tmp_path: Path):
    pd.DataFrame({"category": ["a", "b"], "identity": ["Ann", None]}).to_csv(
        tmp_path / "R.csv", index=False, na_rep="NA"
    )
    assert list(read_table(tmp_path / "R.csv").identity) == ["Ann", ""]
    array = lay_out(VALUES, category=np.array([np.nan, *CATEGORIES[1:]], dtype=str))  # "nan"
    array.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    recording, _ = open_recording(Responses("file", str(tmp_path / "a.nc")), 4)
    assert list(recording.list_presentations().category) == ["", *CATEGORIES[1:]]


@pytest.mark.parametrize("names", [("cell", "condition"), None], ids=["named", "nameless"])
def test_presentations_are_where_the_file_says_what_was_shown(names: Any, tmp_path: Path):
    path = tmp_path / "session.h5"
    if names:
        lines = {"category": ("condition", CATEGORIES)}
        array = xarray.DataArray(VALUES.T, lines, names, name="spikes")
        array.to_netcdf(path, engine="h5netcdf")
    else:
        with h5py.File(path, "w") as file:
            file["spikes"], file["category"] = VALUES.T, CATEGORIES.astype("S")
    recording, _ = open_recording(Responses("file", str(path)), 4)
    assert np.array_equal(read(recording), VALUES)


def test_times_of_nameless_axes_are_the_last(tmp_path: Path):
    with h5py.File(tmp_path / "session.h5", "w") as file:
        file["spikes"], file["category"] = np.stack([VALUES, -VALUES], 2), CATEGORIES.astype("S")
        file["times"] = [0, 10]
    asked = Responses("file", str(tmp_path / "session.h5"), window=[5, 15])
    recording, _ = open_recording(asked, 4)
    assert np.array_equal(read(recording), -VALUES)


def test_spikes_of_nwb_are_counted_in_the_window(tmp_path: Path):
    pynwb, path = pytest.importorskip("pynwb"), tmp_path / "session.nwb"
    file = pynwb.NWBFile("session", "id", datetime(2026, 1, 1, tzinfo=UTC))
    file.add_trial_column("category", "what was shown")
    for number, category in enumerate(["face", "house", "face"]):
        file.add_trial(start_time=float(number), stop_time=number + 0.5, category=category)
    file.add_unit(spike_times=[0.05, 0.1, 0.12, 2.15, 2.3])
    file.add_unit(spike_times=[1.08])
    with pynwb.NWBHDF5IO(str(path), "w") as written:
        written.write(file)
    recording, _ = open_recording(Responses("file", str(path), window=[0.07, 0.17]), 4)
    np.testing.assert_allclose(read(recording), [[20, 0], [0, 10], [10, 0]])
    assert list(recording.list_presentations().category) == ["face", "house", "face"]
    with pytest.raises(InputError, match="has times of spikes: give responses.window="):
        open_recording(Responses("file", str(path)), 4)


@pytest.mark.parametrize("window", [(0.07, 0.17), (0.05, 0.15), (0.0, 0.2), (0.1, 0.1)])
@pytest.mark.parametrize("exact", [True, False], ids=["float64", "float32"])
@pytest.mark.parametrize("bins", [False, True], ids=["times", "bins"])
def test_both_ends_of_a_window_are_in_it(bins: bool, exact: bool, window: tuple[float, float]):
    """Which rounding would leave out: of `arange`'s times 0.07 is 0.0699…, of float32's 0.0700…"""
    times = np.arange(-0.1, 0.3, 0.01)
    lines = {"time_bin_start": times, "time_bin_end": times + 0.01} if bins else {"time": times}
    lines = {name: ("time", each if exact else each.astype("f")) for name, each in lines.items()}
    array = xarray.DataArray(np.ones((1, 1, 40)), lines, ("trial", "unit", "time"))
    if bins and window[0] == window[1]:
        with pytest.raises(InputError, match="holds none of the 40 times"):
            choose_times(array, "time", window, "it")
        return
    first, last = (round(100 * end) + 10 for end in window)
    expected = np.arange(first, last if bins else last + 1)
    assert list(np.flatnonzero(choose_times(array, "time", window, "it"))) == list(expected)


@pytest.mark.parametrize(("ending", "package"), [("nwb", "pynwb"), ("zarr", "zarr")])
def test_a_package_that_is_missing_is_named(ending: str, package: str, tmp_path, monkeypatch):
    monkeypatch.setattr("app.responses.formats.find_spec", lambda _: None)
    (tmp_path / f"a.{ending}").mkdir()
    with pytest.raises(InputError, match=rf"needs {package}, .*pip install 'selective-units\["):
        open_recording(Responses("file", str(tmp_path / f"a.{ending}")), 4)


def test_endings_may_be_in_capitals(tmp_path: Path):
    path = write(tmp_path / "session.zarr")
    path = path.rename(tmp_path / "SESSION.ZARR")
    recording, _ = open_recording(Responses("file", str(path)), 4)
    assert np.array_equal(read(recording), VALUES)


def test_netcdf_of_the_old_kind_is_read(tmp_path: Path):
    lay_out(VALUES).to_netcdf(tmp_path / "old.nc", engine="scipy")
    recording, _ = open_recording(Responses("file", str(tmp_path / "old.nc")), 4)
    assert np.array_equal(read(recording), VALUES)


def test_a_layer_read_back_scores_as_the_network_itself(tmp_path: Path):
    """To the bit: scores, selections, intervals, halves, agreement."""
    few = "stimuli.images_per_category=8", "stimuli=synthetic"
    config, memo = check_config(*few), Memo(tmp_path / "cache")
    network, _ = open_network(config.model, config.layer, memo)
    stimuli = make_localizer(config.stimuli, memo)
    hardware = Hardware.choose(config)
    hardware.prepare()
    kernels = Reader(network, "conv13", hardware, memo).read(stimuli.images)["l2"]
    path = write(tmp_path / "conv13.nc", kernels, stimuli.images.labels)
    steps = *few, "lesion=none", "decoding=none"
    metrics, scores, _ = run(tmp_path, *steps)
    again, same, notes = run(
        tmp_path, *steps, "responses=file", f"responses.path={path}", "metrics.fsi.label=FSI"
    )
    del metrics["layer/depth"]
    assert again == metrics
    where = ["channel", "row", "column"]
    pd.testing.assert_frame_equal(same.drop(columns=where), scores.drop(columns=where))
    assert notes[0].startswith("responses: of spikes in ") and "do not apply" in notes[0]


SELECTIVE = np.arange(8)  # of 40 cells
UNREADABLE = 39  # has no trial of one stimulus


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Poisson spikes in bins of 10 ms; 4 repetitions of 60 stimuli; lost trials."""
    rng, path = np.random.default_rng(1), tmp_path_factory.mktemp("session") / "session.nc"
    stimuli = np.array([f"{kind}{n}" for kind in ("face", "house", "car") for n in range(20)])
    shown = rng.permutation(np.repeat(np.arange(60), 4))
    category = np.repeat(["face", "house", "car"], 20)[shown]
    person = np.where(shown < 20, [f"person{n % 4}" for n in shown], "")
    times = np.arange(-0.1, 0.3, 0.01)
    rates = np.full((240, 40, len(times)), 8.0)  # a second
    response = rng.gamma(8, 1, (60, 40))[shown]  # of each cell to each stimulus
    response[:, SELECTIVE] *= np.where(category == "face", 8, 1)[:, None]
    response[:, :4] *= 1 + 2 * (shown[:, None] % 4 == np.arange(4))  # and of these each a person
    rates[..., (times > 0.069) & (times < 0.169)] += response[..., None]
    spikes = rng.poisson(rates * 0.01).astype(np.float32)
    spikes[rng.random((240, 40)) < 0.03] = np.nan
    spikes[np.flatnonzero(shown == 7), UNREADABLE] = np.nan
    order = pd.Series(shown).groupby(shown).cumcount().to_numpy()
    lines = {"category_name": category, "stimulus_id": stimuli[shown], "repetition": order,
             "identity": person}  # fmt: skip
    array = xarray.DataArray(
        spikes.transpose(1, 0, 2),
        dims=("neuroid", "presentation", "time_bin"),
        coords={
            **{name: ("presentation", list(each)) for name, each in lines.items()},
            "time_bin_start": ("time_bin", times),
            "time_bin_end": ("time_bin", times + 0.01),
        },
        name="spikes",
    )
    array.to_netcdf(path, engine="h5netcdf")
    return path


def asked(session: Path, window: str = "[0.069,0.171]") -> list[str]:
    return ["responses=file", f"responses.path={session}", f"responses.window={window}",
            "target=face", "decoding.random_draws=2"]  # fmt: skip


def test_selective_cells_of_a_session_are_recovered(session: Path, tmp_path: Path):
    metrics, scores, notes = run(tmp_path, *asked(session), "metric=dprime", "decoding.kernels=8")
    assert list(scores.unit[scores.selected_dprime]) == list(SELECTIVE)
    assert list(scores.unit[scores.selected_ttest]) == list(SELECTIVE)
    assert np.isnan(scores.dprime[UNREADABLE]) and metrics["selectivity/undefined"] == 1
    assert any("1 of 40 units have no finite response" in note for note in notes)
    assert 0.5 < metrics["reliability/repetitions"] <= 1
    assert "reliability/score" in metrics and "consistency/spearman_fsi" in metrics
    assert metrics["decoding/accuracy"] > 0.25 and metrics["decoding/kernels"] == 8
    table = pd.read_parquet(tmp_path / "run" / "certainty.parquet")
    assert table.repetitions.notna().sum() == 3  # a split each


def test_halves_of_repetitions_that_few_units_have_are_told(tmp_path: Path):
    """Of two trials a half has one: a unit that lost any has no score in a half."""
    rng, stimuli = np.random.default_rng(0), np.tile([*"abcdefghijkl"], 2)
    values = rng.normal(np.tile(rng.normal(size=(12, 20)), (2, 1)), 0.1)
    values[rng.integers(24, size=17), range(17)] = np.nan
    array = lay_out(values, category=np.tile(CATEGORIES, 2), stimulus=stimuli)
    array.to_netcdf(tmp_path / "lost.nc", engine="h5netcdf")
    words = ["responses=file", f"responses.path={tmp_path / 'lost.nc'}", "target=face"]
    metrics, _, notes = run(tmp_path, *words)
    assert metrics["selectivity/undefined"] == 0
    assert any("as few as 3 of 20 units have a score in both halves" in note for note in notes)


def test_what_comes_before_the_response_selects_nothing(session: Path, tmp_path: Path):
    metrics, scores, _ = run(tmp_path, *asked(session, "[-0.11,0.001]"), "decoding=none")
    assert not scores.selected_ttest.any()
    assert metrics["reliability/repetitions"] < 0.5


def test_the_multiverse_of_a_session_has_no_aggregation_to_choose(session: Path, tmp_path: Path):
    metrics, _, _ = run(tmp_path, *asked(session), "multiverse=true", "decoding=none")
    assert metrics["multiverse/specifications"] == 80
    assert metrics["multiverse/percent_aggregation"] == 0


def test_a_recipe_asks_a_session(session: Path, tmp_path: Path):
    _, scores, _ = run(tmp_path, *asked(session), "+recipe=floc", "decoding=none")
    assert set(scores.unit[scores.selected_ttest]) >= set(SELECTIVE)


def test_trials_are_averaged_without_those_that_are_lost():
    trials = np.array([[1, 2], [3, np.nan], [np.nan, np.nan], [7, 8]], np.float32)
    found = average(trials, [np.array([0, 1]), np.array([1, 2]), np.array([3])])
    assert np.array_equal(found, [[2, 2], [3, np.nan], [7, 8]], equal_nan=True)
    assert found.dtype == np.float32


def test_maps_are_aggregated_and_their_units_numbered(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(room, "CHUNK_VALUES", 30)
    maps = np.random.default_rng(2).normal(size=(6, 4, 3, 2)).astype(np.float32)
    np.save(tmp_path / "maps.npy", maps)
    grid = np.indices(maps.shape[1:]).reshape(3, -1)
    places = {name: ("neuroid", each) for name, each in zip(POSITION, grid, strict=True)}
    flat = lay_out(maps.reshape(6, -1)).assign_coords(places)
    flat.to_netcdf(tmp_path / "maps.nc", engine="h5netcdf")
    flat.isel(neuroid=[*range(1, 24), 0]).to_netcdf(tmp_path / "mixed.nc", engine="h5netcdf")
    for name in ("maps.npy", "maps.nc"):
        recording, notes = open_recording(Responses("file", str(tmp_path / name)), 4)
        assert recording.shape == (4, 3, 2) and not notes
        assert np.array_equal(read(recording), maps.reshape(6, -1))
        norms = read(room.replace(recording, aggregation="l2"))
        np.testing.assert_allclose(norms, np.linalg.norm(maps, axis=(2, 3)), rtol=1e-6)
    double = np.array([1, 1e-60, 1e60])[:, None, None, None] * np.full((3, 4, 3, 2), np.pi)
    np.save(tmp_path / "double.npy", double)
    recording, _ = open_recording(Responses("file", str(tmp_path / "double.npy")), 4)
    norms = read(room.replace(recording, aggregation="l2"))
    np.testing.assert_allclose(norms, np.linalg.norm(double, axis=(2, 3)), rtol=1e-14)
    other = xarray.DataArray(maps, dims=("image", "y", "x", "c"), name="maps")
    other.to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    recording, (note,) = open_recording(Responses("file", str(tmp_path / "other.nc")), 4)
    assert recording.shape == (4, 3, 2) and "axes y, x, c are taken as channels, rows" in note
    recording, (note,) = open_recording(Responses("file", str(tmp_path / "mixed.nc")), 4)
    assert recording.shape == (24, 1, 1) and "without positions" in note


def several(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["a/spikes"], file["rates"], file["names"] = VALUES, VALUES[:, :2], [[b"a", b"b"]]


def cut(path: Path) -> None:
    write(path)
    path.write_bytes(path.read_bytes()[:-200])


def bins(path: Path) -> None:
    times = {"time": ("time", [0, 10, 20])}
    dims = ("presentation", "neuroid", "time")
    array = xarray.DataArray(np.ones((12, 2, 3)), dims=dims, coords=times, name="spikes")
    array.to_netcdf(path, engine="h5netcdf")


Make = Callable[[Path], object]
WRONG_FILES: dict[str, tuple[str, Make, dict[str, Any], str]] = {
    "none": ("a.nc", lambda path: None, {}, "a.nc does not exist"),
    "ending": ("a.xls", lambda path: path.touch(), {}, "says no format that is read: .nc, "),
    "several": ("a.h5", several, {}, r"several data sets: .*rates \(12, 2\), a/spikes \(12, 5\)"),
    "another": ("a.h5", several, {"variable": "b"}, "responses.variable=b is not there: .*rates"),
    "text": ("a.h5", several, {"variable": "names"}, r"names holds .*, no numbers"),
    "no numbers": ("a.npy", lambda p: np.save(p, np.full((3, 2), "x")), {}, "no data set of num"),
    "text as objects": ("a.npz", lambda p: np.savez(p, a=VALUES, category=CATEGORIES.astype("O")),
                        {}, "cannot be read: Object.*text saved by np.array"),
    "no units": ("a.npy", lambda p: np.save(p, VALUES[:, :0]), {}, r"is empty: \(12, 0\)"),
    "objects": ("a.npy", lambda p: np.save(p, np.full((3, 2), None)), {}, "cannot be read: .*obj"),
    "columns": ("a.parquet", lambda p: pd.DataFrame({"category": ["a"]}).to_parquet(p), {},
                "no columns of numbers"),
    "one axis": ("a.npy", lambda p: np.save(p, VALUES[0]), {}, "presentations x units"),
    "five axes": ("a.npy", lambda p: np.save(p, np.ones((2,) * 5)), {}, "presentations x units"),
    "no window": ("a.nc", bins, {}, "an axis of 3 times, 0 to 20: .*responses.window="),
    "window beside": ("a.nc", bins, {"window": [0.07, 0.17]}, "holds none of the 3 times"),
    "window of none": ("a.nc", write, {"window": [0, 1]}, "has no axis of time"),
    "no times": ("a.npy", lambda p: np.save(p, np.ones((12, 2, 3))), {"window": [0, 1]},
                 "axis time of 3 without times"),
    **{f"cut {end}": (f"a.{end}", cut, {}, "cannot be read: .*; is it whole")
       for end in ("nc", "npy", "npz", "parquet")},
    "pointer": ("a.nc", lambda p: p.write_text("version https://git-lfs.github.com/spec/v1"), {},
                "is a pointer of Git LFS"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_FILES)
def test_a_file_that_does_not_do_is_refused(case: str, tmp_path: Path):
    name, make, settings, said = WRONG_FILES[case]
    make(tmp_path / name)
    with pytest.raises(InputError, match=said) as refused:
        open_recording(Responses("file", str(tmp_path / name), **settings), 4)
    assert "\n" not in str(refused.value)


def table(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns).astype(str)


CSV = {
    "rows": ("category\na\nb\n", {}, "has 2 rows, and .* 12 presentations"),
    "no category": ("identity\na\n", {}, "does not say the category"),
    "empty": ("category,identity\n" + ",Ann\n" * 12, {}, "category of each presentation is empty"),
    "repetition": ("category,repetition\n" + "a,1\n" * 12, {}, "repetition without stimulus"),
    "twice": ("category,stimulus,repetition\n" + "a,s,1\n" * 12, {}, "'s', repetition '1', twice"),
    "two categories": ("category,stimulus\n" + "a,s\nb,s\n" * 6, {}, "'s' has 2 values of categ"),
    "nameless": ("category,stimulus\n" + "a,\n" * 12, {}, "row 1 has no stimulus"),
    "missing": ("category,stimulus\na,s1\n", {"stimulus": ["s1", "s2"] * 6}, "lacks 1 .* 's2'"),
    "repeated": ("category,stimulus\na,s1\na,s1\n", {"stimulus": ["s1"] * 12}, "'s1' twice"),
}


@pytest.mark.parametrize("case", CSV)
def test_a_table_that_does_not_fit_is_refused(case: str, tmp_path: Path):
    text, own, said = CSV[case]
    (tmp_path / "table.csv").write_text(text)
    told = read_table(tmp_path / "table.csv")
    with pytest.raises(InputError, match=said) as refused:
        describe_presentations(told, table(**own), 12, Path("session.nc"))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("missing", ["", "n/a", "NA", "NaN"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("names", ["category, Stimulus ,identity", "trial_type,stim_file,Identity"])
def test_tables_are_read_as_spreadsheets_and_bids_write_them(
    tmp_path: Path, names: str, separator: str, missing: str
):
    text = f"{names}\nface,a,p\nhouse,b,{missing}\n".replace(",", separator)
    (tmp_path / "table.csv").write_text(text, encoding="utf-8-sig", newline="\r\n")
    expected = table(category=["face", "house"], stimulus=["a", "b"], identity=["p", ""])
    pd.testing.assert_frame_equal(read_table(tmp_path / "table.csv"), expected, check_dtype=False)


def test_a_table_of_other_columns_names_them(tmp_path: Path):
    (tmp_path / "table.csv").write_text("onset,kind\n0,face\n")
    with pytest.raises(InputError, match="none of the columns category, .*: it has onset, kind"):
        read_table(tmp_path / "table.csv")


def test_a_row_a_stimulus_is_joined_by_the_files_own_coordinate():
    own = table(stimulus=["b", "a", "b"], repetition=["1", "1", "2"])
    told = table(stimulus=["a", "b", "c"], category=["x", "y", "z"])
    found = describe_presentations(told, own, 3, Path("session.nc"))
    assert list(found.category) == ["y", "x", "y"] and list(found.repetition) == ["1", "1", "2"]


def test_what_has_no_category_is_left_out_and_told():
    told = table(category=["a", "", "b"], stimulus=["1", "2", "3"], identity=["", "p", ""])
    found = make_presented(told, Stimuli("recorded"), "here")
    assert found.images.names == ("1", "3") and found.domains == {"a": ("a",), "b": ("b",)}
    assert found.images.notes == ("stimuli: 1 of 3 presentations are of no domain",)
    assert found.people is not None and found.people.labels == ("p",)


def test_an_identity_of_one_stimulus_is_decoded_from_presentations():
    told = table(category=["a"] * 4, stimulus=[*"1122"], identity=[*"ppqq"])
    people = make_presented(told, Stimuli("recorded"), "here").people
    assert people is not None and people.labels == ("p", "p", "q", "q")
    assert "single presentations are decoded" in people.notes[0]


@pytest.mark.parametrize(
    ("identity", "said"),
    [([*"ab", *"c" * 10], "identity 'a' has one image"), (["a"] * 12, "two identities or more")],
)
def test_a_recording_whose_identities_cannot_be_decoded_is_scored(
    identity: list[str], said: str, tmp_path: Path
):
    array = lay_out(VALUES, category=CATEGORIES, identity=identity)
    array.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    words = ["responses=file", f"responses.path={tmp_path / 'a.nc'}", "target=face"]
    metrics, _, notes = run(tmp_path, *words)
    assert metrics["selectivity/units"] == 5 and not any(name.startswith("dec") for name in metrics)
    assert any(note.startswith("decoding: ") and said in note for note in notes)


def test_a_category_that_was_not_shown_is_refused():
    told = table(category=["face", "house"])
    with pytest.raises(InputError, match=r"names the category 'adult'.*face, house"):
        make_presented(told, Stimuli("recorded", domains={"faces": ["adult"]}), "here")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["responses=file"], "needs responses.path="),
        (["responses.path=a.nc"], "is for responses=file"),
        (["responses=file", "responses.path=https://osf.io/a.nc"], "is an address.*download it"),
        (["responses=file", "responses.path=a.nc", "responses.window=[2,1]"], r"\[first, last\]"),
        (["stimuli=recorded"], "is what responses=file was shown"),
    ],
)
def test_settings_at_odds_are_refused(words: list[str], said: str):
    with pytest.raises(InputError, match=said):
        check_config(*words)


def test_one_presentation_a_category_is_refused(tmp_path: Path):
    path = write(tmp_path / "few.nc", VALUES[:3], ["face", "house", "car"])
    with pytest.raises(InputError, match="'face' has one image; each group .* two or more"):
        run(tmp_path, "responses=file", f"responses.path={path}", "target=face")


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        (range(5), "stimuli$"),
        ([3] * 5, "stimuli; 'category/presentation-4' has none at all: leave"),
    ],
)
def test_a_recording_without_a_finite_unit_is_refused(lost: list[int], said: str, tmp_path: Path):
    """Each unit has lost a stimulus of its own, or all the same one."""
    values = VALUES.copy()
    values[lost, range(5)] = np.nan
    path = write(tmp_path / "lost.nc", values)
    with pytest.raises(InputError, match=f"none has a finite response to each of the {said}"):
        run(tmp_path, "responses=file", f"responses.path={path}", "target=face")


def test_infinite_responses_are_refused(tmp_path: Path):
    path = write(tmp_path / "endless.nc", np.where(VALUES > 2, np.inf, VALUES))
    with pytest.raises(InputError, match="NaN or infinite"):
        run(tmp_path, "responses=file", f"responses.path={path}", "target=face")


@pytest.mark.cli
def test_the_command_line_scores_a_file_and_refuses_half_of_it(tmp_path: Path):
    path = write(tmp_path / "session.nc", np.tile(VALUES, (1, 4)))
    words = ["responses=file", "responses.path=session.nc", "target=face", *FEW, "decoding=none"]
    process = run_app(tmp_path, *words, "tracking=none", "figures=true", "hydra.run.dir=run")
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("session.nc / fsi / ") and "units 20" in process.stdout
    assert (tmp_path / "run" / "figures" / "scores.png").is_file()
    path.write_bytes(path.read_bytes()[:3000])
    process = run_app(tmp_path, *words, "tracking=none")
    assert process.returncode == 1
    (line,) = process.stderr.splitlines()
    assert line.startswith("error: session.nc cannot be read: ")


@pytest.mark.slow
@pytest.mark.cli
def test_a_file_larger_than_memory_is_scored_within_it(tmp_path: Path):
    """2 GB within 1.8 of resident memory, measured by the run itself; written as a hole."""
    units, labels = 1_250_000, np.repeat(["face", "house", "car", "word"], 100)
    shape = len(labels), units
    array = np.lib.format.open_memmap(tmp_path / "large.npy", "w+", np.float32, shape)
    array[:, :1000] = np.random.default_rng(0).normal(size=(len(labels), 1000))
    array.flush()
    del array
    pd.DataFrame({"category": labels}).to_csv(tmp_path / "stimuli.csv", index=False)
    process = run_app(
        tmp_path, "responses=file", "responses.path=large.npy", "responses.stimuli=stimuli.csv",
        "target=face", "memory_gb=1.8", "certainty=none", "decoding=none", "figures=false",
        "hydra.run.dir=run", "~metrics.wilcoxon", "~metrics.ttest", fresh=True,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert float(record["tags"]["peak_memory_gb"]) < 1.8
    assert "undefined 1,249,000" in process.stdout
