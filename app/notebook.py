"""From Python: a metric asked of an array, a network to look inside, and runs read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from types import NoneType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from app import metrics
from app.config.checks import checked_metric, checked_model
from app.config.schema import Config, Metric, Model
from app.errors import InputError
from app.findings.selection import make_criteria, measure
from app.launch.commandline import CONFIG_FOLDER
from app.metrics import Scores
from app.metrics.contrast import Contrast, contrast
from app.metrics.scoring import score_blocks
from app.reading import runs

if TYPE_CHECKING:  # torch takes seconds to import, which arrays do without
    from app.models.inside import Inside
    from app.stimuli.images import Preprocessing

__all__ = ["Answer", "ask", "open_network", "runs"]

NO_LABEL = ("None", "nan", "<NA>", "NaT")  # as which what stands for nothing prints, if no text


@dataclass(frozen=True, eq=False)
class Answer:
    """What a metric says of every unit, and which units its criterion selects."""

    score: NDArray[np.float64]  # (units,) larger = more selective, NaN = undefined
    selected: NDArray[np.bool_]  # (units,)
    scores: Scores  # the same scores, with statistics and p-values (contrasts, units)
    contrast: Contrast  # the images that were compared
    settings: Metric  # as in conf/metric: the criterion's rule and number, the options
    notes: tuple[str, ...] = ()  # a line for what the scores alone do not tell


def ask(  # noqa: PLR0913  scripts rely on each; all but four stand in for the metric's YAML
    metric: str,
    responses: ArrayLike,
    categories: Sequence[Any] | NDArray[Any],
    target: Any,
    *,
    domains: Mapping[Any, Sequence[Any]] | None = None,
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
    metric : str
        A name in `conf/metric`, such as fsi, dprime, wilcoxon, ttest, auc.
    responses : array_like, (images, units)
        Finite real numbers: an array, a table, a tensor, lists. float32 is used as it is, all else
        as float64.
    categories : sequence, (images,)
        The category of each image, by name or number; 1 is called ``"1"``.
    target : str or number
        The domain asked about.
    domains : mapping of str to sequence of str, optional
        The categories of each domain, of which there are images; None: each category is its own
        domain. Images of a category in no domain are left out.
    threshold : str or float
        The criterion's number, a score or a probability as the rule has it; or the name of a
        preset: paper, liberal or strict.
    rule : str, optional
        above, top, p, fdr_bh or fdr_by; see `app.findings.selection.RULES`.
    kind, over : str, optional
        The contrast: pooled or each, over domains or categories; see
        `app.metrics.contrast.contrast`.
    **options
        The metric's own, such as `equal_variance=False` of ttest.

    Returns
    -------
    Answer
        Scores and a selection of units, and how they were found.

    Raises
    ------
    InputError
        One line, for what cannot be answered: an unknown name, a domain's category that no image
        has, a number out of range, responses that are masked, not real or not finite, images
        without a category, groups of one image.
    """
    given = {"contrast": kind, "over": over, "criterion.rule": rule}
    settings = _settings(metric, threshold, given, options)
    criterion = make_criteria({metric: settings})[metric]
    values, names = _read_responses(responses), _read_labels(categories)
    if values.ndim != 2 or len(values) != len(names):
        raise InputError(
            f"responses {values.shape} do not fit {len(names)} categories: they are "
            "(images, units), with one category an image"
        )
    members, of = _read_domains(domains, names), _name(target)
    asked = contrast(names, members, of, kind=settings.contrast, over=settings.over)
    question = metrics.Question(
        metrics.load(settings.name), asked, settings.options,
        reduction=settings.score, preferred=settings.criterion.preferred,
    )  # fmt: skip
    units = values.shape[1]
    scores = score_blocks([(np.arange(units), values)], units, {metric: question})[metric].scores
    criterion = criterion.settle(scores)
    selected = criterion.select(measure(scores, criterion.rule))
    notes = tuple(metrics.note_signs({metric: scores}))
    return Answer(scores.score, selected, scores, asked, settings, notes)


