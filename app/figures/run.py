"""The figures of one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.config.schema import Config, metric_set
from app.figures.agreement import plot_agreement, plot_halves
from app.figures.lesion import plot_lesions
from app.figures.multiverse import plot_multiverse
from app.figures.render import render_figures, save
from app.figures.scores import Categories, Extremes, Selection, plot_responses, plot_scores
from app.figures.style import Heading, Style
from app.names import name_units

if TYPE_CHECKING:
    from app.findings.findings import Findings
    from app.memo import Memo
    from app.stimuli.localizer import Localizer

FIGURES = "figures"  # the folder of a run's figures, in its own


def draw_run(
    folder: Path,
    config: Config,
    found: Findings,
    stimuli: Localizer,
    shape: tuple[int, int, int],
    memo: Memo,
) -> list[str]:
    """Draw what a run found, as PNG and SVG in the run's folder; their names there.

    The memo knows what was drawn before.

    `config` says how metrics look; `shape` is the layer's, (channels, rows, columns).
    """
    single = config.aggregation.name == "unit"
    title = f"{config.model.name}, {config.layer.name}, {config.aggregation.name}"
    heading = Heading(title, name_units(config.aggregation.name))
    styles = {name: Style(each.label, each.colour) for name, each in metric_set(config).items()}
    selections = {
        name: Selection(score, found.selected[name], found.criteria[name], styles[name])
        for name, score in found.scores.items()
    }
    own, scored = selections[found.metric], found.scored[found.metric]
    extremes = scored.extremes
    names = [name_unit(int(unit), shape if single else None) for unit in extremes]
    shown = Extremes(scored.responses, own.score[extremes], names)
    categories = Categories(stimuli.images.labels, stimuli.domains, config.target)
    files = memo(render_figures, plot_scores, own, heading)
    files |= memo(render_figures, plot_responses, shown, categories, heading)
    if len(selections) > 1:
        shared = list(found.overlap.shared.values())
        files |= memo(render_figures, plot_agreement, list(selections.values()), shared, heading)
    sure = found.certainty[found.metric] if found.certainty is not None else None
    if sure is not None and len(sure.halves):
        files |= memo(render_figures, plot_halves, own, sure.both_halves, sure.halves, heading)
    if found.lesioned is not None:
        files |= memo(render_figures, plot_lesions, found.lesioned, own, heading)
    if found.multiverse is not None:
        kernels = Heading(f"{config.model.name}, {config.layer.name}", "kernels")
        files |= render_figures(plot_multiverse, found.multiverse, styles, kernels)
    save(files, folder / FIGURES)
    return [f"{FIGURES}/{name}" for name in files]


def name_unit(unit: int, shape: tuple[int, int, int] | None) -> str:
    """Name `kernel 17`; with the layer's shape, the unit's channel, and its place there."""
    if shape is None:
        return f"kernel {unit}"
    if shape[1:] == (1, 1):  # of a vector, or of a recording
        return f"unit {unit}"
    return "channel {}\nrow {} col {}".format(*map(int, np.unravel_index(unit, shape)))
