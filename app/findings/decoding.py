"""Decoding: how well the identity of a face can be read from a set of kernels."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from app import names
from app.errors import InputError
from app.findings.overlap import rank_units
from app.progress import progress_bar

if TYPE_CHECKING:
    from app.config.schema import Decoding as Settings
    from app.memo import Memo

# scikit-learn takes a second to import, which runs whose decodings are stored save: each function
# imports what it needs.


def make_svm(penalty: float) -> Any:
    """Make a linear support vector machine of C `penalty`, one against one."""
    from sklearn.svm import SVC

    return SVC(kernel="linear", C=penalty)


def make_logistic(penalty: float) -> Any:
    """Make a multinomial logistic regression of C `penalty`."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=penalty, max_iter=1000)


def make_lda() -> Any:
    """Make a linear discriminant analysis, its covariance shrunk (Ledoit & Wolf 2004).

    Unshrunk it overfits where there are about as many kernels as training images.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    return LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")


def make_nearest_centroid() -> Any:
    """Make what names the identity whose mean response is nearest."""
    from sklearn.neighbors import NearestCentroid

    return NearestCentroid()


CLASSIFIERS: dict[str, Callable[..., Any]] = {
    "svm": make_svm,
    "logistic": make_logistic,
    "lda": make_lda,
    "nearest_centroid": make_nearest_centroid,
}


@dataclass(frozen=True)
class Classifier:
    """What names identities: one of `CLASSIFIERS`, and its options."""

    name: str = "svm"
    penalty: float | None = 1.0  # C of those that have one; None: of the others

    def make(self) -> Any:
        """Make the scikit-learn estimator, not fitted yet."""
        options = {} if self.penalty is None else {"penalty": self.penalty}
        return CLASSIFIERS[self.name](**options)


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
class RandomDecoding:
    """The same from kernels drawn at random."""

    draws: NDArray[np.float64]  # (draws,) accuracy of each, 0 … 1
    kernels: int

    @property
    def accuracy(self) -> float:
        """The mean over draws, 0 … 1."""
        return float(self.draws.mean())


@dataclass(frozen=True)
class Decoded:
    """Identity decoding from a metric's kernels, with what it is to be judged against."""

    chosen: Decoding
    random_kernels: RandomDecoding  # as many
    all_kernels: Decoding
    chance: float  # the accuracy of guessing
    notes: tuple[str, ...] = ()  # where the images ask for folds of another kind than the paper's

    def metrics(self) -> dict[str, float]:
        """The numbers by the names that they are logged under."""
        low, high = self.chosen.ci95
        return {
            names.ACCURACY: self.chosen.accuracy,
            names.ACCURACY_LOW: low,
            names.ACCURACY_HIGH: high,
            names.DECODED_KERNELS: float(self.chosen.kernels),
            names.CHANCE: self.chance,
            names.RANDOM_KERNELS: self.random_kernels.accuracy,
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
    known, codes, counts = np.unique(
        np.asarray(identities, dtype=str), return_inverse=True, return_counts=True
    )
    if len(known) < 2:
        raise InputError(f"decoding needs two identities or more, but there are {len(known)}")
    if counts.min() < 2:
        raise InputError(
            f"identity {str(known[counts.argmin()])!r} has one image; "
            "decoding needs two or more of each"
        )
    fold = np.empty(len(codes), dtype=np.int64)
    for code, count in enumerate(counts):
        fold[codes == code] = np.arange(count) % counts.min()
    return fold


def note_folds(identities: Sequence[str]) -> tuple[str, ...]:
    """Say in one line how identities with different numbers of images are decoded, if they are."""
    counts = Counter(identities).values()
    fewest, most = min(counts), max(counts)
    if fewest == most:
        return ()
    return (
        f"decoding: identities have {fewest} to {most} images; each one's are dealt over {fewest} "
        "folds, and accuracy is the mean over identities",
    )


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
    if values.ndim != 2 or len(values) != len(identities) or not values.shape[1]:
        raise ValueError(
            f"features must be ({len(identities)} images, 1 or more kernels), not {values.shape}"
        )
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
) -> RandomDecoding:
    """Decode from `count` kernels drawn at random, `draws` times.

    Each draw is without replacement; all come from `numpy.random.default_rng(seed)`, so the same
    seed gives the same draws. The rest as in `decode`; InputError for more kernels than there are.
    """
    kernels = features.shape[1]
    if not 1 <= count <= kernels or draws < 1:
        raise InputError(
            f"cannot draw {count} of {kernels} kernels {draws} times; at least one draw is needed, "
            "of one kernel up to all"
        )
    random = np.random.default_rng(seed)
    drawn = [tuple(np.sort(random.choice(kernels, count, replace=False))) for _ in range(draws)]
    found: dict[tuple[int, ...], float] = {}  # small layers draw the same kernels again
    with progress_bar("random kernels", draws, "decoding") as progress:
        for chosen in drawn:
            if chosen not in found:
                found[chosen] = decode(features[:, chosen], identities, classifier).accuracy
            progress(1)
    return RandomDecoding(np.array([found[chosen] for chosen in drawn]), count)


