"""A sweep's results as one table, from the store or from what its jobs left on disk.

Both give the same table but for the ids of the runs: parameters are text, as the store keeps them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pandas as pd

from app.config.parameters import LEADING_PARAMETERS
from app.config.schema import Config
from app.sweeps.results import Result
from app.tracking.record import as_text, tag_notes

# Tags that a report asks for, beside the notes.
TAGS = ("trained", "model.digest", "metrics.styles", "criterion.paper")


def make_table(results: Sequence[Result]) -> pd.DataFrame:
    """Make a row a job, in the order of their numbers; columns as MLflow names them.

    `job`, `run` (its name), `run_id`, `status` (finished or failed), `reason` (why it failed);
    `params.<name>` as text, the leading ones first, then in the order of the config;
    `metrics.<name>` as numbers, NaN where undefined or not measured; `tags.<name>`.
    """
    jobs = sorted(results, key=lambda result: result.job)
    params = [as_text(job.params) for job in jobs]
    tags = [{**job.tags, **tag_notes(job.notes)} for job in jobs]
    notes = {name for each in tags for name in each if name.endswith(".note")}
    columns = {
        "job": [job.job for job in jobs],
        "run": [job.name for job in jobs],
        "run_id": [job.run_id for job in jobs],
        "status": [job.status for job in jobs],
        "reason": [job.reason for job in jobs],
    }
    for name in sorted({name for each in params for name in each}, key=_place):
        columns[f"params.{name}"] = [each.get(name) for each in params]
    for name in sorted({name for job in jobs for name in job.metrics}):
        columns[f"metrics.{name}"] = [job.metrics.get(name, float("nan")) for job in jobs]
    for name in (*TAGS, *sorted(notes)):
        columns[f"tags.{name}"] = [each.get(name) for each in tags]
    return pd.DataFrame(columns)


def list_params(runs: pd.DataFrame) -> pd.DataFrame:
    """List the params of runs by their own names; `-` where a run has none of that name."""
    params = runs[[name for name in runs if str(name).startswith("params.")]]
    return params.where(params.notna(), "-").rename(
        columns=lambda name: name.removeprefix("params.")
    )


def find_differing(params: pd.DataFrame) -> list[str]:
    """Find the names of the params that tell the jobs apart.

    A dotted name is left out where the names before it already decide its value, as the metric
    does its own settings.
    """
    chosen: list[str] = []
    for name in params.columns[params.nunique() > 1]:
        alike, parts = (len(params[names].drop_duplicates()) for names in (chosen, [*chosen, name]))
        if name in LEADING_PARAMETERS or not chosen or parts > alike:
            chosen.append(name)
    return chosen


def _place(name: str) -> tuple[int, int, str]:
    """Where the config has a parameter: one that sets others stands before them."""
    if name in LEADING_PARAMETERS:
        return 0, LEADING_PARAMETERS.index(name), ""
    fields = [field.name for field in dataclasses.fields(Config)]
    group = name.partition(".")[0]
    return 1, fields.index(group) if group in fields else len(fields), name
