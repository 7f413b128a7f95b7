"""The training job: deterministic, resumable to the bit, and what it shipped is as good as said."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors import safe_open
from safetensors.torch import load_file

import app
from app import train
from app.config.training import Train, check
from app.errors import InputError
from app.models.vgg import WIDTHS_MINI, DualTaskVGG, seeded
from app.stimuli.images import drawn
from app.training import loop, material, outputs
from tests import conftest  # the module is not `cli`: most of its tests run no command
from tests.composing import compose_config

WEIGHTS = Path(app.__file__).parent / "models" / "weights"
WIDTHS = [2] * 13
TINY = [
    "name=tiny", "model.widths=[2,2,2,2,2,2,2,2,2,2,2,2,2]", "model.hidden=4",
    "model.input_size=32", "model.resize=36", "drawn.people=3", "drawn.objects=3",
    "drawn.images_per_person=6", "drawn.shift=2", "held_out_per_class=2", "epochs=3",
    "batch_size=6", "optimiser.learning_rate=0.01", "workers=1", "tracking=none",
]  # fmt: skip
COMMAND = [*TINY, "drawn.images_per_person=4", "epochs=2"]


def settings(*overrides: str) -> Train:
    """What the command line would make of the overrides, for a tiny network."""
    composed = compose_config(*TINY, *overrides, name="train")
    return OmegaConf.to_object(composed)  # type: ignore[return-value]


@pytest.fixture(autouse=True)
def _leave_torch_as_it_was():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / outputs.LAST)


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    whole, cut, tiny = tmp_path / "whole", tmp_path / "cut", settings()
    train.train(tiny, whole)

    learn = loop.learn

    def killed_in_the_second_epoch(state, material, settings, epoch):
        loss = learn(state, material, settings, epoch)
        if epoch == 1:
            raise KeyboardInterrupt
        return loss

    monkeypatch.setattr(loop, "learn", killed_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        train.train(tiny, cut)
    assert not (cut / outputs.LAST).exists()

    epochs = []

    def watched(state, material, settings, epoch):
        epochs.append(epoch)
        torch.rand(7)  # the process that goes on has another past
        return learn(state, material, settings, epoch)

    monkeypatch.setattr(loop, "learn", watched)
    results, _ = train.train(tiny, cut)
    assert epochs == [1, 2]
    assert len(results.history) == 3
    assert same(weights(cut), weights(whole))


@pytest.mark.slow
def test_another_seed_learns_other_weights(tmp_path):
    train.train(settings("epochs=1"), tmp_path / "a")
    train.train(settings("epochs=1", "seed=1"), tmp_path / "b")
    assert not same(weights(tmp_path / "a"), weights(tmp_path / "b"))


@pytest.mark.slow
def test_training_lowers_the_loss_and_starts_from_the_saved_initialisation(tmp_path):
    results, _ = train.train(settings("epochs=12", "dropout=0"), tmp_path)
    losses = [figures["train/loss"] for figures in results.history]
    assert losses[-1] < losses[0] - 0.1
    start = seeded(0, WIDTHS, 4, 6, 32).state_dict()
    assert same(load_file(tmp_path / outputs.INITIAL), start)
    assert not same(weights(tmp_path), start)


@pytest.mark.slow
def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    train.train(settings("epochs=1"), tmp_path)
    with pytest.raises(InputError, match=r"optimiser.learning_rate=0.01, this one has 0.02"):
        train.train(settings("epochs=1", "optimiser.learning_rate=0.02"), tmp_path)
    with pytest.raises(InputError, match=r"model.hidden=4, this one has 5"):
        train.train(settings("epochs=1", "model.hidden=5"), tmp_path)
    with pytest.raises(InputError, match=r"model.squash=False, this one has True"):
        train.train(settings("epochs=1", "model.squash=true"), tmp_path)


def test_a_damaged_checkpoint_is_named(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "epoch-0002.pth").write_bytes(b"half a file")
    with pytest.raises(InputError, match=r"epoch-0002\.pth cannot be read; delete it"):
        train.train(settings(), tmp_path)


def test_faces_and_objects_are_balanced_and_held_out_images_are_new():
    four = settings("drawn.people=4", "drawn.objects=2")
    learned, held_out = material.draw_learned(four), material.draw_held_out(four)
    assert Counter(learned.outputs) == {0: 6, 1: 6, 2: 6, 3: 6, 4: 12, 5: 12}
    assert Counter(held_out.outputs) == dict.fromkeys(range(6), 2)
    old, new = (set(map(bytes, examples.images.contents)) for examples in (learned, held_out))
    assert not old & new
    few = material.draw_learned(settings("drawn.people=1", "drawn.images_per_person=1"))
    assert Counter(few.outputs) == dict.fromkeys(range(4), 1), "of three objects one each"


def test_network_input_is_three_equal_channels_within_one():
    found = material.make_material(settings("batch_size=12"))
    ((pixels, right),) = material.read_batches(found.to_test)
    inputs = found.inputs(pixels)
    assert inputs.shape == (12, 3, 32, 32) and right.tolist() == [0, 1, 2] * 2 + [3, 4, 5] * 2
    assert inputs.min() >= -1 and inputs.max() <= 1
    assert torch.equal(inputs[:, 0], inputs[:, 1]) and torch.equal(inputs[:, 0], inputs[:, 2])
    assert torch.equal(
        inputs[:, 0], (torch.from_numpy(np.stack(found.held_out.images.contents)) / 255 - 0.5) / 0.5
    )


def test_shifts_move_the_image_and_repeat_its_border():
    examples = material.draw_learned(settings())
    image = examples.images.contents[0].astype(int)
    wide = np.pad(image, 2, mode="edge")
    places = {
        wide[y : y + 32, x : x + 32].astype(np.uint8).tobytes() for y in range(5) for x in range(5)
    }
    varied = material.Varied(**vars(examples), sampling=1.0)
    looks = {varied[0, seed][0][..., 0].tobytes() for seed in range(300)}
    assert looks == places
    assert varied[0, 7][0].tobytes() == varied[0, 7][0].tobytes()


@pytest.mark.parametrize("sampling", [0.0, 0.5, 1.0])
def test_classes_are_shown_by_a_power_of_their_images(sampling):
    counts = np.array([3, 12, 75])
    outputs = np.repeat(np.arange(3), counts).tolist()
    nothing = drawn(np.zeros((len(outputs), 1, 1), np.uint8), list(map(str, outputs)), "test")
    varied = material.Varied(nothing, 3, outputs, lambda image: image, sampling)
    torch.manual_seed(0)
    epochs = [list(varied) for _ in range(200)]
    shown = np.bincount([outputs[index] for epoch in epochs for index, _ in epoch])
    expected = counts**sampling / (counts**sampling).sum()
    np.testing.assert_allclose(shown / shown.sum(), expected, atol=0.01)
    if sampling == 1:  # each image once an epoch
        assert all(sorted(index for index, _ in epoch) == [*range(90)] for epoch in epochs)
    assert all(len({seed for _, seed in epoch}) == 90 for epoch in epochs)  # no look twice


@pytest.mark.slow
@pytest.mark.cli
def test_the_command_trains_then_has_nothing_left_to_do(tmp_path):
    command = [*COMMAND, f"output={tmp_path}"]
    first = conftest.finished(conftest.run_app(tmp_path, *command, module="app.train"))
    assert "epoch 2: loss" in first.stderr and "Held out, best.safetensors: faces" in first.stdout
    found = weights(tmp_path)
    again = conftest.finished(conftest.run_app(tmp_path, *command, module="app.train"))
    assert "epoch 1: loss" not in again.stderr
    assert same(found, weights(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("epochs=0", "epochs=0 is too small: at least 1"),
        ("name=''", "name is empty: give it a value"),
        ("drawn.objects=61", "drawn.objects=61 is too large: at most 60"),
        ("drawn.images_per_person=1001", "held-out"),
        ("batch_size=1", "batch_size=1 is too small: at least 2"),
        ("model.input_size=50", "multiple of 32"),
        ("model.mean=null", "mean and sd have to be given"),
        ("model.widths=[1,2]", "13 values"),
        ("model.widths=[0,2,2,2,2,2,2,2,2,2,2,2,2]", "13 values, 1 or more"),
        ("augmentation.ratio=[1,inf]", "augmentation.ratio=[1.0, inf]"),
        ("model.checkpoint=x.pth", "leave model.checkpoint out"),
        ("dropout=1", "dropout=1.0: from 0 to below 1"),
        ("optimiser.name=adagrad", "optimiser.name=adagrad is unknown: it is one of adamw, sgd"),
        ("schedule.name=linear", "schedule.name=linear is unknown"),
        ("schedule.warmup=0", "schedule.name=cosine"),
        ("schedule.factor=2", "schedule.factor=2.0"),
        ("optimiser.learning_rate=nan", "optimiser.learning_rate=nan: 0 or more"),
        ("stopping.patience=0", "stopping.patience=0 is too small: at least 1"),
        ("precision=int8", "precision=int8 is unknown"),
        ("faces.root=x", "faces.root is given, but objects.root is not"),
        ("objects.validation=x", "objects.validation is given, but objects.root is not"),
    ],
)
def test_impossible_settings_are_one_line(override, said):
    with pytest.raises(InputError) as caught:
        check(settings(override))
        material.draw_learned(settings(override))
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_batch_of_more_than_all_images_is_refused():
    with pytest.raises(InputError, match=r"batch_size=1000 is more than the \d+ images to learn"):
        material.make_material(settings("batch_size=1000"))


def test_half_precision_on_a_cpu_and_a_gpu_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="precision=float16 needs a GPU"):
        train.train(settings("precision=float16"), tmp_path)
    with pytest.raises(InputError, match="device=cuda, but torch sees no GPU"):
        train.train(settings("device=cuda"), tmp_path)


@pytest.mark.slow
def test_more_outputs_than_classes_shift_the_objects(tmp_path):
    wide = settings("model.face_classes=5", "model.outputs=9", "epochs=1")
    train.train(wide, tmp_path)
    assert sorted(set(material.draw_held_out(wide).outputs)) == [0, 1, 2, 5, 6, 7]
    assert weights(tmp_path)["classifier.6.bias"].shape == (9,)
    with pytest.raises(InputError, match="model.outputs=7: the classes of faces and objects need"):
        train.train(settings("model.face_classes=5", "model.outputs=7"), tmp_path / "few")


@pytest.mark.slow
@pytest.mark.cli
def test_a_mistake_on_the_command_line_is_one_line(tmp_path):
    command = [*COMMAND, f"output={tmp_path}", "epochs=0"]
    failed = conftest.run_app(tmp_path, *command, module="app.train")
    assert failed.returncode == 1
    assert failed.stderr.strip().splitlines()[-1] == "error: epochs=0 is too small: at least 1"
    assert "Traceback" not in failed.stderr


@pytest.mark.slow
@pytest.mark.cli
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
    assert "Trains a dual-task network" in done.stdout


# What ships


@pytest.fixture(scope="module")
def shipped() -> DualTaskVGG:
    network = DualTaskVGG(WIDTHS_MINI, 256, 180, 64)
    network.load_state_dict(load_file(WEIGHTS / "dualtask_mini.safetensors"))
    return network.eval()


@pytest.mark.slow
def test_shipped_weights_do_what_the_card_says(shipped):
    """On the first three held-out images of each class; the card says it of more."""
    whole = ["drawn.people=120", "drawn.objects=60", "model.input_size=64", "held_out_per_class=3"]
    held_out = material.draw_held_out(settings(*whole))
    grey = torch.from_numpy(np.stack(held_out.images.contents))[:, None].expand(-1, 3, -1, -1)
    with torch.no_grad():
        answers = torch.cat([shipped((part / 255 - 0.5) / 0.5) for part in grey.split(128)])
    expected = torch.tensor(held_out.outputs)
    right, face = answers.argmax(1) == expected, expected < 120
    found = {"faces": float(right[face].double().mean())}
    found["objects"] = float(right[~face].double().mean())
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
