"""Runs arrive in the store whole, whoever else is writing, and end in the state they deserve."""

import http.server
import logging
import math
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as StoredRun

from app.config import Tracking
from app.errors import InputError
from app.record import tracking

REPOSITORY = Path(__file__).parents[2]
TABLE = pd.DataFrame({"path": ["a.png", "b.png"], "category": ["adult", "car"]})


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    """A store of its own in a folder whose name needs quoting; building one takes seconds."""
    settings = Tracking(name="sqlite", folder=str(tmp_path_factory.mktemp("a store") / "é #1"))
    tracking.prepare(settings)
    return settings


def stored(settings: Tracking, run_id: str | None) -> StoredRun:
    assert run_id is not None
    return MlflowClient(tracking.store_uri(settings)).get_run(run_id)


def test_everything_logged_can_be_read_back(store: Tracking, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "config.yaml").write_text("a: 1\n")
    (tmp_path / "figures" / "scores.svg").write_text("<svg/>")
    params: dict[str, Any] = {f"group.number_{i}": i for i in range(150)}
    params |= {"trained": True, "checkpoint": None, "widths": [8, 16], "long": "x" * 7000}
    with tracking.start(
        store,
        name="mini/conv13/l2/fsi",
        params=params,
        tags={"model": "mini"} | {f"tag_{i}": "x" for i in range(150)},
        description="Which units are face-selective?",
    ) as run:
        assert stored(store, run.id).info.status == "RUNNING"
        run.metrics({"selectivity/percent": 12.5, "selectivity/count": 8})
        run.metrics({"curve": 0.5}, step=3)
        run.curves({"grid": {0: 0.1, 5: 0.2, 7: math.nan}, "lost": {}})
        run.tags({"lesion": "does not apply: no face head"})
        run.params({"late": 1.5})
        run.dataset(TABLE, name="synthetic", source="drawn by app.stimuli", digest="0123" * 16)
        run.artifacts(tmp_path)
    found = stored(store, run.id)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == "mini/conv13/l2/fsi"
    assert found.data.metrics == {
        "selectivity/percent": 12.5,
        "selectivity/count": 8.0,
        "curve": 0.5,
        "grid": 0.2,
    }
    history = MlflowClient(tracking.store_uri(store)).get_metric_history(run.id, "grid")
    assert [(point.step, point.value) for point in history] == [(0, 0.1), (5, 0.2)]
    assert found.data.params["group.number_149"] == "149"
    assert len(found.data.params) == 155
    assert found.data.params["trained"] == "true"
    assert found.data.params["checkpoint"] == "null"
    assert found.data.params["widths"] == "[8, 16]"
    assert found.data.params["late"] == "1.5"
    assert found.data.params["long"] == "x" * 5999 + "…"
    tags = found.data.tags
    assert tags["model"] == "mini"
    assert tags["tag_149"] == "x"
    assert tags["lesion"] == "does not apply: no face head"
    assert tags["mlflow.note.content"] == "Which units are face-selective?"
    assert "mlflow.user" in tags
    assert "mlflow.parentRunId" not in tags
    assert "error" not in tags
    assert found.inputs is not None
    (used,) = found.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("synthetic", "0123" * 4)
    assert '"num_rows": 2' in str(used.dataset.profile)
    assert "category" in str(used.dataset.schema)
    labels = {tag.key: tag.value for tag in used.tags}
    assert labels == {"mlflow.data.context": "stimuli", "digest": "0123" * 16}
    client = MlflowClient(tracking.store_uri(store))
    (history,) = client.get_metric_history(found.info.run_id, "curve")
    assert history.step == 3
    assert {file.path for file in client.list_artifacts(found.info.run_id)} == {
        "config.yaml",
        "figures",
    }
    artifacts = Path(store.folder, "artifacts", found.info.run_id, "artifacts")
    assert (artifacts / "figures" / "scores.svg").read_text() == "<svg/>"


