import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from app.errors import InputError
from app.findings import svm
from app.findings.decoding import (
    chance,
    decode,
    decode_random,
    equal_count,
    folds,
    standard,
    top,
    uneven,
)


def faces(noise, identities=8, images=5, kernels=6, seed=0):
    """Features and identities, the images of all identities mixed."""
    random = np.random.default_rng(seed)
    names = random.permutation([f"id{i}" for i in range(identities) for _ in range(images)])
    centres = {name: random.normal(size=kernels) for name in sorted(set(names))}
    features = np.stack([centres[name] for name in names])
    return features + noise * random.normal(size=features.shape), names.tolist()


@settings(deadline=None)
@given(st.lists(st.integers(2, 5), min_size=2, max_size=6), st.integers(0, 2**32 - 1))
def test_folds(counts, seed):
    names = [f"id{i}" for i, count in enumerate(counts) for _ in range(count)]
    names = np.random.default_rng(seed).permutation(names)
    result = folds(names.tolist())
    for name, count in zip(*np.unique(names, return_counts=True), strict=True):
        assert result[names == name].tolist() == [k % min(counts) for k in range(count)]
        left_out = np.bincount(result[names == name], minlength=min(counts))
        assert left_out.sum() == count and np.ptp(left_out) <= 1 and left_out.min() >= 1


