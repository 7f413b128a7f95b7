"""Images of one's own to learn: a folder per class, held-out images, and how they are varied."""

from __future__ import annotations

import hashlib
import io
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from app.errors import InputError
from app.models import preprocessing
from app.stimuli.images import Preprocessing, read_image, to_rgb
from app.training.material import Batch, Listing, Material
from app.training.settings import Augmentation, Train, with_outputs

if TYPE_CHECKING:
    from torch import Tensor

AHEAD = 2  # batches that are decoded while one is learned

Pixels = NDArray[np.uint8]


class Classes(NamedTuple):
    """A folder of class folders."""

    root: Path
    images: dict[str, list[str]]  # by class, in the order of the outputs; paths below the root


class Photo(NamedTuple):
    """An image on disk."""

    root: Path
    name: str  # its path below the root
    label: str  # its class: the folder
    output: int  # of the network, that is right


def material(settings: Train) -> Material:
    """The images of both tasks' folders, those held out apart; decoded when they are needed.

    InputError names what is missing: a folder, a class, images of a class.
    """
    import torch

    faces, tested_faces = _split("faces", settings)
    objects, tested_objects = _split("objects", settings)
    first = with_outputs(settings, len(faces.images), len(objects.images)).model.face_classes
    learned = _photos(faces, 0) + _photos(objects, first)
    tested = _photos(tested_faces, 0) + _photos(tested_objects, first)
    if settings.batch_size > len(learned):
        raise InputError(
            f"batch_size={settings.batch_size} is more than the {len(learned)} images to learn"
        )
    prepare, varied = preprocessing(settings.model), settings.augmentation
    right = torch.tensor([photo.output for photo in learned])
    tested_right = torch.tensor([photo.output for photo in tested])
    steps = len(learned) // settings.batch_size

    def to_learn(epoch: int) -> Iterator[Batch]:
        def load(index: int) -> Pixels:
            image = _opened(learned[index])
            return augmented(image, prepare, varied, stream(settings.seed, epoch, index))

        order = torch.randperm(len(learned)).split(settings.batch_size)[:steps]  # no short last one
        return _decoded(load, [(batch.tolist(), right[batch]) for batch in order], settings.workers)

    def to_test() -> Iterator[Batch]:
        parts = torch.arange(len(tested)).split(settings.batch_size)
        return _decoded(
            lambda index: prepare.crop(_opened(tested[index])),
            [(part.tolist(), tested_right[part]) for part in parts],
            settings.workers,
        )

    source = f"{settings.faces.root}, {settings.objects.root}"
    return Material(
        faces=list(faces.images),
        objects=list(objects.images),
        learned=_listing(learned, source, settings.workers),
        held_out=_listing(tested, source, settings.workers),
        to_learn=to_learn,
        steps=steps,
        to_test=to_test,
        tests=-(-len(tested) // settings.batch_size),
        inputs=partial(scaled, prepare),
    )


# Which images there are


def classes(root: str, setting: str) -> Classes:
    """The class folders below `root`, sorted, and the images within each.

    All files whose ending Pillow reads, at any depth below the class folder, sorted; hidden files
    and folders are left out. InputError, worded by `setting`, where there are none.
    """
    top = Path(root).expanduser()
    if not top.is_dir():
        raise InputError(f"{setting}={root} is not a folder: give the folder of class folders")
    names = sorted(p.name for p in top.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise InputError(f"{setting}={root} holds no folders: it should hold one per class")
    return Classes(top, {name: _images_below(top, name) for name in names})


def _images_below(root: Path, label: str) -> list[str]:
    Image.init()
    known = {end for end, kind in Image.EXTENSION.items() if kind in Image.OPEN}
    found = []
    for folder, below, files in os.walk(root / label, followlinks=True):
        below[:] = [name for name in below if not name.startswith(".")]
        found += [
            os.path.relpath(os.path.join(folder, file), root)
            for file in files
            if os.path.splitext(file)[1].lower() in known and not file.startswith(".")
        ]
    return sorted(found)


def held_out(names: Sequence[str], count: int, seed: int) -> list[str]:
    """`count` of a class's images, by the hash of seed and name: other classes change nothing."""

    def key(name: str) -> bytes:
        return hashlib.sha256(f"{seed}\0{name}".encode()).digest()

    return sorted(sorted(names, key=key)[:count])


def _split(task: str, settings: Train) -> tuple[Classes, Classes]:
    """What a task learns, and what tests it."""
    chosen, each = getattr(settings, task), settings.held_out_per_class
    where = f"{task}.root={chosen.root}"
    present = classes(chosen.root, f"{task}.root")
    if chosen.validation is not None:
        tested = classes(chosen.validation, f"{task}.validation")
        _check_same(task, present.images, tested.images)
        _check_counts(present, 1, where)
        _check_counts(tested, 1, f"{task}.validation={chosen.validation}")
        return present, tested
    _check_counts(present, each + 1, where, f", as held_out_per_class={each} are not learned")
    tested = Classes(
        present.root,
        {k: held_out(names, each, settings.split_seed) for k, names in present.images.items()},
    )
    learned = {k: sorted(set(v) - set(tested.images[k])) for k, v in present.images.items()}
    return Classes(present.root, learned), tested


def _check_same(task: str, learned: Iterable[str], tested: Iterable[str]) -> None:
    for label in sorted(set(learned) ^ set(tested)):
        has, lacks = ("root", "validation") if label in learned else ("validation", "root")
        raise InputError(
            f"{task}.{has} has a class {label!r} that {task}.{lacks} lacks: "
            "both need the same folders"
        )


def _check_counts(present: Classes, least: int, where: str, hint: str = "") -> None:
    for label, names in present.images.items():
        if len(names) < least:
            raise InputError(
                f"class {label!r} in {where} has {len(names)} image(s): at least {least} "
                f"needed{hint}"
            )


def _photos(present: Classes, first: int) -> list[Photo]:
    return [
        Photo(present.root, name, label, output)
        for output, (label, names) in enumerate(present.images.items(), first)
        for name in names
    ]


def _listing(photos: Sequence[Photo], source: str, workers: int) -> Listing:
    """What images there are, by their content; InputError for a file that is no image."""
    digest = hashlib.sha256()
    with ThreadPoolExecutor(workers) as pool:
        try:
            contents = pool.map(_content, photos)
            bar = tqdm(contents, "reading images", len(photos), unit="image", disable=None)
            for photo, content in zip(photos, bar, strict=True):
                digest.update(f"{photo.name}\0{photo.output}\0{content}\n".encode())
        finally:
            pool.shutdown(cancel_futures=True)
    return Listing(
        [photo.name for photo in photos],
        [photo.label for photo in photos],
        [photo.output for photo in photos],
        digest.hexdigest(),
        source,
    )


def _content(photo: Photo) -> str:
    """SHA-256 of an image file, whose beginning at least is an image's."""
    path = photo.root / photo.name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        Image.open(io.BytesIO(content)).close()
    except UnidentifiedImageError:
        raise InputError(
            f"{path} is not an image that Pillow can read: replace or remove it"
        ) from None
    except Exception as error:  # damaged files make Pillow's readers raise nearly anything
        raise InputError(f"{path} is damaged ({error}): replace or remove it") from None
    return hashlib.sha256(content).hexdigest()


def _opened(photo: Photo) -> Image.Image:
    return read_image(photo.root / photo.name)


# How they are seen


def stream(seed: int, epoch: int, image: int) -> np.random.Generator:
    """The random numbers of one image in one epoch, whatever was drawn before."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch, image)))


def augmented(
    image: Image.Image, prepare: Preprocessing, settings: Augmentation, rng: np.random.Generator
) -> Pixels:
    """A random part of the image, maybe mirrored: (size, size, 3), as `Preprocessing.crop` gives.

    Without `scale` the part is the centre that is tested.
    """
    if settings.scale is None:
        pixels = prepare.crop(image)
    else:
        image = to_rgb(image)
        box = part(*image.size, settings.scale, settings.ratio, rng)
        size = (prepare.size, prepare.size)
        pixels = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box))
    return pixels[:, ::-1] if rng.random() < settings.flip else pixels


def part(
    width: int,
    height: int,
    scale: Sequence[float],
    ratio: Sequence[float],
    rng: np.random.Generator,
) -> tuple[float, float, float, float]:
    """A random box (left, top, right, bottom) within the image, in pixels.

    Its share of the area is uniform in `scale`, its width ÷ height log-uniform in `ratio` (Szegedy
    et al. 2015). Where ten draws do not fit: the largest box of an allowed shape, in the centre.
    """
    for _ in range(10):
        area = width * height * rng.uniform(scale[0], scale[1])
        shape = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        across, down = math.sqrt(area * shape), math.sqrt(area / shape)
        if across <= width and down <= height:
            left, top = rng.uniform(0, width - across), rng.uniform(0, height - down)
            return left, top, min(left + across, width), min(top + down, height)
    shape = min(max(width / height, ratio[0]), ratio[1])
    across, down = min(width, height * shape), min(height, width / shape)
    left, top = (width - across) / 2, (height - down) / 2
    return left, top, left + across, top + down


def scaled(prepare: Preprocessing, pixels: Tensor) -> Tensor:
    """Network input (n, 3, size, size) from pixels (n, size, size, 3), as in the analyses."""
    import torch

    mean, sd = (torch.tensor(values, device=pixels.device) for values in (prepare.mean, prepare.sd))
    # Channels stay last in memory, which convolutions are faster on.
    return ((pixels.float() / 255 - mean) / sd).permute(0, 3, 1, 2)


def _decoded(
    load: Callable[[int], Pixels],
    batches: Sequence[tuple[list[int], Tensor]],
    workers: int,
) -> Iterator[Batch]:
    """The batches in order, uint8 pixels (n, size, size, 3); the next are decoded meanwhile."""
    import torch

    with ThreadPoolExecutor(workers) as pool:  # Pillow decodes without holding Python's lock
        waiting: deque[tuple[list[Future[Pixels]], Tensor]] = deque()

        def first() -> Batch:
            futures, right = waiting.popleft()
            return torch.from_numpy(np.stack([future.result() for future in futures])), right

        try:
            for indices, right in batches:
                waiting.append(([pool.submit(load, index) for index in indices], right))
                if len(waiting) > AHEAD:
                    yield first()
            while waiting:
                yield first()
        finally:
            pool.shutdown(cancel_futures=True)
