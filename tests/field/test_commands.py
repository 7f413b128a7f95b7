"""A few cases as a person meets them: the whole command, its exit code and what it prints."""

from __future__ import annotations

import re
from pathlib import Path

import app
from tests.conftest import FEW, finished, run_app
from tests.field.asked import find_corrections, quoted
from tests.field.inputs import HEIC, base, encoded, plant

QUICK = [
    "lesion=none", "decoding=none", "figures=false", "stimuli=folder", "hydra.run.dir=run", *FEW,
]  # fmt: skip


def test_a_run_tells_what_it_left_out(tmp_path: Path):
    files = {"face/x0.HEIC": HEIC, "face/x1.heic": HEIC, "face/session2/noext": encoded()}
    root = plant(tmp_path / "own", base() | files)
    words = ["tracking=none", "target=face", quoted("stimuli.root", root)]
    process = finished(run_app(tmp_path, *QUICK, *words))
    assert re.search("2 .*HEIC", process.stdout + process.stderr)


def test_a_domain_may_be_called_as_people_call_it(tmp_path: Path):
    root = plant(tmp_path / "own", base())
    domains = "stimuli.domains={face+body:[face,car],places:[house]}"
    words = ["target=face+body", domains, quoted("stimuli.root", root)]
    finished(run_app(tmp_path, *QUICK, *words))


def test_a_path_is_told_how_to_quote_in_one_line(tmp_path: Path):
    process = run_app(tmp_path, "model.checkpoint=a/epoch=3.ckpt")
    assert process.returncode == 1 and process.stderr.count("\n") == 1
    assert "a/epoch=3.ckpt" in find_corrections(process.stderr, "model.checkpoint")


def test_the_version_is_ours(tmp_path: Path):
    process = finished(run_app(tmp_path, "--version"))
    assert app.__version__ in process.stdout and "Hydra" not in process.stdout


def test_the_same_picture_everywhere_is_drawn_as_nothing_scored(tmp_path: Path) -> None:
    plant(tmp_path / "folder", {f"{name}/{n}.png": encoded() for name in "ab" for n in range(3)})
    words = ["tracking=none", "stimuli.root=folder", "target=a", "figures=true"]
    finished(run_app(tmp_path, *QUICK, *words))
    drawn = {path.stem for path in (tmp_path / "run/figures").iterdir()}
    assert drawn == {"scores", "responses", "overlap", "agreement"}
