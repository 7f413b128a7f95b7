"""Every specification against scipy and statsmodels; where disagreement comes from, by hand."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm
from statsmodels.stats.multitest import multipletests

from app.findings.consistency import jaccard
from app.findings.multiverse import (
    CHOICES,
    NONE,
    Multiverse,
    explore,
    find_shares,
    pair_up,
    weigh,
)
from app.memo import Memo
from app.responses.hardware import Hardware
from app.responses.kernels import AGGREGATE
from tests.composing import check_config

pytestmark = pytest.mark.slow
DOMAINS = {"faces": ("adult", "child"), "bodies": ("body", "limb"), "places": ("house",)}
LABELS = [category for members in DOMAINS.values() for category in members for _ in range(12)]
KERNELS = 24


@dataclass(frozen=True)
class Kernels:
    """Responses in place of a network's reader."""

    responses: dict[str, np.ndarray]
    memo: Memo
    hardware: Hardware
    aggregations = tuple(AGGREGATE)

    def stream(self, aggregation: str) -> None:
        return None

    def read(self, images: object) -> dict[str, np.ndarray]:
        return self.responses


@pytest.fixture(scope="module")
def responses() -> dict[str, np.ndarray]:
    random, faces = np.random.default_rng(0), np.isin(LABELS, DOMAINS["faces"])
    slopes = np.linspace(-0.3, 2, KERNELS)
    found = {}
    for name in AGGREGATE:
        values = random.normal(size=(len(LABELS), KERNELS)) + np.outer(faces, slopes)
        found[name] = np.maximum(values, 0).astype(np.float32)
    return found


@pytest.fixture(scope="module")
def found(responses, tmp_path_factory) -> Multiverse:
    config = check_config("+metric@metrics.target_mean=target_mean")
    memo = Memo(tmp_path_factory.mktemp("cache"))
    reader = Kernels(responses, memo, Hardware(torch.device("cpu"), threads=1))
    stimuli = SimpleNamespace(
        images=SimpleNamespace(labels=LABELS), domains=DOMAINS, compared=LABELS
    )
    return explore(config.metrics, reader, stimuli, "faces", 0)


def test_a_number_of_kernels_is_that_many(responses, tmp_path):
    words = "metric=dprime", "metric.criterion.rule=top", "threshold.dprime=5"
    metric = check_config(*words).metric
    reader = Kernels(responses, Memo(tmp_path), Hardware(torch.device("cpu"), threads=1))
    stimuli = SimpleNamespace(
        images=SimpleNamespace(labels=LABELS), domains=DOMAINS, compared=LABELS
    )
    table = explore({"dprime": metric}, reader, stimuli, "faces", 0, 9).table
    own = table[table["criterion"] == "own"]
    np.testing.assert_allclose(own["percent"], 100 * 5 / KERNELS)
    np.testing.assert_allclose(own["null_percent"], 100 * 5 / KERNELS)


def others(contrast: str, level: str) -> list[list[str]]:
    rest = [members for name, members in DOMAINS.items() if name != "faces"]
    if contrast == "pooled":
        return [[category for members in rest for category in members]]
    if level == "categories":
        return [[category] for members in rest for category in members]
    return [list(members) for members in rest]


def test_specifications(found: Multiverse):
    table = found.table
    assert not table.duplicated([*CHOICES]).any()
    assert set(table["metric"]) == {"fsi", "dprime", "wilcoxon", "ttest"}  # no baseline
    ways, scores = 5 * len(AGGREGATE), 4 * 5 * len(AGGREGATE)
    assert len(table) == 2 * scores + 2 * ways + 2 * 3 * ways  # own: two metrics have corrections
    assert found.scores.shape == (KERNELS, scores)
    own = table[table["own"] & (table["aggregation"] == "l2")].set_index("metric")
    assert own["contrast"].to_dict() == {
        "fsi": "pooled", "dprime": "pooled", "wilcoxon": "each", "ttest": "each",
    }  # fmt: skip
    assert own.loc["ttest", "correction"] == "BH" and own.loc["wilcoxon", "correction"] == "none"
    assert set(own["criterion"]) == {"own"} and len(own) == 4


def test_each_specification_of_t_against_scipy_and_statsmodels(found, responses):
    labels = np.array(LABELS)
    table = found.table[found.table["metric"] == "ttest"]
    for number, row in table.iterrows():
        values = responses[row["aggregation"]].astype(np.float64)
        target = values[np.isin(labels, DOMAINS["faces"])]
        tests = [
            stats.ttest_ind(target, values[np.isin(labels, group)])
            for group in others(row["contrast"], row["level"])
        ]
        t, p = (
            np.array([test.statistic for test in tests]),
            np.array([test.pvalue for test in tests]),
        )
        score = t.mean(axis=0) if row["score"] == "mean" else t.min(axis=0)
        np.testing.assert_allclose(found.scores.iloc[:, found.ranking[number]], score, rtol=1e-6)
        if row["criterion"] == "own":
            method = {"BH": "fdr_bh", "BY": "fdr_by"}.get(row["correction"])
            small = [multipletests(each, 0.05, method)[0] if method else each < 0.05 for each in p]
            expected = np.all(small, axis=0) & (t > 0).all(axis=0)
        elif row["criterion"] == "top 5%":
            expected = score >= np.sort(score)[-1]  # a twentieth of 24
        else:
            expected = found.selected[number]
            assert score[expected].min(initial=np.inf) > score[~expected].max()
        np.testing.assert_array_equal(found.selected[number], expected)
        assert row["percent"] == pytest.approx(100 * expected.mean())


