"""The one style of all figures, whatever the user's own matplotlib settings are."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STYLE = Path(__file__).with_name("paper.mplstyle")


@functools.cache
def _settings() -> Any:
    import matplotlib

    settings = matplotlib.rc_params_from_file(STYLE, use_default_template=True)
    return {name: value for name, value in settings.items() if not name.startswith("backend")}


@contextmanager
def style() -> Iterator[None]:
    """Figures made and rendered in the `with` statement have the style of `paper.mplstyle`."""
    import matplotlib

    with matplotlib.rc_context(_settings()):
        yield
