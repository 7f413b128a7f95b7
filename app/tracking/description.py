"""How a run is called, described and found again: its name, its sentence, its tags."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from app.findings.selection import Criterion
from app.tracking.record import Description

if TYPE_CHECKING:
    from app.config.schema import Config
    from app.models.network import Subject
    from app.stimuli.localizer import Localizer


def describe_run(
    config: Config,
    params: Mapping[str, Any],
    subject: Subject,
    parent: str | None,
    tags: Mapping[str, str],
) -> Description:
    """Describe a run before it begins.

    Parameters
    ----------
    config
        With nothing left open.
    params
        The config as flat parameters.
    subject
        What is asked.
    parent
        MLflow's id of the sweep's run.
    tags
        Further ones.
    """
    parts = (config.model, config.layer, config.aggregation, config.metric)
    return Description(
        name="/".join(part.name for part in parts),
        params=params,
        tags={**make_tags(config, subject), **tags},
        sentence=_ask(config),
        parent=parent,
    )


def make_tags(config: Config, subject: Subject) -> dict[str, str]:
    """Tags to filter runs by."""
    metric = config.metric
    paper = metric.criterion.presets.get("paper")
    # The sweep's report shows metrics as the run's figures do.
    compared = {**config.metrics, metric.name: metric}
    styles = {name: [each.label, each.colour] for name, each in compared.items()}
    return {
        "model": config.model.name,
        "trained": str(config.model.trained).lower(),
        "layer": config.layer.name,
        "aggregation": config.aggregation.name,
        "metric": metric.name,
        "metrics.styles": json.dumps(styles, ensure_ascii=False),
        "target": config.target,
        **({} if paper is None else {"criterion.paper": str(paper)}),  # its number with the paper's
        "model.digest": subject.digest,
        "layer.read": subject.read,
    }


def _ask(config: Config) -> str:
    """What the run asks, in a sentence."""
    what = "units" if config.aggregation.name == "unit" else f"kernels ({config.aggregation.name})"
    criterion = config.metric.criterion
    rule = Criterion(criterion.rule, criterion.threshold)
    return (
        f"Which {what} of {config.layer.name} in {config.model.name} are selective for "
        f"{config.target}, by {config.metric.name} ({rule})?"
    )


def list_images(localizer: Localizer) -> pd.DataFrame:
    """A row an image: name, category, domain (None where it belongs to none)."""
    labels: Sequence[str] = localizer.images.labels
    domain = {category: name for name, own in localizer.domains.items() for category in own}
    return pd.DataFrame(
        {
            "image": localizer.images.names,
            "category": labels,
            "domain": [domain.get(label) for label in labels],
        }
    )
