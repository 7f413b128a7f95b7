"""What a report says follows from the table of runs, and from nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from app.figures.panels import plot_panels
from app.figures.render import render
from app.figures.style import Style
from app.sweeps import figure1, report
from app.sweeps.results import Result
from app.sweeps.verdicts import NO, UNSURE, UNTESTED, YES, Estimate

METRICS = ("fsi", "dprime", "wilcoxon", "ttest")
LAYERS = ("conv2", "conv4", "conv7", "conv13")
AGGREGATIONS = ("unit", "mean", "l2", "max")
STYLES = {
    "fsi": ["FSI", "#0072B2"],
    "dprime": ["d′", "#E69F00"],
    "wilcoxon": ["rank-sum z", "#009E73"],
    "ttest": ["t", "#D55E00"],
}


def as_in_the_paper(job: dict[str, str], trained: bool) -> dict[str, float]:
    """Findings with which every statement of the paper holds."""
    depth, metric = job["layer.number"], job["metric"]
    unit, fsi = job["aggregation"] == "unit", metric == "fsi"
    mean = 0.5 * int(depth) / 13 if trained else 0.01 * (14 - int(depth))
    found = {
        "selectivity/percent": 20.0 * int(depth) / 13 if fsi else 2.0 - 0.05 * int(depth),
        "selectivity/count": 10.0,
        "selectivity/units": 100.0,
        "selectivity/undefined": 0.0,
        "consistency/mean": mean,
        "consistency/sem": 0.01,
    }
    for other in METRICS:
        if other != metric:
            found[f"consistency/spearman_{other}"] = 0.5 if "fsi" in (metric, other) else 0.9
    if unit:
        return found
    found["selectivity/percent"] -= 1 if job["aggregation"] == "mean" else 0
    if metric == "dprime":
        found["selectivity/percent"] += 33
    found |= {"lesion/spearman": -0.29 if fsi else -0.1, "lesion/spearman_object": 0.1}
    apart = {"": 0.0, "_ci95_low": -0.02, "_ci95_high": 0.03}  # from what it is compared with
    for other in {*METRICS, "random_kernels"} - {metric}:
        found |= {f"decoding/difference_{other}{end}": value for end, value in apart.items()}
    return found | {
        "decoding/accuracy": 0.6,
        "decoding/ci95_low": 0.55,
        "decoding/ci95_high": 0.65,
        "decoding/kernels": 9.0,
        "decoding/chance": 0.01,
        "decoding/random_kernels": 0.5,
        "decoding/all_kernels": 0.9,
    }


def rows(
    models: Sequence[str] = ("mini", "mini_untrained"),
    layers: Sequence[str] = LAYERS,
    aggregations: Sequence[str] = AGGREGATIONS,
    metrics: Sequence[str] = METRICS,
    change: Callable[[dict[str, Any]], None] = lambda row: None,
    **swept: Sequence[str],
) -> list[dict[str, Any]]:
    """A sweep's jobs as the readers give them; `change` may alter each."""
    made = []
    for values in product(models, *swept.values(), layers, aggregations, metrics):
        model, *others, layer, aggregation, metric = values
        params = {"model": model, "layer": layer, "aggregation": aggregation, "metric": metric}
        params |= {"threshold": "paper", "stimuli": "synthetic", "target": "faces", "seed": "0"}
        params |= dict(zip(swept, others, strict=True))
        trained = not model.endswith("untrained")
        number = layer.removeprefix("conv") if layer.startswith("conv") else "13"
        row: dict[str, Any] = {
            "job": len(made),
            "name": "/".join((model, layer, aggregation, metric)),
            "run_id": None,
            "status": "finished",
            "reason": "",
            "params": params,
            "metrics": as_in_the_paper({**params, "layer.number": number}, trained),
            "tags": {
                "trained": str(trained).lower(),
                "model.digest": model,
                "metrics.styles": json.dumps(STYLES),
            },
        }
        change(row)
        made.append(row)
    return made


def as_results(rows: Sequence[dict[str, Any]]) -> list[Result]:
    return [Result(**row) for row in rows]


