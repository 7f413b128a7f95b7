"""Sets of kernels lesioned together: which they are, and what a plain pass leaves without them."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from app import models, steps
from app.findings import greedy, lesion
from app.findings.dissociation import kernel_sets
from app.memo.store import Cache
from app.models.vgg import layer_position
from app.tracking.contents import set_metrics, set_table
from tests.config.test_schema import composed
from tests.findings.test_greedy import SMALL_NETWORK

SMALL = [*SMALL_NETWORK, "lesion=single", "lesion.sets=[5,10,25,50]", "lesion.random_draws=2"]
SCORE = np.array([0.1, np.nan, 0.9, 0.4, -1.0, 0.4, np.nan, 0.2])
SELECTED = SCORE > 0.3  # kernels 2, 3, 5


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, np.nan]), min_size=1, max_size=40),
    st.lists(st.integers(1, 100), unique=True, max_size=6),
    st.integers(1, 3),
)
def test_sets(score, percents, draws):
    count = len(score)
    selected = np.array(score) > 1
    sets = kernel_sets(np.array(score), selected, percents, draws, seed=1)
    of = {
        kind: [each for each in sets if each.kind == kind]
        for kind in ("none", "top", "selection", "random", "random_selection")
    }
    assert sum(map(len, of.values())) == len(sets)
    assert [each.kernels for each in of["none"]] == [()]
    (chosen,) = of["selection"]
    assert list(chosen.kernels) == [i for i, value in enumerate(score) if value > 1]
    worst_first = sorted(range(count), key=lambda i: (np.isnan(score[i]), -score[i], i))
    sizes = [len(each.kernels) for each in of["top"]]
    assert sizes == sorted({max(1, round(percent * count / 100)) for percent in percents})
    for each in of["top"]:
        size = len(each.kernels)
        assert each.kernels == tuple(sorted(worst_first[:size]))
        alike = [p for p in percents if max(1, round(p * count / 100)) == size]
        assert each.percent == max(alike)
    for draw in range(draws):
        mine = [set(each.kernels) for each in of["random"] if each.draw == draw]
        assert [len(kernels) for kernels in mine] == sizes
        assert all(one < other for one, other in zip(mine, mine[1:], strict=False))
    assert [len(each.kernels) for each in of["random_selection"]] == [sum(selected)] * draws


def test_random_sets_are_the_same_for_all_scores_and_differ_by_draw_and_seed():
    def random(score, seed):
        sets = kernel_sets(score, score > 0.5, [10, 50], 2, seed)
        return [each.kernels for each in sets if each.kind == "random"]

    first, second = np.random.default_rng(0).random((2, 100))
    assert random(first, 0) == random(second, 0) != random(first, 1)
    assert random(first, 0)[0] != random(first, 0)[1]


@pytest.fixture
def lesioned_together(monkeypatch):
    """The sets that were lesioned, and how often the layer's maps were computed for all."""
    each, kept = lesion.lesion_each, lesion.kept_maps
    seen = {"sets": [], "maps": 0}

    def counted_each(*arguments, dropped=(), **more):
        seen["sets"].append(tuple(dropped))
        return each(*arguments, dropped=dropped, **more)

    def counted_kept(*arguments, **more):
        seen["maps"] += 1
        return kept(*arguments, **more)

    monkeypatch.setattr(lesion, "lesion_each", counted_each)
    monkeypatch.setattr(lesion, "kept_maps", counted_kept)
    return seen


def lesioned(folder, score=SCORE, selected=SELECTED, *overrides: str) -> steps.Lesioned:
    config = composed(*SMALL, *overrides)
    network = models.load(config.model).network
    return steps.lesioned(config, Cache(folder), lambda: network, score, selected)


