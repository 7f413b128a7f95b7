"""A thin, anti-aliased drawing layer: shapes in figure units in, grey images out.

A figure is shapes, painted in order, in coordinates where x points right and y points up; it
usually fills about [-1, 1] in both. Greys run from 0 (black) to 1 (white). Matplotlib's Agg
renderer does the painting; nothing here knows what is drawn.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from matplotlib import get_data_path
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float64]

MEAN_GREY = 127.5
RMS_CONTRAST = 46.0


@dataclass(frozen=True)
class Shape:
    """A path with a fill and an outline; either may be absent. `width` is in figure units."""

    path: Path
    fill: float | None = None
    line: float | None = None
    width: float = 0.03


Point = tuple[float, float]
Figure = Iterator[Shape]  # in the order in which they are painted
_CIRCLE = Path.unit_circle()

# `paint`, below, is what a shape has beside its path: fill, line, width.


def polygon(points: ArrayLike, *paint: Any) -> Shape:
    """Make a closed polygon through `points`, shape (n, 2)."""
    vertices = np.asarray(points, float)
    return Shape(Path(np.vstack([vertices, vertices[:1]]), closed=True), *paint)


def box(low: Point, high: Point, *paint: Any) -> Shape:
    """Make an upright rectangle from its lower left and its upper right corner."""
    (left, bottom), (right, top) = low, high
    return polygon([low, (right, bottom), high, (left, top)], *paint)


def ellipse(middle: ArrayLike, radii: Point, *paint: Any, angle: float = 0.0) -> Shape:
    """Make an ellipse around `middle` (x, y), turned by `angle` radians."""
    (rx, ry), cos, sin = radii, np.cos(angle), np.sin(angle)
    turned = np.asarray(_CIRCLE.vertices) @ [[rx * cos, rx * sin], [-ry * sin, ry * cos]]
    return Shape(Path(turned + np.asarray(middle), _CIRCLE.codes), *paint)


def circle(middle: ArrayLike, r: float, *paint: Any) -> Shape:
    """Make a circle around `middle` (x, y)."""
    return ellipse(middle, (r, r), *paint)


def _bezier(points: ArrayLike, closed: bool) -> Path:
    """Lay a smooth curve through the points (Catmull-Rom tangents, cubic Bézier segments)."""
    p = np.asarray(points, float)
    padded = np.vstack([p[-1:], p, p[:2]] if closed else [p[:1], p, p[-1:]])
    tangent = (padded[2:] - padded[:-2]) / 6
    start, end = padded[1:-2], padded[2:-1]
    segments = np.stack([start + tangent[:-1], end - tangent[1:], end], axis=1).reshape(-1, 2)
    codes = [Path.MOVETO, *[Path.CURVE4] * len(segments)]
    return Path(np.vstack([start[:1], segments]), codes)


def blob(points: ArrayLike, *paint: Any) -> Shape:
    """Make a smooth closed curve through `points`, shape (n, 2)."""
    return Shape(_bezier(points, closed=True), *paint)


def stroke(points: ArrayLike, grey: float, width: float = 0.04) -> Shape:
    """Make a smooth open line with round ends through `points`, shape (n, 2)."""
    return Shape(_bezier(points, closed=False), None, grey, width)


def lathe(half: ArrayLike, fill: float, line: float | None = None, smooth: bool = False) -> Shape:
    """Make a mirror-symmetric outline from (half width, height) pairs, from the bottom up."""
    right = np.asarray(half, float)
    return (blob if smooth else polygon)([*right, *right[::-1] * (-1, 1)], fill, line)


def tapered(points: ArrayLike, widths: ArrayLike, fill: float, line: float | None = None) -> Shape:
    """Make a limb: a smooth outline `widths` (n,) to both sides of `points` (n, 2)."""
    spine = np.asarray(points, float)
    along = np.gradient(spine, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) * np.asarray(widths, float)[:, None]
    return blob(np.vstack([spine + across, (spine - across)[::-1]]), fill, line)


def pair(shape: Shape) -> tuple[Shape, Shape]:
    """Return a shape's mirror image, and the shape."""
    path = Path(np.asarray(shape.path.vertices) * (-1, 1), shape.path.codes)
    return replace(shape, path=path), shape


def symmetric(half: ArrayLike) -> Array:
    """Complete one half (n, 2) of a mirror-symmetric outline; points with x = 0 stay single."""
    points = np.asarray(half, float)
    return np.vstack([points, points[points[:, 0] != 0][::-1] * (-1, 1)])


