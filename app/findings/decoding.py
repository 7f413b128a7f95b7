"""Decoding: how well the identity of a face can be read from a set of kernels."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import stdtrit

from app import names
from app.errors import InputError
from app.findings.certainty import find_interval, name_ends
from app.progress import progress_bar

if TYPE_CHECKING:
    from app.config.schema import Decoding as Settings
    from app.memo import Memo
    from app.stimuli.images import Images

RESAMPLES = 1000  # of identities, on which intervals over them rest
FEW = 20  # identities, below which such intervals are too narrow

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
        from sklearn.metrics.pairwise import linear_kernel
        from sklearn.neighbors import NearestCentroid
        from sklearn.svm import SVC

        return {
            "svm": SVC(kernel=linear_kernel, C=self.penalty),  # one against one, of one product
            "logistic": LogisticRegression(C=self.penalty, max_iter=1000),  # multinomial
            "lda": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
            "nearest_centroid": NearestCentroid(),
        }[self.name]


SVM = Classifier()


@dataclass(frozen=True)
class Decoding:
    """How often the right identity was named, from one set of kernels."""

    # (folds, identities), sorted: the fraction named right of an identity's images in a fold
    hits: NDArray[np.float64]
    kernels: int

    @property
    def folds(self) -> NDArray[np.float64]:
        """(folds,) accuracy of each, 0 … 1: the mean over identities."""
        return np.asarray(self.hits.mean(axis=1))

    @property
    def accuracy(self) -> float:
        """The mean over folds, 0 … 1."""
        return float(self.folds.mean())

    @property
    def ci95(self) -> tuple[float, float]:
        """Student's t interval of the mean over folds, as if they were independent: the paper's."""
        return self._bound(1 / len(self.folds))

    @property
    def corrected_ci95(self) -> tuple[float, float]:
        """The same with the corrected resampled variance, s² (1/J + n_test / n_train) of J folds.

        Two folds train on nearly the same images, so that their mean varies more than s² / J
        (Nadeau & Bengio 2003, doi:10.1023/A:1024068626366). As every image is left out once,
        n_test / n_train is 1 / (J - 1).
        """
        folds = len(self.folds)
        return self._bound(1 / folds + 1 / (folds - 1))

    def _bound(self, factor: float) -> tuple[float, float]:
        """Student's t interval, clipped to 0 … 1, of a mean whose variance is s² times a factor."""
        error = np.sqrt(factor) * self.folds.std(ddof=1)
        half = stdtrit(len(self.folds) - 1, 0.975) * error
        return float(max(self.accuracy - half, 0)), float(min(self.accuracy + half, 1))


