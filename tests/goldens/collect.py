"""What is kept of a command: read from where it left it, written to `data/`, read from there.

A job's metrics are those of `metrics.json`; `logged` has what the store knows otherwise or more.
"""

from __future__ import annotations

import json
import math
import re
import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pandas as pd
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.goldens.refused import normalised

DATA = Path(__file__).parent / "data"
TABLES = ("scores", "lesion", "lesion_sets", "threshold")
SHARED = ("name", "status", "params", "tags", "notes", "artifacts", "files", "datasets")

# Of a run: who ran it when, where and from which code; and its page, which tells its tables again.
PASSING = re.compile(
    r"mlflow\.(source|user|parentRunId|log-model|note)|git\.|record$|folder$|host$|peak_"
)

Found = dict[str, Any]  # code, jobs, sweep, report: see `of_folder`


# ------------------------------------------------------------------------- what a command has left


def of_folder(folder: Path, name: str, *, tables: bool) -> Found:
    """All findings of the run or sweep `name`, which has an experiment of this name for itself."""
    client = MlflowClient(f"sqlite:///{folder}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name(name)
    assert experiment is not None
    runs = list(client.search_runs([experiment.experiment_id]))
    parents = {run.data.tags.get("mlflow.parentRunId") for run in runs}
    found: Found = {"jobs": {}}
    for run in runs:
        if run.info.run_id in parents:
            found["sweep"] = _of_run(run, folder)
            found["report"] = _of_report(folder / name / "report", folder)
        else:
            job = run.data.tags.get("job")
            place = folder / name / (job or "")
            found["jobs"][job or "run"] = _of_job(client, run, place, folder, tables)
    found["jobs"] = {job: found["jobs"][job] for job in sorted(found["jobs"], key=_numbered)}
    return found


def _numbered(job: str) -> tuple[int, str]:
    return len(job), job


def _of_run(run: Run, root: Path) -> dict[str, Any]:
    tags = {
        name: normalised(value, root=root)
        for name, value in run.data.tags.items()
        if not PASSING.match(name)
    }
    stored = Path(unquote(urlparse(run.info.artifact_uri).path))
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "params": dict(run.data.params),
        "tags": tags,
        "artifacts": _names(stored),
        "logged": dict(run.data.metrics),
        "datasets": sorted(entry.dataset.name for entry in run.inputs.dataset_inputs),
    }


def _names(folder: Path) -> list[str]:
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(map(str, paths))


def _of_job(
    client: MlflowClient, run: Run, place: Path, root: Path, tables: bool
) -> dict[str, Any]:
    found = _of_run(run, root)
    found["metrics"] = metrics = json.loads((place / "metrics.json").read_text())
    found["notes"] = json.loads((place / "result.json").read_text())["notes"]
    files = {path for path in _names(place) if not path.startswith(".")}
    found["files"] = sorted(files - set(found["artifacts"]))  # that the store has not
    logged, curves = found["logged"], found["tags"]["curves"].split(", ")
    found["logged"] = {
        name: value
        for name, value in logged.items()
        if name not in curves and (name not in metrics or metrics[name] != value)
    }
    if tables:
        found["curves"] = {
            name: {str(point.step): point.value for point in points}
            for name in logged
            if len(points := client.get_metric_history(run.info.run_id, name)) > 1
        }
        found["tables"] = {
            name: pd.read_parquet(path)
            for name in TABLES
            if (path := place / f"{name}.parquet").is_file()
        }
    return found


def _of_report(folder: Path, root: Path) -> dict[str, Any]:
    return {
        "files": _names(folder),
        "text": normalised((folder / "report.md").read_text(), root=root),
        "tables": {
            path.stem: _csv(path).drop(columns="run_id", errors="ignore")
            for path in sorted(folder.glob("*.csv"))
        },
    }


def _csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False)


# --------------------------------------------------------------------------------------- in `data/`


