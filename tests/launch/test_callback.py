"""What a sweep knows of itself: its layers, read in one forward pass, and its jobs' configs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf

from app import experiment
from app.errors import InputError
from app.experiment import Job
from app.launch.callback import check_launcher, make_plan
from app.launch.trust import list_choices
from app.sweeps.parent import Plan, read_plan, write_plan
from tests.composing import check_config
from tests.conftest import SMALL, finished, run_app


@pytest.mark.parametrize(
    ("overrides", "plan"),
    [
        (["layer=conv2,conv13", "metric=fsi,dprime"], (("conv13", "conv2"), 4)),
        (["layer=choice(conv4, conv7)", "seed=1"], (("conv4", "conv7"), 2)),
        (["layer=conv2", "metric=fsi,dprime"], ((), 2)),
        (["threshold.fsi=0.1,0.2", "target=faces,places"], ((), 4)),
        (["seed=range(1,4)", "layer=conv2,conv4", "layer=conv2"], ((), 3)),
        (["layer.name=fc6,fc7", "+x=1,2"], (("fc6", "fc7"), 4)),
    ],
)
def test_the_plan_that_overrides_make(overrides, plan):
    hydra = OmegaConf.create({"overrides": {"task": overrides}, "sweeper": None})
    made = make_plan(list_choices(hydra))
    assert (made.layers, made.jobs) == plan
    own = made.find_own([words[0] for words in list_choices(hydra).values()])
    assert list(own) == list(made.swept), "what is given once is not swept"
    assert all(value == made.swept[name][0] for name, value in own.items())


def test_a_job_is_told_what_of_a_long_value_differs():
    paths = [f'"/data/{"long" * 20} (1)/{name}/last.ckpt"' for name in ("run_a", "run_b")]
    plan = Plan({"model.checkpoint": paths, "seed": ["1", "2"]})
    own = plan.find_own([f"model.checkpoint={paths[1]}", "seed=2", "layer=conv13"])
    assert own == {"model.checkpoint": "…run_b…", "seed": "2"}


def test_no_plan_is_one_job(tmp_path: Path):
    assert read_plan(tmp_path) == Plan() and Plan().jobs == 1
    plan = Plan({"layer": ["conv2", "conv4"]}, ["-m"])
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-m", f"hydra.sweep.dir={__file__}/sweep"], f"{__file__}/sweep cannot be used: Not a"),
        (["--resolve"], "The --resolve flag can only be used in conjunction with --cfg"),
        (["-r", "-m"], "Only one of --run, --multirun"),
    ],
)
def test_a_sweep_that_cannot_begin_is_one_line(words: list[str], said: str, tmp_path: Path):
    process = run_app(tmp_path, *words)
    assert process.returncode == 1 and process.stderr.startswith(f"error: {said}")
    assert process.stderr.count("\n") == 1 and "jobs" not in process.stdout


def test_a_launcher_that_is_not_installed_is_named():
    check_launcher("hydra._internal.core_plugins.basic_launcher.BasicLauncher")
    check_launcher("hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher")
    with pytest.raises(InputError, match=r"needs hydra_plugins.no_submitit.*\[slurm\]"):
        check_launcher("hydra_plugins.no_submitit.launcher.SlurmLauncher")


def entries(folder: Path) -> Counter[int]:
    """How many layers' responses are stored, by the number of images that they are to."""
    stored = map(np.load, folder.glob("outputs/cache/read_kernels/*.npz"))
    sizes = ({len(array) for array in entry.values() if array.ndim} for entry in stored)
    return Counter(images for (images,) in sizes)


def test_one_pass_reads_the_layers_of_the_sweep_and_no_others(tmp_path: Path):
    quick = [*SMALL, "lesion=none", "decoding=none", "figures=false", "tracking=none"]
    words = [*SMALL, "lesion=none", "decoding=none", "tracking=none", "layer=conv1"]
    config = check_config(*words, f"cache={tmp_path}/outputs/cache")
    experiment.run(config, tmp_path / "run", Job(figures=False))
    assert set(entries(tmp_path).values()) == {1}
    process = finished(run_app(tmp_path, "-m", *quick, "layer=conv3,conv2", "metric=fsi"))
    assert "2 of 2 jobs finished" in process.stdout
    assert entries(tmp_path)[8 * 10] == 3
    folder = next(tmp_path.glob("outputs/sweeps/*/*"))
    plan = read_plan(folder)
    assert (plan.layers, plan.jobs) == (("conv2", "conv3"), 2)
    assert plan.command[0] == "-m" and "layer=conv3,conv2" in plan.command
    jobs = sorted(folder.glob("*/result.json"))
    layers = [json.loads(job.read_text())["params"]["layer"] for job in jobs]
    assert layers == ["conv3", "conv2"], "each job has the config of its own overrides"


def test_the_sweep_over_levels_moves_every_metrics_criterion(tmp_path: Path):
    quick = [*SMALL, "lesion.sets=[10]", "decoding=none", "figures=false", "tracking=none"]
    levels = "threshold=level_1,paper"
    arguments = ["+experiment=threshold_sensitivity", "metric=ttest", levels]
    process = finished(run_app(tmp_path, *arguments, *quick))
    assert "2 of 2 jobs finished" in process.stdout
    jobs = sorted(tmp_path.glob("outputs/sweeps/*/*/*/result.json"))
    results = [json.loads(job.read_text()) for job in jobs]
    params = [result["params"] for result in results]
    assert [each["threshold.ttest"] for each in params] == [0.3, 0.05]
    assert [each["metrics.fsi.criterion.threshold"] for each in params] == [0.1, 0.3]
    assert [each["metric.criterion.threshold"] for each in params] == [0.3, 0.05]
    counts = [result["metrics"]["selectivity/count"] for result in results]
    assert counts[0] > counts[1] > 0
    tables = [
        {name: pd.read_parquet(job.with_name(f"{name}.parquet")) for name in
         ("scores", "lesion_sets")}
        for job in jobs
    ]  # fmt: skip
    panels_are_what_a_reader_finds(jobs[0].parents[1] / "report", tables)


def panels_are_what_a_reader_finds(report: Path, tables: list[dict[str, pd.DataFrame]]) -> None:
    """Panels g, h and j of two criteria, from the jobs' own tables."""
    shown = {letter: pd.read_csv(report / f"panel_{letter}.csv") for letter in "ghj"}
    # The table ascends in the criterion: for a rate the stricter one comes first.
    for place, job in enumerate(reversed(tables)):
        selected = job["scores"].filter(like="selected_").astype(bool)
        mine = selected["selected_ttest"]
        assert shown["g"]["percent"][place] == pytest.approx(100 * mine.mean())
        for other in ("fsi", "dprime", "wilcoxon"):
            theirs = selected[f"selected_{other}"]
            either = (mine | theirs).sum()
            expected = (mine & theirs).sum() / either if either else float("nan")
            at = shown["h"]["criterion"] == shown["g"]["criterion"][place]
            found = shown["h"][at & (shown["h"]["other"] == other)]["jaccard"]
            assert found.tolist() == pytest.approx([expected], nan_ok=True)
        sets = job["lesion_sets"].groupby("set")
        for task in ("face", "object"):
            left = sets[f"{task}_top1"].mean()
            assert shown["j"][f"{task}_top1"][place] == pytest.approx(left["selection"])
            random = shown["j"][f"random_{task}_top1"][place]
            assert random == pytest.approx(left["random_selection"])
            assert shown["j"][f"intact_{task}_top1"][place] == pytest.approx(left["none"])
