"""Figures: the same input gives the same bytes, and what is drawn is what was given."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from app.errors import InputError
from app.figures import single as figures

REPOSITORY = Path(__file__).parents[2]
BLUE = "#0072B2"
DOMAINS = {"faces": ["adult", "child"], "objects": ["car"], "tools": ["saw"]}


def histogram(threshold: float | None = 0.3) -> Figure:
    score = np.linspace(-1, 1, 200)
    score[:7] = np.nan
    return figures.score_histogram(
        score, score > 0.3, "FSI", BLUE, "score > 0.3", threshold, "conv13"
    )


def responses(units: int = 8) -> Figure:
    values = np.random.default_rng(0).random((40, units))
    categories = ["adult", "child", "car", "saw"] * 10
    names = [f"kernel {number}" for number in range(units)]
    scores = np.linspace(1, -1, units)
    return figures.unit_responses(
        values, categories, DOMAINS, np.arange(units), scores, names, "faces"
    )


def scatter(spearman: float = -0.29) -> Figure:
    score = np.array([0.1, 0.5, np.nan, -0.2])
    loss = np.array([1.0, 1.2, 1.1, 0.9])
    return figures.lesion_scatter(score, loss, 0.95, spearman, "t", BLUE, score > 0.3)


def places(spearman: float = -0.29) -> Figure:
    score, place = np.array([0.1, 0.5, np.nan, -0.2]), np.array([2, 0, 1, 3])
    return figures.place_scatter(score, place, 2, spearman, "t", BLUE, score > 0.3)


def curves() -> Figure:
    steps = np.arange(4)[:, None] / 10
    face = np.hstack([steps, 1 + steps, 0.9 - steps, 1 + steps / 2, 0.8 - steps / 2])
    return figures.greedy_curves(face, face[:, [0, 3, 4, 1, 2]], "conv13")


LABELS, COLOURS = ["FSI", "d′", "t"], [BLUE, "#E69F00", "#D55E00"]


def overlaps(metrics: int = 3, chosen: bool = True) -> Figure:
    members = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 1]])[: 3 * chosen, :metrics]
    jaccard = np.full((metrics, metrics), 0.5 if chosen else np.nan)
    return figures.selection_overlap(
        LABELS[:metrics], COLOURS[:metrics], np.array([12, 9, 9][:metrics]), members,
        np.array([7, 5, 2])[: 3 * chosen], jaccard, "conv13",
    )  # fmt: skip


def agreements(metrics: int = 3, units: int = 40) -> Figure:
    scores = np.random.default_rng(0).normal(size=(metrics, units))
    scores[0, :1] = np.nan
    pairs = metrics * (metrics - 1) // 2
    depths = [[1, units - 1]] * pairs if units > 1 else [[]] * pairs
    return figures.metric_agreement(
        LABELS[:metrics], COLOURS[:metrics], scores, scores > 0.5, [0.5, None, 0.5][:metrics],
        depths, [[0.0, 1.0][: len(k)] for k in depths], 3_000, "conv13",
    )  # fmt: skip


def sets(*tasks: str, chosen: float = 15.0) -> Figure:
    kinds = ["none", "top", "top", "selection", *["random"] * 4, *["random_selection"] * 2]
    percent = np.array([0, 10, 50, chosen, 10, 10, 50, 50, chosen, chosen])
    top1 = [0.9, 0.8, 0.5, 0.75, 0.85, 0.87, 0.6, 0.7, 0.8, 0.84]
    values = {task: top1 for task in tasks or ("face", "object")}
    return figures.dissociation(kinds, percent, values, "FSI", BLUE, "conv13")


def texts(figure: Figure) -> str:
    found = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        found += [axes.get_title(where) for where in ("left", "right")]
    return "\n".join(found)


@pytest.mark.parametrize(
    "make", [histogram, responses, scatter, places, curves, overlaps, agreements, sets]
)
def test_same_input_same_bytes(make: Callable[[], Figure], tmp_path: Path) -> None:
    first = figures.save(figures.render(make()), tmp_path / "first", "figure")
    again = figures.save(figures.render(make()), tmp_path / "again", "figure")
    assert [path.name for path in first] == ["figure.png", "figure.svg"]
    for one, other in zip(first, again, strict=True):
        assert one.stat().st_size > 5000
        assert one.read_bytes() == other.read_bytes()


def test_bytes_are_the_same_in_another_process_with_other_settings(tmp_path: Path) -> None:
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nsavefig.dpi: 40\n")
    code = (
        "import sys; from pathlib import Path; from tests.figures import test_figures as t;"
        "t.figures.save(t.figures.render(t.scatter()), Path(sys.argv[1]), 'figure')"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "other")]
    environment = {"MATPLOTLIBRC": str(tmp_path), "PYTHONPATH": str(REPOSITORY)}
    environment |= {"HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path)}
    subprocess.run(command, cwd=REPOSITORY, env=environment, check=True, timeout=60)
    for path in figures.save(figures.render(scatter()), tmp_path / "here", "figure"):
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()


def test_other_input_other_bytes(tmp_path: Path) -> None:
    one = figures.save(figures.render(scatter()), tmp_path, "one")
    other = figures.save(figures.render(scatter(spearman=-0.28)), tmp_path, "other")
    assert one[1].read_bytes() != other[1].read_bytes()


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
    (line,) = histogram(threshold=None).axes[0].lines
    score = np.linspace(-1, 1, 200)
    assert line.get_xdata()[0] == score[score > 0.3].min()  # type: ignore[index]


@pytest.mark.parametrize("fill", [np.nan, 0.5])
def test_histogram_of_nothing_defined_or_one_value(fill: float, tmp_path: Path) -> None:
    score, none = np.full(20, fill), np.zeros(20, dtype=bool)
    figure = figures.score_histogram(score, none, "FSI", BLUE, "p < 0.001", None, "conv1")
    figures.save(figures.render(figure), tmp_path, "figure")
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


@pytest.mark.parametrize("units", [1, 2, 3])
def test_responses_of_few_units(units: int, tmp_path: Path) -> None:
    figures.save(figures.render(responses(units)), tmp_path, "figure")


def test_many_domains_keep_the_target_apart(tmp_path: Path) -> None:
    domains = {f"domain {number}": [f"c{number}"] for number in range(30)}
    figure = figures.unit_responses(
        np.ones((60, 2)), [*map("c{}".format, range(30))] * 2, domains, [0, 1], np.zeros(2),
        ["a", "b"], "domain 3",
    )  # fmt: skip
    figures.save(figures.render(figure), tmp_path, "figure")
    assert "domain 3 (target)\nother domains" in texts(figure)


def test_scatter_says_the_correlation() -> None:
    assert "Spearman r = −0.29" in texts(scatter())
    assert "Spearman r = undefined" in texts(scatter(spearman=np.nan))


def test_places_say_the_correlation_and_how_many_were_dropped() -> None:
    figure = places()
    assert "Spearman r = −0.29" in texts(figure) and "dropped below" in texts(figure)
    (line,) = figure.axes[0].lines
    assert line.get_ydata()[0] == 1.5  # type: ignore[index]


def test_curves_show_both_tasks_of_both_searches() -> None:
    figure = curves()
    shown = [[line.get_ydata() for line in axes.lines] for axes in figure.axes]
    np.testing.assert_allclose(shown[0][0], [-1, -1.1, -1.2, -1.3])  # face loss, face search
    np.testing.assert_allclose(shown[1][1], [-1, -1.1, -1.2, -1.3])  # object loss, object search
    np.testing.assert_allclose(shown[2][0], [90, 80, 70, 60])  # face top-1, face search
    np.testing.assert_allclose(shown[3][0], [80, 75, 70, 65])  # object top-1, face search
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xdata(), [0, 10, 20, 30])
    assert "search for faces\nsearch for objects" in texts(figure)


@pytest.mark.parametrize(
    ("search", "title", "column"), [("face", "Face task", 1), ("object", "Object task", 3)]
)
def test_the_curves_of_one_task(search: str, title: str, column: int) -> None:
    course = np.arange(15, dtype=float).reshape(3, 5)
    figure = figures.greedy_curves(**{f"{search}_search": course})
    loss, top1 = figure.axes
    assert loss.get_title("left") == title
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), -course[:, column])
    np.testing.assert_array_equal(top1.lines[0].get_ydata(), 100 * course[:, column + 1])
    assert len(loss.lines) == len(top1.lines) == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write figures to .*file"):
        figures.save(figures.render(scatter()), tmp_path / "file", "figure")


def test_the_selected_have_the_metric_s_colour_and_axes_its_label() -> None:
    for figure in (histogram(), scatter(), places()):
        assert "Selectivity score (" in figure.axes[0].get_xlabel()
        drawn = [*figure.axes[0].patches, *figure.axes[0].collections]
        assert to_hex(np.ravel(drawn[-1].get_facecolor())[:4]).upper() == BLUE  # type: ignore
    assert histogram().axes[0].get_xlabel() == "Selectivity score (FSI)"


def test_no_pyplot() -> None:
    code = (
        "import sys; import app.figures.single as f; assert 'matplotlib' not in sys.modules;"
        "import numpy as np; z = np.zeros(3);"
        "f.score_histogram(z, z > 0, 'FSI', '#0072B2', 'a', 0.3, 't');"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "False", done.stderr


def test_overlap_draws_each_combination_and_each_pair() -> None:
    bars, dots, matrix = overlaps().axes
    assert [bar.get_height() for bar in bars.patches] == [7, 5, 2]
    assert [label.get_text() for label in dots.get_yticklabels()] == ["FSI  12", "d′  9", "t  9"]
    colours = [to_hex(line.get_color()).upper() for line in dots.lines]
    assert [colours.count(colour) for colour in COLOURS] == [2, 2, 2]
    assert [text.get_text() for text in matrix.texts] == ["0.50"] * 3


def test_agreement_draws_each_unit_of_each_pair_and_the_curve() -> None:
    *pairs, curve = agreements().axes
    assert len(pairs) == 3
    for axes, defined in zip(pairs, (39, 39, 40), strict=True):
        drawn = [line.get_xydata() for line in axes.lines if line.get_marker() == "."]
        assert np.isfinite(np.concatenate(drawn)).all(axis=1).sum() == defined
    assert [line.get_ydata()[-1] for line in curve.lines] == [1] * 4  # three pairs and chance
    assert "40 of 3,000 units" in agreements()._suptitle.get_text()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "make",
    [
        lambda: overlaps(chosen=False),
        lambda: overlaps(2, chosen=False),
        lambda: overlaps(2),
        lambda: agreements(2),
        lambda: agreements(2, units=2),
        lambda: agreements(3, units=1),
    ],
)
def test_agreement_where_there_is_little_to_show(make: Callable[[], Figure]) -> None:
    assert len(figures.render(make())["png"]) > 5000


@pytest.mark.parametrize("chosen", [15.0, 0.0, 10.0])
def test_dissociation_draws_the_ranking_the_random_draws_and_the_selection(chosen: float) -> None:
    figure = sets("face", chosen=chosen)
    (axes,) = figure.axes
    random, ranked, star = [line.get_xydata().tolist() for line in axes.lines]  # type: ignore
    assert ranked == [[0, 90], [10, 80], [50, 50]] and star == [[chosen, 75]]
    assert random[-1] == pytest.approx([50, 65])
    assert {x for x, _ in random} == {0, 10, chosen, 50}
    assert f"selected by FSI: {chosen:.1f} %" in texts(figure)
    assert "object task" not in texts(figure)
