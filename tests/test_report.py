"""A sweep's report through the command line, its numbers recomputed from the jobs' tables."""

from __future__ import annotations

import json
import shutil
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from mlflow import MlflowClient
from scipy import stats

from app.config import schema
from app.config.schema import Tracking
from app.errors import InputError
from app.launch.commandline import CONFIG_FOLDER
from app.sweeps import report
from app.sweeps.results import read_results, read_sweep, tabulate
from app.tracking.store import Store, connect
from tests.conftest import SMALL, finished, run_app
from tests.goldens.commands import differences, run_golden

METRICS = ("fsi", "dprime", "wilcoxon", "ttest")
SWEPT = ("fsi", "dprime")  # by the golden
LAYERS = ("conv7", "conv13")
MODEL = "dualtask_mini"
ASKED = ("model", "aggregation", "layer", "metric")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory):
    """Figure 1 in little, as `tests.goldens` runs it: its folder, its sweep's and what it said."""
    folder = tmp_path_factory.mktemp("figure1")
    return folder, folder / "figure1", run_golden("figure1", folder).stdout


def test_findings_are_those_that_were_kept(sweep):
    assert differences("figure1", sweep[0]) == []


@pytest.fixture(scope="module")
def jobs(sweep) -> dict[tuple[str, ...], dict]:
    """Of each job: its scores, its lesions' effects and what it logged."""
    found = {}
    for path in sweep[1].glob("*/result.json"):
        result, folder = json.loads(path.read_text()), path.parent
        asked = tuple(result["params"][name] for name in ASKED)
        found[asked] = {"scores": pd.read_parquet(folder / "scores.parquet")}
        if (folder / "lesion.parquet").is_file():
            found[asked]["lesion"] = pd.read_parquet(folder / "lesion.parquet")
        found[asked]["logged"] = json.loads((folder / "metrics.json").read_text())
    return found


def panel(sweep, letter: str) -> pd.DataFrame:
    path = sweep[1] / "report" / f"panel_{letter}"
    table = pd.read_parquet(path.with_suffix(".parquet"))
    pd.testing.assert_frame_equal(
        pd.read_csv(path.with_suffix(".csv")), table, check_dtype=False, check_exact=False
    )
    return table


def store_of(folder: Path) -> Store:
    return connect(Tracking(name="sqlite", folder=str(folder / "mlruns")))


def report_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_whole_design_is_160_jobs():
    schema.register()
    with initialize_config_dir(str(CONFIG_FOLDER.absolute()), version_base="1.3"):
        config = compose("config", ["+experiment=figure1"], return_hydra_config=True)
    assert config.hydra.mode.name == "MULTIRUN" and config.figures is False
    assert config.lesion.layers == config.decoding.layers == ["conv13"]
    words = [f"{name}={values}" for name, values in config.hydra.sweeper.params.items()]
    parsed = OverridesParser.create().parse_overrides(words)
    ((*jobs,),) = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    assert len(jobs) == 160
    assert {tuple(sorted(job)) for job in jobs} == {
        tuple(sorted((f"model={a}", f"layer={b}", f"aggregation={c}", f"metric={d}")))
        for a, b, c, d in product(
            ("dualtask_mini", "dualtask_mini_untrained"),
            ("conv2", "conv4", "conv7", "conv10", "conv13"),
            ("unit", "mean", "l2", "max"),
            METRICS,
        )
    }


@pytest.mark.parametrize(("letter", "aggregation"), [("b", "unit"), ("c", "l2")])
def test_selections_recounted(sweep, jobs, letter: str, aggregation: str):
    table = panel(sweep, letter)
    assert len(table) == len(LAYERS) * len(SWEPT)
    for row in table.to_dict("records"):
        scores = jobs[MODEL, aggregation, row["layer"], row["metric"]]["scores"]
        selected = scores[f"selected_{row['metric']}"]
        assert row["count"] == selected.sum() and row["units"] == len(scores)
        assert row["percent"] == pytest.approx(100 * selected.sum() / len(scores))
        assert row["undefined"] == scores[row["metric"]].isna().sum()


def test_lesions_recomputed(sweep, jobs):
    table = panel(sweep, "d")
    assert list(table["metric"]) == list(SWEPT) and set(table["layer"]) == {"conv13"}
    for row in table.to_dict("records"):
        job = jobs[MODEL, "l2", row["layer"], row["metric"]]
        score, defined = job["scores"][row["metric"]], job["scores"][row["metric"]].notna()
        for task, column in (("face", "spearman"), ("object", "spearman_object")):
            left = -job["lesion"][f"{task}_loss"]
            expected = stats.spearmanr(score[defined], left[defined]).statistic
            assert row[column] == pytest.approx(expected)
        for other in set(METRICS) - {row["metric"]}:
            pair = job["scores"][[row["metric"], other]].dropna()
            expected = stats.spearmanr(*pair.to_numpy().T).statistic
            assert row[f"with_{other}"] == pytest.approx(expected)


