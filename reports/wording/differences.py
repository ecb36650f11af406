"""Figures, differences and margins of a comparison in words, the same in compare, check and decide; pure.

A difference is a share of the baseline (0.65 is +65 %), of rates one of shares (0.01 is one percentage point), of
slopes one of slopes; None where it has no end.
"""

from __future__ import annotations

import math

from bench.measures import CATALOGUE, SLOPE
from reports.numbers import NBSP, NONE, change, three
from reports.question import RATES, Question
from reports.statistics.differences import Difference, Margin, Scale

OPEN = "open"
"""An end that the samples do not bound."""
NOTHING = "n/a"
"""A figure that is not told."""
TIMEOUT = f">{NBSP}timeout"
"""A figure that lies among the failed turns."""
NEAR = 0.05
"""A ratio that lies farther from 1 than this is told with its margin where it is equivalent."""


def figure(question: Question) -> str:
    """ttfa p95 from the end of speech, with function calls; failure rate."""
    if question.stratum is None:
        return question.name
    since = question.stratum.since
    if not since:
        return f"{question.name} of {question.stratum.turns}"
    begins = CATALOGUE[question.measure].begin if question.measure in CATALOGUE else ""
    return f"{question.name} {'' if begins == 'origin' else 'of turns '}{since}"


def scale_of(question: Question) -> Scale:
    """How its differences are told."""
    if question.kind == "rate":
        return "points"
    return "slope" if CATALOGUE[question.measure].unit == SLOPE else "ratio"


def as_share(d: float, scale: Scale, candidate: float = math.nan) -> float | None:
    """A difference as the statistics have it; −1 where nothing is left of a baseline."""
    if d == -math.inf and candidate == 0 and scale == "ratio":
        return -1.0
    if not math.isfinite(d):
        return None
    return math.expm1(min(d, 300.0)) if scale == "ratio" else d


def share(value: float) -> str:
    """A rate in percent, without its unit: 0.55, 1.10, 12.3."""
    if math.isnan(value):
        return NONE
    return "0" if not value else f"{100 * value:.{2 if value < 0.0995 else 1}f}"


def points(value: float | None) -> str:
    """A difference of rates in percentage points, without its unit: +0.05, −1.15, 0."""
    if value is None or not math.isfinite(value):
        return OPEN
    text = f"{100 * value:+.{2 if abs(value) < 0.0995 else 1}f}"
    return "0" if float(text) == 0 else text.replace("-", "−")


def signed(value: float | None, scale: Scale) -> str:
    """+65 %, −0.55 points."""
    if value is None:
        return OPEN
    if scale == "slope":
        return f"{'+' if value > 0 else ''}{three(value)}{NBSP}{SLOPE}"
    return f"{points(value)}{NBSP}points" if scale == "points" else change(1 + value)


def difference(found: Difference | None) -> str:
    """+65 %, −0.55 points; > timeout where the candidate lies in the failed share; n/a where there is none."""
    if found is None or math.isnan(found.d):
        return NOTHING
    value = as_share(found.d, found.scale, found.candidate)
    if value is None:
        return TIMEOUT if found.d > 0 else f"was {TIMEOUT}"
    return signed(value, found.scale)


def difference_interval(low: float | None, high: float | None, scale: Scale) -> str:
    """+47 to +87 %; −1.15 to +0.05 of points, whose unit stands beside it; open, or open to +12 %."""
    if low is None and high is None:
        return OPEN
    if scale == "points":
        return f"{points(low)} to {points(high)}"
    first, last = signed(low, scale), signed(high, scale)
    unit = SLOPE if scale == "slope" else "%"
    return f"{first if high is None else first.removesuffix(f'{NBSP}{unit}')} to {last}"


def interval_of(found: Difference | None) -> str:
    """The interval of a difference; empty where there is none."""
    if found is None or math.isnan(found.d):
        return ""
    return difference_interval(as_share(found.low, found.scale), as_share(found.high, found.scale), found.scale)


def margin(accepted: Margin, measure: str, *, sign: bool = False) -> str:
    """20 %; 30 ms; 20 % and 30 ms; 1 point: how much worse is accepted. `sign`: as it is written in a threshold.

    Where more is better, what is accepted is less: 10 % is a ratio of 1/0.9.
    """
    known = CATALOGUE.get(measure)
    if known is None:
        size, more = 100 * accepted.points, "−" if RATES[measure].better == "higher" else "+"
        return f"{more if sign else ''}{three(size)}{NBSP}point{'' if round(size, 9) == 1 else 's'}"
    if known.better == "higher":
        return f"{'−' if sign else ''}{three(100 * (1 - 1 / (1 + accepted.ratio)))}{NBSP}%"
    parts = [f"{three(100 * accepted.ratio)}{NBSP}%"] if accepted.ratio or not accepted.plus else []
    parts += [f"{three(accepted.plus)}{NBSP}{known.unit}"] if accepted.plus else []
    return " and ".join(f"{'+' if sign else ''}{part}" for part in parts)


def within(word: str, value: float | None, scale: Scale, accepted: str) -> str:
    """` (within 40 %)`, of an equivalent ratio that is not near 1: the word alone would be read as no change."""
    if word != "equivalent" or scale != "ratio" or value is None or abs(value) <= NEAR:
        return ""
    return f" (within {accepted})"
