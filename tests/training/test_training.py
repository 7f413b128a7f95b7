"""Trainings on folders, whole: resumed to the bit after kill -9, stopped early, recorded, used."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from app import train
from app.errors import InputError
from app.models import checkpoint
from app.models.loading import load
from app.models.vgg import DualTaskVGG, seeded
from app.responses import hardware
from app.training import loop, outputs
from tests import conftest  # the module is not `cli`: most of its tests run no command
from tests.test_train import TINY, WIDTHS, same, settings
from tests.training.conftest import write

RECIPE = [
    "held_out_per_class=3", "batch_size=5", "optimiser.name=sgd", "optimiser.learning_rate=0.02",
    "schedule.name=cosine", "dropout=0.5",
]  # fmt: skip


def overrides(root: Path, *more: str) -> list[str]:
    return [f"faces.root={root}/faces", f"objects.root={root}/objects", *RECIPE, *more]


@pytest.mark.slow
@pytest.mark.cli
def test_a_training_killed_at_any_time_ends_with_the_bits_of_an_undisturbed_one(
    photos: Path, tmp_path: Path
):
    chosen = overrides(photos, "epochs=6")
    train.train(settings(*chosen), tmp_path / "whole")

    cut = tmp_path / "cut"
    words = [*TINY, *chosen, f"output={cut}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen([sys.executable, "-m", "app.train", *words], **quiet)
    until = time.monotonic() + 120
    while not list(cut.glob("checkpoints/epoch-000[2-4].pth")) and time.monotonic() < until:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (cut / outputs.LAST).exists() and not (cut / outputs.RESULTS).exists()

    process = conftest.run_app(tmp_path, *words, "workers=2", module="app.train", fresh=True)
    conftest.finished(process)
    assert "RuntimeWarning" not in process.stderr, "as each worker starts, say"
    for name in (outputs.LAST, outputs.BEST, outputs.INITIAL):
        assert same(load_file(cut / name), load_file(tmp_path / "whole" / name)), name
    histories = [json.loads((f / outputs.RESULTS).read_text()) for f in (cut, tmp_path / "whole")]
    for run in histories:
        for figures in run["history"]:
            del figures["train/seconds"]
    assert histories[0]["history"] == histories[1]["history"]
    assert len(histories[0]["history"]) == 6


@pytest.fixture()
def losses(monkeypatch: pytest.MonkeyPatch):
    """Let the held-out loss be what the test says, epoch by epoch."""

    def become(values: list[float]) -> None:
        left, measure = iter(values), loop.measure

        def told(network, *arguments, **options):
            found = measure(network, *arguments, **options)
            learning = isinstance(network.features[1], nn.BatchNorm2d)
            return {**found, "loss": next(left)} if learning else found

        monkeypatch.setattr(loop, "measure", told)

    return become


def kept(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


@pytest.mark.slow
def test_early_stopping_keeps_the_best_and_the_last(photos: Path, tmp_path: Path, losses, capsys):
    losses([5, 3, 4, 4, 4, 4, 4, 4])
    given = ["epochs=8", "stopping.patience=5", "stopping.min_delta=3", "keep=2"]
    chosen = settings(*overrides(photos, *given))
    results, _ = train.train(chosen, tmp_path / "out")
    # Its patience ends after the first epoch, but the second is the best.
    assert len(results.history) == 6 and results.best_epoch == 2
    assert kept(tmp_path / "out") == ["epoch-0002.pth", "epoch-0005.pth", "epoch-0006.pth"]
    assert "stopped early" in capsys.readouterr().err
    # The files of the best epoch are that epoch's, whichever way they are read.
    right = load_file(tmp_path / "out" / outputs.BEST)
    read = checkpoint.read(tmp_path / "out" / "checkpoints" / "epoch-0002.pth")
    best, _ = checkpoint.name_tensors(read, right)
    assert same(best, right)
    right = load_file(tmp_path / "out" / outputs.LAST)
    read = checkpoint.read(tmp_path / "out" / "checkpoints" / "epoch-0006.pth")
    last, _ = checkpoint.name_tensors(read, right)
    assert same(last, right)
    assert not same(best, last)

    # It remembers that it has stopped, and goes on when it is asked for more patience.
    again, _ = train.train(chosen, tmp_path / "out")
    assert len(again.history) == 6
    losses([4, 4])
    patient = settings(*overrides(photos, "epochs=8", "stopping.patience=9", "keep=2"))
    assert len(train.train(patient, tmp_path / "out")[0].history) == 8


@pytest.mark.slow
def test_what_is_left_tells_all_and_loads_as_a_model(photos: Path, tmp_path: Path):
    out = tmp_path / "out"
    tracking = ["tracking=sqlite", f"tracking.folder={tmp_path}/runs"]
    train.train(settings(*overrides(photos, "epochs=2", "batch_norm=false", *tracking)), out)

    assert same(load_file(out / outputs.INITIAL), seeded(0, WIDTHS, 4, 5, 32).state_dict())
    network = DualTaskVGG(WIDTHS, 4, 5, 32)
    for name in (outputs.INITIAL, outputs.BEST, outputs.LAST, "checkpoints/epoch-0001.pth"):
        checkpoint.fill(network, checkpoint.read(out / name), out / name)
    with safe_open(out / outputs.BEST, "pt") as file:
        assert file.metadata()["trained"] == "true"
    assert (out / outputs.FACES).read_text() == "ann\nbob\n"
    assert (out / outputs.OBJECTS).read_text() == "apple\ncar\nshoe\n"
    with open(out / outputs.HELD_OUT, newline="") as file:
        rows = list(csv.DictReader(file))
    assert (
        len(rows) == 15 and rows[0]["class"] == "ann" and rows[0]["image"].startswith("faces/ann/")
    )
    assert "pillow" in json.loads((out / outputs.VERSIONS).read_text())

    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    (run,) = client.search_runs(["1"])
    for name in ("train/loss", "val/loss", "val/face_top1", "val/object_top1",
                 "train/learning_rate"):  # fmt: skip
        assert [m.step for m in client.get_metric_history(run.info.run_id, name)] == [0, 1], name
    assert run.data.params["optimiser.name"] == "sgd"
    assert run.data.params["model.outputs"] == "5"
    assert {i.dataset.name for i in run.inputs.dataset_inputs} == {"tiny/train", "tiny/val"}
    logged = {file.path for file in client.list_artifacts(run.info.run_id)}
    assert logged == {name for name in outputs.SMALL}


def test_trained_and_untrained_are_compared_by_the_main_command(photos: Path, tmp_path: Path):
    train.train(settings(*overrides(photos, "epochs=1")), tmp_path / "out")
    shape = [arg for arg in TINY if arg.startswith("model.")]
    state = "checkpoints/epoch-0001.pth"
    for name, plain in ((outputs.BEST,) * 2, (outputs.INITIAL,) * 2, (state, outputs.LAST)):
        path, trained = tmp_path / "out" / name, name != outputs.INITIAL
        chosen = settings(*shape).model
        chosen.checkpoint, chosen.face_classes, chosen.trained = str(path), None, None
        loaded = load(chosen)
        assert same(loaded.network.state_dict(), load_file(tmp_path / "out" / plain))
        found = loaded.settings
        assert (found.outputs, found.face_classes, found.trained) == (5, 2, trained)
        assert load(replace(chosen, face_classes=3)).settings.face_classes == 3, "as it is asked"


def test_another_dataset_architecture_or_writer_is_refused(photos: Path, tmp_path: Path):
    chosen, out = overrides(photos, "epochs=1"), tmp_path / "out"
    train.train(settings(*chosen), out)
    with pytest.raises(InputError, match=r"with model\.widths=\[2, .* give it another name="):
        train.train(settings(*chosen, "model.widths=[2,2,2,2,2,2,2,2,2,2,2,2,3]"), out)
    with outputs.only_one(out), pytest.raises(InputError, match="another training writes to"):
        train.train(settings(*chosen), out)
    write(photos / "faces", {"zoe": 10})
    with pytest.raises(InputError, match=r"with images=2 \+ 3 classes.*this one has 3 \+ 3"):
        train.train(settings(*chosen), out)


@pytest.mark.slow
@pytest.mark.filterwarnings("error::UserWarning")  # of torch, not of files left open
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_mixed_precision_learns_and_its_scale_is_resumed(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
):
    """On the CPU, which the command line refuses: the steps are those of a GPU."""
    monkeypatch.setattr(hardware, "choose_device", lambda *_: torch.device("cpu"))
    chosen, scales = settings(*overrides(photos, "epochs=3", f"precision={precision}")), []
    learn = loop.learn

    def watched(state, *arguments):
        scales.append(state.scaler.get_scale())
        loss = learn(state, *arguments)
        scales.append(state.scaler.get_scale())
        if len(scales) == 4:
            raise KeyboardInterrupt
        return loss

    monkeypatch.setattr(loop, "learn", watched)
    monkeypatch.setattr(loop, "FIRST_SCALE", 2.0**60)  # gradients overflow: steps are left out
    with pytest.raises(KeyboardInterrupt):
        train.train(chosen, tmp_path / "out")
    results, _ = train.train(chosen, tmp_path / "out")
    start = seeded(0, WIDTHS, 4, 5, 32).state_dict()
    assert not same(load_file(tmp_path / "out" / outputs.LAST), start)
    assert [figures["train/loss"] for figures in results.history] == pytest.approx([2] * 3, 0.5)
    if precision == "float16":
        assert scales[0] == 2.0**60 > scales[1] == scales[2] == scales[4]
    else:
        assert set(scales) == {1.0}


def test_a_training_that_diverges_says_so_and_keeps_what_was_before(photos: Path, tmp_path: Path):
    wild = settings(*overrides(photos, "optimiser.learning_rate=1e30", "batch_norm=false"))
    with pytest.raises(InputError, match="diverged: the loss is .* in epoch 1; give a lower"):
        train.train(wild, tmp_path / "out")
    assert not (tmp_path / "out" / outputs.BEST).exists() and not kept(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.cli
def test_a_full_disk_is_one_line_and_the_old_checkpoint_stays(photos: Path, tmp_path: Path):
    """A limit on the size of files stands for the disk: weights fit, a checkpoint does not."""
    arguments = [*TINY, *overrides(photos, "epochs=1"), f"output={tmp_path}/out"]
    failed = conftest.run_warm(tmp_path, *arguments, module="app.train", file_bytes=20_000)
    assert failed.returncode == 1, failed.stderr
    last = failed.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and f"cannot write the training to {tmp_path}/out: " in last
    assert "Traceback" not in failed.stderr
    assert kept(tmp_path / "out") == []


def test_half_written_files_of_a_killed_training_are_replaced(photos: Path, tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    for name in (".best.safetensors.new", "checkpoints/.epoch-0001.pth.new"):
        (tmp_path / name).write_text("half")
    train.train(settings(*overrides(photos, "epochs=1")), tmp_path)
    assert not list(tmp_path.rglob("*.new"))
