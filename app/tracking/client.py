"""MLflow's client, told to be quiet, and SQLite's database, made whole or not at all."""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import InputError
from app.files import whole

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE = "sqlite:///"
# What MLflow reads when it is imported. The user's own values win.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    # `calls.call` repeats what failed: MLflow would create a run twice whose answer got lost.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


def import_mlflow(uri: str) -> None:
    """Import what a store of this address needs; takes seconds the first time."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import mlflow

    if uri.startswith(SQLITE):
        import mlflow.store.tracking.sqlalchemy_store  # noqa: F401  half of a client's time
    # What these would print, `calls.call` says in one line.
    for name in ("alembic", "mlflow.store.db.utils", "mlflow.utils.rest_utils", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def open_client(uri: str) -> MlflowClient:
    """Open a client. Only the lock's holder may where the database is still missing."""
    import_mlflow(uri)
    from mlflow import MlflowClient

    if uri.startswith(SQLITE):
        create_database(Path(uri.removeprefix(SQLITE)))
    return MlflowClient(tracking_uri=uri)


def create_database(database: Path) -> None:
    """Create the tables beside the database and move them in place: MLflow cannot finish half."""
    if database.exists() and database.stat().st_size > 0:
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with whole(database) as new:
        journal = new.with_name(f"{new.name}-journal")
        for leftover in (new, journal):  # of a process that was killed
            leftover.unlink(missing_ok=True)
        try:
            artifacts = (database.parent / "artifacts").as_uri()
            store = SqlAlchemyStore(f"{SQLITE}{new}", artifacts)  # type: ignore[no-untyped-call]
            store.engine.dispose()
        finally:
            journal.unlink(missing_ok=True)  # where the disk is full, say


def check_database(database: Path) -> None:
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
