"""`python -m app.export run=<id or folder>`: responses and scores, as NetCDF or Parquet.

A run becomes two files: scores and selections, a row a neuroid, and responses, presentation ×
neuroid, which in NetCDF have the coordinates of Brain-Score's assemblies. Or sweeps become one
data set, partitioned by network.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast
from urllib.parse import quote

import pandas as pd
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from app.config import limits
from app.config.checks import checked
from app.config.limits import one_of
from app.config.schema import Config, Tracking
from app.errors import InputError
from app.files import whole, writing
from app.launch.commandline import run_hydra, told
from app.reading import PLACE, SURE, Run, Runs, runs

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    import xarray
    from numpy.typing import NDArray

FORMATS = ("netcdf", "parquet", "dataset")
PRESENTATION, NEUROID = "presentation", "neuroid"
PLACES = ("neuroid_id", "layer", *PLACE)
PARTITION = "network"  # of a data set, as Hive lays it out


@dataclass
class Settings:
    """What conf/export.yaml holds."""

    run: str = MISSING
    format: Annotated[str, one_of(FORMATS)] = "netcdf"
    scores: bool = True
    output: str = MISSING
    tracking: Tracking = field(default_factory=Tracking)
    debug: bool = False


ConfigStore.instance().store(name="export_schema", node=Settings)


def job(config: DictConfig) -> None:
    """Export the run, or all that finished of the sweep, that `run` names."""
    with told(debug=config.debug):
        if OmegaConf.is_missing(config, "run"):
            raise InputError("give run=<folder of a sweep or a run, or MLflow's id of either>")
        settings: Any = OmegaConf.to_object(config)
        limits.check(settings)
        read = runs(settings.run, **vars(settings.tracking))
        finished = Runs(read.title, [run for run in read if not run.result.failed])
        if not finished:
            raise InputError(f"run={settings.run}: nothing finished, so there is nothing to export")
        source, output = Path(settings.run).expanduser(), Path(settings.output).expanduser()
        if settings.format == "dataset":
            tables = export_dataset(finished, output, scores=settings.scores)
            every = max(len(read), read.jobs_had)
            print(f"{len(finished)} of {every} jobs finished: {', '.join(map(str, tables))}")
            return
        place = output / ("_".join(source.absolute().parts[-2:]) if source.is_dir() else source)
        names = [re.sub(r"[^\w.=-]+", "_", run.result.name) for run in finished]
        for run, name in zip(finished, names, strict=True):
            own = name if names.count(name) == 1 else f"{name}_{run.result.job}"
            files, without = export(run, place / own, settings.format)
            print(f"{', '.join(map(str, files))}{without and f': scores alone, for {without}'}")


def export(run: Run, path: Path, form: str) -> tuple[list[Path], str]:
    """Write a run's scores and responses to files that begin with a path.

    Returns the files and, in words, why responses are not among them; empty where they are.
    """
    units = tabulate_units(run)
    shown, responses, without = find_responses(run)
    tables: dict[str, Any] = {"scores": units}
    if shown is not None:
        columns = pd.DataFrame(responses, columns=units["neuroid_id"])
        tables["responses"] = pd.concat([shown, columns], axis="columns")
    if form == "netcdf":
        tables["scores"] = assemble_scores(run, units)
        if shown is not None:
            tables["responses"] = assemble_responses(tables["scores"], shown, responses)
    ending = "nc" if form == "netcdf" else "parquet"
    files = [path.with_name(f"{path.name}_{name}.{ending}") for name in tables]
    with writing("export to", path.parent, "another folder with output=<folder>"):
        path.parent.mkdir(parents=True, exist_ok=True)
        for file, table in zip(files, tables.values(), strict=True):
            with whole(file) as new:
                if form == "netcdf":
                    table.to_netcdf(new, engine="h5netcdf")
                else:
                    table.to_parquet(new, index=False)
    return files, without


def export_dataset(finished: Runs, folder: Path, *, scores: bool = True) -> list[Path]:
    """Write runs into a data set: `jobs`, a row a job, and `scores`, a row a unit of each job.

    Each table is a folder that is partitioned by network, with a file a sweep in each part: the
    same sweep takes the place of its own, another one joins. Returns the tables' folders.
    """
    import pyarrow
    from pyarrow.parquet import write_table

    tables = [folder / name for name in ("jobs", "scores")[: 1 + scores]]
    for table in tables:
        check_dataset(table)
    sweep = name_sweep(finished[0])
    about = finished.jobs.assign(sweep=sweep).drop(columns=["model", "status", "reason"])
    jobs = to_arrow(about.dropna(axis="columns", how="all"))  # the same columns in every part
    with writing("export to", folder, "another folder with output=<folder>"):
        for network, own in finished.group("model").items():
            place = Path(f"{PARTITION}={quote(str(network), safe='')}", f"{sweep}.parquet")
            for table in tables:
                (table / place).parent.mkdir(parents=True, exist_ok=True)
                with whole(table / place) as new:
                    if table.name == "scores":
                        write_units(new, own, sweep)
                    else:
                        numbers = pyarrow.array([run.result.job for run in own])
                        write_table(jobs.filter(pyarrow.compute.is_in(jobs["job"], numbers)), new)
    return tables


def write_units(path: Path, own: Runs, sweep: str) -> None:
    """Write the scores of each run's own metric, a row a unit, one run after another."""
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    kinds = {"sweep": pyarrow.string(), **dict.fromkeys(["job", *PLACE], pyarrow.int32()),
             "score": pyarrow.float64(), "selected": pyarrow.bool_(),
             **dict.fromkeys([name[1:] for name in SURE], pyarrow.float64())}  # fmt: skip
    schema = pyarrow.schema(kinds)
    with ParquetWriter(path, schema, compression="zstd") as file:
        for run in own:
            if (found := run.read_own()) is not None:
                found = found.assign(sweep=sweep, job=run.result.job).reindex(columns=schema.names)
                file.write_table(pyarrow.Table.from_pandas(found, schema, preserve_index=False))


