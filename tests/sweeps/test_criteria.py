"""Panels g to j of a report: what moves with the criterion."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from app.figures.criteria import at_criteria
from app.figures.style import Style
from app.sweeps import criteria, groups, report
from tests.sweeps.test_report import METRICS, STYLES, as_results

NUMBERS = {
    "fsi": ("above", 0.3, {"liberal": 0.1, "paper": 0.3, "strict": 0.5}),
    "dprime": ("above", 0.65, {"liberal": 0.2, "paper": 0.65, "strict": 1.0}),
    "wilcoxon": ("p", 0.001, {"liberal": 0.05, "paper": 0.001, "strict": 1e-5}),
    "ttest": ("fdr_bh", 0.05, {"liberal": 0.2, "paper": 0.05, "strict": 0.01}),
}
LEVELS = ("liberal", "paper", "strict")


def findings(metric: str, level: str, layer: str) -> dict[str, float]:
    place = LEVELS.index(level)
    found = {
        "selectivity/percent": 40.0 - 20 * place + METRICS.index(metric),
        "selectivity/count": 4.0 - 2 * place,
        "selectivity/units": 10.0,
        "selectivity/undefined": 0.0,
        "decoding/accuracy": 0.8 - 0.2 * place,
        "decoding/ci95_low": 0.7 - 0.2 * place,
        "decoding/ci95_high": 0.9 - 0.2 * place,
        "decoding/kernels": 4.0 - place,
        "decoding/chance": 0.01,
        "decoding/random_kernels": 0.75 - 0.2 * place,
        "decoding/all_kernels": 0.95,
        "lesion/selection_face_top1": 0.5 + 0.2 * place,
        "lesion/selection_object_top1": 0.9,
        "lesion/selection_random_face_top1": 0.85,
        "lesion/selection_random_object_top1": 0.85,
        "lesion/intact_face_top1": 0.95,
        "lesion/intact_object_top1": 0.95,
    }
    others = [other for other in METRICS if other != metric]
    return found | {f"agreement/jaccard_{other}": 1.0 - 0.3 * place for other in others}


def rows(
    metrics=METRICS, levels=LEVELS, layers=("conv2", "conv13"), aggregations=("l2",), **more: Any
) -> list[dict[str, Any]]:
    made = []
    for layer, aggregation, metric, level in product(layers, aggregations, metrics, levels):
        rule, paper, presets = NUMBERS[metric]
        params = {
            "model": "mini", "layer": layer, "aggregation": aggregation, "metric": metric,
            "threshold": level, "target": "faces", "stimuli": "synthetic", "seed": "0",
            "metric.criterion.rule": rule, "metric.criterion.threshold": str(presets[level]),
            **{f"threshold.{name}": str(NUMBERS[name][2][level]) for name in METRICS},
        }  # fmt: skip
        made.append(
            {
                "job": len(made),
                "name": f"mini/{layer}/{aggregation}/{metric}",
                "run_id": None,
                "status": "finished",
                "reason": "",
                "params": params,
                "metrics": findings(metric, level, layer),
                "tags": {
                    "trained": "true",
                    "metrics.styles": json.dumps(STYLES),
                    "criterion.paper": str(paper),
                },
            }
        )
    return made


def told(made: list[dict[str, Any]]) -> report.Report:
    return report.make_report(as_results(made), "sweep")


def letters(made: report.Report) -> dict[str, groups.Panel]:
    (section,) = made.sections
    return {panel.letter: panel for panel in section.panels}


def test_all_criteria_of_a_network_are_one_group_and_the_papers_panels_have_the_papers():
    found = letters(told(rows(layers=("conv2", "conv7", "conv13"))))
    assert set(found) >= {"c", "g", "h", "i", "j"}
    shown = found["c"].table
    assert len(shown) == 12 and set(shown["percent"]) == {20.0, 21.0, 22.0, 23.0}
    assert "Not compared" not in found["c"].sentence
    assert len(found["g"].table) == 36


def test_a_panel_goes_from_the_most_liberal_to_the_strictest():
    table = letters(told(rows()))["g"].table
    drawn = dict(at_criteria(table))
    assert list(drawn) == list(METRICS)
    for metric, part in drawn.items():
        assert set(part["layer"]) == {"conv13"}
        assert part["criterion"].tolist() == [NUMBERS[metric][2][level] for level in LEVELS]
        assert part["percent"].is_monotonic_decreasing
        assert set(part["paper"]) == {NUMBERS[metric][1]}


def test_the_numbers_in_the_sentences_are_the_tables():
    found = letters(told(rows()))
    assert "FSI 40.0 to 0.0 % (the paper's 0.3: 20.0 %)" in found["g"].says
    assert "t 43.0 to 3.0 % (the paper's 0.05: 23.0 %)" in found["g"].says
    assert "FSI 1.00 to 0.40 (the paper's 0.3: 0.70)" in found["h"].says
    assert "d′ 40.0 to 80.0 % (N = 2 to 4, at most 5.0 points from as many" in found["i"].says
    assert "FSI up to 45.0 points of face accuracy (random: 10.0) and 5.0" in found["j"].says
    assert found["g"].sentence == found["g"].says, "the paper has no result of this kind"


def test_the_panel_of_decodings_shows_how_many_kernels_where_that_changes():
    made = rows(layers=("conv13",))
    for row in made:
        row["metrics"]["decoding/kernels"] = 7.0 if row["params"]["threshold"] == "strict" else 12.0
    (section,) = told(made).sections
    (drawn,) = (each for each in report.list_drawn(section) if each[0] == "i")
    for ax in report.panels.plot_panel(drawn, section.group.styles).axes:
        shown = [(text.get_text(), text.get_position()[0]) for text in ax.texts]
        numbers = ax.lines[0].get_xdata()
        assert shown == [("12", numbers[0]), ("7", numbers[2])]


def test_overlap_has_a_row_a_pair_and_criterion():
    table = letters(told(rows(layers=("conv13",))))["h"].table
    assert len(table) == 4 * 3 * 3 and not table.duplicated(["metric", "other", "criterion"]).any()
    assert (table["metric"] != table["other"]).all() and table["jaccard"].notna().all()


def test_one_metrics_thresholds_by_hand():
    made = rows(metrics=("fsi",), layers=("conv13",))
    for row in made:  # threshold.fsi=0.1,0.3,0.5: all of the one preset
        row["params"] |= {"threshold": "paper", "threshold.dprime": "0.65"}
    found = letters(told(made))
    assert set(found) == {"g", "h", "i", "j"}
    assert found["h"].table["other"].unique().tolist() == ["dprime", "wilcoxon", "ttest"]
    assert len(at_criteria(found["g"].table)) == 1


def test_where_the_others_criteria_move_too_the_first_is_drawn():
    made = [*rows(layers=("conv13",)), *rows(layers=("conv13",))]
    for number, row in enumerate(made):
        row["job"] = number
        row["params"]["threshold.dprime"] = "0.65" if number < 12 else "0.7"
    table = letters(told(made))["g"].table
    assert len(table) == 24
    assert all(len(part) == 3 for _, part in at_criteria(table))


def test_metrics_whose_presets_have_no_paper():
    made = rows()
    for row in made:
        del row["tags"]["criterion.paper"]
        row["params"]["threshold"] = "own"
    (section,) = told(made).sections
    says = {each.letter: each.says for each in section.panels}
    verdict = next(each.verdict for each in section.panels if each.letter == "c")
    assert verdict.endswith("threshold=paper, fsi's is 0.1 by the rule above.")
    assert "FSI 40.0 to 0.0 %, d′" in says["g"] and "FSI 1.00 to 0.40, d′" in says["h"]
    for drawn in report.list_drawn(section):
        figure = report.panels.plot_panel(drawn, section.group.styles)
        texts = [text.get_text() for own in figure.subfigs[0].legends for text in own.get_texts()]
        assert "the paper's criterion" not in texts


def test_the_same_criterion_everywhere_has_no_such_panels():
    made = told(rows(levels=("paper",)))
    assert not set(letters(made)) & set(criteria.MAKERS)
    assert not any("Panel g" in line for line in made.sections[0].missing)


def test_units_have_no_decoding_and_say_why():
    made = rows(aggregations=("unit",))
    for row in made:
        row["metrics"] = {
            name: value
            for name, value in row["metrics"].items()
            if not name.startswith(("decoding", "lesion"))
        }
        row["tags"]["decoding.note"] = "kernels are decoded, not single units"
    found = told(made)
    assert {"g", "h"} <= set(letters(found)) and not {"i", "j"} & set(letters(found))
    assert "Panel i is left out: kernels are decoded, not single units." in (
        found.sections[0].missing
    )


def test_lines_of_pairs_have_the_colour_of_neither_metric():
    (section,) = told(rows()).sections
    (drawn,) = (each for each in report.list_drawn(section) if each[0] == "h")
    styles, others = section.group.styles, {}
    figure = report.panels.plot_panel(drawn, styles)
    for line in [line for ax in figure.axes for line in ax.lines if line.get_marker() != "None"]:
        others.setdefault(line.get_marker(), set()).add(to_hex(line.get_color()))
    assert len(others) == len(styles)  # one look a metric, in all axes
    colours = set.union(*others.values())
    assert len(colours) == len(styles)
    assert not colours & {style.colour.lower() for style in styles.values()}
    legend = [text.get_text() for text in figure.subfigs[0].legends[0].get_texts()]
    assert legend[: len(styles)] == [f"with {style.label}" for style in styles.values()]


@pytest.mark.parametrize("rule", ["above", "p"])
def test_overlaps_of_many_metrics_are_shades(rule: str):
    metrics, numbers = [f"metric{number}" for number in range(8)], [0.01, 0.1, 0.4]
    pairs = [(*both, number) for *both, number in product(metrics, metrics, numbers)
             if both[0] != both[1]]  # fmt: skip
    table = pd.DataFrame(pairs, columns=["metric", "other", "criterion"]).assign(
        rule=rule, paper=0.1, aggregation="l2", layer="conv13",
        jaccard=np.random.default_rng(0).random(len(pairs)),
    )  # fmt: skip
    styles = {name: Style(name, "#000000") for name in metrics}
    figure = report.panels.plot_panel(("h", "Overlap", table), styles)
    assert len(figure.axes) == 8
    for ax, (metric, part) in zip(figure.axes, at_criteria(table), strict=True):
        (shades,) = ax.collections
        grid = part.pivot(index="other", columns="criterion", values="jaccard").reindex(metrics)
        shown = np.ma.filled(shades.get_array(), np.nan)
        np.testing.assert_array_equal(shown, grid)
        assert np.isnan(shown[metrics.index(metric)]).all()
        edges = shades.get_coordinates()[0, :, 0]
        assert all(low < number < high for low, number, high in
                   zip(edges, numbers, edges[1:], strict=False))  # fmt: skip


@pytest.mark.slow
def test_each_panel_has_its_figure_and_its_table(tmp_path: Path):
    made = rows(metrics=("fsi", "wilcoxon"), layers=("conv13",))
    files = set(report.write_report(told(made), tmp_path))
    assert files == {path.name for path in tmp_path.iterdir()}
    assert {f"panel_{letter}.{suffix}" for letter in "ghij" for suffix in
            ("png", "svg", "csv", "parquet")} <= files  # fmt: skip
