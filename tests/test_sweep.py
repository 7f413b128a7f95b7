"""What a sweep knows of itself: its layers, read in one forward pass, and its jobs' configs."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest

from app.errors import InputError
from app.sweep import check_launcher, layers_of, swept_layers
from tests.conftest import SMALL, finished, run_app


@pytest.mark.parametrize(
    ("overrides", "layers"),
    [
        (["layer=conv2,conv13", "metric=fsi,dprime"], ["conv2", "conv13"]),
        (["layer=choice(conv4, conv7)"], ["conv4", "conv7"]),
        (["layer=conv2", "metric=fsi,dprime"], []),
        (["threshold.fsi=0.1,0.2", "target=faces,places"], []),
        (["+seed=range(1,4)"], []),
    ],
)
def test_the_layers_that_overrides_name(overrides, layers):
    assert swept_layers(overrides) == layers


def test_a_launcher_that_is_not_installed_is_named():
    check_launcher("hydra._internal.core_plugins.basic_launcher.BasicLauncher")
    check_launcher("hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher")
    with pytest.raises(InputError, match=r"needs hydra_plugins.no_submitit.*\[slurm\]"):
        check_launcher("hydra_plugins.no_submitit.launcher.SlurmLauncher")


def test_no_layers_where_none_are_swept(tmp_path: Path):
    assert layers_of(tmp_path) == ()
    (tmp_path / "layers.json").write_text('["conv2"]')
    assert layers_of(tmp_path) == ("conv2",)


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
    assert layers_of(folder) == ("conv1", "conv2", "conv3")
    jobs = sorted(folder.glob("*/result.json"))
    layers = [json.loads(job.read_text())["params"]["layer"] for job in jobs]
    assert layers == ["conv1", "conv3", "conv2"], "each job has the config of its own overrides"


def test_the_sweep_over_levels_moves_every_metrics_criterion(tmp_path: Path):
    quick = [*SMALL, "lesion=none", "decoding=none", "figures=false", "tracking=none"]
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
