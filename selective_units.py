"""The commands as programs of their own, such as `selective-units` and `selective-units-train`.

The package is called `app`, as may be a file in the folder that somebody works in, or in one that
PYTHONPATH names: that would be imported in its place. Here it is not, nor in processes of jobs.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path

OURS = (Path(__file__).parent / "app").resolve()


def _hides_ours(folder: str) -> bool:
    """Whether a folder of the import path holds another `app`."""
    found = PathFinder.find_spec("app", [folder or "."])
    return found is not None and Path(found.origin or "").parent.resolve() != OURS


def _run(module: str) -> None:
    """Run a command of the program, whatever else is called `app`."""
    sys.path.sort(key=_hides_ours)  # those that do come last
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(each for each in given if not _hides_ours(each))
    os.environ["PYTHONSAFEPATH"] = "1"  # else `python -m`, of a cluster's jobs, looks here first
    import_module(module).main()


main = partial(_run, "app.__main__")
train, report, sync, resume, export, cache, layers, photographs = (
    partial(_run, f"app.{name}")
    for name in ("train", "report", "sync", "resume", "export", "cache", "layers", "photographs")
)