def told(*args: Any, spread: float = 0.01, **kwargs: Any) -> report.Report:
    """The report of jobs whose numbers vary so much over 100 resamples of the images."""

    def read(result: Result, name: str) -> pd.DataFrame | None:
        if name != "certainty":
            return None
        random = np.random.default_rng(list(result.name.encode()))
        columns = {
            "selectivity/percent": "percent",
            "consistency/mean": "consistency_mean",
            "lesion/spearman": "lesion_spearman_face",
            **{f"consistency/spearman_{other}": f"spearman_{other}" for other in METRICS},
        }
        drawn = {
            column: result.metrics[logged] + spread * random.standard_normal(100)
            for logged, column in columns.items()
            if logged in result.metrics
        }
        return pd.DataFrame({"draw": "resample", **drawn}, index=range(100))

    return report.make_report(as_results(rows(*args, **kwargs)), "sweep", read=read)


def panels(made: report.Report, section: int = 0) -> dict[str, report.Panel]:
    return {panel.letter: panel for panel in made.sections[section].panels}


def test_findings_as_in_the_paper_agree_with_it():
    for letter, panel in panels(told()).items():
        assert panel.verdict.startswith("Agrees ("), (letter, panel.verdict)
        assert {claim.holds for claim in panel.claims} == {YES}, letter


CONTRARY = {
    "b": ("selectivity/percent", "fsi", 1.0, [NO, YES]),
    "c": ("selectivity/percent", "dprime", 1.0, [NO, YES, UNSURE]),
    "d": ("lesion/spearman", "fsi", 0.3, [NO, YES]),
}


@pytest.mark.parametrize("letter", CONTRARY)
def test_contrary_findings_do_not(letter: str):
    name, metric, value, expected = CONTRARY[letter]

    def change(row: dict[str, Any]) -> None:
        if row["params"]["metric"] == metric:
            row["metrics"][name] = value

    panel = panels(told(change=change))[letter]
    assert [claim.holds for claim in panel.claims] == expected
    assert panel.verdict.startswith("Agrees in part (")


def test_that_no_metric_is_close_to_lesions_is_told_of_the_closest():
    def change(row: dict[str, Any]) -> None:
        if "lesion/spearman" in row["metrics"]:
            fsi = row["params"]["metric"] == "fsi"
            row["metrics"]["lesion/spearman"] = 0.3 if fsi else 0.8

    verdict = panels(told(change=change))["d"].verdict
    assert "(FSI closest: no, difference to no correlation −0.3" in verdict


@pytest.mark.parametrize("letter", "bcdf")
def test_within_their_intervals_numbers_decide_nothing(letter: str):
    panel = panels(told(spread=50.0))[letter]
    assert NO not in {claim.holds for claim in panel.claims}
    assert panel.claims[0].holds == UNSURE and "cannot tell, " in panel.verdict


def test_without_resamples_nobody_can_tell():
    made = report.make_report(as_results(rows()), "sweep", read=lambda *_: None)
    for letter in "bcdf":
        verdict = panels(made)[letter].verdict
        assert verdict.startswith("Cannot tell (") and "no interval" in verdict, letter


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.06, 0.08, "Disagrees"),
        (-0.08, -0.06, "Disagrees"),
        (0.01, 0.06, "Cannot tell"),
        (-0.0001, 0.04, "Agrees"),
    ],
)
def test_metrics_are_similar_within_a_bound(low: float, high: float, word: str):
    ends = {"dprime": (low, high), "wilcoxon": (-0.03, 0.0)}  # less t

    def change(row: dict[str, Any]) -> None:
        own = row["params"]["metric"]
        if own in ends and "decoding/accuracy" in row["metrics"]:
            names = [f"decoding/difference_ttest_ci95_{end}" for end in ("low", "high")]
            row["metrics"] |= dict(zip(names, ends[own], strict=True))

    verdict = panels(told(change=change))["e"].verdict
    differ = f"{100 * low:z.1f} to {100 * high:.1f}".replace("-", "−")
    assert verdict.startswith(f"{word} (") and f", d′ and t differ by {differ})" in verdict


