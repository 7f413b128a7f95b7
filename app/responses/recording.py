"""Responses from a file: what was computed or recorded elsewhere, read block by block."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from app.errors import InputError
from app.files import digest_file, reading
from app.machine import measure_memory
from app.names import POSITION
from app.progress import progress_bar
from app.responses.kernels import AGGREGATE
from app.responses.units import fit_rows
from app.stimuli.presented import find_columns, name_columns

if TYPE_CHECKING:
    from xarray import DataArray

    from app.config.schema import Responses
    from app.memo import Memo
    from app.responses.hardware import Hardware
    from app.stimuli.images import Images

# How names of the axis of presentations begin.
PRESENTATIONS = ("presentation", "stimul", "trial", "image")
CHUNK_VALUES = 2**24  # of a file, that are read at once


@dataclass(frozen=True, eq=False)
class Recording:
    """A data set of a file as presentations x units, maybe x time.

    A presentation's NaN is left out of its stimulus' mean; a unit without any response to a
    stimulus is undefined.
    """

    path: Path
    name: str  # of the data set
    array: DataArray
    axes: tuple[str, ...]  # presentations, then units or channels, rows, columns, then time if any
    times: NDArray[np.bool_] | None  # that are averaged; None: there is no axis of time
    shape: tuple[int, int, int]  # channels, rows, columns; of units without positions (units, 1, 1)
    digest: str  # of the file
    window: Sequence[float] | None = None  # that those times, or spikes that are counted, lie in
    aggregation: str = "unit"  # of maps

    def __memo__(self) -> dict[str, Any]:
        """All that responses depend on."""
        return {"digest": self.digest, "name": self.name, "aggregation": self.aggregation,
                "window": self.window}  # fmt: skip

    def __len__(self) -> int:
        """How many units, or kernels, it has."""
        return self.shape[0] if self.aggregation != "unit" else math.prod(self.shape)

    @property
    def presentations(self) -> int:
        """How many there are."""
        return self.array.sizes[self.axes[0]]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of responses: float32 where the file's values are, else float64."""
        own = self.array.dtype
        return np.dtype(np.float32 if own.kind == "f" and own.itemsize <= 4 else np.float64)

    @property
    def what(self) -> str:
        """What is read, in words."""
        return f"the units of {self.name} in {self.path.name}"

    def list_presentations(self) -> pd.DataFrame:
        """Say what the file itself says of its presentations, a row each."""
        return name_columns(list_lines(self.array, self.axes[0]))

    def read(
        self, images: Images, hardware: Hardware, bytes_a_unit: int = 0
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Read units, or kernels, in blocks that the memory budget allows, as `Units.read` does.

        Responses (images, units) are means over each image's presentations. Undefined units are in
        no block. InputError where all are, or where a budget is too small.
        """
        rows = np.unique(np.concatenate(images.presentations))
        own = [np.searchsorted(rows, numbers) for numbers in images.presentations]
        some, heard = False, np.zeros(len(rows), np.bool_)
        for numbers, trials in self.read_trials(rows, len(own), hardware, bytes_a_unit):
            kept, responses = self.respond(numbers, trials, own)
            if len(kept):
                some = True
                yield kept, responses
            elif not some:
                heard |= ~np.isnan(trials).all(axis=1)
        if not some:
            lost = [name for name, shown in zip(images.names, own, strict=True)
                    if not heard[shown].any()]  # fmt: skip
            said = f"; {lost[0]!r} has none at all: leave its label empty" if lost else ""
            raise InputError(
                f"{self.what}: none has a finite response to each of the stimuli{said}"
            )

    def read_trials(
        self, rows: NDArray[np.int64], samples: int, hardware: Hardware, bytes_a_unit: int = 0
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
        """Read some presentations, ascending, in blocks: numbers of channels, (rows, units).

        `samples` are what is made of them, of which there is room for two times.
        """
        channels, height, width = self.shape
        bytes_each = (len(rows) + 2 * samples) * self.dtype.itemsize
        layer = height * width, channels, 1
        fixed = measure_memory(), 3 * 8 * CHUNK_VALUES
        together = fit_rows(hardware.memory_gb, layer, bytes_each // 4, fixed, bytes_a_unit,
                            self.what)  # fmt: skip
        parts = 1 if "by_columns" in self.array.attrs else self.presentations
        values = self.array.size // (channels * parts)  # of a channel, that are read together
        together = min(together, max(1, CHUNK_VALUES // values))
        with (
            progress_bar(self.what, channels, "unit") as done,
            reading(str(self.path), self.path),
        ):
            for first in range(0, channels, together):
                numbers = np.arange(first, min(first + together, channels))
                yield numbers, self._read_part(rows, first, len(numbers))
                done(len(numbers))

    def _read_part(self, rows: NDArray[np.int64], first: int, count: int) -> NDArray[Any]:
        """Read so many channels of some presentations, the times' mean, as (rows, units)."""
        each = self.array.sizes[self.axes[1]] // self.shape[0]  # of the axis, to a channel
        part = self.array.isel({self.axes[1]: slice(first * each, (first + count) * each)})
        step = max(1, CHUNK_VALUES * self.presentations // part.size)
        found = np.empty((len(rows), count * math.prod(self.shape[1:])), self.dtype)
        order = self.array.get_axis_num(self.axes)
        for start in range(0, self.presentations, step):
            low, high = np.searchsorted(rows, [start, start + step])
            if low < high:
                shown = part.isel({self.axes[0]: slice(start, start + step)})
                values = shown.to_numpy().transpose(order)[rows[low:high] - start]
                if self.times is not None:
                    values = values[..., self.times].mean(axis=-1, dtype=np.float64)
                found[low:high] = values.reshape(high - low, -1)
        return found

    def respond(
        self,
        numbers: NDArray[np.int64],
        trials: NDArray[Any],
        images: Sequence[NDArray[np.int64]],
    ) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Average the trials (presentations, units) of each image, and aggregate maps.

        Returns the numbers of the units, or kernels, that are defined, and their responses.
        """
        responses = average(trials, images)
        if self.aggregation != "unit":
            maps = torch.from_numpy(responses).reshape(-1, len(numbers), *self.shape[1:])
            responses = AGGREGATE[self.aggregation](maps).numpy()
        else:
            positions = math.prod(self.shape[1:])
            numbers = np.arange(numbers[0] * positions, (numbers[-1] + 1) * positions)
        known = ~np.isnan(responses).any(axis=0)
        return (numbers, responses) if known.all() else (numbers[known], responses[:, known])


def average(trials: NDArray[Any], images: Sequence[NDArray[np.int64]]) -> NDArray[Any]:
    """Average trials (presentations, units) over those of each image, leaving NaN out.

    A unit without a trial of an image that is a number has NaN.

    Examples
    --------
    >>> average(np.array([[1.0], [np.nan], [3.0], [4.0]]), [np.array([0, 1]), np.array([2, 3])])
    array([[1. ],
           [3.5]])
    """
    places = np.concatenate(images)
    if len(places) == len(images):
        in_order = len(places) == len(trials) and (np.diff(places) > 0).all()
        return trials if in_order else trials[places]
    found = np.empty((len(images), trials.shape[1]), trials.dtype)
    for place, own in enumerate(images):
        some = trials[own]
        known = ~np.isnan(some)
        with np.errstate(invalid="ignore"):
            found[place] = np.sum(some, axis=0, dtype=np.float64, where=known) / known.sum(axis=0)
    return found


def open_recording(settings: Responses, memory_gb: float) -> tuple[Recording, list[str]]:
    """Look into the file that settings name; what is to be told of it.

    InputError where there is no such data set, or several, and for what is no responses.
    """
    from app.responses.formats import open_file  # xarray is slow to import

    path = Path(settings.path or "").expanduser()
    counted = path.suffix.lower() == ".nwb"  # in the window, which is no axis then
    window = None if counted else settings.window
    with reading(str(path), path):
        found = open_file(path, settings.window, memory_gb)
        name = choose_variable(found, settings.variable, path)
        array = found[name]
        if not array.size:
            raise InputError(f"{name} in {path} is empty: {array.shape}")
        axes, times = arrange(array, window, f"{name} in {path}")
        shape, notes = find_shape(array, axes)
        digest = digest_path(path)
    return Recording(path, name, array, axes, times, shape, digest, settings.window), notes


def list_lines(array: DataArray, axis: str) -> dict[str, NDArray[Any]]:
    """List the coordinates that a file has along an axis."""
    return {str(name): each.to_numpy() for name, each in array.coords.items()
            if each.dims == (axis,)}  # fmt: skip


def choose_variable(found: dict[str, DataArray], asked: str | None, path: Path) -> str:
    """Choose the data set of numbers that is asked for, or the only one; InputError."""
    numbers = {name: each for name, each in found.items() if each.dtype.kind in "fiub"}
    listed = ", ".join(f"{name} {each.shape}" for name, each in numbers.items())
    if asked in numbers:
        return asked
    if asked is not None:
        kind = f"holds {found[asked].dtype}, no numbers" if asked in found else "is not there"
        raise InputError(f"responses.variable={asked} {kind}: {path} has {listed or 'none'}")
    if len(numbers) == 1:
        return next(iter(numbers))
    if numbers:
        raise InputError(
            f"{path} has several data sets: {listed}; say which with responses.variable=<name>"
        )
    others = ", ".join(f"{name} of {each.dtype}" for name, each in found.items())
    raise InputError(
        f"{path} has no data set of numbers with two axes, presentations x units: "
        f"{others or 'it has none of two axes'}"
    )


def arrange(
    array: DataArray, window: Sequence[float] | None, what: str
) -> tuple[tuple[str, ...], NDArray[np.bool_] | None]:
    """Put axes in order, presentations, units, time, by their names, else as they are.

    What has no such name is of presentations where the file says along it what was shown.
    Beside the times of the window, whole bins where the file has their ends. InputError.
    """
    names = [str(axis) for axis in array.dims]
    shown = [axis for axis in names if axis.lower().startswith(PRESENTATIONS)]
    clocks = [axis for axis in names if "time" in axis.lower()]
    plain = len(names) == 3 and not clocks and not shown  # an axis of time without its name
    shown = shown or [axis for axis in names if find_columns(list_lines(array, axis))]
    first = (shown or names)[:1]
    last = clocks[:1] or ([axis for axis in names if axis not in first][1:] if plain else [])
    units = [axis for axis in names if axis not in (*first, *last)]
    if sorted(units) == sorted(POSITION):
        units = list(POSITION)
    if len(units) not in (1, 3):
        raise InputError(
            f"{what} has axes {array.shape}: presentations x units, or x channels x rows x "
            "columns, and maybe x time are read"
        )
    axes = (*first, *units, *last)
    if not last:
        if window is not None:
            raise InputError(f"responses.window={list(window)}: {what} has no axis of time")
        return axes, None
    return axes, choose_times(array, last[0], window, what)


def choose_times(
    array: DataArray, axis: str, window: Sequence[float] | None, what: str
) -> NDArray[np.bool_]:
    """Choose the times (times,) that lie in the window; InputError where none do.

    A time that misses an end by rounding alone, as 0.07 of `arange(-0.1, 0.3, 0.01)`, is at it.
    """
    count, lines = array.sizes[axis], list_lines(array, axis)
    numbers = {name: each.astype(float) for name, each in lines.items() if each.dtype.kind in "fiu"}
    bins = [
        each for end in ("start", "end") for name, each in numbers.items() if name.endswith(end)
    ]
    starts, ends = bins if len(bins) == 2 else [next(iter(numbers.values()), np.empty(0))] * 2
    if not len(starts):
        raise InputError(
            f"{what} has an axis {axis} of {count} without times: give it a coordinate of times, "
            "or average it before"
        )
    span = f"{starts.min():g} to {ends.max():g}"
    if window is None:
        raise InputError(
            f"{what} has an axis of {count} times, {span}: say which to average with "
            "responses.window=[first,last]"
        )
    slack = 1e-6 * (ends.max() - starts.min())
    within: NDArray[np.bool_] = (starts >= window[0] - slack) & (ends <= window[1] + slack)
    if not within.any():
        raise InputError(
            f"responses.window={list(window)} holds none of the {count} times of {what}, {span}"
        )
    return within


def find_shape(array: DataArray, axes: Sequence[str]) -> tuple[tuple[int, int, int], list[str]]:
    """Find the channels, rows and columns of units, by their axes or the file's coordinates."""
    units, *rest = [array.sizes[axis] for axis in axes[1:4]]
    if len(rest) == 2:
        own, shape = tuple(axes[1:4]), (units, rest[0], rest[1])
        said = f"axes {', '.join(own)} are taken as channels, rows and columns, in that order"
        return shape, [] if own == POSITION else [f"responses: {said}"]
    flat, lines = (units, 1, 1), list_lines(array, axes[1])
    if not all(name in lines for name in POSITION):
        return flat, []
    places = [lines[name] for name in POSITION]
    channels, height, width = (len(np.unique(each)) for each in places)
    grid = np.indices((channels, height, width)).reshape(3, -1)
    codes = [np.unique(each, return_inverse=True)[1] for each in places]
    if np.array_equal(grid, codes):
        return (channels, height, width), []
    return flat, [
        "responses: channel, row and column are no whole maps in that order: units are without "
        "positions"
    ]


def digest_path(path: Path) -> str:
    """SHA-256 of a file, or over the names and contents of all files in a folder."""
    if path.is_file():
        return digest_file(path)
    files = sorted(each for each in path.rglob("*") if each.is_file())
    told = [f"{each.relative_to(path).as_posix()}\0{digest_file(each)}" for each in files]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


@dataclass(frozen=True)
class Recorded:
    """A recording as a run reads it, in the place of `app.responses.kernels.Reader`."""

    recording: Recording
    hardware: Hardware
    memo: Memo

    @property
    def aggregations(self) -> tuple[str, ...]:
        """What makes its maps one number an image; of single units there is nothing to choose."""
        return ("unit",) if self.recording.aggregation == "unit" else tuple(AGGREGATE)

    def stream(self, aggregation: str) -> Recording:
        """The recording, whose units or kernels are read block by block."""
        return replace(self.recording, aggregation=aggregation)

    def read(self, images: Images) -> dict[str, NDArray[Any]]:
        """Read the responses (images, units) that identity is decoded from, as `l2`.

        Units without positions are as they are; what is undefined counts for nothing, as 0.
        """
        own = self.recording.aggregation
        recording = self.stream("unit" if own == "unit" else "l2")
        size = len(images) * recording.dtype.itemsize
        found = np.zeros((len(images), len(recording)), recording.dtype)
        for numbers, responses in recording.read(images, self.hardware, size):
            found[:, numbers] = responses
        return {"l2": found}
