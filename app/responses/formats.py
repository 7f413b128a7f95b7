"""Files of responses: the data sets they hold, as xarray's, of which parts are read when asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray
from numpy.typing import DTypeLike, NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from app.errors import InputError
from app.files import reading
from app.machine import GB
from app.names import POSITION
from app.stimuli.presented import find_columns

# What the axes of an array without names are, by their number.
AXES: dict[int, tuple[str, ...]] = {
    2: ("presentation", "unit"),
    3: ("presentation", "unit", "time"),
    4: ("presentation", *POSITION),
}


class OnDisk(BackendArray):
    """An array in a file, of which `read` brings the part that slices of its axes ask for."""

    def __init__(
        self, shape: tuple[int, ...], dtype: DTypeLike, read: Callable[[Any], NDArray[Any]]
    ) -> None:
        self.shape, self.dtype, self.read = shape, np.dtype(dtype), read

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.BASIC
        return indexing.explicit_indexing_adapter(key, self.shape, support, self.read)


def open_file(
    path: Path, window: Sequence[float] | None, memory_gb: float
) -> dict[str, xarray.DataArray]:
    """Look into a file: its data sets of two axes or more, by name.

    `window` is for spikes of NWB, which have times and no bins; `memory_gb` for what is read whole.
    InputError for what is no file of responses, or needs a package that is missing; what readers
    raise of a damaged one is left to the caller.
    """
    if not path.exists():
        raise InputError(f"responses.path={path} does not exist")
    if (kind := path.suffix.lower()) not in OPENERS:
        raise InputError(
            f"responses.path={path}: its ending says no format that is read: {', '.join(OPENERS)}"
        )
    return OPENERS[kind](path, window, memory_gb)


def open_xarray(path: Path, *_: object) -> dict[str, xarray.DataArray]:
    """Look into NetCDF, HDF5 or Zarr; a data set in a group is named `group/name`."""
    options: dict[str, Any] = {"decode_times": False, "decode_timedelta": False, "cache": False}
    if path.suffix.lower() == ".zarr":
        need("zarr", "zarr")
        groups = xarray.open_groups(path, engine="zarr", **options)
    elif path.open("rb").read(3) == b"CDF":  # NetCDF before it was HDF5
        groups = {"/": xarray.open_dataset(path, engine="scipy", **options)}
    else:
        groups = xarray.open_groups(path, engine="h5netcdf", phony_dims="sort", **options)
    found = dict[str, xarray.DataArray]()
    for group, dataset in groups.items():
        axes = {name: each.ndim for name, each in dataset.variables.items()}
        dataset = dataset.set_coords([name for name, count in axes.items() if count == 1])
        found |= {f"{group}/{name}".strip("/"): dataset[name]
                  for name, count in axes.items() if count > 1}  # fmt: skip
    return found


def open_npy(path: Path, *_: object) -> dict[str, xarray.DataArray]:
    """Look at one array; a map of the file is let go after each part, so that its pages are."""
    open_map = partial(np.load, path, mmap_mode="r", allow_pickle=False)
    held = OnDisk(open_map().shape, open_map().dtype, lambda part: np.array(open_map()[part]))
    return {"responses": label(indexing.LazilyIndexedArray(held), {})}


def open_npz(path: Path, _: object, memory_gb: float) -> dict[str, xarray.DataArray]:
    """Read several arrays whole, as their format wants it; those of one axis are coordinates."""
    hint = "; is it whole, and its text saved by np.array(…, dtype=str), not as objects?"
    with reading(str(path), path, hint), np.load(path, allow_pickle=False) as file:
        size = sum(info.file_size for info in file.zip.infolist())
        if size > memory_gb * GB / 2:
            raise InputError(
                f"{path} holds {size / GB:.1f} GB, and an .npz is read whole: for that "
                f"memory_gb={memory_gb:g} is too little; save it as .npy, NetCDF or HDF5, which "
                "are read in blocks"
            )
        arrays = dict(file)
    lines = {name: array for name, array in arrays.items() if array.ndim == 1}
    return {name: label(array, lines) for name, array in arrays.items() if array.ndim > 1}


def label(array: Any, lines: Mapping[str, Any]) -> xarray.DataArray:
    """Name the axes of an array; which of them `lines` are of follows from their names."""
    axes = AXES.get(array.ndim, tuple(f"axis {number}" for number in range(array.ndim)))
    own = {name: "time" for name in lines if "time" in name} | dict.fromkeys(POSITION, "unit")
    own |= dict.fromkeys(find_columns(lines).values(), "presentation")
    sizes = dict(zip(axes, array.shape, strict=True))
    coordinates = {name: (axis, np.asarray(lines[name])) for name, axis in own.items()
                   if name in lines and len(lines[name]) == sizes.get(axis)}  # fmt: skip
    return xarray.DataArray(array, coordinates, axes)


def open_parquet(path: Path, *_: object) -> dict[str, xarray.DataArray]:
    """Look into a table: a row a presentation, a column a unit, or a coordinate.

    A part of a column costs as much as all of it, which `by_columns` among the attributes says.
    """
    import pyarrow
    from pyarrow import parquet

    schema, kinds = parquet.read_schema(path), pyarrow.types
    said = [name for name in schema.names if find_columns([name])]
    index = (schema.pandas_metadata or {}).get("index_columns", [])  # which is no unit
    units = [each.name for each in schema if each.name not in (*said, *index)
             and (kinds.is_integer(each.type) or kinds.is_floating(each.type))]  # fmt: skip
    if not units:
        raise InputError(f"{path} has no columns of numbers: a column a unit, a row a presentation")
    single = all(each.type == pyarrow.float32() for each in schema if each.name in units)

    def read(part: tuple[slice, slice]) -> NDArray[Any]:
        rows, columns = part
        table = parquet.read_table(path, columns=units[columns]).to_pandas(ignore_metadata=True)
        values: NDArray[Any] = table.to_numpy(np.float64, na_value=np.nan)
        return values[rows]

    lines = dict(parquet.read_table(path, columns=said).to_pandas(ignore_metadata=True))
    shape = parquet.read_metadata(path).num_rows, len(units)
    held = OnDisk(shape, np.float32 if single else np.float64, read)
    array = label(indexing.LazilyIndexedArray(held), lines)
    return {"responses": array.assign_attrs(by_columns=True)}


def open_nwb(path: Path, window: Sequence[float] | None, _: object) -> dict[str, xarray.DataArray]:
    """Count the spikes of all units in a window after each trial's start, by table of trials.

    In spikes a second. What tables of `trials` or other intervals say of trials are coordinates.
    """
    need("pynwb", "nwb")
    from pynwb import NWBHDF5IO

    if window is None:
        raise InputError(
            f"{path} has times of spikes: give responses.window=[first,last] in seconds after a "
            "trial's start, such as [0.07,0.17]"
        )
    with NWBHDF5IO(str(path), "r", load_namespaces=True) as file:
        session = file.read()
        if session.units is None or "spike_times" not in session.units.colnames:
            raise InputError(f"{path} has no table of units with times of spikes")
        count = len(session.units)
        spikes = [np.sort(session.units.get_unit_spike_times(unit)) for unit in range(count)]
        intervals = {"trials": session.trials, **(session.intervals or {})}
        tables: dict[str, pd.DataFrame] = {name: each.to_dataframe()
                                           for name, each in intervals.items()
                                           if each is not None}  # fmt: skip
    if not tables:
        raise InputError(f"{path} has no trials, nor other intervals")
    found = {}
    for name, table in tables.items():
        ends = table["start_time"].to_numpy()[:, None] + np.array(window)
        counts = [np.diff(np.searchsorted(each, ends), axis=1)[:, 0] for each in spikes]
        rates = np.stack(counts, axis=1) / (window[1] - window[0])
        found[name] = label(rates, dict(table.rename(columns=str)))
    return found


def need(package: str, extra: str) -> None:
    """Refuse what a package is missing for; InputError, one line."""
    if find_spec(package) is None:
        raise InputError(
            f"this format needs {package}, which is not installed: "
            f"pip install 'selective-units[{extra}]'"
        )


OPENERS: dict[str, Callable[..., dict[str, xarray.DataArray]]] = {
    **dict.fromkeys((".nc", ".nc4", ".cdf", ".h5", ".hdf5", ".hdf", ".zarr"), open_xarray),
    ".npy": open_npy, ".npz": open_npz, ".parquet": open_parquet, ".nwb": open_nwb,
}  # fmt: skip