def write(name: str, found: Found) -> None:
    """Keep what a command found in place of what was kept."""
    folder = DATA / name
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "report").mkdir(parents=True)
    kept = {key: value for key, value in found.items() if key not in ("jobs", "report")}
    jobs = {job: {**values} for job, values in found["jobs"].items()}
    of_jobs = {job: values.pop("tables", {}) for job, values in jobs.items()}
    for table in TABLES:
        alike: dict[tuple[str, ...], dict[str, pd.DataFrame]] = defaultdict(dict)
        for job, frames in of_jobs.items():
            if table in frames:
                alike[tuple(frames[table].columns)][job] = frames[table]
        for number, parts in enumerate(alike.values()):
            path = folder / f"{table}.{number}.parquet"
            pd.concat(
                [frame.assign(job=job) for job, frame in parts.items()], ignore_index=True
            ).to_parquet(path, compression="zstd")
            for job, frame in _tables(path).items():
                pd.testing.assert_frame_equal(frame, parts[job], check_exact=True)
    if "report" in found:
        kept["report"] = found["report"]["files"]
        (folder / "report" / "report.md").write_text(found["report"]["text"])
        for table, frame in found["report"]["tables"].items():
            frame.to_csv(folder / "report" / f"{table}.csv", index=False)
    else:
        (folder / "report").rmdir()
    kept["shared"] = _shared(jobs)
    kept["jobs"] = {job: _without(values, kept["shared"]) for job, values in jobs.items()}
    write_json(folder / "runs.json", kept)


def read(name: str) -> Found:
    """What was kept, as `of_folder` has it."""
    folder = DATA / name
    found = json.loads((folder / "runs.json").read_text())
    shared = found.pop("shared")
    for job, values in found["jobs"].items():
        for key, value in shared.items():
            values[key] = {**value, **values.get(key, {})} if isinstance(value, dict) else value
        if "curves" in values:
            values["tables"] = {}
        found["jobs"][job] = values
    for table in TABLES:
        for path in folder.glob(f"{table}.*.parquet"):
            for job, frame in _tables(path).items():
                found["jobs"][job]["tables"][table] = frame
    if "report" in found:
        found["report"] = {
            "files": found["report"],
            "text": (folder / "report" / "report.md").read_text(),
            "tables": {path.stem: _csv(path) for path in sorted(folder.glob("report/*.csv"))},
        }
    return found


def _tables(path: Path) -> dict[str, pd.DataFrame]:
    return {
        str(job): frame.drop(columns="job").reset_index(drop=True)
        for job, frame in pd.read_parquet(path).groupby("job", sort=False)
    }


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=1, ensure_ascii=False)
    curves = re.compile(r'\{\s*("\d+": [^{}"]+(,\s*"\d+": [^{}"]+)*)\}')  # each in a line
    text = curves.sub(lambda found: "{" + " ".join(found[1].split()) + "}", text)
    path.write_text(text + "\n")


