"""All that a run finds of a layer, step by step, from the responses to the localizer."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import joblib

from app.config.schema import metric_set
from app.findings import decoding, lesioned, multiverse, selection
from app.findings.consistency import measure_consistency, measure_overlap
from app.findings.findings import Findings
from app.findings.lesion_certainty import certify_lesions
from app.findings.lesion_task import open_site, select_layers, why_not_lesioned
from app.findings.multiverse import Multiverse
from app.findings.repetitions import certify_repetitions
from app.findings.resampled import Inquiry, certify_layer, make_plan
from app.metrics import note_signs
from app.metrics.layer_scoring import make_questions, note_levels, score_layer, score_others
from app.metrics.scoring import note_absent
from app.names import name_units
from app.responses.kernels import Reader
from app.responses.recording import Recorded
from app.stimuli.classes import make_classes, name_learned
from app.stimuli.identities import make_identities

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from app.config.schema import Config
    from app.findings.decoding import Decoded
    from app.memo import Memo
    from app.models.network import Subject
    from app.stimuli.images import Images
    from app.stimuli.localizer import Localizer


def find(
    config: Config, reader: Reader | Recorded, stimuli: Localizer, subject: Subject
) -> Findings:
    """Find what follows from the responses to the localizer."""
    own, layer, aggregation = config.metric.name, config.layer, config.aggregation.name
    model, memo, hardware = config.model, reader.memo, reader.hardware
    compared = metric_set(config)
    baselines = [name for name, each in compared.items() if each.baseline]

    # Every metric scores every unit; each metric's criterion selects.
    labels, domains, device = stimuli.images.labels, stimuli.domains, hardware.device.type
    questions = make_questions(compared, labels, domains, config.target, device)
    scored = score_layer(questions, reader, stimuli.images, aggregation)
    criteria = selection.make_criteria(compared)
    pooled = {name: questions[name] for name, each in criteria.items() if each.pool == "layers"}
    others = score_others(pooled, reader, stimuli.images, aggregation)
    criteria, values, selected = selection.select_units(
        criteria, {name: each.scores for name, each in scored.items()}, others, memo
    )
    scored = {name: each.leave_contrasts() for name, each in scored.items()}
    said = {name: each.scores for name, each in scored.items()}
    score = {name: each.score for name, each in said.items()}
    settings = config.metric.criterion
    curve = criteria[own].trace(values[own], settings.presets, settings.range)

    # How sure all that is.
    plan = make_plan(config.certainty, len(score[own]), aggregation)
    held = {name: each.hold(score[name], selected[name]) for name, each in criteria.items()}
    inquiry = Inquiry(questions, held, stimuli.compared, plan, config.seed, baselines)
    whole = certify_layer(inquiry, reader, stimuli.images, aggregation)
    sure, unsure = certify_repetitions(*whole, inquiry, reader, stimuli.images)

    # Whether the network needs what the metric ranks high.
    cut = config.lesion
    lesions = sure_lesions = None
    why_not = why_not_lesioned(cut, model, layer, aggregation, subject.leads_to)
    notes: list[str | None]
    notes = [*stimuli.images.notes, *note_levels(compared, domains, config.target),
             *note_signs(said, name_units(aggregation)), *selection.note_pools(others),
             note_absent(scored[own], name_units(aggregation)), *unsure, why_not]  # fmt: skip
    if why_not is None and isinstance(reader, Reader):
        shown, fitted = make_classes(cut, model, memo, config.megapixels)
        site = open_site(cut, layer.name, shown, fitted, reader, aggregation == "unit")
        asked_of = {own: questions[own]}, criteria[own], reader, stimuli.images, aggregation
        joint = select_layers(cut.together, *asked_of)
        lesions = lesioned.lesion(site, score[own], selected[own], cut, config.seed, joint)
        notes += [*shown.images.notes, *lesions.notes]
        if sure is not None:
            sure_lesions = certify_lesions(lesions, shown, sure[own], inquiry)
            notes += sure_lesions.notes

    # Whether what the metric selects carries identity.
    selective = {name: mask for name, mask in selected.items() if name not in baselines}
    decoded, told = decode(config, reader, stimuli, score, selective)
    notes += told
    selectivity = selection.measure_selectivity(score[own], selected[own])
    consistency, overlap = measure_consistency(score, baselines), measure_overlap(score, selected)
    return Findings(own, scored, criteria, selected, selectivity, curve, consistency, overlap,
                    sure, lesions, sure_lesions, *decoded, tuple(filter(None, notes)),
                    subject.depth)  # fmt: skip


def decode(
    config: Config,
    reader: Reader | Recorded,
    stimuli: Localizer,
    score: Mapping[str, NDArray[np.float64]],
    selected: Mapping[str, NDArray[np.bool_]],
) -> tuple[tuple[Decoded | None, Decoded | None], list[str]]:
    """Decode identity from what each metric selects, and from a fixed number of kernels.

    None where it is not; and what is to tell. `score` and `selected` are each metric's, (kernels,).
    """
    own, layer, asked = config.metric.name, config.layer.name, config.decoding
    why_not = decoding.why_not_decoded(asked, layer, config.aggregation.name, stimuli.people)
    if why_not is not None:
        return (None, None), [why_not]
    tops, told = decoding.choose_kernels(own, score, selected, layer, asked.kernels)
    fixed: Mapping[str, NDArray[np.int64]] = {}
    if asked.fixed is not None:
        fixed, more = decoding.choose_kernels(own, score, selected, layer, asked.fixed)
        told = [*dict.fromkeys([*told, *more])]
    if not tops and not fixed:
        return (None, None), told
    people = choose_people(config, stimuli, reader.memo)
    features, labels = reader.read(people)["l2"], people.labels
    how = partial(decoding.decode_identity, settings=asked, seed=config.seed, memo=reader.memo)
    with joblib.parallel_config("threading", n_jobs=reader.hardware.threads):
        few, many = (how(features, labels, each) if each else None for each in (tops, fixed))
    return (few, many), [*people.notes, *decoding.note_identities(labels), *told]


def choose_people(config: Config, stimuli: Localizer, memo: Memo) -> Images:
    """Choose whose identity is decoded: those of a recording, or faces that are drawn or read."""
    if stimuli.people is not None:
        return stimuli.people
    learned = name_learned(config.lesion)
    return make_identities(config.identities, memo, config.megapixels, learned)


def explore(
    config: Config, reader: Reader | Recorded, stimuli: Localizer, found: Findings
) -> Multiverse:
    """Find what comes of every other way to ask the same of the kernels."""
    compared, memo, remains, decode = metric_set(config), reader.memo, None, None
    if found.lesioned is not None and "face" in found.lesioned.tasks:
        remains = found.lesioned.remains("face")
    if found.decoded is not None:
        people = choose_people(config, stimuli, memo)
        shown = reader.read(people)["l2"], people.labels
        decode = partial(decoding.decode_set, *shown, config.decoding, memo)
    shuffles = config.certainty.shuffles or multiverse.SHUFFLES
    ways = multiverse.explore(compared, reader, stimuli, config.target, config.seed, shuffles)
    return multiverse.weigh(ways, remains, decode)
