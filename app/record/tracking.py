"""Runs, kept by MLflow: the only place that talks to it.

MLflow is imported when a run is first tracked, not with this module. Every call names its client
and its run, so that nothing depends on MLflow's idea of an active run.
"""

from __future__ import annotations

import functools
import getpass
import http.client
import importlib.metadata
import json
import logging
import math
import os
import random
import re
import shlex
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from filelock import FileLock

from app.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run as StoredRun

log = logging.getLogger(__name__)

T = TypeVar("T")

DATABASE = "mlflow.db"
ANSWER_SECONDS = 5.0  # within which a tracking server must answer when a run begins
RETRY_SECONDS = 60.0  # for which a write that collided with another process's is repeated
PARAM_LENGTH = 6000  # MLflow's limits, in characters
TAG_LENGTH = 8000
DIGEST_LENGTH = 16  # MLflow takes 36, but prints them in a narrow column
PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "numba",
    "mlflow",
    "hydra-core",
    "pandas",
    "selective-units",
)
# What MLflow reads when it is imported. The user's own values win.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    # A server that dies costs a job half a minute; MLflow's own bounds add up to many minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


class Settings(Protocol):
    """The fields of `app.config.Tracking`."""

    @property
    def name(self) -> str: ...
    @property
    def uri(self) -> str | None: ...
    @property
    def folder(self) -> str: ...
    @property
    def experiment(self) -> str: ...


def store_uri(settings: Settings) -> str:
    """Where the runs go, as MLflow writes it; empty when nothing is tracked."""
    if settings.name == "none":
        return ""
    if settings.uri is None:
        return f"sqlite:///{_folder(settings) / DATABASE}"
    address = urllib.parse.urlsplit(settings.uri)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise InputError(
            f"tracking.uri={_without_password(settings.uri)} is no address of a tracking server; "
            "write http://host:port, or null for SQLite in tracking.folder"
        )
    if address.username or address.password:
        raise InputError(
            f"tracking.uri={_without_password(settings.uri)} holds credentials; give them by "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
        )
    return settings.uri.rstrip("/")


def ui_command(settings: Settings) -> str:
    """The command that opens MLflow's pages on the store, or a server's address."""
    uri = store_uri(settings)
    if not uri.startswith("sqlite:"):
        return uri
    # By this interpreter, which has MLflow whatever the shell's PATH says.
    return f"{shlex.quote(sys.executable)} -m mlflow ui --backend-store-uri {shlex.quote(uri)}"


def ui_page(settings: Settings) -> str:
    """The address of the runs' table; MLflow's start page opens on a view for language models."""
    uri = store_uri(settings)
    if not uri:
        return ""
    server = "http://127.0.0.1:5000" if uri.startswith("sqlite:") else uri
    experiment = _experiment_id(settings)
    return f"{server}/#/experiments/{experiment}/runs?workflowType=machine_learning"


def how_to_compare(settings: Settings) -> str:
    """Two lines for the end of a run: how to open MLflow's pages, and where to look."""
    if settings.name == "none":
        return "Compare: nothing was tracked (tracking=none)"
    return f"Compare: {ui_command(settings)}\n    then: {ui_page(settings)}"


def prepare(settings: Settings) -> None:
    """Make the store ready for runs, whichever of several processes comes first.

    Creates the folder, the database and the experiment where they are missing; of a server it
    asks that it answers within seconds. Raises InputError when the store cannot be used.
    """
    if settings.name != "none":
        _experiment_id(settings, fresh=True)


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python, of this package and of those that its numbers depend on."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


@contextmanager
def start(
    settings: Settings,
    *,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
    description: str = "",
    parent: str | None = None,
) -> Iterator[Run]:
    """Track the body of the `with` statement as one run.

    The run ends as FINISHED; as FAILED, with the tag `error`, when the body raises or calls
    `Run.fail`; as KILLED on Ctrl-C. Exceptions go on their way.
    """
    run = Run(settings, open_run(settings, name, params, tags, description, parent))
    try:
        yield run
    except BaseException as error:
        # Ctrl-C, or a cluster that takes the job off its node to put it back into the queue.
        killed = not isinstance(error, Exception)
        reason = "interrupted" if killed else str(error) or type(error).__name__
        try:
            run.end("KILLED" if killed else "FAILED", reason)
        except InputError as second:  # the first error is the one to report
            log.warning("the run's end was not recorded: %s", second)
        raise
    run.end()


def open_run(
    settings: Settings,
    name: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str] | None = None,
    description: str = "",
    parent: str | None = None,
) -> str | None:
    """Create a run and leave it running; `finish` ends it. None when nothing is tracked."""
    if settings.name == "none":
        return None
    all_tags = {**_origin(), **(tags or {})}
    if description:
        all_tags["mlflow.note.content"] = description
    if parent is not None:
        all_tags["mlflow.parentRunId"] = parent
    experiment = _experiment_id(settings)
    all_tags = as_text(all_tags, TAG_LENGTH)
    created = _call(
        settings, lambda client: client.create_run(experiment, tags=all_tags, run_name=name)
    )
    run = Run(settings, created.info.run_id)
    run.params(params)
    return run.id


