"""What cannot be written to its end is not there; what cannot be read is told in one line."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from app.errors import InputError
from app.files import reading, whole


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


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "table cannot be read: No such file or directory"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull fetches it"),
        ("ä".encode("latin-1"), "cannot be read: it is not UTF-8 text"),
        (b"one", "could not convert string .*; is it whole, and of the format its name says[?]"),
    ],
)
def test_a_hint_is_given_where_the_reason_says_too_little(tmp_path: Path, content, said: str):
    path = tmp_path / "table"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=f"{said}$"), reading("table", path):
        float(path.read_text("utf-8"))
