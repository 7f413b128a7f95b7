"""Linear support vector machines for all pairs of many small classes, fitted as LIBSVM does.

These are the C-SVC of LIBSVM (Chang & Lin 2011, ACM TIST 2(3):27), which scikit-learn's SVC runs:
one against one, two weights changed at a time, chosen by second order information (Fan, Chen & Lin
2005, JMLR 6:1889-1918, "WSS 2"), with LIBSVM's tolerance, threshold and vote. From the same kernel
it takes the same steps, to the last bit; only shrinking, which pays for large classes, is left out,
and shrinking may end elsewhere within the tolerance. What differs is the cost of a pair of classes,
of which LIBSVM spends most on getting ready if they have ten samples each.

LIBSVM finds an alpha from 0 to C for each sample, from labels y = 1 and y = -1 and the gradient G
of the objective. Here are instead the weight y * alpha, from 0 to C in the first class of a pair
and from -C to 0 in the second, and the residual -y * G = y - sum(kernel * weight). In these terms
the rules are the same for both classes.

All sums have an order of their own, so the same input gives the same bits on any number of threads.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.metrics.compiled import compiled

TOLERANCE = 1e-3  # by how much residuals may still violate optimality; LIBSVM's default
STEPS = 10_000_000  # for one machine at most, as in LIBSVM
TAU = 1e-12  # stands in for a curvature that is not positive, as in LIBSVM
TILE = 48  # columns of products that are summed side by side
MAGNITUDE = np.int64(0x7FFFFFFFFFFFFFFF)  # all bits of a float64 but its sign


class Machines(NamedTuple):
    """One machine for each pair of classes, in the order (0, 1), (0, 2) … (1, 2), (1, 3) …"""

    classes: NDArray[Any]  # (classes,) their labels, sorted
    starts: NDArray[np.int64]  # (classes + 1,) where each begins among the samples
    samples: NDArray[np.float64]  # (samples, features), class by class
    weights: NDArray[np.float64]  # (pairs, 2 * widest class) of the first's, the second's; then 0
    thresholds: NDArray[np.float64]  # (pairs,) what is subtracted from the sum: LIBSVM's rho


def classify(
    train: NDArray[np.float64],
    labels: NDArray[Any],
    test: NDArray[np.float64],
    penalty: float = 1.0,
) -> NDArray[Any]:
    """The label of each test sample (tests,): the one most machines vote for, of equals the first.

    `train` is (samples, features), `labels` (samples,) of two classes or more, `test` (tests,
    features), `penalty` the C of the machines. All numbers are finite.
    """
    machines = fit(train, labels, penalty)
    votes = _votes(machines, test, np.empty((1, len(test))))
    return machines.classes[votes.argmax(axis=0)]


def fit(train: NDArray[np.float64], labels: NDArray[Any], penalty: float = 1.0) -> Machines:
    """The machines of all pairs of classes; see `classify` for the parameters."""
    classes, sizes = np.unique(labels, return_counts=True)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    samples = np.ascontiguousarray(
        np.asarray(train, dtype=np.float64)[np.argsort(labels, kind="stable")]
    )
    pairs, widest = len(classes) * (len(classes) - 1) // 2, int(sizes.max())
    # As in LIBSVM, the kernel is kept in single precision, its diagonal in double.
    kernel = np.empty((len(samples), len(samples)), dtype=np.float32)
    _products(samples, samples, widest, kernel)
    weights, thresholds = np.zeros((pairs, 2 * widest)), np.empty(pairs)
    _fit(kernel, samples, starts, float(penalty), weights, thresholds)
    return Machines(classes, starts, samples, weights, thresholds)


def decision_values(machines: Machines, test: NDArray[np.float64]) -> NDArray[np.float64]:
    """The value (pairs, tests) of each machine: above 0 it votes for its first class."""
    values = np.empty((len(machines.thresholds), len(test)))
    _votes(machines, test, values)
    return values


def _votes(
    machines: Machines, test: NDArray[np.float64], values: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The votes (classes, tests); `values` as in `_vote`."""
    samples, test = machines.samples, np.ascontiguousarray(test, dtype=np.float64)
    products = np.empty((len(samples), len(test)))
    _products(samples, test, len(samples), products)
    votes = np.zeros((len(machines.classes), len(test)), dtype=np.int64)
    _vote(products, machines.starts, machines.weights, machines.thresholds, values, votes)
    return votes


