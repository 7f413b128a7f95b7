"""What happens around a sweep's jobs: Hydra calls it before the first and after the last.

Imports nothing heavy: Hydra loads this file for `--help` too.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from app.errors import InputError
from app.launch.commandline import UNDELIVERED, report, tell_undelivered
from app.launch.trust import list_choices

if TYPE_CHECKING:
    from app.sweeps.manifest import Manifest
    from app.sweeps.parent import Plan

# The sweep that this process began and has not ended, and its presence in the sweep's folder. Here
# and not on the callback, since Hydra makes that one and, where a launcher raises, neither calls it
# again nor hands it out.
_open: list[tuple[DictConfig, Any]] = []


@contextmanager
def ended() -> Iterator[None]:
    """End a sweep that Hydra leaves open: interrupted, or its launcher lost a job's process.

    The jobs that are done are reported; the parent run ends as KILLED or FAILED.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        from app.sweeps.parent import close, is_open
        from app.sweeps.results import count, read_results

        for config, presence in list(_open):
            folder = Path(config.hydra.sweep.dir)
            if not is_open(folder):
                continue
            if isinstance(error, Exception):
                report(error, debug=config.debug)
                SweepCallback().on_multirun_end(config, lost=1)
            else:
                # joblib's workers end with the launcher; what SLURM has in its queue goes on.
                queued = "submitit" in config.hydra.launcher._target_
                close(folder, "KILLED", count(read_results(folder)), presence, over=not queued)
        raise


def check_launcher(target: str) -> None:
    """Refuse a launcher, by its class, whose package is not installed; InputError."""
    package = ".".join(target.split(".")[:2])
    with suppress(ModuleNotFoundError):
        if find_spec(package) is not None:
            return
    extra = " (pip install 'selective-units[slurm]')" if "submitit" in target else ""
    raise InputError(f"the launcher needs {package}, which is not installed{extra}")


def make_plan(
    choices: Mapping[str, Sequence[str]], command: Sequence[str] = (), trials: int | None = None
) -> Plan:
    """Plan the sweep of these choices: `layer=conv2,conv13`; `trials` are a search's jobs."""
    from app.sweeps.parent import Plan

    swept = {
        name.lstrip("+"): [word.partition("=")[2] for word in words]
        for name, words in choices.items()
        if len(words) > 1
    }
    return Plan(swept, command, trials)


def make_manifest(config: DictConfig, choices: Mapping[str, Sequence[str]]) -> Manifest:
    """Make the manifest of the sweep of these choices, all of whose jobs are known."""
    from app.config.parameters import WHERE_TO, leaves
    from app.sweeps import manifest

    tree: Any = OmegaConf.to_container(config, resolve=False)
    sweep = tree["hydra"]["sweep"]
    loader, jobs = GlobalHydra.instance().config_loader(), []
    for number, words in enumerate(map(list, product(*choices.values()))):
        place = str(number)
        if sweep["subdir"] != "${hydra.job.num}":  # else all need not be composed for their folders
            composed = loader.load_sweep_config(config, words)
            composed.hydra.job.num = composed.hydra.job.id = number
            place = composed.hydra.sweep.subdir
        jobs.append(manifest.Planned(number, words, place))
    given = [*leaves(tree)]
    given += [(name.lstrip("+"), word.partition("=")[2].strip("\"'"))
              for name, words in choices.items() for word in words]  # fmt: skip
    values = [value for name, value in given if name.partition(".")[0] not in ("hydra", *WHERE_TO)]
    texts = [each for each in values if isinstance(each, str) and each]
    folder = Path(config.hydra.sweep.dir)
    return manifest.make_manifest(folder, jobs, list_config_folders(config), texts)


def list_config_folders(config: DictConfig) -> list[Path]:
    """List the folders that the config was composed from, in the order of Hydra's search path."""
    sources = config.hydra.runtime.config_sources
    return [Path(source.path) for source in sources if source.schema == "file"]


class SweepCallback(Callback):
    """Hydra calls it before the first job of a multirun and when all are done."""

    def on_multirun_start(self, config: DictConfig, resumed: bool = False, **_: Any) -> None:
        """Hold the sweep's folder, and leave in it what its jobs need to know.

        One that is `resumed` has that already.
        """
        from app.sweeps.manifest import write_manifest
        from app.sweeps.parent import settle_dead, write_plan
        from app.tracking.run import occupy
        from app.tracking.store import connect

        folder, presence = Path(config.hydra.sweep.dir), None
        try:
            check_launcher(config.hydra.launcher._target_)
            store = connect(config.tracking)  # an address that is none is refused
            store.prepare()
            settle_dead(store)  # an earlier sweep of this folder, perhaps
            if not store.off:
                presence = occupy(folder)  # until this process ends, however it does
            if not resumed:
                choices = list_choices(config.hydra, GlobalHydra.instance().config_loader())
                plan = make_plan(choices, sys.argv[1:], config.hydra.sweeper.get("n_trials"))
                write_plan(folder, plan)
                if plan.trials is None:  # else what is asked is not known yet
                    write_manifest(folder, make_manifest(config, choices))
                print(f"{plan.jobs} jobs, results in {folder}", flush=True)
        except Exception as error:  # Hydra would make a warning of it, and begin
            report(error, debug=config.debug)
            raise SystemExit(1) from error
        _open.append((config, presence))
        # joblib starts a worker anew whose memory has grown, as loading torch makes it grow.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)

    def on_multirun_end(self, config: DictConfig, lost: int = 0, **_: Any) -> None:
        """Tell what the jobs found, write the report and close the parent run.

        Exits with 1 where a job failed or was `lost`, with `UNDELIVERED` where the store lacks it.
        """
        from app.sweeps import tables
        from app.sweeps.parent import close, read_plan, save_view, write_report
        from app.sweeps.results import count, read_results
        from app.tracking.store import connect

        presence = _open.pop()[1] if _open else None
        store = connect(config.tracking)
        folder = Path(config.hydra.sweep.dir)
        results = read_results(folder)
        finished, failed = count(results)
        jobs = read_plan(folder).jobs
        left_none = jobs - len(results)
        failed += max(lost, left_none)
        if results:
            print(tables.describe_sweep(results))
        if left_none > lost:  # what lost one has been told
            print(f"error: {left_none} of {jobs} jobs left no result", file=sys.stderr)
        status = "FAILED" if failed else "FINISHED"
        behind: str | None = None
        try:  # Hydra would make a warning of an error here, and the exit code 0
            try:
                if results:
                    write_report(folder, store, results)
            finally:
                behind = close(folder, status, (finished, failed), presence)
        except Exception as error:
            report(error, debug=config.debug)
            failed += 1
        print(f"Results: {folder}")
        if behind is not None:
            tell_undelivered(behind, folder)
        else:
            with suppress(InputError):  # of the store: told by the jobs already
                print(store.how_to_compare(*save_view(folder, store, results)))
        if failed or behind is not None:
            raise SystemExit(1 if failed else UNDELIVERED)
