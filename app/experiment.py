"""One run, told top to bottom: stimuli, responses, scores, findings, record."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from omegaconf import OmegaConf

from app import models, steps
from app.config import Config, check, metric_set, parameters
from app.findings import consistency, decoding
from app.findings.selection import select
from app.record import figures, tracking
from app.record.cache import Cache
from app.steps import Localizer, Scored
from app.stimuli.images import domain_of

if TYPE_CHECKING:
    from app.models.vgg import DualTaskVGG


def run(config: Config, folder: Path, parent: str | None = None) -> dict[str, Any]:
    """Ask one layer of one network by one metric; record everything in `folder` and MLflow.

    `parent` is the MLflow run of the sweep that this run belongs to. Returns the run's
    parameters, metrics and notes (one line for each step that did not apply).
    """
    check(config)
    metric, compared = config.metric.name, metric_set(config)
    cache = Cache(config.cache)
    tracking.prepare(config.tracking)
    with tracking.start(
        config.tracking,
        name="/".join(
            (config.model.name, config.layer.name, config.aggregation.name, config.metric.name)
        ),
        params=parameters(config),
        tags=describe(config),
        description=sentence(config),
        parent=parent,
    ) as record:
        # What the network is shown, and how it responds.
        localizer = steps.localizer(config, cache)
        network = functools.cache(lambda: load_network(config))

        # Every metric scores every unit; each metric's criterion selects.
        scored = steps.scores(config, cache, network, localizer, compared)
        selected = {
            name: select(scored[name].scores, settings.criterion.rule, settings.criterion.threshold)
            for name, settings in compared.items()
        }
        found = selectivity(scored[metric].scores.score, selected[metric])

        # How far the metrics agree.
        score = {name: scored[name].scores.score for name in compared}
        found |= agreement(metric, score)

        # Whether the network needs what the metric ranks high.
        notes = []
        effects: Mapping[str, NDArray[np.float64]] | None = None
        if (reason := steps.why_no_lesion(config)) is None:
            effects = steps.lesion_effects(config, cache, network)
            found |= lesion_metrics(score[metric], effects)
        else:
            notes.append(reason)

        # Whether what the metric selects carries identity.
        kernels = config.decoding.kernels or decoding.equal_count(
            {name: int(mask.sum()) for name, mask in selected.items()}
        )
        reason = steps.why_no_decoding(config)
        if reason is None and kernels is None:
            reason = (
                "decoding: no metric selects a kernel here; set decoding.kernels to decode "
                "from that many of the highest-ranked"
            )
        if reason is None and kernels is not None:
            if not selected[metric].any():
                notes.append(
                    f"decoding: {metric} selects no kernel; decoded from its {kernels} "
                    "highest-ranked"
                )
            top = decoding.top(score[metric], kernels)
            found |= decoding_metrics(steps.decoded(config, cache, network, top))
        elif reason is not None:
            notes.append(reason)

        # Everything to disk first, then to MLflow: a server that dies loses nothing.
        folder.mkdir(parents=True, exist_ok=True)
        table = score_table(config, score, selected)
        table.to_parquet(folder / "scores.parquet", index=False)
        if effects is not None:
            lesion_table(effects).to_parquet(folder / "lesion.parquet", index=False)
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
        (folder / "versions.json").write_text(json.dumps(tracking.versions(), indent=2))
        (folder / "metrics.json").write_text(json.dumps(found, indent=2))
        if config.figures:
            draw(
                config,
                cache,
                folder / "figures",
                localizer,
                scored[metric],
                selected[metric],
                effects,
            )

        record.dataset(
            dataset_table(localizer),
            name=config.stimuli.name,
            source=localizer.images.source,
            digest=localizer.images.digest,
        )
        record.tags(tags_of_notes(notes))
        record.metrics(found)
        record.artifacts(folder)
        run_id = record.id
    return {"params": parameters(config), "metrics": found, "notes": notes, "run_id": run_id}


def load_network(config: Config) -> DualTaskVGG:
    """The network of the config, torch set up for it."""
    import torch

    torch.set_num_threads(config.threads or torch.get_num_threads())
    return models.load(config.model)


# -------------------------------------------------------------------- findings as named numbers


def selectivity(score: NDArray[np.float64], selected: NDArray[np.bool_]) -> dict[str, float]:
    """How many units the criterion selects; percent of all units, undefined ones included."""
    return {
        "selectivity/count": float(selected.sum()),
        "selectivity/percent": 100 * float(selected.mean()),
        "selectivity/units": float(len(score)),
        "selectivity/undefined": float(np.isnan(score).sum()),
    }


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


def lesion_metrics(
    score: NDArray[np.float64], effects: Mapping[str, NDArray[np.float64]]
) -> dict[str, float]:
    """Spearman of score with what remains of each task (-loss): negative = such kernels matter."""
    return {
        "lesion/spearman": consistency.spearman(score, -effects["face_loss"]),
        "lesion/spearman_object": consistency.spearman(score, -effects["object_loss"]),
        **{
            f"lesion/{name}": float(effects[name])
            for name in (
                "intact_face_loss",
                "intact_face_top1",
                "intact_object_loss",
                "intact_object_top1",
            )
        },
    }


def decoding_metrics(decoded: steps.Decoded) -> dict[str, float]:
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
    score: Mapping[str, NDArray[np.float64]],
    selected: Mapping[str, NDArray[np.bool_]],
) -> pd.DataFrame:
    """A row a unit: where it is, its scores, which metrics select it. A kernel has no position."""
    count = len(next(iter(score.values())))
    unit = np.arange(count)
    place: dict[str, Any]
    if config.aggregation.name == "unit":
        channels = config.model.widths[models.LAYERS.index(config.layer.name)]
        side = int(np.sqrt(count // channels))
        channel, row, column = np.unravel_index(unit, (channels, side, side))
        place = {"channel": channel, "row": row, "column": column}
    else:
        nowhere = pd.array([None] * count, dtype="Int64")
        place = {"channel": unit, "row": nowhere, "column": nowhere}
    return pd.DataFrame(
        {"unit": unit, **place, **score, **{f"selected_{n}": m for n, m in selected.items()}}
    )


def lesion_table(effects: Mapping[str, NDArray[np.float64]]) -> pd.DataFrame:
    """A row a kernel: what remains of both tasks without it; intact performance beside it."""
    kernels = len(effects["face_loss"])
    return pd.DataFrame(
        {
            "kernel": np.arange(kernels),
            **{
                name: values if values.ndim else np.full(kernels, float(values))
                for name, values in effects.items()
            },
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


def draw(
    config: Config,
    cache: Cache,
    folder: Path,
    localizer: Localizer,
    scored: Scored,
    selected: NDArray[np.bool_],
    effects: Mapping[str, NDArray[np.float64]] | None,
) -> None:
    """The run's figures, PNG and SVG."""
    metric, criterion = config.metric.name, config.metric.criterion
    score = scored.scores.score
    title = f"{config.model.name}, {config.layer.name}, {config.aggregation.name}"
    rendered = {
        "scores": steps.figure(
            cache,
            figures.score_histogram,
            score=score,
            selected=selected,
            metric=metric,
            criterion=criterion_text(config),
            threshold=criterion.threshold if criterion.rule == "above" else None,
            title=title,
        ),
        "responses": steps.figure(
            cache,
            figures.unit_responses,
            responses=scored.responses,
            categories=np.array(localizer.images.labels),
            domains=localizer.domains,
            order=np.arange(len(scored.extremes)),
            scores=score[scored.extremes],
            units=[unit_name(config, int(unit), len(score)) for unit in scored.extremes],
            target=config.target,
            title=title,
        ),
    }
    if effects is not None:
        rendered["lesion"] = steps.figure(
            cache,
            figures.lesion_scatter,
            score=score,
            face_loss=effects["face_loss"],
            intact_loss=float(effects["intact_face_loss"]),
            spearman=consistency.spearman(score, -effects["face_loss"]),
            metric=metric,
            selected=selected,
            title=title,
        )
    for name, files in rendered.items():
        figures.save(files, folder, name)


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


