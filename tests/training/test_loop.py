"""Learning rates, the best epoch, early stopping, and the optimisers that the config names."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from app.config.training import Schedule, Stopping
from app.models.vgg import seeded
from app.training.loop import (
    History,
    find_best,
    is_over,
    make_learner,
    make_schedule,
)
from tests.test_train import same, settings

CPU = torch.device("cpu")


def rates(name: str, *, warmup: float, epochs: int, steps: int, every: int = 1) -> list[float]:
    optimiser = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], 2.0)
    schedule = make_schedule(optimiser, Schedule(name, warmup, every, 0.1), epochs, steps)
    found = []
    for _ in range(epochs * steps):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return found


def test_cosine_after_a_linear_warm_up_is_its_formula():
    found = rates("cosine", warmup=0.2, epochs=4, steps=5)
    rising = [2 * (1 + 4 * k / 4) / 5 for k in range(4)]
    falling = [1 + math.cos(math.pi * k / 16) for k in range(16)]
    assert found == pytest.approx(rising + falling)


def test_cosine_without_warm_up_starts_at_the_peak():
    found = rates("cosine", warmup=0.0, epochs=2, steps=4)
    assert found == pytest.approx([1 + math.cos(math.pi * k / 8) for k in range(8)])


def test_steps_multiply_the_rate_every_so_many_epochs():
    found = rates("step", warmup=0.0, epochs=5, steps=2, every=2)
    assert found == pytest.approx([2.0] * 4 + [0.2] * 4 + [0.02] * 2)


def test_constant_and_one_cycle():
    assert rates("constant", warmup=0.0, epochs=2, steps=3) == [2.0] * 6
    found = rates("onecycle", warmup=0.25, epochs=4, steps=5)
    assert max(found) == pytest.approx(2.0) and found.index(max(found)) == 4
    assert found[0] < 0.1 and found[-1] < 0.001


@given(st.integers(1, 4), st.integers(1, 10), st.sampled_from([0.01, 0.1, 0.2, 0.25, 0.5, 0.9]))
@example(1, 5, 0.2)  # the default, of which one step is the share
def test_one_cycle_of_any_length(epochs, steps, warmup):
    found = rates("onecycle", warmup=warmup, epochs=epochs, steps=steps)
    peak = found.index(max(found))
    assert all(0 <= rate <= 2.0 for rate in found) and found[-1] < 0.001
    assert found == sorted(found[: peak + 1]) + sorted(found[peak + 1 :], reverse=True)


@pytest.mark.parametrize("schedule", ["onecycle", "cosine"])
def test_the_momentum_is_the_one_that_is_given(schedule):
    chosen = settings(
        "model.outputs=6", "model.face_classes=3", "optimiser.name=sgd", "optimiser.momentum=0.3",
        f"schedule.name={schedule}",
    )  # fmt: skip
    learner = make_learner(chosen, 2, CPU)
    for _ in range(2 * chosen.epochs):
        assert {group["momentum"] for group in learner.optimiser.param_groups} == {0.3}
        learner.optimiser.step()
        learner.schedule.step()


def history(losses: list[float]) -> History:
    return [{"val/loss": loss} for loss in losses]


def test_the_best_epoch_is_the_last_clear_improvement():
    assert find_best([]) == 0
    assert find_best(history([3.0])) == 1
    assert find_best(history([3.0, 2.0, 2.0, 2.5])) == 2
    assert find_best(history([3.0, 2.9, 2.8]), min_delta=0.15) == 3
    assert find_best(history([3.0, 2.9, 2.9]), min_delta=0.15) == 1
    assert find_best(history([math.nan, 5.0, math.nan])) == 2


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30))
def test_without_min_delta_the_best_is_the_first_of_the_lowest(losses):
    assert find_best(history(losses)) == losses.index(min(losses)) + 1


@given(st.lists(st.floats(0, 10), min_size=1, max_size=30), st.integers(1, 5))
def test_patience_counts_epochs_since_the_best(losses, patience):
    """Against the counter that a loop would carry along."""
    best, waited, stops = math.inf, 0, None
    for epoch, loss in enumerate(losses, start=1):
        best, waited = (loss, 0) if loss < best else (best, waited + 1)
        if waited >= patience:
            stops = epoch
            break
    told = history(losses)
    first = next((n for n in range(1, 31) if is_over(told[:n], 99, Stopping(patience, 0.0))), None)
    assert first == stops
    assert not is_over(told, 99, Stopping(None, 0.0))
    assert is_over(told, len(told), Stopping(None, 0.0))


def test_the_optimisers_and_what_is_decayed():
    with_outputs = ["model.outputs=6", "model.face_classes=3", "optimiser.weight_decay=0.25"]
    adam = make_learner(settings(*with_outputs), 2, CPU).optimiser
    assert isinstance(adam, torch.optim.AdamW)
    sgd = make_learner(settings(*with_outputs, "optimiser.name=sgd"), 2, CPU).optimiser
    assert isinstance(sgd, torch.optim.SGD)
    for optimiser in (adam, sgd):
        weights, others = optimiser.param_groups
        assert (weights["weight_decay"], others["weight_decay"]) == (0.25, 0.0)
        assert {p.ndim for p in weights["params"]} == {2, 4}
        assert {p.ndim for p in others["params"]} == {1}


def test_without_batch_normalisation_the_network_is_trained_as_it_is_analysed():
    six = settings("model.outputs=6", "model.face_classes=3", "batch_norm=false", "dropout=0.3")
    network = make_learner(six, 2, CPU).network
    start = seeded(0, [2] * 13, 4, 6, 32).state_dict()
    assert same(network.state_dict(), start)
    assert [m.p for m in network.modules() if isinstance(m, torch.nn.Dropout)] == [0.3, 0.3]