def test_agreement_is_with_all_scores_found_otherwise(found):
    ranks = found.scores.to_numpy().T
    for number in (0, 50, len(found.table) - 1):
        own = found.ranking[number]
        rho = [stats.spearmanr(ranks[own], each).statistic
               for place, each in enumerate(ranks) if place != own]  # fmt: skip
        assert found.table["consistency"][number] == pytest.approx(np.mean(rho))


def test_what_is_asked_of_lesions_and_decoding(found):
    remains, asked = np.linspace(1, 0, KERNELS), []

    def decode(mask: np.ndarray) -> float:
        asked.append(mask)
        return mask.mean()

    weighed = weigh(found, remains, decode)
    distinct = {mask.tobytes() for mask in found.selected if mask.any()}
    assert sorted(mask.tobytes() for mask in asked) == sorted(distinct)  # each once
    table, some = weighed.table, found.selected.any(axis=1)
    np.testing.assert_allclose(table["decoding"][some], table["percent"][some])
    assert table["decoding"][~some].isna().all() and (table["percent"][~some] == 0).all()
    r = stats.spearmanr(found.scores.iloc[:, found.ranking[7]], remains).statistic
    assert table["lesion_spearman"][7] == pytest.approx(r)
    assert "decoding" not in found.table and "lesion_spearman" not in weigh(found, None, None).table
    shares = weighed.shares
    np.testing.assert_allclose(shares.groupby("outcome")["share"].sum(), 1)
    assert {f"multiverse/{row.outcome}_{row.choice}" for row in shares.itertuples()} < set(
        weighed.metrics()
    )


def test_shares_of_a_balanced_design_are_those_of_an_analysis_of_variance():
    random = np.random.default_rng(1)
    rows = list(product("ab", "cde", "fghi"))
    choices = pd.DataFrame(rows, columns=["x", "y", "z"])
    effect = choices["x"].map({"a": 0, "b": 3}) + choices["y"].map({"c": 0, "d": 1, "e": 5})
    outcome = (effect + random.normal(size=len(rows))).rename("outcome")
    data = choices.assign(outcome=outcome)
    squares = anova_lm(ols("outcome ~ C(x) * C(y) * C(z)", data).fit())["sum_sq"]
    total = ((outcome - outcome.mean()) ** 2).sum()
    shares = find_shares(choices, outcome)
    for name, (alone, share) in shares.items():
        assert alone == pytest.approx(squares[f"C({name})"] / total)
        # Half of each interaction of two, a third of that of three.
        parts = [value / len(term.split(":")) for term, value in squares.items() if name in term]
        assert share == pytest.approx(sum(parts) / total)
    outcome[3] = np.nan  # left out
    left = find_shares(
        choices.drop(3).reset_index(drop=True), outcome.drop(3).reset_index(drop=True)
    )
    for name, pair in find_shares(choices, outcome).items():
        assert pair == pytest.approx(left[name])


def test_pairs_differ_in_one_choice_that_arises_in_both(found):
    rows = found.table[[*CHOICES]].to_numpy()[::7]
    expected: dict[str, set] = {choice: set() for choice in CHOICES}
    for a, b in product(range(len(rows)), repeat=2):
        apart = [choice for choice, x, y in zip(CHOICES, rows[a], rows[b], strict=True)
                 if x != y and NONE not in (x, y)]  # fmt: skip
        if a < b and len(apart) == 1:
            expected[apart[0]].add((a, b))
    pairs = pair_up(pd.DataFrame(rows, columns=CHOICES))
    assert {choice: set(map(tuple, both.T)) for choice, both in pairs.items()} == expected


def test_alike(found):
    told, table = found.compare().set_index("choice"), found.table
    for choice, (one, other) in pair_up(table).items():
        shared = [jaccard(found.selected[a], found.selected[b])
                  for a, b in zip(one, other, strict=True)]  # fmt: skip
        assert told.loc[choice, "pairs"] == len(shared) > 0
        assert told.loc[choice, "jaccard"] == pytest.approx(np.nanmean(shared))
    assert np.isnan(told.loc["criterion", "spearman"])  # no score differs
    assert told["jaccard"].between(0, 1).all()
