"""Figures: the same input gives the same bytes, and what is drawn is what was given."""

import subprocess
import sys
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from app.errors import InputError
from app.figures.agreement import plot_agreement, plot_halves, thin_units
from app.figures.lesion import draw_remains, draw_searches, draw_sets, plot_lesions
from app.figures.panels import plot_panel
from app.figures.render import add_legend, new_figure, render, render_figures, save
from app.figures.run import name_unit
from app.figures.scores import Categories, Extremes, Selection, plot_responses, plot_scores
from app.figures.style import Heading, Style, paper_style
from app.findings.lesion import LesionEffects, Performance
from app.findings.lesioned import GreedySearch, KernelSet, Lesioned
from app.findings.selection import Criterion

REPOSITORY = Path(__file__).parents[2]
BLUE = "#0072B2"
DOMAINS = {"faces": ["adult", "child"], "objects": ["car"], "tools": ["saw"]}
LABELS, COLOURS = ["FSI", "d′", "t"], [BLUE, "#E69F00", "#D55E00"]
HEADING = Heading("conv13", "kernels")
STYLE = Style("FSI", BLUE)


def selection(
    score: np.ndarray, rule: str = "above", number: float = 0.3, label: str = "FSI",
    colour: str = BLUE,
) -> Selection:  # fmt: skip
    return Selection(score, score > 0.3, Criterion(rule, number), Style(label, colour))


def histogram(rule: str = "above") -> Figure:
    score = np.linspace(-1, 1, 200)
    score[:7] = np.nan
    return plot_scores(selection(score, rule), HEADING)["scores"]


def responses(units: int = 8) -> Figure:
    values = np.random.default_rng(0).random((40, units))
    names = [f"kernel {number}" for number in range(units)]
    extremes = Extremes(values, np.linspace(1, -1, units), names)
    categories = Categories(["adult", "child", "car", "saw"] * 10, DOMAINS, "faces")
    return plot_responses(extremes, categories, HEADING)["responses"]


@paper_style()
def drawn(draw: Callable[..., None], *given: Any, **grid: Any) -> Figure:
    """A figure of axes, or a grid of them, that `draw` is given."""
    figure = new_figure(3, title=HEADING.title)
    draw(figure.subplots(**grid), *given)
    add_legend(figure)
    return figure


def scatter(last: float = 0.9, scored: float = -0.2) -> Figure:
    score = np.array([0.1, 0.5, np.nan, scored])
    remains = -np.array([1.0, 1.2, 1.1, last])
    return drawn(draw_remains, selection(score), remains, ("no lesion", -0.95))


def test_panel_l_is_of_the_deepest_layer():
    """A shallower one may have an aggregation, and a cost, that it lacks."""
    known = dict(percent=5.0, null_percent=0.5, jaccard_a=0.5, jaccard_b=0.5, metric="fsi")
    asked = [("conv2", "unit", 1.0), ("conv2", "l2", 1.0), ("conv13", "l2", np.nan)]
    rows = [dict(layer=layer, aggregation=aggregation, face_cost=cost, recipe=recipe, **known)
            for layer, aggregation, cost in asked for recipe in "ab"]  # fmt: skip
    table = pd.DataFrame(rows).assign(random_face_cost=1.0, accuracy=np.nan, random_kernels=np.nan)
    table["layer"] = pd.Categorical(table["layer"], ["conv2", "conv13"])
    figure = plot_panel(("l", "", table), {"fsi": Style("FSI", BLUE)})
    assert [ax.get_xlabel() for ax in figure.axes][0] == "Selective kernels (%)"
    assert len(figure.axes) == 2, "percent, and the matrix"


def test_panel_d_calls_correlations_undefined_as_other_figures_do():
    ends = {f"{name}_ci95_{end}": [-0.3, np.nan]
            for name in ("with_a", "with_b", "spearman") for end in ("low", "high")}  # fmt: skip
    known = {"with_a": [np.nan] * 2, "with_b": [np.nan] * 2, "spearman": [-0.001, np.nan]}
    table = pd.DataFrame({"metric": ["a", "b"], **known, **ends})
    table["layer"] = pd.Categorical(["conv13"] * 2)
    figure = plot_panel(("d", "", table), {name: Style(name, BLUE) for name in "ab"})
    (matrix,) = (ax for ax in figure.axes if ax.images)
    told = [text.get_text() for text in matrix.texts]
    assert told == ["undefined\n[−0.30, −0.30]", "0.00\n[−0.30, −0.30]", "undefined"]


