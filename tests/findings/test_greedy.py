"""The greedy ranking by itself, and its steps as a run stores them."""

import numpy as np
import pytest

from app import models, steps
from app.findings import greedy, lesion
from app.findings.greedy import GreedySearch
from app.memo.store import Cache
from tests.config.test_schema import composed

NEED = np.array([3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0])  # what each kernel adds by itself
SMALL_NETWORK = [
    "model=dualtask_mini_untrained", "model.checkpoint=null", "model.hidden=16",
    "model.widths=[4,4,4,4,4,4,4,6,6,6,8,8,8]",
    "model.outputs=9", "model.face_classes=4", "lesion=greedy", "lesion.images_per_identity=2",
    "lesion.images_per_object=2", "lesion.fraction=0.5", "device=cpu",
]  # fmt: skip


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

    def ask(dropped: tuple[int, ...]) -> np.ndarray:
        asked.append(dropped)
        return loss_without(dropped)

    assert greedy.rank(8, drop, group_size, ask).tolist() == expected
    counts = greedy.dropped_after(drop, group_size)
    assert [len(dropped) for dropped in asked] == counts[:-1].tolist()
    assert counts[-1] == drop and len(asked) == searches


def test_places_and_steps():
    order, dropped = np.array([2, 0, 3, 1]), np.array([0, 2, 3])
    remaining = {name: np.array([0.1, 0.2, 0.3]) for name in greedy.MEASURES}
    search = GreedySearch(order, dropped, remaining)
    assert search.place.tolist() == [1, 3, 0, 2]
    assert search.step.tolist() == [1, 0, 1, 2]
    np.testing.assert_allclose(search.curve[:, :2], [[0, 0.1], [0.5, 0.2], [0.75, 0.3]])


class Interrupted(Exception):
    pass


@pytest.fixture
def lesioning(monkeypatch):
    """Count lesionings; raise Interrupted after as many as `lesioning.most`."""

    class Counted:
        dropped: list[tuple[int, ...]] = []
        brought: list[bool] = []  # whether each was given the layer's maps
        maps = 0
        most = 10**6

        def each(self, *arguments, dropped=(), **more):
            if len(self.dropped) == self.most:
                raise Interrupted
            self.dropped.append(tuple(sorted(dropped)))
            self.brought.append(more["maps"] is not None)
            return each(*arguments, dropped=dropped, **more)

        def kept(self, *arguments, **more):
            self.maps += 1
            return kept(*arguments, **more)

        def start(self, most: int = 10**6) -> None:
            self.dropped, self.brought, self.maps, self.most = [], [], 0, most

    counted = Counted()
    counted.start()
    each, kept = lesion.lesion_each, lesion.kept_maps
    monkeypatch.setattr(lesion, "lesion_each", counted.each)
    monkeypatch.setattr(lesion, "kept_maps", counted.kept)
    return counted


def searches_of(folder, *overrides: str) -> dict[str, GreedySearch]:
    config = composed(*SMALL_NETWORK, *overrides)
    return steps.greedy_searches(config, Cache(folder), lambda: models.load(config.model).network)


def assert_equal(first: dict[str, GreedySearch], second: dict[str, GreedySearch]) -> None:
    for task in greedy.TASKS:
        np.testing.assert_array_equal(first[task].order, second[task].order)
        np.testing.assert_array_equal(first[task].curve, second[task].curve)


@pytest.mark.parametrize("group_size", [1, 3])
def test_an_interrupted_search_goes_on_where_it_stopped(tmp_path, lesioning, group_size: int):
    overrides = [f"lesion.group_size={group_size}"]
    whole = searches_of(tmp_path / "whole", *overrides)
    done = list(lesioning.dropped)
    assert len(whole["face"].dropped) == (5 if group_size == 1 else 3)
    assert done.count(()) == 1, "both searches start from the same step"
    assert lesioning.maps == 1 and all(lesioning.brought)

    lesioning.start(most=3)
    with pytest.raises(Interrupted):
        searches_of(tmp_path / "parts", *overrides)
    lesioning.start()
    assert_equal(searches_of(tmp_path / "parts", *overrides), whole)
    assert lesioning.dropped == done[3:]
    assert lesioning.maps == 0 and all(lesioning.brought), "maps of a small layer are stored"

    lesioning.start()
    assert_equal(searches_of(tmp_path / "parts", *overrides), whole)
    assert lesioning.dropped == [] and lesioning.maps == 0


def test_single_lesions_are_the_first_step(tmp_path, lesioning):
    config = composed(*SMALL_NETWORK, "lesion=single", "lesion.sets=[]")
    score = np.zeros(8)
    single = steps.lesioned(
        config, Cache(tmp_path), lambda: models.load(config.model).network, score, score > 0
    )
    assert single.searches == {} and lesioning.dropped == [()]
    assert lesioning.brought == [False] and lesioning.maps == 0, "one pass needs no maps"
    searches = searches_of(tmp_path)
    assert lesioning.dropped.count(()) == 1
    for task in greedy.TASKS:
        assert searches[task].order[0] == np.argmax(single.effects[f"{task}_loss"])
        for name in greedy.MEASURES:
            assert searches[task].remaining[name][0] == single.effects[f"intact_{name}"]


def test_a_search_that_drops_more_goes_on_from_one_that_dropped_less(tmp_path, lesioning):
    less = searches_of(tmp_path, "lesion.fraction=0.25")
    lesioning.start()
    more = searches_of(tmp_path, "lesion.fraction=0.5")
    for task in greedy.TASKS:
        np.testing.assert_array_equal(less[task].order[:2], more[task].order[:2])
        np.testing.assert_allclose(less[task].curve, more[task].curve[:3], atol=1e-6)
    assert all(len(dropped) >= 2 for dropped in lesioning.dropped)


def test_what_remains_is_what_the_next_step_starts_from(tmp_path):
    """One by one, dropping a kernel leaves what its lesion left."""
    search = searches_of(tmp_path)["face"]
    config = composed(*SMALL_NETWORK)
    for step in range(1, len(search.dropped)):
        gone, kernel = search.order[: step - 1].tolist(), search.order[step - 1]
        effects = steps.lesion_effects(
            config, Cache(tmp_path), lambda: models.load(config.model).network, gone
        )
        for name in greedy.MEASURES:
            assert search.remaining[name][step] == pytest.approx(effects[name][kernel], abs=1e-6)