@pytest.mark.parametrize(
    ("identities", "message"),
    [
        ([], "two identities or more, but there are 0"),
        (["a", "a"], "two identities or more, but there are 1"),
        (["a", "a", "b"], "'b' has one image"),
    ],
)
def test_folds_refused(identities, message):
    with pytest.raises(InputError, match=message):
        folds(identities)


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_against_sklearn(noise, penalty):
    features, names = faces(noise)
    features[:, 2] = 7  # does not vary
    result = decode(features.astype(np.float32), names, penalty=penalty)
    expected = cross_val_score(
        make_pipeline(StandardScaler(), SVC(kernel="linear", C=penalty)),
        features.astype(np.float32).astype(np.float64),
        names,
        cv=PredefinedSplit(folds(names)),
    )
    np.testing.assert_allclose(result.folds, expected)
    assert result.accuracy == pytest.approx(expected.mean())
    assert result.kernels == 6


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=(50, 6)) * 10.0 ** np.arange(-3, 3) + 1e4,
        np.full((9, 3), 0.1),  # whose mean is off by rounding
        1e6 + 1e-10 * np.random.default_rng(0).normal(size=(9, 3)),
        np.repeat([[0.0], [7.0]], [8, 1], axis=0),
    ],
)
def test_standard_scaler(values):
    mean, deviation = standard(values)
    scaler = StandardScaler().fit(values)
    np.testing.assert_allclose(mean, scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose(deviation, scaler.scale_, rtol=1e-12)


def test_interval_is_students_over_folds():
    result = decode(*faces(1.0))
    assert result.folds.std() > 0
    expected = stats.ttest_1samp(result.folds, 0).confidence_interval(0.95)
    low, high = result.ci95
    assert (low, high) == pytest.approx((max(expected.low, 0), min(expected.high, 1)))
    assert low < result.accuracy < high


@pytest.mark.parametrize("noise", [0.0, 0.4, 3.0])
def test_interval_stays_among_probabilities(noise):
    result = decode(*faces(noise, images=2))
    assert 0 <= result.ci95[0] <= result.accuracy <= result.ci95[1] <= 1


def test_separable_is_perfect_and_noise_is_chance():
    features, names = faces(0.0)
    assert decode(features, names).accuracy == 1
    features, names = faces(0.0, identities=20, images=10)
    noise = np.random.default_rng(1).normal(size=features.shape)
    assert decode(noise, names).accuracy == pytest.approx(chance(names), abs=0.05)


def test_scale_and_silent_kernels_do_not_matter():
    features, names = faces(1.0)
    scaled = features * 10.0 ** np.arange(-3, 3) + 5
    silent = np.concatenate([scaled, np.zeros((len(names), 3))], axis=1)
    np.testing.assert_array_equal(decode(silent, names).folds, decode(features, names).folds)


def test_a_kernel_that_varies_only_in_the_images_left_out_counts_for_nothing():
    features, names = faces(1.0)
    fold = folds(names)
    odd = np.where(fold == 0, 1e6, 0)[:, None]
    with_odd = decode(np.concatenate([features, odd], axis=1), names)
    assert with_odd.folds[0] == decode(features, names).folds[0]


def some_of(features, names, counts):
    """The first images of each identity, so many of each."""
    kept = np.zeros(len(names), dtype=bool)
    for name, count in counts.items():
        kept[np.flatnonzero(np.array(names) == name)[:count]] = True
    return features[kept], np.array(names)[kept].tolist()


COUNTS = {"id0": 3, "id1": 9, "id2": 4, "id3": 20, "id4": 3, "id5": 5, "id6": 6, "id7": 7}


@pytest.mark.parametrize("noise", [0.3, 1.0, 2.0])
def test_unequal_counts_against_sklearn(noise):
    features, names = some_of(*faces(noise, images=20), COUNTS)
    result = decode(features, names)
    expected = cross_val_score(
        make_pipeline(StandardScaler(), SVC(kernel="linear")),
        features,
        names,
        cv=PredefinedSplit(folds(names)),
        scoring="balanced_accuracy",
    )
    assert len(result.folds) == 3
    np.testing.assert_allclose(result.folds, expected)


def test_unequal_counts_against_a_plain_loop():
    features, names = some_of(*faces(1.5, images=20), COUNTS)
    seen = {name: 0 for name in COUNTS}
    fold = []
    for name in names:
        fold.append(seen[name] % 3)
        seen[name] += 1
    accuracies = []
    for number in range(3):
        train = [i for i, f in enumerate(fold) if f != number]
        scaler = StandardScaler().fit(features[train])
        machine = SVC(kernel="linear").fit(
            scaler.transform(features[train]), [names[i] for i in train]
        )
        right = {name: [] for name in COUNTS}
        for i, f in enumerate(fold):
            if f == number:
                said = machine.predict(scaler.transform(features[[i]]))[0]
                right[names[i]].append(said == names[i])
        accuracies.append(np.mean([np.mean(hits) for hits in right.values()]))
    np.testing.assert_allclose(decode(features, names).folds, accuracies)


def test_chance_is_reached_by_guessing_however_uneven_the_counts():
    """Features that say nothing: the largest identity is guessed, which must not pay."""
    names = ["big"] * 300 + [f"id{i}" for i in range(9) for _ in range(3)]
    result = decode(np.zeros((len(names), 2)), names)
    assert result.accuracy == pytest.approx(chance(names))
    assert np.mean(np.array(names) == "big") > 0.9


def test_equal_counts_give_the_share_of_all_images():
    """To the bit what the mean over images gives: with one image of each, nothing is weighed."""
    features, names = faces(1.0, identities=13, images=7)
    values, fold = features.astype(np.float64), folds(names)
    codes = np.unique(names, return_inverse=True)[1]
    expected = []
    for number in range(7):
        train, test = fold != number, fold == number
        mean, scale = standard(values[train])
        train_values, test_values = (values[train] - mean) / scale, (values[test] - mean) / scale
        named = svm.classify(train_values, codes[train], test_values)
        expected.append(float(np.mean(named == codes[test])))
    assert decode(features, names).folds.tolist() == expected


def test_uneven_counts_are_told():
    assert uneven(["a", "b", "a", "b"]) is None
    told = uneven(["a", "b", "a", "b", "b"])
    assert told is not None and "2 to 3 images" in told and "2 folds" in told


def test_threads_and_repeats_change_nothing():
    features, names = faces(1.0)
    runs = [decode(features, names, threads=threads) for threads in (1, 2, 4, None)]
    for run in runs[1:]:
        np.testing.assert_array_equal(run.folds, runs[0].folds)


def test_not_finite():
    features, names = faces(1.0)
    features[3, 2] = np.nan
    with pytest.raises(InputError, match="1 features .* NaN"):
        decode(features, names)


@pytest.mark.parametrize("shape", [(39, 6), (40, 0), (40,)])
def test_features_of_another_shape(shape):
    _, names = faces(1.0)
    with pytest.raises(ValueError, match="40 images"):
        decode(np.ones(shape), names)


def test_random_kernels():
    features, names = faces(1.0)
    calls = []
    result = decode_random(features, names, 2, 5, 7, 1.0, calls.append)
    random = np.random.default_rng(7)
    drawn = [np.sort(random.choice(6, 2, replace=False)) for _ in range(5)]
    expected = [decode(features[:, kernels], names).accuracy for kernels in drawn]
    np.testing.assert_array_equal(result.draws, expected)
    assert len(set(expected)) > 1
    assert result.accuracy == pytest.approx(np.mean(expected))
    assert result.kernels == 2
    assert calls == [1] * 5
    again = decode_random(features, names, 2, 5, 7)
    np.testing.assert_array_equal(again.draws, result.draws)
    assert decode_random(features, names, 2, 5, 8).draws.tolist() != result.draws.tolist()


def test_all_kernels_drawn_at_random_are_all_kernels():
    features, names = faces(1.0)
    result = decode_random(features, names, 6, 3, 0, penalty=0.01)
    assert result.draws.tolist() == [decode(features, names, penalty=0.01).accuracy] * 3


@pytest.mark.parametrize(("count", "draws"), [(0, 3), (7, 3), (2, 0)])
def test_random_kernels_refused(count, draws):
    features, names = faces(1.0)
    with pytest.raises(InputError, match=f"cannot draw {count} of 6 kernels {draws} times"):
        decode_random(features, names, count, draws, 0)


def test_chance():
    assert chance(["a", "b", "b", "c", "a", "d"]) == 0.25


@pytest.mark.parametrize(
    ("counts", "expected"),
    [({"fsi": 9, "dprime": 4, "ttest": 0}, 4), ({"fsi": 0}, 0), ({}, 0)],
)
def test_equal_count(counts, expected):
    assert equal_count(counts) == expected


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0, np.nan]), max_size=30), st.integers(0, 35)
)
def test_top(score, count):
    defined = [unit for unit, value in enumerate(score) if not np.isnan(value)]
    expected = sorted(defined, key=lambda unit: (-score[unit], unit))[:count]
    assert top(np.array(score), count).tolist() == expected
