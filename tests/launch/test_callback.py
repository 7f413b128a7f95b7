"""What a sweep knows of itself: its layers, read in one forward pass, and its jobs' configs."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from omegaconf import OmegaConf, _utils, base, omegaconf

from app.config import schema
from app.errors import InputError
from app.launch import composition
from app.launch.callback import check_launcher, planned
from app.launch.commandline import CONFIG_FOLDER
from app.sweeps.parent import Plan, plan_of
from tests.conftest import SMALL, finished, run_app


@pytest.mark.parametrize(
    ("overrides", "plan"),
    [
        (["layer=conv2,conv13", "metric=fsi,dprime"], Plan(("conv13", "conv2"), 4)),
        (["layer=choice(conv4, conv7)", "seed=1"], Plan(("conv4", "conv7"), 2)),
        (["layer=conv2", "metric=fsi,dprime"], Plan((), 2)),
        (["threshold.fsi=0.1,0.2", "target=faces,places"], Plan((), 4)),
        (["seed=range(1,4)", "layer=conv2,conv4", "layer=conv2"], Plan((), 3)),
    ],
)
def test_the_plan_that_overrides_make(overrides, plan):
    assert planned(overrides) == plan


def test_no_plan_is_one_job(tmp_path: Path):
    assert plan_of(tmp_path) == Plan()
    (tmp_path / "plan.json").write_text('{"layers": ["conv2"], "jobs": 3, "command": ["-m"]}')
    assert plan_of(tmp_path) == Plan(("conv2",), 3, ("-m",))


def test_what_is_kept_composes_the_same(monkeypatch):
    """Choices of files, of packages and of values, one after another and once more."""
    for owner, name in (
        (config_loader_impl, "create_defaults_list"),
        (ConfigRepository, "load_config"),
        (ConfigLoaderImpl, "_compose_config_from_defaults_list"),
        (ConfigLoaderImpl, "load_sweep_config"),
        (_utils, "parse"),
        (base, "parse"),
        (omegaconf, "get_omega_conf_dumper"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # put back at the end
    asked = [
        ["metric=dprime", "threshold.fsi=0.1"],
        ["metric=dprime", "threshold.fsi=0.2", "+metric.options.a=1"],
        ["metric=fsi", "layer=conv2", "+experiment=threshold_sensitivity"],
        ["metric=dprime"],
        ["stimuli=folder", "lesion=greedy", "~metrics.ttest"],
        ["metric=dprime", "threshold=strict", "lesion.sets=[1]"],
    ]
    schema.register()

    def texts() -> Iterator[str]:
        with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
            composed = [compose("config", each, return_hydra_config=True) for each in asked]
        for each in composed:
            yield OmegaConf.to_yaml(each)
            job = OmegaConf.masked_copy(each, [name for name in each if name != "hydra"])
            yield OmegaConf.to_yaml(job, resolve=True)
        yield OmegaConf.to_yaml(["yes", "1e3", "0x1", "a: b", "#", "", None, 0.1, "é\n", "x " * 99])

    plainly = list(texts())
    composition.keep()
    assert list(texts()) == plainly
    assert list(texts()) == plainly


def test_a_launcher_that_is_not_installed_is_named():
    check_launcher("hydra._internal.core_plugins.basic_launcher.BasicLauncher")
    check_launcher("hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher")
    with pytest.raises(InputError, match=r"needs hydra_plugins.no_submitit.*\[slurm\]"):
        check_launcher("hydra_plugins.no_submitit.launcher.SlurmLauncher")


def entries(folder: Path) -> dict[str, set[str]]:
    """The layers whose responses are stored, by the digest of the images."""
    found: dict[str, set[str]] = {}
    for path in folder.glob("outputs/cache/responses/*.npz"):
        with zipfile.ZipFile(path) as entry:
            identity = json.loads(json.loads(entry.read("entry.json"))["identity"])
        parts = identity["ingredients"]
        found.setdefault(parts["images"], set()).add(parts["layer"])
    return found


def test_one_pass_reads_the_layers_of_the_sweep_and_no_others(tmp_path: Path):
    quick = [*SMALL, "lesion=none", "decoding.random_draws=1", "figures=false", "tracking=none"]
    finished(run_app(tmp_path, *quick, "layer=conv1"))
    assert all(layers == {"conv1"} for layers in entries(tmp_path).values())
    process = finished(run_app(tmp_path, "-m", *quick, "layer=conv1,conv3,conv2", "metric=fsi"))
    assert "3 of 3 jobs finished" in process.stdout
    localizer = max(entries(tmp_path).values(), key=len)
    assert localizer == {"conv1", "conv2", "conv3"}
    # Of equal age to the second: conv2 and conv3 came from one pass, in the first job that asked.
    folder = next(tmp_path.glob("outputs/sweeps/*/*"))
    plan = plan_of(folder)
    assert (plan.layers, plan.jobs) == (("conv1", "conv2", "conv3"), 3)
    assert plan.command[0] == "-m" and "layer=conv1,conv3,conv2" in plan.command
    jobs = sorted(folder.glob("*/result.json"))
    layers = [json.loads(job.read_text())["params"]["layer"] for job in jobs]
    assert layers == ["conv1", "conv3", "conv2"], "each job has the config of its own overrides"


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
