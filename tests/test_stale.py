"""Stored results are never stale: the program is changed, and finds other numbers."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import REPOSITORY, SMALL, finished, run_warm

QUICK = [*SMALL, "figures=false", "tracking=none", "lesion.sets=[]"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program in a folder of its own, whose sources may be changed, and what it stored."""
    folder = tmp_path_factory.mktemp("program")
    for name in ("app", "conf"):
        shutil.copytree(REPOSITORY / name, folder / name)
    return folder


def run(program: Path, *arguments: str) -> Path:
    """The folder of what a run of that program found."""
    finished(run_warm(program, *QUICK, *arguments, bare=True))
    return max((program / "outputs" / "runs").glob("*/*"), key=os.path.getmtime)


def numbers(folder: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((folder / "metrics.json").read_text())
    return found


def change(path: Path, old: str, new: str) -> Callable[[], None]:
    """Change a source file; returns what changes it back."""
    text = path.read_text()
    assert len(re.findall(old, text)) == 1, f"{old} in {path}"
    path.write_text(re.sub(old, new, text))
    return lambda: None if path.write_text(text) else None


# A file, what is changed in it, and which finding that must move.
CHANGES = {
    "smallest of the contrasts": (
        *("metrics/scores.py", r"np\.fmin", "np.fmax"),
        lambda before, after: (scores(before)["wilcoxon"] < scores(after)["wilcoxon"]).any(),
    ),
    "compiled loops": (
        "metrics/compiled.py",
        r"return machine_code",
        "return machine_code if function.__name__ != '_moments' else (\n"
        "        lambda *given: [machine_code(*given), given[2].__iadd__(1)][0])",
        lambda before, after: not np.allclose(scores(before)["fsi"], scores(after)["fsi"]),
    ),
    "weights that are filled in": (
        "models/checkpoint.py",
        r"tensor\.to\(value\.dtype\)",
        "-tensor.to(value.dtype)",
        lambda before, after: (
            numbers(before)["decoding/accuracy"] != numbers(after)["decoding/accuracy"]
        ),
    ),
}


def scores(folder: Path) -> pd.DataFrame:
    return pd.read_parquet(folder / "scores.parquet")


ASKED = ["layer=conv13", "metric=wilcoxon", "decoding.kernels=8"]


@pytest.fixture(scope="module")
def before(program: Path) -> Path:
    """What the program finds as it is."""
    return run(program, *ASKED)


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_of_the_program_is_not_answered_from_store(
    program: Path, before: Path, case: str
) -> None:
    file, old, new, moved = CHANGES[case]
    back = change(program / "app" / file, old, new)
    try:
        after = run(program, *ASKED)
    finally:
        back()
    assert moved(before, after), "the old numbers were served"
