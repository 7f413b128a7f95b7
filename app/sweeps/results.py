"""What became of jobs: returned by their runs, left in their folders, read by the sweep, tabulated.

The store and the jobs' folders give the same results but for the ids of the runs.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app.config.parameters import LEADING_PARAMETERS
from app.config.schema import Config
from app.errors import InputError
from app.files import to_json
from app.names import JOBS_FAILED, JOBS_FINISHED
from app.sweeps.manifest import PLAN, read_manifest
from app.tracking.record import RESULT, as_text, read_undefined, tag_notes, write_text

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.entities import Run as StoredRun

    from app.tracking.store import Store

# Tags that a report asks for, beside the notes.
TAGS = ("trained", "model.digest", "metrics.styles", "criterion.paper")


@dataclass(frozen=True)
class Result:
    """What a run asked and found.

    From the store, `params` are text, and the tags have all that it keeps, the notes among them.
    """

    status: Literal["finished", "failed"]
    name: str
    params: Mapping[str, Any]  # by their dotted names
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)  # by the names of `app.names`
    notes: Sequence[str] = ()  # a line for each step that did not apply
    run_id: str | None = None  # MLflow's
    undelivered: str | None = None  # why the store lacks the run
    reason: str = ""  # why it failed
    job: int = 0  # its number in the sweep
    folder: str = ""
    files: Sequence[str] | None = None  # that it wrote there; None: not told

    @property
    def failed(self) -> bool:
        """Whether the job did not finish."""
        return self.status == "failed"

    @property
    def reason_line(self) -> str:
        """The first line of the reason: a table is no place for a traceback."""
        return (self.reason.strip() or "no reason given").splitlines()[0]


def write_result(folder: Path, result: Result) -> None:
    """Leave a job's result where the sweep's end finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = zip(result.params.items(), as_text(result.params).values(), strict=True)
    params = {  # text where JSON has no such value: it has no infinite numbers
        name: value if json.loads(to_json(value)) == value else text
        for (name, value), text in texts
    }
    write_text(folder / RESULT, to_json({**dataclasses.asdict(result), "params": params}))


def find_results(folder: Path) -> list[Path]:
    """Find the files of results in the folders of a sweep's jobs, wherever it has them.

    In a folder that is no sweep's, that of the run whose folder it is, or of the runs in it.
    """
    manifest = read_manifest(folder)
    if manifest is not None:
        paths = [folder / job.folder / RESULT for job in manifest.jobs]
        return [path for path in paths if path.is_file()]
    patterns = [f"**/{RESULT}"] if (folder / PLAN).is_file() else [RESULT, f"*/{RESULT}"]
    return [path for pattern in patterns for path in sorted(folder.glob(pattern))]


def read_results(folder: Path) -> list[Result]:
    """Read the results that `find_results` finds, in the order of their jobs' numbers.

    Single runs, which have none, are numbered in the order of their folders.
    """
    found = sorted(map(_read_result, find_results(folder)), key=lambda result: result.job)
    if len({each.job for each in found}) < len(found):
        return [dataclasses.replace(each, job=number) for number, each in enumerate(found)]
    return found


def _read_result(path: Path) -> Result:
    told = json.loads(path.read_text(encoding="utf-8"))
    metrics = {
        name: math.nan if value is None else value for name, value in told["metrics"].items()
    }
    return Result(**{**told, "metrics": metrics, "folder": str(path.parent)})  # it may have moved


def read_table(result: Result, name: str) -> pd.DataFrame | None:
    """Read a table of a run from its folder; None where there is none."""
    import pandas as pd

    path, own = Path(result.folder) / f"{name}.parquet", result.files
    known = own is None or path.name in own
    return pd.read_parquet(path) if result.folder and known and path.is_file() else None


def read_stored(store: Store) -> Callable[[Result, str], pd.DataFrame | None]:
    """Make what reads a table of a run from the store, as `read_table` does from its folder."""
    return lambda result, name: store.read_table(result.run_id or "", f"{name}.parquet")


def count(results: Sequence[Result]) -> tuple[int, int]:
    """Count how many jobs finished and how many failed."""
    failed = sum(result.failed for result in results)
    return len(results) - failed, failed


