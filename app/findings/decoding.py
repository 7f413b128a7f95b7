"""Decoding: how well the identity of a face can be read from a set of kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from app.errors import InputError
from app.threads import available


@dataclass(frozen=True)
class Decoding:
    """How often the right identity was named, from one set of kernels."""

    accuracy: float  # 0 … 1, the mean over folds
    folds: NDArray[np.float64]  # (folds,) of each, 0 … 1: the mean over identities
    ci95: tuple[float, float]  # Student's t interval of the mean over folds, clipped to 0 … 1
    kernels: int


@dataclass(frozen=True)
class RandomDecoding:
    """The same from kernels drawn at random."""

    accuracy: float  # 0 … 1, the mean over draws
    draws: NDArray[np.float64]  # (draws,) accuracy of each, 0 … 1
    kernels: int


def folds(identities: Sequence[str]) -> NDArray[np.int64]:
    """The fold of each image (images,): in fold k the images of fold k are left out.

    There are as many folds as the identity with the fewest images has. Each identity's images are
    dealt over them in turn, the k-th to fold k, so every image is left out once, and no fold leaves
    out, or trains on, none of an identity. With equally many images of each that is one image of
    each identity a fold. InputError for fewer than two identities, or for one with fewer than two
    images.
    """
    names, codes, counts = np.unique(
        np.asarray(identities, dtype=str), return_inverse=True, return_counts=True
    )
    if len(names) < 2:
        raise InputError(f"decoding needs two identities or more, but there are {len(names)}")
    if counts.min() < 2:
        raise InputError(
            f"identity {str(names[counts.argmin()])!r} has one image; "
            "decoding needs two or more of each"
        )
    fold = np.empty(len(codes), dtype=np.int64)
    for code, count in enumerate(counts):
        fold[codes == code] = np.arange(count) % counts.min()
    return fold


def uneven(identities: Sequence[str]) -> str | None:
    """How identities with different numbers of images are decoded, in one line; else None."""
    counts = Counter(identities).values()
    fewest, most = min(counts), max(counts)
    if fewest == most:
        return None
    return (
        f"identities have {fewest} to {most} images; each one's are dealt over {fewest} folds, "
        "and accuracy is the mean over identities"
    )


def decode(
    features: NDArray[Any],
    identities: Sequence[str],
    *,
    penalty: float = 1.0,
    threads: int | None = None,
) -> Decoding:
    """Cross-validated accuracy of a linear support vector machine that names identities.

    Parameters
    ----------
    features: (images, kernels), any finite numbers; at least one kernel. The order of kernels
        changes results by rounding at most.
    identities: the identity of each image; see `folds`.
    penalty: C of the machine (one against one, as LIBSVM does several classes).
    threads: folds that are fitted at the same time; None = `app.threads.available`. Results do not
        depend on it.

    In each fold features are standardised to the mean and standard deviation of the training
    images; one that does not vary there counts for nothing. A fold's accuracy is the mean over
    identities of how many of its images were named right, so that guessing reaches `chance`
    however many images each identity has; with as many of each it is the share of all images.
    InputError for features that are not finite and for too few images (see `folds`).
    """
    from app.findings import svm  # takes a moment to import, which stored decodings save

    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or len(values) != len(identities) or not values.shape[1]:
        raise ValueError(
            f"features must be ({len(identities)} images, 1 or more kernels), not {values.shape}"
        )
    if not np.isfinite(values).all():
        raise InputError(
            f"{np.sum(~np.isfinite(values))} features for decoding are NaN or infinite; "
            "responses must be finite numbers"
        )
    fold = folds(identities)
    codes = np.unique(np.asarray(identities, dtype=str), return_inverse=True)[1]

    def accuracy(number: int) -> float:
        train, test = fold != number, fold == number
        mean, scale = standard(values[train])
        named = svm.classify(
            (values[train] - mean) / scale, codes[train], (values[test] - mean) / scale, penalty
        )
        right = np.bincount(codes[test], weights=named == codes[test])
        return float(np.mean(right / np.bincount(codes[test])))

    # The machines run without the interpreter's lock: two threads take half the time.
    with ThreadPoolExecutor(threads or available()) as pool:
        accuracies = np.array(list(pool.map(accuracy, range(fold.max() + 1))))
    return summary(accuracies, values.shape[1])


def standard(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The mean and the standard deviation (features,) of `values` (images, features).

    The deviation is 1 for a feature that does not vary, or by no more than the mean may be off by
    rounding; both as scikit-learn's StandardScaler has them.
    """
    images, rounding = len(values), np.finfo(np.float64).eps
    mean = values.mean(axis=0)
    deviations = values - mean
    # Two passes; what rounding leaves of the deviations' sum is taken off (Chan et al. 1983).
    variance = (np.sum(deviations**2, axis=0) - deviations.sum(axis=0) ** 2 / images) / images
    constant = variance <= images * rounding * variance + (images * mean * rounding) ** 2
    return mean, np.where(constant, 1, np.sqrt(variance))


