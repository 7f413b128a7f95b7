"""A user's own stimuli, identities and checkpoint through the real command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow.tracking import MlflowClient
from PIL import Image
from safetensors.torch import load_file, save_file

from app import experiment
from app.errors import InputError
from app.experiment import Job
from app.models.loading import BUILTIN_FOLDER
from app.stimuli import synthetic
from app.stimuli.folders import ImageFolders
from app.stimuli.images import Preprocessing
from app.sweeps.results import Result
from tests.composing import check_config
from tests.conftest import FEW, SMALL, finished, run_app

FAST = ["tracking=none", "lesion=none", *FEW]


@pytest.fixture(scope="module")
def floc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn stand-ins in the folder layout of the real fLoc images."""
    root = tmp_path_factory.mktemp("floc")
    pixels, labels = synthetic.draw_localizer(5, 4)
    for number, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        (root / label).mkdir(exist_ok=True)
        Image.fromarray(image).resize((128, 128)).save(root / label / f"{label}-{number}.jpg")
    (root / "scrambled").mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (128, 128), dtype=np.uint8)
        Image.fromarray(noise).save(root / "scrambled" / f"scrambled-{number}.jpg")
    return root


def score(folder: Path, *overrides: str) -> None:
    """A run in this process that does nothing more."""
    config = check_config(*FAST, "decoding=none", f"cache={folder}/cache", *overrides)
    experiment.run(config, folder / "run", Job(figures=False))


def count_images(folder: Path) -> int:
    (entry,) = folder.glob("cache/read_kernels/*.npz")
    with np.load(entry) as arrays:
        return len(arrays["l2"])


def test_the_folders_of_floc_without_scrambled(floc: Path, tmp_path: Path):
    score(tmp_path, "stimuli=floc", f"stimuli.root={floc}", "metric=dprime")
    assert count_images(tmp_path) == 40
    assert pd.read_parquet(tmp_path / "run/scores.parquet")["dprime"].notna().any()


def test_any_folder_with_domains_of_ones_own(floc: Path, tmp_path: Path):
    domains = "stimuli.domains={living:[adult,child,body],made:[car,house]}"
    score(tmp_path, "stimuli=folder", f"stimuli.root={floc}", domains, "target=made")
    assert count_images(tmp_path) == 20


def test_any_folder_each_category_its_own_domain(floc: Path, tmp_path: Path):
    score(tmp_path, "stimuli=folder", f"stimuli.root={floc}", "target=house", "metric=wilcoxon")
    assert count_images(tmp_path) == 43  # `scrambled` is a category like any other


