"""The model card of a network that learned drawn images."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from app.config.training import Optimiser, Schedule, Train


def make_card(
    settings: Train,
    trained: Mapping[str, float],
    untrained: Mapping[str, float],
    epochs: int,
    seconds: float,
) -> str:
    """Tell, as Markdown, what a user of the weights needs to know.

    Parameters
    ----------
    settings : Train
    trained, untrained : mapping of str to float
        What `loop.measure` found after and before the training.
    epochs : int
        How many there were.
    seconds : float
        How long they took.
    """
    version = torch.__version__.split("+")[0]
    s, drawn, before = settings, settings.drawn, untrained
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

`python -m app.train` (conf/train.yaml): {epochs} epochs, batches of
{s.batch_size}, {_how(s.optimiser)} with a {_rate(s.schedule)} learning rate (peak
{s.optimiser.learning_rate:g}), weight decay {s.optimiser.weight_decay:g}, label smoothing
{s.label_smoothing:g}, dropout {s.dropout:g}, shifts of up to {drawn.shift} pixels, seed {s.seed}.
The weights are those after the last epoch; held-out images chose nothing.

Training took {seconds / 60:.0f} minutes, drawing the images not counted, with
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
