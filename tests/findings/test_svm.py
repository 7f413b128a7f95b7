import platform
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.svm import SVC

from app.findings.svm import TOLERANCE, classify, decision_values, fit

# Elsewhere compilers fuse multiplications and additions of LIBSVM: other bits, other steps.
same_bits = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="LIBSVM rounds otherwise here"
)


@st.composite
def problems(draw):
    """Training samples, their labels, and tests: of few values, so that all is full of ties.

    Classes of one sample up to eight, samples that are there twice, in one class or in two, and
    features that do not vary. Values are eighths, so that products and their sums are exact in
    whatever order they are taken, in single precision too.
    """
    sizes = draw(st.lists(st.integers(1, 8), min_size=2, max_size=5))
    features, tests = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    limit = draw(st.sampled_from([1, 2, 16]))
    values = arrays(np.int64, (sum(sizes) + tests, features), elements=st.integers(-limit, limit))
    samples = draw(values) / 8.0 * draw(st.sampled_from([1, 4]))
    samples[:, draw(arrays(np.bool_, features))] = 0
    labels = np.repeat(np.arange(len(sizes)), sizes)
    np.random.default_rng(draw(st.integers(0, 2**32 - 1))).shuffle(labels)
    return samples[: len(labels)], labels, np.concatenate([samples, samples[:-1] + 0.125])


def faces(features, noise, identities=100, images=10):
    """Standardised features (identities * images, features), and the identity of each."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(identities), images)
    centres = random.normal(size=(identities, features))
    return (centres[labels] + noise * random.normal(size=(len(labels), features))) / 2, labels


def libsvm(train, labels, test, penalty, **options):
    """scikit-learn's decision values (pairs, tests) and predictions (tests,)."""
    machine = SVC(kernel="linear", C=penalty, decision_function_shape="ovo", **options)
    machine.fit(train, labels)
    values = machine.decision_function(test)
    # Of two classes scikit-learn has positive values vote for the second.
    return -values[None] if values.ndim == 1 else values.T, machine.predict(test)


def assert_alike(train, labels, test, penalty):
    """Both take the same steps: scikit-learn without shrinking, which ends elsewhere."""
    expected, named = libsvm(train, labels, test, penalty, shrinking=False)
    values = decision_values(fit(train, labels, penalty), test)
    np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-9)
    sure = (np.abs(expected) > 1e-9).all(axis=0)
    np.testing.assert_array_equal(classify(train, labels, test, penalty)[sure], named[sure])


def optimality(machines, penalty):
    """Asserts the conditions of Karush, Kuhn and Tucker for each machine, to the tolerance."""
    starts, samples = machines.starts, machines.samples
    for number, (first, second) in enumerate(combinations(range(len(machines.classes)), 2)):
        ones = np.arange(starts[first], starts[first + 1])
        members = np.concatenate([ones, np.arange(starts[second], starts[second + 1])])
        y = np.where(np.arange(len(members)) < len(ones), 1, -1)
        weights = machines.weights[number, : len(members)]
        assert not machines.weights[number, len(members) :].any()
        alpha = y * weights
        assert alpha.min() >= 0
        assert alpha.max() <= penalty
        assert weights.sum() == pytest.approx(0, abs=1e-12 * penalty * len(y))
        kernel = samples[members] @ samples[members].T
        # The kernel has 24 bits.
        slack = 2.0**-23 * np.abs(kernel).max() * alpha.sum() + 1e-9
        residual = y - kernel @ weights
        can_rise = np.where(y > 0, alpha < penalty, alpha > 0)
        can_fall = np.where(y > 0, alpha > 0, alpha < penalty)
        top = residual[can_rise].max(initial=-np.inf)
        bottom = residual[can_fall].min(initial=np.inf)
        assert top - bottom < TOLERANCE + slack
        free = can_rise & can_fall
        middle = residual[free].mean() if free.any() else (top + bottom) / 2
        assert machines.thresholds[number] == pytest.approx(-middle, abs=slack)


