"""How a network learns: optimiser, learning rate, one epoch, its test, and when to stop."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW, Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from app.config.training import Schedule, Stopping, Train
from app.errors import InputError
from app.models.vgg import DualTaskVGG, add_batch_norm, seeded
from app.training.material import Material, read_batches

History = list[dict[str, float]]  # the figures of each epoch

FIRST_SCALE = 2.0**16  # of the loss in float16; it adapts


@dataclass(frozen=True)
class Learner:
    """What a step of training changes."""

    network: DualTaskVGG
    optimiser: Optimizer
    schedule: LRScheduler
    scaler: torch.amp.GradScaler

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device


def initialise(settings: Train) -> DualTaskVGG:
    """Make the network before training, on the CPU."""
    model = settings.model
    return seeded(model.seed, model.widths, model.hidden, model.outputs, model.input_size)


def make_learner(settings: Train, steps: int, device: torch.device) -> Learner:
    """Make a network ready to learn, so many steps an epoch, and what makes it learn."""
    network = initialise(settings)
    if settings.batch_norm:
        network = add_batch_norm(network, settings.batch_norm_hidden)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = settings.dropout
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    decayed = [p for p in network.parameters() if p.ndim > 1]
    free = [p for p in network.parameters() if p.ndim <= 1]  # biases and normalisation
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": free, "weight_decay": 0.0}]
    chosen = settings.optimiser
    rate, decay = chosen.learning_rate, chosen.weight_decay
    optimiser: Optimizer
    if chosen.name == "adamw":
        optimiser = AdamW(groups, rate, weight_decay=decay, fused=True)  # faster on a CPU, too
    else:
        optimiser = SGD(groups, rate, chosen.momentum, weight_decay=decay, fused=True)
    schedule = make_schedule(optimiser, settings.schedule, settings.epochs, steps)
    # Gradients of half precision below 6e-8 are 0; bfloat16 has the range of float32.
    halved = settings.precision == "float16"
    scaler = torch.amp.GradScaler(device.type, FIRST_SCALE, enabled=halved)
    return Learner(network, optimiser, schedule, scaler)


def make_schedule(optimiser: Optimizer, settings: Schedule, epochs: int, steps: int) -> LRScheduler:
    """Make the learning rate of every step; `steps` are those of one epoch."""
    total, peak = epochs * steps, optimiser.param_groups[0]["lr"]
    if settings.name == "onecycle":
        up = settings.warmup if settings.warmup * total != 1 else 0.0  # or torch divides by 0
        given = "momentum" in optimiser.defaults  # it stays
        return lr_scheduler.OneCycleLR(
            optimiser, peak, total_steps=total, pct_start=up, cycle_momentum=not given
        )
    rising = round(settings.warmup * total)

    def scale(step: int) -> float:
        if step < rising:
            return (step + 1) / (rising + 1)
        if settings.name == "cosine":
            return (1 + math.cos(math.pi * (step - rising) / max(1, total - rising))) / 2
        falls = (step - rising) // (settings.every * steps) if settings.name == "step" else 0
        return settings.factor**falls

    return lr_scheduler.LambdaLR(optimiser, scale)


def learn(learner: Learner, material: Material, settings: Train, epoch: int) -> float:
    """Learn one epoch and return the mean loss; InputError where it is not finite."""
    # All that is random in an epoch (order, augmentation, dropout) follows from its number, so a
    # checkpoint between epochs holds no random state.
    torch.manual_seed(settings.seed * 10_000 + epoch)
    learner.network.train()
    device, total, steps = learner.device, 0.0, len(material.to_learn)
    title, batches = f"epoch {epoch + 1}/{settings.epochs}", read_batches(material.to_learn)
    whole, before = settings.epochs * steps, epoch * steps  # the time left is the training's
    with tqdm(batches, title, whole, initial=before, unit="batch", disable=None) as bar:
        for done, (pixels, right) in enumerate(bar, start=1):
            inputs = material.inputs(pixels.to(device, non_blocking=True))
            with _autocast(device, settings.precision):
                loss = cross_entropy(
                    learner.network(inputs),
                    right.to(device),
                    label_smoothing=settings.label_smoothing,
                )
            learner.optimiser.zero_grad()
            torch.autograd.backward(learner.scaler.scale(loss))
            learner.scaler.step(learner.optimiser)
            learner.scaler.update()
            with warnings.catch_warnings(action="ignore", category=UserWarning):
                # The scaler leaves steps out until its scale fits; torch takes that for a mistake.
                learner.schedule.step()
            total += loss.item()
            if not math.isfinite(total):
                raise InputError(
                    f"the training diverged: the loss is {loss.item()} in epoch {epoch + 1}; give "
                    "a lower optimiser.learning_rate, a longer schedule.warmup or another name="
                )
            bar.set_postfix(loss=f"{total / done:.3f}")
    return total / steps


@torch.no_grad()
def measure(
    network: DualTaskVGG, material: Material, face_classes: int, precision: str = "float32"
) -> dict[str, float]:
    """Measure what a network knows of the held-out images.

    The mean cross-entropy `loss`, and top-1 accuracies over all outputs: `face_top1` of images
    whose right output is below `face_classes`, `object_top1` of the others.
    """
    network.eval()
    device = next(network.parameters()).device
    losses, hits, rights = [], [], []
    batches, tests = read_batches(material.to_test), len(material.to_test)
    with tqdm(batches, "held out", tests, unit="batch", disable=None, leave=False) as bar:
        for pixels, right in bar:
            with _autocast(device, precision):
                logits = network(material.inputs(pixels.to(device, non_blocking=True)))
            logits = logits.float().cpu()
            losses.append(cross_entropy(logits, right, reduction="none"))
            hits.append(logits.argmax(1) == right)
            rights.append(right)
    hit, face = torch.cat(hits).double(), torch.cat(rights) < face_classes
    return {
        "loss": float(torch.cat(losses).double().mean()),
        "face_top1": float(hit[face].mean()),
        "object_top1": float(hit[~face].mean()),
    }


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, getattr(torch, precision), enabled=precision != "float32")


def find_best(history: History, min_delta: float = 0.0) -> int:
    """Return the last epoch, from 1, whose loss was lower than all before by over `min_delta`.

    The held-out loss, that is; 0 before the first epoch.
    """
    best, lowest = 0, math.nan
    for epoch, figures in enumerate(history, start=1):
        if math.isnan(lowest) or figures["val/loss"] < lowest - min_delta:
            best, lowest = epoch, figures["val/loss"]
    return best


def is_over(history: History, epochs: int, stopping: Stopping) -> bool:
    """Tell whether all epochs are done, or `patience` of them have passed since the best."""
    waited = len(history) - find_best(history, stopping.min_delta)
    impatient = stopping.patience is not None and waited >= stopping.patience
    return impatient or len(history) >= epochs
