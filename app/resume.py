"""`python -m app.resume <sweep's folder>`: run what is missing or failed of a sweep.

Its manifest has the jobs. Those that finished stay as they are; the others run in their folders,
under the same parent run, and the report is made again of all.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.callbacks import Callbacks
from hydra._internal.utils import get_args_parser
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode

from app.__main__ import job
from app.errors import InputError
from app.launch import quoting, trust
from app.launch.callback import SweepCallback, ended, list_config_folders
from app.launch.commandline import CONFIG_FOLDER, Parser, open_hydra, run
from app.sweeps.manifest import (
    MANIFEST,
    Manifest,
    Planned,
    identify,
    read_manifest,
    tell_difference,
)
from app.sweeps.parent import read_plan
from app.sweeps.results import find_results, read_results
from app.tracking import record
from app.tracking.moved import is_same
from app.tracking.run import find_running

ANYWAY = "anyway=true"
# What may be otherwise than it was: results do not depend on it.
FREE = ("hydra/launcher=", "hydra.launcher.", "debug=")


def resume(folder: Path, words: Sequence[str]) -> None:
    """Run what is missing of the sweep in a folder; InputError where it is not to be resumed."""
    manifest, added = open_sweep(folder, words), [word for word in words if word != ANYWAY]
    missing = manifest.list_missing(read_results(folder))
    if not missing and is_reported(folder):
        print(f"All {len(manifest.jobs)} jobs finished: nothing is missing in {folder}")
        return
    here = quoting.write_override("hydra.sweep.dir", str(folder))
    options = Parser(parents=[get_args_parser()], add_help=False).parse_args(
        [*read_plan(folder).command, here, *added]
    )
    composed = trust.check_command(options, CONFIG_FOLDER, "config")
    if composed is None:
        raise InputError(f"the command of the sweep in {folder} runs no jobs: begin another one")
    folders = list_config_folders(composed.config)
    difference = tell_difference(manifest.made_of, identify(folders, manifest.inputs))
    if difference:
        told = f"since the sweep in {folder} began, this changed: {difference}"
        if ANYWAY not in words:
            raise InputError(
                f"{told}; undo that, or begin another sweep, or add {ANYWAY}: what is missing then "
                "runs with what is there now"
            )
        print(f"note: {told}", file=sys.stderr)
    print(f"{len(missing)} of {len(manifest.jobs)} jobs, results in {folder}", flush=True)
    with ended():
        launch(composed, missing)


def open_sweep(folder: Path, words: Sequence[str]) -> Manifest:
    """Read the manifest of a sweep that can be resumed, from here, with these words."""
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: name that of a sweep")
    manifest = read_manifest(folder)
    if manifest is None:
        raise InputError(
            f"{folder} has no {MANIFEST}: name the folder of a sweep, outputs/sweeps/<date>/<time>"
        )
    for word in words:
        if word != ANYWAY and not word.startswith(FREE):
            raise InputError(
                f"{word}: a sweep that is resumed keeps its overrides, and with this one it is "
                "another: python -m app -m … finds in the cache what both share"
            )
    if not is_same(place := manifest.find_place(folder), Path.cwd()):
        raise InputError(f"the sweep in {folder} ran in {place}: resume it there")
    if (running := find_running(folder)) is not None:
        raise InputError(
            f"{running} is running, here or on another machine: wait for its end; if nothing runs "
            f"there any more, python -m app.sync --ended {shlex.quote(str(folder))} says so"
        )
    return manifest


def is_reported(folder: Path) -> bool:
    """Whether the sweep ended well, with a report of its last results."""
    report, left = folder / "report" / "report.md", record.read(folder)
    if left is not None and left.status != "FINISHED":
        return False
    last = max((path.stat().st_mtime for path in find_results(folder)), default=0)
    return report.is_file() and report.stat().st_mtime >= last


def launch(composed: trust.Checked, missing: Sequence[Planned]) -> None:
    """Launch jobs of a sweep as Hydra does all of them."""
    with open_hydra(composed.loader) as hydra:
        asked = composed.config_name, composed.overrides
        config = hydra.compose_config(*asked, RunMode.MULTIRUN, with_log_configuration=True)
        jobs = [[*each.overrides, quoting.write_override("hydra.sweep.subdir", each.folder)]
                for each in missing]  # fmt: skip
        for each in jobs:  # before the first runs
            composed.loader.load_sweep_config(config, each)
        hooks = SweepCallback()
        hooks.on_multirun_start(config, resumed=True)
        context = HydraContext(composed.loader, Callbacks(config))
        launcher = Plugins.instance().instantiate_launcher(context, job, config)
        for done in launcher.launch(jobs, initial_job_idx=0) if jobs else ():
            done.return_value  # noqa: B018  raises what a job raised
        hooks.on_multirun_end(config)


def start() -> None:
    """Do what the command line asks for."""
    parser = Parser(
        prog="python -m app.resume",
        description="Run what is missing or failed of a sweep, and make its report again.",
    )
    parser.add_argument("folder", type=Path, help="the sweep's, outputs/sweeps/<date>/<time>")
    parser.add_argument(
        "words",
        nargs="*",
        default=[],  # else one is said to be required
        metavar="override",
        help=f"of the launcher, such as hydra.launcher.mem_gb=16; {ANYWAY}: though code, config, "
        "packages or inputs are not what they were",
    )
    asked = parser.parse_args()
    resume(asked.folder, asked.words)


def main() -> None:
    """Run the command line."""
    run(start)


if __name__ == "__main__":
    main()
