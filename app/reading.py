"""What runs found, read back: from MLflow, or from their folder alone.

`app.notebook.runs` is where to begin.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from app.config.parameters import USUAL_CRITERION
from app.config.schema import Tracking
from app.errors import InputError
from app.names import CI95, INTACT, POSITION, name_units
from app.sweeps import results
from app.sweeps.manifest import PLAN
from app.sweeps.parent import read_plan
from app.sweeps.results import Result
from app.tracking.record import as_text
from app.tracking.store import connect

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from app.figures.scores import Selection
    from app.sweeps.report import Report

Read = Callable[[Result, str], pd.DataFrame | None]
LEADING = ["layer", "metric", "aggregation"]  # columns of every long table
PLACE = ["unit", *POSITION]
SURE = (*CI95, "_split_half")  # how sure a score is: columns, after the metric's name


def runs(source: str | Path, **tracking: Any) -> Runs:
    """Read a sweep, or one run, back.

    Parameters
    ----------
    source : str or Path
        A folder, such as outputs/sweeps/<date>/<time>; or MLflow's id of a sweep's parent run, or
        of a run.
    **tracking
        Where an id is looked up, as in `conf/tracking`: ``folder="mlruns"``, the default, or
        ``uri="http://…"`` of a server.

    Raises
    ------
    InputError
        One line, for what is neither, or has no jobs.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        found = results.read_results(folder)
        if not found:
            raise InputError(f"{folder} has no results: name the folder of a sweep or of a run")
        plan = read_plan(folder)
        title = plan.title
        if not (folder / PLAN).is_file():  # of single runs
            title = found[0].name if len(found) == 1 else str(folder)
        return Runs(title, [Run(each, results.read_table) for each in found], plan.jobs)
    if not re.fullmatch("[0-9a-f]{32}", run_id := str(source)):
        raise InputError(f"{source} is no folder, and no id of a run, which has 32 digits")
    store = connect(Tracking(**{"name": "server" if "uri" in tracking else "sqlite", **tracking}))

    read = results.read_stored(store)
    stored = store.get_run(run_id)
    if "sweep" in stored.data.tags:
        title, found = results.read_sweep(store, run_id)
    elif {"job", "metrics.styles"} & {*stored.data.tags}:
        title, found = stored.info.run_name, [results.read_run(stored)]
    else:
        raise InputError(f"{run_id} is no run of python -m app, but {stored.info.run_name!r}")
    return Runs(title, [Run(each, read) for each in found], results.count_jobs(stored))


