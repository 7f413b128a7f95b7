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
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from filelock import FileLock

from app.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run as StoredRun

T = TypeVar("T")

DATABASE = "mlflow.db"
ANSWER_SECONDS = 5.0  # within which a tracking server must answer when a run begins
RETRY_SECONDS = 60.0  # for which a write that collided with another process's is repeated
NAME_LENGTH = 250  # of a run, which SQLite does not hold to; PostgreSQL does
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
    # `call` repeats what failed: MLflow itself would create a run twice whose answer got lost.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


class Settings(Protocol):
    """The fields of `app.config.schema.Tracking`."""

    @property
    def name(self) -> str: ...
    @property
    def uri(self) -> str | None: ...
    @property
    def folder(self) -> str: ...
    @property
    def experiment(self) -> str: ...
    @property
    def patience_s(self) -> float: ...


@dataclass(frozen=True)
class Stored:
    """The same, kept beside what is to be delivered."""

    name: str
    uri: str | None
    folder: str  # absolute
    experiment: str
    patience_s: float

    @classmethod
    def of(cls, settings: Settings) -> Stored:
        values = {field.name: getattr(settings, field.name) for field in fields(cls)}
        return cls(**{**values, "folder": str(Path(settings.folder).expanduser().absolute())})


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
    experiment = experiment_id(settings)
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
    if settings.name == "none":
        return
    uri = store_uri(settings)
    if not uri.startswith("sqlite:"):
        _check_server(uri)  # at once; one that is there may be slow to begin with
    experiment_id(settings, until(settings.patience_s), fresh=True)


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python, of this package and of those that its numbers depend on."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def create_run(
    settings: Settings,
    key: str,
    name: str,
    begun: int,
    tags: Mapping[str, str],
    give_up: float | None = None,
    *,
    fresh: bool,
) -> str:
    """Create the run whose tag `record` is `key`, once; its id.

    Unless it is `fresh`, it is looked for first: an earlier attempt may have made it though the
    answer got lost.
    """
    experiment = experiment_id(settings, give_up)
    first = fresh

    def find_or_create(client: MlflowClient) -> StoredRun:
        nonlocal first
        if not first:
            wanted = f"tags.record = '{key}'"
            found = client.search_runs([experiment], wanted, _any_stage(), max_results=1)
            if found:
                return found[0]
        first = False
        return client.create_run(experiment, begun, dict(tags), name)

    return str(call(settings, find_or_create, give_up).info.run_id)


def _any_stage() -> int:
    from mlflow.entities import ViewType

    return ViewType.ALL


def reopen(settings: Settings, run_id: str, give_up: float | None = None) -> None:
    """Let a run that ended, or seems to, run again, without the reason of its failure."""

    def again(client: MlflowClient) -> None:
        client.update_run(run_id, "RUNNING")
        if "error" in client.get_run(run_id).data.tags:
            client.delete_tag(run_id, "error")

    call(settings, again, give_up)


def terminate(
    settings: Settings, run_id: str, status: str, at: int | None, give_up: float | None = None
) -> None:
    """End a run: FINISHED, FAILED or KILLED, at this time in milliseconds since 1970."""
    call(settings, lambda client: client.set_terminated(run_id, status, at), give_up)


def log(
    settings: Settings,
    run_id: str,
    *,
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    points: Sequence[tuple[str, float, int, int]] = (),
    datasets: Sequence[Mapping[str, Any]] = (),
    model: Mapping[str, Any] | None = None,
    give_up: float | None = None,
) -> None:
    """Tell the store of a run; what it knows already it keeps once.

    `points` are metrics: name, value, step, time in milliseconds since 1970. `datasets` are what
    `describe_dataset` returned; `model` is what the run asked: `name`, `digest`, `params`, `tags`.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

    batch: dict[str, Any] = {
        "metrics": [Metric(name, value, at, step) for name, value, step, at in points],
        "params": [Param(name, text) for name, text in (params or {}).items()],
        "tags": [RunTag(name, text) for name, text in (tags or {}).items()],
    }
    if any(batch.values()):
        call(settings, lambda client: client.log_batch(run_id, **batch), give_up)
    if datasets or model:
        from mlflow.entities import LoggedModelInput

        inputs = [
            DatasetInput(
                Dataset(**described["dataset"]),
                [InputTag(name, text) for name, text in described["tags"].items()],
            )
            for described in datasets
        ]
        models = [LoggedModelInput(_model_id(settings, model, give_up))] if model else []
        call(settings, lambda client: client.log_inputs(run_id, inputs, models), give_up)


_models: dict[tuple[str, str, str], str] = {}  # ids by store, experiment and digest


def _model_id(settings: Settings, model: Mapping[str, Any], give_up: float | None) -> str:
    """MLflow's id of a network, which all runs that ask it share; made by the first of them."""
    experiment = experiment_id(settings, give_up)
    key = (store_uri(settings), experiment, model["digest"])

    def find_or_create(client: MlflowClient) -> str:
        wanted = f"name = '{model['name']}' AND tags.digest = '{model['digest']}'"
        for found in client.search_logged_models([experiment], wanted, max_results=1):
            return str(found.model_id)
        made = client.create_logged_model(
            experiment,
            model["name"],
            tags={"digest": model["digest"], **model["tags"]},
            params=model["params"],
            model_type="network",
        )
        return str(client.finalize_logged_model(made.model_id, "READY").model_id)

    if key not in _models:
        _models[key] = call(settings, find_or_create, give_up)
    return _models[key]


