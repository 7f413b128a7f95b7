"""A sweep's runs as one table: read from the tracking store, or from what its jobs left on disk.

Both give the same table but for the ids of the runs: parameters are text, as the store keeps them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from app.config.schema import LEADING_PARAMETERS, Config
from app.tracking import store as tracking
from app.tracking.contents import tags_of_notes

if TYPE_CHECKING:
    from mlflow.entities import Run as StoredRun

OWN = ("job", "run", "run_id", "status", "reason")
TAGS = (
    "trained",
    "model.digest",
    "metrics.styles",
    "criterion.paper",
)  # that a report asks for, beside the notes


def of_store(settings: tracking.Settings, parent: str) -> tuple[str, list[dict[str, Any]]]:
    """The name of a sweep's parent run and what the store knows of its jobs, a mapping a job.

    InputError where there is no such run, or it has no jobs.
    """
    run = tracking.get_run(settings, parent)
    # A job that a cluster put back into its queue began again: its last run counts.
    last = {row["job"]: row for row in map(_of_run, tracking.children(settings, parent))}
    rows = list(last.values())
    if not rows:
        raise tracking.InputError(
            f"run={parent} has no jobs: give the id of a sweep's parent run, as MLflow shows it"
        )
    return run.info.run_name, rows


def of_results(results: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same from the results that the jobs left in their folders."""
    return [
        {
            "job": int(result["job"]),
            "run": result["name"],
            "run_id": result.get("run_id"),
            "status": result["status"],
            "reason": result.get("reason", ""),
            "params": tracking.as_text(result["params"]),
            "metrics": dict(result["metrics"]),
            "tags": {**result.get("tags", {}), **tags_of_notes(result["notes"])},
        }
        for result in results
    ]


def table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row a job, in the order of their numbers; columns as MLflow names them.

    `job`, `run` (its name), `run_id`, `status` (finished or failed), `reason` (why it failed);
    `params.<name>` as text, the leading ones first, then in the order of the config;
    `metrics.<name>` as numbers, NaN where undefined or not measured; `tags.<name>`.
    """
    ordered = sorted(rows, key=lambda row: row["job"])
    names = {kind: {name for row in rows for name in row[kind]} for kind in ("params", "metrics")}
    tags = [
        *TAGS,
        *sorted({name for row in rows for name in row["tags"] if name.endswith(".note")}),
    ]
    columns = {name: [row[name] for row in ordered] for name in OWN}
    columns |= {
        f"params.{name}": [row["params"].get(name) for row in ordered]
        for name in sorted(names["params"], key=_place)
    }
    columns |= {
        f"metrics.{name}": [row["metrics"].get(name, float("nan")) for row in ordered]
        for name in sorted(names["metrics"])
    }
    columns |= {f"tags.{name}": [row["tags"].get(name) for row in ordered] for name in tags}
    return pd.DataFrame(columns)


def _place(name: str) -> tuple[int, int, str]:
    """Where the config has a parameter: one that sets others stands before them."""
    if name in LEADING_PARAMETERS:
        return 0, LEADING_PARAMETERS.index(name), ""
    fields = [field.name for field in dataclasses.fields(Config)]
    group = name.partition(".")[0]
    return 1, fields.index(group) if group in fields else len(fields), name


def _of_run(run: StoredRun) -> dict[str, Any]:
    tags = dict(run.data.tags)
    finished = run.info.status == "FINISHED"
    curves = tags.get("curves", "").split(", ")
    metrics = {name: value for name, value in run.data.metrics.items() if name not in curves}
    reason = tags.get("error") or f"the run is {run.info.status.lower()}"
    return {
        "job": int(tags.get("job", 0)),
        "run": run.info.run_name,
        "run_id": run.info.run_id,
        "status": "finished" if finished else "failed",
        "reason": "" if finished else reason,
        "params": dict(run.data.params),
        "metrics": {**metrics, **_undefined(tags.get("undefined_metrics", ""))},
        "tags": tags,
    }


def _undefined(text: str) -> dict[str, float]:
    """`a=nan, b=inf`, as `tracking.Run.metrics` leaves what MLflow cannot keep."""
    pairs = [part.partition("=") for part in text.split(", ") if part]
    return {name: float(value) for name, _, value in pairs}