class Run:
    """What one run asked and found."""

    def __init__(self, result: Result, read: Read) -> None:
        self.result = result  # its name, notes, reason of a failure, …
        self._read = read
        self._tables: dict[str, pd.DataFrame | None] = {}

    def __repr__(self) -> str:
        return f"<Run {self.result.job}: {self.result.name}, {self.result.status}>"

    @cached_property
    def params(self) -> dict[str, Any]:
        """What it asked, by the config's dotted names; numbers are numbers, null is None."""
        texts = as_text(self.result.params)
        return {name: _read_value(text) for name, text in texts.items()}

    @property
    def metrics(self) -> Mapping[str, float]:
        """Its single numbers, by the names that they are logged under."""
        return self.result.metrics

    def table(self, name: str) -> pd.DataFrame:
        """Read one of its tables, such as scores, lesion, decoding, certainty; InputError."""
        if (table := self.find_table(name)) is None:
            raise InputError(
                f"{self.result.name} has no {name}.parquet: it failed, or was not asked"
            )
        return table

    def find_table(self, name: str) -> pd.DataFrame | None:
        """Read one of its tables, once; None where it has none."""
        if name not in self._tables:
            self._tables[name] = self._read(self.result, name)
        return self._tables[name]

    @property
    def scores(self) -> pd.DataFrame:
        """The scores and selections of all metrics that it compares, a row a unit."""
        return self.table("scores")

    def read_own(self) -> pd.DataFrame | None:
        """Read the scores of its own metric, a row a unit, see `Runs.scores`; None: it has none.

        They are not kept: those of a large sweep would fill the memory.
        """
        if (table := self._read(self.result, "scores")) is None:
            return None
        metric = self.params["metric"]
        own = {metric: "score", f"selected_{metric}": "selected"}
        own |= {f"{metric}{name}": name[1:] for name in SURE}
        return table[[*PLACE, *(name for name in own if name in table)]].rename(columns=own)

    # --- drawn again ------------------------------------------------------------------------------

    def find_selection(self, metric: str | None = None) -> Selection:
        """Find the scores of a metric, None: its own, and what its criterion selects."""
        from app.figures.scores import Selection
        from app.figures.style import Style
        from app.findings.selection import Criterion

        scores, params = self.scores, self.params
        metric = metric or params["metric"]
        styles = json.loads(self.result.tags["metrics.styles"])
        if metric not in styles:
            raise InputError(f"{self.result.name} compares {', '.join(styles)}, not {metric}")
        start = f"{'metric' if metric == params['metric'] else f'metrics.{metric}'}.criterion."
        own = {name.removeprefix(start): value for name, value in params.items()
               if name.startswith(start)}  # fmt: skip
        asked: dict[str, Any] = USUAL_CRITERION | own
        score = scores[metric].to_numpy(float)
        criterion = Criterion(
            asked["rule"], asked["threshold"], asked["of"], asked["preferred"], len(score)
        )
        selected = scores[f"selected_{metric}"].to_numpy(bool)
        return Selection(score, selected, criterion, Style(*styles[metric]))

    def plot_scores(self, ax: Axes | None = None, metric: str | None = None) -> Axes:
        """Draw the histogram of a metric's scores, and what it selects; `ax.legend()` explains."""
        from app.figures.scores import draw_scores

        chosen = self.find_selection(metric)
        draw_scores(ax := ax or _make_axes(), chosen, name_units(self.params["aggregation"]))
        return ax

    def plot_pair(self, other: str, ax: Axes | None = None, metric: str | None = None) -> Axes:
        """Draw a metric's scores, across, against those of another one, up."""
        from app.figures.agreement import POINTS, draw_pair, thin_units

        first, second = self.find_selection(metric), self.find_selection(other)
        draw_pair(ax := ax or _make_axes(), first, second, thin_units(len(first.score), POINTS))
        ax.set(xlabel=first.style.label, ylabel=second.style.label)
        return ax

    def plot_jaccard(self, ax: Axes | None = None) -> Axes:
        """Draw Jaccard's index of each pair of metrics' selections."""
        from app.figures.agreement import draw_jaccard

        start = "selected_"
        every = [name[len(start) :] for name in map(str, self.scores) if name.startswith(start)]
        draw_jaccard(ax := ax or _make_axes(), [*map(self.find_selection, every)])
        return ax

    def plot_lesions(self, ax: Axes | None = None, task: str = "face") -> Axes:
        """Draw what is left of a task, -loss in nats, without each kernel, against its score."""
        from app.figures.lesion import draw_remains

        left = -self.table("lesion")[f"{task}_loss"].to_numpy(float)
        line = "no lesion", -self.metrics[INTACT.format(measure=f"{task}_loss")]
        draw_remains(ax := ax or _make_axes(), self.find_selection(), left, line)
        ax.set_ylabel(f"{task.capitalize()} performance (−loss, nats)")
        return ax


