"""One run, told top to bottom: stimuli, responses, scores, findings, record."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from omegaconf import OmegaConf

from app import memory, models, steps, threads
from app.config.schema import Config, Metric, metric_set, parameters
from app.figures import single as figures
from app.files import whole, writing
from app.findings import consistency, decoding, overlap
from app.findings.selection import select
from app.memo.store import Cache
from app.metrics import Scored
from app.models import Loaded
from app.steps import Lesioned, Localizer, Subject
from app.tracking import delivery
from app.tracking import store as tracking
from app.tracking.contents import (
    agreement,
    criterion_text,
    dataset_table,
    decoding_metrics,
    describe,
    lesion_metrics,
    lesion_table,
    overlap_metrics,
    run_name,
    score_table,
    selectivity,
    sentence,
    set_metrics,
    set_table,
    tags_of_notes,
    threshold_curve,
    unit_name,
)

SCATTER_POINTS = 2000  # of a pair of metrics


def run(
    config: Config,
    folder: Path,
    parent: str | None = None,
    layers: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Ask one layer of one network by one metric; record everything in `folder` and MLflow.

    The config has passed `app.config.schema.check`. `parent` is the MLflow run of the sweep that
    this run belongs to, `layers` are those that the sweep asks for: one forward pass reads the
    kernels of all; `tags` are further ones of the MLflow run. Returns the run's name, parameters,
    tags, metrics and notes (one line for each step that did not apply), and under `undelivered` why
    the tracking store lacks it (None: it does not).
    """
    memory.forget_peak()
    if parent is None:  # else the sweep has begun: its results stay here until the store is back
        tracking.prepare(config.tracking)
    cache = Cache(config.cache)
    loaded = functools.cache(functools.partial(load_network, config))
    config, subject = steps.subject(config, cache, loaded)
    steps.check_folders(config)
    steps.check_decoding(config, subject)
    metric, compared = config.metric.name, metric_set(config)
    params = parameters(config)
    name, described = run_name(config), describe(config, subject)
    with delivery.start(
        config.tracking,
        folder,
        name=name,
        params=params,
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
        threshold = threshold_curve(config.metric, scored[metric].scores)
        curves = {name: dict(enumerate(values)) for name, values in threshold.items()}

        # How far the metrics agree.
        score = {name: scored[name].scores.score for name in compared}
        found |= agreement(metric, score)
        shared = overlap.pairwise_top_k(score)
        found |= overlap_metrics(metric, selected, shared)

        # Whether the network needs what the metric ranks high.
        notes = [f"layer: read {subject.read}"] if config.layer.output else []
        lesioned: Lesioned | None = None
        if (reason := steps.why_no_lesion(config)) is None:
            lesioned = steps.lesioned(config, cache, network, score[metric], selected[metric])
            found |= lesion_metrics(score[metric], lesioned)
            without, by_percent = set_metrics(lesioned)
            found |= without
            curves |= by_percent
            notes += lesioned.notes
        else:
            notes.append(reason)

        # Whether what the metric selects carries identity.
        kernels = config.decoding.kernels or decoding.equal_count(
            {name: int(mask.sum()) for name, mask in selected.items()}
        )
        reason = steps.why_no_decoding(config, kernels)
        if reason is None and not len(top := decoding.top(score[metric], kernels)):
            reason = f"decoding: no kernel of {config.layer.name} has a score by {metric}"
        if reason is None:
            decoded = steps.decoded(config, cache, network, top, layers)
            found |= decoding_metrics(decoded)
            notes += decoded.notes
            if len(top) < kernels:
                notes.append(
                    f"decoding: only {len(top)} kernels of {config.layer.name} have a score by "
                    f"{metric}; decoded from these, not from {kernels}"
                )
            elif not selected[metric].any():
                notes.append(
                    f"decoding: {metric} selects no kernel; decoded from its "
                    f"{kernels} highest-ranked"
                )
        else:
            notes.append(reason)

        # Everything to disk; from there it goes to MLflow: a server that dies loses nothing.
        write(config, folder, score_table(config, subject.shape, score, selected), threshold, found)
        if lesioned is not None:
            write_lesions(folder, lesioned)
        if config.figures is not False:
            draw(
                config,
                cache,
                folder / "figures",
                subject,
                localizer,
                scored[metric],
                selected,
                lesioned,
                score,
                shared,
            )

        record.model(
            config.model.name,
            subject.digest,
            {name: value for name, value in params.items() if name.startswith("model")},
            {"trained": described["trained"]},
        )
        record.dataset(
            dataset_table(localizer),
            name=config.stimuli.name,
            source=localizer.images.source,
            digest=localizer.images.digest,
        )
        record.tags({**tags_of_notes(notes), "peak_memory_gb": f"{memory.peak() / memory.GB:.2f}"})
        record.metrics(found)
        record.curves(curves)
        record.artifacts(folder)
    return {
        "name": name,
        "params": params,
        "tags": described,
        "metrics": found,
        "notes": notes,
        "run_id": record.id,
        "undelivered": record.undelivered,
    }


def write(
    config: Config,
    folder: Path,
    scores: pd.DataFrame,
    threshold: Mapping[str, Any],
    found: Mapping[str, float],
) -> None:
    """The run's tables, config, versions and metrics as files."""
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        curve = pd.DataFrame(threshold).rename(columns=lambda name: name.partition("/")[2])
        for name, table in (("scores", scores), ("threshold", curve)):
            with whole(folder / f"{name}.parquet") as path:
                table.to_parquet(path, index=False)
        for name, text in (
            ("config.yaml", OmegaConf.to_yaml(config, resolve=True)),
            ("versions.json", json.dumps(tracking.versions(), indent=2)),
            ("metrics.json", json.dumps(found, indent=2)),
        ):
            with whole(folder / name) as path:
                path.write_text(text)


def write_lesions(folder: Path, lesioned: Lesioned) -> None:
    """What remains without each kernel, and without sets of them, as files."""
    with _writing(folder):
        with whole(folder / "lesion.parquet") as path:
            lesion_table(lesioned).to_parquet(path, index=False)
        if lesioned.sets:
            with whole(folder / "lesion_sets.parquet") as path:
                set_table(lesioned).to_parquet(path, index=False)


def _writing(folder: Path) -> AbstractContextManager[None]:
    return writing("write results to", folder, "another folder with hydra.run.dir=<folder>")


def load_network(config: Config) -> Loaded:
    """The network of the config as its layer is read, torch set up for it."""
    import torch

    torch.set_num_threads(config.threads or threads.available())
    # On a GPU float32 is float32, and sums have the same order each time.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
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
    selections: Mapping[str, NDArray[np.bool_]],
    lesioned: Lesioned | None,
    scores: Mapping[str, NDArray[np.float64]],
    shared: Mapping[tuple[str, str], NDArray[np.float64]],
) -> None:
    """The run's figures, PNG and SVG."""
    selected = selections[config.metric.name]
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
    if len(scores) > 1:
        rendered |= agreement_figures(config, cache, scores, selections, shared, title)
    if lesioned is not None:
        rendered |= lesion_figures(cache, lesioned, score, selected, metric, title)
    for name, files in rendered.items():
        figures.save(files, folder, name)


