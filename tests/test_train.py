"""The training job: deterministic, resumable to the bit, and what it shipped is as good as said."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

import app
from app import train
from app.config import Tracking
from app.errors import InputError
from app.models.vgg import WIDTHS_MINI, DualTaskVGG, seeded

WEIGHTS = Path(app.__file__).parent / "models" / "weights"
TINY = train.Train(
    name="tiny",
    output="",
    seed=0,
    stimuli_seed=0,
    widths=[2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2],
    hidden=4,
    input_size=32,
    people=3,
    objects=3,
    images_per_person=6,
    held_out_per_class=2,
    epochs=3,
    batch_size=6,
    learning_rate=0.01,
    weight_decay=0.01,
    label_smoothing=0.1,
    dropout=0.2,
    shift=2,
    threads=1,
    workers=1,
    tracking=Tracking(name="none"),
)
COMMAND = [
    sys.executable, "-m", "app.train", "tracking=none", "people=3", "objects=3",
    "images_per_person=4", "held_out_per_class=1", "epochs=2", "batch_size=6", "hidden=4",
    "input_size=32", "widths=[2,2,2,2,2,2,2,2,2,2,2,2,2]", "workers=1",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _leave_torch_as_it_was():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def weights(folder: Path, name: str = "tiny") -> dict[str, torch.Tensor]:
    return load_file(folder / "weights" / f"{name}.safetensors")


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_a_killed_training_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    train.train(TINY, whole)

    learn = train.learn

    def killed_in_the_second_epoch(state, images, settings, epoch):
        loss = learn(state, images, settings, epoch)
        if epoch == 1:
            raise KeyboardInterrupt
        return loss

    monkeypatch.setattr(train, "learn", killed_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        train.train(TINY, cut)
    assert not (cut / "weights").exists()

    epochs = []

    def watched(state, images, settings, epoch):
        epochs.append(epoch)
        torch.rand(7)  # the process that goes on has another past
        return learn(state, images, settings, epoch)

    monkeypatch.setattr(train, "learn", watched)
    results = train.train(TINY, cut)
    assert epochs == [1, 2]
    assert len(results["history"]) == 3
    assert same(weights(cut), weights(whole))


def test_another_seed_learns_other_weights(tmp_path):
    short = replace(TINY, epochs=1)
    train.train(short, tmp_path / "a")
    train.train(replace(short, seed=1), tmp_path / "b")
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "b"))


def test_training_lowers_the_loss_and_starts_from_the_saved_initialisation(tmp_path):
    results = train.train(replace(TINY, epochs=12, dropout=0.0), tmp_path)
    losses = [figures["train/loss"] for figures in results["history"]]
    assert losses[-1] < losses[0] - 0.1
    start = seeded(0, TINY.widths, TINY.hidden, 6, 32).state_dict()
    assert same(weights(tmp_path, "tiny_untrained"), start)
    assert not same(weights(tmp_path), start)


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    short = replace(TINY, epochs=1)
    train.train(short, tmp_path)
    with pytest.raises(InputError, match=r"learning_rate=0.01, this one has 0.02"):
        train.train(replace(short, learning_rate=0.02), tmp_path)


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / train.CHECKPOINT).write_bytes(b"half a file")
    with pytest.raises(InputError, match=r"checkpoint\.pt cannot be read"):
        train.train(TINY, tmp_path)


def test_faces_and_objects_are_balanced_and_held_out_images_are_new():
    settings = replace(TINY, people=4, objects=2)
    learned, held_out = train.training_images(settings), train.held_out_images(settings)
    assert (learned.outputs < 4).sum() == (learned.outputs >= 4).sum() == 24
    assert learned.outputs.unique().tolist() == list(range(6))
    assert held_out.outputs.bincount().tolist() == [2] * 6
    old, new = (set(map(bytes, images.pixels.numpy())) for images in (learned, held_out))
    assert not old & new


def test_network_input_is_three_equal_channels_within_one():
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16)
    inputs = train.prepared(pixels)
    assert inputs.shape == (1, 3, 16, 16)
    assert inputs.min() == -1 and inputs.max() == 1
    assert torch.equal(inputs[:, 0], inputs[:, 1]) and torch.equal(inputs[:, 0], inputs[:, 2])


def test_shifts_move_the_image_and_repeat_its_border():
    pixels = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8)
    assert torch.equal(train.shifted(pixels, 0), pixels.float())
    torch.manual_seed(0)
    many = train.shifted(pixels.expand(200, -1, -1), 2)
    assert len(many.reshape(200, -1).unique(dim=0)) == 25
    assert many.min() == 0 and many.max() == 63


def test_the_command_trains_then_has_nothing_left_to_do(tmp_path):
    command = [*COMMAND, f"output={tmp_path}"]
    first = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "epoch 2: loss" in first.stderr and "Held out: faces" in first.stdout
    found = weights(tmp_path, "dualtask_mini")
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "epoch 1: loss" not in again.stderr
    assert same(found, weights(tmp_path, "dualtask_mini"))
    assert "| faces | 3 identities |" in (tmp_path / "weights" / "dualtask_mini.md").read_text()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ({"epochs": 0}, "epochs=0: at least 1"),
        ({"objects": 61}, "60 categories can be drawn"),
        ({"images_per_person": 1001}, "held-out"),
        ({"batch_size": 1}, "batch_size=1: at least 2"),
        ({"batch_size": 1000}, "batch_size=1000 is more"),
        ({"input_size": 50}, "multiple of 32"),
        ({"widths": [1, 2]}, "13 widths"),
    ],
)
def test_impossible_settings_are_one_line(override, said):
    with pytest.raises(InputError, match=said):
        train.check(replace(TINY, **override))


def test_a_mistake_on_the_command_line_is_one_line(tmp_path):
    command = [*COMMAND, f"output={tmp_path}", "epochs=0"]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.strip().splitlines()[-1] == "error: epochs=0: at least 1"
    assert "Traceback" not in failed.stderr


def test_help_imports_neither_torch_nor_mlflow():
    code = (
        "import sys\n"
        "from app import train\n"
        "sys.argv = ['app.train', '--help']\n"
        "try: train.main()\n"
        "except SystemExit: pass\n"
        "sys.exit(2 if {'torch', 'mlflow'} & sys.modules.keys() else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Trains the small dual-task network" in done.stdout


# What ships


@pytest.fixture(scope="module")
def shipped() -> DualTaskVGG:
    network = DualTaskVGG(WIDTHS_MINI, 256, 180, 64)
    network.load_state_dict(load_file(WEIGHTS / "dualtask_mini.safetensors"))
    return network.eval()


def test_shipped_weights_do_what_the_card_says(shipped):
    """On the first three held-out images of each class; the card says it of more."""
    settings = replace(TINY, people=120, objects=60, input_size=64, held_out_per_class=3)
    found = train.accuracies(shipped, train.held_out_images(settings), 120)
    assert found["faces"] >= 0.6
    assert found["objects"] >= 0.7
    card = (WEIGHTS / "dualtask_mini.md").read_text(encoding="utf-8")
    for task, count in (("faces", 360), ("objects", 180)):
        row = re.search(
            rf"^\| {task} \| .* \| (\d+\.\d)% \| (\d+\.\d)% \| \d+\.\d% \|$", card, re.M
        )
        assert row is not None
        said = float(row[1]) / 100
        # Four standard errors of a share among so many images.
        assert abs(found[task] - said) < 4 * (max(said * (1 - said), 0.01) / count) ** 0.5


def test_shipped_untrained_weights_are_the_saved_initialisation():
    state = load_file(WEIGHTS / "dualtask_mini_untrained.safetensors")
    assert same(state, seeded(0, WIDTHS_MINI, 256, 180, 64).state_dict())


@pytest.mark.parametrize("name", ["dualtask_mini", "dualtask_mini_untrained"])
def test_shipped_files_are_small_and_say_what_they_are(name):
    path = WEIGHTS / f"{name}.safetensors"
    assert path.stat().st_size <= 8_000_000
    with safe_open(path, "pt") as file:
        about = file.metadata()
    assert about["widths"] == str(list(WIDTHS_MINI))
    assert (about["faces"], about["objects"], about["outputs"]) == ("120", "60", "180")