@same_bits
@settings(deadline=None)
@given(problems(), st.sampled_from([0.01, 1.0, 100.0]))
def test_the_steps_are_those_of_libsvm(problem, penalty):
    assert_alike(*problem, penalty)


@same_bits
@pytest.mark.parametrize("sizes", [(150, 2, 40), (1, 130), (33, 32, 31, 30)])
@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_classes_of_any_size(sizes, penalty):
    random = np.random.default_rng(0)
    labels = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    samples = random.integers(-16, 17, size=(len(labels), 3)) / 8 + labels[:, None]
    assert_alike(samples, labels, random.integers(-16, 17, size=(70, 3)) / 8, penalty)


@settings(deadline=None)
@given(problems(), st.sampled_from([0.01, 1.0, 100.0]))
def test_weights_are_optimal(problem, penalty):
    train, labels, _ = problem
    optimality(fit(train, labels, penalty), penalty)


@pytest.mark.parametrize(("features", "noise"), [(12, 0.7), (128, 2.0)])
def test_identities(features, noise):
    """100 identities, 10 images: scikit-learn's own way names the same in every fold."""
    samples, labels = faces(features, noise)
    fold = np.arange(len(labels)) % 10
    hits = []
    for number in range(10):
        train, test = fold != number, fold == number
        problem = samples[train], labels[train], samples[test]
        expected, named = libsvm(*problem, 1.0)
        np.testing.assert_array_equal(classify(*problem), named)
        hits.append(np.mean(named == labels[test]))
    assert 0.5 < np.mean(hits) < 0.99  # neither for want of errors nor of right answers
    machines = fit(*problem[:2])
    off = np.abs(decision_values(machines, problem[2]) - expected).max(axis=1)
    assert np.mean(off > 1e-9) < 0.01  # machines that shrinking ends elsewhere
    assert off.max() < 0.05
    optimality(machines, 1.0)


def test_votes():
    """Most votes win; of three classes with a vote each, the first. Labels come as they are."""
    angles = np.radians([90, 210, 330])
    train = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    labels = np.array(["c", "a", "b"])
    assert classify(train, labels, train).tolist() == ["c", "a", "b"]
    machines = fit(train, labels)
    assert machines.classes.tolist() == ["a", "b", "c"]
    # Each decision value is one class's weight times the difference of two coordinates.
    values = decision_values(machines, np.zeros((1, 2)))
    np.testing.assert_allclose(values, 0, atol=1e-12)
    undecided = classify(np.eye(3), [0, 1, 2], np.zeros((1, 3)))  # 0 is a vote for the second
    assert undecided.tolist() == [2]
    same = np.ones((6, 2))
    assert (
        classify(same, [7, 7, 4, 4, 5, 5], same[:1]).tolist()
        == libsvm(same, [7, 7, 4, 4, 5, 5], same[:1], 1.0)[1].tolist()
    )


def test_one_sample_in_two_classes():
    """Nothing tells them apart: the weights go as far as they may."""
    machines = fit(np.ones((2, 3)), ["a", "b"], 1e6)
    np.testing.assert_array_equal(machines.weights, [[1e6, -1e6]])
    np.testing.assert_array_equal(machines.thresholds, [0])


def test_classes_may_be_mixed():
    samples, labels = faces(12, 0.7, identities=9, images=7)
    order = np.argsort(np.argsort(labels, kind="stable") % 7, kind="stable")  # image by image
    mixed = fit(np.asfortranarray(samples[order]), labels[order])
    for one, other in zip(mixed, fit(samples, labels), strict=True):
        np.testing.assert_array_equal(one, other)


def test_threads_and_repeats_change_nothing():
    samples, labels = faces(37, 1.0, identities=30)

    def values(_):
        return decision_values(fit(samples[::2], labels[::2]), samples[1::2])

    with ThreadPoolExecutor(4) as pool:
        runs = list(pool.map(values, range(8)))
    for run in runs[1:]:
        np.testing.assert_array_equal(run, runs[0])


def test_no_tests():
    assert classify(np.eye(2), [0, 1], np.empty((0, 2))).shape == (0,)