class Runs(Sequence[Run]):
    """The runs of a sweep, or some of them, in the order of its jobs."""

    def __init__(self, title: str, every: Sequence[Run], jobs_had: int = 0) -> None:
        self.title = title
        self._runs, self.jobs_had = tuple(every), jobs_had  # 0: not known

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, place: Any) -> Any:
        part = self._runs[place]
        return Runs(self.title, part) if isinstance(place, slice) else part

    def __repr__(self) -> str:
        return f"<{len(self)} runs of {self.title}>"

    @cached_property
    def jobs(self) -> pd.DataFrame:
        """A row a job: what became of it, its config, findings (NaN: undefined or none) and notes.

        Numbers are numbers. Columns are `job`, `run`, `run_id`, `status`, `reason`, the config's
        dotted names, and the names that findings are logged under.
        """
        table = results.tabulate(self._results).drop(columns="metrics.styles")
        for name in (*self._params, "trained", "criterion.paper"):
            table[name] = table[name].map(_read_value, na_action="ignore")
        return table

    def filter(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> Runs:
        """Keep the runs that have these values in `jobs`, or one of several: ``metric=["fsi"]``.

        Names with a dot come in a mapping: ``{"model.seed": 1}``. InputError for others.
        """
        kept = list(self._runs)
        for name, wanted in {**(values or {}), **more}.items():
            has = dict(zip(self._runs, self._column(name), strict=True))
            options = wanted if isinstance(wanted, (list, tuple, set, range)) else [wanted]
            kept = [run for run in kept if has[run] in options or has[run] == wanted]
        return Runs(self.title, kept)

    def group(self, *columns: str) -> dict[Any, Runs]:
        """Group the runs by their values in columns of `jobs`: of one the value, else a tuple."""
        parts: dict[Any, list[Run]] = {}
        for run, *values in zip(self._runs, *map(self._column, columns), strict=True):
            key = tuple(str(each) if isinstance(each, list) else each for each in values)
            parts.setdefault(key[0] if len(columns) == 1 else key, []).append(run)
        return {key: Runs(self.title, part) for key, part in parts.items()}

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The scores of all runs, each of its own metric, a row a unit: long, read when asked for.

        `job`, what tells the runs apart, where a unit is, `score`, `selected`, and how sure the
        score is where that was asked for: `ci95_low`, `ci95_high`, `split_half`.
        """
        return self._stack("scores", Run.read_own)

    @cached_property
    def lesions(self) -> pd.DataFrame:
        """What the tasks have left without each kernel, of all runs that lesioned: long."""
        return self._stack("lesion", lambda run: run.find_table("lesion"))

    @property
    def report(self) -> Report:
        """The report of these runs: `summary` has its sentences, `tables` those of its panels."""
        from app.sweeps.report import make_report

        if not self._runs:
            raise InputError(f"no runs of {self.title}, and so no report")
        of = {run.result.job: run for run in self._runs}
        read = (self._results, self.title, self.jobs_had)
        return make_report(*read, lambda result, name: of[result.job].find_table(name))

    @property
    def _results(self) -> list[Result]:
        return [run.result for run in self._runs]

    @cached_property
    def _params(self) -> pd.DataFrame:
        return results.list_params(self._results)

    def _column(self, name: str) -> list[Any]:
        if self._runs and name not in self.jobs:
            raise InputError(
                f"{name} is no column of these runs' jobs, such as {', '.join(self._list_told())}"
            )
        return [*self.jobs.get(name, [])]

    def _list_told(self) -> list[str]:
        return [*dict.fromkeys([*LEADING, *results.find_differing(self._params)])]

    def _stack(self, name: str, read: Callable[[Run], pd.DataFrame | None]) -> pd.DataFrame:
        """Put a table of each run that has one below another's, with what it is of."""
        told = ["job", *self._list_told()]
        about = self.jobs.reindex(columns=told)
        for column in told:
            if not pd.api.types.is_numeric_dtype(about[column]):
                texts = about[column].map(str)  # null, too
                about[column] = pd.Categorical(texts, texts.unique())  # in the order of the jobs
        parts = []
        for place, run in enumerate(self._runs):
            if (table := read(run)) is not None:
                row = about.iloc[[place] * len(table)].reset_index(drop=True)
                parts.append(pd.concat([row, table], axis="columns"))
        if not parts:
            raise InputError(f"none of the {len(self)} runs has a {name}.parquet")
        return pd.concat(parts, ignore_index=True)


def _read_value(text: str) -> Any:
    """Read a value as the program writes it for MLflow: JSON, but for text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _make_axes() -> Axes:
    from matplotlib import pyplot

    return pyplot.subplots()[1]
