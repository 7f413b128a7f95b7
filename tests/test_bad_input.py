"""What users get wrong, through the real command line: one line that names culprit and mend."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from app.models.vgg import WIDTHS_MINI, seeded
from tests.conftest import SMALL, run_app


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harm-was-done"),))


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders and checkpoints that are wrong in one way each."""
    root = tmp_path_factory.mktemp("material")
    rng = np.random.default_rng(0)
    categories = ("adult", "child", "body", "limb", "word", "number", "house", "corridor", "car")
    sound = root / "sound"
    for category in (*categories, "instrument"):
        (sound / category).mkdir(parents=True)
        for number in range(2):
            pixels = rng.integers(0, 256, (70, 80), dtype=np.uint8)
            Image.fromarray(pixels).save(sound / category / f"{number}.jpg")
    for name in ("single", "text", "truncated", "lacking"):
        shutil.copytree(sound, root / name)
    (root / "single" / "car" / "1.jpg").unlink()
    (root / "text" / "house" / "1.jpg").write_text("I am no picture")
    cut = root / "truncated" / "word" / "0.jpg"
    cut.write_bytes(cut.read_bytes()[:700])
    shutil.rmtree(root / "lacking" / "limb")
    (root / "empty").mkdir()

    state = seeded(0, WIDTHS_MINI, 256, 180, 64).state_dict()
    torch.save(seeded(0, WIDTHS_MINI, 256, 99, 64).state_dict(), root / "other.pt")
    torch.save(Harmful(), root / "harmful.pt")
    (root / "harmful.pth").write_bytes(pickle.dumps({"model_state_dict": Harmful()}, protocol=2))
    broken = {**state, "classifier.0.bias": torch.full((256,), float("nan"))}
    torch.save(broken, root / "nan.pt")
    (root / "junk.safetensors").write_text("junk")
    (root / "a_file").write_text("")
    (root / "mlflow.db").write_text("this is no database " * 100)
    return root


