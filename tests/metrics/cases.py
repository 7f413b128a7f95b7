"""Made-up responses for the metrics' tests: ties, silent and constant units, small groups."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from app.metrics import Question, Scores, load
from app.metrics.contrast import Contrast, contrast

VALUES = {
    "ties": lambda random, shape: random.integers(0, 3, shape),
    "relu": lambda random, shape: np.maximum(random.normal(-0.5, 1, shape), 0),
    "signed": lambda random, shape: random.normal(0, 3, shape),
    "shifted": lambda random, shape: random.normal(100, 1, shape),
    "signed ties": lambda random, shape: random.integers(-1, 2, shape) * -0.1,  # has -0.0
}


@st.composite
def cases(draw, kind=None, dtype=None):
    """Responses (images, units) and a contrast over them."""
    sizes = draw(st.lists(st.integers(2, 9), min_size=2, max_size=5))
    left_out = draw(st.integers(0, 3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    categories = [f"c{i}" for i, size in enumerate(sizes) for _ in range(size)]
    categories = random.permutation(categories + ["scrambled"] * left_out).tolist()
    domains = {f"d{i}": [f"c{i}"] for i in range(len(sizes))}
    chosen = contrast(
        categories,
        domains,
        f"d{draw(st.integers(0, len(sizes) - 1))}",
        kind=kind or draw(st.sampled_from(["pooled", "each"])),
    )

    shape = (len(categories), draw(st.integers(0, 4)))
    responses = VALUES[draw(st.sampled_from(sorted(VALUES)))](random, shape).astype(float)
    odd = np.zeros((len(categories), 6))
    odd[:, 1] = 0.1  # constant, and no binary fraction
    odd[:, 2] = np.where(chosen.target, 0.7, 0.1)  # constant in each group
    odd[:, 3] = np.where(chosen.included, 0, random.random(len(categories)))  # silent if included
    odd[:, 4] = np.where(chosen.target | chosen.others[0], 0.3, random.random(len(categories)))
    odd[:, 5] = np.where(chosen.target, 0.3, random.random(len(categories)))
    responses = np.concatenate([responses, odd], axis=1)
    responses = responses.astype(dtype or draw(st.sampled_from([np.float32, np.float64])))
    return np.asarray(responses, order=draw(st.sampled_from("CF"))), chosen


def groups(responses: np.ndarray, chosen: Contrast, row: int, unit: int):
    """The target's and the other group's responses of one unit in one contrast, as float64."""
    values = responses[:, unit].astype(np.float64)
    return values[chosen.target], values[chosen.others[row]]


def scored(name: str):
    """The function of a metric, of whose contrasts the smallest makes each unit's score."""

    def score(responses: np.ndarray, chosen: Contrast, **options) -> Scores:
        return Question(load(name), chosen, options).ask(responses)

    return score


def by_loop(formula, responses: np.ndarray, chosen: Contrast) -> np.ndarray:
    """`formula(target, other)` for each contrast and unit, (contrasts, units)."""
    units = range(responses.shape[1])
    return np.array(
        [
            [formula(*groups(responses, chosen, r, u)) for u in units]
            for r in range(len(chosen.others))
        ]
    )


def smallest_by_loop(statistic: np.ndarray) -> np.ndarray:
    """The smallest defined statistic of each unit, NaN without one."""
    columns = (column[~np.isnan(column)] for column in statistic.T)
    return np.array([column.min() if len(column) else np.nan for column in columns])


def assert_close(actual: np.ndarray, expected: np.ndarray, rtol: float = 1e-9) -> None:
    """Equal, NaN in the same places; a difference of means may cancel to 0 ± rounding."""
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=1e-12)
