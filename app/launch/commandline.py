"""What the program's commands share: how they begin, and how they tell what went wrong."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from app import __version__
from app.errors import InputError
from app.launch import credentials, trust
from app.launch.places import check_places

HERE = Path(__file__).parents[1]
# Beside the package in a checkout, inside it in an installed wheel.
CONFIG_FOLDER = HERE / "conf" if (HERE / "conf").is_dir() else HERE.parent / "conf"

RESULTS = "hydra.run.dir"  # or hydra.sweep.dir

UNDELIVERED = 75  # exit code: the work is done and on disk, but the tracking store lacks it


def reason_of(error: BaseException) -> str:
    """Say in one line what went wrong."""
    if isinstance(error, (InputError, HydraException, OmegaConfBaseException)):
        cause = error.__cause__ if isinstance(error, HydraException) else None
        lines = f"{error} {cause or ''}".splitlines()  # spaces are left: a path may have two
        return " ".join(filter(None, map(str.strip, lines)))
    if isinstance(error, OSError) and error.strerror:
        # Everyone else's files are named: Hydra's are not.
        file = error.filename or "a file of the output folder (hydra.run.dir, hydra.sweep.dir)"
        return (
            f"{file} cannot be used: {error.strerror}; check the path, its permissions and the "
            "room on the disk"
        )
    return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"


def report(error: Exception, *, debug: bool, log: bool = False) -> None:
    """Tell the reason on standard error, with `debug=true` the traceback, too.

    It goes with `log` into the log that a job has: outside of jobs Hydra logs to the terminal.
    """
    if debug:
        traceback.print_exception(error)
    elif log:
        logging.getLogger(__name__).info("traceback", exc_info=error)
    hint = "" if debug or isinstance(error, InputError) else " (debug=true shows the traceback)"
    print(f"error: {reason_of(error)}{hint}", file=sys.stderr)


def tell_undelivered(reason: str, folder: Path) -> None:
    """Tell of work that is done, but not in the tracking store; see `UNDELIVERED`."""
    print(
        f"not delivered: {reason}; the results are in {folder}, and "
        f"python -m app.sync {shlex.quote(str(folder))} delivers them",
        file=sys.stderr,
    )


@contextmanager
def told(*, debug: bool) -> Iterator[None]:
    """Tell what goes wrong in the body of a job, and end with 1: Hydra would print a line more."""
    try:
        yield
    except BrokenPipeError:  # of whoever reads; see `run`
        raise
    except Exception as error:
        report(error, debug=debug, log=True)
        sys.exit(1)


class _Version(argparse.Action):
    """Prints our version and, on the same line, those of what the numbers depend on."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from app.tracking.origin import versions

        others = [" ".join(each) for each in versions().items() if each[0] != "selective-units"]
        print(f"selective-units {__version__} ({', '.join(others)})")
        parser.exit()


class Parser(argparse.ArgumentParser):
    """Tells what is wrong with options without the many lines of their usage, and our version."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(conflict_handler="resolve", **settings)  # Hydra's own --version goes
        self.add_argument("--version", action=_Version, nargs=0, help="show versions and exit")

    def error(self, message: str) -> NoReturn:
        """Raise InputError with one line."""
        raise InputError(
            f"{message}; options such as -m come before all overrides (--help lists them)"
        )


def run_hydra(
    job: Callable[[Any], object],
    config_name: str,
    *,
    writes: Sequence[str],
    announce: Callable[[DictConfig, Sequence[str], bool], str] | None = None,
    within: AbstractContextManager[None] | None = None,
    interrupted: str = "interrupted",
) -> None:
    """Run a job with the config that Hydra composes from `conf/` and the command line.

    `writes` are the settings of the folders that it writes to, `RESULTS` for Hydra's own;
    `announce` says what begins, of the config, the command line's words and whether they are swept;
    `within` sees what ends all jobs before it is told; `interrupted` is what Ctrl-C says.
    """

    def start() -> None:
        os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on, to be told in one line
        options = Parser(parents=[get_args_parser()], add_help=False).parse_args()
        composed = trust.check_command(options, CONFIG_FOLDER, config_name)
        if composed is None or options.resolve or (options.run and options.multirun):
            try:
                hydra.main(str(CONFIG_FOLDER), config_name, "1.3")(job)()  # prints, or refuses
            except ValueError as error:  # options that do not go together
                raise InputError(str(error)) from error
            return
        own = {RESULTS: f"hydra.{'sweep' if composed.sweeps else 'run'}.dir"}
        check_places(composed.config, [own.get(setting, setting) for setting in writes])
        if announce is not None:
            print(announce(composed.config, options.overrides, composed.sweeps), flush=True)
        with within or nullcontext(), open_hydra(composed.loader) as app:
            run_or_sweep = app.multirun if composed.sweeps else app.run
            run_or_sweep(composed.config_name, job, composed.overrides)

    run(start, interrupted=interrupted)


@contextmanager
def open_hydra(loader: ConfigLoader) -> Iterator[Hydra]:
    """Make Hydra as `hydra.main` does, but with the loader of what is composed already."""
    app = Hydra("app", loader)
    GlobalHydra.instance().initialize(app)
    try:
        yield app
    finally:
        GlobalHydra.instance().clear()


def prepare_process() -> None:
    """Let a process take credentials from its environment, and print where signs are lacking."""
    credentials.from_environment()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # of a terminal that is not UTF-8, perhaps
            stream.reconfigure(errors="replace")


def run(start: Callable[[], None], *, interrupted: str = "interrupted") -> None:
    """Run a command; exits with 1 after one line on standard error where it fails."""
    debug = "debug=true" in sys.argv[1:] or os.environ.get("HYDRA_FULL_ERROR") == "1"
    logging.raiseExceptions = False  # a log that cannot be written would print a traceback each
    warnings.filterwarnings("ignore", module=r"PIL\.")  # of damaged files, told in one line
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # a home that is read-only does no harm
    prepare_process()
    try:
        credentials.check_arguments(sys.argv[1:])  # before Hydra writes them into its files
        try:
            start()
        finally:
            sys.stdout.flush()  # here, where its failure can be caught
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # whoever read, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        report(error, debug=debug)
        sys.exit(1)
