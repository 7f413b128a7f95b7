"""A sweep's manifest: its jobs, and what they are made of, written before the first.

`python -m app.resume` runs what is missing of the jobs, where all is as it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import InputError
from app.files import digest_file
from app.tracking.moved import follow
from app.tracking.origin import versions
from app.tracking.record import write_text

if TYPE_CHECKING:
    from app.sweeps.results import Result

MANIFEST = "manifest.json"
PLAN = "plan.json"  # all that a search leaves, whose jobs are not known before they run
CODE = Path(__file__).parents[1]
TOLD = 4  # differences, at most


@dataclass(frozen=True)
class Planned:
    """A job of the sweep."""

    number: int
    overrides: list[str]
    folder: str  # in the sweep's


@dataclass(frozen=True)
class Manifest:
    """What a sweep was when it began."""

    jobs: list[Planned]
    made_of: dict[str, str]  # what identifies code, config, packages and inputs, by their names
    inputs: list[str]  # the paths that the config names
    place: str  # where the command ran
    folder: str  # of the sweep, then

    def find_place(self, folder: Path) -> Path:
        """Where the command is to run again, now that the sweep is in this folder."""
        return follow(Path(self.place), Path(self.folder), folder.absolute())

    def list_missing(self, results: Iterable[Result]) -> list[Planned]:
        """List the jobs that left none of these results, or that of a failure."""
        finished = {result.job for result in results if not result.failed}
        return [job for job in self.jobs if job.number not in finished]


def make_manifest(
    folder: Path, jobs: Sequence[Planned], configs: Sequence[Path], values: Iterable[str]
) -> Manifest:
    """Describe a sweep that begins: its config's values, and the folders of configs it is from.

    InputError for two jobs of one folder.
    """
    first: dict[str, int] = {}
    for job in jobs:
        if (other := first.setdefault(job.folder, job.number)) != job.number:
            raise InputError(
                f"hydra.sweep.subdir={job.folder} is the folder of jobs {other} and {job.number}: "
                "name it by what tells all jobs apart, or by ${hydra.job.num}"
            )
    inputs = sorted({value for value in values if os.path.exists(os.path.expanduser(value))})
    made_of = identify(configs, inputs)
    return Manifest(list(jobs), made_of, inputs, os.getcwd(), str(folder.absolute()))


def identify(configs: Sequence[Path], inputs: Sequence[str]) -> dict[str, str]:
    """What identifies the program's files and packages, configs, and inputs, by their names.

    Of configs of the same name the first folder's stands, as in Hydra's search path. Inputs are
    known by the names, sizes and times of their files, all else by its content.
    """
    found = {f"code {name}": digest_file(path) for name, path in _list_files(CODE)}
    for folder in reversed(configs):
        own = _list_files(folder, ".yaml")
        found |= {f"config {name}": digest_file(path) for name, path in own}
    found |= {f"input {each}": _look_at(Path(each).expanduser()) for each in inputs}
    return found | {f"package {name}": version for name, version in versions().items()}


def _list_files(folder: Path, suffix: str = "") -> list[tuple[str, Path]]:
    """List the files below a folder, of a suffix, with their names there; links are followed."""
    found, entered = [], set[str]()
    for place, below, files in os.walk(folder, followlinks=True):
        entered.add(os.path.realpath(place))
        below[:] = [name for name in below if name != "__pycache__"
                    and os.path.realpath(os.path.join(place, name)) not in entered]  # fmt: skip
        found += [Path(place, name) for name in files if name.endswith(suffix)]
    return sorted((path.relative_to(folder).as_posix(), path) for path in found)


def _look_at(path: Path) -> str:
    """Names, sizes and times of change of a file, or of all below a folder, as a digest."""
    digest = hashlib.sha256()
    for name, file in _list_files(path) if path.is_dir() else [("", path)]:
        if file.exists():
            status = file.stat()
            digest.update(f"{name}\0{status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def tell_difference(then: dict[str, str], now: dict[str, str]) -> str:
    """Tell what is not as it was, in some words; empty where all is. What is new does not count."""
    differing = [name for name, value in then.items() if now.get(name) != value]
    told = [f"{name} ({then[name]}, now {now.get(name, 'none')})"
            if name.startswith("package") else name for name in differing[:TOLD]]  # fmt: skip
    more = [f"{len(differing) - TOLD} more"] if len(differing) > TOLD else []
    return ", ".join(told + more)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Leave the manifest in the sweep's folder; InputError where that fails."""
    write_text(folder / MANIFEST, json.dumps(dataclasses.asdict(manifest), indent=1))


def read_manifest(folder: Path) -> Manifest | None:
    """Read the manifest in a sweep's folder; None where there is none. InputError for another."""
    path = folder / MANIFEST
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return Manifest(**{**told, "jobs": [Planned(**job) for job in told["jobs"]]})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from error


def find_number(sweep: Path, folder: Path, launched: int) -> int:
    """Find the number of the job in a folder; the one that it was launched with, if there is none.

    A sweep that is resumed launches some of its jobs, which keep their numbers.
    """
    manifest, place = read_manifest(sweep), os.path.relpath(folder, sweep)
    jobs = [] if manifest is None else manifest.jobs
    return next((job.number for job in jobs if job.folder == place), launched)
