"""Who ran what: the user, the program, the code's commit, and the versions it rests on."""

from __future__ import annotations

import functools
import getpass
import importlib.metadata
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

# This package and those that its numbers depend on.
PACKAGES = ("torch", "numpy", "scipy", "numba", "mlflow", "hydra-core", "pandas", "selective-units")


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of `PACKAGES`, by their names."""
    found = {"python": ".".join(map(str, sys.version_info[:3]))}
    for package in PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


@functools.cache
def origin() -> dict[str, str]:
    """Tags that say who ran what: user, program, and the code's commit where it has one."""
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    module = main.name.removesuffix(".__main__") if main is not None else ""
    package = __name__.partition(".")[0]
    module = module if module.partition(".")[0] == package else package
    script = Path(sys.argv[0]).stem  # of an installation: selective-units-train
    program = script if script.startswith("selective-units") else f"python -m {module}"
    tags = {"mlflow.source.name": program, "mlflow.source.type": "LOCAL"}
    with suppress(KeyError, OSError):  # a container's user may have no name
        tags["mlflow.user"] = getpass.getuser()
    return tags | find_commit(Path(__file__).parents[1])


def find_commit(package: Path) -> dict[str, str]:
    """The commit of the package's repository and whether its code or config differ from it."""
    # An installed package may lie inside somebody else's repository: ask for our own file.
    if git(package, "ls-files", "--error-unmatch", "__init__.py") is None:
        return {}
    commit = git(package, "rev-parse", "HEAD")
    changes = git(package, "status", "--porcelain", "--", ".", "../conf")
    if commit is None or changes is None:
        return {}
    return {"mlflow.source.git.commit": commit, "git.dirty": "true" if changes else "false"}


def git(folder: Path, *arguments: str) -> str | None:
    """What Git answers in a folder; None where it fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
