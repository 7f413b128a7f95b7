"""The warm process gives what a new interpreter gives: output, errors, exit code and files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import SMALL, run_app

QUICK = [*SMALL, "lesion=none", "decoding=none", "figures=false", "hydra.run.dir=run"]
COMMANDS = {
    "a run": ("app", QUICK),
    "a mistake with its traceback": ("app", ["target=cats", "hydra.run.dir=run", "debug=true"]),
    "an unknown option": ("app", ["--no-such-option"]),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_fork_is_as_good_as_a_new_interpreter(case: str, tmp_path: Path):
    module, arguments = COMMANDS[case]
    ended, files = [], []
    for fresh in (True, False):
        folder = tmp_path / ("fresh" if fresh else "fork")
        folder.mkdir()
        process = run_app(folder, *arguments, module=module, fresh=fresh)
        told = (process.returncode, process.stdout, process.stderr)
        own = rf"{re.escape(str(folder))}|[0-9a-f]{{32}}"  # the folder, and MLflow's id of the run
        ended.append([re.sub(own, "OWN", str(part)) for part in told])
        files.append({str(path.relative_to(folder)) for path in folder.glob("run/**/*")})
    assert ended[0] == ended[1]
    assert files[0] == files[1]
    if case == "a run":
        runs = [tmp_path / each / "run" for each in ("fresh", "fork")]
        tables = [pd.read_parquet(run / "scores.parquet") for run in runs]
        pd.testing.assert_frame_equal(*tables, check_exact=True)
        found = [json.loads((run / "metrics.json").read_text()) for run in runs]
        assert found[0] == found[1]


def test_each_fork_has_its_own_folder_and_streams(tmp_path: Path):
    (tmp_path / "one").mkdir()
    first = run_app(tmp_path / "one", "target=cats", "hydra.run.dir=run")
    second = run_app(tmp_path, "target=dogs", "hydra.run.dir=run")
    assert "cats" in first.stderr and "cats" not in second.stderr
    assert (tmp_path / "one/run").is_dir() and (tmp_path / "run").is_dir()