@dataclass(frozen=True)
class Decoded:
    """Identity decoding from metrics' kernels, with what it is to be judged against."""

    identities: tuple[str, ...]  # sorted
    by_metric: Mapping[str, Decoding]  # from equally many kernels, which each ranks highest
    random_kernels: NDArray[np.float64]  # (draws, folds, identities) hits, from as many random ones
    all_kernels: Decoding
    resamples: NDArray[np.int64]  # (resamples, identities) how often each identity is drawn
    fold_resamples: NDArray[np.int64]  # (resamples, folds) and each fold

    def metrics(self, metric: str) -> dict[str, float]:
        """One metric's numbers by the names that they are logged under.

        Its differences to the others are paired: of the same folds and identities, both of which
        are drawn again, as a difference varies over either (Owen 2007, doi:10.1214/07-AOAS122).
        """
        chosen = self.by_metric[metric]
        beside = {name: each.hits for name, each in self.by_metric.items() if name != metric}
        beside["random_kernels"] = self.random_kernels.mean(axis=0)
        found = {
            names.ACCURACY: chosen.accuracy,
            **dict(zip((names.ACCURACY_LOW, names.ACCURACY_HIGH), chosen.ci95, strict=True)),
            **name_ends(names.ACCURACY_CORRECTED, chosen.corrected_ci95),
            **name_ends(names.ACCURACY_IDENTITIES, self._bound(chosen.hits.mean(axis=0))),
            names.DECODED_KERNELS: float(chosen.kernels),
            names.CHANCE: chance(self.identities),
            names.RANDOM_KERNELS: float(self.random_kernels.mean()),
            names.ALL_KERNELS: self.all_kernels.accuracy,
        }
        for name, hits in beside.items():
            difference, apart = f"{names.DIFFERENCE}{name}", chosen.hits - hits
            found[difference] = float(apart.mean())
            found |= name_ends(difference, self._bound(self.fold_resamples @ apart / len(apart)))
        return found

    def _bound(self, hits: NDArray[np.float64]) -> tuple[float, float]:
        """Percentile interval of the mean of hits (identities,), or (resamples, identities)."""
        return find_interval((self.resamples * hits).mean(axis=1))

    def table(self) -> pd.DataFrame:
        """A row a fold and identity: the fraction of its images there that were named right.

        A column a metric, `random_kernels` (the mean over draws) and `all_kernels`.
        """
        fold, identity = np.indices(self.all_kernels.hits.shape)
        hits = {name: each.hits for name, each in self.by_metric.items()}
        hits["random_kernels"] = self.random_kernels.mean(axis=0)
        hits["all_kernels"] = self.all_kernels.hits
        where = {"fold": fold.ravel(), "identity": np.array(self.identities)[identity.ravel()]}
        return pd.DataFrame(where | {name: each.ravel() for name, each in hits.items()})


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
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    values = np.asarray(features, dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError(
            f"{np.sum(~np.isfinite(values))} features for decoding are NaN or infinite; "
            "responses must be finite numbers"
        )
    fold, people = assign_folds(identities), np.asarray(identities, dtype=str)
    with warnings.catch_warnings():  # of silent kernels, of few images of each of many identities
        for known in ("zero standard deviation", "number of unique classes"):
            warnings.filterwarnings("ignore", f".*{known}", UserWarning)
        named = cross_val_predict(
            make_pipeline(StandardScaler(), classifier.make()),
            values,
            people,
            cv=PredefinedSplit(fold),
        )
    distinct, who = np.unique(people, return_inverse=True)
    images, right = np.zeros((2, fold.max() + 1, len(distinct)))
    np.add.at(images, (fold, who), 1)
    np.add.at(right, (fold, who), named == people)
    return Decoding(right / images, values.shape[1])


def decode_random(
    features: NDArray[Any],
    identities: Sequence[str],
    count: int,
    draws: int,
    seed: int,
    classifier: Classifier = SVM,
) -> NDArray[np.float64]:
    """Decode from `count` random kernels, `draws` times: hits (draws, folds, identities).

    Draws are without replacement, from `numpy.random.default_rng(seed)`.
    """
    random, kernels = np.random.default_rng(seed), features.shape[1]
    drawn = [np.sort(random.choice(kernels, count, replace=False)) for _ in range(draws)]
    # Small layers draw the same kernels again.
    distinct, place = np.unique(drawn, axis=0, return_inverse=True)
    hits = []
    with progress_bar("random kernels", len(distinct), "decoding") as progress:
        for chosen in distinct:
            hits.append(decode(features[:, chosen], identities, classifier).hits)
            progress(1)
    return np.array(hits)[place.ravel()]


def draw_again(count: int, seed: Sequence[int], resamples: int = RESAMPLES) -> NDArray[np.int64]:
    """Draw as many of so many, with replacement: how often each is drawn (resamples, count).

    From `numpy.random.default_rng(seed)`.
    """
    return np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)


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
    scores: Mapping[str, NDArray[np.float64]],
    selected: Mapping[str, NDArray[np.bool_]],
    layer: str,
    wanted: int | None,
) -> tuple[dict[str, NDArray[np.int64]], list[str]]:
    """Choose the kernels that a metric ranks highest, and as many of every other metric.

    `scores` (kernels,) are those of all compared metrics, `selected` (kernels,) is what each
    selects that is no baseline; `wanted` says how many; None: the smallest count that any metric
    selects, but for none. Returns each metric's kernels, best first, none where none of `metric`
    can be decoded, and a line where they are not as many as wanted, or not selected. A metric that
    scores fewer is left out, with a line.
    """
    counts = {name: int(mask.sum()) for name, mask in selected.items()}
    kernels = wanted or min(filter(None, counts.values()), default=0)
    top, notes = find_top(scores[metric], kernels), []
    if not kernels:
        return {}, [
            "decoding: no metric selects a kernel here; set decoding.kernels to decode from that "
            "many of the highest-ranked"
        ]
    if not len(top):
        return {}, [f"decoding: no kernel of {layer} has a score by {metric}"]
    if len(top) < kernels:
        notes.append(
            f"only {len(top)} kernels of {layer} have a score by {metric}; "
            f"decoded from these, not from {kernels}"
        )
    elif counts.get(metric) == 0:
        notes.append(f"{metric} selects no kernel; decoded from its {kernels} highest-ranked")
    tops = {name: find_top(score, len(top)) for name, score in scores.items()}
    for name in [name for name, each in tops.items() if len(each) < len(top)]:
        notes.append(
            f"not compared with {name}, by which {len(tops.pop(name))} kernels have a score"
        )
    return tops, [f"decoding: {each}" for each in notes]