def finish(
    settings: Settings,
    run_id: str | None,
    *,
    status: str = "FINISHED",
    metrics: Mapping[str, float] | None = None,
    tags: Mapping[str, str] | None = None,
    artifacts: Path | None = None,
) -> None:
    """Log what a run that `open_run` left running still lacks, and end it."""
    run = Run(settings, run_id)
    if metrics:
        run.metrics(metrics)
    if tags:
        run.tags(tags)
    if artifacts is not None:
        run.artifacts(artifacts)
    run.end(status)


def record_failure(
    settings: Settings,
    parent: str,
    job: str,
    name: str,
    params: Mapping[str, Any],
    reason: str,
) -> None:
    """Leave a sweep's job that failed as a FAILED child, whether it began a run or never came to.

    The tag `error` holds the reason. `job` is the job's number in the sweep, its tag `job`.
    """
    begun = children(settings, parent, job)
    tags = {"job": job}
    run_id = begun[0].info.run_id if begun else open_run(settings, name, params, tags, "", parent)
    Run(settings, run_id).end("FAILED", reason)


def add_artifacts(settings: Settings, run_id: str, folder: Path) -> None:
    """Store all files below a folder with a run that has ended; those of the same name go."""
    Run(settings, run_id).artifacts(folder)


def get_run(settings: Settings, run_id: str) -> StoredRun:
    """A run of the store; InputError where it has none of this id, or keeps nothing."""
    if settings.name == "none":
        raise InputError(
            "tracking=none keeps no runs; give the tracking that the run was made with"
        )
    if not re.fullmatch("[0-9a-f]{32}", run_id):
        raise InputError(f"run={run_id} is no id of a run: 32 digits, as MLflow's pages show it")
    uri = store_uri(settings)
    if uri.startswith("sqlite:"):
        database = _folder(settings) / DATABASE
        if not database.is_file():
            raise InputError(
                f"{database} is no file: there are no runs; name their folder with tracking.folder"
            )
    else:
        _check_server(uri)
    return _call(settings, lambda client: client.get_run(run_id))


def children(settings: Settings, parent: str, job: str | None = None) -> list[StoredRun]:
    """The runs of a sweep's jobs, or of the one job of this number, in the order they began."""
    wanted = f"tags.`mlflow.parentRunId` = '{parent}'"
    if job is not None:
        wanted += f" and tags.job = '{job}'"
    experiment = get_run(settings, parent).info.experiment_id
    found: list[StoredRun] = []
    token = None
    while True:
        page = _call(
            settings,
            lambda client, token=token: client.search_runs(  # type: ignore[misc]
                [experiment], wanted, order_by=["attributes.start_time ASC"], page_token=token
            ),
        )
        found += page
        token = page.token
        if not token:
            return found


def end_children(settings: Settings, parent: str, reason: str) -> None:
    """End as KILLED, for this reason, the runs of a sweep's jobs that are marked as running."""
    for child in children(settings, parent):
        if child.info.status == "RUNNING":
            Run(settings, child.info.run_id).end("KILLED", reason)


