"""What fails for a while is tried again for a while; what fails for good is not."""

from __future__ import annotations

import time

import pytest

from app.tracking.calls import repeat


class Failing:
    """Raises these one after another, then answers."""

    def __init__(self, *errors: BaseException) -> None:
        self._errors = list(errors)

    def __call__(self) -> str:
        if self._errors:
            raise self._errors.pop(0)
        return "answer"


def test_what_passes_is_waited_for() -> None:
    assert repeat(Failing(OSError(), OSError()), (OSError,), 60, longest=0.01) == "answer"


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt(), OSError("for good")])
def test_what_is_not_worth_it_is_raised_at_once(error: BaseException) -> None:
    failing = Failing(error)
    with pytest.raises(type(error)):
        repeat(failing, (OSError,), 60, lambda error: str(error) != "for good")
    assert failing() == "answer", "called once"


def test_the_first_error_is_raised_where_there_is_no_time() -> None:
    began = time.monotonic()
    for seconds in (0.0, -1.0):
        with pytest.raises(OSError, match="away"):
            repeat(Failing(OSError("away")), (OSError,), seconds)
    assert time.monotonic() - began < 1


def test_time_runs_out() -> None:
    began = time.monotonic()
    with pytest.raises(OSError, match="away"):
        repeat(Failing(*(OSError("away") for _ in range(1000))), (OSError,), 0.2, longest=0.05)
    assert 0.2 <= time.monotonic() - began < 2
