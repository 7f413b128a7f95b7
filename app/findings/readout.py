"""A linear readout of a network that stays as it is: a face and an object task for any network.

Multinomial logistic regression (scikit-learn) on features of images, over identities and object
categories side by side, as the dual-task network's own classifier has them.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from app.models.graph import PIXELS
from app.models.places import OUTPUT_MAPS
from app.progress import progress_bar
from app.responses.passes import collect, to_device

if TYPE_CHECKING:
    from app.config.schema import Readout as Settings
    from app.models.network import Network
    from app.responses.hardware import Hardware
    from app.stimuli.classes import OwnClasses

PENALTY = 1.0  # C
ITERATIONS = 1000


@dataclass(frozen=True)
class Readout:
    """What names the class of an image from its features."""

    value: str  # the graph's name of the value that they are made of
    output: str  # its layout, one of `app.choices.OUTPUTS`
    weights: NDArray[np.float64]  # (classes, features)
    bias: NDArray[np.float64]  # (classes,)

    def pool(self, values: Tensor) -> Tensor:
        """Features (images, features): the mean of each channel over its positions."""
        return OUTPUT_MAPS[self.output](values).float().mean(dim=(2, 3))

    def decide(self, values: Tensor) -> Tensor:
        """Logits (images, classes)."""
        weights, bias = (torch.from_numpy(each).to(values.device, torch.float32)
                         for each in (self.weights, self.bias))  # fmt: skip
        return functional.linear(self.pool(values), weights, bias)

    def refit(self, features: NDArray[np.float32], classes: NDArray[np.int64]) -> Readout:
        """Fit the weights on features (images, features) of images of classes 0, 1 and so on.

        Features are standardised; the weights are then told for features as they are. A feature
        that does not vary says nothing.
        """
        from sklearn.linear_model import LogisticRegression

        known = features.astype(np.float64)
        mean, spread = known.mean(axis=0), known.std(axis=0)
        spread[spread == 0] = np.inf
        model = LogisticRegression(C=PENALTY, max_iter=ITERATIONS)
        with warnings.catch_warnings():  # of few images of each of many classes
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            fitted = model.fit((known - mean) / spread, classes)
        weights, bias = fitted.coef_, fitted.intercept_
        if len(weights) == 1:  # of two classes, only the second's
            weights, bias = np.concatenate([0 * weights, weights]), np.append(0, bias)
        weights = weights / spread
        return replace(self, weights=weights, bias=bias - weights @ mean)


def fit_readout(
    network: Network, settings: Settings, shown: OwnClasses, hardware: Hardware
) -> Readout:
    """Fit a readout of the network's features on images, on hardware that is set to float32.

    InputError for a layer that cannot be read.
    """
    if settings.layer is None:
        value, output = network.graph.features
    else:
        place = network.place(settings.layer, settings.output)
        value, output = place.value, place.output
    empty: Any = np.zeros((0, 0))
    readout = Readout(value, output, empty, empty)
    program = network.program(hardware.device, torch.float32)
    largest, images = max(map(math.prod, program.shapes([readout.value]))), shown.images
    with torch.inference_mode(), progress_bar("features", len(images)) as progress:

        def read(batch: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
            ((_, values),) = program.run({PIXELS: to_device(batch, hardware)}, [readout.value])
            progress(len(batch))
            return {"features": readout.pool(values).cpu().numpy()}

        batches = images.batches(network.preprocessing, hardware.batch(largest))
        features = collect(map(read, batches), len(images))["features"]
    return readout.refit(features, shown.outputs)
