"""The console scripts run this program, whatever else is called `app`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

import app
from tests.conftest import REPOSITORY

SCRIPTS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
BOTH = """
import selective_units, subprocess, sys
try:
    selective_units.main()
finally:  # as a cluster's jobs begin
    subprocess.run([sys.executable, "-m", "app", "--version"])
"""


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_has_its_command(name: str):
    module, _, function = SCRIPTS[name].partition(":")
    (command,) = getattr(import_module(module), function).args
    own = "__main__" if function == "main" else name.removeprefix("selective-units-")
    assert command == f"app.{own}"
    source = Path(f"{REPOSITORY}/{command.replace('.', '/')}.py").read_text()
    assert "def main()" in source
    # --help tells of this command, not of another whose config it would have.
    says = command.removesuffix(".__main__")
    if config := re.search(r'run_hydra\(job, "(\w+)"', source):
        assert f"app_name: {says}\n" in (REPOSITORY / f"conf/{config[1]}.yaml").read_text()
    else:
        assert f'prog="python -m {says}"' in source


@pytest.mark.slow
@pytest.mark.parametrize("theirs", ["app.py", "app/__init__.py"])
def test_another_app_in_the_folder_and_on_the_path_is_not_run(tmp_path: Path, theirs: str):
    (tmp_path / theirs).parent.mkdir(exist_ok=True)
    (tmp_path / theirs).write_text("print('THEIRS'); raise SystemExit(3)")
    done = subprocess.run(
        [sys.executable, "-c", BOTH, "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{REPOSITORY}"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert not done.stderr
    told = [line.split(" (")[0] for line in done.stdout.splitlines()]
    assert told == [f"selective-units {app.__version__}"] * 2
