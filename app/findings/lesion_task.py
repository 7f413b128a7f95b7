"""Which tasks lesions are judged by: the network's own outputs, or a readout of its features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.choices import RECORDED
from app.errors import InputError
from app.findings import selection
from app.findings.lesion import LesionSite
from app.findings.readout import fit_readout
from app.metrics.layer_scoring import score_layer

if TYPE_CHECKING:
    from app.config.schema import Layer, Lesion, Model
    from app.findings.selection import Criterion
    from app.metrics.scores import Question
    from app.models.network import Network
    from app.responses.kernels import Reader
    from app.stimuli.classes import OwnClasses
    from app.stimuli.images import Images


def why_not_lesioned(
    settings: Lesion, model: Model, layer: Layer, aggregation: str, leads_to: Sequence[str]
) -> str | None:
    """One line where lesioning does not apply to a run with these settings, else None.

    `leads_to` is that of `app.models.network.Subject`.
    """
    if settings.name == "none":
        return "lesion: switched off (lesion=none)"
    if model.source == RECORDED:
        return "lesion: responses from a file have no network to lesion"
    if aggregation == "unit" and settings.name != "attribution":
        return (
            "lesion: single units are not lesioned; take aggregation=mean, l2 or max, or "
            "lesion=attribution"
        )
    if settings.layers is not None and layer.name not in settings.layers:
        return f"lesion: {layer.name} is not one of lesion.layers={settings.layers}"
    if not leads_to:
        return f"lesion: nothing that {model.name} puts out is known to rest on {layer.name}"
    if settings.task == "readout" and settings.readout.layer is None and "features" not in leads_to:
        return (
            f"lesion: the readout takes what the head of {model.name} takes, which does not rest "
            f"on {layer.name}"
        )
    roots = settings.faces.root or settings.objects.root
    if settings.task == "own" and model.classes != "synthetic" and not roots:
        return (
            f"lesion: no held-out images of the classes of {model.name} are at hand; "
            "lesion.faces.root and lesion.objects.root name folders of them, and "
            "lesion.task=readout needs none"
        )
    return None


def select_layers(
    layers: Sequence[str],
    question: Mapping[str, Question],
    criterion: Criterion,
    reader: Reader,
    images: Images,
    aggregation: str,
) -> dict[str, NDArray[np.bool_]]:
    """What a metric's criterion selects (kernels,) in each of some layers; nothing of units.

    `question` is the one to the metric, by its name.
    """
    found = {}
    for layer in layers if aggregation != "unit" else ():
        own = replace(reader, layer=layer, others=tuple(layers))
        (scored,) = score_layer(question, own, images, aggregation).values()
        values = reader.memo(selection.measure, scored.scores, criterion.rule)
        found[layer] = criterion.select(values)
    return found


def check_together(layers: Sequence[str], network: Network) -> None:
    """Refuse names of layers that the network does not have."""
    for layer in layers:
        try:
            network.place(layer)
        except InputError as error:
            raise InputError(f"lesion.together: {error}") from None


def open_site(
    settings: Lesion,
    layer: str,
    shown: OwnClasses,
    fitted: OwnClasses | None,
    reader: Reader,
    units: bool = False,
) -> LesionSite:
    """The layer, or its `units`, with images that say what remains, and what names their classes.

    That is a readout fitted on other images, where there are any, else the network's own outputs.
    """
    network, memo, readout = reader.network, reader.memo, None
    hardware = replace(reader.hardware, precision="float32")
    if fitted is not None:
        readout = memo(fit_readout, network, settings.readout, fitted, hardware)
    how = settings.replacement, settings.seed, readout, fitted, units
    return LesionSite(network, layer, shown, hardware, memo, *how)
