"""`python -m app`: compose the config, run one experiment or a sweep of them.

Nothing heavy is imported until a job runs, so that `--help`, `--cfg job` and shell completion
answer at once.
"""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from app.config import schema
from app.config.schema import Config
from app.errors import InputError
from app.launch import credentials
from app.launch.callback import ended, words
from app.launch.commandline import (
    CONFIG_FOLDER,
    UNDELIVERED,
    reason_of,
    report,
    run,
    tell_undelivered,
)
from app.sweeps.parent import DRAWN, Plan, parent_of, plan_of, record_failure, write_result

schema.register()


@hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="config")
def job(config: Config) -> None:
    """One job: a single run, or one of a sweep's, whose failure must not end the others."""
    from app.sweeps import tables
    from app.tracking import store as tracking

    credentials.from_environment()  # of a cluster's node, which may have one of its own
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    sweep_folder = Path(hydra_config.sweep.dir)
    overrides = words(hydra_config)
    sweeping = hydra_config.mode == RunMode.MULTIRUN
    tags = {"job": str(hydra_config.job.num)} if sweeping else {}
    # Who says how far it is, where several do.
    multiprocessing.current_process().name = f"job {hydra_config.job.num}" if sweeping else "job"
    try:
        # Once, not at every look. What refers to nothing is told by its name when it is looked at.
        with suppress(OmegaConfBaseException):
            OmegaConf.resolve(config)  # type: ignore[arg-type]
        schema.check(config)  # before anything that takes seconds to import

        from app import experiment

        parent = parent_of(sweep_folder, config.tracking) if sweeping else None
        plan = plan_of(sweep_folder) if sweeping else Plan()
        if config.figures is None:
            config.figures = plan.jobs <= DRAWN
        found = experiment.run(config, folder, parent, plan.layers, tags)
        result = {"status": "finished", **found}
    except Exception as error:
        report(error, debug=config.debug, log=True)
        result = {
            "status": "failed",
            "reason": reason_of(error),
            "name": " ".join(overrides),
            "params": asked(config, overrides),
            "metrics": {},
            "notes": [],
        }
        if sweeping:
            record_failure(folder, sweep_folder, config.tracking, tags["job"], result)
    result |= {**tags, "folder": str(folder)}
    failed = result["status"] == "failed"
    try:
        write_result(folder, result)
    except InputError as error:
        if not failed:  # else that failure, told already, is what counts
            report(error, debug=config.debug)
            failed = True
    if failed and not sweeping:
        sys.exit(1)  # not raised: Hydra would print more than the one line
    tables.show(tables.job_table(result))
    behind = result.get("undelivered")
    if behind is not None:
        tell_undelivered(behind, folder)
    if not sweeping:
        if behind is not None:
            sys.exit(UNDELIVERED)
        print(f"Results: {folder}")
        print(tracking.how_to_compare(config.tracking))


def asked(config: Config, overrides: Sequence[str]) -> dict[str, Any]:
    """The parameters of a job that failed; where its config is not whole, its overrides."""
    try:
        return schema.parameters(config)
    except (OmegaConfBaseException, KeyError):
        return dict(override.lstrip("+~").partition("=")[::2] for override in overrides)


def main() -> None:
    """The command line."""
    # The preset has the name of the plugin's own settings, on purpose.
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/submitit_slurm' is validated")
    run(ended()(job))


if __name__ == "__main__":
    main()