class Run:
    """One run in the store. Without an id it accepts everything and records nothing."""

    def __init__(self, settings: Settings, id: str | None) -> None:
        self.id = id
        self._settings = settings
        self._failure: str | None = None
        self._undefined: list[str] = []
        self._lost = False  # the store stopped answering; do not wait for it again

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics. Those that are not finite become the tag `undefined_metrics`.

        MLflow's database stores NaN as 0 with a mark that filters ignore, and infinity as the
        largest number; some versions of its pages fail on either.
        """
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        if finite and self.id is not None:
            from mlflow.entities import Metric

            now = int(time.time() * 1000)
            batch = [Metric(name, value, now, step) for name, value in finite.items()]
            self._do(lambda client, id: client.log_batch(id, metrics=batch))
        undefined = [f"{name}={value}" for name, value in values.items() if name not in finite]
        if undefined:
            self._undefined += undefined
            self.tags({"undefined_metrics": ", ".join(self._undefined)})

    def curves(self, values: Mapping[str, Mapping[int, float]]) -> None:
        """Log metrics by step, which MLflow's pages draw as curves: 1,000 points at most.

        They are written at once. What is not finite is left out. The tag `curves` names them: of
        a curve's points the runs' table has the last alone, which is no finding.
        """
        if self.id is None:
            return
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        batch = [
            Metric(name, float(value), now, step)
            for name, curve in values.items()
            for step, value in curve.items()
            if math.isfinite(value)
        ]
        self._do(lambda client, id: client.log_batch(id, metrics=batch))
        self.tags({"curves": ", ".join(values)})

    def params(self, values: Mapping[str, Any]) -> None:
        """Log parameters, written as on the command line; what is too long for MLflow is cut."""
        if self.id is None:
            return
        from mlflow.entities import Param

        batch = [Param(name, text) for name, text in as_text(values, PARAM_LENGTH).items()]
        self._do(lambda client, id: client.log_batch(id, params=batch))

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags; what is too long for MLflow is cut."""
        if self.id is None:
            return
        from mlflow.entities import RunTag

        batch = [RunTag(name, text) for name, text in as_text(values, TAG_LENGTH).items()]
        self._do(lambda client, id: client.log_batch(id, tags=batch))

    def dataset(
        self,
        table: pd.DataFrame,
        *,
        name: str,
        source: str,
        digest: str,
        context: str = "stimuli",
    ) -> None:
        """Log a data set that the run used: its description, not the data.

        Args:
            table: One row an item; its columns and size are recorded.
            name: Shown in the runs table.
            source: Where the data come from: a folder, an address, or words.
            digest: Of the content; MLflow shows its beginning and keeps the whole as a tag.
            context: What the run used it for.
        """
        if self.id is None:
            return
        from mlflow.data import pandas_dataset
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.entities import Dataset, DatasetInput, InputTag

        described = pandas_dataset.from_pandas(
            table,
            source=CodeDatasetSource({"source": source}),
            name=name,
            digest=digest[:DIGEST_LENGTH],
        )
        entity = Dataset(**described.to_dict())
        tags = [InputTag("mlflow.data.context", context), InputTag("digest", digest[:500])]
        self._do(lambda client, id: client.log_inputs(id, [DatasetInput(entity, tags)]))

    def artifacts(self, folder: Path) -> None:
        """Store all files below a folder with the run."""
        self._do(lambda client, id: client.log_artifacts(id, str(folder)))

    def fail(self, reason: str) -> None:
        """Let the run end as FAILED for this reason."""
        self._failure = reason

    def end(self, status: str = "FINISHED", reason: str | None = None) -> None:
        """End the run. What `start` opened it ends itself."""
        if self._failure is not None and status == "FINISHED":
            status, reason = "FAILED", self._failure
        if self._lost:
            return
        if reason:
            self.tags({"error": reason})
        self._do(lambda client, id: client.set_terminated(id, status))

    def _do(self, function: Callable[[MlflowClient, str], object]) -> None:
        run_id = self.id
        if run_id is None:
            return
        try:
            _call(self._settings, lambda client: function(client, run_id))
        except InputError:
            self._lost = True
            raise


# --- the store ------------------------------------------------------------------------------------


def _folder(settings: Settings) -> Path:
    folder = Path(settings.folder).expanduser().absolute()
    if {"?", "%"} & set(str(folder)):
        raise InputError(
            f"tracking.folder={folder} holds '?' or '%', which SQLite addresses read otherwise; "
            "choose another folder"
        )
    return folder


@functools.cache
def _client(uri: str) -> MlflowClient:
    """MLflow's client, imported and told to be quiet the first time.

    Only the lock's holder may build one where the database is still missing.
    """
    _import_mlflow(uri)
    from mlflow import MlflowClient

    if uri.startswith("sqlite:"):
        _create_database(Path(uri.removeprefix("sqlite:///")))

    return MlflowClient(tracking_uri=uri)