def read_sweep(store: Store, parent: str) -> tuple[str, list[Result]]:
    """Read the name of a sweep's parent run and its jobs' results from the store.

    InputError where there is no such run, or it has no jobs.
    """
    run = store.get_run(parent)
    if run.info.lifecycle_stage != "active":
        raise InputError(
            f"run={parent} was deleted: restore it in MLflow's pages, or by "
            f"python -m app.sync {run.data.tags.get('folder')}"
        )
    # A job that a cluster put back into its queue began again: its last run counts. Runs of others
    # below the sweep's are no jobs.
    own = [each for each in store.children(run) if "job" in each.data.tags]
    last = {each.job: each for each in map(read_run, own)}
    if not last:
        raise InputError(
            tell_missing(run, 0)
            or f"run={parent} has no jobs: give the id of a sweep's parent run, as MLflow shows it"
        )
    return run.info.run_name, list(last.values())


def count_jobs(run: StoredRun) -> int:
    """Count the jobs that a sweep had, by its parent run; 0 before its end."""
    ended = run.data.metrics
    return int(ended.get(JOBS_FINISHED, 0) + ended.get(JOBS_FAILED, 0))


def tell_missing(run: StoredRun, found: int) -> str | None:
    """Tell that the store has fewer jobs of a sweep than it had, and the mend."""
    if found >= (jobs := count_jobs(run)):
        return None
    return (
        f"the store has {found} of the {jobs} jobs that the sweep had: the others were deleted, or "
        f"never began; python -m app.sync {run.data.tags.get('folder')} makes deleted ones again"
    )


def read_run(run: StoredRun) -> Result:
    """Read the result of a run of the store."""
    tags = dict(run.data.tags)
    finished = run.info.status == "FINISHED"
    curves = tags.get("curves", "").split(", ")
    metrics = {name: value for name, value in run.data.metrics.items() if name not in curves}
    reason = tags.get("error") or f"the run is {run.info.status.lower()}"
    return Result(
        status="finished" if finished else "failed",
        name=run.info.run_name,
        params=dict(run.data.params),
        tags=tags,
        metrics=metrics | read_undefined(tags.get("undefined_metrics", "")),
        run_id=run.info.run_id,
        reason="" if finished else reason,
        job=int(tags.get("job", 0)),
        folder=tags.get("folder", ""),
    )


# --- as tables ------------------------------------------------------------------------------------


def list_params(results: Sequence[Result]) -> pd.DataFrame:
    """List the params of each job, as text: the leading ones first, then as the config has them."""
    import pandas as pd

    params = pd.DataFrame([as_text(job.params) for job in results])
    names: list[str] = sorted(map(str, params), key=_place)
    return params[names]


def _place(name: str) -> tuple[bool, int, str]:
    """Where a param stands: one that sets others stands before them."""
    leads, group = name in LEADING_PARAMETERS, name.partition(".")[0]
    order = LEADING_PARAMETERS if leads else [each.name for each in dataclasses.fields(Config)]
    return not leads, order.index(group) if group in order else len(order), name


def sort_layers(layers: Iterable[str], depths: Mapping[str, float]) -> list[str]:
    """Sort names of layers from the first to the deepest.

    Those of unknown depth come last, conv1 … conv13 by number, others as they are listed.
    """

    def place(name: str) -> tuple[float, int]:
        number = re.fullmatch(r"conv(\d+)", name)
        return depths.get(name, math.inf), int(number[1]) if number else 0

    return sorted(dict.fromkeys(layers), key=place)


def find_differing(params: pd.DataFrame) -> list[str]:
    """Find the names of the params that tell the jobs apart.

    A dotted name is left out where the names before it already decide its value, as the metric
    does its own settings.
    """
    params = params.fillna("-")
    chosen: list[str] = []
    for name in params.columns[params.nunique() > 1]:
        alike, parts = (len(params[names].drop_duplicates()) for names in (chosen, [*chosen, name]))
        if name in LEADING_PARAMETERS or not chosen or parts > alike:
            chosen.append(name)
    return chosen


def tabulate(results: Sequence[Result]) -> pd.DataFrame:
    """Make a row a job: what became of it, its params, findings (NaN: undefined or none) and tags.

    Columns are `job`, `run` (its name), `run_id`, `status`, `reason` (why it failed), and all else
    by the name that it is logged under.
    """
    import pandas as pd

    about = [(job.job, job.name, job.run_id, job.status, job.reason) for job in results]
    found = pd.DataFrame([job.metrics for job in results], dtype=float)
    tags = pd.DataFrame([{**job.tags, **tag_notes(job.notes)} for job in results])
    notes = sorted(name for name in map(str, tags) if name.endswith(".note"))
    parts = [
        pd.DataFrame(about, columns=["job", "run", "run_id", "status", "reason"]),
        list_params(results),
        found[sorted(map(str, found))],
        tags.reindex(columns=[*TAGS, *notes]),
    ]
    return pd.concat(parts, axis="columns")
