"""The store is made ready, whoever else is at it, and what is wrong with it is one line."""

import base64
import http.server
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar

import mlflow
import pytest
from mlflow import MlflowClient

from app.config.schema import Tracking
from app.errors import InputError
from app.tracking import client, origin
from app.tracking.store import connect
from tests.tracking.serving import free_port

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_process_killed_while_it_created_the_database(tmp_path: Path) -> None:
    settings = Tracking(name="sqlite", folder=str(tmp_path / "mlruns"))
    program = f"from app.tracking.store import connect; connect({settings!r}).prepare()"
    first = subprocess.Popen(
        [sys.executable, "-c", f"from app.config.schema import Tracking; {program}"], cwd=REPOSITORY
    )
    half = tmp_path / "mlruns" / ".mlflow.db.new"
    while not (half.exists() and half.stat().st_size > 0):
        assert first.poll() is None
        time.sleep(0.001)
    first.kill()
    first.wait()
    assert half.exists()
    assert not half.with_name("mlflow.db").exists()

    connect(settings).prepare()
    assert MlflowClient(connect(settings).uri).get_experiment_by_name("selectivity")
    assert not half.exists()


def test_commit_of_the_code_and_absence_outside_a_repository(tmp_path: Path) -> None:
    package = tmp_path / "app"
    package.mkdir()
    (package / "__init__.py").touch()
    (tmp_path / "conf").mkdir()

    def git(*arguments: str) -> str | None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        return origin.git(tmp_path, *identity, *arguments)

    assert origin.find_commit(package) == {}
    git("init")
    assert origin.find_commit(package) == {}  # somebody else's repository: our file is not in it
    git("add", ".")
    git("commit", "-m", "first")
    head = git("rev-parse", "HEAD")
    expected = {"mlflow.source.git.commit": head, "git.dirty": "false"}
    assert origin.find_commit(package) == expected
    (tmp_path / "outputs").write_text("results do not make the code dirty")
    assert origin.find_commit(package) == expected
    (package / "new_metric.py").touch()
    assert origin.find_commit(package) == {**expected, "git.dirty": "true"}


def test_versions() -> None:
    found = origin.versions()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"numpy", "mlflow", "hydra-core", "pandas", "scipy"} <= found.keys()


def test_the_command_that_opens_the_pages(made: Path, tmp_path: Path) -> None:
    (tmp_path / "my runs").mkdir()
    shutil.copy(made, tmp_path / "my runs")
    settings = Tracking(name="sqlite", folder=str(tmp_path / "my runs"))
    uri = f"sqlite:///{tmp_path}/my runs/mlflow.db"
    assert connect(settings).uri == uri
    page = "#/experiments/1/runs?workflowType=machine_learning"
    assert connect(settings).how_to_compare() == (
        "Compare: MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false "
        f"{sys.executable} -m mlflow server --workers 1 --backend-store-uri '{uri}'\n"
        f"    then: http://127.0.0.1:5000/{page}"
    )
    alone, query = page.replace("runs?", "runs/abc?"), "viewStateShareKey=abc"
    assert connect(settings).how_to_compare("abc", query).splitlines()[1:] == [
        f"    then: http://127.0.0.1:5000/{page}&{query}",
        f"    page: http://127.0.0.1:5000/{alone}",
    ]


# --- what can be wrong ----------------------------------------------------------------------------


def refused(settings: Tracking) -> str:
    with pytest.raises(InputError) as caught:
        connect(settings).prepare()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = refused(Tracking(name="sqlite", folder=str(tmp_path / "file" / "mlruns")))
    assert message.startswith(f"cannot keep runs in {tmp_path}/file/mlruns: Not a directory")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("notes on selectivity, kept in an odd place")
    message = refused(Tracking(name="sqlite", folder=str(tmp_path)))
    assert f"cannot keep runs in {tmp_path}/mlflow.db: file is not a database" in message


