"""The store of runs, as MLflow keeps it: every question and every word goes through here.

MLflow is imported when a store is first asked, not with this module. Every call names its client
and its run, so that nothing depends on MLflow's idea of an active run.
"""

from __future__ import annotations

import functools
import re
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock

from app.config.schema import Tracking
from app.errors import InputError
from app.tracking import client as calls
from app.tracking.client import DATABASE, SQLITE
from app.tracking.moved import ARTIFACTS, KIND
from app.tracking.view import View, make_query, make_tag

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from mlflow.entities import Run as StoredRun

T = TypeVar("T")

MOST = 50_000  # runs that one question may return; MLflow's limit


def connect(settings: Tracking) -> Store:
    """The process's one store of these settings; InputError where they are no address."""
    values = {field.name: getattr(settings, field.name) for field in fields(Tracking)}
    return _connect(**{**values, "folder": str(Path(settings.folder).expanduser().absolute())})


@functools.cache
def _connect(**settings: Any) -> Store:
    return Store(Tracking(**settings))


class Store:
    """Runs of one experiment, in SQLite or on a server, or nowhere (`off`).

    Every method raises InputError, one line, where the store cannot be used. It fails at once, but
    within `waiting`.
    """

    def __init__(self, settings: Tracking) -> None:
        self.settings = settings  # its folder absolute
        self.uri = calls.find_address(settings)
        self._in_sqlite = self.uri.startswith(SQLITE)
        self._is_away = False  # waited for in vain: not for every run again
        self._give_up = 0.0
        self._experiment: str | None = None

    @property
    def off(self) -> bool:
        """Whether nothing is tracked."""
        return not self.uri

    @property
    def _database(self) -> Path:
        return Path(self.settings.folder, DATABASE)

    @contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """Ask a server that went away again, for these seconds, unless that was in vain before."""
        self._give_up = time.monotonic() + (0 if self._is_away else seconds)
        try:
            yield
            self._is_away = False
        except InputError:
            self._is_away |= seconds > 0
            raise
        finally:
            self._give_up = 0.0

    def call(self, function: Callable[[MlflowClient], T]) -> T:
        """Call MLflow, see `client.call`: the function may be called more than once."""
        return calls.call(lambda: function(self._client), self.uri, self._give_up)

    @functools.cached_property
    def _client(self) -> MlflowClient:
        return calls.open_client(self.uri)

    # --- made ready -------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the store ready for runs, whichever of several processes comes first.

        Creates the folder, the database and the experiment where they are missing; of a server it
        asks that it answers within seconds.
        """
        if not self.off:
            self._experiment = None
            self.experiment_id()

    def experiment_id(self) -> str:
        """MLflow's id of the experiment, in a store that is made ready first, once a process."""
        if self._experiment is None:
            with self._ready():
                self._experiment = self._find_experiment()
        return self._experiment

    @contextmanager
    def _ready(self) -> Iterator[None]:
        """Hold the lock of a database that is sound, or not there yet; a server must answer."""
        if not self._in_sqlite:
            calls.check_server(self.uri, self._give_up)
            yield
            return
        folder = Path(self.settings.folder)
        calls.import_mlflow(self.uri)  # takes seconds: not while holding the lock
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f"{DATABASE}.lock"):
                if self._database.exists():
                    calls.check_database(self._database)
                yield
        except OSError as error:
            raise InputError(
                f"cannot keep runs in {folder}: {error.strerror or error}; {calls.ANOTHER_FOLDER}"
            ) from error

    def _find_experiment(self) -> str:
        """Find the experiment or create it, with artifacts beside a database, or the server's."""
        name, location = self.settings.experiment, None
        if self._in_sqlite:
            location = Path(self.settings.folder, ARTIFACTS).as_uri()

        def find_or_create(client: MlflowClient) -> Experiment:
            found = client.get_experiment_by_name(name)
            if found is None:
                made = client.create_experiment(name, location, dict([KIND]))
                found = client.get_experiment(made)
            return found

        experiment = self.call(find_or_create)
        another = ", or choose another name with tracking.experiment=<name>"
        self._check_experiment(experiment, another)
        return str(experiment.experiment_id)

    def _check_experiment(self, experiment: Experiment, another: str = "") -> None:
        """Refuse an experiment that was deleted, and with it all of its runs."""
        if experiment.lifecycle_stage != "active":
            restore = calls.mlflow_command(
                "experiments", "restore", "--experiment-id", str(experiment.experiment_id)
            )
            raise InputError(
                f"the experiment {experiment.name!r} was deleted from {self.uri}; restore it by "
                f"`MLFLOW_TRACKING_URI={shlex.quote(self.uri)} {restore}`{another}"
            )

    # --- what is told of a run --------------------------------------------------------------------

    def create_run(self, key: str, name: str, begun: int, tags: Mapping[str, str]) -> StoredRun:
        """Create the run whose tag `record` is `key`, once. Begun: milliseconds since 1970.

        It is looked for first: an earlier attempt may have made it though the answer got lost. One
        that was deleted is restored, and returned as it was found.
        """
        from mlflow.entities import ViewType

        experiment, wanted = self.experiment_id(), f"tags.record = '{key}'"

        def find_or_create(client: MlflowClient) -> StoredRun:
            found = client.search_runs([experiment], wanted, ViewType.ALL, max_results=1)
            if found and found[0].info.lifecycle_stage != "active":
                client.restore_run(found[0].info.run_id)
            return found[0] if found else client.create_run(experiment, begun, dict(tags), name)

        return self.call(find_or_create)

    def reopen(self, run_id: str) -> None:
        """Let a run that ended, or seems to, run again, without the reason of its failure."""

        def again(client: MlflowClient) -> None:
            client.update_run(run_id, "RUNNING")
            if "error" in client.get_run(run_id).data.tags:
                client.delete_tag(run_id, "error")

        self.call(again)

    def log(
        self,
        run_id: str,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        points: Iterable[tuple[str, float, int, int]] = (),
    ) -> None:
        """Tell the store of a run; what it knows already it keeps once. For points see `Record`."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(name, value, at, step) for name, value, step, at in points]
        as_params = [Param(name, text) for name, text in (params or {}).items()]
        as_tags = [RunTag(name, text) for name, text in (tags or {}).items()]
        self.call(lambda client: client.log_batch(run_id, metrics, as_params, as_tags))

    def log_inputs(
        self, run_id: str, datasets: Sequence[Mapping[str, Any]], model: Mapping[str, Any] | None
    ) -> None:
        """Tell the store what a run used, as its record has it."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput

        inputs = [
            DatasetInput(
                Dataset(**each["dataset"]), [InputTag(*tag) for tag in each["tags"].items()]
            )
            for each in datasets
        ]
        models = [LoggedModelInput(self._model_id(model))] if model else []
        if inputs or models:
            self.call(lambda client: client.log_inputs(run_id, inputs, models))

    def _model_id(self, model: Mapping[str, Any]) -> str:
        """MLflow's id of a network, which all runs that ask it share; made by the first of them."""
        experiment = self.experiment_id()

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

        return self.call(find_or_create)

    def terminate(self, run_id: str, status: str, at: int | None) -> None:
        """End a run: FINISHED, FAILED or KILLED, at this time in milliseconds since 1970."""
        self.call(lambda client: client.set_terminated(run_id, status, at))

    def add_artifact(self, run_id: str, file: Path, place: str) -> None:
        """Store a file with a run, in the folder `place`; one of the same name goes."""
        self.call(lambda client: client.log_artifact(run_id, str(file), place or None))

    # --- what is asked ----------------------------------------------------------------------------

    def unfinished(self) -> list[StoredRun]:
        """The runs that the store has as running and that left a record in a folder."""
        wanted = "attributes.status = 'RUNNING' and tags.record LIKE '%' and tags.folder LIKE '%'"
        return self._search(self.experiment_id(), wanted)

    def get_run(self, run_id: str) -> StoredRun:
        """A run of the store, which is not made where it is missing."""
        if self.off:
            raise InputError(
                "tracking=none keeps no runs; give the tracking that the run was made with"
            )
        if not re.fullmatch("[0-9a-f]{32}", run_id):
            raise InputError(
                f"run={run_id} is no id of a run: 32 digits, as MLflow's pages show it"
            )
        if self._in_sqlite and not self._database.is_file():
            raise InputError(
                f"{self._database} is no file: there are no runs; "
                "name their folder with tracking.folder"
            )
        with self._ready():  # a database that was moved is mended
            run = self.call(lambda client: client.get_run(run_id))
        of = run.info.experiment_id
        self._check_experiment(self.call(lambda client: client.get_experiment(of)))
        return run

    def children(self, parent: StoredRun) -> list[StoredRun]:
        """The runs of a sweep's jobs, in the order they began."""
        wanted = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
        return self._search(parent.info.experiment_id, wanted)

    def read_table(self, run_id: str, name: str) -> pd.DataFrame | None:
        """Read a table that is an artifact of a run; None where it has none."""
        import pandas as pd

        def download(client: MlflowClient) -> pd.DataFrame | None:
            if name not in {each.path for each in client.list_artifacts(run_id)}:
                return None
            with TemporaryDirectory() as folder:
                return pd.read_parquet(client.download_artifacts(run_id, name, folder))

        return self.call(download)

    def _search(self, experiment: str, wanted: str) -> list[StoredRun]:
        asked, order = [experiment], ["attributes.start_time ASC"]
        return self.call(
            lambda client: list(client.search_runs(asked, wanted, max_results=MOST, order_by=order))
        )

    def save_view(self, view: View) -> str:
        """Keep a sweep's view of the table of runs where the store's pages know how; its query."""
        tag = make_tag(view, calls.find_version(self.uri), int(time.time() * 1000))
        if tag is not None:
            experiment = self.experiment_id()
            self.call(lambda client: client.set_experiment_tag(experiment, *tag))
        return make_query(view, saved=tag is not None)

    def how_to_compare(self, run_id: str | None = None, query: str = "") -> str:
        """Lines for the end of a run or sweep: how to open MLflow's pages, and where to look.

        `run_id` is the run's, `query` what `save_view` returned.
        """
        if self.off:
            return "Compare: nothing was tracked (tracking=none)"
        command = server = self.uri
        if self._in_sqlite:
            # Without what serves language models: that is a dozen processes more.
            words = ("server", "--workers", "1", "--backend-store-uri", self.uri)
            command = f"{calls.LIGHT} {calls.mlflow_command(*words)}"
            server = "http://127.0.0.1:5000"
        # MLflow's start page, and that of a run, are views for language models otherwise.
        kind = "workflowType=machine_learning"
        table = f"{server}/#/experiments/{self.experiment_id()}/runs"
        lines = [f"Compare: {command}", f"    then: {table}?{kind}{query and '&'}{query}"]
        if run_id is not None:
            lines.append(f"    page: {table}/{run_id}?{kind}")
        return "\n".join(lines)
