"""One run, told top to bottom: stimuli, responses, scores, findings, record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import joblib

from app import machine
from app.beforehand import check_inputs
from app.config.checks import check_model
from app.config.parameters import parameters
from app.config.schema import Config, metric_set
from app.figures.run import draw_run
from app.findings import selection
from app.findings.consistency import measure_consistency
from app.findings.decoding import choose_kernels, decode_identity, why_not_decoded
from app.findings.findings import Findings
from app.findings.lesion import LesionSite
from app.findings.lesioned import lesion, why_not_lesioned
from app.findings.overlap import measure_overlap
from app.memo import Memo
from app.metrics.layer_scoring import score_layer
from app.metrics.questions import make_questions
from app.models.network import open_network
from app.responses.hardware import Hardware
from app.responses.reader import Reader
from app.stimuli.classes import make_own_classes
from app.stimuli.identities import make_identities
from app.stimuli.localizer import Localizer, make_localizer
from app.sweeps.results import Result
from app.tracking.outputs import describe_run, record_run, write_run
from app.tracking.run import start
from app.tracking.store import connect


@dataclass(frozen=True)
class Job:
    """What a run knows of the sweep that it belongs to."""

    parent: str | None = None  # MLflow's id of the sweep's run
    layers: tuple[str, ...] = ()  # that the sweep asks for: one pass reads the kernels of all
    tags: Mapping[str, str] = field(default_factory=dict)  # further ones of the run
    figures: bool = True


def run(config: Config, folder: Path, job: Job | None = None) -> Result:
    """Ask one layer of one network by one metric; record everything in `folder` and MLflow.

    Parameters
    ----------
    config
        Has passed `app.config.checks.checked`.
    folder
        Of what the run leaves.
    job
        Which of a sweep's it is; None: it stands by itself.

    Raises
    ------
    InputError
        For what cannot be asked, read or written.
    """
    machine.forget_peak()
    job, store, memo = job or Job(), connect(config.tracking), Memo(config.cache)
    if job.parent is None:  # else the sweep has begun: what is found waits here for the store
        store.prepare()
    hardware = Hardware.choose(config, memo.folder)
    hardware.prepare()
    whole = config.aggregation.name != "unit"  # whether anything needs the network's last layers
    network, subject = open_network(config.model, config.layer, memo, classifier=whole)
    config = replace(config, model=network.settings)  # what it left open is known now
    check_model(config.model)
    check_inputs(config, subject.shape[0])
    reader = Reader(network, config.layer.name, hardware, memo, job.layers)
    params = parameters(config)
    description = describe_run(config, params, subject, job.parent, job.tags)
    with start(store, folder, description) as record:
        stimuli = make_localizer(config.stimuli, memo)
        found = find(config, reader, stimuli)
        if config.layer.output:
            found = replace(found, notes=(f"layer: read {subject.read}", *found.notes))
        # Everything to disk; from there it goes to MLflow: a server that dies loses nothing.
        write_run(folder, config, found, subject.shape)
        if job.figures:
            draw_run(folder / "figures", config, found, stimuli, subject.shape, memo)
        record_run(record, config, subject, stimuli, found)
    return Result(
        "finished",
        description.name,
        params,
        description.tags,
        found.metrics(),
        found.notes,
        record.run_id,
        record.undelivered,
        folder=str(folder),
    )


def find(config: Config, reader: Reader, stimuli: Localizer) -> Findings:
    """Find what follows from the responses to the localizer."""
    own, layer, aggregation = config.metric.name, config.layer, config.aggregation.name
    model, memo, network, hardware = config.model, reader.memo, reader.network, reader.hardware
    compared = metric_set(config)

    # Every metric scores every unit; each metric's criterion selects.
    labels, domains, device = stimuli.images.labels, stimuli.domains, hardware.device.type
    questions = make_questions(compared, labels, domains, config.target, device)
    scored = score_layer(questions, reader, stimuli.images, aggregation)
    score = {name: each.scores.score for name, each in scored.items()}
    criteria = selection.make_criteria(compared)
    values = {name: memo(selection.measure, scored[name].scores, each.rule)
              for name, each in criteria.items()}  # fmt: skip
    selected = {name: each.select(values[name]) for name, each in criteria.items()}
    settings = config.metric.criterion
    low, high = settings.range
    curve = criteria[own].trace(values[own], settings.presets, (low, high))

    # Whether the network needs what the metric ranks high.
    lesions, left_out = None, why_not_lesioned(config.lesion, model, layer, aggregation)
    if left_out is None:
        classes = make_own_classes(config.lesion, model.face_classes, model.outputs or 0, memo)
        site = LesionSite(network, layer.name, classes, hardware)
        lesions = lesion(site, score[own], selected[own], config.lesion, config.seed, memo)

    # Whether what the metric selects carries identity.
    asked = config.decoding
    choice = choose_kernels(own, score[own], selected, layer.name, asked.kernels)
    decoded, skipped = None, why_not_decoded(asked, layer.name, aggregation, own, choice)
    if skipped is None:
        people = make_identities(config.identities, memo)
        features = reader.read(people)["l2"]
        with joblib.parallel_config("threading", n_jobs=hardware.threads):
            decoded = decode_identity(features, people.labels, choice, asked, config.seed, memo)
    notes = [*([left_out] if lesions is None else lesions.notes),
             *([skipped] if decoded is None else decoded.notes)]  # fmt: skip
    selectivity = selection.measure_selectivity(score[own], selected[own])
    consistency, overlap = measure_consistency(score), measure_overlap(score, selected)
    return Findings(own, scored, criteria, selected, selectivity, curve, consistency, overlap,
                    lesions, decoded, tuple(filter(None, notes)))  # fmt: skip
