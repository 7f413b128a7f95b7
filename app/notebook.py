"""From Python: one metric asked of an array of responses, without command line or network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from omegaconf import OmegaConf

from app import metrics
from app.config.checks import checked_metric
from app.config.schema import Config, Metric
from app.errors import InputError
from app.findings.selection import make_criteria, measure
from app.launch.commandline import CONFIG_FOLDER
from app.metrics import Scores
from app.metrics.contrast import Contrast, contrast
from app.metrics.scoring import score_blocks


@dataclass(frozen=True, eq=False)
class Answer:
    """What a metric says of every unit, and which units its criterion selects."""

    score: NDArray[np.float64]  # (units,) larger = more selective, NaN = undefined
    selected: NDArray[np.bool_]  # (units,)
    scores: Scores  # the same scores, with statistics and p-values (contrasts, units)
    contrast: Contrast  # the images that were compared
    settings: Metric  # as in conf/metric: the criterion's rule and number, the options


def ask(  # noqa: PLR0913  scripts rely on each; all but four stand in for the metric's YAML
    metric: str,
    responses: ArrayLike,
    categories: Sequence[str] | NDArray[np.str_],
    target: str,
    *,
    domains: Mapping[str, Sequence[str]] | None = None,
    threshold: str | float = "paper",
    rule: str | None = None,
    kind: str | None = None,
    over: str | None = None,
    **options: Any,
) -> Answer:
    """Score every unit by a metric and select units by its criterion.

    The same numbers as `python -m app metric=<metric>` finds in the same responses: what is not
    given comes from `conf/metric/<metric>.yaml`.

    Parameters
    ----------
    metric: a name in `conf/metric`, such as fsi, dprime, wilcoxon, ttest, auc.
    responses: (images, units), finite numbers; float32 is used as it is, others as float64.
    categories: (images,), the category of each image.
    target: the domain asked about.
    domains: the categories of each domain; None: each category is its own domain. Images of a
        category in no domain are left out.
    threshold: the criterion's number, a score or a probability as the rule has it; or the name of
        a preset, paper, liberal or strict.
    rule: above, p, fdr_bh or fdr_by; see `app.findings.selection.RULES`.
    kind, over: the contrast, pooled or each, over domains or categories; see
        `app.metrics.contrast.contrast`.
    options: of the metric, such as `equal_variance=False` of ttest.

    InputError, one line, for what cannot be answered.
    """
    given = {"contrast": kind, "over": over, "criterion.rule": rule}
    settings = _settings(metric, threshold, given, options)
    criterion = make_criteria({metric: settings})[metric]
    values = np.asarray(responses)
    if values.ndim != 2 or len(values) != len(categories):
        raise InputError(
            f"responses {values.shape} do not fit {len(categories)} categories: they are "
            "(images, units), with one category an image"
        )
    if values.dtype != np.float32:
        values = values.astype(np.float64, copy=False)
    names = [str(category) for category in categories]
    if domains is None:
        domains = {name: [name] for name in dict.fromkeys(names)}
    asked = contrast(names, domains, target, kind=settings.contrast, over=settings.over)
    question = metrics.Question(metrics.load(settings.name), asked, settings.options)
    units = values.shape[1]
    scores = score_blocks([(np.arange(units), values)], units, {metric: question})[metric].scores
    selected = criterion.select(measure(scores, criterion.rule))
    return Answer(scores.score, selected, scores, asked, settings)


def _settings(
    metric: str, threshold: str | float, given: Mapping[str, Any], options: Mapping[str, Any]
) -> Metric:
    """The metric's YAML with what was given in its place."""
    folder = CONFIG_FOLDER / "metric"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if metric not in known:
        raise InputError(f"no metric is called {metric!r}; there are: {', '.join(known)}")
    whole = OmegaConf.structured(Config)
    own = OmegaConf.load(folder / f"{metric}.yaml")
    whole.metric = OmegaConf.merge(whole.metric, own, {"options": dict(options)})
    for name, value in given.items():
        if value is not None:
            OmegaConf.update(whole.metric, name, value)
    number = {} if isinstance(threshold, str) else {whole.metric.name: float(threshold)}
    whole.threshold = {"name": "paper" if number else threshold, **number}
    return checked_metric(whole.metric, whole.threshold)
