"""`python -m app`: compose the config, run one experiment or a sweep of them.

Nothing heavy is imported until a job runs, so that `--help`, `--cfg job` and shell completion
answer at once.
"""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from app.config import schema
from app.config.checks import checked
from app.config.parameters import LEADING_PARAMETERS, name_run, parameters
from app.errors import InputError
from app.launch import commandline, trust
from app.launch.callback import ended

if TYPE_CHECKING:
    from app.sweeps.results import Result

schema.register()


def job(composed: DictConfig) -> float | None:
    """Run one job: a single run, or one of a sweep's, whose failure must not end the others.

    Returns its `objective`, which sweepers that search ask for; None where there is none.
    """
    import multiprocessing

    from app.sweeps.manifest import find_number
    from app.sweeps.parent import DRAWN, Plan, open_parent, read_plan, record_failure
    from app.sweeps.results import Result
    from app.tracking.store import connect

    commandline.prepare_process()  # of a cluster's node, which may have an environment of its own
    hydra_config = HydraConfig.get()
    folder, sweep_folder = Path(hydra_config.runtime.output_dir), Path(hydra_config.sweep.dir)
    overrides = trust.words(hydra_config)
    sweeping = hydra_config.mode == RunMode.MULTIRUN
    number = find_number(sweep_folder, folder, hydra_config.job.num) if sweeping else 0
    tags = {"job": str(number)} if sweeping else {}
    plan = read_plan(sweep_folder) if sweeping else Plan()
    swept = plan.find_own(overrides)
    # Who says how far it is, where several do.
    multiprocessing.current_process().name = f"job {number}" if sweeping else "job"
    try:
        config = checked(composed)  # before anything that takes seconds to import
        check_metrics(config)

        from app import experiment

        parent = open_parent(sweep_folder, connect(config.tracking)) if sweeping else None
        drawn = plan.jobs <= DRAWN if config.figures is None else config.figures
        asked = experiment.Job(parent, plan.layers, tags, drawn, swept, list_hydras(hydra_config))
        result = experiment.run(config, folder, asked)
        check_objective(config.objective, result.metrics)
    except Exception as error:
        commandline.report(error, debug=composed.debug, log=True)
        params = find_parameters(composed, overrides)
        name = name_run(params, swept) or " ".join(overrides)
        result = Result("failed", name, params, reason=commandline.reason_of(error), files=[])
    result = dataclasses.replace(result, job=number, folder=str(folder))
    if result.failed and sweeping:
        record_failure(sweep_folder, composed.tracking, result)
    conclude(result, composed, folder, plan.jobs if sweeping else None)
    return result.metrics.get(composed.objective)


def list_hydras(hydra_config: Any) -> list[str]:
    """List the files that Hydra leaves in a job's folder: its log, and configs."""
    subdir, names = hydra_config.output_subdir, ("config", "hydra", "overrides")
    configs = [f"{subdir}/{name}.yaml" for name in names] if subdir else []
    return [f"{hydra_config.job.name}.log", *configs]


def conclude(result: Result, composed: DictConfig, folder: Path, jobs: int | None) -> None:
    """Store a job's result, and say it; a single run, of no sweep of so many jobs, then exits."""
    from app.sweeps import tables
    from app.sweeps.results import write_result
    from app.tracking.store import connect

    failed = result.failed
    try:
        write_result(folder, result)
    except InputError as error:
        if not failed:  # else that failure, told already, is what counts
            commandline.report(error, debug=composed.debug)
            failed = True
    if failed and jobs is None:
        sys.exit(1)  # not raised: Hydra would print more than the one line
    told = tables.describe_job(result) if jobs is None else tables.summarise_job(result, jobs)
    print(told, flush=True)
    if (behind := result.undelivered) is not None:
        commandline.tell_undelivered(behind, folder)
    if jobs is None:
        if behind is not None:
            sys.exit(commandline.UNDELIVERED)
        print(f"Results: {folder}")
        print(connect(composed.tracking).how_to_compare(result.run_id))


def announce(config: DictConfig, words: Sequence[str], sweeps: bool) -> str:
    """Say what is asked, before anything that takes seconds."""
    if sweeps:
        return f"A sweep: {' '.join(words)}"
    if config.responses.name == "file":  # in the network's place
        asked = [config.responses.path, *(each.name for each in (config.metric, config.threshold))]
        return " / ".join(map(str, [*asked, config.target, config.seed]))
    names = (name if name in ("target", "seed") else f"{name}.name" for name in LEADING_PARAMETERS)
    asked = [OmegaConf.select(config, name) for name in names]
    return " / ".join(str(value) for value in asked if value is not None)


def check_metrics(config: schema.Config) -> None:
    """Refuse thresholds of metrics that there are not, and out of range; InputError, one line."""
    from app import metrics
    from app.findings.selection import make_criteria

    for name, value in config.threshold.items():
        if name != "name" and name not in schema.metric_set(config):
            try:
                metrics.load(name)
            except InputError as error:
                raise InputError(f"threshold.{name}={value}: {error}") from error
    make_criteria(schema.metric_set(config))


def check_objective(objective: str | None, found: Mapping[str, float]) -> None:
    """Refuse an objective that is none of the numbers found; InputError, one line."""
    if objective is not None and objective not in found:
        near = ", ".join(get_close_matches(objective, found, cutoff=0.0))
        raise InputError(f"objective={objective} is none of the run's numbers: nearest are {near}")


def find_parameters(config: Any, overrides: Sequence[str]) -> dict[str, Any]:
    """Find the parameters of a job that failed, those it has where its config is not whole."""
    for resolve in (True, False):
        with suppress(OmegaConfBaseException, KeyError):
            told = parameters(config, resolve=resolve)
            return {name: value for name, value in told.items() if "${" not in str(value)}
    # Where whole groups of settings are left out.
    return dict(override.lstrip("+~").partition("=")[::2] for override in overrides)


def main() -> None:
    """Run the command line."""
    # The preset has the name of the plugin's own settings, on purpose.
    warnings.filterwarnings("ignore", r"\s*'hydra/launcher/submitit_slurm' is validated")
    writes = (commandline.RESULTS, "tracking.folder", "cache")
    commandline.run_hydra(job, "config", writes=writes, announce=announce, within=ended())


if __name__ == "__main__":
    main()
