"""Which rows of an image some rows of a map see: a layer too large for memory is read in strips."""

from __future__ import annotations

from app.models.graph import PIXELS, Operation
from app.models.places import ACTIVATIONS, Place
from app.models.program import Program

_BY_ROW = (*ACTIVATIONS, "batch_norm", "add", "mul", "dropout", "alias")  # each row stays


def find_strip(program: Program, place: Place, rows: slice, size: int) -> tuple[slice, slice]:
    """The rows of an image of `size` rows that rows of a place's map see, and where they then are.

    The strip is padded where it is cut as where the image ends, so the outermost rows of its maps
    are wrong; it is wide enough that those asked for are not. It begins and ends on a multiple of
    what strides divide by, for windows must take the same rows as in the whole image. A map that
    rests on more than windows of rows sees all of the image.
    """
    operations = program.plan(frozenset([PIXELS]), frozenset([place.value]))
    needed = {place.value: (rows.start, rows.stop, 1)}  # the last: rows that become one of the map
    for each, _ in reversed(operations):
        window = _find_window(program, each)
        if window is None:
            return slice(0, size), rows
        span, stride, padding = window
        first, stop, step = needed[each.name]
        first, stop = first * stride - padding, (stop - 1) * stride - padding + span
        for name in each.takes:
            start, end, _ = needed.get(name, (first, stop, step))
            needed[name] = min(first, start), max(stop, end), step * stride
    first, stop, step = needed[PIXELS]
    first = max(0, first // step * step)
    stop = min(size, -(-stop // step) * step)
    return slice(first, stop), slice(rows.start - first // step, rows.stop - first // step)


def _find_window(program: Program, each: Operation) -> tuple[int, int, int] | None:
    """The rows that one row of a value sees, by how many the next moves on, how many lie above.

    None where a row sees more than a window.
    """
    if each.kind in _BY_ROW:
        return 1, 1, 0
    if each.target == "aten.conv2d.default":
        span = program.tensors[each.takes[1]].shape[2]
        stride, padding, dilation = each.sliding
    elif each.kind in ("max_pool2d", "avg_pool2d"):
        span = _first(each.argument(1, 1))
        stride, padding = each.argument(2, ()) or span, each.argument(3, 0)
        dilation = each.argument(4, 1) if each.kind == "max_pool2d" else 1
    else:
        return None
    return (span - 1) * _first(dilation) + 1, _first(stride), _first(padding)


def _first(value: int | tuple[int, ...]) -> int:
    """Of rows, where rows and columns may differ."""
    return value if isinstance(value, int) else value[0]
