"""Runs read back: from MLflow and from the folder alone the same, numbers as numbers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from app.errors import InputError
from app.notebook import runs
from app.reading import Run, Runs
from app.sweeps.results import Result
from tests.conftest import SMALL, finished, run_app

SWEEP = ["-m", "metric=fsi,ttest", "layer=conv2,conv13", "lesion.layers=[conv13]", "lesion.sets=[]",
         "decoding=none", "figures=false", *SMALL]  # fmt: skip


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("swept")
    finished(run_app(folder, *SWEEP, "seed=3"))
    (swept,) = folder.glob("outputs/sweeps/*/*")
    return swept


@pytest.fixture(scope="module")
def read(sweep: Path) -> Runs:
    return runs(sweep)


def test_filtered_and_grouped_by_values(read: Runs):
    assert len(read) == 4 and read[0].params["layer"] == "conv2"
    assert [run.params["metric"] for run in read.filter(layer="conv13")] == ["fsi", "ttest"]
    assert len(read.filter({"certainty.resamples": 40}, metric=["fsi", "auc"])) == 2
    none = read.filter(seed=4)
    assert len(none) == len(none.jobs) == len(none.filter(seed=4)) == len(none.group("layer")) == 0
    for ask in (lambda: none.scores, lambda: none.lesions, lambda: none.report):
        with pytest.raises(InputError, match=r"none of the 0 runs has a|^no runs of .*no report"):
            ask()
    grouped = read.group("layer")
    assert list(grouped) == ["conv2", "conv13"] and len(grouped["conv2"]) == 2
    assert set(read.group("layer", "metric")) == {
        (layer, metric) for layer in grouped for metric in ("fsi", "ttest")
    }
    said = "^layers is no column of .* jobs, such as layer, metric, aggregation$"
    with pytest.raises(InputError, match=said):
        read.filter(layers="conv2")


def test_of_a_run_that_failed_nothing_is_drawn():
    failed = Run(Result("failed", "conv2", {"metric": "fsi"}), lambda result, name: None)
    for draw in (failed.plot_scores, failed.plot_jaccard, failed.plot_lesions):
        with pytest.raises(InputError, match="^conv2 has no .*parquet: it failed"):
            draw()


def test_numbers_are_numbers(read: Runs):
    jobs = read.jobs
    assert jobs["seed"].tolist() == [3] * 4 and jobs["seed"].dtype == np.int64
    assert jobs["metric.criterion.threshold"].tolist() == [0.3, 0.3, 0.05, 0.05]
    assert jobs["trained"].tolist() == [True] * 4
    assert jobs["lesion.layers"].tolist() == [["conv13"]] * 4
    assert jobs["selectivity/percent"].dtype == np.float64
    assert jobs["status"].tolist() == ["finished"] * 4


def test_long_tables_have_each_runs_own_metric(read: Runs, sweep: Path):
    scores = read.scores
    assert scores["layer"].cat.categories.tolist() == ["conv2", "conv13"]
    assert scores.columns[:4].tolist() == ["job", "layer", "metric", "aggregation"]
    assert {"unit", "score", "selected", "ci95_low", "split_half"} <= {*scores}
    for (job, metric), rows in scores.groupby(["job", "metric"], observed=True):
        table = pd.read_parquet(sweep / f"{job}/scores.parquet")
        np.testing.assert_array_equal(rows["score"], table[metric])
        np.testing.assert_array_equal(rows["selected"], table[f"selected_{metric}"])
        np.testing.assert_array_equal(rows["ci95_low"], table[f"{metric}_ci95_low"])
    assert read.lesions["layer"].unique().tolist() == ["conv13"]
    assert len(read.lesions) == 2 * len(pd.read_parquet(sweep / "3/lesion.parquet"))
    with pytest.raises(InputError, match="none of the 2 runs has a lesion.parquet"):
        _ = read.filter(layer="conv2").lesions


def test_the_report_is_the_sweeps(read: Runs, sweep: Path):
    for letter, table in read.report.tables.items():
        written = pd.read_csv(sweep / f"report/panel_{letter}.csv")
        assert table.shape == written.shape
    assert "f" in read.report.tables
    text = (sweep / "report/report.md").read_text()
    assert read.report.summary and all(line[3:] in text for line in read.report.summary)


def test_from_mlflow_the_same(read: Runs, sweep: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(sweep.parents[3])
    parent = read[0].result
    from mlflow import MlflowClient

    from app.sweeps.parent import find_parent

    swept = find_parent(sweep) or ""
    client = MlflowClient("sqlite:///mlruns/mlflow.db")
    of = client.get_run(swept).info.experiment_id
    foreign = client.create_run(of, tags={"mlflow.parentRunId": swept}, run_name="mine").info.run_id
    client.set_terminated(foreign)
    with pytest.raises(InputError, match=f"^{foreign} is no run of python -m app, but 'mine'"):
        runs(foreign)
    stored = runs(swept, folder="mlruns")
    pd.testing.assert_frame_equal(stored.jobs, read.jobs)
    pd.testing.assert_frame_equal(stored.scores, read.scores)
    assert stored.report.summary == read.report.summary
    (one,) = runs(parent.run_id or "")
    assert one.params == read[0].params and one.result.name == read[0].result.name


def test_from_a_folder_that_moved_and_of_one_run(read: Runs, sweep: Path, tmp_path: Path):
    shutil.copytree(sweep, tmp_path / "moved")
    assert runs(tmp_path / "moved")[0].result.folder == str(tmp_path / "moved/0")
    (one,) = runs(tmp_path / "moved/3")
    pd.testing.assert_frame_equal(one.scores, read[3].scores)


def test_single_runs_in_a_folder_are_told_apart(read: Runs, sweep: Path, tmp_path: Path):
    for number, name in enumerate(("conv2", "conv13")):  # of no sweep
        shutil.copytree(sweep / str(number), tmp_path / name)
        told = json.loads((tmp_path / name / "result.json").read_text())
        (tmp_path / name / "result.json").write_text(json.dumps({**told, "job": 0}))
    found = runs(tmp_path)
    assert (found.title, [run.result.job for run in found]) == (str(tmp_path), [0, 1])
    of_sweep = read[:2].report.tables
    assert found.report.tables.keys() == of_sweep.keys()
    for letter, table in found.report.tables.items():
        pd.testing.assert_frame_equal(table, of_sweep[letter])


def test_figures_are_drawn_into_the_users_axes(read: Runs):
    run, (_, axes) = read[1], plt.subplots(1, 4)
    drawn = [
        run.plot_scores(ax=axes[0], metric="ttest"),
        run.plot_pair("dprime", ax=axes[1]),
        run.plot_jaccard(ax=axes[2]),
        run.plot_lesions(ax=axes[3]),
    ]
    assert drawn == list(axes)
    labels = axes[0].get_legend_handles_labels()[1]
    count = int(run.scores["selected_ttest"].sum())
    assert any(label.startswith(f"selected: {count} of ") for label in labels)
    assert "Benjamini-Hochberg at 0.05, every contrast" in labels
    r = run.metrics["lesion/spearman"]
    assert axes[3].get_title("right").replace("−", "-").endswith(f"{r:.2f}")
    assert isinstance(run.plot_scores(), Axes)
    plt.close("all")


def test_jobs_in_folders_of_folders_and_a_null_among_words(tmp_path: Path):
    words = ["-m", "lesion.layers=null,[conv2]", "hydra.sweep.subdir=own/${lesion.layers}",
             "hydra.sweep.dir=swept", "lesion.sets=[]", "decoding=none", "figures=false", *SMALL,
             "aggregation=l2"]  # fmt: skip
    process = finished(run_app(tmp_path, *words))
    assert "2 of 2 jobs finished" in process.stdout
    assert (tmp_path / "swept/report/report.md").is_file()
    read = runs(tmp_path / "swept")
    assert [run.params["lesion.layers"] for run in read] == [None, ["conv2"]]
    assert read.scores["lesion.layers"].cat.categories.tolist() == ["None", "['conv2']"]
    process = run_app(tmp_path, *words, "hydra.sweep.subdir=one", "hydra.sweep.dir=other")
    assert process.returncode == 1 and process.stderr.count("\n") == 1
    assert "hydra.sweep.subdir=one is the folder of jobs 0 and 1: name it by" in process.stderr
    assert not (tmp_path / "other/one").exists()


def test_a_folder_that_holds_more_than_the_run(tmp_path: Path):
    """With `hydra.run.dir=.`, say: what the run did not write is neither read nor delivered."""
    (tmp_path / "notes.txt").write_text("mine")
    words = ["hydra.run.dir=.", "figures=true", "decoding=none", *SMALL, "aggregation=l2"]
    finished(run_app(tmp_path, *words))
    first = runs(tmp_path)[0]
    assert first.find_table("lesion") is not None
    finished(run_app(tmp_path, *words, "lesion=none", "metric=dprime"))
    second = runs(tmp_path)[0]
    assert second.params["metric"] == "dprime" and len(second.find_table("scores")) == 128
    assert second.find_table("lesion") is None and (tmp_path / "lesion.parquet").is_file()
    for run, more in (first, {"lesion.parquet", "figures/lesion.png"}), (second, set()):
        (folder,) = tmp_path.glob(f"mlruns/artifacts/{run.result.run_id}/artifacts")
        kept = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert {"scores.parquet", "figures/scores.png", "app.log", ".hydra/config.yaml"} <= kept
        assert more <= kept and all(name in {*run.result.files} for name in more)
        assert not {"notes.txt", "mlruns/mlflow.db"} & kept
        assert ("lesion.parquet" in kept) == bool(more)


@pytest.mark.parametrize(
    ("source", "said"),
    [("nowhere", "nowhere is no folder, and no id of a run"), (".", ". has no results: name")],
)
def test_what_is_no_sweep_is_one_line(source, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"^{said}"):
        runs(source)
