"""Which sets of kernels are lesioned together."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.findings.dissociation import kernel_sets


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
