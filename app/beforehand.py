"""What a run would stumble over late, refused before anything is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.errors import InputError
from app.findings.lesioned import why_not_lesioned
from app.stimuli.classes import check_classes, name_tasks
from app.stimuli.identities import check_identities

if TYPE_CHECKING:
    from app.config.schema import Config


def check_inputs(config: Config, kernels: int) -> None:
    """Refuse folders that a later step could not use, and more kernels than there are.

    Parameters
    ----------
    config
        With nothing left open.
    kernels
        How many the layer has.

    Raises
    ------
    InputError
        As that step's; images are not opened.
    """
    layer, aggregation, asked = config.layer, config.aggregation.name, config.decoding
    decodes = asked.name != "none" and aggregation != "unit"
    if decodes and (asked.layers is None or layer.name in asked.layers):
        check_identities(config.identities)
        if asked.kernels is not None and asked.kernels > kernels:
            raise InputError(
                f"decoding.kernels={asked.kernels}, but {layer.name} of {config.model.name} has "
                f"{kernels} kernels: ask for so many at most, or leave it out"
            )
    if why_not_lesioned(config.lesion, config.model, layer, aggregation) is None:
        outputs = config.model.outputs or 0
        tasks = name_tasks(config.lesion, config.model.face_classes, outputs)
        check_classes(tasks)
