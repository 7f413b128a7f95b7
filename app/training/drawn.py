"""Drawn faces and objects to learn, and the model card of what learned them.

torch is imported where it is used: the processes that draw do without.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from app.stimuli import synthetic
from app.training.material import Batch, Listing, Material
from app.training.settings import Optimiser, Schedule, Train, with_outputs

if TYPE_CHECKING:
    from torch import Tensor

TEST_BATCH = 128


@dataclass(frozen=True)
class Images:
    """Grey images, uint8 (n, size, size), and the network output that is right, int64 (n,)."""

    pixels: Tensor
    outputs: Tensor


def material(settings: Train) -> Material:
    """Everything drawn, in memory."""
    import torch

    learned, tested = training_images(settings), held_out_images(settings)
    people, objects = settings.drawn.people, settings.drawn.objects
    faces = [f"network_{person:03d}" for person in range(people)]
    things = synthetic.OBJECT_CATEGORIES[:objects]
    first = with_outputs(settings, people, objects).model.face_classes
    classes = dict(enumerate(faces)) | dict(enumerate(things, first))

    def to_learn(epoch: int) -> Iterator[Batch]:
        order = torch.randperm(len(learned.pixels)).split(settings.batch_size)
        for batch in order[: len(learned.pixels) // settings.batch_size]:  # no short last one
            yield shifted(learned.pixels[batch], settings.drawn.shift), learned.outputs[batch]

    def to_test() -> Iterator[Batch]:
        return zip(tested.pixels.split(TEST_BATCH), tested.outputs.split(TEST_BATCH), strict=True)

    return Material(
        faces=faces,
        objects=things,
        learned=_listing(learned, classes),
        held_out=_listing(tested, classes),
        to_learn=to_learn,
        steps=len(learned.pixels) // settings.batch_size,
        to_test=to_test,
        tests=-(-len(tested.pixels) // TEST_BATCH),
        inputs=prepared,
    )


def _listing(images: Images, classes: dict[int, str]) -> Listing:
    outputs: list[int] = images.outputs.tolist()
    content = hashlib.sha256(images.pixels.numpy().tobytes())
    content.update(images.outputs.numpy().tobytes())
    names = [f"{number}" for number in range(len(outputs))]
    return Listing(
        names, [classes[o] for o in outputs], outputs, content.hexdigest(), "drawn by this program"
    )


def training_images(settings: Train) -> Images:
    """Draw what the network learns from: as many faces as objects, but for rounding."""
    drawn = settings.drawn
    per_object = round(drawn.people * drawn.images_per_person / drawn.objects)
    return _drawn(settings, 0, drawn.images_per_person, per_object, "drawing to learn")


def held_out_images(settings: Train) -> Images:
    """Draw further images of the same people and categories, none of them trained on."""
    each = settings.held_out_per_class
    return _drawn(settings, synthetic.HELD_OUT, each, each, "drawing to test")


def _drawn(settings: Train, first: int, per_person: int, per_object: int, title: str) -> Images:
    import torch

    drawn = settings.drawn
    draw = partial(_one_each, drawn.seed, settings.model.input_size)
    jobs = [(drawn.people, 0, first + k) for k in range(per_person)]
    jobs += [(0, drawn.objects, first + k) for k in range(per_object)]
    if settings.workers > 1:
        # Spawned: forking a process that runs torch's threads can lock up.
        with ProcessPoolExecutor(settings.workers, get_context("spawn")) as pool:
            rounds = list(tqdm(pool.map(draw, jobs), title, len(jobs), unit="round", disable=None))
    else:
        rounds = [draw(job) for job in tqdm(jobs, title, unit="round", disable=None)]
    pixels = np.concatenate(rounds)
    faces = torch.arange(drawn.people).repeat(per_person)
    before = with_outputs(settings, drawn.people, drawn.objects).model.face_classes
    objects = before + torch.arange(drawn.objects).repeat(per_object)
    return Images(torch.from_numpy(pixels), torch.cat([faces, objects]))


def _one_each(seed: int, size: int, job: tuple[int, int, int]) -> np.ndarray:
    """Image number `image` of each of so many people or object categories."""
    people, objects, image = job
    if people:
        pixels, _ = synthetic.identities(
            seed, people, 1, split="network", first_image=image, size=size
        )
        return pixels
    categories = synthetic.OBJECT_CATEGORIES[:objects]
    return synthetic.objects(seed, 1, first_image=image, size=size, categories=categories)[0]


def prepared(pixels: Tensor) -> Tensor:
    """Network input (n, 3, size, size) in [-1, 1] from grey pixels (n, size, size) in 0-255."""
    import torch

    grey = (pixels.float() / 255 - 0.5) / 0.5
    # Three equal channels: the layout of networks for colour images.
    colour = grey[:, None].expand(-1, 3, -1, -1)
    return colour.contiguous(memory_format=torch.channels_last)


def shifted(pixels: Tensor, most: int) -> Tensor:
    """Each image moved by up to `most` pixels in x and y; its border repeats."""
    import torch
    from torch.nn.functional import pad

    count, size, _ = pixels.shape
    wide = pad(pixels[:, None].float(), (most,) * 4, mode="replicate")[:, 0]
    corners = torch.randint(0, 2 * most + 1, (count, 2)).tolist()
    return torch.stack(
        [image[y : y + size, x : x + size] for image, (y, x) in zip(wide, corners, strict=True)]
    )


def model_card(settings: Train, results: dict[str, Any]) -> str:
    """What a user of the weights needs to know, as Markdown."""
    import torch

    version = torch.__version__.split("+")[0]
    s, drawn, trained, before = settings, settings.drawn, results["trained"], results["untrained"]
    people, objects, each = drawn.people, drawn.objects, s.held_out_per_class
    per_object = round(people * drawn.images_per_person / objects)
    size, first = s.model.input_size, s.model.face_classes
    folded = "; the batch normalisation of\n  training is folded into the convolutions"
    return f"""# {s.name}