@compiled
def _products(
    left: NDArray[np.float64], right: NDArray[np.float64], below: int, out: NDArray[Any]
) -> None:
    """Fill `out` (lefts, rights) with products of rows, from the top to `below` the diagonal.

    A matrix library rounds as its number of threads has it, and is faster for many features alone.
    """
    at = np.uint64  # so that no index is looked at for being negative
    lefts, features = left.shape
    part = np.zeros((features + features % 2, TILE))  # of `right`, features first
    sums = np.empty((4, TILE))
    for first in range(0, len(right), TILE):
        width = min(TILE, len(right) - first)
        for j in range(width):
            for feature in range(features):
                part[feature, j] = right[first + j, feature]
        for row in range(0, min(lefts, first + width + below), 4):
            # Four rows by two features, so that what is read and written serves eight products.
            # At the end the last row stands in, and zeros in `part` for a last feature's partner.
            i, k = at(row), at(min(row + 1, lefts - 1))
            m, n = at(min(row + 2, lefts - 1)), at(min(row + 3, lefts - 1))
            sums[:] = 0
            for feature in range(0, features, 2):
                f, g = at(feature), at(feature + 1)
                h = at(min(feature + 1, features - 1))
                a, b, c, d = left[i, f], left[k, f], left[m, f], left[n, f]
                p, q, r, s = left[i, h], left[k, h], left[m, h], left[n, h]
                for j in range(width):
                    x, y = part[f, j], part[g, j]
                    sums[0, j] = sums[0, j] + a * x + p * y
                    sums[1, j] = sums[1, j] + b * x + q * y
                    sums[2, j] = sums[2, j] + c * x + r * y
                    sums[3, j] = sums[3, j] + d * x + s * y
            for j in range(width):
                column = at(first + j)
                out[i, column], out[k, column] = sums[0, j], sums[1, j]
                out[m, column], out[n, column] = sums[2, j], sums[3, j]


@compiled
def _optimise(
    kernel: NDArray[np.float64],
    squares: NDArray[np.float64],
    ones: int,
    size: int,
    penalty: float,
    weight: NDArray[np.float64],
    residual: NDArray[np.float64],
    rise: NDArray[np.float64],
    fall: NDArray[np.float64],
    gains: NDArray[np.float64],
) -> None:
    """Fill `weight` and `residual` with the optimum of one machine.

    `kernel` is that of its `size` samples, the first `ones` of them of the first class; `squares`
    is its diagonal. `rise` and `fall` (samples,) become 0 where a weight can, else -inf; `gains`
    is for use here. All are as long as `size`, rounded up to the next four, or longer.
    """
    # The largest number and its place are found as one integer, in half the time: the bits of a
    # positive number, of which the lowest make room for its place. Should another be larger in
    # these bits alone, all are looked at again. Of equals the last is taken, as in LIBSVM.
    places = np.int64(3)
    while places < size - 1:
        places = 2 * places + 1
    padded = (size + 3) // 4 * 4  # four at a time, none left over
    for t in range(padded):
        weight[t] = 0.0
        residual[t] = 1.0 if t < ones else -1.0
        rise[t] = 0.0 if t < ones else -np.inf
        fall[t] = 0.0 if ones <= t and t < size else -np.inf
    best = np.int64(ones - 1)  # the first class are all equal
    for _ in range(STEPS):
        # i: of the weights that can rise, that with the largest residual.
        i = best & places
        top = residual[i] + rise[i]
        # j: of those that can fall and have a smaller residual, that whose change gains most.
        best = violation = np.int64(0)
        larger = 0
        for t in range(padded):
            larger += residual[t] + rise[t] > top
            gap = top - residual[t] + fall[t]
            curvature = squares[i] + squares[t] - 2.0 * kernel[i, t]
            gain = np.divide(gap * gap, curvature if curvature > 0 else TAU)  # / looks for zeros
            gain = gain if gap > 0 else 0.0
            gains[t] = gain
            bits = np.float64(gap).view(np.int64)
            violation = bits if bits > violation else violation
            bits = np.float64(gain).view(np.int64) & ~places | t
            best = bits if bits > best else best
        if larger:
            for t in range(size):
                if residual[t] + rise[t] >= top:
                    best, top = np.int64(t), residual[t] + rise[t]
            continue
        if not np.int64(violation).view(np.float64) >= TOLERANCE:  # also where that is NaN
            break
        j = best & places
        gain = gains[j]
        for t in range(padded):
            larger += gains[t] > gain
        if larger:
            for t in range(size):
                if gains[t] >= gain:
                    j, gain = np.int64(t), gains[t]
        # Change both as far as it helps, until one meets its bound; their sum stays.
        low_i, high_i = (0.0, penalty) if i < ones else (-penalty, 0.0)
        low_j, high_j = (0.0, penalty) if j < ones else (-penalty, 0.0)
        curvature = squares[i] + squares[j] - 2.0 * kernel[i, j]
        step = np.divide(residual[i] - residual[j], curvature if curvature > 0 else TAU)
        both = weight[i] + weight[j]
        new_i, new_j = weight[i] + step, weight[j] - step
        if both > high_i + low_j:
            if new_i > high_i:
                new_i, new_j = high_i, both - high_i
        elif new_j < low_j:
            new_i, new_j = both - low_j, low_j
        change_i, change_j = new_i - weight[i], new_j - weight[j]
        weight[i], weight[j] = new_i, new_j
        rise[i], fall[i] = 0.0 if new_i < high_i else -np.inf, 0.0 if new_i > low_i else -np.inf
        rise[j], fall[j] = 0.0 if new_j < high_j else -np.inf, 0.0 if new_j > low_j else -np.inf
        best = ~MAGNITUDE
        for t in range(padded):
            residual[t] -= kernel[i, t] * change_i + kernel[j, t] * change_j
            bits = np.float64(residual[t] + rise[t]).view(np.int64)
            bits ^= (bits >> 63) & MAGNITUDE  # so that negative numbers have their order too
            bits = bits & ~places | t
            best = bits if bits > best else best