def test_decoding_is_what_the_jobs_logged(sweep, jobs):
    table = panel(sweep, "e")
    assert list(table["metric"]) == list(SWEPT) and set(table["layer"]) == {"conv13"}
    for row in table.to_dict("records"):
        job = jobs[MODEL, "l2", "conv13", row["metric"]]
        logged, scores = job["logged"], job["scores"]
        counts = [scores[f"selected_{name}"].sum() for name in METRICS]
        assert row["kernels"] == min(count for count in counts if count)
        for name in ("accuracy", "ci95_low", "ci95_high", "chance", "random_kernels"):
            assert row[name] == logged[f"decoding/{name}"]


def test_consistency_recomputed(sweep, jobs):
    table = panel(sweep, "f")
    table = table[table["aggregation"] == "unit"]
    assert list(table["layer"]) == [*LAYERS, *LAYERS]
    assert list(table["trained"]) == [True, True, False, False]
    for row in table.to_dict("records"):
        model = MODEL if row["trained"] else f"{MODEL}_untrained"
        scores = jobs[model, "unit", row["layer"], "fsi"]["scores"]
        pairs = []
        for first, second in combinations(METRICS, 2):
            pair = scores[[first, second]].dropna()
            pairs.append(stats.spearmanr(pair[first], pair[second]).statistic)
        assert row["mean"] == pytest.approx(np.mean(pairs))
        assert row["sem"] == pytest.approx(np.std(pairs, ddof=1) / np.sqrt(6))


def test_the_terminal_says_what_each_panel_shows(sweep):
    printed = " ".join(sweep[2].split())
    for letter, paper in {
        "b": "FSI up to 20 %; the other three at most 3 %.",
        "c": "only FSI grows with depth.",
        "d": "FSI closest, r = −0.29",
        "e": "highly similar across metrics.",
        "f": "The paper: trained above untrained",
    }.items():
        assert f" {letter}: " in printed and paper in printed
    text = (sweep[1] / "report" / "report.md").read_text()
    swept = "model (2), layer (2), metric (2) and aggregation (2)"
    assert f"16 of 16 jobs finished. Swept: {swept}." in text
    most = panel(sweep, "b").groupby("metric")["percent"].max()
    assert f"FSI up to {most['fsi']:.1f} %" in text


def test_pictures_of_all_and_of_each_panel(sweep):
    names = set(report_of(sweep[1] / "report"))
    drawn = {f"{name}.{kind}" for name in ("figure", *(f"panel_{x}" for x in "bcdef"))
             for kind in ("png", "svg")}  # fmt: skip
    assert drawn <= names
    assert {"report.md", "jobs.csv", "jobs.parquet"} <= names
    assert len(pd.read_csv(sweep[1] / "report" / "jobs.csv")) == 16


@pytest.fixture(scope="module")
def parent(sweep) -> str:
    return json.loads((sweep[1] / "record.json").read_text())["run_id"]


@pytest.fixture(scope="module")
def logged(sweep, parent: str) -> Path:
    """Where the store has the sweep's report."""
    (folder,) = sweep[0].glob(f"mlruns/artifacts/{parent}/artifacts")
    return folder


@pytest.fixture(scope="module")
def made_again(sweep, parent: str, logged: Path) -> Path:
    """The report made from the store, which had lost it."""
    first = report_of(sweep[1] / "report")
    assert report_of(logged) == first
    for path in logged.iterdir():
        path.write_text("gone")
    made = sweep[0] / "outputs/reports" / parent
    made.mkdir(parents=True)
    (made / "private.txt").write_text("of the user's own")
    finished(run_app(sweep[0], f"run={parent}", module="app.report"))
    (made / "private.txt").unlink()
    return made


def test_made_again_from_the_store_it_is_the_same_byte_for_byte(
    sweep, parent: str, logged: Path, made_again: Path
):
    folder, swept, _ = sweep
    assert report_of(made_again) == report_of(logged) == report_of(swept / "report")
    assert not (folder / "report.log").exists()


def test_the_store_and_the_jobs_folders_tell_the_same(sweep, parent: str):
    folder, swept, _ = sweep
    _, results = read_sweep(store_of(folder), parent)
    told = tabulate(read_results(swept))
    pd.testing.assert_frame_equal(tabulate(results), told, check_exact=True)


