"""What a run leaves: files in its folder, and what its record says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from app.config.parameters import parameters, to_yaml
from app.files import whole, writing
from app.machine import GB, measure_peak
from app.tracking.description import list_images, make_tags
from app.tracking.origin import versions
from app.tracking.text import tag_notes

if TYPE_CHECKING:
    from app.config.schema import Config
    from app.findings.findings import Findings
    from app.models.network import Subject
    from app.stimuli.localizer import Localizer
    from app.tracking.run import Run


def write_run(folder: Path, config: Config, found: Findings, shape: tuple[int, int, int]) -> None:
    """Write the run's tables, config, versions and metrics into its folder.

    Raises
    ------
    InputError
        Where the folder cannot be written to.
    """
    place = shape if config.aggregation.name == "unit" else None
    texts = {
        "config.yaml": to_yaml(config),
        "versions.json": json.dumps(versions(), indent=2),
        "metrics.json": json.dumps(found.metrics(), indent=2),
    }
    with writing("write results to", folder, "another folder with hydra.run.dir=<folder>"):
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in found.tables(place).items():
            with whole(folder / f"{name}.parquet") as path:
                table.to_parquet(path, index=False)
        for name, text in texts.items():
            with whole(folder / name) as path:
                path.write_text(text)


def record_run(
    record: Run,
    folder: Path,
    config: Config,
    subject: Subject,
    stimuli: Localizer,
    found: Findings,
) -> None:
    """Note in the run's record what it asked, was shown and found, and the files in its folder."""
    params = {name: value for name, value in parameters(config).items() if name.startswith("model")}
    trained = {"trained": make_tags(config, subject)["trained"]}
    record.model(config.model.name, subject.digest, params, trained)
    images = stimuli.images
    record.dataset(
        list_images(stimuli), name=config.stimuli.name, source=images.source, digest=images.digest
    )
    record.tags({**tag_notes(found.notes), "peak_memory_gb": f"{measure_peak() / GB:.2f}"})
    record.metrics(found.metrics())
    record.curves(found.curves())
    record.artifacts(folder)