def test_the_interval_that_lies_outside_tells_that_metrics_are_not_similar():
    def change(row: dict[str, Any]) -> None:
        if row["params"]["metric"] == "fsi" and "decoding/accuracy" in row["metrics"]:
            wide, apart = "decoding/difference_dprime_ci95_", "decoding/difference_ttest_ci95_"
            row["metrics"] |= {f"{wide}low": -0.01, f"{wide}high": 0.09}
            row["metrics"] |= {f"{apart}low": 0.06, f"{apart}high": 0.07}

    assert panels(told(change=change))["e"].verdict.endswith("no, FSI and t differ by 6.0 to 7.0).")


def test_intervals_over_folds_decide_nothing():
    def change(row: dict[str, Any]) -> None:
        if row["params"]["metric"] == "ttest" and "decoding/accuracy" in row["metrics"]:
            row["metrics"] |= {"decoding/ci95_low": 0.66, "decoding/ci95_high": 0.7}

    assert panels(told(change=change))["e"].verdict.startswith("Agrees (")


def test_decodings_without_paired_differences_cannot_tell():
    def change(row: dict[str, Any]) -> None:
        row["metrics"] = {k: v for k, v in row["metrics"].items() if "difference" not in k}

    assert panels(told(change=change))["e"].verdict == "Not compared: this sweep cannot tell."


def test_a_fixed_number_of_kernels_stands_beside_the_smallest_count():
    def change(row: dict[str, Any]) -> None:
        found = row["metrics"]
        decoded = {name: found[name] for name in found if name.startswith("decoding/")}
        for name, value in decoded.items():
            found[name.replace("decoding/", "decoding/fixed_")] = value / 2
        if decoded:
            found |= {"decoding/fixed_kernels": 20.0, "decoding/fixed_accuracy": 0.7}
            found |= {name.replace("decoding/", "decoding/fixed_"): 10 * value
                      for name, value in decoded.items() if "difference" in name}  # fmt: skip

    alone, beside = panels(told())["e"], panels(told(change=change))["e"]
    assert beside.says == (
        f"{alone.says[:-1]}. (N = 20) with FSI 70.0 %, d′ 70.0 %, rank-sum z 70.0 % and t 70.0 %; "
        "from random ones 25.0 %, all 45.0 %, chance 0.5 %."
    )
    assert [each.holds for each in beside.claims] == [YES, UNSURE]
    assert beside.claims[1].text.endswith("points (N = 20)")
    pd.testing.assert_frame_equal(beside.table.iloc[:4], alone.table)
    assert beside.table["kernels"].tolist() == [9] * 4 + [20] * 4
    assert beside.table["ci95_low"].tolist() == [0.55] * 4 + [0.275] * 4
    figure = plot_panels(
        [("e", beside.title, beside.table)], {name: Style(*each) for name, each in STYLES.items()}
    )
    first, second = figure.subfigs[0].axes if figure.subfigs else figure.axes
    assert "N = 9" in first.get_title() and "N = 20" in second.get_title()
    assert [bar.get_height() for bar in second.patches[:4]] == [70.0] * 4


def test_a_metric_that_is_decoded_from_fewer_kernels_stands_apart():
    def change(row: dict[str, Any]) -> None:
        if row["params"]["metric"] == "auc" and "decoding/kernels" in row["metrics"]:
            row["metrics"]["decoding/kernels"] = 3.0

    panel = panels(told(metrics=[*METRICS, "auc"], change=change))["e"]
    assert "(N = 9) with FSI " in panel.says and ". (N = 3) with auc 60.0 %; from " in panel.says
    assert [claim.holds for claim in panel.claims] == [YES]
    styles = {name: Style(*each) for name, each in STYLES.items()} | {"auc": Style("auc", "k")}
    figure = plot_panels([("e", panel.title, panel.table)], styles)
    shown = {ax.get_title().split(", ")[1]: len(ax.patches) for ax in figure.subfigs[0].axes}
    assert shown == {"N = 9": 4 + 3, "N = 3": 1 + 3}