def _shared(jobs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What all jobs have: whole lists and words, single entries of what has names."""
    first, *others = jobs.values()
    shared: dict[str, Any] = {}
    for key in SHARED:
        if isinstance(first[key], dict):
            shared[key] = {
                name: value
                for name, value in first[key].items()
                if all(name in other[key] and other[key][name] == value for other in others)
            }
        elif all(other[key] == first[key] for other in others):
            shared[key] = first[key]
    return shared


def _without(values: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    left: dict[str, Any] = defaultdict(dict)
    for key, value in values.items():
        if key not in shared:
            left[key] = value
        elif isinstance(value, dict):
            for name in value.keys() - shared[key].keys():
                left[key][name] = value[name]
            left[key] = dict(sorted(left[key].items()))
    return dict(left)


# ----------------------------------------------------------------------------------------- compared

RTOL, ATOL = 1e-5, 1e-6  # processors round float32 otherwise
DECODED = re.compile(
    r"(^decoding/|^|/)(accuracy|ci95_low|ci95_high|chance|random_kernels|all_kernels)$"
)
COUNTED = re.compile(r"(^|[/_])(count|units|undefined|kernels|dropped|finished|failed)$")


def differences(golden: Found, now: Found, where: str) -> list[str]:
    """Each in a line: which job, which name, both values."""
    told: list[str] = []
    _compare(golden, now, where, "", told)
    return told


def _compare(golden: Any, now: Any, where: str, name: str, told: list[str]) -> None:
    if isinstance(golden, dict) and isinstance(now, dict):
        for key in [*golden, *(key for key in now if key not in golden)]:
            if key not in now:
                told.append(f"{where}: {key} is gone, was {_short(golden[key])}")
            elif key not in golden:
                told.append(f"{where}: {key} is new, {_short(now[key])}")
            else:
                _compare(golden[key], now[key], f"{where}: {key}", key, told)
    elif isinstance(golden, pd.DataFrame) and isinstance(now, pd.DataFrame):
        _compare_tables(golden, now, where, told)
    elif isinstance(golden, str) and isinstance(now, str) and "\n" in golden + now:
        _compare_texts(golden, now, where, told)
    elif isinstance(golden, list) and isinstance(now, list):
        _compare_lists(golden, now, where, told)
    elif not _same(golden, now, name):
        told.append(f"{where}: was {golden!r}, is {now!r}")


def _compare_lists(golden: list[Any], now: list[Any], where: str, told: list[str]) -> None:
    told.extend(f"{where}: {entry!r} is gone" for entry in golden if entry not in now)
    told.extend(f"{where}: {entry!r} is new" for entry in now if entry not in golden)
    if sorted(golden) == sorted(now) and golden != now:
        told.append(f"{where}: order was {golden}, is {now}")
    elif len(golden) != len(now) and set(golden) == set(now):
        told.append(f"{where}: were {golden}, are {now}")


def _same(golden: Any, now: Any, name: str) -> bool:
    if type(golden) is not type(now) or not isinstance(golden, float):
        return golden == now
    if math.isnan(golden) or math.isnan(now):
        return math.isnan(golden) and math.isnan(now)
    if DECODED.search(name):
        return abs(golden - now) <= 1e-9
    if COUNTED.search(name):
        return golden == now
    return math.isclose(golden, now, rel_tol=RTOL, abs_tol=ATOL)


def _compare_tables(golden: pd.DataFrame, now: pd.DataFrame, where: str, told: list[str]) -> None:
    _compare(list(golden.columns), list(now.columns), f"{where}: columns", "", told)
    if len(golden) != len(now):
        told.append(f"{where}: had {len(golden)} rows, has {len(now)}")
        return
    for column in golden.columns.intersection(now.columns):
        kinds = str(golden[column].dtype), str(now[column].dtype)
        if kinds[0] != kinds[1]:
            told.append(f"{where}: {column} was of {kinds[0]}, is of {kinds[1]}")
            continue
        for row, pair in enumerate(zip(_cells(golden[column]), _cells(now[column]), strict=True)):
            if not _same(*pair, column):
                told.append(f"{where}: row {row}: {column} was {pair[0]!r}, is {pair[1]!r}")


def _cells(column: pd.Series) -> list[Any]:
    """Python's own values; numbers that are written as text, in a CSV file, are numbers."""
    cells = column.astype(object).where(column.notna(), math.nan).tolist()
    return [_number(cell) if isinstance(cell, str) else cell for cell in cells]


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _compare_texts(golden: str, now: str, where: str, told: list[str]) -> None:
    lines = golden.splitlines(), now.splitlines()
    for number in range(max(map(len, lines))):
        pair = [repr(each[number]) if number < len(each) else "no more" for each in lines]
        if pair[0] != pair[1]:
            told.append(f"{where}: line {number + 1} was {pair[0]}, is {pair[1]}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
