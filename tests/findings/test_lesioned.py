"""All lesions of a run: what they leave, what is computed once, and how it is told."""

import re
from dataclasses import replace

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from app.choices import MEASURES, TASKS
from app.config.schema import Layer, Lesion, Model
from app.config.schema import OwnClasses as Own
from app.findings.lesion_task import why_not_lesioned
from app.findings.lesioned import BY_CLASS, Lesioned, choose_sets, lesion
from app.stimuli.classes import choose_task
from tests.findings.sites import FACES, OUTPUT, Remembered, make_site, run_full_pass

SETTINGS = Lesion(name="single", sets=[5, 10, 25, 50], random_draws=2)
SCORE = np.array([0.1, np.nan, 0.9, 0.4, -1.0, 0.4, np.nan, 0.2, 0.3, 0.0, -0.5, -0.1])
SELECTED = SCORE > 0.3  # kernels 2, 3, 5


def run(memo: Remembered, score=SCORE, selected=SELECTED, settings=SETTINGS) -> Lesioned:
    return lesion(make_site("conv13", memo=memo), score, selected, settings, 0)


def test_what_remains_is_what_a_plain_pass_gives():
    found = run(Remembered())
    different = {each.kernels: place for place, each in enumerate(found.sets)}
    assert () in different and (2, 3, 5) in different and (2,) in different
    for kernels, place in different.items():
        for task, expected in run_full_pass("conv13", kernels).items():
            left = [values[place] for values in found.without.of(task).values()]
            assert left == pytest.approx(expected, abs=1e-5)
    metrics, curves, table = found.metrics(SCORE), found.curves(), found.set_table()
    for task in TASKS:
        for kind in ("selection", "random_selection"):
            name = f"lesion/{kind.replace('random_selection', 'selection_random')}_{task}_top1"
            expected = table.loc[table["set"] == kind, f"{task}_top1"].mean()
            assert metrics[name] == pytest.approx(expected)
        top = table[table["set"].isin(["none", "top"])]
        assert curves[f"lesion/top_{task}_top1"] == dict(
            zip([0, 10, 25, 50], top[f"{task}_top1"], strict=True)  # 5 and 10 %: one kernel
        )
    assert table["kernels"].tolist() == [0, 1, 3, 6, 3, 1, 1, 3, 3, 6, 6, 3, 3]
    assert list(table.columns) == ["set", "percent", "kernels", "draw", *MEASURES]


def test_what_remains_of_each_class_adds_up_to_the_tasks():
    found = run(Remembered())
    table = found.damage.table()
    assert table["images"].sum() == len(OUTPUT) and table["class"].is_unique
    chosen = [place for place, each in enumerate(found.sets) if each.kind == "selection"]
    for task in TASKS:
        own = table[table["task"] == task]
        for column, measures in (("intact", found.effects.intact.of(task)),
                                 ("selection", found.without.of(task))):  # fmt: skip
            for measure in ("loss", "top1"):
                expected = np.atleast_1d(measures[f"{task}_{measure}"])
                expected = expected[chosen[0]] if column == "selection" else expected[0]
                mean = np.average(own[f"{column}_{measure}"], weights=own["images"])
                assert mean == pytest.approx(expected, abs=1e-6)
    assert found.damage.classes == tuple(map(str, np.unique(OUTPUT)))


def test_a_set_is_lesioned_once_for_all_metrics_and_criteria():
    memo = Remembered()
    first = run(memo)
    assert memo.steps("read_shared") == [()] and memo.steps("lesion_kernels") == [((),)]
    sets = memo.steps("lesion_sets")
    more = {str(each.kernels) for each in first.sets
            if len(each.kernels) > 1 or each.kind in BY_CLASS}  # fmt: skip
    assert set(sets) == more and len(sets) == len(more), "of one the single lesions told"
    memo.start()
    again = run(memo)
    assert memo.computed == []
    np.testing.assert_array_equal(again.without, first.without)
    run(memo, SCORE, SCORE > 0.9)  # nothing selected: the intact network
    assert memo.computed == []
    reverse = run(memo, -SCORE)  # its own top sets alone
    assert memo.steps("lesion_kernels") == memo.steps("read_shared") == []
    assert 1 <= len(memo.steps("lesion_sets")) <= 3
    random = [place for place, each in enumerate(first.sets) if each.kind == "random"]
    np.testing.assert_array_equal(
        np.array(first.without)[..., random], np.array(reverse.without)[..., random]
    )


def test_no_sets_where_none_are_asked_for():
    memo = Remembered()
    found = run(memo, settings=replace(SETTINGS, sets=[]))
    assert memo.steps("lesion_sets") == []
    assert list(found.sets) == [] and found.curves() == {} and found.set_table().empty
    assert not any("selection" in name for name in found.metrics(SCORE))


