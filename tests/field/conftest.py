"""What a person is told, wherever it is said."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder) -> Callable[..., str]:
    """All that was logged or warned of, and the notes of what was read."""
    caplog.set_level(logging.INFO)

    def tell(*read: object) -> str:
        notes = [note for each in read for note in getattr(each, "notes", ())]
        warned = [str(w.message) for w in recwarn if w.category is not ResourceWarning]
        return "\n".join([*caplog.messages, *warned, *notes])

    return tell
