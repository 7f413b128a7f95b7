"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """The sizes of a full run, which are those of the goals.

    `QUICK` takes a few minutes; what any size costs weighs more there, so ratios are lower.
    """

    device: str = "cpu"  # of forward passes over kernels and of lesions
    rounds: int = 3  # of what takes a second or so; the best counts
    slow_rounds: int = 2
    sweep_layers: str = "conv2,conv13"
    thresholds: int = 20
    units: int = 20_000  # of the rank-sum test
    conv13_units: int = 512 * 14 * 14
    plain_units: int = 2_000  # that scipy is given
    certainty_kernels: int = 512
    certainty_resamples: int = 1000  # of intervals alone, beside scipy's
    conv2_images: int = 1440
    bare_images: int = 144  # of the forward pass to conv2 alone
    forward_images: int = 32
    lesion_images: int = 16  # at conv13, whose kernels are all lesioned
    lesion_images_elsewhere: int = 4
    lesion_kernels: int = 512  # at conv13
    lesion_kernels_elsewhere: int = 16
    plain_kernels: int = 3  # lesioned by full passes
    growing_units: tuple[int, ...] = (10**3, 10**4, 10**5, 10**6, 10**7)
    growing_images: tuple[int, ...] = (144, 1440, 14_400)
    growing_kernels: tuple[int, ...] = (8, 64, 512)


FULL = Sizes()
QUICK = Sizes(
    rounds=2,
    slow_rounds=1,
    sweep_layers="conv13",
    thresholds=4,
    units=4_000,
    conv13_units=20_000,
    plain_units=400,
    certainty_kernels=128,
    certainty_resamples=100,
    conv2_images=144,
    bare_images=16,
    forward_images=8,
    lesion_images=4,
    lesion_images_elsewhere=2,
    lesion_kernels=128,
    lesion_kernels_elsewhere=4,
    plain_kernels=2,
    growing_units=(10**3, 10**4, 10**5),
    growing_images=(144, 1440),
    growing_kernels=(8, 64),
)