def describe_dataset(
    table: pd.DataFrame, name: str, source: str, digest: str, context: str
) -> dict[str, Any]:
    """A data set that a run used, as `log` takes it: its description, not the data.

    Args:
        table: One row an item, of text; its columns and size are recorded.
        name: Shown in the runs table.
        source: Where the data come from: a folder, an address, or words.
        digest: Of the content; MLflow shows its beginning and keeps the whole as a tag.
        context: What the run used it for.
    """
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.types import ColSpec, Schema

    # As MLflow describes a pandas table, without its look at the type of every value.
    schema = Schema(
        [
            ColSpec("string", str(column), required=bool(table[column].notna().all()))
            for column in table
        ]
    )
    return {
        "dataset": {
            "name": name,
            "digest": digest[:DIGEST_LENGTH],
            "source": CodeDatasetSource({"source": source}).to_json(),
            "source_type": "code",
            "schema": json.dumps({"mlflow_colspec": schema.to_dict()}),
            "profile": json.dumps({"num_rows": len(table), "num_elements": table.size}),
        },
        "tags": {"mlflow.data.context": context, "digest": digest[:500]},
    }


def add_artifact(
    settings: Settings, run_id: str, file: Path, place: str = "", give_up: float | None = None
) -> None:
    """Store a file with a run, in the folder `place`; one of the same name goes."""
    call(settings, lambda client: client.log_artifact(run_id, str(file), place or None), give_up)


def unfinished(settings: Settings) -> list[StoredRun]:
    """The runs that the store has as running and that left a record in a folder."""
    wanted = "attributes.status = 'RUNNING' and tags.record LIKE '%' and tags.folder LIKE '%'"
    return _all_pages(settings, experiment_id(settings), wanted)


def add_artifacts(settings: Settings, run_id: str, folder: Path) -> None:
    """Store all files below a folder with a run that has ended; those of the same name go."""
    call(settings, lambda client: client.log_artifacts(run_id, str(folder)))


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
    return call(settings, lambda client: client.get_run(run_id))


def children(settings: Settings, parent: str) -> list[StoredRun]:
    """The runs of a sweep's jobs, in the order they began."""
    experiment = get_run(settings, parent).info.experiment_id
    return _all_pages(settings, experiment, f"tags.`mlflow.parentRunId` = '{parent}'")


def _all_pages(settings: Settings, experiment: str, wanted: str) -> list[StoredRun]:
    found: list[StoredRun] = []
    token = None
    while True:
        page = call(
            settings,
            lambda client, token=token: client.search_runs(  # type: ignore[misc]
                [experiment], wanted, order_by=["attributes.start_time ASC"], page_token=token
            ),
        )
        found += page
        token = page.token
        if not token:
            return found


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


def experiment_id(settings: Settings, give_up: float | None = None, *, fresh: bool = False) -> str:
    """MLflow's id of the experiment, in a store that is made ready first, once a process.

    InputError where a server does not answer until `give_up`, see `call`.
    """
    uri = store_uri(settings)
    key = (uri, settings.experiment)
    if fresh or key not in _experiments:
        if uri.startswith("sqlite:"):
            _experiments[key] = _prepare_database(settings, uri)
        else:
            _check_server(uri, give_up)
            _import_mlflow(uri)
            _experiments[key] = _find_or_create(settings, None, give_up)
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
    half_made = (new, new.with_name(f"{new.name}-journal"))
    for leftover in half_made:  # of a process that was killed
        leftover.unlink(missing_ok=True)
    try:
        store = SqlAlchemyStore(f"sqlite:///{new}", (database.parent / "artifacts").as_uri())
        store.engine.dispose()
        new.replace(database)
    except BaseException:  # the disk is full, say
        for leftover in half_made:
            leftover.unlink(missing_ok=True)
        raise


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


