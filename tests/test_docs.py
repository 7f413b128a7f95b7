"""The pages name what there is: options, commands, logged numbers, and each other."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest

from app import names
from tests.conftest import REPOSITORY

CONF, PAGES = REPOSITORY / "conf", sorted((REPOSITORY / "docs").glob("*.md"))
GROUPS = [path.name for path in sorted(CONF.iterdir()) if path.is_dir() and path.name != "hydra"]


def read(name: str) -> str:
    return (REPOSITORY / name).read_text()


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_of_a_group_is_in_the_table(group: str):
    (row,) = re.findall(rf"^\| `\+?{group}` \| (.*?) \|", read("docs/configure.md"), re.MULTILINE)
    told = re.findall(r"`(\w+)`", row)
    for stem, first, last in re.findall(r"`(\w*?)(\d+)` … `\1(\d+)`", row):
        told += [f"{stem}{number}" for number in range(int(first), int(last) + 1)]
    options = {path.stem for path in (CONF / group).glob("*.yaml")}
    assert set(told) == options


def test_every_command_is_named():
    scripts = tomllib.loads(read("pyproject.toml"))["project"]["scripts"]
    for script in scripts:
        assert f"`{script}`" in read("docs/configure.md") or (
            f"`{script.removeprefix('selective-units')}`" in read("docs/configure.md")
        )


def list_logged() -> Iterator[str]:
    """The names, or how they begin, that findings are logged under."""
    found: list[Any] = [value for name, value in vars(names).items() if name.isupper()]
    while found:
        each = found.pop()
        if isinstance(each, str) and "/" in each:
            yield each
        elif isinstance(each, (dict, tuple)):
            found += each.values() if isinstance(each, dict) else each


@pytest.mark.parametrize("name", sorted(set(list_logged())))
def test_every_logged_name_is_explained(name: str):
    text = "".join(path.read_text() for path in PAGES)
    finding, _, measure = name.partition("{")[0].partition("/")
    # In a row the finding is said once: `lesion/intact_…`, `selectivity/count`, `percent`.
    assert f"`{finding}/{measure}" in text or re.search(
        rf"`{finding}/[^|\n]*`{re.escape(measure)}", text
    )


def test_every_page_is_in_the_readmes_table():
    linked = set(re.findall(r"\(docs/(\w+\.md)", read("README.md")))
    parts = {"index.md", "guide.md", "changelog.md", "contributing.md"}
    assert linked == {path.name for path in PAGES} - parts
