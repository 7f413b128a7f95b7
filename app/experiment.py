"""One run, told top to bottom: stimuli, responses, scores, findings, record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import joblib

from app import machine
from app.config.checks import check_model
from app.config.parameters import name_run, parameters
from app.config.schema import Config, metric_set
from app.figures.run import draw_run
from app.findings import decoding, lesioned, multiverse, selection
from app.findings.consistency import measure_consistency, measure_overlap
from app.findings.findings import Findings
from app.findings.lesion_certainty import certify_lesions
from app.findings.lesion_task import check_together, open_site, select_layers, why_not_lesioned
from app.findings.resampled import Inquiry, certify_layer, make_plan
from app.memo import Memo
from app.metrics import note_signs
from app.metrics.layer_scoring import make_questions, note_levels, score_layer, score_others
from app.models.network import Network, Subject, open_network
from app.names import name_units
from app.responses.hardware import Hardware
from app.responses.kernels import Reader
from app.stimuli.classes import check_classes, choose_task, make_classes
from app.stimuli.identities import check_identities, make_identities
from app.stimuli.localizer import Localizer, make_localizer
from app.sweeps.parent import settle_dead
from app.sweeps.results import Result
from app.tracking.outputs import ask, make_tags, record_run, write_run
from app.tracking.record import Description
from app.tracking.run import start
from app.tracking.store import connect


@dataclass(frozen=True)
class Job:
    """What a run knows of the sweep that it belongs to."""

    parent: str | None = None  # MLflow's id of the sweep's run
    layers: tuple[str, ...] = ()  # that the sweep asks for: one pass reads the kernels of all
    tags: Mapping[str, str] = field(default_factory=dict)  # further ones of the run
    figures: bool = True
    swept: Mapping[str, str] = field(default_factory=dict)  # its share of what is varied


def run(config: Config, folder: Path, job: Job | None = None) -> Result:
    """Ask one layer of one network by one metric; record everything in `folder` and MLflow.

    The config has passed `app.config.checks.checked`. InputError for what cannot be asked, read or
    written.
    """
    machine.forget_peak()
    job, store, memo = job or Job(), connect(config.tracking), Memo(config.cache, Config.cache)
    if job.parent is None:  # else the sweep has begun: what is found waits here for the store
        store.prepare()
        settle_dead(store)
    hardware = Hardware.choose(config)
    hardware.prepare()
    network, subject = open_network(config.model, config.layer, memo)
    task = choose_task(config.lesion, network.settings)  # what was left open is known now
    config = replace(config, model=network.settings, lesion=replace(config.lesion, task=task))
    check_model(config.model)
    check_inputs(config, subject, network)
    reader = Reader(network, config.layer.name, hardware, memo, job.layers)
    params = parameters(config)
    tags = {**make_tags(config, subject), **job.tags}
    description = Description(name_run(params, job.swept), params, tags, ask(config), job.parent)
    with start(store, folder, description) as record:
        stimuli = make_localizer(config.stimuli, memo, config.megapixels)
        found = replace(find(config, reader, stimuli, subject), depth=subject.depth)
        if config.multiverse:
            found = replace(found, multiverse=explore(config, reader, stimuli, found))
        # Everything to disk; from there it goes to MLflow: a server that dies loses nothing.
        write_run(folder, config, found, subject.shape)
        if job.figures:
            draw_run(folder / "figures", config, found, stimuli, subject.shape, memo)
        found = replace(found, notes=tuple(filter(None, (*subject.notes, *found.notes, memo.note))))
        record_run(record, config, subject, stimuli, found)
    return Result("finished", description.name, params, description.tags, found.metrics(),
                  found.notes, record.run_id, record.undelivered, folder=str(folder))  # fmt: skip


def check_inputs(config: Config, subject: Subject, network: Network) -> None:
    """Refuse what a later step would stumble over; images are not decoded."""
    model, layer, aggregation = config.model, config.layer, config.aggregation.name
    if decoding.why_not_decoded(config.decoding, layer.name, aggregation) is None:
        check_identities(config.identities)
        where = f"{layer.name} of {model.name}"
        decoding.check_kernels(config.decoding, subject.shape[0], where)
    if why_not_lesioned(config.lesion, model, layer, aggregation, subject.leads_to) is None:
        check_classes(config.lesion, model)
        check_together(config.lesion.together, network)


def find(config: Config, reader: Reader, stimuli: Localizer, subject: Subject) -> Findings:
    """Find what follows from the responses to the localizer."""
    own, layer, aggregation = config.metric.name, config.layer, config.aggregation.name
    model, memo, hardware = config.model, reader.memo, reader.hardware
    compared = metric_set(config)
    baselines = [name for name, each in compared.items() if each.baseline]

    # Every metric scores every unit; each metric's criterion selects.
    labels, domains, device = stimuli.images.labels, stimuli.domains, hardware.device.type
    questions = make_questions(compared, labels, domains, config.target, device)
    scored = score_layer(questions, reader, stimuli.images, aggregation)
    said = {name: each.scores for name, each in scored.items()}
    score = {name: each.score for name, each in said.items()}
    criteria = selection.make_criteria(compared)
    pooled = {name: questions[name] for name, each in criteria.items() if each.pool == "layers"}
    others = score_others(pooled, reader, stimuli.images, aggregation)
    criteria, values, selected = selection.select_units(criteria, said, others, memo)
    settings = config.metric.criterion
    curve = criteria[own].trace(values[own], settings.presets, settings.range)

    # How sure all that is.
    plan = make_plan(config.certainty, len(score[own]), aggregation)
    held = {name: each.hold(score[name], selected[name]) for name, each in criteria.items()}
    inquiry = Inquiry(questions, held, stimuli.compared, plan, config.seed, baselines)
    sure, unsure = certify_layer(inquiry, reader, stimuli.images, aggregation)

    # Whether the network needs what the metric ranks high.
    cut = config.lesion
    lesions = sure_lesions = None
    why_not = why_not_lesioned(cut, model, layer, aggregation, subject.leads_to)
    notes = [*stimuli.images.notes, *note_levels(compared, domains, config.target),
             *note_signs(said, name_units(aggregation)), *selection.note_pools(others),
             *unsure, why_not]  # fmt: skip
    if why_not is None:
        shown, fitted = make_classes(cut, model, memo, config.megapixels)
        single = aggregation == "unit"
        site = open_site(cut, layer.name, shown, fitted, reader, single)
        asked_of, rule = {own: questions[own]}, criteria[own]
        joint = select_layers(cut.together, asked_of, rule, reader, stimuli.images, aggregation)
        lesions = lesioned.lesion(site, score[own], selected[own], cut, config.seed, joint)
        notes += [*shown.images.notes, *lesions.notes]
        if sure is not None:
            sure_lesions = certify_lesions(lesions, shown, sure[own], inquiry)
            notes += sure_lesions.notes

    # Whether what the metric selects carries identity.
    asked = config.decoding
    decoded, why_not = None, decoding.why_not_decoded(asked, layer.name, aggregation)
    notes.append(why_not)
    if why_not is None:
        selective = {name: mask for name, mask in selected.items() if name not in baselines}
        tops, told = decoding.choose_kernels(own, score, selective, layer.name, asked.kernels)
        if tops:
            people = make_identities(config.identities, memo, config.megapixels)
            features, labels = reader.read(people)["l2"], people.labels
            with joblib.parallel_config("threading", n_jobs=hardware.threads):
                decoded = decoding.decode_identity(features, labels, tops, asked, config.seed, memo)
            notes += [*people.notes, *decoding.note_identities(labels)]
        notes += told
    selectivity = selection.measure_selectivity(score[own], selected[own])
    consistency, overlap = measure_consistency(score, baselines), measure_overlap(score, selected)
    return Findings(own, scored, criteria, selected, selectivity, curve, consistency, overlap,
                    sure, lesions, sure_lesions, decoded, tuple(filter(None, notes)))  # fmt: skip


def explore(
    config: Config, reader: Reader, stimuli: Localizer, found: Findings
) -> multiverse.Multiverse:
    """Find what comes of every other way to ask the same of the kernels."""
    compared, memo, remains, decode = metric_set(config), reader.memo, None, None
    if found.lesioned is not None and "face" in found.lesioned.tasks:
        remains = found.lesioned.remains("face")
    if found.decoded is not None:
        people = make_identities(config.identities, memo, config.megapixels)
        shown = reader.read(people)["l2"], people.labels
        decode = partial(decoding.decode_set, *shown, config.decoding, memo)
    shuffles = config.certainty.shuffles or multiverse.SHUFFLES
    ways = multiverse.explore(compared, reader, stimuli, config.target, config.seed, shuffles)
    return multiverse.weigh(ways, remains, decode)
