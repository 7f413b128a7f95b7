"""What an experiment's run is called and asks, and what it leaves in its folder and its record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from app.config.parameters import to_yaml
from app.config.schema import Config, metric_set
from app.files import to_json, whole, writing
from app.findings.selection import make_criteria
from app.machine import GB, measure_peak
from app.names import POSITION, name_units
from app.tracking.origin import versions
from app.tracking.record import NOTE, Record, tag_notes

# Of selected units, the highest score first: in selected.csv, which MLflow's page shows, and in the
# run's description there. scores.parquet has all.
LISTED, DESCRIBED = 1000, 100

if TYPE_CHECKING:
    from app.findings.findings import Findings
    from app.models.network import Subject
    from app.stimuli.localizer import Localizer


def make_tags(config: Config, subject: Subject) -> dict[str, str]:
    """Tags to filter runs by, and what the sweep's report needs to show metrics as figures do."""
    criterion = config.metric.criterion
    papers = config.metrics.get(config.metric.name, config.metric).criterion
    tags = {
        name: getattr(config, name).name for name in ("model", "layer", "aggregation", "metric")
    }
    styles = {name: [each.label, each.colour] for name, each in metric_set(config).items()}
    if "paper" in criterion.presets and criterion.rule == papers.rule:  # its number is of a rule
        tags["criterion.paper"] = str(criterion.presets["paper"])
    return tags | {
        "trained": str(config.model.trained).lower(),
        "metrics.styles": json.dumps(styles, ensure_ascii=False),
        "target": config.target,
        "model.digest": subject.digest,
        "layer.read": subject.read,
    }


def ask(config: Config) -> str:
    """What the run asks, in a sentence."""
    aggregation = config.aggregation.name
    what = name_units(aggregation) + ("" if aggregation == "unit" else f" ({aggregation})")
    (rule,) = make_criteria({config.metric.name: config.metric}).values()
    return (
        f"Which {what} of {config.layer.name} in {config.model.name} are selective for "
        f"{config.target}, by {config.metric.name} ({rule})?"
    )


def describe_selected(found: Findings, place: tuple[int, int, int] | None) -> str:
    """Say in Markdown how many and which the metric selects, the first of them by score."""
    what = "kernels" if place is None else "units"
    made, selected = found.selectivity, found.list_selected(place, DESCRIBED)
    told = f"**{made.count:,} of {made.units:,} {what} ({made.percent:.1f} %)**"
    if selected.empty:
        return told
    columns = ["unit"] if place is None else [*POSITION]
    names = [":".join(map(str, row)) for row in selected[columns].to_numpy().tolist()]
    named = "" if place is None else " as channel:row:column"
    more = " …" if made.count > DESCRIBED else ""
    return f"{told}, the highest score first{named}: {' '.join(names)}{more}"


def write_run(
    folder: Path, config: Config, found: Findings, shape: tuple[int, int, int]
) -> list[str]:
    """Write the run's tables, config, versions and metrics into its folder; their names there.

    InputError where it cannot be written to.
    """
    place = shape if config.aggregation.name == "unit" else None
    texts = {
        "selected.csv": found.list_selected(place, LISTED).to_csv(index=False, float_format="%.6g"),
        "config.yaml": to_yaml(config),
        "versions.json": json.dumps(versions(), indent=2),
        "metrics.json": to_json(found.metrics()),
    }
    tables = {f"{name}.parquet": table for name, table in found.tables(place).items()}
    with writing("write results to", folder, "another folder with hydra.run.dir=<folder>"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            with whole(folder / name) as path:
                table.to_parquet(path, index=False)
        for name, text in texts.items():
            with whole(folder / name) as path:
                path.write_text(text, encoding="utf-8")
    return [*tables, *texts]


def record_run(
    record: Record, config: Config, subject: Subject, stimuli: Localizer, found: Findings
) -> None:
    """Note in the run's record what it asked, was shown and found."""
    params = {name: text for name, text in record.params.items() if name.startswith("model")}
    record.set_model(config.model.name, subject.digest, params, {"trained": config.model.trained})
    shown = stimuli.images
    domain = {category: name for name, own in stimuli.domains.items() for category in own}
    columns = {
        "image": shown.names,
        "category": shown.labels,
        "domain": [domain.get(label) for label in shown.labels],  # None: it belongs to none
    }
    record.add_dataset(
        pd.DataFrame(columns), name=config.stimuli.name, source=shown.source, digest=shown.digest
    )
    place = subject.shape if config.aggregation.name == "unit" else None
    page = f"{ask(config)}\n\n{describe_selected(found, place)}"
    peak = f"{measure_peak() / GB:.2f}"
    record.add_tags({**tag_notes(found.notes), NOTE: page, "peak_memory_gb": peak})
    record.add_metrics(found.metrics())
    record.add_curves(found.curves())
