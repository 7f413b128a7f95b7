import numpy as np
from hypothesis import given, settings

from app.metrics.contrast import contrast
from tests.metrics.cases import assert_close, cases, scored

score = scored("target_mean")


@settings(deadline=None)
@given(cases())
def test_against_a_plain_loop(case):
    responses, chosen = case
    result = score(responses, chosen)
    for unit, values in enumerate(responses.T.astype(float)):
        shown = values[chosen.included]
        pairs = zip(values, chosen.target, strict=True)
        mean = np.mean([value for value, is_target in pairs if is_target])
        assert_close(result.score[unit], np.nan if np.ptp(shown) == 0 else mean)
    assert result.p is None
    for row in result.statistic:
        np.testing.assert_array_equal(row, result.score)


def test_a_unit_that_is_silent_for_the_target_alone_is_defined():
    chosen = contrast(["a", "a", "b", "b"], {"a": ["a"], "b": ["b"]}, "a")
    responses = np.array([[0.0, 2, 3], [0, 2, 4], [1, 2, 3], [2, 2, 4]])
    np.testing.assert_array_equal(score(responses, chosen).score, [0, np.nan, 3.5])