def summary(accuracies: NDArray[np.float64], kernels: int) -> Decoding:
    """Mean and interval of the accuracies (folds,) that `kernels` kernels reached."""
    return Decoding(float(accuracies.mean()), accuracies, _interval(accuracies), kernels)


def decode_random(
    features: NDArray[Any],
    identities: Sequence[str],
    count: int,
    draws: int,
    seed: int,
    penalty: float = 1.0,
    progress: Callable[[int], object] | None = None,
    *,
    threads: int | None = None,
) -> RandomDecoding:
    """Accuracy from `count` kernels drawn at random, over `draws` draws.

    Each draw is without replacement; all come from `numpy.random.default_rng(seed)`, so the same
    seed gives the same draws. `progress` is called with 1 after each. `threads` is how many are
    decoded at the same time. The rest as in `decode`; InputError for more kernels than there are.
    """
    kernels = features.shape[1]
    if not 1 <= count <= kernels or draws < 1:
        raise InputError(
            f"cannot draw {count} of {kernels} kernels {draws} times; at least one draw is needed, "
            "of one kernel up to all"
        )
    random = np.random.default_rng(seed)
    drawn = [tuple(np.sort(random.choice(kernels, count, replace=False))) for _ in range(draws)]

    @cache  # small layers draw the same kernels again
    def accuracy(chosen: tuple[int, ...]) -> float:
        part = features[:, list(chosen)]
        return decode(part, identities, penalty=penalty, threads=1).accuracy

    accuracies = np.empty(draws)
    # Draws side by side: there are more of them than folds, so that fewer threads wait.
    with ThreadPoolExecutor(threads or available()) as pool:
        for number, found in enumerate(pool.map(accuracy, drawn)):
            accuracies[number] = found
            if progress is not None:
                progress(1)
    return RandomDecoding(float(accuracies.mean()), accuracies, count)


def chance(identities: Sequence[str]) -> float:
    """The accuracy of guessing: 1 / number of identities."""
    return 1 / len(set(identities))


def equal_count(counts: Mapping[str, int]) -> int:
    """How many kernels of each metric to decode from, given how many each selects.

    The smallest count that is not 0; 0 where no metric selects any.
    """
    return min((count for count in counts.values() if count > 0), default=0)


def top(score: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """The indices of the `count` units with the highest score, best first, ties by index.

    `score` is (units,), NaN = undefined: never among them, so that there may be fewer than `count`.
    """
    order = np.argsort(-score, kind="stable")  # NaN last
    return order[: min(count, int(np.sum(~np.isnan(score))))]


def _interval(accuracies: NDArray[np.float64]) -> tuple[float, float]:
    error = accuracies.std(ddof=1) / np.sqrt(len(accuracies))
    half = stdtrit(len(accuracies) - 1, 0.975) * error  # Student's t
    mean = accuracies.mean()
    return float(max(mean - half, 0)), float(min(mean + half, 1))
