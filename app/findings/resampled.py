"""What metrics say of a layer in draws of the images, and how sure that makes what they say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from itertools import combinations
from math import nan
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from app.errors import TooLittleMemory
from app.findings.certainty import Certainty, MetricCertainty, average, find_intervals
from app.findings.consistency import correlate_draws, jaccard, spearman
from app.findings.selection import Criterion, Kept
from app.metrics import Question
from app.metrics.draws import Draws, Membership, draw_halves, draw_resamples, draw_shuffles, join
from app.metrics.resampling import Sample, resample
from app.metrics.scoring import make_room, still_noise
from app.names import name_units
from app.progress import progress_bar

if TYPE_CHECKING:
    from app.config.schema import Certainty as Settings
    from app.responses.hardware import Hardware
    from app.responses.kernels import Reader
    from app.responses.recording import Recorded, Recording
    from app.responses.units import Block, Units
    from app.stimuli.images import Images

NULL_RATE = 0.001  # of units, that a matched criterion selects when labels are shuffled
VALUES = 2**19  # of statistics that a thread makes at once
TOGETHER = 2**21  # scores of a metric that are correlated at once
FEWEST_IMAGES = 2  # of a group in a half: a variance needs them
FEWEST_DRAWN = 5  # of a category: what is drawn of n images varies (n - 1) / n as much as new ones
FEWEST_UNITS = 10  # that correlations over units are worth an interval


@dataclass(frozen=True)
class Plan:
    """How many draws there are of each kind; 0: none."""

    resamples: int
    splits: int
    shuffles: int


KERNELS = Plan(1000, 20, 200)
# Of single units, of layers of at most so many: those by the million are halved and shuffled alone.
UNITS = {2**10: KERNELS, 2**18: Plan(200, 10, 20), math.inf: Plan(0, 2, 20)}


def make_plan(settings: Settings, count: int, aggregation: str) -> Plan:
    """Make the plan for so many kernels or single units, which decides what settings leave open."""
    usual = KERNELS
    if aggregation == "unit":
        usual = next(plan for most, plan in UNITS.items() if count <= most)
    asked = {kind: getattr(settings, kind) for kind in ("resamples", "splits", "shuffles")}
    return replace(usual, **{kind: count for kind, count in asked.items() if count is not None})


@dataclass(frozen=True, eq=False)
class Inquiry:
    """Metrics' questions and criteria, and the draws in which they are asked again."""

    questions: Mapping[str, Question]
    criteria: Mapping[str, Criterion]
    categories: Sequence[str | None]  # of each image; None: it is compared with nothing
    plan: Plan
    seed: int
    baselines: Sequence[str] = ()  # metrics that are left out of the mean consistency

    def draw(self) -> dict[str, Draws]:
        """Make the draws of each kind, the shuffles last."""
        plan, asked = self.plan, (self.categories, self.seed)
        first, second = draw_halves(plan.splits, *asked)
        return {
            "resample": draw_resamples(plan.resamples, *asked),
            "first": first,
            "second": second,
            "shuffle": draw_shuffles(plan.shuffles, *asked),
        }

    def spare_halves(self) -> tuple[Inquiry, list[str]]:
        """Leave halves out where a group has too few images for two, and say so."""
        if not self.plan.splits:
            return self, []
        halves = draw_halves(self.plan.splits, self.categories, self.seed)
        asked = self.questions.values()
        groups = [members for question in asked for members in question.contrast.images]
        fewest = min(half.times[:, own].sum(axis=1).min() for half in halves for own in groups)
        if fewest >= FEWEST_IMAGES:
            return self, []
        note = (
            "certainty: no split halves: a half of the smallest group that is compared, of "
            f"{min(map(len, groups))} images, would have {fewest}, and a variance needs "
            f"{FEWEST_IMAGES}"
        )
        return replace(self, plan=replace(self.plan, splits=0)), [note]


class Looked(NamedTuple):
    """What a metric said of units in each draw."""

    score: NDArray[np.float32]  # (draws, units) where images have their own labels
    null: NDArray[np.float64]  # where they are shuffled; not rounded: units tie with the threshold
    # Of all draws, what its criterion judges: of some units, by their numbers, after others.
    kept: list[tuple[NDArray[np.int64], Kept]]


class Seen(NamedTuple):
    """What a metric said of a layer's units in each draw of one kind, and what it selected."""

    score: NDArray[np.float32]  # (draws, units)
    verdict: NDArray[np.bool_]