def agreement_figures(
    config: Config,
    cache: Cache,
    scores: Mapping[str, NDArray[np.float64]],
    selections: Mapping[str, NDArray[np.bool_]],
    shared: Mapping[tuple[str, str], NDArray[np.float64]],
    title: str,
) -> dict[str, dict[str, bytes]]:
    """How far all compared metrics agree: the same figures whichever of them the run is about."""
    compared = metric_set(config)
    labels = [settings.label for settings in compared.values()]
    colours = [settings.colour for settings in compared.values()]
    together = overlap.intersections(selections)
    points = overlap.thinned(np.any(list(selections.values()), axis=0), SCATTER_POINTS)
    depths = {pair: overlap.spaced(len(curve)) for pair, curve in shared.items()}
    return {
        "overlap": steps.figure(
            cache,
            figures.selection_overlap,
            labels=labels,
            colours=colours,
            sizes=np.array([mask.sum() for mask in selections.values()]),
            members=np.array([[name in names for name in compared] for names in together]),
            counts=np.array(list(together.values()), dtype=np.int64),
            jaccard=np.array(
                [[overlap.jaccard(a, b) for b in selections.values()] for a in selections.values()]
            ),
            title=title,
        ),
        "agreement": steps.figure(
            cache,
            figures.metric_agreement,
            labels=labels,
            colours=colours,
            scores=np.array([score[points] for score in scores.values()]),
            selected=np.array([mask[points] for mask in selections.values()]),
            marks=[
                mark(settings, scores[name], selections[name])
                for name, settings in compared.items()
            ],
            depths=[k.tolist() for k in depths.values()],
            shared=[shared[pair][k - 1].tolist() for pair, k in depths.items()],
            units=len(next(iter(scores.values()))),
            title=title,
        ),
    }


def mark(settings: Metric, score: NDArray[np.float64], selected: NDArray[np.bool_]) -> float | None:
    """The score from which on a metric selects: the criterion's own, or the smallest selected."""
    if settings.criterion.rule == "above":
        return settings.criterion.threshold
    return float(score[selected].min()) if selected.any() else None


def lesion_figures(
    cache: Cache,
    lesioned: Lesioned,
    score: NDArray[np.float64],
    selected: NDArray[np.bool_],
    metric: dict[str, str],
    title: str,
) -> dict[str, dict[str, bytes]]:
    """Each kernel's lesion against its score; of a greedy search, its place and its course; of
    sets, both tasks' accuracy against their size.

    Scores are set against the face task: where it has no images, only the course is left.
    `metric` has the `label` and the `colour` of the metric.
    """
    shown: dict[str, Any] = {"score": score, "selected": selected, **metric, "title": title}
    effects, searches = lesioned.effects, lesioned.searches
    rendered = {}
    if lesioned.sets:
        table = set_table(lesioned)
        rendered["dissociation"] = steps.figure(
            cache,
            figures.dissociation,
            kinds=table["set"].tolist(),
            percent=table["percent"].to_numpy(),
            top1={task: lesioned.without[f"{task}_top1"].tolist() for task in lesioned.tasks},
            **metric,
            title=title,
        )
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