def check_kernels(settings: Settings, kernels: int, layer: str) -> None:
    """Refuse more kernels than a layer has."""
    for name, asked in (("kernels", settings.kernels), ("fixed", settings.fixed)):
        if (asked or 0) > kernels:
            raise InputError(
                f"decoding.{name}={asked}, but {layer} has {kernels} kernels: ask for so many at "
                "most, or leave it out"
            )


def note_identities(identities: Sequence[str]) -> list[str]:
    """Say in a line each what to know where identities differ in images, or are few."""
    counts = Counter(identities).values()
    fewest, most, notes = min(counts), max(counts), []
    if fewest < most:
        notes.append(
            f"decoding: identities have {fewest} to {most} images; each one's are dealt over "
            f"{fewest} folds, and accuracy is the mean over identities"
        )
    if len(counts) < FEW:
        notes.append(
            f"decoding: over {len(counts)} identities intervals are too narrow: a bootstrap's 95 % "
            "of ten contain the truth in about 90 % of cases, of five in 80 %"
        )
    return notes


def decode_identity(
    features: NDArray[np.float32],
    identities: Sequence[str],
    tops: Mapping[str, NDArray[np.int64]],
    settings: Settings,
    seed: int,
    memo: Memo,
) -> Decoded:
    """Decode identity from each metric's kernels, from as many random ones, and from all.

    `features` (images, kernels) are the responses of all kernels; `tops` has equally many kernels
    of each metric. The memo remembers each decoding, so that jobs of several metrics share them.
    """
    classifier, draws = Classifier(settings.name, settings.penalty), settings.random_draws
    (count,) = {len(top) for top in tops.values()}
    known = tuple(sorted(set(identities)))
    everything = memo(decode, features, identities, classifier)
    return Decoded(
        known,
        {
            metric: memo(decode, features[:, np.sort(top)], identities, classifier)
            for metric, top in tops.items()
        },
        memo(decode_random, features, identities, count, draws, seed, classifier),
        everything,
        draw_again(len(known), [seed, 0]),
        draw_again(len(everything.hits), [seed, 1]),
    )


def decode_set(
    features: NDArray[np.float32],
    identities: Sequence[str],
    settings: Settings,
    memo: Memo,
    kernels: NDArray[np.bool_],
) -> float:
    """Decode identity from a set of kernels (kernels,): the accuracy, 0 … 1."""
    classifier = Classifier(settings.name, settings.penalty)
    return memo(decode, features[:, kernels], identities, classifier).accuracy


def why_not_decoded(
    settings: Settings, layer: str, aggregation: str, recorded: Images | None = None
) -> str | None:
    """One line where decoding does not apply to a run with these settings, else None.

    `recorded` is what a recording was shown with an identity; None: there is no recording.
    """
    if settings.name == "none":
        return "decoding: switched off (decoding=none)"
    if recorded is not None and not len(recorded):
        return "decoding: of no presentation of the recording an identity is known"
    if recorded is not None:
        try:
            assign_folds(recorded.labels)
        except InputError as error:
            return f"decoding: {str(error).removeprefix('decoding ')}"
    if aggregation == "unit" and recorded is None:
        return "decoding: kernels are decoded, not single units; take aggregation=mean, l2 or max"
    if settings.layers is not None and layer not in settings.layers:
        return f"decoding: {layer} is not one of decoding.layers={settings.layers}"
    return None