def with_a_baseline(row: dict[str, Any]) -> None:
    """What a metric would say that is in every respect another's opposite, but for its lesions."""
    if row["params"]["metric"] == "target_mean":
        row["params"]["metric.baseline"] = "true"
        row["tags"]["metrics.styles"] = json.dumps(STYLES | {"target_mean": ["μT", "#999999"]})
        row["metrics"] |= {"selectivity/percent": 60.0, "consistency/mean": 0.9}
        row["metrics"] |= {f"consistency/spearman_{name}": 0.1 for name in METRICS}
        if "lesion/spearman" in row["metrics"]:
            row["metrics"]["lesion/spearman"] = -0.62


def test_a_baseline_is_drawn_beside_the_metrics_and_changes_no_verdict():
    without, beside = (
        panels(told()),
        panels(told(metrics=[*METRICS, "target_mean"], change=with_a_baseline)),
    )
    for letter, panel in without.items():
        assert beside[letter].verdict == panel.verdict, letter
    for letter in "bcf":
        pd.testing.assert_frame_equal(beside[letter].table, without[letter].table)
        assert beside[letter].says == without[letter].says
    says = beside["d"].says
    assert says.startswith(without["d"].says[:-1] + "; of a baseline, μT −0.620 [−0.6")
    assert "μT 60.0 %" in beside["e"].says
    assert set(beside["d"].table["metric"]) == {*METRICS, "target_mean"}


def test_a_baseline_alone_has_no_panel_of_selections():
    made = told(models=["mini"], metrics=["target_mean"], change=with_a_baseline)
    why = "how many a baseline's criterion selects says nothing"
    assert [f"Panel {letter} is left out: {why}." in made.sections[0].missing for letter in "bc"]


def test_the_closest_metric_is_one_of_the_papers():
    def change(row: dict[str, Any]) -> None:
        if row["params"]["metric"] == "auc" and "lesion/spearman" in row["metrics"]:
            row["metrics"]["lesion/spearman"] = -0.9

    panel = panels(told(metrics=[*METRICS, "auc"], change=change))["d"]
    assert [claim.holds for claim in panel.claims] == [YES, YES] and "auc −0.900" in panel.says


def test_consistency_that_training_does_not_change_disagrees():
    def change(row: dict[str, Any]) -> None:
        row["metrics"]["consistency/mean"] = 0.4

    panel = panels(told(change=change, spread=0))["f"]
    assert [claim.holds for claim in panel.claims] == [NO, NO]
    panel = panels(told(change=change))["f"]
    assert [claim.holds for claim in panel.claims] == [UNSURE, UNSURE]


@pytest.mark.parametrize(
    ("values", "grows"),
    [
        ([1, 2, 3, 4, 5], YES),
        ([1, 2, 3, 5, 4], YES),
        ([5, 1, 2, 3, 4], NO),
        ([3, 3, 3, 3], NO),
        ([1, 2, 3], None),
    ],
)
def test_growth_with_depth(values: list[float], grows: str | None):
    layers = [str(place) for place in range(len(values))]
    sure = {name: Estimate(values[int(name)], np.full(50, values[int(name)])) for name in layers}
    depth = figure1._follow(sure, layers)
    assert (depth and depth.is_above(figure1.GROWS)) == grows
    if depth is not None and len({*values}) > 1:
        assert depth.value == pytest.approx(stats.spearmanr(range(len(values)), values).statistic)
    unsure = {name: Estimate(1.0, np.random.default_rng(int(name)).random(50)) for name in layers}
    depth = figure1._follow(unsure, layers)
    assert depth is None or depth.is_above(figure1.GROWS) == UNSURE


def test_the_numbers_in_a_sentence_are_the_tables():
    panel = panels(told())["b"]
    assert "FSI up to 20.0 % (conv13)" in panel.says and "t up to 1.9 %" in panel.says
    assert panel.table.loc[panel.table["metric"] == "fsi", "percent"].max() == 20


def test_the_order_of_rows_does_not_matter():
    """Of the text, the tables and the styles that all figures are drawn of."""
    made = rows(models=["mini"], layers=("conv2", "conv13"))
    first, again = (report.make_report(as_results(each), "sweep") for each in (made, made[::-1]))
    assert report._write_page(first) == report._write_page(again)
    pd.testing.assert_frame_equal(first.jobs, again.jobs, check_exact=True)
    assert first.sections[0].group.styles == again.sections[0].group.styles
    assert list(panels(first)) == list(panels(again)) == list("bcdef")
    for letter, panel in panels(first).items():
        other = panels(again)[letter].table
        pd.testing.assert_frame_equal(panel.table, other, check_exact=True)


