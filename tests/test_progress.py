"""How far a step is: a line now and then where there is no terminal for a bar."""

from __future__ import annotations

import multiprocessing
import time

from app import progress


def test_lines_name_their_job_and_do_not_overwrite_each_other(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.05)
    monkeypatch.setattr(multiprocessing.current_process(), "name", "job 3")
    with progress.progress_bar("lesioning conv2", 4) as done:
        for _ in range(4):
            time.sleep(0.06)
            done(1)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 5
    assert all(line.startswith("job 3: lesioning conv2: ") for line in lines)
    assert not any("\r" in line for line in lines)


def test_short_steps_say_nothing(capsys):
    with progress.progress_bar("drawing", 2) as done:
        done(2)
    assert capsys.readouterr().err == ""
