"""`python -m app`: compose the config, run one experiment or a sweep of them.

Nothing heavy is imported until a job runs, so that `--help`, `--cfg job` and shell completion
answer at once.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf.errors import OmegaConfBaseException

from app import config as schema
from app.config import Config
from app.errors import InputError
from app.sweep import close, parent_of, write_result

HERE = Path(__file__).parent
# Beside the package in a checkout, inside it in an installed wheel.
CONFIG_FOLDER = HERE / "conf" if (HERE / "conf").is_dir() else HERE.parent / "conf"

schema.register()


@hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="config")
def job(config: Config) -> None:
    """One job: a single run, or one of a sweep's, whose failure must not end the others."""
    from app import experiment
    from app.record import tables, tracking

    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    sweep_folder = Path(hydra_config.sweep.dir)
    overrides = list(hydra_config.overrides.task)
    sweeping = hydra_config.mode == RunMode.MULTIRUN
    try:
        parent = parent_of(sweep_folder, config.tracking, sys.argv[1:]) if sweeping else None
        result = {"status": "finished", **experiment.run(config, folder, parent)}
    except KeyboardInterrupt:
        if sweeping:
            close(sweep_folder, config.tracking, "KILLED", finished=0, failed=0)
        raise
    except Exception as error:
        report(error, debug=config.debug)
        result = {
            "status": "failed",
            "reason": reason_of(error),
            "params": dict(override.lstrip("+~").split("=", 1) for override in overrides),
            "metrics": {},
            "notes": [],
        }
    result["folder"] = str(folder)
    write_result(folder, result)
    if result["status"] == "failed" and not sweeping:
        sys.exit(1)  # not raised: Hydra would print more than the one line
    tables.show(tables.job_table(result))
    if not sweeping:
        print(f"Results: {folder}")
        print(f"Compare: {tracking.ui_command(config.tracking)}")


def reason_of(error: BaseException) -> str:
    """One line that says what went wrong."""
    if isinstance(error, (InputError, HydraException, OmegaConfBaseException)):
        cause = error.__cause__ if isinstance(error, HydraException) else None
        return " ".join(f"{error} {cause or ''}".split())
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"


def report(error: Exception, *, debug: bool) -> None:
    """The reason on standard error; the traceback with `debug=true`, else in the job's log."""
    if debug:
        traceback.print_exception(error)
    else:
        logging.getLogger(__name__).info("traceback", exc_info=error)
    hint = "" if debug or isinstance(error, InputError) else " (debug=true shows the traceback)"
    print(f"error: {reason_of(error)}{hint}", file=sys.stderr)


def main() -> None:
    """The command line; exits with 1 after one line on standard error where something is wrong."""
    debug = "debug=true" in sys.argv[1:] or os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on, to be told in one line
    try:
        job()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        report(error, debug=debug)
        sys.exit(1)


if __name__ == "__main__":
    main()