def chance(identities: Sequence[str]) -> float:
    """Compute the accuracy of guessing: 1 / number of identities."""
    return 1 / len(set(identities))


def find_equal_count(counts: Mapping[str, int]) -> int:
    """Find how many kernels of each metric to decode from, given how many each selects.

    The smallest count that is not 0; 0 where no metric selects any.
    """
    return min((count for count in counts.values() if count > 0), default=0)


def find_top(score: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Find the `count` units with the highest score (units,), best first, ties by index.

    Undefined ones (NaN) are never among them, so that there may be fewer than `count`.
    """
    return rank_units(score)[:count]


@dataclass(frozen=True)
class Choice:
    """The kernels of a metric that identity is decoded from."""

    top: NDArray[np.int64]  # its highest-ranked, best first
    wanted: int  # how many were asked for, or are equally many for every metric
    notes: tuple[str, ...]  # where they are not the wanted ones


def choose_kernels(
    metric: str,
    score: NDArray[np.float64],
    selected: Mapping[str, NDArray[np.bool_]],
    layer: str,
    wanted: int | None,
) -> Choice:
    """Choose a metric's highest-ranked kernels, as many as of every other metric.

    Parameters
    ----------
    metric
        Its name.
    score
        (kernels,), by the metric; NaN where undefined.
    selected
        (kernels,), what each compared metric selects.
    layer
        For the notes.
    wanted
        How many; None: the smallest count that any metric selects.
    """
    counts = {name: int(mask.sum()) for name, mask in selected.items()}
    kernels = wanted or find_equal_count(counts)
    top = find_top(score, kernels)
    notes: tuple[str, ...] = ()
    if len(top) < kernels:
        notes = (
            f"decoding: only {len(top)} kernels of {layer} have a score by "
            f"{metric}; decoded from these, not from {kernels}",
        )
    elif not counts[metric]:
        notes = (
            f"decoding: {metric} selects no kernel; decoded from its {kernels} highest-ranked",
        )
    return Choice(top, kernels, notes)


def decode_identity(
    features: NDArray[np.float32],
    identities: Sequence[str],
    choice: Choice,
    settings: Settings,
    seed: int,
    memo: Memo,
) -> Decoded:
    """Decode identity from a metric's kernels, from as many random ones, and from all.

    Parameters
    ----------
    features
        (images, kernels), the responses of all kernels.
    identities
        The identity of each image.
    choice
        The metric's kernels.
    settings
        Of the config: the classifier, and how often random kernels are drawn.
    seed
        Of the random kernels.
    memo
        Remembers each decoding.
    """
    classifier = Classifier(settings.name, settings.penalty)
    count, draws = len(choice.top), settings.random_draws
    return Decoded(
        chosen=memo(decode, features[:, np.sort(choice.top)], identities, classifier),
        random_kernels=memo(decode_random, features, identities, count, draws, seed, classifier),
        all_kernels=memo(decode, features, identities, classifier),
        chance=chance(identities),
        notes=(*note_folds(identities), *choice.notes),
    )


def why_not_decoded(
    settings: Settings, layer: str, aggregation: str, metric: str, choice: Choice
) -> str | None:
    """One line where decoding does not apply to a run, else None."""
    if settings.name == "none":
        return "decoding: switched off (decoding=none)"
    if aggregation == "unit":
        return "decoding: kernels are decoded, not single units; take aggregation=mean, l2 or max"
    if settings.layers is not None and layer not in settings.layers:
        return f"decoding: {layer} is not one of decoding.layers={settings.layers}"
    if not choice.wanted:
        return (
            "decoding: no metric selects a kernel here; set decoding.kernels to decode "
            "from that many of the highest-ranked"
        )
    if not len(choice.top):
        return f"decoding: no kernel of {layer} has a score by {metric}"
    return None
