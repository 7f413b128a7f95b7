import re
import warnings
from dataclasses import replace

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
    draw_again,
    find_top,
    note_identities,
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


@pytest.mark.parametrize("images", [2, 5, 10])
def test_corrected_interval_is_nadeau_and_bengios(images):
    """Their formula, with the sizes of the folds counted."""
    features, names = faces(1.0, images=images, identities=20)
    result, fold = decode(features, names), assign_folds(names)
    tested = [np.mean(fold == number) for number in range(images)]
    (ratio,) = {round(part / (1 - part), 12) for part in tested}
    variance = np.var(result.folds, ddof=1) * (1 / images + ratio)
    half = stats.t.ppf(0.975, images - 1) * np.sqrt(variance)
    expected = max(result.accuracy - half, 0), min(result.accuracy + half, 1)
    assert result.corrected_ci95 == pytest.approx(expected)
    assert result.corrected_ci95[1] >= result.ci95[1]


@pytest.mark.parametrize("noise", [0.0, 0.4, 3.0])
def test_interval_stays_among_probabilities(noise):
    result = decode(*faces(noise, images=2))
    for low, high in (result.ci95, result.corrected_ci95):
        assert 0 <= low <= result.accuracy <= high <= 1


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
    rows = []
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
        rows.append([np.mean(right[name]) for name in sorted(right)])
    result = decode(features, names)
    np.testing.assert_allclose(result.hits, rows)
    np.testing.assert_allclose(result.folds, np.mean(rows, axis=1))


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
    many = [f"id{number}" for number in range(20)]
    assert note_identities(many * 2) == []
    (told,) = note_identities([*many, *many, "id0"])
    assert told.startswith("decoding: ") and "2 to 3 images" in told and "2 folds" in told


def test_few_identities_are_told():
    (told,) = note_identities(["a", "b", "a", "b"])
    assert told.startswith("decoding: over 2 identities intervals are too narrow")


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
    expected = [decode(features[:, kernels], names).hits for kernels in drawn]
    np.testing.assert_array_equal(result, expected)
    assert len({each.mean() for each in expected}) > 1
    again = decode_random(features, names, 2, 5, 7)
    np.testing.assert_array_equal(again, result)
    assert decode_random(features, names, 2, 5, 8).tolist() != result.tolist()


def test_all_kernels_drawn_at_random_are_all_kernels():
    features, names = faces(1.0)
    result = decode_random(features, names, 6, 3, 0, classifier=Classifier(penalty=0.01))
    every = decode(features, names, classifier=Classifier(penalty=0.01))
    assert result.tolist() == [every.hits.tolist()] * 3


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
    scores = dict.fromkeys(counts, -score) | {"fsi": score}
    tops, notes = choose_kernels("fsi", scores, selected, "conv13", wanted)
    assert list(tops) == (list(scores) if expected else [])
    for name, top in tops.items():
        last = list(range(9, 9 - expected, -1))
        assert top.tolist() == (last if name == "fsi" else list(range(expected)))
    assert notes == [] if said is None else re.match(f"decoding: {said}", notes[0])


def test_no_kernel_has_a_score():
    scores, none = {"fsi": np.full(3, np.nan)}, {"fsi": np.zeros(3, bool)}
    assert choose_kernels("fsi", scores, none, "conv1", 2) == (
        {},
        ["decoding: no kernel of conv1 has a score by fsi"],
    )


def test_a_baseline_is_decoded_and_does_not_say_how_many():
    """What is selected by it is not among what is selected."""
    scores = {"fsi": np.arange(9.0), "mean": -np.arange(9.0)}
    selected = {"fsi": np.arange(9) > 4}
    for metric in scores:
        tops, notes = choose_kernels(metric, scores, selected, "conv1", None)
        assert {name: len(top) for name, top in tops.items()} == {"fsi": 4, "mean": 4}
        assert not notes


def test_a_metric_that_scores_fewer_kernels_is_not_compared():
    scores = {"fsi": np.arange(5.0), "dprime": np.array([1, np.nan, np.nan, np.nan, 2])}
    selected = {name: np.ones(5, bool) for name in scores}
    tops, notes = choose_kernels("fsi", scores, selected, "conv1", 3)
    assert list(tops) == ["fsi"]
    assert notes == ["decoding: not compared with dprime, by which 2 kernels have a score"]


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


@pytest.fixture(scope="module")
def decoded() -> Decoded:
    features, names = faces(1.0, identities=12, kernels=9)
    return Decoded(
        tuple(sorted(set(names))),
        {"fsi": decode(features[:, :4], names), "dprime": decode(features[:, 3:7], names)},
        decode_random(features, names, 4, 3, 0),
        decode(features, names),
        draw_again(12, [3, 0]),
        draw_again(decode(features, names).hits.shape[0], [3, 1]),
    )


def by_drawing_both(apart: np.ndarray, decoded: Decoded) -> list[float]:
    """The interval of a paired difference (folds, identities), each draw written out."""
    means = []
    for folds, persons in zip(decoded.fold_resamples, decoded.resamples, strict=True):
        drawn = apart[np.repeat(np.arange(len(folds)), folds)]
        means.append(drawn[:, np.repeat(np.arange(len(persons)), persons)].mean())
    return [float(np.percentile(means, percent)) for percent in (2.5, 97.5)]


