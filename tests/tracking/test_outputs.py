"""What a run's tags say of its criterion."""

from __future__ import annotations

import pytest

from app.models.network import Subject
from app.tracking.outputs import make_tags
from tests.composing import check_config

SUBJECT = Subject((8, 1, 1), 1, "conv1", "weights", (), {})


@pytest.mark.parametrize(
    ("words", "number"),
    [
        (("metric=fsi", "threshold.fsi=0.2"), "0.3"),
        (("metric=fsi", "metric.criterion.rule=top", "threshold.fsi=0.1"), None),
        (("metric=wilcoxon", "metric.criterion.rule=fdr_bh"), None),
        (("metric=auc",), "0.68"),
    ],
)
def test_the_papers_number_is_one_of_the_papers_rule(words: tuple[str, ...], number: str | None):
    assert make_tags(check_config(*words), SUBJECT).get("criterion.paper") == number
