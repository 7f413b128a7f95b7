"""Calls of a store that may fail for a while, and the one line where they fail for good."""

from __future__ import annotations

import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    Retrying,
    retry_if_exception,
    retry_if_exception_type,
    stop_after_delay,
    wait_random,
)

from app.errors import InputError
from app.tracking.text import cut

T = TypeVar("T")

ANSWER_SECONDS = 5.0  # within which a tracking server must answer when a run begins
COLLISION_SECONDS = 60.0  # for which a write that collided with another process's is repeated


def call(function: Callable[[], T], uri: str, give_up: float) -> T:
    """Call MLflow; repeat what collided with another process.

    Parameters
    ----------
    function
        What to call. It may be called again though the store has done what it asked: the answer
        was lost.
    uri
        The store's address.
    give_up
        Until when (of `time.monotonic`) a server that does not answer, or is in trouble, is asked
        again.

    Raises
    ------
    InputError
        One clear line about what failed for good.
    """
    from mlflow.exceptions import MlflowException

    kind = "database" if uri.startswith("sqlite:") else "server"
    errors: tuple[type[Exception], ...] = (MlflowException, OSError)  # requests' are OSErrors
    if kind == "database":
        from sqlalchemy.exc import SQLAlchemyError

        errors += (SQLAlchemyError,)

    def without_collisions() -> T:
        return repeat(function, errors, COLLISION_SECONDS, _is_collision, longest=0.5)

    try:
        left = give_up - time.monotonic() if kind == "server" else 0.0
        return repeat(without_collisions, errors, left, _is_passing)
    except errors as error:
        reason = _one_line(error)
        if kind == "database" and re.search("disk is full|No space left", reason):
            reason = "its disk is full; make room, or choose another folder with "
            reason += "tracking.folder=<folder>"
        raise InputError(f"tracking {kind} {uri} failed: {reason}") from error


def check_server(uri: str, give_up: float) -> None:
    """Ask a server, until `give_up`, whether it is there; InputError where it does not answer."""
    errors = (OSError, http.client.HTTPException, ValueError)
    try:
        repeat(lambda: _ask(uri), errors, give_up - time.monotonic())
    except errors as error:
        reason = getattr(error, "reason", error)
        raise InputError(
            f"tracking server {uri} does not answer: "
            f"{getattr(reason, 'strerror', None) or reason}; start it or use tracking=sqlite"
        ) from error


def repeat(
    function: Callable[[], T],
    errors: tuple[type[Exception], ...],
    seconds: float,
    is_worth: Callable[[BaseException], bool] = lambda _: True,
    longest: float = 2.0,
) -> T:
    """Call a function again, for some seconds, while it raises one of the errors that is worth it.

    The waits are of random lengths, at most `longest` seconds: hundreds of jobs that lost their
    server come back one by one.
    """
    attempts = Retrying(
        retry=retry_if_exception_type(errors) & retry_if_exception(is_worth),
        stop=stop_after_delay(max(0.0, seconds)),
        wait=wait_random(0.1 * longest, longest),
        reraise=True,
    )
    return attempts(function)


def _ask(uri: str) -> None:
    try:
        urllib.request.urlopen(f"{uri}/health", timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError as error:
        error.close()  # whatever it says, somebody answers


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
    # The root of nested messages, as the system says it.
    system = re.search(r"(?:\[Errno -?\d+\] |Error\(\d+, ')([^'\"()]+)", text)
    if system:
        return system[1].strip()
    return cut(re.split(r" \[SQL:| \(Background on", text)[0], 300)
