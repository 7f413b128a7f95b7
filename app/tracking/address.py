"""Where runs go: the tracking settings, and the address that MLflow knows the store by."""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import InputError

if TYPE_CHECKING:
    from app.config.schema import Tracking

DATABASE = "mlflow.db"


@dataclass(frozen=True)
class Stored:
    """The tracking settings, kept beside what is to be delivered."""

    name: str
    uri: str | None
    folder: str  # absolute
    experiment: str
    patience_s: float

    @classmethod
    def of(cls, settings: Tracking | Stored) -> Stored:
        """Take the fields of the settings, the folder made absolute."""
        values = {field.name: getattr(settings, field.name) for field in fields(cls)}
        return cls(**{**values, "folder": str(Path(settings.folder).expanduser().absolute())})

    @property
    def database(self) -> Path:
        """The file of SQLite's."""
        if {"?", "%"} & set(self.folder):
            raise InputError(
                f"tracking.folder={self.folder} holds '?' or '%', which SQLite addresses read "
                "otherwise; choose another folder"
            )
        return Path(self.folder) / DATABASE

    @property
    def address(self) -> str:
        """Where the runs go, as MLflow writes it; empty when nothing is tracked.

        Raises
        ------
        InputError
            Where it is no address of a server, or holds credentials.
        """
        if self.name == "none":
            return ""
        if self.uri is None:
            return f"sqlite:///{self.database}"
        parts = urllib.parse.urlsplit(self.uri)
        shown = re.sub(r"//[^/@]*@", "//", self.uri)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(
                f"tracking.uri={shown} is no address of a tracking server; "
                "write http://host:port, or null for SQLite in tracking.folder"
            )
        if parts.username or parts.password:
            raise InputError(
                f"tracking.uri={shown} holds credentials; give them by "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
            )
        return self.uri.rstrip("/")