def identity_folders(root: Path, suffix: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Four drawn people with four images each, written as PGM or as something else."""
    people, labels = synthetic.draw_identities(5, 4, 4, split="decoding")
    for number, (pixels, label) in enumerate(zip(people, labels, strict=True)):
        (root / label).mkdir(parents=True, exist_ok=True)
        path = root / label / f"{number}.{suffix}"
        image = Image.fromarray(pixels)
        if suffix == "pgm":  # half of them with 16 bits, 65535 white
            deep = number % 2
            head = f"P5 {image.width} {image.height} {65535 if deep else 255}\n".encode()
            content = (pixels.astype(">u2") * 257).tobytes() if deep else pixels.tobytes()
            path.write_bytes(head + content)
        elif suffix == "png":
            grey = image.convert("P") if number % 2 else image
            if number % 2:
                grey.putpalette([level for level in range(256) for _ in range(3)])
            else:
                grey = Image.fromarray(pixels.astype(np.uint16) * 257)
            grey.save(path)
        else:
            image.save(path, lossless=True)
    return people, labels


@pytest.mark.parametrize("suffix", ["pgm", "png", "webp"])
def test_every_format_brings_the_same_pixels(tmp_path: Path, suffix: str):
    """8 and 16 bit PGM, palette and 16 bit PNG, WebP."""
    people, labels = identity_folders(tmp_path, suffix)
    folders = ImageFolders(tmp_path, "identity", "identities.root")
    images = folders.read(folders.find())
    assert images.labels == labels
    crops = images.crops(Preprocessing(64, 64, (0, 0, 0), (1, 1, 1)))
    np.testing.assert_array_equal(crops, np.repeat(people[..., None], 3, axis=3))


def test_identities_of_a_folder_of_pgm_files(tmp_path: Path):
    _, labels = identity_folders(tmp_path / "people", "pgm")
    arguments = [
        *SMALL, "lesion=none", "figures=false", "identities=folder",
        f"identities.root={tmp_path}/people", "decoding.kernels=20", "decoding.fixed=30",
    ]  # fmt: skip
    (tmp_path / "people" / labels[0] / "0.pgm").unlink()  # one person with three images
    process = finished(run_app(tmp_path, *arguments))
    assert "chance 0.250" in process.stdout and "kernels 20" in process.stdout
    told = " ".join(process.stdout.split())
    assert (
        "note: decoding: identities have 3 to 4 images; each one's are dealt over 3 folds" in told
    )
    (run,) = MlflowClient(f"sqlite:///{tmp_path}/mlruns/mlflow.db").search_runs(["1"])
    assert run.data.tags["decoding.note"].startswith("identities have 3 to 4 images")
    logged = run.data.metrics
    assert (logged["decoding/kernels"], logged["decoding/fixed_kernels"]) == (20, 30)
    assert logged["decoding/all_kernels"] == logged["decoding/fixed_all_kernels"]
    for number in ("", "fixed_"):
        hits = pd.read_parquet(next(tmp_path.rglob(f"decoding{'_fixed' * bool(number)}.parquet")))
        assert hits["fsi"].mean() == pytest.approx(logged[f"decoding/{number}accuracy"])
        assert logged[f"decoding/{number}ci95_low"] <= hits["fsi"].mean()

    broken = tmp_path / "people" / labels[-1] / "15.pgm"
    broken.write_bytes(broken.read_bytes()[:1000])
    config = check_config(*arguments, f"cache={tmp_path}/outputs/cache", "tracking=none")
    with pytest.raises(InputError, match="is truncated or damaged") as told:
        experiment.run(config, tmp_path / "run", Job(figures=False))
    assert str(told.value).startswith(str(broken)) and "\n" not in str(told.value)


LESIONS = [*SMALL, "tracking=none", "decoding=none", "metric=dprime"]


def run_here(folder: Path, results: Path, *overrides: str, figures: bool = False) -> Result:
    """A run in this process, with the cache of `folder`."""
    config = check_config(*LESIONS, f"cache={folder}/outputs/cache", *overrides)
    return experiment.run(config, results, Job(figures=figures))


@pytest.fixture(scope="module")
def lesioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose lesions are measured on drawn images; they are written beside it as files."""
    folder = tmp_path_factory.mktemp("lesioned")
    run_here(folder, folder / "drawn")
    pixels, _ = synthetic.draw_own_classes(0, (120, 1), (60, 1))
    for output, image in enumerate(pixels):
        task = "faces" if output < 120 else "objects"
        path = folder / task / f"{output:03}" / "image.pgm"
        path.parent.mkdir(parents=True)
        Image.fromarray(image).save(path)
    return folder


def test_lesions_on_images_from_disk_equal_those_on_the_same_drawn(lesioned: Path):
    own = [f"lesion.{task}.root={lesioned}/{task}" for task in ("faces", "objects")]
    # The same network as one that is not synthetic: what it knows is on disk alone.
    run_here(lesioned, lesioned / "own", "model.classes=null", *own)
    runs = [lesioned / "own", lesioned / "drawn"]
    pd.testing.assert_frame_equal(*(pd.read_parquet(run / "lesion.parquet") for run in runs))
    found, expected = (json.loads((run / "metrics.json").read_text()) for run in runs)
    assert found == expected


@pytest.mark.parametrize("lesion", ["single", "greedy"])
@pytest.mark.parametrize(("task", "other"), [("faces", "objects"), ("objects", "faces")])
def test_one_task_alone(lesioned: Path, tmp_path: Path, lesion: str, task: str, other: str):
    """Two classes with images and a list of all; the other task is left out, and that is told."""
    classes, count = lesioned / f"{task}.txt", {"faces": 120, "objects": 60}[task]
    first = 0 if task == "faces" else 120
    classes.write_text("".join(f"{first + number:03}\n" for number in range(count)))
    some = lesioned / f"some-{task}"
    for number in (first + 3, first + 1):
        shutil.copytree(lesioned / task / f"{number:03}", some / f"{number:03}", dirs_exist_ok=True)
    result = run_here(
        lesioned, tmp_path, "model.classes=null", f"lesion={lesion}", "lesion.fraction=0.02",
        f"lesion.{task}.root={some}", f"lesion.{task}.classes={classes}", figures=True,
    )  # fmt: skip
    told = f"lesion: the {other[:-1]} task is left out; images of its classes are named by"
    assert [note for note in result.notes if note.startswith(told)]
    found = {name for name in result.metrics if "lesion" in name}
    spearman = {"faces": "lesion/spearman", "objects": "lesion/spearman_object"}
    assert spearman[task] in found and spearman[other] not in found
    assert any(f"intact_{task[:-1]}_loss" in name for name in found)
    assert not any(other[:-1] in name for name in found)
    table = pd.read_parquet(tmp_path / "lesion.parquet")
    assert table[f"{other[:-1]}_loss"].isna().all() and table[f"{task[:-1]}_loss"].notna().all()
    figures = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert ("lesion" in figures) == (lesion == "greedy" or task == "faces")
    assert ("lesion_place" in figures) == (lesion == "greedy" and task == "faces")


def test_folders_that_are_not_the_outputs(lesioned: Path):
    told = "has 60 folders, but the network has 120 such outputs.*lesion.faces.classes="
    with pytest.raises(InputError, match=told):
        run_here(lesioned, lesioned / "refused", f"lesion.faces.root={lesioned}/objects")


def test_a_checkpoint_by_path_gives_the_scores_of_the_same_weights(tmp_path: Path):
    state = load_file(BUILTIN_FOLDER / "dualtask_mini.safetensors")
    wrapped = {"model_state_dict": {f"module.{key}": value for key, value in state.items()}}
    torch.save(wrapped, tmp_path / "weights.pth")
    tables = []
    for name, overrides in (("a", []), ("b", [f"model.checkpoint={tmp_path}/weights.pth"])):
        score(tmp_path / name, *SMALL, "layer=conv7", *overrides)
        tables.append(pd.read_parquet(tmp_path / name / "run/scores.parquet"))
    pd.testing.assert_frame_equal(*tables, check_exact=True)


def test_the_full_size_network_runs_at_224_pixels(floc: Path, tmp_path: Path):
    categories = "{faces:[adult],places:[house]}"
    score(
        tmp_path, "model=dualtask_vgg16_untrained", "stimuli=folder", f"stimuli.root={floc}",
        f"stimuli.domains={categories}", "layer=conv3", "metric=ttest",
        "model.hidden=8",  # the linear layers play no part here; small ones are quickly drawn
    )  # fmt: skip
    assert len(pd.read_parquet(tmp_path / "run/scores.parquet")) == 128


@pytest.mark.parametrize(
    ("silent", "said"),
    [
        (125, "only 3 kernels of conv13 have a score by fsi; decoded from these, not from 5"),
        (128, "no kernel of conv13 has a score by fsi"),
    ],
)
def test_decoding_where_few_kernels_respond(tmp_path: Path, silent: int, said: str):
    state = load_file(BUILTIN_FOLDER / "dualtask_mini.safetensors")
    state["features.28.bias"][:silent] = -1e9
    save_file(state, tmp_path / "silent.safetensors")
    config = check_config(
        *SMALL, f"model.checkpoint={tmp_path}/silent.safetensors", "lesion=none", "tracking=none",
        "decoding.kernels=5", f"cache={tmp_path}/cache",
    )  # fmt: skip
    found = experiment.run(config, tmp_path / "run", Job(figures=False))
    assert any(note.startswith(f"decoding: {said}") for note in found.notes), found.notes
    assert found.metrics.get("decoding/kernels", 0) == 128 - silent
