"""The greedy ranking by itself, and its steps as a memo remembers them."""

import functools

import numpy as np
import pytest

from app.choices import MEASURES, TASKS
from app.findings.lesion import LesionEffects, LesionSite, Performance, lesion_kernels
from app.findings.lesioned import GreedySearch, search_greedily
from tests.findings.sites import Interrupted, Remembered, make_site

NEED = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])  # what each kernel adds by itself


def loss_without(dropped: tuple[int, ...]) -> np.ndarray:
    """Kernel 3 is needed most of all once 5 and 4 are gone, and no more than 1 before."""
    loss = NEED.copy()
    if {4, 5} <= set(dropped):
        loss[3] = 20
    loss[list(dropped)] = 100  # nobody asks
    return loss


@pytest.mark.parametrize(
    ("drop", "group_size", "expected", "searches"),
    [
        (1, 1, [5, 7, 4, 2, 0, 6, 1, 3], 1),
        (4, 1, [5, 7, 4, 3, 2, 0, 6, 1], 4),
        (4, 3, [5, 7, 4, 3, 2, 0, 6, 1], 2),  # the second search drops one alone
        (8, 8, [5, 7, 4, 2, 0, 6, 1, 3], 1),  # ties by index
    ],
)
def test_rank(drop: int, group_size: int, expected: list[int], searches: int):
    asked: list[tuple[int, ...]] = []

    def lesion(dropped: tuple[int, ...], kernels: tuple[int, ...] | None = None) -> LesionEffects:
        asked.append(dropped)
        return LesionEffects(Performance(*[loss_without(dropped)] * 4), Performance(0, 0, 0, 0))

    found = search_greedily(lesion, "face", 8, drop / 8, group_size)
    assert found.order.tolist() == expected
    assert [len(dropped) for dropped in asked] == found.dropped.tolist()
    assert found.dropped[-1] == drop and len(asked) == searches + 1
    assert all(dropped == tuple(sorted(dropped)) for dropped in asked)


def test_places_and_steps():
    order, dropped = np.array([2, 0, 3, 1]), np.array([0, 2, 3])
    values = np.arange(1, 13).reshape(4, 3) / 10
    remaining = Performance(*values)
    search = GreedySearch(order, dropped, remaining)
    assert search.place.tolist() == [1, 3, 0, 2]
    assert search.step.tolist() == [1, 0, 1, 2]
    assert remaining._fields == MEASURES
    parts = [Performance(*values[:, step]) for step in range(3)]
    np.testing.assert_array_equal(Performance.stack(parts), remaining)


@functools.cache
def site() -> LesionSite:
    return make_site("conv13")


def search(memo: Remembered, fraction: float = 0.5, group_size: int = 1) -> dict[str, GreedySearch]:
    lesion = functools.partial(memo, lesion_kernels, site())
    return {
        task: search_greedily(lesion, task, site().kernels, fraction, group_size) for task in TASKS
    }


def assert_equal(first: dict[str, GreedySearch], second: dict[str, GreedySearch]) -> None:
    for task in TASKS:
        np.testing.assert_array_equal(first[task].order, second[task].order)
        np.testing.assert_array_equal(first[task].dropped, second[task].dropped)
        np.testing.assert_array_equal(first[task].remaining, second[task].remaining)


@pytest.mark.parametrize("group_size", [1, 4])
def test_an_interrupted_search_goes_on_where_it_stopped(group_size: int):
    memo = Remembered()
    whole = search(memo, group_size=group_size)
    done = memo.computed
    assert len(whole["face"].dropped) == (7 if group_size == 1 else 3)
    assert memo.steps("lesion_kernels").count(((),)) == 1, "both start from the same step"

    memo = Remembered()
    memo.start(most=2)
    with pytest.raises(Interrupted):
        search(memo, group_size=group_size)
    memo.start()
    assert_equal(search(memo, group_size=group_size), whole)
    assert memo.computed == done[2:]

    memo.start()
    assert_equal(search(memo, group_size=group_size), whole)
    assert memo.computed == []


def test_the_first_step_is_every_kernels_lesion():
    memo = Remembered()
    searches = search(memo)
    single = memo(lesion_kernels, site(), ())
    for task in TASKS:
        assert searches[task].order[0] == np.argmax(single.without.of(task)[f"{task}_loss"])
    np.testing.assert_array_equal(np.array(searches["face"].remaining)[:, 0], single.intact)


def test_a_search_that_drops_more_goes_on_from_one_that_dropped_less():
    memo = Remembered()
    less = search(memo, 0.25)
    memo.start()
    more = search(memo, 0.5)
    for task in TASKS:
        np.testing.assert_array_equal(less[task].order[:3], more[task].order[:3])
        remaining = np.array(more[task].remaining)[:, :4]
        np.testing.assert_allclose(less[task].remaining, remaining, atol=1e-6)
    assert all(len(dropped) >= 3 for dropped, *_ in memo.steps("lesion_kernels"))


def test_what_remains_is_what_the_next_step_starts_from():
    """One by one, dropping a kernel leaves what its lesion left."""
    found = search(Remembered())["face"]
    for step in range(1, len(found.dropped)):
        gone, kernel = found.order[: step - 1].tolist(), found.order[step - 1]
        effects = lesion_kernels(site(), gone)
        left = [values[kernel] for values in effects.without]
        np.testing.assert_allclose(np.array(found.remaining)[:, step], left, atol=1e-6)
