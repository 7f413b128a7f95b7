"""The store of runs, as MLflow keeps it: every question and every word goes through here.

MLflow is imported when a store is first asked, not with this module. Every call names its client
and its run, so that nothing depends on MLflow's idea of an active run.
"""

from __future__ import annotations

import functools
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock

from app.errors import InputError
from app.tracking import calls
from app.tracking.address import DATABASE, Stored
from app.tracking.client import SQLITE, check_database, import_mlflow, open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as StoredRun

    from app.config.schema import Tracking

T = TypeVar("T")


def connect(settings: Tracking | Stored) -> Store:
    """The process's one store of these settings; InputError where they are no address."""
    return _connect(Stored.of(settings))


@functools.cache
def _connect(settings: Stored) -> Store:
    return Store(settings)


class Store:
    """Runs of one experiment, in SQLite or on a server, or nowhere (`off`).

    Every method raises InputError, one line, where the store cannot be used. It fails at once, but
    within `waiting`.
    """

    def __init__(self, settings: Stored) -> None:
        self.settings = settings
        self.uri = settings.address
        self.is_away = False  # waited for in vain: not for every run again
        self._give_up = 0.0
        self._experiment: str | None = None
        self._models: dict[tuple[str, str], str] = {}  # ids by name and digest

    @property
    def off(self) -> bool:
        """Whether nothing is tracked."""
        return not self.uri

    @contextmanager
    def waiting(self, seconds: float) -> Iterator[None]:
        """Ask a server that went away again, for that many seconds in the whole body."""
        before, self._give_up = self._give_up, time.monotonic() + seconds
        try:
            yield
        finally:
            self._give_up = before

    def call(self, function: Callable[[MlflowClient], T]) -> T:
        """Call MLflow, see `calls.call`: the function may be called more than once."""
        return calls.call(lambda: function(self._client), self.uri, self._give_up)

    @functools.cached_property
    def _client(self) -> MlflowClient:
        return open_client(self.uri)

    # --- made ready -------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the store ready for runs, whichever of several processes comes first.

        Creates the folder, the database and the experiment where they are missing; of a server it
        asks that it answers within seconds.
        """
        if self.off:
            return
        if not self.uri.startswith(SQLITE):
            calls.check_server(self.uri, 0)  # at once; one that is there may be slow to begin with
        self._experiment = None
        with self.waiting(self.settings.patience_s):
            self.experiment_id()

    def experiment_id(self) -> str:
        """MLflow's id of the experiment, in a store that is made ready first, once a process."""
        if self._experiment is None:
            if self.uri.startswith(SQLITE):
                self._experiment = self._prepare_database()
            else:
                calls.check_server(self.uri, self._give_up)
                import_mlflow(self.uri)
                self._experiment = self._find_experiment(None)
        return self._experiment

    def _prepare_database(self) -> str:
        database = self.settings.database
        folder = database.parent
        import_mlflow(self.uri)  # takes seconds: not while holding the lock
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / f"{DATABASE}.lock"):
                if database.exists():
                    check_database(database)
                return self._find_experiment((folder / "artifacts").as_uri())
        except OSError as error:
            raise InputError(
                f"cannot keep runs in {folder}: {error.strerror or error}; "
                "choose another folder with tracking.folder=<folder>"
            ) from error

    def _find_experiment(self, location: str | None) -> str:
        """Find the experiment or create it, its artifacts at a location."""
        name = self.settings.experiment

        def find_or_create(client: MlflowClient) -> Any:
            found = client.get_experiment_by_name(name)
            if found is None:
                # Without this tag MLflow's pages open on a view for language models.
                tags = {"mlflow.experimentKind": "custom_model_development"}
                client.create_experiment(name, location, tags)
                found = client.get_experiment_by_name(name)
            return found

        experiment = self.call(find_or_create)
        if experiment.lifecycle_stage != "active":
            raise InputError(
                f"the experiment {name!r} was deleted from {self.uri}; restore it there "
                "or choose another name with tracking.experiment=<name>"
            )
        return str(experiment.experiment_id)

    # --- what is told of a run --------------------------------------------------------------------

    def create_run(self, key: str, name: str, begun: int, tags: Mapping[str, str]) -> str:
        """Create the run whose tag `record` is `key`, once; its id.

        It is looked for first: an earlier attempt may have made it though the answer got lost. It
        began `begun` milliseconds after 1970.
        """
        from mlflow.entities import ViewType

        experiment, wanted = self.experiment_id(), f"tags.record = '{key}'"

        def find_or_create(client: MlflowClient) -> StoredRun:
            found = client.search_runs([experiment], wanted, ViewType.ALL, max_results=1)
            return found[0] if found else client.create_run(experiment, begun, dict(tags), name)

        return str(self.call(find_or_create).info.run_id)

    def reopen(self, run_id: str) -> None:
        """Let a run that ended, or seems to, run again, without the reason of its failure."""

        def again(client: MlflowClient) -> None:
            client.update_run(run_id, "RUNNING")
            if "error" in client.get_run(run_id).data.tags:
                client.delete_tag(run_id, "error")

        self.call(again)

    def terminate(self, run_id: str, status: str, at: int | None) -> None:
        """End a run: FINISHED, FAILED or KILLED, at this time in milliseconds since 1970."""
        self.call(lambda client: client.set_terminated(run_id, status, at))

    def log(
        self,
        run_id: str,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        points: Sequence[tuple[str, float, int, int]] = (),
    ) -> None:
        """Tell the store of a run; what it knows already it keeps once.

        `points` are metrics: name, value, step, time in milliseconds since 1970.
        """
        from mlflow.entities import Metric, Param, RunTag

        batch: dict[str, Any] = {
            "metrics": [Metric(name, value, at, step) for name, value, step, at in points],
            "params": [Param(name, text) for name, text in (params or {}).items()],
            "tags": [RunTag(name, text) for name, text in (tags or {}).items()],
        }
        if any(batch.values()):
            self.call(lambda client: client.log_batch(run_id, **batch))

    def log_inputs(
        self, run_id: str, datasets: Sequence[Mapping[str, Any]], model: Mapping[str, Any] | None
    ) -> None:
        """Tell the store what a run used, as its record has it."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput

        inputs = [
            DatasetInput(
                Dataset(**described["dataset"]),
                [InputTag(name, text) for name, text in described["tags"].items()],
            )
            for described in datasets
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

        key = model["name"], model["digest"]
        if key not in self._models:
            self._models[key] = self.call(find_or_create)
        return self._models[key]

    def add_artifact(self, run_id: str, file: Path, place: str = "") -> None:
        """Store a file with a run, in the folder `place`; one of the same name goes."""
        self.call(lambda client: client.log_artifact(run_id, str(file), place or None))

    def add_artifacts(self, run_id: str, folder: Path) -> None:
        """Store all files below a folder with a run; those of the same name go."""
        self.call(lambda client: client.log_artifacts(run_id, str(folder)))

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
        if not self.uri.startswith(SQLITE):
            calls.check_server(self.uri, 0)
        elif not (database := self.settings.database).is_file():
            raise InputError(
                f"{database} is no file: there are no runs; name their folder with tracking.folder"
            )
        return self.call(lambda client: client.get_run(run_id))

    def children(self, parent: str) -> list[StoredRun]:
        """The runs of a sweep's jobs, in the order they began."""
        experiment = self.get_run(parent).info.experiment_id
        return self._search(experiment, f"tags.`mlflow.parentRunId` = '{parent}'")

    def _search(self, experiment: str, wanted: str) -> list[StoredRun]:
        def find_all(client: MlflowClient) -> list[StoredRun]:
            order, token = ["attributes.start_time ASC"], None
            found: list[StoredRun] = []
            while token != "":
                page = client.search_runs(
                    [experiment], wanted, order_by=order, page_token=token or None
                )
                found += page
                token = page.token or ""
            return found

        return self.call(find_all)

    # --- where it is seen -------------------------------------------------------------------------

    @property
    def ui_command(self) -> str:
        """The command that opens MLflow's pages on the store, or a server's address."""
        if not self.uri.startswith(SQLITE):
            return self.uri
        # By this interpreter, which has MLflow whatever the shell's PATH says.
        python, uri = shlex.quote(sys.executable), shlex.quote(self.uri)
        return f"{python} -m mlflow ui --backend-store-uri {uri}"

    def ui_page(self) -> str:
        """The address of the runs' table: MLflow's start page is a view for language models."""
        server = "http://127.0.0.1:5000" if self.uri.startswith(SQLITE) else self.uri
        page = f"/#/experiments/{self.experiment_id()}/runs?workflowType=machine_learning"
        return server + page

    def how_to_compare(self) -> str:
        """Two lines for the end of a run: how to open MLflow's pages, and where to look."""
        if self.off:
            return "Compare: nothing was tracked (tracking=none)"
        return f"Compare: {self.ui_command}\n    then: {self.ui_page()}"
