"""Decoding: how well the identity of a face can be read from a set of kernels."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from app import names
from app.errors import InputError
from app.progress import progress_bar

if TYPE_CHECKING:
    from app.config.schema import Decoding as Settings
    from app.memo import Memo

# scikit-learn takes a second to import, which runs whose decodings are stored save: each function
# imports what it needs.


@dataclass(frozen=True)
class Classifier:
    """What names identities: one of `app.choices.DECODERS`, and its option."""

    name: str = "svm"
    penalty: float | None = 1.0  # C of those that have one; None: of the others

    def make(self) -> Any:
        """Make the scikit-learn estimator, not fitted yet.

        The covariance of the linear discriminant analysis is shrunk (Ledoit & Wolf 2004): it would
        overfit where there are about as many kernels as training images.
        """
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.linear_model import LogisticRegression
        from sklearn.neighbors import NearestCentroid
        from sklearn.svm import SVC

        return {
            "svm": SVC(kernel="linear", C=self.penalty),  # one against one
            "logistic": LogisticRegression(C=self.penalty, max_iter=1000),  # multinomial
            "lda": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
            "nearest_centroid": NearestCentroid(),
        }[self.name]


SVM = Classifier()


@dataclass(frozen=True)
class Decoding:
    """How often the right identity was named, from one set of kernels."""

    folds: NDArray[np.float64]  # (folds,) accuracy of each, 0 … 1: the mean over identities
    kernels: int

    @property
    def accuracy(self) -> float:
        """The mean over folds, 0 … 1."""
        return float(self.folds.mean())

    @property
    def ci95(self) -> tuple[float, float]:
        """Student's t interval of the mean over folds, clipped to 0 … 1."""
        error = self.folds.std(ddof=1) / np.sqrt(len(self.folds))
        half = stdtrit(len(self.folds) - 1, 0.975) * error
        return float(max(self.accuracy - half, 0)), float(min(self.accuracy + half, 1))


@dataclass(frozen=True)
class Decoded:
    """Identity decoding from a metric's kernels, with what it is to be judged against."""

    chosen: Decoding
    random_kernels: NDArray[np.float64]  # (draws,) accuracy from as many random ones, 0 … 1
    all_kernels: Decoding
    chance: float  # the accuracy of guessing

    def metrics(self) -> dict[str, float]:
        """The numbers by the names that they are logged under."""
        low, high = self.chosen.ci95
        return {
            names.ACCURACY: self.chosen.accuracy,
            names.ACCURACY_LOW: low,
            names.ACCURACY_HIGH: high,
            names.DECODED_KERNELS: float(self.chosen.kernels),
            names.CHANCE: self.chance,
            names.RANDOM_KERNELS: float(self.random_kernels.mean()),
            names.ALL_KERNELS: self.all_kernels.accuracy,
        }


def assign_folds(identities: Sequence[str]) -> NDArray[np.int64]:
    """Assign each image (images,) the fold in which it is left out.

    There are as many folds as the identity with the fewest images has. Each identity's images are
    dealt over them in turn, the k-th to fold k, so every image is left out once, and no fold leaves
    out, or trains on, none of an identity. With equally many images of each that is one image of
    each identity a fold. InputError for fewer than two identities, or one with fewer than two
    images.

    Examples
    --------
    >>> assign_folds(["Ann", "Ann", "Bo", "Bo", "Bo"])
    array([0, 1, 0, 1, 0])
    """
    counts = Counter(identities)
    if len(counts) < 2:
        raise InputError(f"decoding needs two identities or more, but there are {len(counts)}")
    name, fewest = min(counts.items(), key=lambda each: (each[1], each[0]))
    if fewest < 2:
        raise InputError(
            f"identity {str(name)!r} has one image; decoding needs two or more of each"
        )
    seen = {identity: itertools.count() for identity in counts}
    return np.array([next(seen[identity]) % fewest for identity in identities])


