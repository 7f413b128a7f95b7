"""The main job through the real command line, and its numbers recomputed with scipy alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zlib
from base64 import b64decode
from collections import Counter
from itertools import combinations
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient
from scipy import stats
from statsmodels.stats.multitest import multipletests

from app import experiment
from app.experiment import Job
from app.stimuli.synthetic import DOMAINS
from app.sweeps.results import Result
from tests.composing import check_config
from tests.conftest import REPOSITORY, SMALL, computed, entries, finished, run_app
from tests.goldens.commands import differences, run_golden

METRICS = ("fsi", "dprime", "wilcoxon", "ttest")
LAYERS = ("conv2", "conv13")
LOGGED = {
    "selectivity/count", "selectivity/percent", "selectivity/units", "selectivity/undefined",
    "consistency/mean", "lesion/spearman", "lesion/spearman_object",
    "lesion/selection_face_top1", "lesion/selection_random_face_top1", "lesion/top_face_top1",
    "lesion/selection_object_top1", "lesion/selection_random_object_top1", "lesion/top_object_top1",
    "threshold/percent", "threshold/criterion",
    "decoding/accuracy", "decoding/ci95_low", "decoding/ci95_high", "decoding/kernels",
    "decoding/accuracy_corrected_ci95_low", "decoding/accuracy_corrected_ci95_high",
    "decoding/accuracy_identities_ci95_low", "decoding/accuracy_identities_ci95_high",
    "decoding/difference_random_kernels", "decoding/difference_random_kernels_ci95_low",
    "decoding/difference_random_kernels_ci95_high",
    "decoding/chance", "decoding/random_kernels", "decoding/all_kernels",
}  # fmt: skip
LEADING = ("model", "layer", "metric", "threshold", "aggregation", "stimuli", "target", "seed")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess]:
    """The main job on small image sets, as `tests.goldens` runs it, with a store of its own."""
    folder = tmp_path_factory.mktemp("sweep")
    return folder, run_golden("main", folder)


@pytest.fixture(scope="module")
def client(sweep) -> MlflowClient:
    return MlflowClient(f"sqlite:///{sweep[0]}/mlruns/mlflow.db")


@pytest.fixture(scope="module")
def runs(client: MlflowClient):
    """(parent, children) of the sweep."""
    experiment = client.get_experiment_by_name("main")
    everything = client.search_runs([experiment.experiment_id])
    children = [run for run in everything if "mlflow.parentRunId" in run.data.tags]
    (parent,) = [run for run in everything if "mlflow.parentRunId" not in run.data.tags]
    return parent, children


def job_folders(folder: Path, name: str = "main") -> dict[tuple[str, str], Path]:
    found = {}
    for path in folder.glob(f"{name}/*/result.json"):
        params = json.loads(path.read_text())["params"]
        found[params["metric"], params["layer"]] = path.parent
    return found


def test_findings_are_those_that_were_kept(sweep):
    assert differences("main", sweep[0]) == []


def test_eight_finished_children_under_one_parent(runs):
    parent, children = runs
    assert parent.info.status == "FINISHED"
    assert len(children) == 8
    assert {run.info.status for run in children} == {"FINISHED"}
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    names = {
        f"{layer} {metric} {run.data.params[f'threshold.{metric}']} l2 dualtask_mini": run
        for run in children
        for layer, metric in [(run.data.params["layer"], run.data.params["metric"])]
    }
    assert all(run.info.run_name == name for name, run in names.items())
    assert "conv13 fsi 0.3 l2 dualtask_mini" in names and len(names) == 8
    assert {run.data.params["layer"]: run.data.metrics["layer/depth"] for run in children} == {
        "conv2": 2,
        "conv13": 13,
    }


def test_the_parent_says_what_was_swept_and_found(sweep, client: MlflowClient, runs):
    parent, children = runs
    swept = {"metric": "fsi,dprime,wilcoxon,ttest", "layer": "conv2,conv13"}
    assert parent.data.params == swept
    page = parent.data.tags["mlflow.note.content"]
    assert "8 of 8 jobs finished" in page and "**d. Selectivity and lesions.** In conv13" in page
    assert f"get-artifact?path=figure.png&run_uuid={parent.info.run_id}" in page
    assert page.count("\n| conv13") == 4
    artifacts = {artifact.path for artifact in client.list_artifacts(parent.info.run_id)}
    assert {"report.html", "figure.png"} <= artifacts
    for run in children:
        page = run.data.tags["mlflow.note.content"]
        folder = job_folders(sweep[0])[run.data.params["metric"], run.data.params["layer"]]
        listed = pd.read_csv(folder / "selected.csv")
        count = int(run.data.metrics["selectivity/count"])
        assert len(listed) == count and f"**{count} of " in page
        assert listed[run.data.params["metric"]].is_monotonic_decreasing
        if count:
            assert page.endswith(": " + " ".join(map(str, listed["unit"])))


def test_the_view_that_is_printed_is_kept(sweep, client: MlflowClient, runs):
    (line,) = [line for line in sweep[1].stdout.splitlines() if line.startswith("    then: ")]
    query = parse_qs(line.partition("?")[2])
    assert query["workflowType"] == ["machine_learning"]
    (key,) = query["viewStateShareKey"]
    tags = client.get_experiment_by_name("main").tags
    view = json.loads(tags[f"mlflow.sharedViewState.{key}"])
    state = json.loads(zlib.decompress(b64decode(view["state"].removeprefix("deflate;"))))
    shown = client.search_runs(
        [runs[0].info.experiment_id],
        state["searchFilter"],
        order_by=[f"{state['orderByKey']} ASC"],
    )
    assert [run.data.params["layer"] for run in shown] == ["conv2"] * 4 + ["conv13"] * 4
    assert state["selectedColumns"][:4] == [
        "attributes.`Run Name`",
        "params.`layer`",
        "params.`metric`",
        "metrics.`selectivity/count`",
    ]
    drawn = {chart["selectedXAxisMetricKey"] for chart in state["compareRunCharts"]
             if not chart["deleted"]}  # fmt: skip
    assert len(drawn) == 4 and drawn <= {name for run in shown for name in run.data.metrics}


def test_every_metric_of_the_design_is_logged(runs):
    for run in runs[1]:
        own = run.data.params["metric"]
        others = {
            f"{measure}_{name}"
            for measure in (
                "consistency/spearman",
                "agreement/top10_percent",
                "decoding/difference",
            )
            for name in METRICS
            if name != own
        }
        assert set(run.data.metrics) >= LOGGED | others, run.info.run_name
        assert f"consistency/spearman_{own}" not in run.data.metrics
        assert set(LEADING) <= set(run.data.params)
        assert run.data.params["threshold.fsi"] == "0.3"
        assert run.data.tags["mlflow.note.content"]
        assert {"trained", "model.digest", "mlflow.source.git.commit"} <= set(run.data.tags)


def test_stimuli_are_a_dataset_with_their_digest(runs):
    digests = {run.inputs.dataset_inputs[0].dataset.digest for run in runs[1]}
    assert len(digests) == 1
    assert runs[1][0].inputs.dataset_inputs[0].dataset.name == "synthetic"


def test_artifacts(client: MlflowClient, runs):
    for run in runs[1]:
        names = {artifact.path for artifact in client.list_artifacts(run.info.run_id)}
        assert {"scores.parquet", "config.yaml", "versions.json"} <= names
        assert {"lesion.parquet", "lesion_sets.parquet", "threshold.parquet"} <= names
        assert "decoding.parquet" in names


KERNELS = {"conv2": 16, "conv13": 128}


def responses(folder: Path, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """Stored localizer responses (images, kernels) and the category of each image."""
    labels = np.repeat([c for members in DOMAINS.values() for c in members], 8)
    for path in (folder / "outputs/cache/read_kernels").glob("*.npz"):
        with np.load(path) as entry:
            if entry["l2"].shape == (80, KERNELS[layer]):
                return entry["l2"].astype(np.float64), labels
    raise AssertionError("no stored responses")


@pytest.mark.parametrize("layer", LAYERS)
def test_scores_and_selections_recomputed_with_scipy_alone(sweep, layer: str):
    folder = sweep[0]
    values, labels = responses(folder, layer)
    domain = {name: np.isin(labels, members) for name, members in DOMAINS.items()}
    target, rest = values[domain["faces"]], values[~domain["faces"]]
    others = [values[mask] for name, mask in domain.items() if name != "faces"]
    expected = pd.DataFrame(index=range(values.shape[1]), columns=list(METRICS), dtype=float)
    selected = {}

    mean_t, mean_n = target.mean(0), rest.mean(0)
    silent = np.ptp(values, axis=0) == 0
    with np.errstate(invalid="ignore", divide="ignore"):
        expected["fsi"] = (mean_t - mean_n) / (abs(mean_t) + abs(mean_n))
        pooled = np.sqrt((target.var(0, ddof=1) + rest.var(0, ddof=1)) / 2)
        expected["dprime"] = (mean_t - mean_n) / pooled
    selected["fsi"] = expected["fsi"].to_numpy() > 0.3
    selected["dprime"] = expected["dprime"].to_numpy() > 0.65

    z, p_z = [], []
    for other in others:
        test = stats.mannwhitneyu(target, other, method="asymptotic", use_continuity=True, axis=0)
        sign = np.sign(test.statistic - len(target) * len(other) / 2)
        z.append(sign * np.abs(stats.norm.isf(test.pvalue / 2)))
        p_z.append(test.pvalue)
    expected["wilcoxon"] = np.min(z, axis=0)
    selected["wilcoxon"] = (np.array(p_z) < 0.001).all(0) & (np.array(z) > 0).all(0)

    tests = [stats.ttest_ind(target, other, axis=0) for other in others]
    t = np.array([test.statistic for test in tests])
    expected["ttest"] = np.nanmin(np.where(np.isfinite(t), t, np.nan), axis=0)
    passed = []
    for test in tests:
        defined = np.isfinite(test.pvalue)
        reject = np.zeros(len(defined), bool)
        reject[defined] = multipletests(test.pvalue[defined], 0.05, "fdr_bh")[0]
        passed.append(reject & (test.statistic > 0))
    selected["ttest"] = np.all(passed, axis=0)
    expected[silent] = np.nan

    table = pd.read_parquet(job_folders(folder)["fsi", layer] / "scores.parquet")
    assert list(table.columns[:4]) == ["unit", "channel", "row", "column"]
    for metric in METRICS:
        np.testing.assert_allclose(table[metric], expected[metric], rtol=1e-5, atol=1e-7)
        np.testing.assert_array_equal(table[f"selected_{metric}"], selected[metric])


def test_logged_findings_agree_with_the_tables(sweep, runs):
    folders = job_folders(sweep[0])
    for run in runs[1]:
        metric, layer = run.data.params["metric"], run.data.params["layer"]
        table = pd.read_parquet(folders[metric, layer] / "scores.parquet")
        lesion = pd.read_parquet(folders[metric, layer] / "lesion.parquet")
        logged = run.data.metrics
        assert logged["selectivity/count"] == table[f"selected_{metric}"].sum()
        assert logged["selectivity/units"] == len(table)
        assert logged["selectivity/undefined"] == table[metric].isna().sum()
        counts = [int(table[f"selected_{name}"].sum()) for name in METRICS]
        assert logged["decoding/kernels"] == min(count for count in counts if count)
        assert logged["decoding/chance"] == pytest.approx(1 / 6)
        pairs = []
        for first, second in combinations(METRICS, 2):
            pair = table[[first, second]].dropna()
            pairs.append(stats.spearmanr(pair[first], pair[second]).statistic)
            if metric in (first, second):
                other = second if metric == first else first
                assert logged[f"consistency/spearman_{other}"] == pytest.approx(pairs[-1])
        assert logged["consistency/mean"] == pytest.approx(np.mean(pairs))
        defined = table[metric].notna()
        for task, name in (("face", "lesion/spearman"), ("object", "lesion/spearman_object")):
            remains = -lesion[f"{task}_loss"]
            expected = stats.spearmanr(table[metric][defined], remains[defined]).statistic
            assert logged[name] == pytest.approx(expected)


def test_logged_agreement_and_curves_agree_with_the_tables(sweep, client: MlflowClient, runs):
    folders = job_folders(sweep[0])
    for run in runs[1]:
        metric, layer = run.data.params["metric"], run.data.params["layer"]
        table = pd.read_parquet(folders[metric, layer] / "scores.parquet")
        logged = run.data.metrics
        mine = set(table.index[table[f"selected_{metric}"]])
        for other in set(METRICS) - {metric}:
            theirs = set(table.index[table[f"selected_{other}"]])
            if mine | theirs:
                expected = len(mine & theirs) / len(mine | theirs)
                assert logged[f"agreement/jaccard_{other}"] == pytest.approx(expected)
            pair = table[[metric, other]].dropna()
            k = max(1, round(len(pair) / 10))
            tops = [set(pair[name].nlargest(k).index) for name in (metric, other)]
            shared = logged[f"agreement/top10_percent_{other}"]
            assert shared == pytest.approx(len(tops[0] & tops[1]) / k)
        curve = pd.read_parquet(folders[metric, layer] / "threshold.parquet")
        number = float(run.data.params[f"threshold.{metric}"])
        at_criterion = curve.loc[curve["criterion"] == number, "percent"].item()
        assert at_criterion == logged["selectivity/percent"]
        history = client.get_metric_history(run.info.run_id, "threshold/percent")
        assert sorted(point.value for point in history) == sorted(curve["percent"])
        where = {point.step: point.value for point in history}
        paper = {"fsi": 300, "dprime": 650, "wilcoxon": 300, "ttest": 130}  # the last two -log10
        assert where[paper[metric]] == logged["selectivity/percent"]
        sets = pd.read_parquet(folders[metric, layer] / "lesion_sets.parquet")
        assert sets.loc[sets["set"] == "selection", "kernels"].item() == len(mine)
        history = client.get_metric_history(run.info.run_id, "lesion/top_face_top1")
        assert [point.step for point in history] == [0, 10, 50]


def test_what_the_terminal_shows(sweep):
    folder, process = sweep
    assert str(folder) in process.stdout or "Results: main" in process.stdout
    assert "-m mlflow server --workers 1 --backend-store-uri sqlite:" in process.stdout
    assert process.stdout.count("wilcoxon") >= 2
    assert "Traceback" not in process.stderr


def test_one_forward_pass_over_the_stimuli_serves_all_jobs(sweep):
    entries = list((sweep[0] / "outputs/cache/read_kernels").glob("*.npz"))
    assert len(entries) == 2 * len(LAYERS)  # the localizer and the identities
    assert len(list((sweep[0] / "outputs/cache/score_kernels").glob("*.npz"))) == len(
        METRICS
    ) * len(LAYERS)
    lesions = list((sweep[0] / "outputs/cache/lesion_kernels").glob("*.npz"))
    assert len(lesions) == len(LAYERS), "of each kernel, once a layer"
    # Random sets, and none: metrics share them; three sizes at each layer are a metric's own.
    sets = list((sweep[0] / "outputs/cache/lesion_sets").glob("*.npz"))
    assert len(sets) <= len(LAYERS) * (1 + 2 * 2 + len(METRICS) * (2 + 1 + 2))


def run_here(folder: Path, results: Path, *overrides: str) -> Result:
    """A run in this process, with the cache of the sweep in `folder`."""
    config = check_config(*SMALL, f"cache={folder}/outputs/cache", "tracking=none", *overrides)
    return experiment.run(config, results, Job(figures=False))


def test_a_second_run_computes_nothing_and_finds_the_same(sweep, tmp_path: Path):
    """In another process than the first."""
    folder, _ = sweep
    before = {p: p.stat().st_ino for p in (folder / "outputs/cache").rglob("*.npz")}
    run_here(folder, tmp_path, "metric=wilcoxon", "layer=conv13")
    after = {p: p.stat().st_ino for p in (folder / "outputs/cache").rglob("*.npz")}
    assert before == after
    runs = job_folders(folder)["wilcoxon", "conv13"], tmp_path
    tables = (pd.read_parquet(run / "scores.parquet") for run in runs)
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_side_by_side_nothing_is_computed_twice_and_every_bit_is_the_same(sweep, tmp_path: Path):
    """By joblib, on as many threads as those of the main job."""
    jobs = ["-m", "metric=fsi,ttest", "layer=conv13", *SMALL, "figures=false"]
    process = finished(run_app(tmp_path, *jobs, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"))
    stored, before = entries(tmp_path), entries(sweep[0])
    assert computed(tmp_path) == Counter(list(stored))
    assert stored == {name: before[name] for name in stored}
    assert {"read_kernels", "score_kernels", "lesion_kernels", "decode"} <= {
        name.split("/")[0] for name in stored
    }

    assert "UserWarning" not in process.stderr
    assert "2 of 2 jobs finished" in process.stdout
    client = MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("selectivity").experiment_id])
    assert {run.info.status for run in runs} == {"FINISHED"}
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert parent.info.run_name.startswith("sweep -m metric=fsi,ttest layer=conv13")
    assert parent.data.metrics["jobs/finished"] == 2
    assert client.list_artifacts(parent.info.run_id), "the report"
    children = [run for run in runs if run is not parent]
    assert sorted(run.data.tags["job"] for run in children) == ["0", "1"]


def test_a_damaged_entry_is_computed_again_with_a_warning(sweep, tmp_path: Path, caplog):
    folder, _ = sweep
    entries = sorted((folder / "outputs/cache/score_kernels").glob("*.npz"))
    assert len(entries) == len(METRICS) * len(LAYERS)
    sound = [entry.read_bytes() for entry in entries]
    for entry in entries:
        content = bytearray(entry.read_bytes())
        content[len(content) // 2] ^= 0x10
        entry.write_bytes(bytes(content))
    run_here(folder, tmp_path, "layer=conv2", "decoding=none", "lesion=none")
    warned = [each.getMessage() for each in caplog.records if "damaged" in each.getMessage()]
    asked = [entry for entry in entries if any(entry.name in line for line in warned)]
    assert len(warned) == len(asked) == len(METRICS)
    for entry, content in zip(entries, sound, strict=True):
        assert (entry.read_bytes() == content) == (entry in asked)
        entry.write_bytes(content)


def test_another_aggregation(sweep, tmp_path: Path):
    asked = ["layer=conv13", "metric=dprime", "aggregation=max", "lesion=none"]
    found = run_here(sweep[0], tmp_path, *asked)
    assert len(pd.read_parquet(tmp_path / "scores.parquet")) == 128
    assert found.metrics["decoding/kernels"] >= 1


def test_single_units(sweep):
    folder, _ = sweep
    process = run_golden("unit", folder)
    assert differences("unit", folder) == []
    table = pd.read_parquet(folder / "unit" / "scores.parquet")
    found = json.loads((folder / "unit" / "metrics.json").read_text())
    assert len(table) == 128 * 4 * 4
    assert table[["channel", "row", "column"]].drop_duplicates().shape[0] == len(table)
    assert "single units are not lesioned" in process.stdout
    assert "not single units" in process.stdout
    assert not any(name.startswith(("lesion/", "decoding/")) for name in found)


def test_another_target_and_other_options(sweep, tmp_path: Path):
    run_here(
        sweep[0], tmp_path, "target=places", "metric=ttest", "metric.options.equal_variance=false",
        "metric.criterion.rule=fdr_by", "metric.over=categories", "aggregation=mean",
        "lesion=none", "decoding=none",
    )  # fmt: skip
    assert "target: places" in (tmp_path / "config.yaml").read_text()


def test_a_sweep_over_thresholds_finds_what_was_kept(sweep):
    run_golden("threshold", sweep[0])
    assert differences("threshold", sweep[0]) == []


def test_greedy_lesions(sweep):
    folder, _ = sweep
    process = run_golden("greedy", folder)
    assert differences("greedy", folder) == []
    newest = folder / "greedy"
    table = pd.read_parquet(newest / "lesion.parquet")
    found = json.loads((newest / "metrics.json").read_text())
    single = pd.read_parquet(job_folders(folder)["fsi", "conv13"] / "lesion.parquet")
    pd.testing.assert_frame_equal(table[list(single.columns)], single, check_exact=True)

    assert found["lesion/greedy_dropped"] == 5  # 4 % of 128
    assert "greedy dropped 5" in " ".join(process.stdout.split())
    score = pd.read_parquet(newest / "scores.parquet")["fsi"]
    for task, name in (("face", "lesion/spearman"), ("object", "lesion/spearman_object")):
        place, step = table[f"{task}_search_place"], table[f"{task}_search_step"]
        assert sorted(place) == list(range(128))
        assert step.dropna().astype(int).tolist() == (place[place < 5] + 1).tolist()
        assert table[f"{task}_loss"].idxmax() == place.idxmin()
        expected = stats.spearmanr(score, place, nan_policy="omit").statistic
        assert found[name] == pytest.approx(expected)
        for measure in ("face_loss", "face_top1", "object_loss", "object_top1"):
            remaining = table[f"{task}_search_{measure}"]
            assert remaining.notna().equals(step.notna())
            assert found[f"lesion/greedy_{task}_search_{measure}"] == remaining[place == 4].item()
            assert remaining[place == 0].item() == pytest.approx(
                table.loc[place == 0, measure].item(), abs=1e-6
            )
    drawn = {path.name for path in (newest / "figures").iterdir()}
    assert drawn >= {
        f"{name}.{kind}"
        for name in (
            "scores", "responses", "overlap", "agreement", "lesion", "lesion_place", "dissociation"
        )
        for kind in ("png", "svg")
    }  # fmt: skip


def test_the_untrained_network_differs(sweep, tmp_path: Path):
    asked = ["lesion=none", "decoding=none", "model=dualtask_mini_untrained", "metric=dprime"]
    run_here(sweep[0], tmp_path, *asked)
    trained, untrained = (
        pd.read_parquet(place / "scores.parquet")["dprime"]
        for place in (job_folders(sweep[0])["dprime", "conv13"], tmp_path)
    )
    assert not np.allclose(untrained, trained, equal_nan=True)


QUICK = {
    "help": (
        ["--help"],
        "metric: auc, ccmas, class_selectivity, cohens_d, dprime, fsi, lifetime_sparseness, "
        "mutual_information, precision, target_mean, ttest, welch_t, wilcoxon",
    ),
    "config": (["--cfg", "job"], "paper: 0.001"),
    "completion": (["-sc", "query=bash"], "metric=dprime"),
}


@pytest.mark.parametrize("case", QUICK)
def test_quick_answers_import_neither_torch_nor_mlflow(tmp_path: Path, case: str):
    arguments, expected = QUICK[case]
    program = (
        "import runpy, sys\n"
        "sys.argv = ['selective-units', *sys.argv[1:]]\n"
        "try:\n    runpy.run_module('app', run_name='__main__')\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "heavy = {'torch', 'mlflow', 'scipy', 'pandas', 'matplotlib', 'pooch'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    process = finished(
        subprocess.run(
            [sys.executable, "-c", program, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, "COMP_LINE": "selective-units metric="},
        )
    )
    assert expected in process.stdout


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path):
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=tmp_path,
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()  # as `head -1` would, a little earlier
    assert process.stderr.read() == b""
    process.wait()


def test_credentials_on_the_command_line_are_written_nowhere(tmp_path: Path):
    for sweep in ([], ["-m", "seed=0,1"]):
        words = [*sweep, "tracking=server", "tracking.uri=http://me:open-sesame@host:5000"]
        process = run_app(tmp_path, *words)
        assert process.returncode == 1
        assert process.stderr.startswith("error: tracking.uri=… holds credentials, which would be")
        assert "open-sesame" not in process.stderr + process.stdout
        assert list(tmp_path.iterdir()) == []


def test_credentials_in_the_variable_of_the_address_are_written_nowhere(tmp_path: Path):
    """Nothing listens: what a run that fails leaves, too. With a server: tests/tracking."""
    uri = "http://me:open%2Dsesame@127.0.0.1:9"
    words = ["seed=0", "tracking=server", "tracking.patience_s=0", "figures=false"]
    process = run_app(tmp_path, *words, MLFLOW_TRACKING_URI=uri)
    assert process.returncode == 1
    assert "tracking server http://127.0.0.1:9 does not answer" in process.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "config.yaml" for path in files)
    process = run_app(tmp_path, "-m", *words, "metric=fsi,ttest", MLFLOW_TRACKING_URI=uri)
    expected = "error: tracking server http://127.0.0.1:9 does not answer: Connection refused; "
    assert process.returncode == 1 and process.stdout.count("\n") == 1  # before the first job
    assert process.stderr == f"{expected}start it or use tracking=sqlite\n"
    assert "sesame" not in process.stdout + process.stderr
    assert [path for path in files if b"sesame" in path.read_bytes()] == []
