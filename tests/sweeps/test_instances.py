"""Networks that differ in their initialisation alone are a sample: mean, spread, and how many."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from app.figures.render import find_errors
from app.sweeps import report
from app.sweeps.results import Result
from app.sweeps.verdicts import NO, UNSURE, YES, Estimate, claim, combine
from tests.sweeps.test_report import METRICS, as_results, panels, rows, told

SEEDS = [str(seed) for seed in range(6)]
ACROSS: Any = {"model.seed": SEEDS}


def with_seed(row: dict[str, Any]) -> None:
    """Another initialisation has other numbers, but for a trained network, which has none."""
    if row["tags"]["trained"] == "true":
        return
    seed = int(row["params"]["model.seed"])
    row["tags"]["model.digest"] = f"weights {seed}"
    for place, name in enumerate(sorted(row["metrics"])):
        if not name.endswith(("units", "kernels", "undefined", "count")):
            row["metrics"][name] += 0.02 * np.sin(1 + seed * (1 + place))


def values(row_of: dict[str, str], name: str) -> np.ndarray:
    """What each network has, from the jobs themselves."""
    made = [row for row in untrained() if row_of.items() <= row["params"].items()]
    return np.array([row["metrics"][name] for row in made])


@cache
def untrained() -> list[dict[str, Any]]:
    return rows(["mini_untrained"], **ACROSS, change=with_seed)


def test_instances_are_one_group_of_means_and_spreads():
    made = told(models=["mini_untrained"], change=with_seed, **ACROSS)
    (section,) = made.sections
    assert section.heading == "mini_untrained" and made.swept["model.seed"] == 6
    for letter, name, logged in (
        ("b", "percent", "selectivity/percent"),
        ("c", "percent", "selectivity/percent"),
        ("d", "spearman", "lesion/spearman"),
        ("d", "with_ttest", "consistency/spearman_ttest"),
        ("e", "accuracy", "decoding/accuracy"),
        ("f", "mean", "consistency/mean"),
    ):
        table = panels(made)[letter].table
        assert set(table["networks"]) == {6}, letter
        for _, point in table.iterrows():
            asked = {"layer": point["layer"], "metric": point.get("metric", "fsi")}
            asked["aggregation"] = point.get("aggregation", "unit" if letter == "b" else "l2")
            if name == "with_ttest" and asked["metric"] == "ttest":
                continue
            each = values(asked, logged)
            assert point[name] == pytest.approx(each.mean())
            assert point[f"{name}_sd"] == pytest.approx(each.std(ddof=1))
            np.testing.assert_allclose(find_errors(table, name)[:, 0], table[f"{name}_sd"].iloc[0])
        assert "over 6 networks" in panels(made)[letter].says
        assert "Student's t" in panels(made)[letter].caption
    each = values({"layer": "conv13", "aggregation": "unit", "metric": "fsi"},
                  "selectivity/percent")  # fmt: skip
    assert f"FSI up to {each.mean():.1f} ± {each.std(ddof=1):.1f} %" in panels(made)["b"].says


def test_one_network_under_several_seeds_is_told():
    made = told(models=["mini_untrained"], layers=["conv13"], **ACROSS)
    assert [note for note in made.notes if "every model.seed" in note] == [
        "mini_untrained has the same weights at every model.seed, and counts as one network: "
        "weights are drawn from it where model.checkpoint=null."
    ]
    assert "networks" not in panels(made)["c"].table
    assert not told(models=["mini_untrained"], change=with_seed, **ACROSS).notes


def test_intervals_of_rows_are_those_of_the_mean():
    """Of paired differences, too, which decide whether decodings are alike."""

    def change(row: dict[str, Any]) -> None:
        with_seed(row)
        for name, value in [*row["metrics"].items()]:
            if name.startswith("decoding/"):
                row["metrics"][name.replace("decoding/", "decoding/fixed_")] = value

    panel = panels(told(models=["mini_untrained"], change=change, **ACROSS))["e"]
    asked = {"layer": "conv13", "aggregation": "l2", "metric": "fsi"}
    points = panel.table[panel.table["metric"] == "fsi"]
    assert len(points) == 2  # from the smallest count, and from a fixed number
    for column, logged in (("", "accuracy"), ("difference_ttest_", "difference_ttest")):
        each = values(asked, f"decoding/{logged}")
        low, high = stats.ttest_1samp(each, 0).confidence_interval()
        assert points[f"{column}ci95_low"].to_numpy() == pytest.approx([low] * 2)
        assert points[f"{column}ci95_high"].to_numpy() == pytest.approx([high] * 2)


def test_one_trained_network_stands_beside_each_untrained_one():
    panel = panels(told(change=with_seed, **ACROSS))["f"]
    units = panel.table[panel.table["aggregation"] == "unit"].set_index(["trained", "layer"])
    assert units["networks"].loc[False].eq(6).all() and units["networks"].loc[True].isna().all()
    above = panel.claims[0]
    trained = units.loc[(True, "conv7"), "mean"]
    each = trained - values({"layer": "conv7", "aggregation": "unit", "metric": "fsi"},
                            "consistency/mean")  # fmt: skip
    low, high = stats.ttest_1samp(each, 0).confidence_interval()
    shown = f"{each.mean():.3f} ± {each.std(ddof=1):.3f} [{low:.3f}, {high:.3f}]"
    assert above.holds == YES
    assert above.because == f"difference in conv7 {shown}, in 6 of 6 networks"


def test_trainings_from_several_seeds_are_one_group():
    """Their checkpoints' paths differ in the seed; those before training are their counterpart."""
    kinds = ("best", "first")
    checkpoints = [f"train/photos10-{seed}/{name}.pth" for seed in "0123" for name in kinds]

    def change(row: dict[str, Any]) -> None:
        path = row["params"]["model.checkpoint"]
        seed, trained = path.partition("/photos10-")[2][0], "best" in path
        row["params"]["model.seed"] = seed
        row["tags"] |= {"trained": str(trained).lower(), "model.digest": path}
        row["metrics"]["consistency/mean"] += 0.01 * int(seed) - 0.3 * (not trained)

    made = told(models=["mini"], **{"model.checkpoint": checkpoints}, change=change)
    (section,) = made.sections
    assert "train/photos10-*/best.pth" in section.heading
    table = panels(made)["f"].table
    assert set(table["networks"]) == {4}
    of = dict(zip(table["trained"], table["model.checkpoint"], strict=True))
    assert of == {True: "train/photos10-*/best.pth", False: "train/photos10-*/first.pth"}
    assert panels(made)["f"].claims[0].because.endswith("in 4 of 4 networks")