def decode(
    features: NDArray[Any], identities: Sequence[str], classifier: Classifier = SVM
) -> Decoding:
    """Cross-validate a classifier that names identities; see `assign_folds`.

    In each fold features are standardised to the mean and standard deviation of the training
    images; one that does not vary there counts for nothing. A fold's accuracy is the mean over
    identities of how many of its images were named right, so that guessing reaches `chance`
    however many images each identity has; with as many of each it is the share of all images.

    `features` is (images, kernels), finite (else InputError); `identities` says whose each image
    is. Folds run side by side as `joblib.parallel_config` says: results do not depend on it.
    """
    from sklearn.model_selection import PredefinedSplit, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    values = np.asarray(features, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError(
            f"{np.sum(~np.isfinite(values))} features for decoding are NaN or infinite; "
            "responses must be finite numbers"
        )
    with warnings.catch_warnings():  # of silent kernels, of few images of each of many identities
        for known in ("zero standard deviation", "number of unique classes"):
            warnings.filterwarnings("ignore", f".*{known}", UserWarning)
        accuracies = cross_val_score(
            make_pipeline(StandardScaler(), classifier.make()),
            values,
            np.asarray(identities, dtype=str),
            cv=PredefinedSplit(assign_folds(identities)),
            scoring="balanced_accuracy",
            error_score="raise",
        )
    return Decoding(accuracies, values.shape[1])


def decode_random(
    features: NDArray[Any],
    identities: Sequence[str],
    count: int,
    draws: int,
    seed: int,
    classifier: Classifier = SVM,
) -> NDArray[np.float64]:
    """Decode from `count` random kernels, `draws` times: accuracies (draws,), as in `decode`.

    Draws are without replacement, from `numpy.random.default_rng(seed)`.
    """
    random, kernels = np.random.default_rng(seed), features.shape[1]
    drawn = [np.sort(random.choice(kernels, count, replace=False)) for _ in range(draws)]
    # Small layers draw the same kernels again.
    distinct, place = np.unique(drawn, axis=0, return_inverse=True)
    accuracy = np.empty(len(distinct))
    with progress_bar("random kernels", len(distinct), "decoding") as progress:
        for number, chosen in enumerate(distinct):
            accuracy[number] = decode(features[:, chosen], identities, classifier).accuracy
            progress(1)
    return accuracy[place.ravel()]


def chance(identities: Sequence[str]) -> float:
    """Compute the accuracy of guessing: 1 / number of identities."""
    return 1 / len(set(identities))


def find_top(score: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Find the `count` units with the highest score (units,), best first, ties by index.

    Undefined ones (NaN) are never among them, so that there may be fewer than `count`.
    """
    defined = np.count_nonzero(~np.isnan(score))
    return np.argsort(-score, kind="stable")[: min(count, defined)]


def choose_kernels(
    metric: str,
    score: NDArray[np.float64],
    selected: Mapping[str, NDArray[np.bool_]],
    layer: str,
    wanted: int | None,
) -> tuple[NDArray[np.int64], list[str]]:
    """Choose the kernels that a metric ranks highest, as many as of every other metric.

    `score` (kernels,) is the metric's, `selected` (kernels,) is what each compared metric selects;
    `wanted` says how many; None: the smallest count that any metric selects, but for none. Returns
    the kernels, best first, and a line where they are not as many as wanted, or not selected.
    """
    counts = {name: int(mask.sum()) for name, mask in selected.items()}
    kernels = wanted or min(filter(None, counts.values()), default=0)
    top, note = find_top(score, kernels), ""
    if not kernels:
        note = (
            "no metric selects a kernel here; set decoding.kernels to decode "
            "from that many of the highest-ranked"
        )
    elif not len(top):
        note = f"no kernel of {layer} has a score by {metric}"
    elif len(top) < kernels:
        note = (
            f"only {len(top)} kernels of {layer} have a score by {metric}; "
            f"decoded from these, not from {kernels}"
        )
    elif not counts[metric]:
        note = f"{metric} selects no kernel; decoded from its {kernels} highest-ranked"
    return top, [f"decoding: {note}"] if note else []


def check_kernels(settings: Settings, kernels: int, layer: str) -> None:
    """Refuse more kernels than a layer has."""
    if (settings.kernels or 0) > kernels:
        raise InputError(
            f"decoding.kernels={settings.kernels}, but {layer} has {kernels} kernels: ask for so "
            "many at most, or leave it out"
        )


def note_folds(identities: Sequence[str]) -> list[str]:
    """Say in one line how identities with different numbers of images are decoded, if they are."""
    counts = Counter(identities).values()
    fewest, most = min(counts), max(counts)
    if fewest == most:
        return []
    return [
        f"decoding: identities have {fewest} to {most} images; each one's are dealt over {fewest} "
        "folds, and accuracy is the mean over identities"
    ]


def decode_identity(
    features: NDArray[np.float32],
    identities: Sequence[str],
    top: NDArray[np.int64],
    settings: Settings,
    seed: int,
    memo: Memo,
) -> Decoded:
    """Decode identity from a metric's kernels `top`, from as many random ones, and from all.

    `features` (images, kernels) are the responses of all kernels. The memo remembers each decoding.
    """
    classifier, draws = Classifier(settings.name, settings.penalty), settings.random_draws
    return Decoded(
        memo(decode, features[:, np.sort(top)], identities, classifier),
        memo(decode_random, features, identities, len(top), draws, seed, classifier),
        memo(decode, features, identities, classifier),
        chance(identities),
    )


def why_not_decoded(settings: Settings, layer: str, aggregation: str) -> str | None:
    """One line where decoding does not apply to a run with these settings, else None."""
    if settings.name == "none":
        return "decoding: switched off (decoding=none)"
    if aggregation == "unit":
        return "decoding: kernels are decoded, not single units; take aggregation=mean, l2 or max"
    if settings.layers is not None and layer not in settings.layers:
        return f"decoding: {layer} is not one of decoding.layers={settings.layers}"
    return None