def _import_mlflow(uri: str) -> None:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow

    if uri.startswith("sqlite:"):
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  half of a client's time
    # What these would print, `_call` says in one line.
    for name in ("alembic", "mlflow.store.db.utils", "mlflow.utils.rest_utils", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


_experiments: dict[tuple[str, str], str] = {}  # ids of those found ready, by store and name


def _experiment_id(settings: Settings, fresh: bool = False) -> str:
    uri = store_uri(settings)
    key = (uri, settings.experiment)
    if fresh or key not in _experiments:
        if uri.startswith("sqlite:"):
            _experiments[key] = _prepare_database(settings, uri)
        else:
            _check_server(uri)
            _import_mlflow(uri)
            _experiments[key] = _find_or_create(settings, location=None)
    return _experiments[key]


def _prepare_database(settings: Settings, uri: str) -> str:
    folder = _folder(settings)
    database = folder / DATABASE
    _import_mlflow(uri)  # takes seconds: not while holding the lock
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{DATABASE}.lock"):
            if database.exists():
                _check_database(database)
            return _find_or_create(settings, (folder / "artifacts").as_uri())
    except OSError as error:
        raise InputError(
            f"cannot keep runs in {folder}: {error.strerror or error}; "
            "choose another folder with tracking.folder=<folder>"
        ) from error


def _create_database(database: Path) -> None:
    """Create the tables beside the database and move them in place: MLflow cannot finish half."""
    if database.exists() and database.stat().st_size > 0:
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    new = database.with_name(f"{database.name}.new")
    for leftover in (new, new.with_name(f"{new.name}-journal")):  # of a process that was killed
        leftover.unlink(missing_ok=True)
    store = SqlAlchemyStore(f"sqlite:///{new}", (database.parent / "artifacts").as_uri())
    store.engine.dispose()
    new.replace(database)


def _check_database(database: Path) -> None:
    """Read and begin to write, as MLflow will: it would try for minutes what cannot work."""
    try:
        with closing(sqlite3.connect(database, timeout=20)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master")
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
    except sqlite3.Error as error:
        raise InputError(
            f"cannot keep runs in {database}: {error}; "
            "move it away or choose another folder with tracking.folder=<folder>"
        ) from error


def _find_or_create(settings: Settings, location: str | None) -> str:
    name = settings.experiment

    def find_or_create(client: MlflowClient) -> Any:
        found = client.get_experiment_by_name(name)
        if found is None:
            # Without this tag MLflow's pages open on a view for language models.
            tags = {"mlflow.experimentKind": "custom_model_development"}
            client.create_experiment(name, location, tags)
            found = client.get_experiment_by_name(name)
        return found

    experiment = _call(settings, find_or_create)
    if experiment.lifecycle_stage != "active":
        raise InputError(
            f"the experiment {name!r} was deleted from {store_uri(settings)}; restore it there "
            "or choose another name with tracking.experiment=<name>"
        )
    return str(experiment.experiment_id)


def _check_server(uri: str) -> None:
    try:
        urllib.request.urlopen(f"{uri}/health", timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()  # whatever it says, somebody answers
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"tracking server {uri} does not answer: "
            f"{getattr(reason, 'strerror', None) or reason}; start it or use tracking=sqlite"
        ) from error


def _call(settings: Settings, function: Callable[[MlflowClient], T]) -> T:
    """Call MLflow; repeat what collided with another process; else one clear line."""
    from mlflow.exceptions import MlflowException

    uri = store_uri(settings)
    kind = "database" if uri.startswith("sqlite:") else "server"
    errors: tuple[type[Exception], ...] = (MlflowException, OSError)  # requests' are OSErrors
    if kind == "database":
        from sqlalchemy.exc import SQLAlchemyError

        errors += (SQLAlchemyError,)
    give_up = time.monotonic() + RETRY_SECONDS
    while True:
        try:
            return function(_client(uri))
        except errors as error:
            if not _is_collision(str(error)) or time.monotonic() > give_up:
                raise InputError(f"tracking {kind} {uri} failed: {_one_line(error)}") from error
            time.sleep(random.uniform(0.05, 0.5))


def _is_collision(message: str) -> bool:
    """Another process held SQLite's lock, or created first what must exist once."""
    signs = ("database is locked", "unique constraint", "duplicate key", "already_exists")
    return any(sign in message.lower() for sign in signs)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    system = re.search(r"\[Errno -?\d+\] ([^'\"()]+)", text)  # the root of nested messages
    if system:
        return system[1].strip()
    text = re.split(r" \[SQL:| \(Background on", text)[0]
    return text if len(text) <= 300 else f"{text[:300]} …"


# --- what is written ------------------------------------------------------------------------------


def as_text(values: Mapping[str, Any], length: int = PARAM_LENGTH) -> dict[str, str]:
    """Values as they are stored: written as on the command line, cut where too long for MLflow."""
    texts = {name: _text(value) for name, value in values.items()}
    return {
        name: text if len(text) <= length else f"{text[: length - 1]}…"
        for name, text in texts.items()
    }


def _text(value: Any) -> str:
    """A value as the command line and the config files spell it."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError:
        return str(value)


@functools.cache
def _origin() -> dict[str, str]:
    """Tags that say who ran what: user, program, and the code's commit where it has one."""
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    module = main.name.removesuffix(".__main__") if main is not None else ""
    package = __name__.partition(".")[0]
    module = module if module.partition(".")[0] == package else package
    tags = {"mlflow.source.name": f"python -m {module}", "mlflow.source.type": "LOCAL"}
    with suppress(KeyError, OSError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    return tags | _commit(Path(__file__).parents[1])


def _commit(package: Path) -> dict[str, str]:
    """The commit of the package's repository and whether its code or config differ from it."""
    # An installed package may lie inside somebody else's repository: ask for our own file.
    if _git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return {}
    commit = _git(package, "rev-parse", "HEAD")
    changes = _git(package, "status", "--porcelain", "--", ".", "../conf")
    if commit is None or changes is None:
        return {}
    return {"mlflow.source.git.commit": commit, "git.dirty": "true" if changes else "false"}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _without_password(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//", uri)
