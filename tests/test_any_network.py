"""Networks of libraries through the command line: layers by name, of every kind of output."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow import MlflowClient

from app import experiment
from app.config.schema import Model
from app.experiment import Job
from app.models.loading import load
from app.models.network import Network
from app.responses import units as units_room
from app.responses.hardware import Hardware
from app.responses.kernels import read_kernels
from app.responses.units import Units
from app.stimuli import synthetic
from app.stimuli.images import drawn
from tests.composing import check_config
from tests.conftest import FEW, SMALL, finished, run_app

UNTRAINED = ["model=timm", "model.weights=null", "layer=module", "stimuli.images_per_category=4",
             "identities.count=4", "identities.images_each=3", "decoding.random_draws=2",
             "figures=false", *FEW]  # fmt: skip


def table(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "scores.parquet")


def test_layers_of_a_transformer_side_by_side(tmp_path: Path) -> None:
    """The second job finds its responses: one pass read both layers; a wrong name fails alone."""
    process = run_app(
        tmp_path, "-m", *UNTRAINED, "model.name=test_vit", "layer.output=tokens",
        "layer.name=blocks.1,blocks.9,blocks.4", "aggregation=l2", "hydra.sweep.dir=sweep",
    )  # fmt: skip
    assert process.returncode == 1
    assert "layer.name=blocks.9 is no module of test_vit: nearest are" in process.stderr
    assert len(list(tmp_path.glob("outputs/cache/read_kernels/*.npz"))) == 4, (
        "2 image sets x 2 layers"
    )
    assert len(table(tmp_path / "sweep" / "0")) == 64
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("selectivity")
    assert experiment is not None
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    run = runs["blocks.1 fsi 0.3 l2 test_vit"]
    assert run.data.tags["layer.read"] == "blocks.1 (Block): 101 x 64"
    assert run.data.tags["trained"] == "false"
    assert run.data.params["model.input_size"] == "160"
    depths = {name.split()[0]: each.data.metrics.get("layer/depth") for name, each in runs.items()}
    assert 1 < depths["blocks.1"] < depths["blocks.4"], "its call is later"
    assert "blocks.9" in depths, "a job that failed is named as the others"
    assert len(run.data.tags["model.digest"]) == 64
    assert "a linear readout names" in run.data.tags["lesion.note"]
    assert -1 <= run.data.metrics["lesion/spearman"] <= 1
    assert 0 <= run.data.metrics["decoding/accuracy"] <= 1
    assert "layer: read blocks.1 (Block): 101 x 64" in " ".join(process.stdout.split())


@pytest.mark.parametrize(
    ("name", "output", "layer", "shape"),
    [
        ("test_resnet", "map", "layer2.0", (48, 20, 20)),
        ("test_vit", "tokens", "blocks.3", (64, 101, 1)),
        ("test_resnet", "vector", "fc", (1000, 1, 1)),
    ],
)
def test_units_of_any_output_are_those_of_one_pass(monkeypatch, name, output, layer, shape) -> None:
    """In blocks by several passes, and whole."""
    settings = Model(name=name, source="timm", weights=None)
    loaded = load(settings)
    network = Network(loaded.settings, output, loaded=lambda: loaded)
    stack, labels = synthetic.draw_localizer(0, 2, size=48)
    images = drawn(stack, labels, "drawn")
    hardware = Hardware(torch.device("cpu"))
    assert network.map_shape(layer) == shape

    def units(rows: int) -> np.ndarray:
        monkeypatch.setattr(units_room, "fit_rows", lambda *_, **__: rows)
        found = np.full((len(images), np.prod(shape)), np.nan, np.float32)
        for numbers, responses in Units(network, layer).read(images, hardware):
            found[:, numbers] = responses
        return found

    whole = units(1000)
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(units(3), whole)
    kernels = read_kernels({layer: layer}, network, images, hardware)[layer]
    maps = whole.reshape(len(images), *shape).astype(np.float64)
    np.testing.assert_allclose(kernels["mean"], maps.mean((2, 3)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(kernels["l2"], np.sqrt((maps**2).sum((2, 3))), rtol=1e-4)
    np.testing.assert_array_equal(kernels["max"], maps.max((2, 3)).astype(np.float32))


def scores_here(folder: Path, *overrides: str) -> pd.DataFrame:
    """The scores of a run in this process."""
    config = check_config(*overrides, f"cache={folder}/cache", "tracking=none")
    experiment.run(config, folder / "run", Job(figures=False))
    return table(folder / "run")


def test_tokens_are_named_by_row(tmp_path: Path) -> None:
    found = scores_here(
        tmp_path, *UNTRAINED, "model.name=test_vit", "layer.output=tokens", "layer.name=blocks.0",
        "aggregation=unit",
    )  # fmt: skip
    assert len(found) == 64 * 101
    assert found["row"].max() == 100 and found["column"].max() == 0 and found["channel"].max() == 63


def test_targets_one_after_the_other(tmp_path: Path) -> None:
    """Three questions to the same responses, each answered by its own contrast."""
    words = [*SMALL, "metric=dprime", "lesion=none", "decoding=none"]
    targets = ("faces", "characters", "places")
    scores = [scores_here(tmp_path, *words, f"target={each}")["dprime"] for each in targets]
    for one in range(3):
        for other in range(one):
            assert not np.allclose(scores[one], scores[other], equal_nan=True)
    assert len(list(tmp_path.glob("cache/read_kernels/*.npz"))) == 1


def test_all_layers_are_listed(tmp_path: Path) -> None:
    process = finished(run_app(tmp_path, "model=timm", "model.weights=null",
                               "model.name=test_vit", module="app.layers"))  # fmt: skip
    assert "blocks.3.mlp.fc1" in process.stdout
    assert "101 x 64" in process.stdout
    assert not list(tmp_path.iterdir()), "it only prints"


def test_modules_of_the_embedded_network(tmp_path: Path) -> None:
    """features.28 is conv13, read after features.29."""
    common = [*SMALL, "decoding=none", "lesion=none"]
    module = ["layer=module", "layer.name=features.28"]
    columns = ["fsi", "dprime", "wilcoxon", "ttest"]
    one = scores_here(tmp_path / "one", *common, *module)[columns]
    two = scores_here(tmp_path / "two", *common, "layer=conv13")[columns]
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-4)
