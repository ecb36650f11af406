"""Parts of the sentences of a comparison: figures, differences and ranges in words; pure."""

from __future__ import annotations

import math

from bench.measures import CATALOGUE, SLOPE
from reports.finding import Finding
from reports.numbers import NBSP, count, ms, three
from reports.question import Question, better_of
from reports.statistics.differences import Scale
from reports.wording.differences import TIMEOUT, interval_of, scale_of, share

UNITS: dict[Scale, str] = {"ratio": "%", "points": "points", "slope": SLOPE}
ONE_IN = {0.5: "half of the", 0.75: "one in four", 0.9: "one in ten", 0.95: "one in twenty", 0.99: "one in a hundred"}


def which_turns(question: Question) -> tuple[str, bool]:
    """one turn in twenty; half of the sessions: and whether that is several."""
    noun = CATALOGUE[question.measure].scope
    words = ONE_IN[question.p or 0.5]
    return (f"{words} {noun}s", True) if words.endswith("the") else (words.replace("one", f"one {noun}", 1), False)


def size(d: float, finding: Finding, *, longer: bool = False) -> str:
    """65 % more, 4 % less, 2.7 points more: how far a difference of this d is. `longer`: of waits, 65 % longer."""
    more, less = ("longer", "shorter") if longer and _is_long(finding.question) else ("more", "less")
    word = more if d >= 0 else less
    if scale_of(finding.question) != "ratio":
        return f"{_amount(d, finding)}{NBSP}{UNITS[scale_of(finding.question)]} {word}"
    return f"{_amount(d, finding)}{NBSP}% {word}" if math.isfinite(d) else f"endlessly {word}"


def range_of(finding: Finding) -> str:
    """5 to 19 % longer; from 3 % shorter to 19 % longer; an open end is said as such."""
    found, question = finding.difference, finding.question
    assert found is not None, "there is a difference"
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return f"anything ({interval_of(found)})"
    more, less = ("longer", "shorter") if _is_long(question) else ("more", "less")
    low, high = (_amount(end, finding) for end in (found.low, found.high))
    unit = f"{NBSP}{UNITS[scale_of(question)]}"
    if found.low >= 0:
        return f"{low} to {high}{unit} {more}"
    if found.high <= 0:
        return f"{high} to {low}{unit} {less}"
    return f"from {low}{unit} {less} to {high}{unit} {more}"


def _amount(end: float, finding: Finding) -> str:
    scale = scale_of(finding.question)
    if scale == "slope":
        return three(abs(end))
    return share(abs(end)) if scale == "points" else count(abs(round(100 * (math.exp(end) - 1))))


def value(value: float, question: Question) -> str:
    """A figure with its unit."""
    if math.isinf(value):
        return TIMEOUT
    if question.kind == "rate":
        return f"{share(value)}{NBSP}%"
    unit = CATALOGUE[question.measure].unit
    return ms(value) if unit == "ms" else f"{three(value)}{NBSP}{unit}"


def is_wait(question: Question) -> bool:
    """Whether it is a time of which less is better."""
    return CATALOGUE[question.measure].unit == "ms" and is_lower(question)


def _is_long(question: Question) -> bool:
    """Whether more of it is longer."""
    return question.kind != "rate" and is_wait(question)


def is_lower(question: Question) -> bool:
    """Whether less of it is better."""
    return better_of(question) == "lower"