def arc(middle: Point, radii: Point, start: float, stop: float, n: int = 7) -> Array:
    """`n` points (n, 2) on an ellipse from angle `start` to `stop` (radians, counter-clockwise)."""
    (x, y), (rx, ry), t = middle, radii, np.linspace(start, stop, n)
    return np.stack([x + rx * np.cos(t), y + ry * np.sin(t)], axis=1)


def text(string: str, height: float, font: str, *paint: Any) -> Shape:
    """Stretch a string to x in [-1, 1] and y in [-height, height].

    `font` names a file that comes with Matplotlib, such as "DejaVuSans-Bold".
    """
    # By file, so that fonts installed on the machine never change a stimulus.
    file = FontProperties(fname=f"{get_data_path()}/fonts/ttf/{font}.ttf")
    path = TextPath((0, 0), string, size=10, prop=file)
    # Of letters a point lies at each extreme, which Path.get_extents takes long to find.
    points = np.asarray(path.vertices)[path.codes != Path.CLOSEPOLY]
    low, high = points.min(axis=0), points.max(axis=0)
    transform = Affine2D().translate(*-(low + high) / 2).scale(*(2, 2 * height) / (high - low))
    return Shape(path.transformed(transform), *paint)


def painted(figure: Iterable[Shape], size: int, placement: Affine2D) -> tuple[Array, Array]:
    """Paint grey and coverage, (size, size) in [0, 1], of what `placement` moves into [-1, 1]².

    Outlines grow and shrink with the figure.
    """
    renderer = cast(Any, RendererAgg)(size, size, 72)  # it is not typed
    context = renderer.new_gc()
    context.set_antialiased(True)
    context.set_capstyle("round")
    context.set_joinstyle("round")
    to_pixels = placement + Affine2D().translate(1, 1).scale(size / 2)
    scale = np.sqrt(abs(np.linalg.det(to_pixels.get_matrix()[:2, :2])))
    for shape in figure:
        # At 72 dpi a point is a pixel; a width of 0 draws no outline.
        context.set_linewidth(0 if shape.line is None else shape.width * scale)
        grey = shape.line or 0.0
        context.set_foreground((grey, grey, grey, 1.0), isRGBA=True)
        face = None if shape.fill is None else (shape.fill,) * 3
        renderer.draw_path(context, shape.path, to_pixels, face)
    pixels = np.asarray(renderer.buffer_rgba(), dtype=float) / 255
    return pixels[..., 0], pixels[..., 3]


def lit(grey: Array, coverage: Array, direction: float, strength: float) -> Array:
    """Shade a flat figure as if it bulged: brighter where its rim faces the light.

    `direction` is the light's angle in radians, `strength` 0 (flat) to about 1 (strong).
    """
    size = len(grey)
    dy, dx = np.gradient(gaussian_filter(coverage, size / 14), 2 / size)
    facing = -(dx * np.cos(direction) - dy * np.sin(direction))
    y, x = np.mgrid[1 : -1 : size * 1j, -1 : 1 : size * 1j]
    ramp = x * np.cos(direction) + y * np.sin(direction)
    return np.asarray(grey * (1 + strength * (0.25 * facing + 0.35 * ramp)))


def texture(rng: np.random.Generator, size: int) -> Array:
    """Make a cloudy background (size, size): noise at two random scales on a slope, mean 0.5."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    field = rng.uniform(0, 0.6) * (x * np.cos(angle) + y * np.sin(angle))
    for scale in size * np.exp(rng.uniform(np.log([0.08, 0.015]), np.log([0.2, 0.05]))):
        noise = gaussian_filter(rng.standard_normal((size, size)), scale, mode="wrap")
        field = field + noise / noise.std() * rng.uniform(0.3, 1)
    field = (field - field.mean()) / field.std()
    return np.asarray(0.5 + rng.uniform(0.05, 0.09) * field)


def matched(image: Array, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Give an image `MEAN_GREY` and `RMS_CONTRAST`, as uint8, whatever it came with.

    Clipping to 0-255 takes contrast away, so standardise and clip until it no longer does.
    """
    for _ in range(100):
        now, spread = image.mean(), image.std()
        # Far finer than a grey level: what is left must not depend on what the image shows.
        if abs(now - MEAN_GREY) < 0.001 and abs(spread - RMS_CONTRAST) < 0.001:
            break
        image = ((image - now) * (RMS_CONTRAST / spread) + MEAN_GREY).clip(0, 255)
    # Rounded up or down by chance: flat areas rounded all one way would shift the mean.
    return np.floor(image + rng.random(image.shape)).clip(0, 255).astype(np.uint8)