def test_failed_jobs_are_in_the_store_and_in_the_report(sweep):
    folder, _, _ = sweep
    process = run_app(
        folder, "-m", *SMALL, "target=faces,cats", "identities=synthetic,folder",
        "identities.root=nowhere", "lesion=none", "figures=false", "hydra.sweep.dir=failing",
    )  # fmt: skip
    assert process.returncode == 1 and "1 of 4 jobs finished" in process.stdout
    assert process.stderr.count("error: ") == 3 and "Traceback" not in process.stderr
    assert len(list(folder.glob("failing/*/result.json"))) == 4
    assert (folder / "failing/0/scores.parquet").is_file()
    text = (folder / "failing/report/report.md").read_text()
    assert "1 of 4 jobs finished" in text
    assert text.count("target=cats is no domain of the stimuli") == 2
    assert text.count("identities.root=nowhere") >= 1
    parent = json.loads((folder / "failing/record.json").read_text())["run_id"]
    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    assert client.get_run(parent).info.status == "FAILED"
    experiment = client.get_run(parent).info.experiment_id
    children = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    states = {run.data.tags["job"]: run.info.status for run in children}
    assert states == {"0": "FINISHED", "1": "FAILED", "2": "FAILED", "3": "FAILED"}
    (cats,) = [run for run in children if run.data.tags["job"] == "2"]
    assert cats.data.params["target"] == "cats" and cats.data.params["layer"] == "conv13"
    assert cats.data.tags["error"].startswith("target=cats is no domain")
    title, results = read_sweep(store_of(folder), parent)
    report.write_report(report.make_report(results, title), folder / "again")
    assert report_of(folder / "again") == report_of(folder / "failing/report")


@pytest.mark.parametrize(
    ("settings", "run", "needle"),
    [
        ({"folder": "mlruns"}, "abc", "no id of a run"),
        ({"folder": "mlruns"}, "0" * 32, "not found"),
        ({"folder": "elsewhere"}, "0" * 32, "mlflow.db is no file"),
        ({"name": "none"}, "0" * 32, "tracking=none keeps no runs"),
    ],
)
def test_a_report_of_nothing(sweep, monkeypatch, settings: dict, run: str, needle: str):
    monkeypatch.chdir(sweep[0])
    with pytest.raises(InputError, match=needle):
        read_sweep(connect(Tracking(**{"name": "sqlite", **settings})), run)
    assert not Path("elsewhere").exists()


def test_a_job_is_no_sweep(sweep):
    folder, swept, _ = sweep
    job = json.loads((swept / "0/result.json").read_text())["run_id"]
    with pytest.raises(InputError, match="has no jobs"):
        read_sweep(store_of(folder), job)


def test_jobs_that_were_deleted_are_told_of_and_the_larger_report_stays(
    sweep, parent: str, logged: Path, made_again: Path
):
    folder, swept, _ = sweep
    made, client = made_again, MlflowClient(store_of(folder).uri)
    before = {place: report_of(place) for place in (made, logged)}
    _, results = read_sweep(store_of(folder), parent)
    whole = tabulate(results)
    told = (
        "the store has {} of the 16 jobs that the sweep had: the others were deleted, or never "
        f"began; python -m app.sync {swept} makes deleted ones again"
    )

    client.delete_run(results[0].run_id)
    process = finished(run_app(folder, f"run={parent}", module="app.report"))
    assert process.stderr == f"{told.format(15)}. The parent run keeps the report that it has.\n"
    assert {place: report_of(place) for place in (made, logged)} == before
    text = (made.with_name(f"{parent}_15_jobs") / "report.md").read_text()
    assert "1 of the sweep's 16 jobs have no run: deleted, or never begun." in text

    for result in results[1:]:
        client.delete_run(result.run_id)
    process = run_app(folder, f"run={parent}", module="app.report")
    assert (process.returncode, process.stderr) == (1, f"error: {told.format(0)}\n")
    client.delete_run(parent)
    process = run_app(folder, f"run={parent}", module="app.report")
    assert process.returncode == 1 and process.stderr.count("\n") == 1
    assert f"run={parent} was deleted: " in process.stderr and str(swept) in process.stderr

    synced = finished(run_app(folder, str(swept), module="app.sync"))
    assert synced.stdout == "17 run(s) delivered\n"
    _, results = read_sweep(store_of(folder), parent)
    assert tabulate(results).equals(whole)


def test_a_deleted_experiment_is_one_line_before_the_first_job(sweep, parent: str, tmp_path: Path):
    (tmp_path / "mlruns").mkdir()
    shutil.copy(sweep[0] / "mlruns/mlflow.db", tmp_path / "mlruns")
    client = MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    experiment = client.get_experiment(client.get_run(parent).info.experiment_id)
    client.delete_experiment(experiment.experiment_id)
    name = f"tracking.experiment={experiment.name}"
    process = run_app(tmp_path, "-m", "metric=fsi,ttest", name, *SMALL)
    lines = process.stderr.splitlines()
    assert process.returncode == 1 and process.stdout.startswith("A sweep: metric=fsi,ttest ")
    assert "came from" in lines[0] and len(lines) == 2  # the store was copied
    number = experiment.experiment_id
    assert f"mlflow experiments restore --experiment-id {number}`, or choose" in lines[1]
    assert not list(tmp_path.glob("outputs/sweeps/*/*/*/*"))
    process = run_app(tmp_path, f"run={parent}", module="app.report")
    assert process.returncode == 1 and process.stderr.count("\n") == 1
    said = f"error: the experiment {experiment.name!r} was deleted from "
    assert process.stderr.startswith(said)
    assert process.stderr.endswith(f"mlflow experiments restore --experiment-id {number}`\n")