@compiled
def _fit(
    kernel: NDArray[np.float32],
    samples: NDArray[np.float64],
    starts: NDArray[np.int64],
    penalty: float,
    weights: NDArray[np.float64],
    thresholds: NDArray[np.float64],
) -> None:
    """Fill the weights and thresholds of `Machines`, which has `samples` and `starts`.

    `kernel` is (samples, samples), of which each class's with earlier ones are not read.
    """
    at = np.uint64
    width = (weights.shape[1] + 3) // 4 * 4
    own, square = np.zeros((width, width)), np.zeros(width)  # of the samples of a pair
    weight, residual = np.zeros(width), np.zeros(width)
    rise, fall, gains = np.zeros(width), np.zeros(width), np.zeros(width)
    squares = np.zeros(len(samples))
    for i in range(len(samples)):
        for feature in range(samples.shape[1]):
            squares[i] += samples[i, feature] * samples[i, feature]
    pair = 0
    for first in range(len(starts) - 1):
        here, ones = starts[first], starts[first + 1] - starts[first]
        for i in range(ones):
            square[i] = squares[here + i]
            for j in range(ones):
                own[i, j] = kernel[at(here + i), at(here + j)]
        for second in range(first + 1, len(starts) - 1):
            there, others = starts[second], starts[second + 1] - starts[second]
            for i in range(ones):
                for j in range(others):
                    value = kernel[at(here + i), at(there + j)]
                    own[i, at(ones + j)] = own[at(ones + j), i] = value
            for i in range(others):
                square[at(ones + i)] = squares[there + i]
                for j in range(others):
                    own[at(ones + i), at(ones + j)] = kernel[at(there + i), at(there + j)]
            size = ones + others
            _optimise(own, square, ones, size, penalty, weight, residual, rise, fall, gains)
            # The mean over weights between their bounds, or the middle of what the others allow.
            total, free = 0.0, 0
            least, most = -np.inf, np.inf
            for t in range(size):
                weights[pair, t] = weight[t]
                if rise[t] == fall[t]:
                    total -= residual[t]
                    free += 1
                elif rise[t] < 0:
                    least = max(least, -residual[t])
                else:
                    most = min(most, -residual[t])
            thresholds[pair] = total / free if free else (least + most) / 2
            pair += 1


@compiled
def _vote(
    products: NDArray[np.float64],
    starts: NDArray[np.int64],
    weights: NDArray[np.float64],
    thresholds: NDArray[np.float64],
    values: NDArray[np.float64],
    votes: NDArray[np.int64],
) -> None:
    """Add the vote of each machine to `votes` (classes, tests).

    `products` (samples, tests) are those of samples with tests. A machine's decision values go to
    its row of `values` (rows, tests), or to the last where there are fewer rows than machines.
    """
    at = np.uint64
    tests = range(products.shape[1])
    pair = 0
    for first in range(len(starts) - 1):
        size = starts[first + 1] - starts[first]
        for second in range(first + 1, len(starts) - 1):
            row = at(min(pair, len(values) - 1))
            for test in tests:
                values[row, test] = 0.0
            for place in range(size + starts[second + 1] - starts[second]):
                weight = weights[pair, place]
                if weight != 0:
                    sample = at(place + (starts[first] if place < size else starts[second] - size))
                    for test in tests:
                        values[row, test] += weight * products[sample, test]
            for test in tests:
                values[row, test] -= thresholds[pair]
                won = values[row, test] > 0
                votes[at(first), test] += won
                votes[at(second), test] += not won
            pair += 1
