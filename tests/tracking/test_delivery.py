"""Runs arrive in the store whole and once, whatever dies on the way, and none stays running."""

from __future__ import annotations

import json
import math
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as StoredRun
from sqlalchemy import event
from sqlalchemy.pool import Pool

from app import sync
from app.config.schema import Tracking
from app.errors import InputError
from app.sweeps.parent import settle_dead
from app.tracking import run as tracked
from app.tracking.record import Description, Record, read_undefined
from app.tracking.run import MACHINE, describe_run, end_run, find_runs, open_run, settle
from app.tracking.store import Store, connect
from tests.conftest import SMALL, finished, run_app
from tests.tracking.serving import Server, free_port, postgresql, why_no_postgresql

REPOSITORY = Path(__file__).parents[2]
TABLE = pd.DataFrame({"path": ["a.png", "b.png"], "category": ["adult", "car"]})


def start(
    settings: Tracking, folder: Path, name: str, params: dict[str, Any], **more: Any
) -> AbstractContextManager[Record]:
    return tracked.start(connect(settings), folder, Description(name, params, **more))


def stored(settings: Tracking, run_id: str | None) -> StoredRun:
    assert run_id is not None
    return MlflowClient(connect(settings).uri).get_run(run_id)


def children_of(settings: Tracking, parent: str | None) -> list[StoredRun]:
    return connect(settings).children(stored(settings, parent))


def all_runs(settings: Tracking) -> list[StoredRun]:
    client = MlflowClient(connect(settings).uri)
    experiment = client.get_experiment_by_name(settings.experiment)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def outcomes(folder: Path) -> list[str]:
    """What became of the runs at and below a folder."""
    return [outcome for outcome, _ in settle(find_runs(folder))]


def test_everything_logged_can_be_read_back(store: Tracking, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "config.yaml").write_text("a: 1\n")
    (tmp_path / "figures" / "scores.svg").write_text("<svg/>")
    params: dict[str, Any] = {f"group.number_{i}": i for i in range(150)}
    params |= {"trained": True, "checkpoint": None, "widths": [8, 16], "long": "x" * 7000}
    tags = {"model": "mini"} | {f"tag_{i}": "x" for i in range(150)}
    name, sentence = "mini/conv13/l2/fsi" + "x" * 300, "Which units are face-selective?"
    with start(store, tmp_path, name, params, tags=tags, sentence=sentence) as run:
        assert stored(store, run.run_id).info.status == "RUNNING"
        run.add_metrics({"selectivity/percent": 12.5, "selectivity/count": 8, "r": math.nan})
        run.add_metrics({"curve": 0.5, "odd": math.inf}, step=3)
        run.send()
        assert stored(store, run.run_id).data.metrics["selectivity/percent"] == 12.5
        run.add_curves({"grid": {0: 0.1, 5: 0.2, 7: math.nan}, "lost": {}})
        run.add_tags({"lesion": "does not apply: no face head"})
        run.add_dataset(TABLE, name="synthetic", source="drawn by app.stimuli", digest="0123" * 16)
        run.add_artifacts(tmp_path)
    assert run.undelivered is None
    found, client = stored(store, run.run_id), MlflowClient(connect(store).uri)
    assert found.info.status == "FINISHED"
    assert found.info.run_name == name[:249] + "…", "as PostgreSQL takes it"
    assert found.data.metrics == {
        "selectivity/percent": 12.5, "selectivity/count": 8.0, "curve": 0.5, "grid": 0.2
    }  # fmt: skip
    assert found.data.tags["undefined_metrics"] == "r=nan, odd=inf"
    for name, points in {"grid": [(0, 0.1), (5, 0.2)], "curve": [(3, 0.5)]}.items():
        history = client.get_metric_history(run.run_id, name)
        assert [(point.step, point.value) for point in history] == points
    assert len(found.data.params) == 154
    assert found.data.params.items() >= {
        "group.number_149": "149", "trained": "true", "checkpoint": "null", "widths": "[8, 16]",
        "long": "x" * 5999 + "…",
    }.items()  # fmt: skip
    expected = {"model": "mini", "tag_149": "x", "lesion": "does not apply: no face head"}
    assert found.data.tags.items() >= {**expected, "mlflow.note.content": sentence}.items()
    assert "mlflow.user" in found.data.tags
    assert not {"mlflow.parentRunId", "error"} & set(found.data.tags)
    assert found.inputs is not None
    (used,) = found.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("synthetic", "0123" * 4)
    assert '"num_rows": 2' in str(used.dataset.profile)
    assert "category" in str(used.dataset.schema)
    labels = {tag.key: tag.value for tag in used.tags}
    assert labels == {"mlflow.data.context": "stimuli", "digest": "0123" * 16}
    names = {file.path for file in client.list_artifacts(run.run_id)}
    assert names == {"config.yaml", "figures"}, "the results, and nothing of the keeping"
    artifacts = Path(store.folder, "artifacts", found.info.run_id, "artifacts")
    assert (artifacts / "figures" / "scores.svg").read_text() == "<svg/>"


