"""Files of responses: which data sets they hold, and how a part of one is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app.errors import InputError
from app.files import find_pointer
from app.machine import GB
from app.stimuli.presented import find_columns

POSITION = ("channel", "row", "column")  # of a unit in a layer's maps
# What the axes of an array without names are, by their number.
AXES = {
    2: ("presentation", "unit"),
    3: ("presentation", "unit", "time"),
    4: ("presentation", *POSITION),
}
Part = Mapping[str, slice]  # of the places along some axes


@dataclass(frozen=True)
class Variable:
    """A data set of a file: its axes, what is said of their places, and how a part is read."""

    axes: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[Part], NDArray[Any]]
    # By name, the axis along which they are, and what brings the values
    coordinates: Mapping[str, tuple[str, Callable[[], NDArray[Any]]]] = field(default_factory=dict)
    by_columns: bool = False  # whether a part of a column costs as much as all of it

    @property
    def sizes(self) -> dict[str, int]:
        """How many places each axis has."""
        return dict(zip(self.axes, self.shape, strict=True))

    def along(self, axis: str) -> dict[str, Callable[[], NDArray[Any]]]:
        """List the coordinates along an axis."""
        return {name: bring for name, (own, bring) in self.coordinates.items() if own == axis}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a reader of files raises into an InputError of one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # of damaged files readers raise nearly anything
        reason = " ".join(str(getattr(error, "strerror", None) or error).split())
        said = find_pointer(path) or f"cannot be read: {reason or type(error).__name__}"
        raise InputError(f"{path} {said}; is it whole, and of the format its name says?") from error


def open_file(path: Path, window: Sequence[float] | None, memory_gb: float) -> dict[str, Variable]:
    """Look into a file: its data sets of two axes or more, by name.

    `window` is for spikes of NWB, which have times and no bins; `memory_gb` for what is read whole.
    InputError for what is no file of responses, is damaged, or needs a package that is missing.
    """
    if not path.exists():
        raise InputError(f"responses.path={path} does not exist")
    if (kind := path.suffix.lower()) not in OPENERS:
        raise InputError(
            f"responses.path={path}: its ending says no format that is read: {', '.join(OPENERS)}"
        )
    with reading(path):
        return OPENERS[kind](path, window, memory_gb)


def open_xarray(path: Path, *_: object) -> dict[str, Variable]:
    """Look into NetCDF, HDF5 or Zarr; a data set in a group is named `group/name`."""
    import xarray

    options: dict[str, Any] = {"decode_times": False, "decode_timedelta": False, "cache": False}
    if path.suffix == ".zarr":
        need("zarr", "zarr")
        groups = xarray.open_groups(path, engine="zarr", **options)
    elif path.open("rb").read(3) == b"CDF":  # NetCDF before it was HDF5
        groups = {"/": xarray.open_dataset(path, engine="scipy", **options)}
    else:
        groups = xarray.open_groups(path, engine="h5netcdf", phony_dims="sort", **options)
    found = {}
    for group, dataset in groups.items():
        known = {str(name): each for name, each in dataset.variables.items()}
        lines = {
            name: (str(each.dims[0]), lambda each=each: each.to_numpy())
            for name, each in known.items()
            if each.ndim == 1
        }
        for name, each in known.items():
            if each.ndim > 1:
                axes = tuple(map(str, each.dims))
                read = lambda part, each=each: each.isel(part).to_numpy()  # noqa: E731
                own = {line: told for line, told in lines.items() if told[0] in axes}
                place = f"{group}/{name}".strip("/")
                found[place] = Variable(axes, each.shape, each.dtype, read, own)
    return found


def open_npy(path: Path, *_: object) -> dict[str, Variable]:
    """Look at one array; a map of the file is let go after each part, so that its pages are."""
    open_map = partial(np.load, path, mmap_mode="r", allow_pickle=False)
    held = hold(open_map(), {})
    return {"responses": replace(held, read=lambda part: np.array(hold(open_map(), {}).read(part)))}


def open_npz(path: Path, _: object, memory_gb: float) -> dict[str, Variable]:
    """Read several arrays whole, as their format wants it; those of one axis are coordinates."""
    with np.load(path, allow_pickle=False) as file:
        size = sum(info.file_size for info in file.zip.infolist())
        if size > memory_gb * GB / 2:
            raise InputError(
                f"{path} holds {size / GB:.1f} GB, and an .npz is read whole: for that "
                f"memory_gb={memory_gb:g} is too little; save it as .npy, NetCDF or HDF5, which "
                "are read in blocks"
            )
        arrays = dict(file)
    return {
        name: hold(array, {line: each for line, each in arrays.items() if each.ndim == 1})
        for name, array in arrays.items()
        if array.ndim > 1
    }


def hold(array: NDArray[Any], lines: Mapping[str, NDArray[Any]]) -> Variable:
    """Make a variable of an array in memory; which axis `lines` are of follows from their names."""
    axes, coordinates = AXES.get(array.ndim, ("",) * array.ndim), {}
    for name, line in lines.items():
        axis = "unit" if name in POSITION else "time" if "time" in name else "presentation"
        if axis in axes and len(line) == array.shape[axes.index(axis)]:
            coordinates[name] = axis, lambda line=line: line

    def read(part: Part) -> NDArray[Any]:
        found: NDArray[Any] = array[tuple(part.get(axis, slice(None)) for axis in axes)]
        return found

    return Variable(axes, array.shape, array.dtype, read, coordinates)


def open_parquet(path: Path, *_: object) -> dict[str, Variable]:
    """Look into a table: a row a presentation, a column a unit, or a coordinate."""
    import pyarrow
    from pyarrow import parquet

    schema = parquet.read_schema(path)
    said = find_columns(schema.names).values()
    numeric = pyarrow.types
    units = [
        each.name
        for each in schema
        if each.name not in said
        and (numeric.is_integer(each.type) or numeric.is_floating(each.type))
    ]
    others = [name for name in schema.names if name not in units]
    if not units:
        raise InputError(f"{path} has no columns of numbers: a column a unit, a row a presentation")
    rows = parquet.read_metadata(path).num_rows

    def read(part: Part) -> NDArray[Any]:
        wanted = units[part.get("unit", slice(None))]
        table = parquet.read_table(path, columns=wanted).to_pandas()
        values: NDArray[Any] = table.to_numpy(np.float64, na_value=np.nan)
        return values[part.get("presentation", slice(None))]

    def bring(name: str) -> Callable[[], NDArray[Any]]:
        return lambda: parquet.read_table(path, columns=[name]).to_pandas()[name].to_numpy()

    single = all(each.type == pyarrow.float32() for each in schema if each.name in units)
    dtype = np.dtype(np.float32 if single else np.float64)
    lines = {name: ("presentation", bring(name)) for name in others}
    return {"responses": Variable(AXES[2], (rows, len(units)), dtype, read, lines, True)}


def open_nwb(path: Path, window: Sequence[float] | None, _: object) -> dict[str, Variable]:
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
        intervals = {**({"trials": session.trials} if session.trials is not None else {}),
                     **(session.intervals or {})}  # fmt: skip
        tables: dict[str, pd.DataFrame] = {name: each.to_dataframe()
                                           for name, each in intervals.items()}  # fmt: skip
    if not tables:
        raise InputError(f"{path} has no trials, nor other intervals")
    found = {}
    for name, table in tables.items():
        ends = table["start_time"].to_numpy()[:, None] + np.array(window)
        counts = [np.diff(np.searchsorted(each, ends), axis=1)[:, 0] for each in spikes]
        lines = {each: table[each].to_numpy() for each in find_columns(map(str, table)).values()}
        found[name] = hold(np.stack(counts, axis=1) / (window[1] - window[0]), lines)
    return found


def need(package: str, extra: str) -> None:
    """Refuse what a package is missing for; InputError, one line."""
    if find_spec(package) is None:
        raise InputError(
            f"this format needs {package}, which is not installed: "
            f"pip install 'selective-units[{extra}]'"
        )


OPENERS: dict[str, Callable[..., dict[str, Variable]]] = {
    **dict.fromkeys((".nc", ".nc4", ".cdf", ".h5", ".hdf5", ".hdf", ".zarr"), open_xarray),
    ".npy": open_npy, ".npz": open_npz, ".parquet": open_parquet, ".nwb": open_nwb,
}  # fmt: skip