CASES = {
    "unknown metric": (["metric=fsy"], ["metric", "fsy", "wilcoxon"]),
    "unknown key": (["metrik=fsi"], ["metrik"]),
    "value of the wrong type": (["batch_size=many"], ["batch_size", "many"]),
    "not an override": (["layer"], ["layer"]),
    "layer the model lacks": (["layer.name=conv14"], ["layer.name=conv14", "conv13"]),
    "threshold out of range": (["threshold.fsi=2"], ["threshold.fsi=2", "between -1 and 1"]),
    "probability out of range": (["metric=wilcoxon", "threshold.wilcoxon=-1"], ["between 0 and 1"]),
    "threshold of no metric": (
        ["threshold.fsii=0.1"],
        ["threshold.fsii=0.1", "'fsii'", "auc, cohens_d, dprime, fsi, ttest, welch_t, wilcoxon"],
    ),
    "threshold that is no number": (["threshold.auc=high"], ["threshold.auc=high", "not a number"]),
    "fraction of no kernels": (["lesion=greedy", "lesion.fraction=0"], ["lesion.fraction=0.0"]),
    "fraction above all": (["lesion=greedy", "lesion.fraction=1.5"], ["lesion.fraction=1.5"]),
    "fraction that is none": (["lesion.fraction=nan"], ["lesion.fraction=nan", "above 0"]),
    "set of no kernels": (["lesion.sets=[0,5]"], ["lesion.sets=[0, 5]", "1 to 100"]),
    "a set twice": (["lesion.sets=[5,5]"], ["lesion.sets=[5, 5]", "each once"]),
    "no random kernels": (["lesion.random_draws=0"], ["lesion.random_draws=0", "at least 1"]),
    "no kernels a group": (["lesion=greedy", "lesion.group_size=0"], ["lesion.group_size=0"]),
    "unknown lesion": (["lesion.name=both"], ["lesion.name=both", "single, greedy, none"]),
    "target that is no domain": (["target=cats"], ["target=cats", "faces, bodies"]),
    "no root": (["stimuli=folder"], ["stimuli.root"]),
    "fLoc from where nothing listens": (
        ["stimuli=floc", "stimuli.address=http://127.0.0.1:9", "stimuli.folder={root}/fetched"],
        ["http://127.0.0.1:9/stimuli/", "Connection refused"],
    ),
    "fLoc into a file": (
        ["stimuli=floc", "stimuli.folder={root}/a_file/floc"],
        ["a_file", "stimuli.folder=<folder>"],
    ),
    "missing folder": (
        ["stimuli=floc", "stimuli.root={root}/nowhere"],
        ["nowhere", "no folder|not a folder"],
    ),
    "empty folder": (["stimuli=folder", "stimuli.root={root}/empty"], ["empty", "stimuli.root"]),
    "folder lacks a category": (["stimuli=floc", "stimuli.root={root}/lacking"], ["limb"]),
    "category of one image": (["stimuli=floc", "stimuli.root={root}/single"], ["car", "two"]),
    "target of a folder": (["stimuli=folder", "stimuli.root={root}/sound"], ["faces", "adult"]),
    "text called jpg": (
        ["stimuli=floc", "stimuli.root={root}/text"],
        ["house/1.jpg", "not an image"],
    ),
    "truncated image": (
        ["stimuli=floc", "stimuli.root={root}/truncated"],
        ["word/0.jpg", "truncated"],
    ),
    "no identities": (["identities=folder", "identities.root={root}/nowhere"], ["identities.root"]),
    "no checkpoint given": (["model=dualtask_vgg16"], ["model.checkpoint"]),
    "checkpoint missing": (["model.checkpoint={root}/none.pt"], ["none.pt", "no file"]),
    "checkpoint of another architecture": (
        ["model.checkpoint={root}/other.pt"],
        ["other.pt", "classifier.6.weight", "(99, 256)", "(180, 256)"],
    ),
    "pickle that runs code": (["model.checkpoint={root}/harmful.pt"], ["harmful.pt", "refused"]),
    "old pickle that runs code": (["model.checkpoint={root}/harmful.pth"], ["refused"]),
    "weights not finite": (["model.checkpoint={root}/nan.pt"], ["classifier.0.bias", "256 NaN"]),
    "junk weights": (
        ["model.checkpoint={root}/junk.safetensors"],
        ["junk.safetensors", "cannot be read"],
    ),
    "memory for no row of units": (
        ["aggregation=unit", "layer=conv2", "memory_gb=0.1"],
        ["memory_gb=0.1", "units of conv2", "at least"],
    ),
    "negative memory": (["memory_gb=-4"], ["memory_gb=-4", "positive"]),
    "half precision without a GPU": (
        ["precision=float16", "device=cpu", "stimuli.seed=17"],
        ["precision=float16", "GPU", "precision=float32"],
    ),
    "unknown precision": (["precision=double"], ["precision=double", "float32, float16, bfloat16"]),
    "output folder is a file": (["hydra.run.dir={root}/a_file/run"], ["a_file"]),
    "cache folder is a file": (["cache={root}/a_file/cache"], ["a_file", "cache"]),
    "tracking folder is a file": (["tracking.folder={root}/a_file/mlruns"], ["a_file"]),
    "store that is no database": (["tracking.folder={root}"], ["mlflow.db"]),
    "server that does not answer": (
        ["tracking=server", "tracking.uri=http://127.0.0.1:9"],
        ["http://127.0.0.1:9", "does not answer"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_one_line_on_standard_error(case: str, material: Path, outputs: Path):
    overrides, needles = CASES[case]
    arguments = [override.format(root=material) for override in overrides]
    if not any(argument.startswith(("cache=", "hydra.run.dir=")) for argument in arguments):
        arguments.append(f"cache={outputs}/cache")
    process = run_app(outputs, *SMALL, *arguments)
    message = process.stderr.strip()
    assert process.returncode == 1, process.stdout + message
    assert "Traceback" not in message
    assert len(message.splitlines()) == 1, message
    assert message.startswith("error: ")
    for needle in needles:
        assert any(choice in message for choice in needle.split("|")), (needle, message)
    assert not (outputs / "harm-was-done").exists()


def test_debug_shows_the_traceback(outputs: Path):
    process = run_app(outputs, "target=cats", "debug=true")
    assert process.returncode == 1
    assert "Traceback" in process.stderr and "target=cats is no domain" in process.stderr


def test_one_failed_job_does_not_lose_the_others(outputs: Path, tmp_path: Path):
    process = run_app(
        tmp_path, "-m", *SMALL, f"cache={outputs}/cache", "target=faces,cats", "lesion=none",
        "decoding=none", "figures=false",
    )  # fmt: skip
    assert process.returncode == 1
    assert process.stderr.count("error: ") == 1 and "target=cats is no domain" in process.stderr
    results = sorted(tmp_path.glob("outputs/sweeps/*/*/*/result.json"))
    assert len(results) == 2
    assert sorted("finished" in path.read_text() for path in results) == [False, True]
    assert (results[0].parent / "scores.parquet").is_file()
