"""One run, told top to bottom: stimuli, responses, scores, findings, record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from app import machine
from app.choices import RECORDED
from app.config.checks import check_model
from app.config.parameters import name_run, parameters
from app.config.schema import Aggregation, Config, Layer, Model
from app.figures.run import draw_run
from app.find import explore, find
from app.findings import decoding
from app.findings.lesion_task import check_together, why_not_lesioned
from app.memo import Memo
from app.models.network import Network, Subject, find_layer, open_network
from app.responses.hardware import Hardware
from app.responses.kernels import Reader
from app.responses.recording import Recorded, open_recording
from app.stimuli.classes import check_classes, choose_task, name_learned
from app.stimuli.identities import check_identities
from app.stimuli.localizer import Localizer, make_localizer
from app.stimuli.presented import describe_presentations, make_presented, read_table
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
    beside: Sequence[str] = ()  # files in its folder that belong to it, too, where they are there


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
    presented: Localizer | None = None
    reader: Reader | Recorded
    if config.responses.name == "file":
        config, reader, presented, subject = open_file(config, hardware, memo)
    else:
        layer, others = find_layers(config, job.layers, memo)
        config = replace(config, layer=layer)
        network, subject = open_network(config.model, layer, memo)
        task = choose_task(config.lesion, network.settings)  # what was left open is known now
        config = replace(config, model=network.settings, lesion=replace(config.lesion, task=task))
        check_model(config.model)
        check_inputs(config, subject, network)
        reader = Reader(network, layer.name, hardware, memo, others)
    params = parameters(config)
    tags = {**make_tags(config, subject), **job.tags}
    description = Description(name_run(params, job.swept), params, tags, ask(config), job.parent)
    with start(store, folder, description) as record:
        stimuli = presented or make_localizer(config.stimuli, memo, config.megapixels)
        found = find(config, reader, stimuli, subject)
        if config.multiverse:
            found = replace(found, multiverse=explore(config, reader, stimuli, found))
        # Everything to disk; from there it goes to MLflow: a server that dies loses nothing.
        files = write_run(folder, config, found, subject.shape)
        if job.figures:
            files += draw_run(folder, config, found, stimuli, subject.shape, memo)
        found = replace(found, notes=tuple(filter(None, (*subject.notes, *found.notes, memo.note))))
        record_run(record, config, subject, stimuli, found)
        record.add_artifacts(folder, [*files, *job.beside])
    return Result("finished", description.name, params, description.tags, found.metrics(),
                  found.notes, record.run_id, record.undelivered, folder=str(folder),
                  files=files)  # fmt: skip


def find_layers(config: Config, others: Sequence[str], memo: Memo) -> tuple[Layer, tuple[str, ...]]:
    """Find the layer, and the names of all that the sweep asks for which give the like."""
    layer = find_layer(config.model, config.layer, memo)
    if layer.depth is None:
        return layer, tuple(others)
    asked = [replace(layer, depth=float(depth)) for depth in others]
    found = [find_layer(config.model, each, memo) for each in asked]
    return layer, tuple(each.name for each in found if each.output == layer.output)


def open_file(
    config: Config, hardware: Hardware, memo: Memo
) -> tuple[Config, Recorded, Localizer, Subject]:
    """Open a recording in the network's place, which is named after the file and its data set."""
    asked = config.responses
    recording, notes = open_recording(asked, config.memory_gb)
    model = Model(recording.path.stem, RECORDED)
    aggregation = config.aggregation
    if recording.shape[1:] == (1, 1):  # which are not kernels: a map of one is no map
        aggregation = Aggregation("unit")
    config = replace(config, model=model, layer=Layer(recording.name), aggregation=aggregation)
    recording = replace(recording, aggregation=aggregation.name)
    table = read_table(Path(asked.stimuli).expanduser()) if asked.stimuli else None
    own = recording.list_presentations()
    told = describe_presentations(table, own, recording.presentations, recording.path)
    presented = make_presented(told, config.stimuli, str(asked.stimuli or recording.path))
    said = (
        f"responses: of {recording.name} in {recording.path}: settings of model, layer, identities "
        "and lesion, and of how a network runs, do not apply; what has no maps is scored as single "
        "units"
    )
    subject = Subject(recording.shape, None, recording.what, recording.digest, (), {},
                      (said, *notes))  # fmt: skip
    return config, Recorded(recording, hardware, memo), presented, subject


def check_inputs(config: Config, subject: Subject, network: Network) -> None:
    """Refuse what a later step would stumble over; images are not decoded."""
    model, layer, aggregation = config.model, config.layer, config.aggregation.name
    if decoding.why_not_decoded(config.decoding, layer.name, aggregation) is None:
        check_identities(config.identities, name_learned(config.lesion))
        where = f"{layer.name} of {model.name}"
        decoding.check_kernels(config.decoding, subject.shape[0], where)
    if why_not_lesioned(config.lesion, model, layer, aggregation, subject.leads_to) is None:
        check_classes(config.lesion, model)
        check_together(config.lesion.together, network)
