"""All metrics over a layer, against each metric by itself on all responses at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import InputError
from app.metrics import Question, load, scoring
from tests.metrics.cases import cases, scored
from tests.metrics.test_metrics import NAMES, arrays, assert_same_bits


def questions(contrast):
    return {name: Question(load(name), contrast, {}) for name in NAMES}


def in_pieces(responses, random):
    """The units in shuffled blocks of any size, in an array that is used again for each."""
    units = random.permutation(responses.shape[1])
    memory = np.empty(responses.shape, dtype=responses.dtype)
    cuts = np.sort(random.integers(0, len(units), 3))
    for numbers in np.split(units, cuts):
        if len(numbers):
            memory[:, : len(numbers)] = responses[:, numbers]
            yield numbers, memory[:, : len(numbers)]
            memory[:] = np.nan


@settings(deadline=None, max_examples=30)
@given(cases(), st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_blocks_threads_and_chunks_change_no_bit(case, seed, chunk):
    responses, contrast = case
    asked = questions(contrast)
    pieces = in_pieces(responses, np.random.default_rng(seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "CHUNK_VALUES", chunk)
        found = scoring.score_blocks(pieces, responses.shape[1], asked, threads=3)
    for name in NAMES:
        alone = scored(name)(responses, contrast)
        assert_same_bits(found[name].scores, alone)
        assert len(arrays(found[name].scores)) == len(arrays(alone))
        ends = scoring.find_ends(alone.score)
        np.testing.assert_array_equal(found[name].extremes, ends)
        np.testing.assert_array_equal(found[name].responses, responses[:, ends])


def test_ends_are_the_first_and_last_of_the_ranking():
    random = np.random.default_rng(0)
    score = random.integers(0, 9, 500).astype(float)  # many ties
    score[random.integers(0, 500, 50)] = np.nan
    ranked = sorted(np.flatnonzero(~np.isnan(score)), key=lambda unit: (-score[unit], unit))
    assert scoring.find_ends(score).tolist() == ranked[:3] + ranked[-3:]
    assert scoring.find_ends(np.array([np.nan, 2, 5, np.nan, 2])).tolist() == [2, 1, 4]
    assert scoring.find_ends(np.full(9, np.nan)).tolist() == []


def test_options_reach_the_metric_and_errors_come_back():
    random = np.random.default_rng(1)
    responses = random.normal(size=(12, 40)).astype(np.float32)
    contrast = cases_contrast()
    welch = {"ttest": Question(load("ttest"), contrast, {"equal_variance": False})}
    (found,) = scoring.score_blocks([(np.arange(40), responses)], 40, welch).values()
    np.testing.assert_array_equal(
        found.scores.p, load("ttest")(responses, contrast, equal_variance=False).p
    )
    responses[3, 7] = np.nan
    with pytest.raises(InputError, match="1 responses are NaN"):
        scoring.score_blocks([(np.arange(40), responses)], 40, welch)


def cases_contrast():
    from app.metrics.contrast import contrast

    return contrast(list("aabbcc") * 2, {k: [k] for k in "abc"}, "a")


@pytest.mark.parametrize("name", NAMES)
def test_no_more_bytes_than_announced(name):
    contrast = cases_contrast()
    scores = scored(name)(np.random.default_rng(2).normal(size=(12, 5)), contrast)
    held = sum(array.nbytes for array in arrays(scores))
    assert held <= 5 * scoring.count_bytes(Question(load(name), contrast, {}))