def test_layers_go_from_the_first_to_the_deepest():
    made = panels(told(layers=("conv13", "conv2", "conv10"), metrics=("fsi", "ttest")))
    assert list(made["f"].table["layer"])[:3] == ["conv2", "conv10", "conv13"]
    assert set(made["e"].table["layer"]) == {"conv13"}
    # Nothing tells how deep a module is: as the sweep lists them.
    modules = panels(told(layers=("layer2.3", "layer10.1"), metrics=("fsi", "ttest")))
    assert set(modules["e"].table["layer"]) == {"layer10.1"}


def test_only_panels_that_the_sweep_allows():
    made = told(models=["mini"], layers=("conv2", "conv13"), aggregations=["l2"])
    assert list(panels(made)) == ["c", "d", "e", "f"] and not panels(made)["f"].claims
    (section,) = made.sections
    assert [line.split(" is left out: ")[0] for line in section.missing] == ["Panel b", "Panel k"]
    claims = {claim.text: claim.holds for claim in panels(made)["c"].claims}
    assert (
        claims["mean gives fewest"] == UNTESTED and "not tested here" in panels(made)["c"].verdict
    )


def test_a_reason_why_nothing_was_lesioned():
    def change(row: dict[str, Any]) -> None:
        row["metrics"] = {k: v for k, v in row["metrics"].items() if "lesion" not in k}
        row["tags"]["lesion.note"] = "switched off (lesion=none)"
        if row["params"]["aggregation"] == "unit":
            row["tags"]["lesion.note"] = "single units are not lesioned"
        elif row["params"]["layer"] != "conv13":
            row["tags"]["lesion.note"] = "not one of lesion.layers"

    made = told(change=change)
    assert "d" not in panels(made)
    assert made.sections[0].missing[0] == "Panel d is left out: switched off (lesion=none)."


def test_one_run_alone_has_no_panel():
    made = told(models=["mini"], layers=["conv13"], aggregations=["l2"], metrics=["fsi"])
    assert not made.sections[0].panels and len(made.jobs) == 1


@pytest.mark.slow
def test_each_target_and_model_has_its_own_section(tmp_path: Path):
    made = told(
        models=("a", "b"), target=("faces", "places"), layers=["conv2"], aggregations=["l2"]
    )
    headings = [section.heading for section in made.sections]
    assert headings == [f"{m}, target={t}" for m in "ab" for t in ("faces", "places")]
    assert panels(made, 1)["c"].verdict == "Not compared: the paper asked about faces, not places."
    report.write_report(
        told(["a"], ["conv2"], ["l2"], ("fsi", "ttest"), target=("faces", "places")), tmp_path
    )
    assert (tmp_path / "figure.png").exists() and (tmp_path / "panel_c_2.svg").exists()
    table = pd.read_parquet(tmp_path / "panel_e.parquet")
    assert len(table[["model", "target"]].drop_duplicates()) == 2 and len(table) == 4


def test_headings_and_tables_shorten_long_values_to_what_differs():
    paths = [f"/home/someone/experiments/of/2026/run_{number}/best.pth" for number in (1, 2)]
    made = told(models=["mini"], **{"model.checkpoint": paths}, layers=["conv13"])
    headings = [section.heading for section in made.sections]
    assert headings == [f"mini, model.checkpoint=…run_{number}…" for number in (1, 2)]
    page = report._write_page(made)
    assert "| …run_2… |" in page and paths[1] not in page
    assert set(made.jobs["model.checkpoint"]) == set(paths)


def test_layers_are_drawn_by_depth_where_jobs_are_missing():
    """The first of panel c's rows is of the deepest."""
    made = report.make_report(
        as_results([row for row in rows(models=["mini"]) if row["params"]["layer"] == "conv13"
                    or row["params"]["aggregation"] == "l2"]), "sweep"
    )  # fmt: skip
    (section,) = made.sections
    assert panels(made)["c"].table["layer"].iloc[0] == "conv13"
    (figure,) = (report.panels.plot_panel(each, section.group.styles)
                 for each in report.list_drawn(section) if each[0] == "c")  # fmt: skip
    shown = [text.get_text() for text in figure.axes[1].get_xticklabels()]
    assert shown == ["2", "4", "7", "13"]