def test_a_sweep_nests_its_jobs(store: Tracking, tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "report.csv").write_text("a\n")
    sweep = Description("sweep", tags={"jobs": "2"}, sentence="A sweep.")
    parent = open_run(connect(store), tmp_path, sweep)
    assert open_run(connect(store), tmp_path, sweep) == parent, "the second that asks"
    ids = []
    for metric in ("fsi", "ttest"):
        folder = tmp_path / metric
        with start(store, folder, metric, {}, parent=parent) as run:
            ids.append(run.run_id)
    assert stored(store, parent).info.status == "RUNNING"
    (tmp_path / "report" / "left.csv").write_text("by an earlier sweep of this folder\n")
    describe_run(tmp_path, "What it found.", tmp_path / "report", ["report.csv"])
    end_run(tmp_path, "FAILED", {"n": 2})
    assert outcomes(tmp_path) == ["complete", "complete", "delivered"]
    found = stored(store, parent)
    assert found.info.status == "FAILED"
    assert found.data.metrics == {"n": 2.0}
    assert found.data.tags["jobs"] == "2"
    children = children_of(store, parent)
    assert [child.info.run_id for child in children] == ids
    client = MlflowClient(connect(store).uri)
    assert [file.path for file in client.list_artifacts(parent or "")] == ["report.csv"]


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (InputError("no such layer"), "FAILED", "no such layer"),
        (KeyboardInterrupt(), "KILLED", "interrupted"),
    ],
)
def test_an_exception_ends_the_run_and_goes_on(
    store: Tracking, tmp_path: Path, error: BaseException, status: str, reason: str
) -> None:
    with pytest.raises(type(error)), start(store, tmp_path, "job", {}) as run:
        raise error
    found = stored(store, run.run_id)
    assert (found.info.status, found.data.tags["error"]) == (status, reason)
    with start(store, tmp_path, "job", {}) as again:
        assert "error" not in stored(store, run.run_id).data.tags
    assert again.run_id == run.run_id, "the same job in the same folder is one run"
    found = stored(store, run.run_id)
    assert found.info.status == "FINISHED"
    assert "error" not in found.data.tags


def test_nothing_is_recorded_without_tracking(tmp_path: Path) -> None:
    settings = Tracking(name="none", folder=str(tmp_path / "mlruns"))
    connect(settings).prepare()
    with start(settings, tmp_path, "job", {"a": 1}) as run:
        assert run.run_id is None
        run.add_metrics({"a": 1.0, "b": math.nan})
        run.send()
        run.add_tags({"a": "b"})
        run.add_dataset(TABLE, name="a", source="b", digest="c")
        run.add_artifacts(tmp_path)
    assert run.undelivered is None
    assert open_run(connect(settings), tmp_path, Description("sweep")) is None
    end_run(tmp_path, "FINISHED", {})
    assert connect(settings).uri == ""
    assert list(tmp_path.iterdir()) == []


def test_a_record_of_another_version_is_read(store: Tracking, tmp_path: Path) -> None:
    """One with a field that this version does not know: its run is delivered all the same."""
    assert open_run(connect(store), tmp_path, Description("sweep")) is not None
    path = tmp_path / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "announced": True}))
    assert outcomes(tmp_path) == ["delivered"]
    assert "announced" not in json.loads(path.read_text())