def check_dataset(table: Path) -> None:
    """Refuse a folder that holds what is no table of such a data set; InputError."""
    from pyarrow.parquet import read_schema

    for path in table.rglob("[!.]*"):
        part, *names = path.relative_to(table).parts
        ours = part.startswith(f"{PARTITION}=") and len(names) < 2 and path.is_dir() != bool(names)
        if not ours or (names and not {"sweep", "job"} <= {*read_schema(path).names}):
            raise InputError(
                f"{path} is of no data set of this command: take another folder, output=<folder>"
            )


def name_sweep(run: Run) -> str:
    """Name the sweep of a run after its folder, wherever that is read from; or the run alone."""
    folder = Path(run.result.folder).absolute()
    return "_".join((folder.parent if "job" in run.result.tags else folder).parts[-2:])


def to_arrow(table: pd.DataFrame) -> pyarrow.Table:
    """Make a table Arrow's. Lists are text, as JSON, and so are values of several kinds."""
    import pyarrow

    columns = {}
    for name in table:
        values = [json.dumps(each) if isinstance(each, (list, dict)) else each
                  for each in table[name].tolist()]  # fmt: skip
        try:
            columns[name] = pyarrow.array(values, from_pandas=True)
        except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
            texts = [each if pd.isna(each) or isinstance(each, str) else json.dumps(each)
                     for each in values]  # fmt: skip
            columns[name] = pyarrow.array(texts, from_pandas=True)
    return pyarrow.table(columns)


def tabulate_units(run: Run) -> pd.DataFrame:
    """Make a row a unit: its name and place, and the scores and selections of all metrics."""
    nowhere = [name for name in PLACE if run.scores[name].isna().all()]  # of kernels row and column
    table = run.scores.drop(columns=nowhere)
    layer = str(run.params["layer"])
    names = [f"{layer}.{unit}" for unit in table["unit"]]
    return table.assign(neuroid_id=names, layer=layer)