def plain_passes(folder):
    """A function that says what one pass of the whole network leaves without some kernels."""
    config = composed(*SMALL)
    network = models.load(config.model).network
    images, outputs = steps.own_classes(config, Cache(folder))
    (pixels,) = images.batches(models.preprocessing(config.model), len(images))
    answers, dead = torch.from_numpy(outputs), []

    def silence(_module, _inputs, output):
        output = output.clone()
        output[:, dead] = 0
        return output

    network.features[layer_position("conv13") - 1].register_forward_hook(silence)

    def plain(kernels) -> dict[str, float]:
        dead[:] = kernels
        with torch.no_grad():
            logits = network(torch.from_numpy(pixels)).double()
        loss = torch.nn.functional.cross_entropy(logits, answers, reduction="none")
        right = (logits.argmax(1) == answers).double()
        return {
            f"{task}_{name}": float(values[shown].mean())
            for task, shown in (("face", answers < 4), ("object", answers >= 4))
            for name, values in (("loss", loss), ("top1", right))
        }

    return plain


def test_what_remains_is_what_a_plain_pass_gives(tmp_path):
    found = lesioned(tmp_path)
    different = {each.kernels: place for place, each in enumerate(found.sets)}
    assert () in different and (2, 3, 5) in different and (2,) in different
    plain = plain_passes(tmp_path)
    for kernels, place in different.items():
        for name, value in plain(kernels).items():
            assert found.without[name][place] == pytest.approx(value, abs=1e-5), kernels
    metrics, curves = set_metrics(found)
    table = set_table(found)
    for task in greedy.TASKS:
        for kind in ("selection", "random_selection"):
            name = f"lesion/{kind.replace('random_selection', 'selection_random')}_{task}_top1"
            expected = table.loc[table["set"] == kind, f"{task}_top1"].mean()
            assert metrics[name] == pytest.approx(expected)
        top = table[table["set"].isin(["none", "top"])]
        assert curves[f"lesion/top_{task}_top1"] == dict(
            zip([0, 10, 25, 50], top[f"{task}_top1"], strict=True)  # 5 and 10 %: one kernel
        )
    assert table["kernels"].tolist() == [0, 1, 2, 4, 3, 1, 1, 2, 2, 4, 4, 3, 3]


def test_a_set_is_lesioned_once_for_all_metrics_and_criteria(tmp_path, lesioned_together):
    first = lesioned(tmp_path)
    done = lesioned_together["sets"]
    assert lesioned_together["maps"] == 1
    assert done[0] == () and min(map(len, done[1:])) == 2, "single kernels are known already"
    assert len(done) == len(set(done))
    before = len(done)
    again = lesioned(tmp_path)
    assert len(done) == before and again.without.keys() == first.without.keys()
    lesioned(tmp_path, SCORE, SCORE > 0.9)  # nothing selected: the intact network
    assert len(done) == before
    reverse = lesioned(tmp_path, -SCORE)
    new = done[before:]
    assert {len(kernels) for kernels in new} <= {2, 4} and len(new) <= 2  # its own top sets alone
    random = [place for place, each in enumerate(first.sets) if each.kind == "random"]
    for name, values in first.without.items():
        np.testing.assert_array_equal(values[random], reverse.without[name][random])


def test_no_sets_where_none_are_asked_for(tmp_path, lesioned_together):
    found = lesioned(tmp_path, SCORE, SELECTED, "lesion.sets=[]")
    assert lesioned_together == {"sets": [()], "maps": 0}
    assert list(found.sets) == [] and set_metrics(found) == ({}, {})


def test_maps_that_are_stored_and_those_too_large_for_it_leave_the_same(tmp_path, monkeypatch):
    lesioned(tmp_path / "stored")
    assert len(list((tmp_path / "stored" / "lesion_maps").glob("*.npz"))) == 1
    others = np.flip(SCORE), np.flip(SELECTED)  # further sets, from the maps that are stored
    stored = lesioned(tmp_path / "stored", *others)
    monkeypatch.setattr(steps, "STORED_MAPS", 0)
    computed = lesioned(tmp_path / "computed", *others)
    assert not (tmp_path / "computed" / "lesion_maps").exists()
    for measure, values in stored.without.items():
        np.testing.assert_array_equal(values, computed.without[measure])