A small dual-task network: the 13 convolutions of VGG-16 at reduced width and three linear layers,
one classifier over {people} face identities and {objects} object categories. It is this project's
default network, small enough to be read, lesioned and decoded on two processor cores.

| held-out images | classes | images | top-1 accuracy | untrained | chance |
|---|---|---|---|---|---|
| faces | {people} identities | {people * each} | {trained["face_top1"]:.1%} | \
{before["face_top1"]:.1%} | {1 / people:.1%} |
| objects | {objects} categories | {objects * each} | {trained["object_top1"]:.1%} | \
{before["object_top1"]:.1%} | {1 / objects:.1%} |

Top-1 over all {people + objects} outputs; chance is that within the task.

## Files

- `{s.name}.safetensors`: trained. Plain convolution → ReLU{folded if s.batch_norm else ""}.
- `{s.name}_untrained.safetensors`: the same network at the initialisation that training began
  with (He et al. 2015, seed {s.model.seed}).

Names are those of torchvision's VGG-16 without its adaptive pooling (`features.N.*`,
`classifier.0/3/6.*`). Outputs 0-{people - 1} are face identities, {first}-{first + objects - 1}
object categories, in the order of `app.stimuli.synthetic.OBJECT_CATEGORIES`.

## Input

{size} x {size} pixels, grey in three equal channels; pixel values / 255, minus 0.5,
divided by 0.5.

## Data

Drawn by this project's code, seed {drawn.seed}; no photographs, no real people.
{people} people with {drawn.images_per_person} pictures each (other pose, expression, light, place
and background in each) and {objects} categories with {per_object} exemplars each. Mean luminance
and contrast are the same in all images. Held-out accuracy is measured on {each} further images of
every person and category. The faces of the localizer and those whose identity is decoded are other
people.

## Recipe

`python -m app.train` (conf/train.yaml): {len(results["history"])} epochs, batches of
{s.batch_size}, {_how(s.optimiser)} with a {_rate(s.schedule)} learning rate (peak
{s.optimiser.learning_rate:g}), weight decay {s.optimiser.weight_decay:g}, label smoothing
{s.label_smoothing:g}, dropout {s.dropout:g}, shifts of up to {drawn.shift} pixels, seed {s.seed}.
The weights are those after the last epoch; held-out images chose nothing.

Training took {results["seconds"] / 60:.0f} minutes, drawing the images not counted, with
{s.threads} thread{"s" if s.threads > 1 else ""} on a shared processor (torch {version}). The same
settings, threads and version of torch give the same bits on the same machine.

## Intended use

A quick, offline subject for this project's analyses and tests. It knows drawings only: no
conclusions about real faces, people or vision follow from it.

Licence: MIT, as the project.
"""


def _how(optimiser: Optimiser) -> str:
    return "AdamW" if optimiser.name == "adamw" else f"SGD (momentum {optimiser.momentum:g})"


def _rate(schedule: Schedule) -> str:
    return {"onecycle": "one-cycle", "step": "stepwise falling"}.get(schedule.name, schedule.name)