@pytest.mark.slow
def test_many_groups_are_not_all_drawn():
    made = told(models=["mini"], seed=[str(n) for n in range(9)], layers=["conv13"])
    assert len(made.sections) == report.MOST
    assert "The first 6 of 9 groups of runs are told; all are in jobs.csv." in made.notes


def test_other_criteria_are_not_set_against_the_papers():
    made = panels(told(threshold=("liberal",)))
    assert (
        made["b"].verdict
        == "Not compared: the paper's criteria are threshold=paper, fsi's is liberal."
    )
    assert made["d"].verdict.startswith("Agrees")


def test_fewer_metrics_are_not_set_against_the_papers():
    made = panels(told(metrics=("fsi", "dprime")))
    assert all("Not compared" in made[letter].verdict for letter in "bcde")


def test_the_untrained_counterpart():
    def same_weights(row: dict[str, Any]) -> None:
        row["tags"]["model.digest"] = "0"

    panel = panels(told(change=same_weights))["f"]
    assert panel.table["trained"].all() and "has the very weights of mini" in panel.says
    alone = panels(told(models=["mini"]))["f"]
    assert "no untrained network was asked" in alone.says
    assert [claim.holds for claim in alone.claims] == [UNTESTED, UNTESTED]
    other = told(models=["mini", "x_untrained", "y_untrained"])
    assert "none of x_untrained, y_untrained is named mini_untrained" in panels(other)["f"].says
    only = told(models=["mini_untrained"])
    assert panels(only)["b"].verdict == "Not compared: the paper's networks were trained."
    assert not panels(only)["f"].table["trained"].any()


def test_responses_from_a_file_are_of_no_network():
    def change(row: dict[str, Any]) -> None:
        row["tags"]["trained"] = "none"

    made = panels(told(models=["monkey"], change=change))
    said = "Not compared: responses from a file are not known to be a trained network's."
    assert made["b"].verdict == made["f"].verdict == said
    assert "(from a file, grows)" in made["f"].says


def test_the_same_name_with_and_without_weights():
    def change(row: dict[str, Any]) -> None:
        row["tags"]["trained"] = "true" if row["params"]["model.weights"] != "null" else "false"
        row["tags"]["model.digest"] = row["params"]["model.weights"]

    made = told(models=["resnet50"], **{"model.weights": ("V2", "null")}, change=change)
    assert [section.heading for section in made.sections] == ["resnet50, model.weights=V2"]
    table = panels(made)["f"].table
    units = table[table["aggregation"] == "unit"]
    assert list(units["trained"]) == [True] * 4 + [False] * 4


def test_failed_jobs_are_listed_and_left_out_of_panels():
    def change(row: dict[str, Any]) -> None:
        if row["params"]["metric"] == "ttest" and row["params"]["layer"] == "conv2":
            row |= {"status": "failed", "reason": "no memory", "metrics": {}}

    made = told(models=["mini"], change=change)
    assert made.failed == list(f"mini/conv2/{a}/ttest: no memory" for a in AGGREGATIONS)
    table = panels(made)["b"].table
    assert (
        len(table) == 15 and not ((table["layer"] == "conv2") & (table["metric"] == "ttest")).any()
    )
    text = report._write_page(made)
    assert "60 of 64 jobs finished" in text and "- mini/conv2/l2/ttest: no memory" in text


def test_nothing_but_failures(tmp_path: Path):
    def change(row: dict[str, Any]) -> None:
        row |= {"status": "failed", "reason": "", "metrics": {}, "tags": {}}

    made = told(layers=["conv2"], metrics=["fsi"], change=change)
    assert not made.sections and made.failed[0].endswith("no reason given")
    (tmp_path / "panel_g.csv").write_text("of an earlier report")
    pages = ["report.md", "report.html"]
    assert report.write_report(made, tmp_path) == ["jobs.csv", "jobs.parquet", *pages]
    assert "0 of 8 jobs finished" in (tmp_path / "report.md").read_text()


