"""A key changes with all that a result depends on, and with nothing else."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.memo import keys
from app.metrics import dprime, fsi

REPOSITORY = Path(__file__).parents[2]
# Modules whose functions are remembered, from the stimuli to the figures.
STEPS = (
    "app.stimuli.synthetic",
    "app.models.network",
    "app.responses.kernels",
    "app.metrics.scoring",
    "app.metrics.layer_scoring",
    "app.metrics.ttest",
    "app.findings.lesion",
    "app.findings.decoding",
    "app.figures.render",
)


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    """The package in a folder of its own, whose sources may be changed."""
    root = tmp_path / "app"
    shutil.copytree(REPOSITORY / "app", root, ignore=shutil.ignore_patterns("weights", "*.pyc"))
    yield root
    forget()


def forget() -> None:
    keys.digest_source.cache_clear()
    keys._read.cache_clear()


def digests(root: Path) -> dict[str, str]:
    keys.digest_source.cache_clear()
    return {step: keys.digest_source(step, root) for step in STEPS}


def modules_of(root: Path) -> dict[str, Path]:
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@pytest.mark.slow
def test_a_change_of_any_module_changes_the_keys_of_the_steps_that_reach_it(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: dict[str, Any] = {}  # but for what changes
    parse = keys._read.__wrapped__

    def read_once(name: str, root: Path) -> Any:
        if name not in read:
            read[name] = parse(name, root)
        return read[name]

    monkeypatch.setattr(keys, "_read", read_once)
    before = digests(copy)
    closures = {step: keys.find_closure(step, copy) for step in STEPS}
    assert all(step in closure for step, closure in closures.items())
    for name, path in modules_of(copy).items():
        source, was_read = path.read_bytes(), read.pop(name, None)
        path.write_bytes(source + b"\n_changed = 1\n")
        after = digests(copy)
        path.write_bytes(source)
        read.pop(name, None)
        if was_read is not None:
            read[name] = was_read
        changed = {step for step in STEPS if after[step] != before[step]}
        assert changed == {step for step, closure in closures.items() if name in closure}, name
    assert digests(copy) == before


# Each step's imports, in a fork of its own; what others wrote is there already.
IMPORTED = """
import json, os, sys
from importlib import import_module
for name in ("matplotlib.figure", "numba", "pandas", "PIL.Image", "scipy.stats", "torch"):
    import_module(name)
for step in sys.argv[1:]:
    if os.fork() == 0:
        import_module(step)
        print(json.dumps([name for name in sys.modules if name.startswith("app")]), flush=True)
        os._exit(0)
    _, status = os.wait()
    assert status == 0, step
"""


@pytest.mark.slow
def test_closures_hold_what_python_imports() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *STEPS],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    for step, line in zip(STEPS, done.stdout.splitlines(), strict=True):
        imported = set(json.loads(line))
        assert step in imported
        assert imported <= keys.find_closure(step), "as it is imported, without functions' imports"


def test_no_step_reaches_the_config_or_what_records_runs() -> None:
    """A new setting, or a new word of a report, costs nobody a recomputation."""
    reached = set().union(*(keys.find_closure(step) for step in STEPS))
    rooms = {name.split(".")[1] for name in reached if "." in name}
    assert not rooms & {"config", "launch", "experiment", "sweeps", "tracking", "training"}


def test_comments_docstrings_and_blanks_do_not_count(copy: Path) -> None:
    before = digests(copy)
    forget()
    for path in modules_of(copy).values():
        text = path.read_text().replace('"""', '"""More of it. ', 1)
        path.write_text(f"# A comment.\n\n{text}\n# Another.\n")
    assert digests(copy) == before


def test_imports_are_followed_wherever_they_stand(tmp_path: Path) -> None:
    root = tmp_path / "app"
    (root / "room").mkdir(parents=True)
    sources = {
        "__init__.py": "",
        "a.py": "def f():\n    from app.room import b, value\n    import app.c as other\n",
        "c.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from app import typed\n"
        "else:\n    from app import untyped\n",
        "typed.py": "",
        "untyped.py": "",
        "unused.py": "",
        "room/__init__.py": "from .d import value\n",
        "room/b.py": "from . import e\nfrom ..f import x\n",
        "room/d.py": "value = 1\n",
        "room/e.py": "import numpy\n",
        "f.py": "x = 1\n",
    }
    for name, source in sources.items():
        (root / name).write_text(source)
    assert keys.find_closure("app.a", root) == {
        *("app", "app.a", "app.c", "app.f", "app.untyped"),
        *("app.room", "app.room.b", "app.room.d", "app.room.e"),
    }


def test_versions_of_what_is_imported_count(monkeypatch: pytest.MonkeyPatch) -> None:
    forget()
    before = keys.digest_source("app.metrics.ttest")
    version = keys._version

    def newer(changed: str) -> str:
        monkeypatch.setattr(keys, "_version", lambda name: version(name) + "x" * (name == changed))
        forget()
        return keys.digest_source("app.metrics.ttest")

    assert len({before, newer("numpy"), newer("scipy"), newer("numba")}) == 4
    assert newer("mlflow") == before
    assert version("numpy") == f"numpy {np.__version__}"
    assert "pillow" in version("PIL") and "scikit-learn" in version("sklearn")
    forget()


@dataclass
class Settings:
    first: Any
    second: Any = 1


class Lazy:
    def __init__(self, known: Any, other: Any = None) -> None:
        self.known, self.other = known, other

    def __memo__(self) -> Any:
        return {"known": self.known}


def step(*_: Any) -> None: ...


def test_arguments_are_told_apart() -> None:
    base = np.arange(6.0)
    arguments = [
        base,
        np.arange(6.0) + 1e-15,
        base.reshape(2, 3),
        base.astype(np.float32),
        base.view(np.int64),
        np.empty((0, 3)),
        np.empty((3, 0)),
        np.array("face"),
        *(None, True, 1, 1.5, "1", "", (), (1,), [1], {}, {"a": 1}, {"b": 1}, {1}),
        *({"a": 1, "b": 2}, {"b": 2, "a": 1}),  # order may matter
        *(Settings(1), Settings(1, 2), Settings((1, 2)), Lazy(1), Lazy(2)),
        *(fsi.score, dprime.score, range(3), Path("x")),
    ]
    told = [keys.derive_key(step, argument) for argument in arguments]
    assert len(set(told)) == len(arguments)
    assert told == [keys.derive_key(step, argument) for argument in arguments]
    assert keys.derive_key(step, Lazy(1, "a")) == keys.derive_key(step, Lazy(1, "b"))
    grid = np.arange(12).reshape(3, 4)
    assert keys.derive_key(step, grid.T) == keys.derive_key(step, grid.T.copy())


@pytest.mark.parametrize(
    "argument", [np.array([{}], dtype=object), lambda: 1, functools.partial(step, 1), object()]
)
def test_what_cannot_be_told_is_refused(argument: Any) -> None:
    with pytest.raises(TypeError):
        keys.derive_key(step, argument)


def test_the_device_that_computed_a_result_counts() -> None:
    torch = pytest.importorskip("torch")
    from app.responses.hardware import Hardware

    cpu = Hardware(torch.device("cpu"))
    assert keys.describe(cpu) == keys.describe(Hardware(torch.device("cpu"), threads=7))
    assert keys.describe(cpu) != keys.describe(Hardware(torch.device("cpu"), "float16"))
    assert cpu.__memo__()["device"] == "cpu"
