"""What a sweep is made of, and what differs from it later."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from app.errors import InputError
from app.sweeps.manifest import (
    Manifest,
    Planned,
    find_number,
    identify,
    make_manifest,
    read_manifest,
    tell_difference,
    write_manifest,
)
from app.sweeps.results import Result


def test_the_manifest_comes_back_and_knows_the_jobs(tmp_path: Path):
    jobs = [Planned(0, ["seed=0"], "0"), Planned(1, ["seed=1"], "seed=1")]
    made = make_manifest(tmp_path, jobs, [], ["conv13", str(tmp_path)])
    write_manifest(tmp_path, made)
    assert read_manifest(tmp_path) == made and made.inputs == [str(tmp_path)]
    assert find_number(tmp_path, tmp_path / "seed=1", 7) == 1
    assert find_number(tmp_path, tmp_path / "other", 7) == 7
    assert read_manifest(tmp_path / "elsewhere") is None
    done = [Result("failed", "job", {}), Result("finished", "job", {}, job=1)]
    assert made.list_missing([]) == jobs and made.list_missing(done) == jobs[:1]
    assert isinstance(made, Manifest) and made.find_place(tmp_path) == Path.cwd()


def test_two_jobs_of_one_folder_are_refused(tmp_path: Path):
    jobs = [Planned(0, ["seed=0"], "a"), Planned(1, ["seed=1"], "b"), Planned(2, ["seed=2"], "a")]
    with pytest.raises(InputError, match=r"^hydra.sweep.subdir=a is the folder of jobs 0 and 2: "):
        make_manifest(tmp_path, jobs, [], [])


def test_what_changed_is_named(tmp_path: Path):
    images, configs, own = (tmp_path / name for name in ("images", "conf", "own"))
    for folder in (images / "faces", configs / "metric", own / "metric"):
        folder.mkdir(parents=True)
    (images / "faces/1.png").write_bytes(b"1")
    (images / "round").symlink_to(images)
    (configs / "metric/fsi.yaml").write_text("a: 1")
    then = identify([own, configs], [str(images)])
    assert tell_difference(then, identify([own, configs], [str(images)])) == ""

    (own / "metric/other.yaml").write_text("new: 1")
    assert tell_difference(then, identify([own, configs], [str(images)])) == ""
    (own / "metric/fsi.yaml").write_text("a: 2")  # stands before the other
    os.utime(images / "faces/1.png", (1, 1))
    now = identify([own, configs], [str(images)]) | {"package torch": "0.1", "code find.py": "x"}
    told = tell_difference(then, now)
    assert told == (
        f"code find.py, config metric/fsi.yaml, input {images}, "
        f"package torch ({then['package torch']}, now 0.1)"
    )
    assert tell_difference(then, {}).endswith(f"{len(then) - 4} more")
