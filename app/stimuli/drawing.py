"""A thin, anti-aliased drawing layer: shapes in figure units in, grey images out.

A figure is a list of shapes, painted in order, in coordinates where x points right and y points
up; a figure usually fills about [-1, 1] in both. Greys run from 0 (black) to 1 (white).
Matplotlib's Agg renderer does the painting; nothing here knows what is drawn.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

import numpy as np
from matplotlib import get_data_path
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

MEAN_GREY = 127.5
RMS_CONTRAST = 46.0


@dataclass(frozen=True)
class Shape:
    """A path with a fill and an outline; either may be absent. `width` is in figure units."""

    path: Path
    fill: float | None = None
    line: float | None = None
    width: float = 0.0


Figure = list[Shape]
_CIRCLE = Path.unit_circle()


def polygon(
    points: ArrayLike, fill: float | None, line: float | None = None, width: float = 0.03
) -> Shape:
    """Make a closed polygon through `points`, shape (n, 2)."""
    vertices = np.asarray(points, float)
    return Shape(Path(np.vstack([vertices, vertices[:1]]), closed=True), fill, line, width)


def box(
    left: float,
    bottom: float,
    right: float,
    top: float,
    fill: float | None,
    line: float | None = None,
    width: float = 0.03,
) -> Shape:
    """Make an upright rectangle."""
    return polygon([(left, bottom), (right, bottom), (right, top), (left, top)], fill, line, width)


def ellipse(
    x: float,
    y: float,
    rx: float,
    ry: float,
    fill: float | None,
    line: float | None = None,
    width: float = 0.03,
    angle: float = 0.0,
) -> Shape:
    """Make an ellipse around (x, y), turned by `angle` radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    vertices = np.asarray(_CIRCLE.vertices) @ [[rx * cos, rx * sin], [-ry * sin, ry * cos]] + [x, y]
    return Shape(Path(vertices, _CIRCLE.codes), fill, line, width)


def _bezier(points: Array, closed: bool) -> Path:
    """Lay a smooth curve through the points (Catmull-Rom tangents, cubic Bézier segments)."""
    if closed:
        padded = np.vstack([points[-1:], points, points[:2]])
    else:
        padded = np.vstack([points[:1], points, points[-1:]])
    tangent = (padded[2:] - padded[:-2]) / 6
    start, end = padded[1:-2], padded[2:-1]
    segments = np.stack([start + tangent[:-1], end - tangent[1:], end], axis=1).reshape(-1, 2)
    codes = np.full(len(segments) + 1, Path.CURVE4, Path.code_type)
    codes[0] = Path.MOVETO
    return Path(np.vstack([start[:1], segments]), codes)


def blob(
    points: ArrayLike, fill: float | None, line: float | None = None, width: float = 0.03
) -> Shape:
    """Make a smooth closed curve through `points`, shape (n, 2)."""
    return Shape(_bezier(np.asarray(points, float), closed=True), fill, line, width)


def stroke(points: ArrayLike, grey: float, width: float = 0.04) -> Shape:
    """Make a smooth open line with round ends through `points`, shape (n, 2)."""
    return Shape(_bezier(np.asarray(points, float), closed=False), None, grey, width)


def lathe(
    profile: Sequence[tuple[float, float]],
    fill: float | None,
    line: float | None = None,
    width: float = 0.03,
    smooth: bool = False,
) -> Shape:
    """Make a mirror-symmetric outline from (half width, height) pairs, from the bottom up."""
    right = np.asarray(profile, float)
    points = np.vstack([right, right[::-1] * (-1, 1)])
    return (blob if smooth else polygon)(points, fill, line, width)


def tapered(points: ArrayLike, widths: ArrayLike, fill: float, line: float | None = None) -> Shape:
    """Make a limb: a smooth outline `widths` (n,) to both sides of `points` (n, 2)."""
    spine = np.asarray(points, float)
    along = np.gradient(spine, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.stack([-along[:, 1], along[:, 0]], axis=1) * np.asarray(widths, float)[:, None]
    return blob(np.vstack([spine + across, (spine - across)[::-1]]), fill, line)


def arc(x: float, y: float, rx: float, ry: float, start: float, stop: float, n: int = 7) -> Array:
    """`n` points (n, 2) on an ellipse from angle `start` to `stop` (radians, counter-clockwise)."""
    t = np.linspace(start, stop, n)
    return np.stack([x + rx * np.cos(t), y + ry * np.sin(t)], axis=1)


@lru_cache
def _font(name: str) -> FontProperties:
    # By file, so that fonts installed on the machine never change a stimulus.
    return FontProperties(fname=os.path.join(get_data_path(), "fonts", "ttf", f"{name}.ttf"))


def text(
    string: str, height: float, fill: float, line: float | None, width: float, font: str
) -> Shape:
    """Stretch a string to x in [-1, 1] and y in [-height, height].

    `font` names a file that comes with Matplotlib, such as "DejaVuSans-Bold".
    """
    path = TextPath((0, 0), string, size=10, prop=_font(font))
    box = path.get_extents()
    transform = Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2)
    transform.scale(2 / box.width, 2 * height / box.height)
    return Shape(path.transformed(transform), fill, line, width)


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
    height = _blurred(coverage, size / 14)
    dy, dx = np.gradient(height, 2 / size)
    facing = -(dx * np.cos(direction) - dy * np.sin(direction))
    y, x = np.mgrid[1 : -1 : size * 1j, -1 : 1 : size * 1j]
    ramp = x * np.cos(direction) + y * np.sin(direction)
    shaded: Array = grey * (1 + strength * (0.25 * facing + 0.35 * ramp))
    return shaded


def _blurred(image: Array, sd: float, mode: Literal["reflect", "wrap"] = "reflect") -> Array:
    from scipy.ndimage import gaussian_filter  # slow to import, and stimuli are drawn once

    blurred: Array = gaussian_filter(image, sd, mode=mode)
    return blurred


def texture(rng: np.random.Generator, size: int) -> Array:
    """Make a cloudy background (size, size): noise at two random scales on a slope, mean 0.5."""
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    field = rng.uniform(0, 0.6) * (x * np.cos(angle) + y * np.sin(angle))
    for scale in size * np.exp(rng.uniform(np.log([0.08, 0.015]), np.log([0.2, 0.05]))):
        noise = _blurred(rng.standard_normal((size, size)), scale, mode="wrap")
        field = field + noise / noise.std() * rng.uniform(0.3, 1)
    field = (field - field.mean()) / field.std()
    cloudy: Array = 0.5 + rng.uniform(0.05, 0.09) * field
    return cloudy


def matched(
    image: Array, rng: np.random.Generator, mean: float = MEAN_GREY, rms: float = RMS_CONTRAST
) -> NDArray[np.uint8]:
    """Give an image this mean and standard deviation, as uint8, whatever it came with.

    Clipping to 0-255 takes contrast away, so standardise and clip until it no longer does.
    """
    for _ in range(100):
        now, spread = image.mean(), image.std()
        # Far finer than a grey level: what is left must not depend on what the image shows.
        if abs(now - mean) < 0.001 and abs(spread - rms) < 0.001:
            break
        image = ((image - now) * (rms / spread) + mean).clip(0, 255)
    # Rounded up or down by chance: flat areas rounded all one way would shift the mean.
    return np.floor(image + rng.random(image.shape)).clip(0, 255).astype(np.uint8)