def by_resampling(values: list[float], resamples: np.ndarray) -> list[float]:
    """The interval of a mean: each resample written out, identity by identity."""
    means = []
    for drawn in resamples:
        people = [value for value, times in zip(values, drawn, strict=True) for _ in range(times)]
        means.append(sum(people) / len(people))
    return [float(np.percentile(means, percent)) for percent in (2.5, 97.5)]


def test_what_is_logged(decoded):
    own, other = decoded.by_metric.values()
    found, resamples = decoded.metrics("fsi"), decoded.resamples
    persons = range(12)
    of_own = [float(np.mean(own.hits[:, person])) for person in persons]
    beside = {"dprime": other.hits, "random_kernels": decoded.random_kernels.mean(axis=0)}
    expected = {
        "decoding/accuracy": np.mean(own.folds),
        "decoding/ci95": own.ci95,
        "decoding/accuracy_corrected_ci95": own.corrected_ci95,
        "decoding/accuracy_identities_ci95": by_resampling(of_own, resamples),
        "decoding/kernels": 4,
        "decoding/chance": 1 / 12,
        "decoding/random_kernels": decoded.random_kernels.mean(axis=(1, 2)).mean(),
        "decoding/all_kernels": decoded.all_kernels.accuracy,
    }
    for name, hits in beside.items():
        expected[f"decoding/difference_{name}"] = np.mean(own.hits - hits)
        expected[f"decoding/difference_{name}_ci95"] = by_drawing_both(own.hits - hits, decoded)
    for name in [name for name in expected if name.endswith("ci95")]:
        expected[f"{name}_low"], expected[f"{name}_high"] = expected.pop(name)
    assert found == pytest.approx(expected)
    assert (
        found["decoding/difference_dprime_ci95_low"] < found["decoding/difference_dprime_ci95_high"]
    )


def test_a_difference_is_the_same_from_both_sides(decoded):
    there, back = decoded.metrics("fsi"), decoded.metrics("dprime")
    assert there["decoding/difference_dprime"] == -back["decoding/difference_fsi"] != 0
    ends = [there[f"decoding/difference_dprime_ci95_{end}"] for end in ("low", "high")]
    again = [-back[f"decoding/difference_fsi_ci95_{end}"] for end in ("high", "low")]
    assert ends == pytest.approx(again)


def test_paired_differences_are_surer_than_their_parts(decoded):
    """Identities that are hard are hard from both sets of kernels."""
    same = replace(decoded, by_metric={"fsi": decoded.all_kernels, "dprime": decoded.all_kernels})
    found = same.metrics("fsi")
    assert found["decoding/difference_dprime_ci95_low"] == 0
    assert found["decoding/difference_dprime_ci95_high"] == 0
    low, high = (found[f"decoding/accuracy_identities_ci95_{end}"] for end in ("low", "high"))
    assert low < found["decoding/accuracy"] < high


def test_resamples_are_drawn_with_replacement_from_the_seed():
    drawn = draw_again(50, [1], resamples=4000)
    assert drawn.shape == (4000, 50) and (drawn.sum(axis=1) == 50).all()
    # How often one is drawn is binomial, of mean 1 and variance 1 - 1/50.
    assert drawn.mean() == 1 and drawn.var() == pytest.approx(1 - 1 / 50, abs=0.02)
    np.testing.assert_array_equal(drawn, draw_again(50, [1], resamples=4000))
    assert (drawn != draw_again(50, [2], resamples=4000)).any()
    assert len(draw_again(3, [0])) == 1000


@pytest.mark.slow
def test_intervals_over_identities_contain_the_truth_as_often_as_they_say():
    """Of identities that are named right with probabilities of their own, 0.8 on average."""
    random, inside = np.random.default_rng(0), 0
    for seed in range(300):
        chances = random.beta(8, 2, 60)
        hits = (random.random((10, 60)) < chances).astype(float)
        one = Decoding(hits, 1)
        drawn = draw_again(60, [seed, 0]), draw_again(10, [seed, 1])
        everything = Decoded(("x",) * 60, {"fsi": one}, hits[None], one, *drawn)
        found = everything.metrics("fsi")
        low, high = (found[f"decoding/accuracy_identities_ci95_{end}"] for end in ("low", "high"))
        inside += low <= 0.8 <= high
    assert 0.91 <= inside / 300 <= 0.98


def test_the_table_has_a_row_a_fold_and_identity(decoded):
    table = decoded.table()
    columns = ["fold", "identity", "fsi", "dprime", "random_kernels", "all_kernels"]
    assert list(table.columns) == columns and len(table) == 5 * 12
    row = table[(table["fold"] == 2) & (table["identity"] == decoded.identities[7])].iloc[0]
    assert row["fsi"] == decoded.by_metric["fsi"].hits[2, 7]
    assert row["random_kernels"] == decoded.random_kernels[:, 2, 7].mean()
    by_fold = table.groupby("fold")["all_kernels"].mean()
    np.testing.assert_allclose(by_fold, decoded.all_kernels.folds)
