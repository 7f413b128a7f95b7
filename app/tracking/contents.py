"""What a run leaves behind: its metrics by name, its tables, and the words that describe it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.config.schema import Config, Metric, metric_set
from app.findings import consistency, overlap
from app.findings.greedy import MEASURES
from app.findings.selection import grid, percent_selected
from app.metrics import Scores
from app.stimuli.images import domain_of

if TYPE_CHECKING:
    from app.steps import Decoded, Lesioned, Localizer, Subject

SPEARMAN = {"face": "lesion/spearman", "object": "lesion/spearman_object"}

# -------------------------------------------------------------------- findings as named numbers


def selectivity(score: NDArray[np.float64], selected: NDArray[np.bool_]) -> dict[str, float]:
    """How many units the criterion selects; percent of all units, undefined ones included."""
    return {
        "selectivity/count": float(selected.sum()),
        "selectivity/percent": 100 * float(selected.mean()),
        "selectivity/units": float(len(score)),
        "selectivity/undefined": float(np.isnan(score).sum()),
    }


def threshold_curve(settings: Metric, scores: Scores) -> dict[str, list[float]]:
    """Percent selected over criteria of the metric's rule, the same ones for every layer."""
    criterion = settings.criterion
    low, high = criterion.range
    presets = criterion.presets
    numbers = [presets.get("paper", criterion.threshold), *presets.values(), criterion.threshold]
    criteria = grid(criterion.rule, (low, high), numbers)
    percent = percent_selected(scores, criterion.rule, criteria)
    return {"threshold/criterion": criteria, "threshold/percent": percent.tolist()}


