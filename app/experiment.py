"""One run, told top to bottom: stimuli, responses, scores, findings, record."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from app import memory, models, steps
from app.config import Config, check, metric_set, parameters
from app.findings import consistency, decoding
from app.findings.selection import select
from app.metrics import Scored
from app.models import Loaded
from app.record import figures, tracking
from app.record.cache import Cache
from app.record.contents import (
    agreement,
    criterion_text,
    dataset_table,
    decoding_metrics,
    describe,
    lesion_metrics,
    lesion_table,
    run_name,
    score_table,
    selectivity,
    sentence,
    tags_of_notes,
    unit_name,
)
from app.steps import Lesioned, Localizer, Subject


def run(
    config: Config,
    folder: Path,
    parent: str | None = None,
    layers: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Ask one layer of one network by one metric; record everything in `folder` and MLflow.

    `parent` is the MLflow run of the sweep that this run belongs to, `layers` are those that the
    sweep asks for: one forward pass reads the kernels of all; `tags` are further ones of the MLflow
    run. Returns the run's name, parameters, tags, metrics and notes (one line for each step that
    did not apply).
    """
    check(config)
    memory.forget_peak()
    cache = Cache(config.cache)
    loaded = functools.cache(functools.partial(load_network, config))
    config, subject = steps.subject(config, cache, loaded)
    metric, compared = config.metric.name, metric_set(config)
    name, described = run_name(config), describe(config, subject)
    tracking.prepare(config.tracking)
    with tracking.start(
        config.tracking,
        name=name,
        params=parameters(config),
        tags={**described, **(tags or {})},
        description=sentence(config),
        parent=parent,
    ) as record:
        # What the network is shown, and how it responds.
        localizer = steps.localizer(config, cache)

        def network() -> Any:
            return loaded().network

        # Every metric scores every unit; each metric's criterion selects.
        scored = steps.scores(config, cache, network, localizer, compared, layers)
        selected = {
            name: select(scored[name].scores, settings.criterion.rule, settings.criterion.threshold)
            for name, settings in compared.items()
        }
        found = selectivity(scored[metric].scores.score, selected[metric])

        # How far the metrics agree.
        score = {name: scored[name].scores.score for name in compared}
        found |= agreement(metric, score)

        # Whether the network needs what the metric ranks high.
        notes = [f"layer: read {subject.read}"] if config.layer.output else []
        lesioned: Lesioned | None = None
        if (reason := steps.why_no_lesion(config)) is None:
            lesioned = steps.lesioned(config, cache, network)
            found |= lesion_metrics(score[metric], lesioned)
            notes += lesioned.notes
        else:
            notes.append(reason)

        # Whether what the metric selects carries identity.
        kernels = config.decoding.kernels or decoding.equal_count(
            {name: int(mask.sum()) for name, mask in selected.items()}
        )
        if (reason := steps.why_no_decoding(config, kernels)) is None:
            top = decoding.top(score[metric], kernels)
            decoded = steps.decoded(config, cache, network, top, layers)
            found |= decoding_metrics(decoded)
            notes += decoded.notes
            if not selected[metric].any():
                notes.append(
                    f"decoding: {metric} selects no kernel; decoded from its "
                    f"{kernels} highest-ranked"
                )
        else:
            notes.append(reason)

        # Everything to disk first, then to MLflow: a server that dies loses nothing.
        folder.mkdir(parents=True, exist_ok=True)
        table = score_table(config, subject.shape, score, selected)
        table.to_parquet(folder / "scores.parquet", index=False)
        if lesioned is not None:
            lesion_table(lesioned).to_parquet(folder / "lesion.parquet", index=False)
        (folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True))
        (folder / "versions.json").write_text(json.dumps(tracking.versions(), indent=2))
        (folder / "metrics.json").write_text(json.dumps(found, indent=2))
        if config.figures:
            draw(
                config,
                cache,
                folder / "figures",
                subject,
                localizer,
                scored[metric],
                selected[metric],
                lesioned,
            )

        record.dataset(
            dataset_table(localizer),
            name=config.stimuli.name,
            source=localizer.images.source,
            digest=localizer.images.digest,
        )
        record.tags({**tags_of_notes(notes), "peak_memory_gb": f"{memory.peak() / memory.GB:.2f}"})
        record.metrics(found)
        record.artifacts(folder)
        run_id = record.id
    return {
        "name": name,
        "params": parameters(config),
        "tags": described,
        "metrics": found,
        "notes": notes,
        "run_id": run_id,
    }


def load_network(config: Config) -> Loaded:
    """The network of the config as its layer is read, torch set up for it."""
    import torch

    torch.set_num_threads(config.threads or torch.get_num_threads())
    loaded = models.load(config.model)
    if config.layer.output is not None:
        return models.by_modules(loaded, config.layer.output)
    if config.aggregation.name == "unit":  # no step of such a run needs what fills most memory
        loaded.network.classifier = torch.nn.Sequential()
    return loaded


def draw(
    config: Config,
    cache: Cache,
    folder: Path,
    subject: Subject,
    localizer: Localizer,
    scored: Scored,
    selected: NDArray[np.bool_],
    lesioned: Lesioned | None,
) -> None:
    """The run's figures, PNG and SVG."""
    criterion = config.metric.criterion
    metric = {"label": config.metric.label, "colour": config.metric.colour}
    score = scored.scores.score
    title = f"{config.model.name}, {config.layer.name}, {config.aggregation.name}"
    rendered = {
        "scores": steps.figure(
            cache,
            figures.score_histogram,
            score=score,
            selected=selected,
            **metric,
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
            units=[unit_name(config, subject.shape, int(unit)) for unit in scored.extremes],
            target=config.target,
            title=title,
        ),
    }
    if lesioned is not None:
        rendered |= lesion_figures(cache, lesioned, score, selected, metric, title)
    for name, files in rendered.items():
        figures.save(files, folder, name)


def lesion_figures(
    cache: Cache,
    lesioned: Lesioned,
    score: NDArray[np.float64],
    selected: NDArray[np.bool_],
    metric: dict[str, str],
    title: str,
) -> dict[str, dict[str, bytes]]:
    """Each kernel's lesion against its score; of a greedy search, its place and its course.

    Scores are set against the face task: where it has no images, only the course is left.
    `metric` has the `label` and the `colour` of the metric.
    """
    shown: dict[str, Any] = {"score": score, "selected": selected, **metric, "title": title}
    effects, searches = lesioned.effects, lesioned.searches
    rendered = {}
    if searches:
        rendered["lesion"] = steps.figure(
            cache,
            figures.greedy_curves,
            **{f"{task}_search": search.curve for task, search in searches.items()},
            title=title,
        )
        if "face" in searches:
            face = searches["face"]
            rendered["lesion_place"] = steps.figure(
                cache,
                figures.place_scatter,
                place=face.place,
                dropped=int(face.dropped[-1]),
                spearman=consistency.spearman(score, face.place),
                **shown,
            )
    elif "face" in lesioned.tasks:
        rendered["lesion"] = steps.figure(
            cache,
            figures.lesion_scatter,
            face_loss=effects["face_loss"],
            intact_loss=float(effects["intact_face_loss"]),
            spearman=consistency.spearman(score, -effects["face_loss"]),
            **shown,
        )
    return rendered