def test_networks_in_which_a_statement_does_not_hold_are_counted():
    def change(row: dict[str, Any]) -> None:
        with_seed(row)
        if row["params"]["model.seed"] == "3" and row["params"]["layer"] == "conv13":
            row["metrics"]["consistency/mean"] = 0.9

    above = panels(told(models=["mini", "mini_untrained"], change=change, **ACROSS))["f"].claims[0]
    assert above.because.endswith("in 5 of 6 networks")


def test_the_same_weights_twice_are_one_network():
    def change(row: dict[str, Any]) -> None:
        with_seed(row)
        if row["tags"]["model.digest"] == "weights 3":
            row["tags"]["model.digest"] = "weights 2"

    table = panels(told(models=["mini_untrained"], change=change, **ACROSS))["c"].table
    assert set(table["networks"]) == {5}
    # Of a trained network the seed says nothing: its report is as if none had been swept.
    swept, alone = (panels(told(models=["mini"], **more)) for more in (ACROSS, {}))
    assert list(swept) == list(alone)
    for letter, panel in alone.items():
        pd.testing.assert_frame_equal(swept[letter].table, panel.table)
        assert swept[letter].sentence == panel.sentence


def test_a_network_that_failed_somewhere_is_missing_there_alone():
    def change(row: dict[str, Any]) -> None:
        with_seed(row)
        if (row["params"]["model.seed"], row["params"]["layer"]) == ("3", "conv7"):
            row |= {"status": "failed", "reason": "no memory", "metrics": {}}

    made = panels(told(models=["mini", "mini_untrained"], change=change, **ACROSS))
    untrained = made["f"].table[~made["f"].table["trained"]]
    assert dict(zip(untrained["layer"], untrained["networks"], strict=True)) == {
        "conv2": 6, "conv4": 6, "conv7": 5, "conv13": 6
    }  # fmt: skip
    assert made["f"].claims[0].because.endswith("in 5 of 5 networks")


