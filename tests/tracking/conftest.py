"""A store that the tests of a file share."""

from __future__ import annotations

import pytest

from app.config.schema import Tracking
from app.tracking.store import connect


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    """A store of its own in a folder whose name needs quoting; building one takes seconds."""
    settings = Tracking(name="sqlite", folder=str(tmp_path_factory.mktemp("a store") / "é #1"))
    connect(settings).prepare()
    return settings
