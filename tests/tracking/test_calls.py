"""What fails for a while is tried again for a while; what fails for good is not."""

from __future__ import annotations

import time

import pytest
from mlflow.exceptions import MlflowException

from app.errors import InputError
from app.tracking.client import call, repeat

DATABASE, SERVER = "sqlite:///nowhere/mlflow.db", "http://nowhere"


class Failing:
    """Raises these one after another, then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self._errors = list(errors)

    def __call__(self) -> str:
        if self._errors:
            raise self._errors.pop(0)
        return "answer"


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt(), OSError("for good")])
def test_what_is_not_worth_it_is_raised_at_once(error: BaseException) -> None:
    failing = Failing(error)
    with pytest.raises(type(error)):
        repeat(failing, lambda error: str(error) == "for a while")
    assert failing() == "answer", "called once"


@pytest.mark.slow
def test_a_collision_is_tried_again_though_nothing_is_waited_for() -> None:
    for uri in (DATABASE, SERVER):
        assert call(Failing(OSError("database is locked")), uri, 0) == "answer"


@pytest.mark.slow
def test_a_server_that_is_away_is_waited_for_and_a_database_is_not() -> None:
    soon = time.monotonic() + 60
    assert call(Failing(OSError("away"), OSError("away")), SERVER, soon) == "answer"
    with pytest.raises(InputError, match=f"tracking database {DATABASE} failed: away"):
        call(Failing(OSError("away")), DATABASE, soon)


@pytest.mark.parametrize("seconds", [0, 0.3])
def test_time_runs_out(seconds: float) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=f"tracking server {SERVER} failed: away"):
        call(Failing(*(OSError("away") for _ in range(1000))), SERVER, began + seconds)
    assert seconds <= time.monotonic() - began < seconds + 2


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (
            "API request to endpoint /api/2.0/mlflow/runs failed with error code 404 != 200. "
            "Response body: '<!doctype html> <title>404 Not Found</title>'",
            "it does not know /api/2.0/mlflow/runs: it is no MLflow server, or one of an",
        ),
        (
            "API request to endpoint was successful but the response body was not in a valid JSON "
            "format. Response body: '<!doctype html><html>'",
            "it does not know MLflow's questions: it is no MLflow server, or one of an older",
        ),
        (
            "API request to http://nowhere/api/2.0/mlflow/runs/search failed with exception "
            "HTTPConnectionPool(host='nowhere', port=80): Max retries exceeded with url: /api "
            "(Caused by ResponseError('too many 502 error responses'))",
            "it answers with error 502$",
        ),
    ],
)
def test_what_is_no_answer_is_told_in_words(told: str, said: str) -> None:
    with pytest.raises(InputError, match=f"^tracking server {SERVER} failed: {said}"):
        call(Failing(MlflowException(told)), SERVER, 0)