def agreement(metric: str, score: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    """Spearman of this metric with each other one, and the layer's mean over all pairs."""
    pairs = consistency.pairwise(score)
    own = {
        f"consistency/spearman_{pair[1] if pair[0] == metric else pair[0]}": value
        for pair, value in pairs.items()
        if metric in pair
    }
    summary = consistency.summary(pairs)
    return {**own, "consistency/mean": summary.mean, "consistency/sem": summary.sem}


def overlap_metrics(
    metric: str,
    selected: Mapping[str, NDArray[np.bool_]],
    shared: Mapping[tuple[str, str], NDArray[np.float64]],
) -> dict[str, float]:
    """Of this metric and each other one: Jaccard's index of what they select, and the fraction
    that their top tenths share. `shared` is what `overlap.pairwise_top_k` found."""
    found = {}
    for pair, curve in shared.items():
        if metric in pair:
            other = pair[1] if pair[0] == metric else pair[0]
            found[f"agreement/jaccard_{other}"] = overlap.jaccard(selected[metric], selected[other])
            found[f"agreement/top10_percent_{other}"] = overlap.at_top_fraction(curve, 0.1)
    return found


def lesion_metrics(score: NDArray[np.float64], lesioned: Lesioned) -> dict[str, float]:
    """Spearman of score with what remains of each task: negative = such kernels matter.

    What remains is -loss without the kernel, or the kernel's place in the task's greedy search. Of
    a task without images there is nothing.
    """
    effects, searches = lesioned.effects, lesioned.searches
    found = {}
    for task in lesioned.tasks:
        remains = searches[task].place if searches else -effects[f"{task}_loss"]
        found[SPEARMAN[task]] = consistency.spearman(score, remains)
    measures = [name for name in MEASURES if name.split("_")[0] in lesioned.tasks]
    found |= {f"lesion/intact_{name}": float(effects[f"intact_{name}"]) for name in measures}
    for task, search in searches.items():
        found["lesion/greedy_dropped"] = float(search.dropped[-1])
        for name in measures:
            found[f"lesion/greedy_{task}_search_{name}"] = float(search.remaining[name][-1])
    return found


def set_metrics(lesioned: Lesioned) -> tuple[dict[str, float], dict[str, dict[int, float]]]:
    """Accuracy of both tasks without what the criterion selects and without as many random kernels
    (mean over draws); and, by the percentage of kernels lesioned, without the highest-ranked."""
    found: dict[str, float] = {}
    curves: dict[str, dict[int, float]] = {}
    of = {
        kind: [place for place, each in enumerate(lesioned.sets) if each.kind == kind]
        for kind in ("none", "top", "selection", "random_selection")
    }
    for task in lesioned.tasks if lesioned.sets else []:
        top1 = lesioned.without[f"{task}_top1"]
        found[f"lesion/selection_{task}_top1"] = float(top1[of["selection"]].mean())
        found[f"lesion/selection_random_{task}_top1"] = float(top1[of["random_selection"]].mean())
        curves[f"lesion/top_{task}_top1"] = {
            round(lesioned.sets[place].percent): float(top1[place])
            for place in (*of["none"], *of["top"])
        }
    return found, curves


def decoding_metrics(decoded: Decoded) -> dict[str, float]:
    return {
        "decoding/accuracy": decoded.chosen.accuracy,
        "decoding/ci95_low": decoded.chosen.ci95[0],
        "decoding/ci95_high": decoded.chosen.ci95[1],
        "decoding/kernels": float(decoded.chosen.kernels),
        "decoding/chance": decoded.chance,
        "decoding/random_kernels": decoded.random_kernels,
        "decoding/all_kernels": decoded.all_kernels,
    }


# ------------------------------------------------------------------------------------- tables


def score_table(
    config: Config,
    shape: tuple[int, int, int],
    score: Mapping[str, NDArray[np.float64]],
    selected: Mapping[str, NDArray[np.bool_]],
) -> pd.DataFrame:
    """A row a unit: where it is, its scores, which metrics select it. A kernel has no position.

    `shape` is the layer's, (channels, rows, columns); the token of a token sequence is its row.
    """
    count = len(next(iter(score.values())))
    unit = np.arange(count)
    place: dict[str, Any]
    if config.aggregation.name == "unit":
        channel, row, column = np.unravel_index(unit, shape)
        place = {"channel": channel, "row": row, "column": column}
    else:
        nowhere = pd.array([None] * count, dtype="Int64")
        place = {"channel": unit, "row": nowhere, "column": nowhere}
    return pd.DataFrame(
        {"unit": unit, **place, **score, **{f"selected_{n}": m for n, m in selected.items()}}
    )


def lesion_table(lesioned: Lesioned) -> pd.DataFrame:
    """A row a kernel: what remains of both tasks without it; intact performance beside it.

    Of a greedy search for a task, `<task>_search_…`: the kernel's place, 0 dropped first; the step
    that dropped it, from 1; what remained then (missing where it was never dropped).
    """
    kernels = len(lesioned.effects["face_loss"])
    table = pd.DataFrame(
        {
            "kernel": np.arange(kernels),
            **{
                name: values if values.ndim else np.full(kernels, float(values))
                for name, values in lesioned.effects.items()
            },
        }
    )
    for task, search in lesioned.searches.items():
        step = search.step
        table[f"{task}_search_place"] = search.place
        table[f"{task}_search_step"] = pd.Series(step, dtype="Int64").mask(step == 0)
        for name in MEASURES:
            remaining = search.remaining[name][step]
            table[f"{task}_search_{name}"] = np.where(step == 0, np.nan, remaining)
    return table


def set_table(lesioned: Lesioned) -> pd.DataFrame:
    """A row a set of kernels that were lesioned together: what remains of both tasks.

    `set` is none, top (highest-ranked), selection, random or random_selection (as many random
    kernels as are selected); `percent` of all kernels, the exact share; `draw` of random ones.
    """
    count = len(lesioned.effects["face_loss"])
    kernels = [len(each.kernels) for each in lesioned.sets]
    return pd.DataFrame(
        {
            "set": [each.kind for each in lesioned.sets],
            "percent": [100 * number / count for number in kernels],
            "kernels": kernels,
            "draw": pd.array([each.draw for each in lesioned.sets], dtype="Int64"),
            **lesioned.without,
        }
    )


def dataset_table(localizer: Localizer) -> pd.DataFrame:
    """A row an image: name, category, domain (None where it belongs to none)."""
    domain = domain_of(localizer.domains)
    labels = localizer.images.labels
    return pd.DataFrame(
        {
            "image": localizer.images.names,
            "category": labels,
            "domain": [domain.get(label) for label in labels],
        }
    )


# ------------------------------------------------------------------------------------ wording


def criterion_text(config: Config) -> str:
    """The criterion in a few words."""
    criterion = config.metric.criterion
    return {
        "above": f"score > {criterion.threshold:g}",
        "p": f"p < {criterion.threshold:g}, every contrast",
        "fdr_bh": f"Benjamini-Hochberg at {criterion.threshold:g}, every contrast",
        "fdr_by": f"Benjamini-Yekutieli at {criterion.threshold:g}, every contrast",
    }[criterion.rule]


def unit_name(config: Config, shape: tuple[int, int, int], unit: int) -> str:
    """`kernel 17`, or `unit 17 (channel, row, column)`."""
    if config.aggregation.name != "unit":
        return f"kernel {unit}"
    place = ", ".join(str(int(i)) for i in np.unravel_index(unit, shape))
    return f"unit {place}"


def run_name(config: Config) -> str:
    """`<model>/<layer>/<aggregation>/<metric>`."""
    parts = (config.model, config.layer, config.aggregation, config.metric)
    return "/".join(part.name for part in parts)


def describe(config: Config, subject: Subject) -> dict[str, str]:
    """Tags to filter by."""
    paper = config.metric.criterion.presets.get("paper")
    # The sweep's report shows metrics as the run's figures do.
    styles = {name: [each.label, each.colour] for name, each in metric_set(config).items()}
    return {
        "model": config.model.name,
        "trained": str(config.model.trained).lower(),
        "layer": config.layer.name,
        "aggregation": config.aggregation.name,
        "metric": config.metric.name,
        "metrics.styles": json.dumps(styles, ensure_ascii=False),
        "target": config.target,
        **({} if paper is None else {"criterion.paper": str(paper)}),  # its number with the paper's
        "model.digest": subject.digest,
        "layer.read": subject.read,
    }


def sentence(config: Config) -> str:
    """What the run asks, in a sentence."""
    what = "units" if config.aggregation.name == "unit" else f"kernels ({config.aggregation.name})"
    return (
        f"Which {what} of {config.layer.name} in {config.model.name} are selective for "
        f"{config.target}, by {config.metric.name} ({criterion_text(config)})?"
    )


def tags_of_notes(notes: Sequence[str]) -> dict[str, str]:
    """`lesion: …` becomes the tag `lesion.note`; several of one step, one after another."""
    tags: dict[str, str] = {}
    for step, text in (note.split(": ", 1) for note in notes):
        name = f"{step}.note"
        tags[name] = f"{tags[name]}; {text}" if name in tags else text
    return tags
