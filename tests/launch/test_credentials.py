"""Credentials are told from other values, and taken from where they are."""

from __future__ import annotations

import os

import pytest

from app.errors import InputError
from app.launch import credentials


@pytest.mark.parametrize(
    "text",
    [
        "http://me:word@host/x", "https://token@host", "http://:word@host:5000", "//me:word@host",
        "http://me:a/b@host", "{a: ['http://me:word@host']}", "http://host:80,http://me:word@host",
        "http://${oc.env:USER}:${oc.env:WORD}@host",
    ],
)  # fmt: skip
def test_what_holds_credentials(text: str):
    with pytest.raises(InputError, match=r"^some\.where=… holds credentials"):
        credentials.check_arguments([f"+some.where={text}"])
    with pytest.raises(InputError, match=r"^some\.where=… holds credentials"):
        credentials.check_values([("some.where", ["sound", text])])


@pytest.mark.parametrize(
    "text",
    [
        "http://host:5000/a@b", "http://host/a:b@c", "http://[::1]:5000/", "me@host", "a//b/c@d",
        "/data//x/y@2", "pkg://a.b", "", "${oc.env:HOME}",
    ],
)  # fmt: skip
def test_what_holds_none(text: str):
    credentials.check_arguments([f"some.where={text}"])
    credentials.check_values([("some.where", text), ("number", 3), ("nothing", None)])


@pytest.mark.parametrize(
    ("given", "left", "name", "word"),
    [
        ("http://me:a%40b@host:5000/x", "http://host:5000/x", "me", "a@b"),
        ("https://me@host", "https://host", "me", "before"),
        ("http://host:5000", "http://host:5000", "before", "before"),
        ("postgresql://me:word@host/db", "postgresql://host/db", "before", "before"),
    ],
)
def test_taken_out_of_the_variable(monkeypatch, given: str, left: str, name: str, word: str):
    monkeypatch.setenv(credentials.URI, given)
    for variable in (credentials.USERNAME, credentials.PASSWORD):
        monkeypatch.setenv(variable, "before")
    credentials.from_environment()
    assert os.environ[credentials.URI] == left
    assert (os.environ[credentials.USERNAME], os.environ[credentials.PASSWORD]) == (name, word)
