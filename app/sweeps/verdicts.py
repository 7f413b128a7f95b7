"""Statements of the paper, decided by paired intervals: they hold, they do not, or nobody can tell.

Numbers of all jobs come from the same draws of the images, so a difference is taken draw by draw;
where several networks were asked, network by network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from app.findings.certainty import average, find_interval

YES, NO, UNSURE, UNTESTED = "yes", "no", "cannot tell", "not tested here"


@dataclass(frozen=True)
class Estimate:
    """A number, and what it is in each draw of the images; no draws: its certainty is unknown.

    Or a mean over networks, and what it is in each of these: they are the draws then.
    """

    value: float
    draws: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))  # NaN: undefined
    of_networks: bool = False

    def __sub__(self, other: Estimate) -> Estimate:
        return combine(lambda both: both[0] - both[1], [self, other])

    def __rsub__(self, number: float) -> Estimate:
        return combine(lambda own: number - own[0], [self])

    @property
    def interval(self) -> tuple[float, float]:
        """The bootstrap interval of 95 %; of a mean over networks, Student's."""
        if not self.of_networks:
            return find_interval(self.draws)
        half = find_half(self.sd, np.count_nonzero(~np.isnan(self.draws)))
        return self.value - half, self.value + half

    @property
    def sd(self) -> float:
        """The standard deviation over networks; NaN of fewer than two."""
        known = self.draws[~np.isnan(self.draws)]
        return float(np.std(known, ddof=1)) if self.of_networks and len(known) > 1 else nan

    def is_above(self, bound: float = 0) -> str:
        """Whether the interval lies above a bound, or not above it, or has it inside."""
        low, high = self.interval
        return UNSURE if isnan(low) or low <= bound < high else YES if low > bound else NO

    def tell(self, digits: int | None = None) -> str:
        """The number, with its SD over networks."""
        if isnan(self.value):
            return "undefined"
        spread = f" ± {_say(self.sd, digits)}" if self.sd > 0 else ""
        return f"{_say(self.value, digits)}{spread}"

    def __str__(self) -> str:
        low, high = self.interval
        if isnan(low):
            return f"{self.tell()}, no interval"
        return f"{self.tell()} [{_say(low)}, {_say(high)}]"


def find_half(sd: Any, networks: Any) -> Any:
    """Half of Student's interval of 95 % of a mean over so many networks; numbers, or tables."""
    return stats.t.ppf(0.975, networks - 1) * sd / np.sqrt(networks)


def combine(
    function: Callable[[NDArray[np.float64]], NDArray[np.float64]], parts: Sequence[Estimate]
) -> Estimate:
    """Make one number of several, draw by draw; `function` reduces the first axis.

    The first of many draws are those of few. One network alone is the same beside each of several.
    """
    several = [part for part in parts if part.of_networks]
    fewest = min(len(part.draws) for part in several or parts)
    every = [part.draws[:fewest] if part.of_networks or not several
             else np.full(fewest, part.value) for part in parts]  # fmt: skip
    draws = np.asarray(function(np.array(every)), dtype=np.float64)
    if several:
        return Estimate(average(draws), draws, of_networks=True)
    return Estimate(float(function(np.array([part.value for part in parts]))), draws)


@dataclass(frozen=True)
class Claim:
    """A statement of the paper, whether it holds here, and what decides."""

    text: str
    holds: str  # one of the words above
    because: str = ""

    def __str__(self) -> str:
        return f"{self.text}: {self.holds}" + (f", {self.because}" if self.because else "")


def claim(
    text: str,
    differences: Mapping[str, Estimate],
    name: str = "difference to",
    shown: Mapping[str, Estimate] | None = None,
) -> Claim:
    """Claim that every difference is above 0.

    It holds where all intervals are above, does not where one is not, and else nobody can tell.
    Told is the smallest difference of those that decide, or its `shown` one.
    """
    known = {key: each for key, each in differences.items() if not isnan(each.value)}
    if not known:
        return Claim(text, UNTESTED)
    verdicts = {key: each.is_above() for key, each in known.items()}
    holds = join([*verdicts.values()])
    deciding = [key for key in known if verdicts[key] == holds]
    least = min(deciding, key=lambda key: known[key].value)
    because = f"{name} {least} {known[least]}" if least else str(known[least])
    if shown is not None:
        because = f"{least} {shown[least]}"
    several = [each.draws for each in known.values() if each.of_networks]
    if several:
        lowest = np.min(several, axis=0)  # NaN where a network lacks one
        because += f", in {np.sum(lowest > 0)} of {np.sum(~np.isnan(lowest))} networks"
    return Claim(text, holds, because)


def _say(value: float, digits: int | None = None) -> str:
    if digits is None:
        digits = 1 if abs(value) >= 1 else 3
    return f"{value:z.{digits}f}".replace("-", "−")  # no −0


def join(verdicts: Sequence[str]) -> str:
    """Whether all of several statements hold."""
    return next((each for each in (NO, UNTESTED, UNSURE) if each in verdicts), YES)


def negate(verdict: str) -> str:
    """Whether the opposite holds."""
    return {YES: NO, NO: YES}.get(verdict, verdict)


def sum_up(claims: Sequence[Claim]) -> str:
    """In a word, how far the paper's statements hold here, and each of them."""
    found = {each.holds for each in claims} - {UNTESTED}
    if not found:
        return "Not compared: this sweep cannot tell."
    words = {frozenset([YES]): "Agrees", frozenset([NO]): "Disagrees",
             frozenset([UNSURE]): "Cannot tell"}  # fmt: skip
    mixed = "Agrees in part" if YES in found else "Disagrees in part"
    return f"{words.get(frozenset(found), mixed)} ({'; '.join(map(str, claims))})."
