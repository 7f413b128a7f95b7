import re
import warnings

import joblib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from app import choices
from app.errors import InputError
from app.findings.decoding import (
    Classifier,
    Decoded,
    Decoding,
    assign_folds,
    chance,
    choose_kernels,
    decode,
    decode_random,
    find_top,
    note_folds,
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
    result = assign_folds(names.tolist())
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
        assign_folds(identities)


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_against_sklearn(noise, penalty):
    features, names = faces(noise)
    features[:, 2] = 7  # does not vary
    result = decode(features.astype(np.float32), names, Classifier("svm", penalty))
    expected = cross_val_score(
        make_pipeline(StandardScaler(), SVC(kernel="linear", C=penalty)),
        features.astype(np.float32).astype(np.float64),
        names,
        cv=PredefinedSplit(assign_folds(names)),
    )
    np.testing.assert_allclose(result.folds, expected)
    assert result.accuracy == pytest.approx(expected.mean())
    assert result.kernels == 6


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
    fold = assign_folds(names)
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
        cv=PredefinedSplit(assign_folds(names)),
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
    features, names = faces(1.0, identities=13, images=7)
    expected = cross_val_score(
        make_pipeline(StandardScaler(), SVC(kernel="linear")),
        features,
        names,
        cv=PredefinedSplit(assign_folds(names)),
    )
    np.testing.assert_allclose(decode(features, names).folds, expected)


def test_uneven_counts_are_told():
    assert note_folds(["a", "b", "a", "b"]) == []
    (told,) = note_folds(["a", "b", "a", "b", "b"])
    assert told.startswith("decoding: ") and "2 to 3 images" in told and "2 folds" in told


def test_threads_and_repeats_change_nothing():
    features, names = faces(1.0)
    runs = [decode(features, names)]
    for threads in (1, 2, 4):
        with joblib.parallel_config("threading", n_jobs=threads):
            runs.append(decode(features, names))
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
    with pytest.raises(ValueError):  # scikit-learn says what is wrong
        decode(np.ones(shape), names)


def test_random_kernels():
    features, names = faces(1.0)
    result = decode_random(features, names, 2, 5, 7)
    random = np.random.default_rng(7)
    drawn = [np.sort(random.choice(6, 2, replace=False)) for _ in range(5)]
    expected = [decode(features[:, kernels], names).accuracy for kernels in drawn]
    np.testing.assert_array_equal(result, expected)
    assert len(set(expected)) > 1
    again = decode_random(features, names, 2, 5, 7)
    np.testing.assert_array_equal(again, result)
    assert decode_random(features, names, 2, 5, 8).tolist() != result.tolist()


def test_all_kernels_drawn_at_random_are_all_kernels():
    features, names = faces(1.0)
    result = decode_random(features, names, 6, 3, 0, classifier=Classifier(penalty=0.01))
    assert (
        result.tolist()
        == [decode(features, names, classifier=Classifier(penalty=0.01)).accuracy] * 3
    )


def test_chance():
    assert chance(["a", "b", "b", "c", "a", "d"]) == 0.25


@pytest.mark.parametrize(
    ("counts", "wanted", "expected", "said"),
    [
        ({"fsi": 9, "dprime": 4, "ttest": 0}, None, 4, None),
        ({"fsi": 9, "dprime": 4}, 6, 6, None),
        ({"fsi": 0, "dprime": 4}, None, 4, "fsi selects no kernel; decoded from its 4 highest"),
        ({"fsi": 9}, 11, 10, "only 10 kernels of conv13 have a score by fsi; .* not from 11"),
        ({"fsi": 0}, None, 0, "no metric selects a kernel here; set decoding.kernels"),
    ],
)
def test_as_many_kernels_of_every_metric(counts, wanted, expected, said):
    score = np.array([*np.arange(10.0), np.nan, np.nan])
    selected = {name: np.arange(12) < count for name, count in counts.items()}
    top, notes = choose_kernels("fsi", score, selected, "conv13", wanted)
    assert top.tolist() == list(range(9, 9 - expected, -1))
    assert notes == [] if said is None else re.match(f"decoding: {said}", notes[0])


def test_no_kernel_has_a_score():
    top, notes = choose_kernels("fsi", np.full(3, np.nan), {"fsi": np.zeros(3, bool)}, "conv1", 2)
    assert len(top) == 0 and notes == ["decoding: no kernel of conv1 has a score by fsi"]


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.5, 2.0, np.nan]), max_size=30), st.integers(0, 35)
)
def test_top(score, count):
    defined = [unit for unit, value in enumerate(score) if not np.isnan(value)]
    expected = sorted(defined, key=lambda unit: (-score[unit], unit))[:count]
    assert find_top(np.array(score), count).tolist() == expected


def plain_nearest(train, people, test):
    """The identity of the nearest mean, of standardised features."""
    mean, sd = train.mean(axis=0), train.std(axis=0)
    sd[sd == 0] = 1
    known = sorted(set(people))
    centres = [((train - mean) / sd)[np.array(people) == name].mean(axis=0) for name in known]
    return [known[np.argmin([np.sum((x - c) ** 2) for c in centres])] for x in (test - mean) / sd]


def test_nearest_centroid_against_a_plain_loop():
    features, names = faces(1.5)
    features[:, 3] = 7  # silent: nothing is said of it
    fold, people = assign_folds(names), np.array(names)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = decode(features, names, Classifier("nearest_centroid", None))
    for number in range(5):
        train, test = fold != number, fold == number
        named = plain_nearest(features[train], people[train].tolist(), features[test])
        assert result.folds[number] == pytest.approx(np.mean(named == people[test]))


@pytest.mark.parametrize("name", choices.DECODERS)
def test_every_classifier_names_faces_and_none_names_noise(name):
    classifier = Classifier(name, 1.0 if name in choices.PENALISED else None)
    features, names = faces(0.3, identities=10)
    features[:, 2] = 0
    assert decode(features, names, classifier).accuracy > 0.9
    noise = np.random.default_rng(1).normal(size=(len(names), 6))
    assert decode(noise, names, classifier).accuracy < 0.4
    with joblib.parallel_config("threading", n_jobs=3):
        side_by_side = decode(features, names, classifier)
    np.testing.assert_array_equal(side_by_side.folds, decode(features, names, classifier).folds)


def test_those_with_a_penalty_are_given_it():
    made = {name: Classifier(name, 7.0).make().get_params() for name in choices.DECODERS}
    penalised = [name for name, options in made.items() if options.get("C") == 7]
    assert tuple(penalised) == choices.PENALISED


def test_what_is_logged():
    chosen = Decoding(np.array([0.5, 0.7]), 3)
    random, every = np.array([0.1, 0.2]), Decoding(np.array([1.0, 1.0]), 9)
    assert Decoded(chosen, random, every, 0.25).metrics() == pytest.approx(
        {
            "decoding/accuracy": 0.6,
            "decoding/ci95_low": 0.0,
            "decoding/ci95_high": 1.0,
            "decoding/kernels": 3,
            "decoding/chance": 0.25,
            "decoding/random_kernels": 0.15,
            "decoding/all_kernels": 1.0,
        }
    )
