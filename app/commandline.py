"""What the program's commands share: where their config is, and how they tell what went wrong."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from app import composition
from app.errors import InputError

HERE = Path(__file__).parent
# Beside the package in a checkout, inside it in an installed wheel.
CONFIG_FOLDER = HERE / "conf" if (HERE / "conf").is_dir() else HERE.parent / "conf"


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


def run(job: Callable[[], None], *, interrupted: str = "interrupted") -> None:
    """Run a Hydra application; exits with 1 after one line on standard error where it fails."""
    debug = "debug=true" in sys.argv[1:] or os.environ.get("HYDRA_FULL_ERROR") == "1"
    composition.keep()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on, to be told in one line
    try:
        job()
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        report(error, debug=debug)
        sys.exit(1)