def open_network(name: str = "dualtask_mini", **settings: Any) -> tuple[Inside, Preprocessing]:
    """Open a network of `conf/model`, to read and lesion inside, and how its images are prepared.

    Parameters
    ----------
    name : str
        A name in `conf/model`: dualtask_mini, torchvision, timm.
    **settings
        Values in the place of the YAML's, such as ``checkpoint="own.pth"``; the library's name of a
        network of torchvision or timm is ``name_there="resnet50"``.

    Raises
    ------
    InputError
        One line, for an unknown name or value, and for weights that cannot be had.
    """
    from app.models.inside import Inside
    from app.models.loading import given, load, make_preprocessing

    if "name_there" in settings:
        settings["name"] = settings.pop("name_there")
    files: list[Any] = []
    defaults = [name]
    while defaults:
        files.append(_load_yaml("model", defaults.pop()))
        defaults += files[-1].pop("defaults", [])
    try:
        composed = OmegaConf.merge(OmegaConf.structured(Model), *files[::-1], settings)
    except OmegaConfBaseException as error:
        raise InputError(f"{name}: {str(error).splitlines()[0]}") from None
    loaded = load(checked_model(cast(DictConfig, composed)))
    size = given(loaded.settings.input_size)
    return Inside(loaded.network, size), make_preprocessing(loaded.settings)


def _read_responses(responses: Any) -> NDArray[Any]:
    """Read real numbers from whatever array they come in: float32, or float64."""
    parts = responses if isinstance(responses, (list, tuple)) else [responses]
    if any(map(np.ma.is_masked, parts)):
        raise InputError("some responses are masked: leave their images or units out, or fill them")
    try:
        if hasattr(responses, "detach"):  # torch's: with a gradient, on a GPU
            responses = responses.detach().cpu()
        values = np.asarray(responses)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"responses are no array (images, units) of numbers: {reason}") from error
    mixed = values.dtype == object and all(isinstance(v, (Real, NoneType)) for v in values.flat)
    if values.dtype.kind not in "biuf" and not mixed:
        raise InputError(f"responses are of the type {values.dtype}; they must be real numbers")
    return values if values.dtype == np.float32 else values.astype(np.float64, copy=False)


def _read_labels(categories: Any) -> list[str]:
    """Read the names of categories from whatever sequence they come in."""
    if getattr(categories, "ndim", 1) != 1:
        raise InputError(
            f"categories have the shape {tuple(categories.shape)}: they are one name or number an "
            "image; categories.ravel() makes that of a column, argmax(1) of one column a category"
        )
    if isinstance(categories, (str, bytes)):  # of a domain that has but one
        categories = [categories]
    labels = categories.tolist() if hasattr(categories, "tolist") else list(categories)
    missing = [not isinstance(label, str) and str(label) in NO_LABEL for label in labels]
    if any(missing):
        raise InputError(
            f"{sum(missing)} labels are missing, the first at place {missing.index(True)}, from 0: "
            "name the category, or leave the image out"
        )
    return [_name(label) for label in labels]


def _read_domains(domains: Mapping[Any, Any] | None, names: Sequence[str]) -> dict[str, list[str]]:
    """Read the categories of each domain, of the `names`; None: each is a domain of its own."""
    if domains is None:
        return {name: [name] for name in dict.fromkeys(names)}
    members = {_name(domain): _read_labels(own) for domain, own in domains.items()}
    for domain, own in members.items():
        if lacks := [name for name in own if name not in names]:
            raise InputError(
                f"domains: {domain} has the category {lacks[0]!r}, which no image has: there are "
                f"{', '.join(dict.fromkeys(names))}"
            )
    return members


def _name(label: Any) -> str:
    """Name what may be a number, a truth value, bytes or one of an array's scalars."""
    label = label.item() if hasattr(label, "item") else label
    if isinstance(label, float) and label.is_integer():  # as tables with gaps have whole numbers
        label = int(label)
    return label.decode(errors="replace") if isinstance(label, bytes) else str(label)


def _load_yaml(group: str, name: str) -> Any:
    """Load what `conf/<group>` has of this name; InputError where there is none."""
    folder = CONFIG_FOLDER / group
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise InputError(f"no {group} is called {name!r}; there are: {', '.join(known)}")
    return OmegaConf.load(folder / f"{name}.yaml")


def _settings(
    metric: str, threshold: str | float, given: Mapping[str, Any], options: Mapping[str, Any]
) -> Metric:
    """The metric's YAML with what was given in its place."""
    own, whole = _load_yaml("metric", metric), OmegaConf.structured(Config)
    whole.metric = OmegaConf.merge(whole.metric, own, {"options": dict(options)})
    for name, value in given.items():
        if value is not None:
            OmegaConf.update(whole.metric, name, value)
    number = {} if isinstance(threshold, str) else {whole.metric.name: float(threshold)}
    whole.threshold = {"name": "paper" if number else threshold, **number}
    settings = checked_metric(whole.metric, whole.threshold)
    metrics.check_options(settings.name, settings.options)
    return settings