def _find_or_create(settings: Settings, location: str | None, give_up: float | None = None) -> str:
    name = settings.experiment

    def find_or_create(client: MlflowClient) -> Any:
        found = client.get_experiment_by_name(name)
        if found is None:
            # Without this tag MLflow's pages open on a view for language models.
            tags = {"mlflow.experimentKind": "custom_model_development"}
            client.create_experiment(name, location, tags)
            found = client.get_experiment_by_name(name)
        return found

    experiment = call(settings, find_or_create, give_up)
    if experiment.lifecycle_stage != "active":
        raise InputError(
            f"the experiment {name!r} was deleted from {store_uri(settings)}; restore it there "
            "or choose another name with tracking.experiment=<name>"
        )
    return str(experiment.experiment_id)


def _check_server(uri: str, give_up: float | None = None) -> None:
    while True:
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=ANSWER_SECONDS).close()
            return
        except urllib.error.HTTPError as error:
            error.close()  # whatever it says, somebody answers
            return
        except (OSError, http.client.HTTPException, ValueError) as error:
            if not _pause(give_up):
                reason = getattr(error, "reason", error)
                raise InputError(
                    f"tracking server {uri} does not answer: "
                    f"{getattr(reason, 'strerror', None) or reason}; "
                    "start it or use tracking=sqlite"
                ) from error


def until(seconds: float) -> float:
    """The `give_up` of `call` that many seconds from now."""
    return time.monotonic() + seconds


def _pause(give_up: float | None, longest: float = 2.0) -> bool:
    """Wait a little before the next attempt; False where there is no time for one.

    The waits differ: hundreds of jobs that lost their server come back one by one.
    """
    left = 0 if give_up is None else give_up - time.monotonic()
    if left <= 0:
        return False
    time.sleep(min(left, random.uniform(0.1, 1) * longest))
    return True


def call(
    settings: Settings, function: Callable[[MlflowClient], T], give_up: float | None = None
) -> T:
    """Call MLflow; repeat what collided with another process; else one clear line.

    A server that does not answer, or is in trouble, is asked again until `give_up`, see `until`.
    The function may be called again though the store has done what it asked: the answer was lost.
    """
    from mlflow.exceptions import MlflowException

    uri = store_uri(settings)
    kind = "database" if uri.startswith("sqlite:") else "server"
    errors: tuple[type[Exception], ...] = (MlflowException, OSError)  # requests' are OSErrors
    if kind == "database":
        from sqlalchemy.exc import SQLAlchemyError

        errors += (SQLAlchemyError,)
    collisions = until(RETRY_SECONDS)
    while True:
        try:
            return function(_client(uri))
        except errors as error:
            if _is_collision(str(error)) and _pause(collisions, 0.5):
                continue
            if kind == "server" and _is_passing(error) and _pause(give_up):
                continue
            reason = _one_line(error)
            if kind == "database" and re.search("disk is full|No space left", reason):
                reason = (
                    "its disk is full; make room, or choose another folder with "
                    "tracking.folder=<folder>"
                )
            raise InputError(f"tracking {kind} {uri} failed: {reason}") from error


def _is_passing(error: Exception) -> bool:
    """The server cannot be reached, or is in trouble, or wants fewer requests."""
    status = getattr(error, "get_http_status_code", lambda: 500)()
    return status == 429 or status >= 500


def _is_collision(message: str) -> bool:
    """Another process held SQLite's lock, or created first what must exist once."""
    signs = ("database is locked", "unique constraint", "duplicate key", "already_exists")
    return any(sign in message.lower() for sign in signs)


def _one_line(error: Exception) -> str:
    text = " ".join(str(error).split())
    if re.search(r"error code 40[13]\b|PERMISSION_DENIED|UNAUTHENTICATED", text):
        return (
            "it does not let you in; MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, in the environment say who you are"
        )
    # The root of nested messages, as the system says it.
    system = re.search(r"(?:\[Errno -?\d+\] |Error\(\d+, ')([^'\"()]+)", text)
    if system:
        return system[1].strip()
    text = re.split(r" \[SQL:| \(Background on", text)[0]
    return cut(text, 300)


# --- what is written ------------------------------------------------------------------------------


def as_text(values: Mapping[str, Any], length: int = PARAM_LENGTH) -> dict[str, str]:
    """Values as they are stored: written as on the command line, cut where too long for MLflow."""
    return {name: cut(_text(value), length) for name, value in values.items()}


def cut(text: str, length: int) -> str:
    """A text of at most that many characters."""
    return text if len(text) <= length else f"{text[: length - 1]}…"


def _text(value: Any) -> str:
    """A value as the command line and the config files spell it."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError:
        return str(value)


@functools.cache
def origin() -> dict[str, str]:
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