def test_a_table_that_went_missing(store: Tracking, tmp_path: Path) -> None:
    shutil.copy(Path(store.folder, "mlflow.db"), tmp_path)
    settings = Tracking(name="sqlite", folder=str(tmp_path))
    with start(settings, tmp_path / "run", "job", {}) as run:
        with sqlite3.connect(tmp_path / "mlflow.db") as connection:
            connection.execute("DROP TABLE latest_metrics")
            connection.execute("DROP TABLE metrics")
        run.add_metrics({"m": 1.0})
    message = str(run.undelivered)
    assert message.startswith(f"tracking database sqlite:///{tmp_path}/mlflow.db failed: ")
    assert "no such table" in message
    assert len(message) < 400
    assert "\n" not in message


@contextmanager
def pages_at_most(limit: list[int]) -> Iterator[None]:
    """Databases have no room for more pages than the last of `limit` says, as on a full disk."""

    def hold(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {limit[-1]}").close()

    event.listen(Pool, "checkout", hold)
    try:
        yield
    finally:
        event.remove(Pool, "checkout", hold)


def test_a_full_disk_under_the_database(store: Tracking, tmp_path: Path) -> None:
    database = Path(shutil.copy(Path(store.folder, "mlflow.db"), tmp_path))
    settings = Tracking(name="sqlite", folder=str(tmp_path))
    room = [2**30]
    with pages_at_most(room):
        with start(settings, tmp_path / "run", "job", {}) as run:
            room.append(database.stat().st_size // 4096)
            run.add_metrics({f"m{number}": 1.0 for number in range(500)})
        assert run.undelivered == (
            f"tracking database sqlite:///{tmp_path}/mlflow.db failed: its disk is full; make "
            "room, or choose another folder with tracking.folder=<folder>"
        )
        assert sync.sync([tmp_path])[0] == {"failed": 1}
        room.append(2**30)
        assert sync.sync([tmp_path]) == ({"delivered": 1}, [])
    found = stored(settings, run.run_id)
    assert (found.info.status, len(found.data.metrics)) == ("FINISHED", 500)


def test_no_room_for_a_database(tmp_path: Path) -> None:
    with pages_at_most([20]), pytest.raises(InputError, match=r"its disk is full; make room"):
        connect(Tracking(name="sqlite", folder=str(tmp_path))).prepare()
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db.lock"]


SHORT = """
import resource, signal, sys
from pathlib import Path
from app.errors import InputError
from app.tracking.record import write_text

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))  # a write ends there, short
for name in ("old", "new"):
    try:
        write_text(Path(sys.argv[1], name), "x" * 30_000)
    except InputError as error:
        print(error)
"""


def test_a_small_file_is_whole_where_the_disk_takes_half(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("before")
    command = [sys.executable, "-c", SHORT, str(tmp_path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60)
    assert [line.partition(": ")[0] for line in done.stdout.splitlines()] == [
        f"{tmp_path}/{name} cannot be written" for name in ("old", "new")
    ], done.stderr
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("old", "before")]


# --- delivered in part ----------------------------------------------------------------------------


def log_all(run: Record, folder: Path) -> None:
    (folder / "results").mkdir(exist_ok=True)
    for name in ("scores.txt", "config.yaml"):
        (folder / "results" / name).write_text(name)
    for step in range(3):
        run.add_metrics({"loss": 1 / (step + 1), "seconds": 2.0}, step)
    run.add_metrics({"undefined": math.nan, "r": -0.5})
    run.add_curves({"curve": {0: 1.0, 10: 2.0}})
    run.add_tags({"note": "said"})
    run.add_dataset(TABLE, name="shown", source="drawn", digest="ab" * 20)
    run.set_model("mini/a", "cd" * 20, {"model": "mini", "model.hidden": 8}, {"trained": "true"})
    run.add_artifacts(folder / "results")


def whole(settings: Tracking, run_id: str) -> dict[str, Any]:
    """All that the store has of a run, but for what is its own."""
    client = MlflowClient(connect(settings).uri)
    run = client.get_run(run_id)
    assert run.inputs is not None
    own = ("record", "folder", "mlflow.artifactLocation")
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "params": run.data.params,
        "tags": {name: text for name, text in run.data.tags.items() if name not in own},
        "points": {
            name: [(point.step, point.value) for point in client.get_metric_history(run_id, name)]
            for name in run.data.metrics
        },
        "datasets": [each.dataset.digest for each in run.inputs.dataset_inputs],
        "models": [each.model_id for each in run.inputs.model_inputs],
        "artifacts": sorted(file.path for file in client.list_artifacts(run_id)),
    }


def test_runs_that_ask_the_same_network_share_it_in_the_store(store: Tracking, tmp_path: Path):
    settings = Tracking(name="sqlite", folder=store.folder, experiment="networks")
    asked = {"first": ("mini", "ab"), "again": ("mini", "ab"), "other weights": ("mini", "cd"),
             "other name": ("mini's 2.0", "ab")}  # fmt: skip
    ids = {}
    for name, (network, digest) in asked.items():
        with start(settings, tmp_path / name, name, {}) as run:
            run.set_model(network, digest, {"model.hidden": 8}, {"trained": "true"})
        (used,) = stored(settings, run.run_id).inputs.model_inputs  # type: ignore[union-attr]
        ids[name] = used.model_id
    assert ids["first"] == ids["again"] and len(set(ids.values())) == 3
    model = MlflowClient(connect(settings).uri).get_logged_model(ids["again"])
    assert (model.name, model.model_type, str(model.status)) == ("mini", "network", "READY")
    assert model.params == {"model.hidden": "8"} and model.tags["trained"] == "true"


def test_undefined_metrics_of_the_store_are_read_back() -> None:
    assert read_undefined("a/b=nan, c=inf") == pytest.approx(
        {"a/b": math.nan, "c": math.inf}, nan_ok=True
    )
    assert read_undefined("") == {}


def gone(*_: Any, **__: Any) -> Any:
    raise InputError("away")


@pytest.mark.parametrize("answer_lost", [False, True])
def test_a_run_delivered_in_part_is_completed_and_never_doubled(
    store: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer_lost: bool
) -> None:
    settings = Tracking(name="sqlite", folder=store.folder, experiment=f"parts {answer_lost}")
    with start(settings, tmp_path / "whole", "job", {"a": 1}) as run:
        log_all(run, tmp_path / "whole")
    assert run.run_id is not None
    expected = whole(settings, run.run_id)

    call, calls = Store.call, Counter[str]()
    dies_at = -1

    def failing(store: Store, function: Callable[[MlflowClient], Any]) -> Any:
        """The store goes away at one call: before it, or when it has done what was asked."""
        calls["all"] += 1
        away = 0 <= dies_at < calls["all"]
        if away and not (answer_lost and calls["all"] == dies_at + 1):
            raise InputError("away")
        found = call(store, function)
        if away:
            raise InputError("away")
        return found

    monkeypatch.setattr(Store, "call", failing)
    parent = open_run(connect(settings), tmp_path / "sweep", Description("sweep"))
    expected["tags"]["mlflow.parentRunId"] = parent
    dies_at, died = 0, 1
    while died:
        calls.clear()
        folder = tmp_path / "sweep" / str(dies_at)
        with start(settings, folder, "job", {"a": 1}, parent=parent) as run:
            log_all(run, folder)
        record = json.loads((folder / "record.json").read_text())
        died = run.undelivered is not None
        assert record["delivered"] is not died
        assert record["status"] == "FINISHED"
        last, dies_at = dies_at, -1
        assert outcomes(folder) == ["delivered" if died else "complete"]
        assert outcomes(folder) == ["complete"]
        made = [run for run in all_runs(settings) if run.data.tags["folder"] == str(folder)]
        assert len(made) == 1
        assert whole(settings, made[0].info.run_id) == expected
        dies_at = last + 1
    assert dies_at > 6, "each call of a delivery was the last once"


def test_a_job_begins_without_its_store_and_the_same_job_again_delivers_it(
    store: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = open_run(connect(store), tmp_path, Description("sweep"))
    with monkeypatch.context() as away:
        away.setattr(Store, "call", gone)
        with start(store, tmp_path / "0", "job", {}, parent=parent) as run:
            log_all(run, tmp_path / "0")
        assert (run.run_id, run.undelivered) == (None, "away")
        alone = start(store, tmp_path / "alone", "job", {})
        with pytest.raises(InputError, match="away"):  # a run of its own does not begin
            alone.__enter__()
        assert not (tmp_path / "alone" / "record.json").exists()
    with start(store, tmp_path / "0", "job", {}, parent=parent) as run:
        log_all(run, tmp_path / "0")
    (child,) = children_of(store, parent)
    assert (child.info.run_id, child.info.status) == (run.run_id, "FINISHED")
    again = whole(store, child.info.run_id)
    assert [step for step, _ in again["points"]["loss"]] == [0, 1, 2]


def test_the_next_start_delivers_a_sweep_that_ended_without_its_store(
    store: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Tracking(name="sqlite", folder=store.folder, experiment="next")
    sweep = tmp_path / "sweep"
    parent = open_run(connect(settings), sweep, Description("sweep"))
    with monkeypatch.context() as away:
        away.setattr(Store, "call", gone)
        with start(settings, sweep / "0", "job", {}, parent=parent) as run:
            log_all(run, sweep / "0")
        end_run(sweep, "FINISHED", {"jobs/finished": 1.0})
        assert list(settle(find_runs(sweep))) == [("failed", "away"), ("failed", "")]
    assert [found.info.status for found in all_runs(settings)] == ["RUNNING"]
    settle_dead(connect(settings))
    with start(settings, tmp_path / "next", "next", {}):
        states = {found.info.run_name: found.info.status for found in all_runs(settings)}
    assert states == {"sweep": "FINISHED", "job": "FINISHED", "next": "RUNNING"}
    (child,) = children_of(settings, parent)
    assert whole(settings, child.info.run_id)["artifacts"] == ["config.yaml", "scores.txt"]
    assert stored(settings, parent).data.metrics == {"jobs/finished": 1.0}


# --- who is alive ---------------------------------------------------------------------------------

LEFT = """
import os, signal, sys
from pathlib import Path
from app.config.schema import Tracking
from app.tracking.record import Description
from app.tracking.run import occupy, open_run, start
from app.tracking.store import connect

store = connect(Tracking(name="sqlite", folder=sys.argv[1], experiment="left"))
folder = Path(sys.argv[2])
parent = open_run(store, folder, Description("sweep"))
presence = occupy(folder)
with start(store, folder / "0", Description("job", {"a": 1}, parent=parent)) as run:
    run.add_metrics({"m": 1.0})
    print("ready", flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_dead_are_marked_and_the_living_are_not(
    store: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Tracking(name="sqlite", folder=store.folder, experiment="left")
    connect(settings).prepare()
    process = subprocess.Popen(
        [sys.executable, "-c", LEFT, store.folder, str(tmp_path / "sweep")],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdin is not None
    assert process.stdout.readline() == "ready\n"

    def states() -> Counter[str]:
        return Counter(run.info.status for run in all_runs(settings))

    with start(settings, tmp_path / "mine", "mine", {}) as run:
        settle_dead(connect(settings))  # this process lives, too
        assert states() == {"RUNNING": 3}
        with pytest.raises(InputError, match="another run writes to"):
            tracked.occupy(tmp_path / "sweep" / "0")
    assert states() == {"RUNNING": 2, "FINISHED": 1}
    process.communicate("go\n")
    assert process.returncode == -9

    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("platform.node", lambda: "another-machine")
        settle_dead(connect(settings))
        assert sync.sync([tmp_path])[0] == {"complete": 1, "running": 2}
        assert states() == {"RUNNING": 2, "FINISHED": 1}, "it cannot know"
    settle_dead(connect(settings))
    with start(settings, tmp_path / "next", "next", {}):
        assert states() == {"KILLED": 2, "RUNNING": 1, "FINISHED": 1}
    killed = [found for found in all_runs(settings) if found.info.status == "KILLED"]
    assert {found.data.tags["error"] for found in killed} == {tracked.DIED}
    assert run.run_id not in {found.info.run_id for found in killed}

    # The same job again, on another machine: requeued.
    (job,) = [found for found in killed if found.info.run_name == "job"]
    parent = job.data.tags["mlflow.parentRunId"]
    monkeypatch.setattr("platform.node", lambda: "another-machine")
    folder = tmp_path / "sweep" / "0"
    with start(settings, folder, "job", {"a": 1}, parent=parent) as again:
        assert again.run_id == job.info.run_id
        assert stored(settings, again.run_id).info.status == "RUNNING"
    assert stored(settings, again.run_id).info.status == "FINISHED"


def died(folder: Path) -> ExitStack:
    """As a process leaves a folder that is gone: the system releases its lock."""
    folder.mkdir()
    (folder / MACHINE).write_text(platform.node())
    return ExitStack()


def test_what_began_on_another_machine_ends_by_word(
    store: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Tracking(name="sqlite", folder=store.folder, experiment="word")
    connect(settings).prepare()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("platform.node", lambda: "node7")
        elsewhere.setattr(tracked, "occupy", died)
        run = start(settings, tmp_path / "run", "job", {})
        run.__enter__()
    assert sync.sync([tmp_path])[0] == {"running": 1}
    assert sync.sync([tmp_path], ended=True)[0] == {"delivered": 1}
    assert [found.info.status for found in all_runs(settings)] == ["KILLED"]
    assert sync.sync([tmp_path])[0] == {"complete": 1}


# --- with others ----------------------------------------------------------------------------------

SEVERAL = """
import os, sys, time
from pathlib import Path
import pandas as pd
from app.config.schema import Tracking
from app.tracking.client import import_mlflow
from app.tracking.record import Description
from app.tracking.run import start
from app.tracking.store import connect

settings, folder = Tracking(**eval(sys.argv[1])), Path(sys.argv[2])
import_mlflow(connect(settings).uri)  # once for all: they arrive together
begin = time.monotonic() + 0.5

def work(number):
    time.sleep(max(0, begin - time.monotonic()))
    connect(settings).prepare()
    table = pd.DataFrame({"path": ["a.png"], "category": ["adult"]})
    place = folder / str(number)
    place.mkdir(parents=True)
    (place / "scores.txt").write_text("1")
    params = {f"p{i}": i for i in range(60)} | {"number": number}
    with start(connect(settings), place, Description(f"{number}", params)) as run:
        run.add_metrics({f"group/m{i}": float(i) for i in range(25)})
        run.add_tags({"t": str(number)})
        run.add_dataset(table, name="shared", source="drawn", digest="same" * 4)
        run.add_artifacts(place)
    assert run.undelivered is None, run.undelivered

children = []
for number in range(int(sys.argv[3])):
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


def several_at_once(settings: Tracking, folder: Path, count: int) -> None:
    """A run each, and everything arrives."""
    values = {"name": settings.name, "uri": settings.uri, "folder": settings.folder}
    done = subprocess.run(
        [sys.executable, "-c", SEVERAL, repr(values), str(folder), str(count)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout == f"{[0] * count}\n", done.stdout  # neither errors …
    assert done.stderr == ""  # … nor chatter
    runs = all_runs(settings)
    client = MlflowClient(connect(settings).uri)
    assert sorted(run.info.run_name or "" for run in runs) == [*"01234567"[:count]]
    for run in runs:
        assert run.info.status == "FINISHED"
        assert len(run.data.params) == 61
        assert len(run.data.metrics) == 25
        assert run.data.tags["t"] == run.data.params["number"]
        assert run.inputs is not None and len(run.inputs.dataset_inputs) == 1
        assert len(client.list_artifacts(run.info.run_id)) == 1


def test_eight_processes_at_once_on_a_fresh_folder(tmp_path: Path) -> None:
    settings = Tracking(name="sqlite", folder=str(tmp_path / "mlruns"))
    several_at_once(settings, tmp_path / "runs", 8)
    client = MlflowClient(connect(settings).uri)
    experiments = [found.name for found in client.search_experiments()]
    assert sorted(experiments) == ["Default", "selectivity"]


# --- a server -------------------------------------------------------------------------------------

SECRETS = {
    "MLFLOW_TRACKING_USERNAME": "somebody-9173",
    "MLFLOW_TRACKING_PASSWORD": "open-sesame-4711",
}


def test_a_server_that_is_not_there_costs_the_wait_once(tmp_path: Path) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    settings = Tracking(name="server", uri=uri, patience_s=1.0)
    began = time.monotonic()
    for job in range(4):
        folder = tmp_path / str(job)
        with start(settings, folder, "job", {}, parent="0" * 32) as run:
            pass
        assert run.undelivered == (
            f"tracking server {uri} does not answer: Connection refused; "
            "start it or use tracking=sqlite"
        )
    assert 1 <= time.monotonic() - began < 4
    counts, reasons = sync.sync([tmp_path])
    assert counts == {"failed": 4}
    assert len(reasons) == 4


@pytest.fixture
def server(made: Path, tmp_path: Path) -> Iterator[Server]:
    """On PostgreSQL where there is one, as a group's server is; else on SQLite."""
    folder = tmp_path / "served"
    folder.mkdir()
    if why_no_postgresql() is None:
        database: AbstractContextManager[str] = postgresql()
    else:
        shutil.copy(made, folder)
        database = nullcontext(f"sqlite:///{folder}/mlflow.db")
    with database as address:
        server = Server(folder, address)
        yield server
        server.kill()


def test_a_server_that_dies_in_the_middle_of_a_sweep(server: Server, tmp_path: Path) -> None:
    folder = tmp_path
    settings = Tracking(name="server", uri=server.uri, patience_s=120)
    (folder / "work").mkdir()
    quick = [*SMALL, "stimuli.images_per_category=2", "lesion=none", "decoding=none"]
    command = ["-m", "metric=fsi,ttest,dprime", "figures=false", *quick, "tracking=server"]
    command += ["tracking.patience_s=0.5"]
    with_secrets = server.uri.replace("//", f"//{':'.join(SECRETS.values())}@")
    server.start()
    server.wait()
    several_at_once(settings, folder / "several", 4)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_app, folder / "work", *command, MLFLOW_TRACKING_URI=with_secrets)
        while not list(folder.glob("work/outputs/sweeps/*/*/0/result.json")):
            assert not running.done(), running.result()
            time.sleep(0.01)
        server.kill()
        process = running.result()
    out, err = process.stdout, process.stderr
    assert process.returncode == 75, out + err
    assert "3 of 3 jobs finished" in out
    lines = err.strip().splitlines()
    assert 2 <= len(lines) <= 3  # of the jobs that ended without it, and of the sweep
    for line in lines:
        assert line.startswith(f"not delivered: tracking server {server.uri} ")
        assert re.search(r"python -m app.sync \S*outputs/sweeps/\S+ delivers them$", line)
    (sweep,) = folder.glob("work/outputs/sweeps/*/*")
    assert (sweep / "report" / "report.md").is_file()

    server.start()
    assert list(settle([sweep / "1"], patience=120)) == [("delivered", "")]  # waits for it
    synced = finished(run_app(folder / "work", module="app.sync", **SECRETS))
    assert synced.stdout.splitlines() == ["2 run(s) delivered", "2 run(s) had nothing to deliver"]
    assert sync.sync([folder / "work"]) == ({"complete": 4}, [])

    everything = [run for run in all_runs(settings) if "t" not in run.data.tags]
    (parent,) = [run for run in everything if "sweep" in run.data.tags]
    children = connect(settings).children(parent)
    assert {run.info.status for run in everything} == {"FINISHED"}
    assert sorted(run.data.tags["job"] for run in children) == ["0", "1", "2"]
    assert len(everything) == 4
    client = MlflowClient(server.uri)
    for child in children:
        result = json.loads((sweep / child.data.tags["job"] / "metrics.json").read_text())
        kept = {name: value for name, value in result.items() if value is not None}
        assert kept.items() <= child.data.metrics.items()
        for name in child.data.metrics:
            history = client.get_metric_history(child.info.run_id, name)
            assert len(history) == len({point.step for point in history})
        names = {file.path for file in client.list_artifacts(child.info.run_id)}
        assert {"scores.parquet", "config.yaml"} <= names
        assert child.inputs is not None and len(child.inputs.dataset_inputs) == 1
    assert parent.data.metrics == {"jobs/finished": 3.0, "jobs/failed": 0.0}
    assert "report.md" in {file.path for file in client.list_artifacts(parent.info.run_id)}

    nothing_secret(folder, [out, err, synced.stdout, synced.stderr])


def nothing_secret(folder: Path, said: list[str]) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 50
    for secret in SECRETS.values():
        assert not any(secret in words for words in said)
        assert [path for path in files if secret.encode() in path.read_bytes()] == []
