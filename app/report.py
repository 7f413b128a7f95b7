"""`python -m app.report run=<id>`: a sweep's report again, from the tracking store alone.

It equals the one that the sweep ended with, byte for byte, where the code is the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf

from app.config.schema import Tracking
from app.errors import InputError
from app.launch.commandline import CONFIG_FOLDER, run, told


@dataclass
class Settings:
    """What conf/report.yaml holds."""

    run: str = MISSING
    output: str = MISSING
    tracking: Tracking = field(default_factory=Tracking)
    debug: bool = False


ConfigStore.instance().store(name="report_schema", node=Settings)


@hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="report")
def job(config: Any) -> None:
    """Make the report of the sweep whose parent run is `run`."""
    with told(debug=config.debug):
        make(config)


def make(config: Any) -> None:
    """Read the store, write the report, hand it to the parent run."""
    if OmegaConf.is_missing(config, "run"):
        raise InputError("give run=<id of a sweep's parent run>, as MLflow's pages show it")
    settings: Settings = OmegaConf.to_object(config)  # type: ignore[assignment]

    from app.sweeps import runs, tables
    from app.sweeps.report import of_runs, save
    from app.tracking import store as tracking

    title, rows = runs.of_store(settings.tracking, settings.run)
    made = of_runs(runs.table(rows), title)
    folder = save(made, Path(settings.output))
    tracking.add_artifacts(settings.tracking, settings.run, folder)
    tables.show(tables.sweep_table(rows))
    tables.show(made.summary)
    print(f"Report: {folder / 'report.md'}")


def main() -> None:
    """The command line."""
    run(job)


if __name__ == "__main__":
    main()