def test_a_sweep_nests_its_jobs(store: Tracking, tmp_path: Path) -> None:
    (tmp_path / "report.csv").write_text("a\n")
    parent = tracking.open_run(store, "sweep", {"metric": "fsi,ttest"}, {"jobs": "2"}, "A sweep.")
    ids = []
    for metric in ("fsi", "ttest"):
        with tracking.start(store, name=metric, params={}, parent=parent) as run:
            ids.append(run.id)
    assert stored(store, parent).info.status == "RUNNING"
    tracking.finish(
        store, parent, status="FAILED", metrics={"n": 2}, tags={"failed": "1"}, artifacts=tmp_path
    )
    found = stored(store, parent)
    assert found.info.status == "FAILED"
    assert found.data.metrics == {"n": 2.0}
    assert found.data.tags["failed"] == "1"
    client = MlflowClient(tracking.store_uri(store))
    children = client.search_runs(
        [found.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent}'"
    )
    assert {child.info.run_id for child in children} == set(ids)
    assert [file.path for file in client.list_artifacts(parent or "")] == ["report.csv"]


def test_an_exception_fails_the_run_and_goes_on(store: Tracking) -> None:
    with (
        pytest.raises(InputError, match="no such layer"),
        tracking.start(store, name="job", params={}) as run,
    ):
        raise InputError("no such layer")
    found = stored(store, run.id)
    assert found.info.status == "FAILED"
    assert found.data.tags["error"] == "no such layer"


def test_a_run_can_fail_without_an_exception(store: Tracking) -> None:
    with tracking.start(store, name="job", params={}) as run:
        run.fail("one of eight jobs failed")
    assert stored(store, run.id).info.status == "FAILED"
    assert stored(store, run.id).data.tags["error"] == "one of eight jobs failed"


def test_ctrl_c_kills_the_run(store: Tracking) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        tracking.start(store, name="job", params={}) as run,
    ):
        raise KeyboardInterrupt
    assert stored(store, run.id).info.status == "KILLED"


def test_metrics_that_are_not_finite_become_a_tag(store: Tracking) -> None:
    with tracking.start(store, name="job", params={}) as run:
        run.metrics({"lesion/spearman": math.nan, "selectivity/count": 0})
        run.metrics({"odd": math.inf})
    found = stored(store, run.id)
    assert found.data.metrics == {"selectivity/count": 0.0}
    assert found.data.tags["undefined_metrics"] == "lesion/spearman=nan, odd=inf"


def test_nothing_is_recorded_without_tracking(tmp_path: Path) -> None:
    settings = Tracking(name="none", folder=str(tmp_path / "mlruns"))
    tracking.prepare(settings)
    with tracking.start(settings, name="job", params={"a": 1}) as run:
        assert run.id is None
        run.metrics({"a": 1.0, "b": math.nan})
        run.params({"a": 1})
        run.tags({"a": "b"})
        run.dataset(TABLE, name="a", source="b", digest="c")
        run.artifacts(tmp_path)
        run.fail("reason")
    tracking.finish(settings, tracking.open_run(settings, "sweep", {}), artifacts=tmp_path)
    assert tracking.store_uri(settings) == ""
    assert list(tmp_path.iterdir()) == []


EIGHT = """
import os, sys, time
from pathlib import Path
import pandas as pd
from app.config import Tracking
from app.record import tracking

folder, artifacts = sys.argv[1:]
settings = Tracking(name="sqlite", folder=folder)
tracking._import_mlflow("sqlite:")  # once for all eight, so that they arrive together
begin = time.monotonic() + 0.5

def work(number):
    time.sleep(begin - time.monotonic())
    table = pd.DataFrame({"path": ["a.png"], "category": ["adult"]})
    for repeat in range(3):
        params = {f"p{i}": i for i in range(60)} | {"number": number}
        with tracking.start(settings, name=f"{number}", params=params) as run:
            run.metrics({f"group/m{i}": float(i) for i in range(25)})
            run.tags({"t": str(number)})
            run.dataset(table, name="shared", source="drawn", digest="same" * 4 + str(repeat))
            run.artifacts(Path(artifacts))

children = []
for number in range(8):
    child = os.fork()
    if child == 0:
        try:
            work(number)
            os._exit(0)
        except BaseException as error:
            print(number, repr(error), flush=True)
            os._exit(1)
    children.append(child)
print([os.waitpid(child, 0)[1] for child in children])
"""


