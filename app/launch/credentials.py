"""Passwords and tokens come from the environment or from ~/.netrc, and are written nowhere.

What the command line says and what configs hold is written into files, logs and the tracking store:
neither may hold credentials. Checked before Hydra writes anything.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from app.errors import InputError

URI = "MLFLOW_TRACKING_URI"
USERNAME, PASSWORD = "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"
# scheme://user@host, //user:password@host; also a password with a slash, which ends no port.
IN_ADDRESS = re.compile(r"://[^/\s]*@|//[^/\s:]*:(?!\d+/)\S*@")
VARIABLE = re.compile(r"MLFLOW_TRACKING_(?:USERNAME|PASSWORD|TOKEN)")


def from_environment() -> None:
    """Take credentials out of MLFLOW_TRACKING_URI and put them where MLflow looks for them.

    So the address can be written down. Those of a database are dropped: only a server is asked.
    """
    address = re.fullmatch(r"([^/]*//)([^/]*)@(.*)", os.environ.get(URI, ""))
    if address is None:
        return
    scheme, given, rest = address.groups()
    os.environ[URI] = f"{scheme}{rest}"
    if scheme in ("http://", "https://"):
        user, _, password = given.partition(":")
        for name, text in ((USERNAME, user), (PASSWORD, password)):
            if text:
                os.environ[name] = unquote(text)


def check_arguments(arguments: Iterable[str]) -> None:
    """Refuse credentials on the command line; InputError with one line that does not show them."""
    for argument in arguments:
        name, separator, _ = argument.partition("=")
        sound = separator and not IN_ADDRESS.search(name)
        _check(name.lstrip("+~") if sound else "an argument", argument)


def check_values(values: Iterable[tuple[str, Any]]) -> None:
    """Refuse values of a config that hold credentials, or bring them from the environment.

    `values` come with their names, as they stand in the config, references unresolved. InputError
    as above.
    """
    for name, value in values:
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                _check(name, f"{name}={text}")
                for variable in re.findall(r"\boc\.env:\s*(\w+)", text):
                    _check(name, os.environ.get(variable, ""))


def _check(name: str, text: str) -> None:
    if variable := VARIABLE.search(text):
        raise InputError(
            f"{name} names {variable[0]}, whose value would be written into files: leave it out, "
            "since jobs inherit the environment"
        )
    if IN_ADDRESS.search(text):
        mend = "in ~/.netrc, under the server's name"
        if name.startswith("tracking."):
            mend = f"by {USERNAME} and {PASSWORD} in the environment"
        raise InputError(
            f"{name}=… holds credentials, which would be written into files: give them {mend}"
        )