def unit_name(config: Config, unit: int, count: int) -> str:
    """`kernel 17`, or `unit 17 (channel, row, column)`."""
    if config.aggregation.name != "unit":
        return f"kernel {unit}"
    channels = config.model.widths[models.LAYERS.index(config.layer.name)]
    side = int(np.sqrt(count // channels))
    place = ", ".join(str(int(i)) for i in np.unravel_index(unit, (channels, side, side)))
    return f"unit {place}"


def describe(config: Config) -> dict[str, str]:
    """Tags to filter by."""
    return {
        "model": config.model.name,
        "trained": str(config.model.trained).lower(),
        "layer": config.layer.name,
        "aggregation": config.aggregation.name,
        "metric": config.metric.name,
        "target": config.target,
        "model.digest": models.weights_digest(config.model),
    }


def sentence(config: Config) -> str:
    """What the run asks, in a sentence."""
    what = "units" if config.aggregation.name == "unit" else f"kernels ({config.aggregation.name})"
    return (
        f"Which {what} of {config.layer.name} in {config.model.name} are selective for "
        f"{config.target}, by {config.metric.name} ({criterion_text(config)})?"
    )


def tags_of_notes(notes: Sequence[str]) -> dict[str, str]:
    """`lesion: …` becomes the tag `lesion.note`."""
    return {f"{step}.note": text for step, text in (note.split(": ", 1) for note in notes)}
