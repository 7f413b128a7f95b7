"""The multiverse: what comes of every defensible way to ask which kernels are selective.

One specification is one choice of everything; what all of them find, sorted, is the specification
curve (Steegen et al. 2016, doi:10.1177/1745691616658637; Simonsohn, Simmons & Nelson 2020,
doi:10.1038/s41562-020-0912-z). How much of the variance of an outcome each choice explains are
Shapley effects (Owen 2014, doi:10.1137/130936233; of choices that exclude each other Song, Nelson &
Staum 2016, doi:10.1137/15M1048070).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product
from math import factorial, nan
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from app import names
from app.choices import LEVELS, SCORES
from app.errors import InputError
from app.findings.certainty import MetricCertainty, average
from app.findings.consistency import jaccard, spearman
from app.findings.resampled import NULL_RATE, Inquiry, Plan, certify_layer
from app.findings.selection import TOP, Criterion, make_criteria, measure
from app.metrics import Scores
from app.metrics.layer_scoring import make_questions, score_layer
from app.progress import progress_bar

if TYPE_CHECKING:
    from app.config.schema import Metric
    from app.responses.kernels import Reader
    from app.responses.recording import Recorded
    from app.stimuli.localizer import Localizer

NONE = "—"  # of a choice that does not arise
# What each choice is between; contrast, level and score go together, see `WAYS`.
CHOICES = ("metric", "contrast", "level", "score", "correction", "criterion", "aggregation")
OUTCOMES = {
    "percent": "selected (%)",
    "consistency": "agreement with others (ρ)",
    "lesion_spearman": "lesion (r)",
    "decoding": "identity decoded (%)",
}
SCORE = CHOICES[:4]  # besides the aggregation, what a score rests on
WAYS = (
    ("pooled", NONE, NONE),
    *product(("each",), LEVELS, SCORES),
)
CORRECTIONS = {"p": "none", "fdr_bh": "BH", "fdr_by": "BY"}  # by the rule of a criterion
TOP_SHARE = 0.05
SHUFFLES = 200


@dataclass(frozen=True, eq=False)
class Multiverse:
    """All specifications of a layer's kernels, and what comes of each."""

    # A row a specification: `CHOICES`; `own`: it is as the metric's settings have it; `OUTCOMES`;
    # null_percent, null_p95: % selected when labels are shuffled, mean and 95th percentile
    table: pd.DataFrame
    selected: NDArray[np.bool_]  # (specifications, kernels)
    scores: pd.DataFrame  # (kernels, scores), of which specifications with one ranking share one
    ranking: NDArray[np.int64]  # (specifications,) the column of its score

    @property
    def outcomes(self) -> list[str]:
        """Those of `OUTCOMES` that differ between specifications."""
        table = self.table
        return [name for name in OUTCOMES if name in table and table[name].nunique() > 1]

    @cached_property
    def shares(self) -> pd.DataFrame:
        """A row a choice and outcome: the share of the variance it explains, `alone` and `share`.

        `alone` is by itself, Var(E[outcome | choice]) / Var(outcome); `share` with half of each
        interaction of two, a third of one of three, …: over all choices they add up to 1.
        """
        choices = self.table[[*CHOICES]]
        rows = [
            (outcome, choice, *found)
            for outcome in self.outcomes
            for choice, found in find_shares(choices, self.table[outcome]).items()
        ]
        return pd.DataFrame(rows, columns=["outcome", "choice", "alone", "share"])

    def compare(self) -> pd.DataFrame:
        """A row a choice: how alike specifications are that differ in it alone.

        Spearman of the scores where these differ, Jaccard of the selections: means over `pairs`.
        """
        ranks, rows = self.scores.corr("spearman").to_numpy(), []
        for choice, (one, other) in pair_up(self.table).items():
            first, second = self.ranking[one], self.ranking[other]
            rho = ranks[first, second][first != second]
            both = zip(one, other, strict=True)
            jaccards = [jaccard(self.selected[a], self.selected[b]) for a, b in both]
            rows.append((choice, len(one), average(rho), average(jaccards)))
        return pd.DataFrame(rows, columns=["choice", "pairs", "spearman", "jaccard"])

    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by the names of their files."""
        return {
            "multiverse": self.table,
            "multiverse_shares": self.shares,
            "multiverse_choices": self.compare(),
        }

    def metrics(self) -> dict[str, float]:
        """Single numbers by the names that they are logged under."""
        named = self.shares[["outcome", "choice", "share"]].itertuples(index=False)
        return {names.SPECIFICATIONS: float(len(self.table))} | {
            names.EXPLAINED.format(outcome=outcome, choice=choice): share
            for outcome, choice, share in named
        }


def vary(compared: Mapping[str, Metric]) -> dict[tuple[str, ...], Metric]:
    """Vary each metric's contrast, level, score and, where it tests, correction.

    By metric, contrast, level, score and correction; baselines are left out.
    """
    found: dict[tuple[str, ...], Metric] = {}
    for name, metric in compared.items():
        own = metric.criterion.rule
        rules = [*CORRECTIONS] if own in CORRECTIONS else [own]
        for (contrast, level, score), rule in product(WAYS if not metric.baseline else (), rules):
            apart: dict[str, Any] = {"over": level, "score": score} if contrast == "each" else {}
            criterion = replace(metric.criterion, rule=rule)
            varied = replace(metric, contrast=contrast, criterion=criterion, **apart)
            found[name, contrast, level, score, CORRECTIONS.get(rule, NONE)] = varied
    return found


def explore(
    compared: Mapping[str, Metric],
    reader: Reader | Recorded,
    stimuli: Localizer,
    target: str,
    seed: int,
    shuffles: int = SHUFFLES,
) -> Multiverse:
    """Ask every specification of a layer's kernels, from their responses to the localizer.

    Of a recording's units, which have no maps, there is no aggregation to choose.
    Agreement is the mean Spearman correlation of a specification's score with all scores that are
    found otherwise.
    """
    images, device = stimuli.images, reader.hardware.device.type
    varied = {" ".join(way): (way, metric) for way, metric in vary(compared).items()}
    metrics = {name: metric for name, (_, metric) in varied.items()}
    questions = make_questions(metrics, images.labels, stimuli.domains, target, device)
    plan, criteria = Plan(0, 0, shuffles), make_criteria(metrics)
    rows: list[tuple[Any, ...]] = []
    masks, scores = [], {}
    for aggregation in reader.aggregations:
        scored = score_layer(questions, reader, images, aggregation)
        kernels = len(next(iter(scored.values())).scores.score)  # a criterion may want a number
        criteria = {name: replace(each, units=kernels) for name, each in criteria.items()}
        inquiry = Inquiry(questions, criteria, stimuli.compared, plan, seed)
        sure, notes = certify_layer(inquiry, reader, images, aggregation)
        if sure is None:  # for want of memory: a matched criterion rests on shuffles
            raise InputError(f"multiverse: {' '.join(notes)}")
        for name, ((metric, *way, correction), settings) in varied.items():
            said = scored[name].scores
            scores[" ".join((metric, *way, aggregation))] = said.score
            own = settings == compared[metric]
            for criterion, (mask, null) in select(said, criteria[name], sure[name]).items():
                told = (correction, own) if criterion == "own" else (NONE, False)
                chance = np.mean(null), np.percentile(null, 95)
                rows.append((metric, *way, told[0], criterion, aggregation, told[1], *chance))
                masks.append(mask)
    table = pd.DataFrame(rows, columns=[*CHOICES, "own", "null_percent", "null_p95"])
    once = ~table.duplicated([*CHOICES])  # a correction changes but the own criterion
    table, selected = table[once].reset_index(drop=True), np.array(masks)[once]
    found = pd.DataFrame(scores)
    place = table[[*SCORE, "aggregation"]].agg(" ".join, axis=1)
    ranking = found.columns.get_indexer(pd.Index(place))
    agreement = found.corr("spearman").to_numpy(copy=True)
    np.fill_diagonal(agreement, nan)
    table["percent"] = 100 * selected.mean(axis=1)
    table["consistency"] = np.array(list(map(average, agreement)))[ranking]
    return Multiverse(table, selected, found, ranking)


def select(
    scores: Scores, own: Criterion, sure: MetricCertainty
) -> dict[str, tuple[NDArray[np.bool_], Any]]:
    """Select kernels (kernels,) by each criterion; beside, the % when labels are shuffled.

    By the metric's own; above the score that a share `NULL_RATE` of kernels exceed when labels are
    shuffled; and the highest `TOP_SHARE`.
    """
    top = Criterion(TOP, TOP_SHARE)
    return {
        "own": (own.select(measure(scores, own.rule)), sure.null),
        "matched": (scores.score > sure.matched, 100 * NULL_RATE),
        f"top {TOP_SHARE:.0%}": (top.select(measure(scores, TOP)), 100 * TOP_SHARE),
    }


def weigh(
    found: Multiverse,
    remains: NDArray[np.float64] | None,
    decode: Callable[[NDArray[np.bool_]], float] | None,
) -> Multiverse:
    """Add what lesions and decoding say of each specification.

    `remains` (kernels,) is what each kernel's lesion leaves of a task, `decode` the accuracy from
    a set of kernels, asked once of each that differs; None: not known.
    """
    table = found.table.copy()
    if remains is not None:
        r = np.array([spearman(score, remains) for score in found.scores.to_numpy().T])
        table["lesion_spearman"] = r[found.ranking]
    if decode is not None:
        masks, place = np.unique(found.selected, axis=0, return_inverse=True)
        accuracy = np.full(len(masks), nan)
        with progress_bar("decoding of specifications", len(masks), "decoding") as done:
            for number in np.flatnonzero(masks.any(axis=1)):
                accuracy[number] = 100 * decode(masks[number])
                done(1)
        table["decoding"] = accuracy[place.ravel()]
    return replace(found, table=table)


def find_shares(choices: pd.DataFrame, outcome: pd.Series) -> dict[str, tuple[float, float]]:
    """Find the share of an outcome's variance that each choice explains, alone and in all.

    The Shapley value over sets of choices of Var(E[outcome | set]) / Var(outcome). Specifications
    without the outcome are left out.
    """
    defined = outcome.notna().to_numpy()
    codes = {str(name): choices[name].factorize()[0][defined] for name in choices}
    values, count = outcome.to_numpy(np.float64)[defined], len(codes)

    def explain(chosen: frozenset[str]) -> float:
        if not chosen:
            return 0.0
        cells = np.unique([codes[name] for name in chosen], axis=1, return_inverse=True)[1].ravel()
        means = np.bincount(cells, values) / np.bincount(cells)
        return float(means[cells].var() / values.var())

    sets = [frozenset(some) for size in range(count + 1) for some in combinations(codes, size)]
    explained = {some: explain(some) for some in sets}
    weight = [factorial(n) * factorial(count - n - 1) / factorial(count) for n in range(count)]
    return {
        name: (
            explained[frozenset({name})],
            sum(weight[len(some)] * (explained[some | {name}] - explained[some])
                for some in sets if name not in some),
        )
        for name in codes
    }  # fmt: skip


def pair_up(table: pd.DataFrame) -> dict[str, NDArray[np.int64]]:
    """Find, for each choice, the pairs (2, pairs) of specifications that differ in it alone.

    A choice that does not arise in one of two is no difference between them.
    """
    differ = []
    for choice in CHOICES:
        codes = table[choice].factorize()[0]
        arises = (table[choice] != NONE).to_numpy()
        differ.append((codes[:, None] != codes) & arises[:, None] & arises)
    alone = np.sum(differ, axis=0) == 1
    return {
        choice: np.array(np.nonzero(np.triu(apart & alone)))
        for choice, apart in zip(CHOICES, differ, strict=True)
    }