def test_single_lesions_as_a_table_and_numbers():
    found = run(Remembered())
    table, metrics = found.table(), found.metrics(SCORE)
    intact = [f"intact_{measure}" for measure in MEASURES]
    assert list(table.columns) == ["kernel", *MEASURES, *intact]
    assert table["kernel"].tolist() == list(range(12)) and found.searches == {}
    for task, name in (("face", "lesion/spearman"), ("object", "lesion/spearman_object")):
        expected = stats.spearmanr(SCORE, -table[f"{task}_loss"], nan_policy="omit").statistic
        assert metrics[name] == pytest.approx(expected)
    for measure in MEASURES:
        assert (table[f"intact_{measure}"] == metrics[f"lesion/intact_{measure}"]).all()
    assert found.notes == [] and found.tasks == TASKS


def test_greedy_searches_as_a_table_and_numbers():
    found = run(Remembered(), settings=replace(SETTINGS, name="greedy", fraction=0.25, sets=[]))
    table, metrics = found.table(), found.metrics(SCORE)
    assert metrics["lesion/greedy_dropped"] == 3  # a quarter of 12
    for task, name in (("face", "lesion/spearman"), ("object", "lesion/spearman_object")):
        place, step = table[f"{task}_search_place"], table[f"{task}_search_step"]
        assert sorted(place) == list(range(12))
        assert step.dropna().astype(int).tolist() == (place[place < 3] + 1).tolist()
        assert table[f"{task}_loss"].idxmax() == place.idxmin()
        expected = stats.spearmanr(SCORE, place, nan_policy="omit").statistic
        assert metrics[name] == pytest.approx(expected)
        for measure in MEASURES:
            remaining = table[f"{task}_search_{measure}"]
            assert remaining.notna().equals(step.notna())
            last = metrics[f"lesion/greedy_{task}_search_{measure}"]
            assert last == remaining[place == 2].item()


@pytest.mark.parametrize(("task", "other"), [("face", "object"), ("object", "face")])
def test_a_task_without_images_is_left_out(task: str, other: str):
    outputs = OUTPUT % FACES + (0 if task == "face" else FACES)
    site = make_site("conv13", outputs=outputs, memo=Remembered())
    settings = replace(SETTINGS, name="greedy", fraction=0.1)
    found = lesion(site, SCORE, SELECTED, settings, 0)
    assert found.tasks == (task,) and list(found.searches) == [task]
    (note,) = found.notes
    assert note.startswith(f"lesion: the {other} task is left out") and f"{other}s.root" in note
    assert not any(f"_{other}_" in name for name in found.metrics(SCORE))
    assert list(found.curves()) == [f"lesion/top_{task}_top1"]
    table = found.table()
    assert table[f"{other}_loss"].isna().all() and table[f"{task}_loss"].notna().all()


@hypothesis.settings(deadline=None)
@given(
    st.lists(st.sampled_from([0.0, 1.0, 2.0, np.nan]), min_size=1, max_size=40),
    st.lists(st.integers(1, 100), unique=True, max_size=6),
    st.integers(1, 3),
)
def test_sets(score, percents, draws):
    count = len(score)
    selected = np.array(score) > 1
    sets = choose_sets(np.array(score), selected, percents, draws, seed=1)
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
        sets = choose_sets(score, score > 0.5, [10, 50], 2, seed)
        return [each.kernels for each in sets if each.kind == "random"]

    first, second = np.random.default_rng(0).random((2, 100))
    assert random(first, 0) == random(second, 0) != random(first, 1)
    assert random(first, 0)[0] != random(first, 0)[1]


BOTH = ("outputs", "features")


@pytest.mark.parametrize(
    ("lesion", "model", "aggregation", "leads_to", "said"),
    [
        ({}, {}, "l2", BOTH, None),
        ({"name": "none"}, {}, "l2", BOTH, "switched off"),
        ({}, {}, "unit", BOTH, "single units are not lesioned"),
        ({"layers": ["conv2"]}, {}, "l2", BOTH, r"conv13 is not one of lesion.layers=\['conv2'\]"),
        ({}, {"source": "timm", "classes": None, "face_classes": 0}, "l2", BOTH, None),
        ({}, {"source": "timm", "classes": None}, "l2", ("outputs",), "does not rest on conv13"),
        ({}, {}, "l2", (), "nothing that small puts out"),
        ({"task": "own"}, {"classes": None}, "l2", BOTH, "no held-out images of the classes"),
        ({"objects": Own("x")}, {"classes": None}, "l2", BOTH, None),
    ],
)
def test_why_a_run_is_not_lesioned(lesion, model, aggregation, leads_to, said):
    settings = replace(SETTINGS, **lesion)
    network = Model(
        **{"name": "small", "source": "vgg", "face_classes": 4, "classes": "synthetic"} | model
    )
    settings = replace(settings, task=choose_task(settings, network))
    found = why_not_lesioned(settings, network, Layer("conv13"), aggregation, leads_to)
    assert (found is None) if said is None else re.match(f"lesion: .*{said}", found)