def find_responses(run: Run) -> tuple[pd.DataFrame | None, Any, str]:
    """Find the responses (images, kernels) in the cache, and what was shown; or why not, in words.

    What was shown has a row an image: its name, category and domain.
    """
    file = Path(run.result.folder, "config.yaml")
    if (recorded := run.params.get("responses.path")) is not None:
        return None, None, f"the responses are those of {recorded}"
    if run.params["aggregation"] == "unit":
        return None, None, "responses of single units are not stored"
    if not file.is_file():
        return None, None, f"{file} is not here, which says what was shown"

    whole_config = OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.load(file))
    try:
        return read_responses(run, checked(cast(DictConfig, whole_config)))
    except InputError as error:  # images or weights are not here, say
        return None, None, str(error)


def read_responses(run: Run, config: Config) -> tuple[pd.DataFrame | None, Any, str]:
    """Read responses from the cache, see `find_responses`; InputError: what was asked is not here.

    Images and weights are those that the config names now: only what scores as it did is the run's.
    """
    import numpy as np

    from app.memo import Memo
    from app.metrics.layer_scoring import make_questions, score_layer
    from app.models.network import open_network
    from app.responses.hardware import Hardware
    from app.responses.kernels import Reader, read_kernels
    from app.stimuli.localizer import make_localizer

    memo, layer = Memo(config.cache, Config.cache), config.layer.name
    network, _ = open_network(config.model, config.layer, memo)
    stimuli = make_localizer(config.stimuli, memo, config.megapixels)
    images, hardware = stimuli.images, Hardware.choose(config)
    if not memo.path(read_kernels, {layer: layer}, network, images, hardware).is_file():
        return None, None, f"its responses are not in {config.cache}: pruned, or of another version"
    own, aggregation = config.metric.name, config.aggregation.name
    reader, domains = Reader(network, layer, hardware, memo), stimuli.domains
    about = images.labels, domains, config.target, hardware.device.type
    asked = make_questions({own: config.metric}, *about)
    again = score_layer(asked, reader, images, aggregation)[own].scores.score
    if again.shape != run.scores[own].shape or not np.allclose(
        again, run.scores[own], 1e-4, 1e-6, equal_nan=True
    ):
        return None, None, "images or weights are others now than the run was made with"
    of = {category: name for name, categories in domains.items() for category in categories}
    shown = pd.DataFrame({"stimulus": images.names, "category": images.labels})
    shown["domain"] = [of.get(label, "") for label in images.labels]
    return shown, reader.read(images)[aggregation], ""


def assemble_scores(run: Run, units: pd.DataFrame) -> xarray.Dataset:
    """Make the data set of scores and selections, (neuroid,), and where units are."""
    import xarray

    columns = {name: (NEUROID, units[name].to_numpy()) for name in units}
    places = {name: columns.pop(name) for name in PLACES if name in columns}
    asked = {name: str(run.params[name]) for name in ("model", "layer", "aggregation", "target")}
    about = {**asked, "name": run.result.name, "run_id": run.result.run_id or ""}
    return xarray.Dataset(columns, places, about)


def assemble_responses(
    scores: xarray.Dataset, shown: pd.DataFrame, responses: NDArray[np.float32]
) -> xarray.Dataset:
    """Make the data set whose one variable is `responses` (presentation, neuroid).

    Its coordinates have no index, as Brain-Score writes them: its loader, or `set_index`, makes it.
    """
    import xarray

    shown = shown.assign(stimulus_id=shown["stimulus"])  # as Brain-Score calls it
    images = {name: (PRESENTATION, shown[name].to_numpy(object)) for name in shown}
    found = {"responses": ((PRESENTATION, NEUROID), responses)}
    return xarray.Dataset(found, {**images, **scores.coords}, scores.attrs)


def main() -> None:
    """Run the command line."""
    run_hydra(job, "export", writes=("output",))


if __name__ == "__main__":
    main()