def test_eight_processes_at_once_on_a_fresh_folder(tmp_path: Path) -> None:
    artifacts = tmp_path / "artifacts"
    artifacts.mkdir()
    (artifacts / "scores.txt").write_text("1")
    settings = Tracking(name="sqlite", folder=str(tmp_path / "mlruns"))
    done = subprocess.run(
        [sys.executable, "-c", EIGHT, settings.folder, str(artifacts)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.stdout == f"{[0] * 8}\n"  # neither errors …
    assert done.stderr == ""  # … nor chatter
    client = MlflowClient(tracking.store_uri(settings))
    experiments = [found.name for found in client.search_experiments()]
    assert sorted(experiments) == ["Default", "selectivity"]
    experiment = client.get_experiment_by_name("selectivity")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name or "" for run in runs) == sorted([*"01234567"] * 3)
    for run in runs:
        assert run.info.status == "FINISHED"
        assert len(run.data.params) == 61
        assert len(run.data.metrics) == 25
        assert run.data.tags["t"] == run.data.params["number"]
        assert run.inputs is not None and len(run.inputs.dataset_inputs) == 1
        assert len(client.list_artifacts(run.info.run_id)) == 1


def test_a_process_killed_while_it_created_the_database(tmp_path: Path) -> None:
    settings = Tracking(name="sqlite", folder=str(tmp_path / "mlruns"))
    program = f"from app.record import tracking; tracking.prepare({settings!r})"
    first = subprocess.Popen(
        [sys.executable, "-c", f"from app.config import Tracking; {program}"], cwd=REPOSITORY
    )
    half = tmp_path / "mlruns" / "mlflow.db.new"
    while not (half.exists() and half.stat().st_size > 0):
        assert first.poll() is None
        time.sleep(0.001)
    first.kill()
    first.wait()
    assert half.exists()
    assert not half.with_name("mlflow.db").exists()

    tracking.prepare(settings)
    with tracking.start(settings, name="job", params={}) as run:
        pass
    assert stored(settings, run.id).info.status == "FINISHED"
    assert not half.exists()


def test_commit_of_the_code_and_absence_outside_a_repository(tmp_path: Path) -> None:
    package = tmp_path / "app"
    package.mkdir()
    (package / "__init__.py").touch()
    (tmp_path / "conf").mkdir()

    def git(*arguments: str) -> str | None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        return tracking._git(tmp_path, *identity, *arguments)

    assert tracking._commit(package) == {}
    git("init")
    assert tracking._commit(package) == {}  # somebody else's repository: our file is not in it
    git("add", ".")
    git("commit", "-m", "first")
    head = git("rev-parse", "HEAD")
    expected = {"mlflow.source.git.commit": head, "git.dirty": "false"}
    assert tracking._commit(package) == expected
    (tmp_path / "outputs").write_text("results do not make the code dirty")
    assert tracking._commit(package) == expected
    (package / "new_metric.py").touch()
    assert tracking._commit(package) == {**expected, "git.dirty": "true"}


def test_versions() -> None:
    found = tracking.versions()
    assert found["python"] == ".".join(map(str, sys.version_info[:3]))
    assert {"numpy", "mlflow", "hydra-core", "pandas", "scipy"} <= found.keys()


def test_the_command_that_opens_the_pages(store: Tracking, tmp_path: Path) -> None:
    settings = Tracking(name="sqlite", folder=str(tmp_path / "my runs"))
    uri = f"sqlite:///{tmp_path}/my runs/mlflow.db"
    assert tracking.store_uri(settings) == uri
    assert tracking.ui_command(settings) == (
        f"{sys.executable} -m mlflow ui --backend-store-uri '{uri}'"
    )
    page = "http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning"
    assert tracking.ui_page(store) == page
    server = Tracking(name="server", uri="http://host:5000/")
    assert tracking.ui_command(server) == "http://host:5000"


# --- what can be wrong ----------------------------------------------------------------------------


def refused(settings: Tracking) -> str:
    with pytest.raises(InputError) as caught:
        tracking.prepare(settings)
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


def test_a_table_that_went_missing(store: Tracking, tmp_path: Path) -> None:
    shutil.copy(Path(store.folder, "mlflow.db"), tmp_path)
    settings = Tracking(name="sqlite", folder=str(tmp_path))
    with (
        pytest.raises(InputError) as caught,
        tracking.start(settings, name="job", params={}) as run,
    ):
        with sqlite3.connect(tmp_path / "mlflow.db") as connection:
            connection.execute("DROP TABLE latest_metrics")
            connection.execute("DROP TABLE metrics")
        run.metrics({"m": 1.0})
    message = str(caught.value)
    assert message.startswith(f"tracking database sqlite:///{tmp_path}/mlflow.db failed: ")
    assert "no such table" in message
    assert len(message) < 400
    assert "\n" not in message


@pytest.mark.parametrize("name", ["what?", "a%20b"])
def test_a_folder_that_sqlite_would_misread(tmp_path: Path, name: str) -> None:
    assert "tracking.folder=" in refused(Tracking(name="sqlite", folder=str(tmp_path / name)))


def test_a_deleted_experiment(store: Tracking) -> None:
    settings = Tracking(name="sqlite", folder=store.folder, experiment="old")
    tracking.prepare(settings)
    client = MlflowClient(tracking.store_uri(store))
    experiment = client.get_experiment_by_name("old")
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    assert "experiment 'old' was deleted" in refused(settings)


@pytest.mark.parametrize("uri", ["ftp://host", "mlruns", "http://", "postgresql://u:pw@host/db"])
def test_an_address_of_no_server(uri: str) -> None:
    message = refused(Tracking(name="server", uri=uri))
    assert "is no address of a tracking server" in message
    assert "pw" not in message


def test_credentials_do_not_belong_in_the_address() -> None:
    message = refused(Tracking(name="server", uri="http://me:secret@host:5000"))
    assert "MLFLOW_TRACKING_PASSWORD" in message
    assert "secret" not in message


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_server_that_is_not_there() -> None:
    began = time.monotonic()
    uri = f"http://127.0.0.1:{free_port()}"
    message = refused(Tracking(name="server", uri=uri))
    expected = "does not answer: Connection refused; start it or use tracking=sqlite"
    assert message == f"tracking server {uri} {expected}"
    assert time.monotonic() - began < 5


def test_a_server_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert "does not answer: timed out" in refused(Tracking(name="server", uri=uri))


class NoMlflow(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(404)
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
    message = refused(Tracking(name="server", uri=no_mlflow))
    assert f"tracking server {no_mlflow} failed" in message


@pytest.fixture
def server(store: Tracking, tmp_path: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    shutil.copy(Path(store.folder, "mlflow.db"), tmp_path / "server.db")  # spares its making
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    command += ["--artifacts-destination", str(tmp_path / "kept")]
    with open(tmp_path / "server.log", "wb") as said:
        process = subprocess.Popen(
            command,
            stdout=said,
            stderr=said,
            cwd=tmp_path,
            start_new_session=True,
            env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        )
    uri = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            tracking._check_server(uri)
            break
        except InputError:
            time.sleep(0.2)
    yield uri, process
    stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, 9)  # the server and its workers
        process.wait()


def test_a_server_and_its_death(
    server: tuple[str, "subprocess.Popen[bytes]"],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    uri, process = server
    results = tmp_path / "results"
    results.mkdir()
    (results / "scores.txt").write_text("1")
    settings = Tracking(name="server", uri=uri, experiment="served")
    with tracking.start(settings, name="job", params={"a": 1}) as run:
        run.metrics({"m": 1.0})
        run.dataset(TABLE, name="synthetic", source="drawn", digest="abc")
        run.artifacts(results)
    found = stored(settings, run.id)
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"m": 1.0}
    assert found.inputs is not None and len(found.inputs.dataset_inputs) == 1
    assert len(list((tmp_path / "kept").rglob("scores.txt"))) == 1
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(InputError) as caught,
        tracking.start(settings, name="job", params={"a": 1}) as run,
    ):
        stop(process)
        run.metrics({"m": 1.0})
    assert str(caught.value) == f"tracking server {uri} failed: Connection refused"
    assert caplog.messages == []