def test_panel_k_is_made_of_each_network_and_averaged():
    def change(row: dict[str, Any]) -> None:
        with_seed(row)
        row["metrics"]["matched/threshold"] = 0.5

    def read(result: Result, name: str) -> pd.DataFrame | None:
        if name != "scores":
            return None
        random = np.random.default_rng(int(result.params["model.seed"]))
        score = {metric: random.random(40) for metric in METRICS}
        chosen = {f"selected_{metric}": each > 0.8 for metric, each in score.items()}
        return pd.DataFrame(score | chosen)

    made = rows(["mini_untrained"], ["conv13"], ["l2"], change=change, **ACROSS)
    panel = panels(report.make_report(as_results(made), "sweep", read=read))["k"]
    table = panel.table.set_index(["case", "metric"])
    for metric in METRICS:
        scores = [read(result, "scores") for result in as_results(made[:: len(METRICS)])]
        each = [100 * float(np.mean(table[metric] > 0.5)) for table in scores if table is not None]
        assert table.loc[("matched", metric), "percent"] == pytest.approx(np.mean(each))
        assert table.loc[("matched", metric), "percent_sd"] == pytest.approx(np.std(each, ddof=1))
    assert set(table["networks"]) == {6} and "over 6 networks" in panel.says


def test_networks_are_combined_one_by_one():
    random = np.random.default_rng(0)
    first, second = random.random((2, 8))
    several = [Estimate(each.mean(), each, of_networks=True) for each in (first, second)]
    higher = combine(lambda both: both.max(axis=0), several)
    assert higher.value == pytest.approx(np.maximum(first, second).mean())
    alone = Estimate(0.4, np.full(1000, 7.0))  # a single network, and its images drawn again
    for difference, each in (
        (several[0] - several[1], first - second),
        (alone - several[0], 0.4 - first),
        (2 - several[0], 2 - first),
    ):
        np.testing.assert_allclose(difference.draws, each)
        expected = stats.ttest_1samp(each, 0).confidence_interval()
        np.testing.assert_allclose(difference.interval, expected)


def test_few_networks_decide_little():
    one = Estimate(1.0, np.array([1.0]), of_networks=True)
    assert one.is_above() == UNSURE and str(one) == "1.0, no interval"
    assert str(Estimate(-0.0001, np.array([-0.2, -0.0002]))) == "0.000 [−0.195, −0.005]"
    same = Estimate(1.0, np.full(3, 1.0), of_networks=True)
    assert same.is_above() == YES and same.is_above(1) == NO
    two = Estimate(1.0, np.array([0.5, 1.5]), of_networks=True)
    assert claim("both", {"x": two}).holds == UNSURE
    assert claim("both", {"x": two}).because.endswith("in 2 of 2 networks")


def test_the_difference_that_is_told_is_one_that_decides():
    """Not the smallest, where that is above 0 and another is not."""
    sure, wide, below = (
        Estimate(float(np.mean(each)), np.array(each), of_networks=True)
        for each in ([0.06, 0.07, 0.08], [0.03, 0.08, 0.16], [-0.08, -0.07, -0.06])
    )
    assert (sure.is_above(), wide.is_above(), below.is_above()) == (YES, UNSURE, NO)
    told = claim("both", {"conv7": wide, "conv13": sure}, name="difference in")
    assert told.holds == UNSURE and told.because.startswith("difference in conv7 0.090")
    assert claim("all", {"a": wide, "b": sure, "c": below}).because.startswith("difference to c")
