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


def test_a_page_in_the_place_of_an_answer() -> None:
    asked = "API request to endpoint /api/2.0/mlflow/runs/search failed with error code 404 != 200."
    error = MlflowException(f"{asked} Response body: '<!doctype html> Not Found'")
    with pytest.raises(InputError, match="not know /api/2.0/mlflow/runs/search: it is no MLflow"):
        call(Failing(error), SERVER, 0)