def performance(*values: object) -> Performance:
    return Performance(*map(np.array, values))


def searches() -> dict[str, GreedySearch]:
    order, dropped, steps = np.array([1, 2, 0, *range(3, 10)]), np.arange(4), np.arange(4) / 10
    course = (1 + steps, 0.9 - steps, 1 + steps / 2, 0.8 - steps / 2)
    return {
        "face": GreedySearch(order, dropped, performance(*course)),
        "object": GreedySearch(order, dropped, performance(*course[2:], *course[:2])),
    }


def curves() -> Figure:
    return drawn(draw_searches, searches(), nrows=2, ncols=2)


def agreement(metrics: int = 3, units: int = 40, chosen: bool = True) -> dict[str, Figure]:
    scores = np.random.default_rng(0).normal(size=(metrics, units))
    scores[0, :1] = np.nan
    if not chosen:
        scores = -np.abs(scores)
    others = [(f"a metric of long name, {number}", BLUE) for number in range(metrics)]
    style = [*zip(LABELS, COLOURS, strict=True), *others]
    selections = [
        selection(score, ("above", "p")[place % 2], 0.5, *style[place])
        for place, score in enumerate(scores)
    ]
    shared = [np.linspace(0, 1, units) for _ in combinations(scores, 2)]
    return plot_agreement(selections, shared, HEADING)


def overlaps() -> Figure:
    score = np.zeros((3, 16))
    score[:, :7], score[0, 7:12], score[1:, 12:14] = 1, 1, 1
    selections = [
        selection(*each) for each in zip(score, ["above"] * 3, [0.5] * 3, LABELS, COLOURS,
                                         strict=True)
    ]  # fmt: skip
    return plot_agreement(selections, [np.ones(16)] * 3, HEADING)["overlap"]


def agreements() -> Figure:
    return agreement()["agreement"]


def halves(units: int = 40) -> Figure:
    first, second = np.random.default_rng(0).random((2, units))
    first[0] = np.nan
    both = np.array([first, second], dtype=np.float32)
    drawn = plot_halves(selection(first), both, np.array([0.8, 0.6, np.nan]), HEADING)
    return drawn["reliability"]


def set_table(chosen: float = 15.0) -> pd.DataFrame:
    kinds = ["none", "top", "top", "selection", *["random"] * 4, *["random_selection"] * 2]
    percent = np.array([0, 10, 50, chosen, 10, 10, 50, 50, chosen, chosen])
    top1 = [0.9, 0.8, 0.5, 0.75, 0.85, 0.87, 0.6, 0.7, 0.8, 0.84]
    return pd.DataFrame({"set": kinds, "percent": percent, "face_top1": top1, "object_top1": top1})


def sets(*tasks: str, chosen: float = 15.0) -> Figure:
    return drawn(draw_sets, set_table(chosen), tasks or ("face", "object"), "FSI")


def lesioned(tasks: tuple[str, ...] = ("face", "object"), greedy: bool = False) -> Lesioned:
    each = performance(*np.random.default_rng(0).random((4, 10)))
    drawn = [("none", ()), ("top", (1,)), ("selection", (1, 2)), ("random_selection", (3, 4))]
    return Lesioned(
        tasks,
        LesionEffects(each, performance(0.95, 0.9, 0.9, 0.9)),
        searches() if greedy else {},
        [KernelSet(kind, kernels, 10 * len(kernels)) for kind, kernels in drawn],
        performance(*np.random.default_rng(0).random((4, 4))),
    )


def texts(figure: Figure) -> str:
    found = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        found += [axes.get_title(where) for where in ("left", "right")]
    return "\n".join(found)


MAKERS = (responses, overlaps, halves)  # bars, lines, points, a matrix and a legend


def save_all(folder: Path) -> list[Path]:
    save(render({make.__name__: make() for make in MAKERS}), folder)
    return [*folder.iterdir()]


@pytest.mark.slow
def test_bytes_are_the_same_in_another_process_with_other_settings(tmp_path: Path) -> None:
    """Without pyplot, and without matplotlib where only a style is asked for."""
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nsavefig.dpi: 40\n")
    code = (
        "import sys; from pathlib import Path; import app.figures.style;"
        "assert 'matplotlib' not in sys.modules;"
        "from tests.figures import test_figures as t; t.save_all(Path(sys.argv[1]));"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "other")]
    environment = {"MATPLOTLIBRC": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    # Its list of fonts takes seconds to make.
    environment |= {"HOME": str(tmp_path), "MPLCONFIGDIR": matplotlib.get_cachedir()}
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, timeout=300)
    here = save_all(tmp_path / "here")
    assert {path.suffix for path in here} == {".png", ".svg"} and len(here) == 2 * len(MAKERS)
    for path in here:
        assert path.stat().st_size > 5000
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()