def test_metrics_without_label_and_colour_have_their_name():
    def change(row: dict[str, Any]) -> None:
        row["tags"]["metrics.styles"] = json.dumps({"fsi": STYLES["fsi"]})

    styles = told(change=change).sections[0].group.styles
    assert styles["ttest"].label == "ttest" and styles["ttest"].colour == "#CC79A7"
    assert styles["fsi"].label == "FSI" and styles["fsi"].colour == "#0072B2"


def test_wide_intervals_stay_within_their_panel():
    """Drawn beyond the axes they leave no room for these, and all panels lie on each other."""
    table = pd.DataFrame({
        "layer": pd.Categorical(["conv12"] * 2), "aggregation": "l2", "metric": ["fsi", "auc"],
        "percent": [2.3, 1.6], "percent_ci95_low": [0.0, 0.0], "percent_ci95_high": [3.1, 22.1],
        "null_percent": [40.0, 0.0],
    })  # fmt: skip
    styles = told(models=["mini"]).sections[0].group.styles
    styles = {name: styles["fsi"] for name in ("fsi", "auc")}
    figure = report.panels.plot_panel(("c", "Selective kernels", table), styles)
    assert figure.axes[0].get_ylim()[1] > 40


def test_axes_that_show_different_things_have_their_own_scale():
    """As the matrix of panel d, whose rows are metrics, and both scales of panel k."""
    made = told(models=["mini"])
    (drawn,) = (each for each in report.list_drawn(made.sections[0]) if each[0] == "d")
    matrix = report.panels.plot_panel(drawn, made.sections[0].group.styles).axes[1]
    assert matrix.yaxis.get_tick_params()["labelleft"]


def test_many_metrics_are_told_apart_by_more_than_their_colours():
    names = [f"metric{number:02}" for number in range(13)]
    made = told(["mini"], LAYERS, ["l2"], names, spread=0.0)
    each = {panel[0]: panel for panel in report.list_drawn(made.sections[0])}
    styles = made.sections[0].group.styles
    figure = report.panels.plot_panel(each["c"], styles)
    lines = [container.lines[0] for container in figure.axes[0].containers]
    assert len(lines) == len({line.get_marker() for line in lines}) == 13
    few = panels(told(["mini"], LAYERS, ["l2"]))["c"].table
    assert [report.panels.find_width("c", table) for table in (few, each["c"][2])] == [1, 2]


def test_undefined_findings_are_said_not_hidden():
    def change(row: dict[str, Any]) -> None:
        row["metrics"] |= {"consistency/mean": float("nan"), "consistency/sem": float("nan")}
        if row["params"]["metric"] == "fsi" and "lesion/spearman" in row["metrics"]:
            row["metrics"]["lesion/spearman"] = float("nan")

    made = told(change=change)
    assert "undefined" in panels(made)["f"].says
    assert set(panels(made)["d"].table["metric"]) == {"dprime", "wilcoxon", "ttest"}
    consistency = panels(made)["f"]
    drawn = report.panels.plot_panel(
        ("f", consistency.title, consistency.table.astype({"layer": "category"})),
        made.sections[0].group.styles,
    )
    assert render({"f": drawn})


@pytest.mark.slow
def test_the_page_stands_alone_with_its_pictures_inside(tmp_path: Path):
    report.write_report(told(["mini"], ("conv2", "conv13"), ["l2"], ("fsi", "dprime")), tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    sources = re.findall(r'src="([^"]{,30})', page)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert len(sources) == text.count("![") > 1
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in sources)
    assert "<h1>sweep</h1>" in page and "<table>" in page and "http" not in page


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 40])
def test_the_description_has_room_in_a_tag(seeds: int):
    seed = [str(seed) for seed in range(seeds)]
    made = told(["mini"], LAYERS[:2], ["l2"], ("fsi", "dprime"), seed=seed)
    page = report.describe(made, "abc")
    assert len(page) < 8000 and "get-artifact?path=figure.png&run_uuid=abc" in page
    whole = len(made.jobs) == page.count("\n| ") - 2
    assert whole == (seeds == 1) and ("The rest is in" in page) != whole
