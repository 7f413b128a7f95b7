"""A user's own stimuli, identities and checkpoint through the real command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from app.models import BUILTIN_FOLDER
from app.stimuli import synthetic
from tests.conftest import SMALL, finished, run_app

FAST = ["tracking=none", "figures=false", "lesion=none"]


@pytest.fixture(scope="module")
def floc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn stand-ins in the folder layout of the real fLoc images."""
    root = tmp_path_factory.mktemp("floc")
    pixels, labels = synthetic.localizer(5, 4)
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        (root / label).mkdir(exist_ok=True)
        Image.fromarray(image).resize((128, 128)).save(root / label / f"{label}-{number}.jpg")
    (root / "scrambled").mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (128, 128), dtype=np.uint8)
        Image.fromarray(noise).save(root / "scrambled" / f"scrambled-{number}.jpg")
    return root


def only_run(folder: Path) -> Path:
    (path,) = folder.glob("outputs/runs/*/*")
    return path


def images_of(run: Path) -> int:
    (entry,) = run.parents[2].glob("cache/responses/*.npz")
    with np.load(entry) as arrays:
        return len(arrays["l2"])


def test_the_folders_of_floc_without_scrambled(floc: Path, tmp_path: Path):
    arguments = [*FAST, "decoding=none", "stimuli=floc", f"stimuli.root={floc}"]
    finished(run_app(tmp_path, *arguments, "metric=dprime"))
    run = only_run(tmp_path)
    assert images_of(run) == 40
    assert pd.read_parquet(run / "scores.parquet")["dprime"].notna().any()


def test_any_folder_with_domains_of_ones_own(floc: Path, tmp_path: Path):
    finished(
        run_app(
            tmp_path, *FAST, "decoding=none", "stimuli=folder", f"stimuli.root={floc}",
            "stimuli.domains={living:[adult,child,body],made:[car,house]}", "target=made",
        )
    )  # fmt: skip
    assert images_of(only_run(tmp_path)) == 20


def test_any_folder_each_category_its_own_domain(floc: Path, tmp_path: Path):
    arguments = [*FAST, "decoding=none", "stimuli=folder", f"stimuli.root={floc}"]
    finished(run_app(tmp_path, *arguments, "target=house", "metric=wilcoxon"))
    assert images_of(only_run(tmp_path)) == 40


def test_identities_of_a_folder_of_pgm_files(floc: Path, tmp_path: Path):
    people, labels = synthetic.identities(5, 4, 4, split="decoding")
    for number, (image, label) in enumerate(zip(people, labels, strict=True)):
        folder = tmp_path / "people" / label
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number}.pgm")
    (tmp_path / "people" / labels[0] / "0.pgm").unlink()  # one person with three images
    process = finished(
        run_app(
            tmp_path, *SMALL, "tracking=none", "lesion=none", "identities=folder",
            f"identities.root={tmp_path}/people", "decoding.kernels=20",
        )
    )  # fmt: skip
    assert "chance 0.250" in process.stdout
    assert "kernels 20" in process.stdout


def test_a_checkpoint_by_path_gives_the_scores_of_the_same_weights(tmp_path: Path):
    state = load_file(BUILTIN_FOLDER / "dualtask_mini.safetensors")
    wrapped = {"model_state_dict": {f"module.{key}": value for key, value in state.items()}}
    torch.save(wrapped, tmp_path / "weights.pth")
    tables = []
    for name, overrides in (("a", []), ("b", [f"model.checkpoint={tmp_path}/weights.pth"])):
        (tmp_path / name).mkdir()
        arguments = [*SMALL, *FAST, "decoding=none", "layer=conv7", *overrides]
        finished(run_app(tmp_path / name, *arguments))
        tables.append(pd.read_parquet(only_run(tmp_path / name) / "scores.parquet"))
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_the_full_size_network_runs_at_224_pixels(floc: Path, tmp_path: Path):
    categories = "{faces:[adult],places:[house]}"
    finished(
        run_app(
            tmp_path, *FAST, "decoding=none", "model=dualtask_vgg16_untrained", "stimuli=folder",
            f"stimuli.root={floc}", f"stimuli.domains={categories}", "layer=conv3", "metric=ttest",
            "model.hidden=8",  # the linear layers play no part here; small ones are quickly drawn
        )
    )  # fmt: skip
    assert len(pd.read_parquet(only_run(tmp_path) / "scores.parquet")) == 128