def test_other_input_other_bytes() -> None:
    one, other = (render({"figure": scatter(last)})["figure.svg"] for last in (0.9, 0.91))
    assert one.tobytes() != other.tobytes()


@paper_style()
def list_illegible(figure: Figure) -> list[str]:
    """What lies outside the figure, and what upright or level text lies on another."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()  # which finds the places
    hidden: set[Text] = set()
    for ax in figure.axes:
        for axis, ends in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            if not ax.axison:
                hidden |= set(axis.findobj(Text))
            for tick, at in zip(axis.get_major_ticks(), axis.get_majorticklocs(), strict=True):
                if not min(ends) <= at <= max(ends):
                    hidden |= {tick.label1, tick.label2}
    # As the figure holds them, each once: a set's order would change from call to call.
    shown = [text for text in dict.fromkeys(figure.findobj(Text)) if text not in hidden]
    texts = [text for text in shown if text.get_visible() and text.get_text()
             and text.get_rotation() % 90 == 0]  # fmt: skip
    low, high = np.stack([text.get_window_extent(renderer).padded(-1) for text in texts], axis=1)
    outside = (low < -1).any(axis=1) | (high > figure.bbox.size + 1).any(axis=1)
    overlaps = np.triu((low[:, None] < high).all(axis=2) & (high[:, None] > low).all(axis=2), 1)
    names = [text.get_text() for text in texts]
    return [names[place] for place in np.flatnonzero(outside)] + [
        f"{names[one]} on {names[other]}" for one, other in np.argwhere(overlaps)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("metrics", [2, 8])
def test_nothing_is_cut_off_however_many_metrics(metrics: int) -> None:
    for name, figure in agreement(metrics, 2_500).items():
        assert list_illegible(figure) == [], name


def test_names_may_have_dollar_signs() -> None:
    domains = {"faces": ["$\\frac$"], "a $b$": ["c"]}
    extremes = Extremes(np.ones((4, 2)), np.zeros(2), ["$x$", "$y$"])
    categories = Categories(["$\\frac$", "c"] * 2, domains, "faces")
    assert render_figures(plot_responses, extremes, categories, Heading("$\\title$"))


def test_halves_are_drawn_against_each_other_with_their_reliability() -> None:
    figure = halves()
    first, second = np.random.default_rng(0).random((2, 40)).astype(np.float32)
    below, above = figure.axes[0].lines[:2]
    chosen = (first > 0.3) & (np.arange(40) > 0)
    np.testing.assert_array_equal(above.get_xydata(), np.array([first, second]).T[chosen])
    assert len(below.get_xydata()) == 40 - chosen.sum()
    told = "Spearman r = 0.80; mean of 3 splits 0.70,\nfor all images 0.82 (Spearman-Brown)"
    assert told in texts(figure)
    assert "scatter: 2,000 of 2,500 kernels" in halves(2_500).get_suptitle()


def test_histogram_counts_every_unit_and_says_what_it_leaves_out() -> None:
    figure = histogram()
    everything, selected = [patch for patch in figure.axes[0].patches]
    score = np.linspace(-1, 1, 200)[7:]
    assert everything.get_data().values.sum() == 193  # type: ignore[attr-defined]
    assert selected.get_data().values.sum() == (score > 0.3).sum()  # type: ignore[attr-defined]
    edges = selected.get_data().edges  # type: ignore[attr-defined]
    assert np.abs(edges - 0.3).min() < 1e-9  # no bar is on both sides of the criterion
    assert f"selected: {(score > 0.3).sum()} of 200" in texts(figure)
    assert "undefined, not shown: 7" in texts(figure)


def test_histogram_marks_the_smallest_selected_score_where_the_rule_is_no_score() -> None:
    (line, *_) = histogram("p").axes[0].lines
    score = np.linspace(-1, 1, 200)
    assert line.get_xdata()[0] == score[score > 0.3].min()  # type: ignore[index]


@pytest.mark.slow
@pytest.mark.parametrize("fill", [np.nan, 0.5])
def test_histogram_of_nothing_defined_or_one_value(fill: float) -> None:
    none = Selection(np.full(20, fill), np.zeros(20, dtype=bool), Criterion("p", 0.001), STYLE)
    figure = plot_scores(none, HEADING)["scores"]
    render({"figure": figure})
    assert "selected: 0 of 20" in texts(figure)


def test_responses_show_means_of_the_top_and_bottom_units() -> None:
    figure = responses()
    titles = texts(figure)
    shown = [f"kernel {number}\n" for number in (0, 1, 2, 5, 6, 7)]
    assert [name in titles for name in shown] == [True] * 6
    assert "kernel 3" not in titles
    values = np.random.default_rng(0).random((40, 8))
    bars = [patch.get_height() for patch in figure.axes[0].patches]  # type: ignore[attr-defined]
    np.testing.assert_allclose(bars, [values[start::4, 0].mean() for start in range(4)])


@pytest.mark.parametrize("units", [0, 1, 2, 3])
def test_responses_of_few_units(units: int) -> None:
    figure = responses(units)
    assert render({"figure": figure})
    said = [text.get_text() for text in figure.texts]
    assert ("no kernel has a score" in said) == (units == 0)


def test_names_of_units_and_categories_are_not_cut_off() -> None:
    names = [name_unit(unit, (512, 112, 112)) for unit in (0, 6_422_527, 6_422_526)]
    assert names[1] == "channel 511\nrow 111 col 111"
    shown = Extremes(np.ones((4, 6)), np.linspace(1, -1, 6), names * 2)
    long = [f"a_category_of_a_paradigm_with_conditions_{number}_2021-04-05" for number in range(4)]
    categories = Categories(long, {name: [name] for name in long}, long[0])
    assert list_illegible(plot_responses(shown, categories, HEADING)["responses"]) == []


def test_many_domains_keep_the_target_apart() -> None:
    domains = {f"domain {number}": [f"c{number}"] for number in range(30)}
    categories = Categories([*map("c{}".format, range(30))] * 2, domains, "domain 3")
    extremes = Extremes(np.ones((60, 2)), np.zeros(2), ["a", "b"])
    files = plot_responses(extremes, categories, HEADING)
    assert render(files)
    assert "domain 3 (target)\nother domains" in texts(files["responses"])


def test_scatter_says_the_correlation() -> None:
    assert "Spearman r = −1.00" in texts(scatter())
    assert "Spearman r = −0.50" in texts(scatter(scored=0.3))
    score = np.full(4, np.nan)
    figure = drawn(draw_remains, selection(score), np.arange(4), ("none", 0))
    assert "Spearman r = undefined" in texts(figure)


def test_which_figures_lesions_have() -> None:
    chosen = selection(np.linspace(-1, 1, 10))
    assert set(plot_lesions(lesioned(), chosen, HEADING)) == {"dissociation", "lesion"}
    assert set(plot_lesions(lesioned(("object",)), chosen, HEADING)) == {"dissociation"}
    figures = plot_lesions(lesioned(greedy=True), chosen, HEADING)
    assert set(figures) == {"dissociation", "lesion", "lesion_place"}
    assert "dropped below" in texts(figures["lesion_place"])
    (line,) = figures["lesion_place"].axes[0].lines
    assert line.get_ydata()[0] == 2.5  # type: ignore[index]
    (line,) = plot_lesions(lesioned(), chosen, HEADING)["lesion"].axes[0].lines
    assert line.get_ydata()[0] == -0.95  # type: ignore[index]


def test_curves_show_both_tasks_of_both_searches() -> None:
    figure = curves()
    shown = [[line.get_ydata() for line in axes.lines] for axes in figure.axes]
    np.testing.assert_allclose(shown[0][0], [-1, -1.1, -1.2, -1.3])  # face loss, face search
    np.testing.assert_allclose(shown[1][1], [-1, -1.1, -1.2, -1.3])  # object loss, object search
    np.testing.assert_allclose(shown[2][0], [90, 80, 70, 60])  # face top-1, face search
    np.testing.assert_allclose(shown[3][0], [80, 75, 70, 65])  # object top-1, face search
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xdata(), [0, 10, 20, 30])
    assert "search for faces\nsearch for objects" in texts(figure)


@pytest.mark.parametrize(("task", "title"), [("face", "Face task"), ("object", "Object task")])
def test_the_curves_of_one_task(task: str, title: str) -> None:
    search = searches()[task]
    loss, top1 = drawn(draw_searches, {task: search}, nrows=2, squeeze=False).axes
    assert loss.get_title("left") == title
    loss_left, top1_left = search.remaining.of(task).values()
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), -loss_left)
    np.testing.assert_array_equal(top1.lines[0].get_ydata(), 100 * top1_left)
    assert len(loss.lines) == len(top1.lines) == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write figures to .*file"):
        save(render({"figure": scatter()}), tmp_path / "file")


def test_the_selected_have_the_metric_s_colour_and_axes_its_label() -> None:
    for figure in (histogram(), scatter()):
        assert "Selectivity score (" in figure.axes[0].get_xlabel()
        drawn = [*figure.axes[0].patches, *figure.axes[0].collections]
        assert to_hex(np.ravel(drawn[-1].get_facecolor())[:4]).upper() == BLUE  # type: ignore
    assert histogram().axes[0].get_xlabel() == "Selectivity score (FSI)"
    assert histogram().axes[0].get_ylabel() == "Number of kernels"


def test_overlap_draws_each_combination_and_each_pair() -> None:
    bars, dots, matrix = overlaps().axes
    assert [bar.get_height() for bar in bars.patches] == [7, 5, 2]
    assert [label.get_text() for label in dots.get_yticklabels()] == ["FSI  12", "d′  9", "t  9"]
    colours = [to_hex(line.get_color()).upper() for line in dots.lines]
    assert [colours.count(colour) for colour in COLOURS] == [2, 2, 2]
    heads = ["FSI", "d′"]  # of columns
    assert [text.get_text() for text in matrix.texts] == ["0.50", "0.50", "1.00", *heads]


def test_agreement_draws_each_unit_of_each_pair_and_the_curve() -> None:
    grid = np.reshape(agreements().axes, (3, 3))
    for (first, second), defined in zip(combinations(range(3), 2), (39, 39, 40), strict=True):
        drawn = [
            line.get_xydata() for line in grid[second, first].lines if line.get_marker() == "."
        ]
        assert np.isfinite(np.concatenate(drawn)).all(axis=1).sum() == defined
        assert [line.get_ydata()[-1] for line in grid[first, second].lines] == [1, 1]  # and chance
    title = agreement(2, 3_000)["agreement"].get_suptitle()
    assert "2,000 of 3,000 kernels, drawn at random" in title


@pytest.mark.slow
@pytest.mark.parametrize(("metrics", "units", "chosen"), [
    (3, 40, False), (2, 40, False), (2, 40, True), (2, 2, True), (3, 1, True),
])  # fmt: skip
def test_agreement_where_there_is_little_to_show(metrics: int, units: int, chosen: bool) -> None:
    files = render(agreement(metrics, units, chosen))
    assert all(len(content) > 5000 for content in files.values())


@pytest.mark.parametrize("chosen", [15.0, 0.0, 10.0])
def test_dissociation_draws_the_ranking_the_random_draws_and_the_selection(chosen: float) -> None:
    figure = sets("face", chosen=chosen)
    (axes,) = figure.axes
    random, ranked, star, *_ = [line.get_xydata().tolist() for line in axes.lines]  # type: ignore
    assert ranked == [[0, 90], [10, 80], [50, 50]] and star == [[chosen, 75]]
    assert random[-1] == pytest.approx([50, 65])
    assert {x for x, _ in random} == {0, 10, chosen, 50}
    assert f"selected ({chosen:.1f} %): face" in texts(figure)
    assert "object" not in texts(figure)
    assert axes.get_xlabel() == "Kernels lesioned (%) from the highest FSI on"


def test_both_stars_of_dissociation_tell_their_tasks() -> None:
    """Also where the one lies on the other."""
    (axes,) = sets().axes
    stars = [line for line in axes.lines if line.get_marker() == "*"]
    labels = [f"selected (15.0 %): {task}" for task in ("face", "object")]
    assert [line.get_label() for line in stars] == labels
    assert [line.get_color() for line in stars] == ["#D55E00", "#0072B2"]
    assert stars[0].get_markersize() > stars[1].get_markersize()


@pytest.mark.parametrize(("units", "shown"), [(0, 0), (99, 99), (100, 100), (20_000, 100)])
def test_thinning_shows_a_fair_sample(units: int, shown: int) -> None:
    chosen = thin_units(units, 100)
    assert len(np.unique(chosen)) == shown and (np.diff(chosen) > 0).all()
    np.testing.assert_array_equal(chosen, thin_units(units, 100))
    assert not shown or abs(chosen.mean() / units - 0.5) < 0.1  # as many of the first half
