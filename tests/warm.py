"""A process that has imported everything and forks a child for each command: no test waits for
imports whose subject is another.

The child is `python -m <module> …` in all but that: it has the command's folder, environment,
arguments and standard streams, runs the module as `__main__`, and ends as any interpreter does,
with its traceback, exit handlers and exit code. `tests/test_warm.py` compares the two. Where its
folder has no store of runs, the child finds an empty one: MLflow takes seconds for the tables.

`python -m tests.warm bare` has imported nothing of the program itself, which may be another copy.
"""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import runpy
import signal
import sqlite3
import sys
import tempfile
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

# What jobs import as they go. Those that begin with a schema of their own (app.report, app.train,
# …) register it as they are imported, so only the command itself may.
MODULES = (
    "app.experiment",
    "app.responses.passes",
    "app.launch.callback",
    "app.findings.lesion",
    "app.metrics.dprime",
    "app.metrics.fsi",
    "app.metrics.scoring",
    "app.metrics.ttest",
    "app.metrics.wilcoxon",
    "app.models.checkpoint",
    "app.models.export",
    "app.models.vgg",
    "app.sweeps.parent",
    "app.sweeps.report",
    "app.sweeps.tables",
    "hydra._internal.hydra",
    "hydra._internal.core_plugins.basic_launcher",
    "hydra._internal.core_plugins.basic_sweeper",
    "markdown_it",
    "matplotlib.backends.backend_svg",
    "matplotlib.style",
    "mlflow.data.code_dataset_source",
    "mlflow.data.pandas_dataset",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "pandas",
    "pandas.io.formats.csvs",
    "pooch",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "requests",
    "rich.progress",
    "scipy.stats",
    "sklearn.model_selection",
    "sklearn.svm",
    "torch",
)


def serve() -> dict[str, Any]:
    """Fork for each line of standard input, a command as JSON; answer with its end.

    That is its exit status, and how long it kept a processor busy, in seconds.
    Returns in the children, with the command. Ends with standard input: with who started it.
    """
    for line in sys.stdin:
        command = json.loads(line)
        child = os.fork()
        if child == 0:
            return command
        _, status, used = os.wait4(child, 0)
        print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, flush=True)
    sys.exit()


def empty_store() -> bytes:
    """A database of runs, as the program makes it."""
    from app.tracking.client import _create_database

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mlflow.db"
        _create_database(path)
        return path.read_bytes()


def become(command: dict[str, Any], store: bytes | None) -> None:
    """Make this process the one that the command asks for."""
    streams = (os.devnull, os.O_RDONLY), *((path, os.O_WRONLY) for path in command["streams"])
    for number, (path, flags) in enumerate(streams):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  it has read ahead of its line
    os.chdir(command["folder"])
    tracked = command["module"] == "app" and not {"tracking=none", "tracking=server"} & {
        *command["arguments"]
    }
    if tracked and store is not None and not Path("mlruns").exists():
        Path("mlruns").mkdir()
        Path("mlruns/mlflow.db").write_bytes(store)
        with closing(sqlite3.connect("mlruns/mlflow.db")) as database, database:
            place = Path("mlruns/artifacts/0").absolute().as_uri()  # as if it was made there
            database.execute("UPDATE experiments SET artifact_location = ?", [place])
    os.environ.clear()
    os.environ.update(command["environment"])
    sys.path[0] = command["folder"]
    sys.argv = [command["module"], *command["arguments"]]
    random.seed()  # else all children would draw the same
    if command["file_bytes"] is not None:  # that a file may have: a disk that is full
        resource.setrlimit(resource.RLIMIT_FSIZE, (command["file_bytes"],) * 2)
    if command["dies_after"] is not None:  # of its work: the signal ends it as SIGKILL does
        signal.setitimer(signal.ITIMER_PROF, command["dies_after"])


def warm_up() -> bytes:
    """Import what commands do, and return an empty store of runs."""
    import torch

    from app.memo import keys
    from app.models.export import export
    from app.tracking.client import ENVIRONMENT

    os.environ.update(ENVIRONMENT)  # which MLflow reads when it is imported
    for module in MODULES:
        import_module(module)
    export(torch.nn.ReLU(), 8, "warm")  # which imports half of torch
    # Read once for all children: the sources that keys of stored results are made of.
    for module in [name for name in sys.modules if name.startswith("app.")]:
        keys.digest_source(module)
    return empty_store()


if __name__ == "__main__":
    store = None
    if sys.argv[1:] == ["bare"]:
        for module in [each for each in MODULES if not each.startswith(("app.", "mlflow."))]:
            import_module(module)
    else:
        store = warm_up()
    # A fork has one thread, and what locks the others held. jemalloc, pyarrow's, prepares for that.
    tasks = [path for path in Path("/proc/self/task").glob("*") if path.name != str(os.getpid())]
    names = [(path / "comm").read_text().strip() for path in tasks]
    assert not [name for name in names if not name.startswith("jemalloc")], names
    gc.freeze()  # what is there stays, and in memory that the children share
    print("ready", flush=True)
    asked = serve()
    become(asked, store)
    runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
