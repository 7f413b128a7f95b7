"""`python -m app.report run=<id>`: a sweep's report again, from the tracking store alone.

It equals the one that the sweep ended with, byte for byte, where the code is the same.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from app.config.schema import Tracking
from app.errors import InputError
from app.launch.commandline import run_hydra, told


@dataclass
class Settings:
    """What conf/report.yaml holds."""

    run: str = MISSING
    output: str = MISSING
    tracking: Tracking = field(default_factory=Tracking)
    debug: bool = False


ConfigStore.instance().store(name="report_schema", node=Settings)


def job(config: DictConfig) -> None:
    """Make the report of the sweep whose parent run is `run`, and hand it to that run."""
    with told(debug=config.debug):
        if OmegaConf.is_missing(config, "run"):
            raise InputError("give run=<id of a sweep's parent run>, as MLflow's pages show it")
        settings: Any = OmegaConf.to_object(config)

        from app.sweeps import tables
        from app.sweeps.report import describe, make_report, write_report
        from app.sweeps.results import count_jobs, read_stored, read_sweep, tell_missing
        from app.tracking.record import NOTE
        from app.tracking.store import connect

        store = connect(settings.tracking)
        title, results = read_sweep(store, settings.run)

        parent, output = store.get_run(settings.run), Path(settings.output).expanduser()
        missing = tell_missing(parent, len(results))
        if missing:  # a larger report stays as it is, here and there
            print(f"{missing}. The parent run keeps the report that it has.", file=sys.stderr)
            output = output.with_name(f"{output.name}_{len(results)}_jobs")
        made = make_report(results, title, count_jobs(parent), read_stored(store))
        files = write_report(made, output)
        if not missing:
            for name in files:
                store.add_artifact(settings.run, output / name, "")
            store.log(settings.run, tags={NOTE: describe(made, settings.run)})
        print(tables.describe_sweep(results))
        print(tables.wrap(made.summary))
        print(f"Report: {output / 'report.md'}")


def main() -> None:
    """Run the command line."""
    run_hydra(job, "report", writes=("output", "tracking.folder"))


if __name__ == "__main__":
    main()
