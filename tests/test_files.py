"""What cannot be written to its end is not there."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from app.files import whole


def test_whole_or_not_there(tmp_path: Path) -> None:
    with whole(tmp_path / "sound") as path:
        path.write_text("all of it")
    with pytest.raises(OSError, match="full"), whole(tmp_path / "stump") as path:
        path.write_text("half")
        raise OSError(errno.ENOSPC, "the disk is full")
    with pytest.raises(OSError, match="full"), whole(tmp_path / "never begun"):
        raise OSError(errno.ENOSPC, "the disk is full")
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [
        ("sound", "all of it")
    ]