def find_members(inquiry: Inquiry, draws: Draws) -> dict[str, list[Membership]]:
    """Find who is in the groups of each metric; what the finest contrast sums up serves all."""
    contrasts = {name: question.contrast for name, question in inquiry.questions.items()}
    finest = max(contrasts.values(), key=lambda each: len(each.others))
    fine = draws.find_members(finest)
    found: dict[str, list[Membership]] = {}
    for name, each in contrasts.items():
        found[name] = draws.find_members(each)
        made_of: NDArray[np.bool_] = np.all(finest.groups <= each.groups[:, None], axis=2)
        if (made_of @ finest.groups == each.groups).all():
            pairs = zip(found[name], fine, strict=True)
            found[name] = [replace(part, finer=(own, made_of)) for part, own in pairs]
    return found


def look_everywhere(
    blocks: Iterable[Block], units: int, inquiry: Inquiry, hardware: Hardware
) -> dict[str, Looked]:
    """Ask every metric of every draw, of so many units in blocks; see `app.metrics.scoring`.

    Of scores with shuffled labels, only the largest are kept: a share `NULL_RATE`, and one more.
    """
    draws = join([*inquiry.draw().values()])
    members = find_members(inquiry, draws)
    whole: dict[str, Looked] = {}
    asked = inquiry.questions.values()
    compared = np.any([question.contrast.included for question in asked], axis=0)
    groups = sum(1 + len(question.contrast.others) for question in asked)
    width = max(1, VALUES // (groups * len(draws)))
    most = 1 + int(NULL_RATE * inquiry.plan.shuffles * units)
    labelled = len(draws) - inquiry.plan.shuffles

    def look(numbers: NDArray[np.int64], responses: NDArray[np.float32]) -> dict[str, Looked]:
        sample = Sample(still_noise(numbers, responses, compared), hardware.device.type)
        found = {}
        for name, question in inquiry.questions.items():
            said = resample(question, sample, draws, members[name])
            own, null = np.split(said.score, [labelled])
            kept = numbers, inquiry.criteria[name].keep(said)
            found[name] = Looked(own.astype(np.float32), null[~np.isnan(null)], [kept])
        return found

    # Sorting, matrix products and compiled loops run without the interpreter's lock: a core each.
    with (
        threadpool_limits(1, "blas"),  # not what the network runs on: blocks are read here
        ThreadPoolExecutor(hardware.threads) as pool,
        progress_bar("certainty", units, "unit") as done,
    ):
        for numbers, responses in blocks:
            ends = range(width, len(numbers), width)
            some, chunks = np.split(numbers, ends), np.split(responses, ends, axis=1)
            for own, found in zip(some, pool.map(look, some, chunks), strict=True):
                for name, (score, null, kept) in found.items():
                    # Only now: how large blocks may be was decided without this room.
                    room = whole.get(name) or Looked(
                        make_room((len(score), units), "f"), null[:0], []
                    )
                    room.score[:, own] = score
                    largest = np.sort(np.append(room.null, null))[-most:]
                    whole[name] = room._replace(null=largest, kept=room.kept + kept)
                done(len(own))
    return whole


def certify(
    blocks: Iterable[Block], units: int, inquiry: Inquiry, hardware: Hardware, keep: bool
) -> Certainty:
    """Find how sure what is found of so many units is, from blocks of them.

    `keep`: also the scores of every resample.
    """
    plan = inquiry.plan
    ends = np.cumsum([plan.resamples, plan.splits, plan.splits])
    metrics, scores = {}, {}
    for name, (score, null, kept) in look_everywhere(blocks, units, inquiry, hardware).items():
        numbers, parts = zip(*kept, strict=True)
        verdict = np.zeros((len(score) + plan.shuffles, units), np.bool_)
        verdict[:, np.concatenate(numbers)] = inquiry.criteria[name].judge(parts)
        seen = [*map(Seen, np.split(score, ends), np.split(verdict, ends))]
        metrics[name] = _certify_metric(seen, null, keep)
        scores[name] = seen[0].score

    def correlate(first: int) -> dict[tuple[str, str], NDArray[np.float64]]:
        return correlate_draws({name: each[first : first + few] for name, each in scores.items()})

    few = max(1, TOGETHER // units)  # draws, of many units
    with ThreadPoolExecutor(hardware.threads) as pool:
        agreed = list(pool.map(correlate, range(0, plan.resamples, few)))
    pairs = {pair: np.concatenate([np.empty(0), *(each[pair] for each in agreed)])
             for pair in combinations(scores, 2)}  # fmt: skip
    counted = [each for pair, each in pairs.items() if not {*pair} & {*inquiry.baselines}]
    mean = np.array([average([each[k] for each in counted]) for k in range(plan.resamples)])
    return Certainty(metrics, {" ".join(pair): each for pair, each in pairs.items()}, mean)


def _certify_metric(seen: Sequence[Seen], null: NDArray[np.float64], keep: bool) -> MetricCertainty:
    """Sum up what one metric said in each kind of draws; `null` is the highest of shuffles."""
    resampled, first, second, shuffled = seen
    low, high = find_intervals(resampled.score)
    undefined = np.isnan(resampled.score)
    unsure = int(np.sum(undefined.any(axis=0) & ~undefined.all(axis=0)))
    split_half = np.full(len(low), nan, np.float32)
    if len(first.score):
        split_half = (first.score + second.score).mean(axis=0) / 2
    halves = list(zip(*first, *second, strict=True))
    return MetricCertainty(
        low,
        high,
        split_half,
        np.concatenate([first.score[:1], second.score[:1]]),
        resampled.score if keep else resampled.score[:0],
        unsure,
        100 * resampled.verdict.mean(axis=1),
        np.array([spearman(a, b) for a, _, b, _ in halves]),
        np.array([jaccard(a, b) for _, a, _, b in halves]),
        np.array([average([share(a, b), share(b, a)]) for _, a, _, b in halves]),
        np.array([average([score_chosen(a, d), score_chosen(c, b)]) for a, b, c, d in halves]),
        100 * shuffled.verdict.mean(axis=1),
        float(null[0]) if len(null) else nan,
    )


def share(selected: NDArray[np.bool_], again: NDArray[np.bool_]) -> float:
    """The share of what is selected (units,) that is selected again, 0 … 1; NaN of nothing."""
    return float(again[selected].mean()) if selected.any() else nan


def score_chosen(score: NDArray[np.float32], chosen: NDArray[np.bool_]) -> float:
    """The mean score of units (units,) that were chosen elsewhere; NaN where none has one."""
    return average(score[chosen])


def certify_units(
    inquiry: Inquiry, stream: Units | Recording, images: Images, hardware: Hardware
) -> Certainty:
    """Find how sure what is found of a layer's single units is, from a pass of its own."""
    plan = inquiry.plan
    draws = plan.resamples + 2 * plan.splits
    kept = 4 * len(inquiry.criteria) * draws
    for name, criterion in inquiry.criteria.items():
        contrasts = len(inquiry.questions[name].contrast.others)
        kept += criterion.bytes_a_unit(contrasts, draws, plan.shuffles)
    return certify(stream.read(images, hardware, kept), len(stream), inquiry, hardware, False)


def certify_kernels(
    inquiry: Inquiry, responses: NDArray[np.float32], hardware: Hardware
) -> Certainty:
    """Find how sure what is found of kernels is, from their responses (images, kernels)."""
    kernels = responses.shape[1]
    return certify([(np.arange(kernels), responses)], kernels, inquiry, hardware, True)


def certify_layer(
    inquiry: Inquiry, reader: Reader | Recorded, images: Images, aggregation: str
) -> tuple[Certainty | None, list[str]]:
    """Find how sure what metrics say of a layer is, and what has to be said of that.

    None where there are no draws.
    """
    memo, hardware = reader.memo, reader.hardware
    inquiry, notes = inquiry.spare_halves()
    if not any(astuple(inquiry.plan)):
        return None, notes
    if (stream := reader.stream(aggregation)) is not None:
        try:
            found = memo(certify_units, inquiry, stream, images, hardware)
        except TooLittleMemory as error:  # for all draws of all units; scores are there
            return None, [*notes, f"certainty: left out: {error}"]
    else:
        found = memo(certify_kernels, inquiry, reader.read(images)[aggregation], hardware)
    smallest = min(Counter(filter(None, inquiry.categories)).values())
    if inquiry.plan.resamples and smallest < FEWEST_DRAWN:
        notes.append(
            f"certainty: a category has {smallest} images: drawing them again varies less than new "
            f"images would, and intervals are too narrow; {FEWEST_DRAWN} or more are better"
        )
    what = name_units(aggregation)
    for name, each in found.metrics.items():
        if each.unsure:
            notes.append(
                f"certainty: {name} is undefined for {each.unsure} {what} in some of "
                f"{inquiry.plan.resamples} resamples; their intervals rest on the others"
            )
        if inquiry.plan.resamples and np.sum(~np.isnan(each.low)) < FEWEST_UNITS:
            notes.append(
                f"certainty: {name} has a score for fewer than {FEWEST_UNITS} {what}: intervals of "
                f"what is correlated or counted over {what} say little"
            )
    return found, notes