def test_a_damaged_database(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    message = refused(Tracking(name="sqlite", folder=str(tmp_path)))
    assert f"cannot keep runs in {tmp_path}/mlflow.db" in message


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_database_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch(0o444)
    message = refused(Tracking(name="sqlite", folder=str(tmp_path)))
    assert f"cannot keep runs in {tmp_path}/mlflow.db: attempt to write a readonly" in message


@pytest.mark.parametrize("name", ["what?", "a%20b"])
def test_a_folder_that_sqlite_would_misread(tmp_path: Path, name: str) -> None:
    assert "tracking.folder=" in refused(Tracking(name="sqlite", folder=str(tmp_path / name)))


def test_a_deleted_experiment(store: Tracking) -> None:
    settings = Tracking(name="sqlite", folder=store.folder, experiment="old")
    connect(settings).prepare()
    client = MlflowClient(connect(store).uri)
    experiment = client.get_experiment_by_name("old")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    assert refused(settings) == (
        f"the experiment 'old' was deleted from {connect(store).uri}; restore it by "
        f"`MLFLOW_TRACKING_URI='{connect(store).uri}' {sys.executable} -m mlflow experiments "
        f"restore --experiment-id {experiment.experiment_id}`, "
        "or choose another name with tracking.experiment=<name>"
    )


@pytest.mark.parametrize("found", ["ffffffffffff", "0584bdc529eb"])  # later, and one of the first
def test_the_tables_of_another_mlflow(store: Tracking, tmp_path: Path, found: str) -> None:
    database = Path(shutil.copy(Path(store.folder, "mlflow.db"), tmp_path))
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [found])
    before, settings = database.read_bytes(), Tracking(name="sqlite", folder=str(tmp_path))
    another = ", or choose another folder with tracking.folder=<folder>"
    if found == "0584bdc529eb":
        upgrade = f"{sys.executable} -m mlflow db upgrade sqlite:///{database}"
        assert refused(settings) == (
            f"{database} is of an MLflow older than {mlflow.__version__}: copy it, in case, and "
            f"bring it up to date by `{upgrade}`{another}"
        )
    else:
        for number, version in enumerate(("3.1.0", "9.0.0")):
            written = tmp_path / f"artifacts/{number}/artifacts/versions.json"
            written.parent.mkdir(parents=True)
            written.write_text(f'{{"mlflow": "{version}"}}')
            os.utime(written, (number, number))
        assert refused(settings) == (
            f"{database} is of a newer MLflow (9.0.0, says its last run) than "
            f"{mlflow.__version__}: upgrade MLflow here "
            f"(`{sys.executable} -m pip install --upgrade mlflow`){another}"
        )
    assert database.read_bytes() == before


@pytest.mark.parametrize(
    "uri", ["ftp://host", "mlruns", "http://", "postgresql://u:pw@host/db",
            "http://host:5000/#/experiments/1", "http://host:5000/?workspace=a"],
)  # fmt: skip
def test_an_address_of_no_server(uri: str) -> None:
    message = refused(Tracking(name="server", uri=uri))
    assert "is no address of a tracking server" in message
    assert "pw" not in message


def test_credentials_do_not_belong_in_the_address() -> None:
    message = refused(Tracking(name="server", uri="http://me:secret@host:5000"))
    assert "MLFLOW_TRACKING_PASSWORD" in message
    assert "secret" not in message


def test_a_server_that_is_not_there() -> None:
    began = time.monotonic()
    uri = f"http://127.0.0.1:{free_port()}"
    message = refused(Tracking(name="server", uri=uri))
    expected = "does not answer: Connection refused; start it or use tracking=sqlite"
    assert message == f"tracking server {uri} {expected}"
    assert time.monotonic() - began < 5


def test_a_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert "does not answer: timed out" in refused(Tracking(name="server", uri=uri))


class NoMlflow(http.server.BaseHTTPRequestHandler):
    status = 404
    came: ClassVar[list[str | None]] = []  # who asks for more than its health

    def do_GET(self) -> None:
        if not self.path.endswith("/health"):
            self.came.append(self.headers["Authorization"])
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def no_mlflow() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), NoMlflow)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_server_that_is_not_mlflow(no_mlflow: str) -> None:
    message = refused(Tracking(name="server", uri=no_mlflow, patience_s=0))
    assert f"tracking server {no_mlflow} failed" in message


def test_credentials_come_from_the_environment(
    no_mlflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Tracking(name="server", uri=no_mlflow, patience_s=0)
    monkeypatch.setattr(NoMlflow, "status", 401)
    assert "failed: it does not let you in; MLFLOW_TRACKING_USERNAME and" in refused(settings)
    assert set(NoMlflow.came) == {None}
    monkeypatch.setattr(NoMlflow, "came", [])
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "secret")
    message = refused(settings)
    assert "it does not let you in" in message and "secret" not in message
    assert f"Basic {base64.b64encode(b'me:secret').decode()}" in NoMlflow.came
