"""MLflow's client, told to be quiet: its address, its database, and calls that may fail."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import re
import shlex
import sqlite3
import sys
import textwrap
import time
import urllib.parse
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tenacity import Retrying, retry_if_exception, wait_random

from app.errors import InputError
from app.files import whole
from app.tracking.moved import ARTIFACTS, mend_addresses

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from app.config.schema import Tracking

T = TypeVar("T")

SQLITE = "sqlite:///"
DATABASE = "mlflow.db"
# What MLflow reads when it is imported. The user's own values win.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # one a file would be no progress
    "GIT_PYTHON_REFRESH": "quiet",
    # `call` repeats what failed: MLflow would create a run twice whose answer got lost.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
ANOTHER_FOLDER = "choose another folder with tracking.folder=<folder>"
LIGHT = "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"  # before the command of a server
ANSWER_SECONDS = 5.0  # within which a tracking server must answer when a run begins
COLLISION_SECONDS = 60.0  # for which a write that collided with another process's is repeated


def find_address(settings: Tracking) -> str:
    """Find where the runs go, as MLflow writes it; empty when nothing is tracked.

    InputError where it is no address of a server, holds credentials, or SQLite would misread it.
    """
    if settings.name == "none":
        return ""
    if settings.uri is None:
        if {"?", "%"} & set(settings.folder):
            raise InputError(
                f"tracking.folder={settings.folder} holds '?' or '%', which SQLite addresses read "
                "otherwise; choose another folder"
            )
        return f"{SQLITE}{settings.folder}/{DATABASE}"
    parts = urllib.parse.urlsplit(settings.uri)
    shown = re.sub(r"//[^/@]*@", "//", settings.uri)
    page = parts.query or parts.fragment  # copied from a browser, say
    if parts.scheme not in ("http", "https") or not parts.hostname or page:
        raise InputError(
            f"tracking.uri={shown} is no address of a tracking server; "
            "write http://host:port, or null for SQLite in tracking.folder"
        )
    if parts.username or parts.password:
        raise InputError(
            f"tracking.uri={shown} holds credentials; give them by "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
        )
    return settings.uri.rstrip("/")


def import_mlflow(uri: str) -> None:
    """Import what a store of this address needs; takes seconds the first time."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow

    if uri.startswith(SQLITE):
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  half of a client's time
    # What these would print, `call` says in one line.
    for name in ("alembic", "mlflow.store.db.utils", "mlflow.utils.rest_utils", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def open_client(uri: str) -> MlflowClient:
    """Open a client. Only the lock's holder may where the database is still missing."""
    from mlflow import MlflowClient

    if uri.startswith(SQLITE):
        _create_database(Path(uri.removeprefix(SQLITE)))
    return MlflowClient(tracking_uri=uri)


def _create_database(database: Path) -> None:
    """Create the tables beside the database and move them in place: MLflow cannot finish half."""
    if database.exists() and database.stat().st_size > 0:
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with whole(database) as new:
        journal = new.with_name(f"{new.name}-journal")
        for leftover in (new, journal):  # of a process that was killed
            leftover.unlink(missing_ok=True)
        try:
            artifacts = (database.parent / ARTIFACTS).as_uri()
            store = SqlAlchemyStore(f"{SQLITE}{new}", artifacts)  # type: ignore[no-untyped-call]
            store.engine.dispose()
        finally:
            journal.unlink(missing_ok=True)  # where the disk is full, say


def check_database(database: Path) -> None:
    """Read and begin to write, as MLflow will: it would try for minutes what cannot work.

    A database that came from another folder is mended; one of another MLflow is an InputError.
    """
    try:
        with closing(sqlite3.connect(database, timeout=20)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()
            if "alembic_version" not in tables:  # MLflow makes them
                return
            check_schema(connection, database)
            if mended := mend_addresses(connection, database.parent):
                print(mended, file=sys.stderr)  # Hydra has logging its way between jobs
    except sqlite3.Error as error:
        raise InputError(
            f"cannot keep runs in {database}: {error}; move it away or {ANOTHER_FOLDER}"
        ) from error


def check_schema(connection: sqlite3.Connection, database: Path) -> None:
    """Refuse the tables of another MLflow, which this one cannot read, or would change unasked."""
    import mlflow
    from alembic.script import ScriptDirectory

    revisions = ScriptDirectory(str(Path(mlflow.__file__).with_name("store") / "db_migrations"))
    found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if found is None or found[0] == revisions.get_current_head():
        return
    known = {each.revision for each in revisions.walk_revisions()}
    if found[0] in known:
        upgrade = mlflow_command("db", "upgrade", f"{SQLITE}{database}")
        raise InputError(
            f"{database} is of an MLflow older than {mlflow.__version__}: copy it, in case, and "
            f"bring it up to date by `{upgrade}`, or {ANOTHER_FOLDER}"
        )
    raise InputError(
        f"{database} is of a newer MLflow{_find_writer(database)} than {mlflow.__version__}: "
        f"upgrade MLflow here (`{shlex.quote(sys.executable)} -m pip install --upgrade mlflow`), "
        f"or {ANOTHER_FOLDER}"
    )


def _find_writer(database: Path) -> str:
    """The MLflow that the last run in a store had, where it says so, after a space."""
    left = (database.parent / ARTIFACTS).glob("*/*/versions.json")
    with suppress(OSError, ValueError, KeyError):  # ValueError: no run left any, or no JSON
        last = max(left, key=lambda path: path.stat().st_mtime)
        return f" ({json.loads(last.read_text(encoding='utf-8'))['mlflow']}, says its last run)"
    return ""


def mlflow_command(*words: str) -> str:
    """MLflow's command line by this interpreter, which has it whatever the shell's PATH says."""
    return shlex.join([sys.executable, "-m", "mlflow", *words])


def check_server(uri: str, give_up: float) -> None:
    """Ask a server, until `give_up`, whether it is there; InputError where it does not answer."""
    import requests

    def is_worth(error: BaseException) -> bool:
        return isinstance(error, requests.RequestException) and time.monotonic() < give_up

    try:  # whatever it says, somebody answers
        repeat(lambda: requests.get(f"{uri}/health", timeout=ANSWER_SECONDS), is_worth)
    except requests.RequestException as error:
        reason = "timed out" if isinstance(error, requests.Timeout) else _one_line(error)
        raise InputError(
            f"tracking server {uri} does not answer: {reason}; start it or use tracking=sqlite"
        ) from error


def find_version(uri: str) -> str:
    """Find the version of MLflow that shows a store's pages; empty where a server tells none."""
    if uri.startswith(SQLITE):
        return importlib.metadata.version("mlflow")
    import requests

    try:
        answer = requests.get(f"{uri}/version", timeout=ANSWER_SECONDS)
    except requests.RequestException:
        return ""
    return answer.text if answer.ok else ""


def call(function: Callable[[], T], uri: str, give_up: float) -> T:
    """Call MLflow; InputError with one clear line about what failed for good.

    Repeated is what collided with another process, and until `give_up` (of `time.monotonic`) what a
    server did not answer or was in trouble with: it may have done what the function asked.
    """
    import_mlflow(uri)
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    kind = "database" if uri.startswith(SQLITE) else "server"
    errors = (MlflowException, SQLAlchemyError, OSError)  # requests' are OSErrors
    collisions_end = time.monotonic() + COLLISION_SECONDS

    def is_worth(error: BaseException) -> bool:
        if not isinstance(error, errors):
            return False
        if _is_collision(error):
            return time.monotonic() < collisions_end
        return kind == "server" and _is_passing(error) and time.monotonic() < give_up

    try:
        return repeat(function, is_worth)
    except errors as error:
        reason = _one_line(error)
        if kind == "database" and re.search("disk is full|No space left", reason):
            reason = f"its disk is full; make room, or {ANOTHER_FOLDER}"
        raise InputError(f"tracking {kind} {uri} failed: {reason}") from error


def repeat(function: Callable[[], T], is_worth: Callable[[BaseException], bool]) -> T:
    """Call a function again while it raises an error that is worth it.

    The waits are of random lengths: hundreds of jobs that lost their server come back one by one.
    """
    attempts = Retrying(retry=retry_if_exception(is_worth), wait=wait_random(0.1, 1), reraise=True)
    return attempts(function)


def _is_passing(error: BaseException) -> bool:
    """The server cannot be reached, or is in trouble, or wants fewer requests."""
    status = getattr(error, "get_http_status_code", lambda: 500)()
    return bool(status == 429 or status >= 500)


def _is_collision(error: BaseException) -> bool:
    """Another process held SQLite's lock, or created first what must exist once."""
    signs = ("database is locked", "unique constraint", "duplicate key", "already_exists")
    return any(sign in str(error).lower() for sign in signs)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if re.search(r"error code 40[13]\b|PERMISSION_DENIED|UNAUTHENTICATED", text):
        return (
            "it does not let you in; MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, in the environment say who you are"
        )
    unknown = re.search(r"endpoint (?:(\S+) failed with error code 404\b|was).*body: '\s*<", text)
    if unknown:  # a page for readers in the place of an answer
        what = unknown[1] or "MLflow's questions"
        return f"it does not know {what}: it is no MLflow server, or one of an older MLflow"
    if status := re.search(r"too many (\d+) error responses", text):  # urllib3, of a proxy's
        return f"it answers with error {status[1]}"
    # The root of nested messages, as the system says it.
    system = re.search(r"(?:\[Errno -?\d+\] |Error\(\d+, ')([^'\"()]+)", text)
    if system:
        return system[1].strip()
    text = re.split(r" \[SQL:| \(Background on", text)[0]
    return textwrap.shorten(text, 300, placeholder="…")
