"""The two forms of a result: a value of some turns, and a finding, which is a value against another
one.

All documents and pages are made of these. A value names its turns (`Subject`), its metric and its
statistic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from msgspec import field

from reports.results.estimate import Estimate
from reports.results.json_entries import (
    ClosedJsonEntry,
    Count,
    JsonEntry,
    Known,
    Rounded,
    entry_from,
)
from reports.results.reason import Reason
from reports.results.verdict import Result, VerdictName


class Group(JsonEntry, kw_only=True):
    """Turns that have one value of a key, or values from one to another, inclusive."""

    by: str
    """the key, such as pause"""
    name: str
    start: Rounded = field(name="from", default=math.nan)
    """null if the key is not a number"""
    end: Rounded = field(name="to", default=math.nan)


class Subject(JsonEntry, kw_only=True):
    """The turns, or the sessions, that a value describes: those of one target, or some of them."""

    target: str
    measured_from: Known = ""
    """the instant that latency is measured from; null for any"""
    turn_type: Known = ""
    """the type of the turns; null for regular turns, and for all"""
    title: Known = ""
    """the target, with what distinguishes these turns from others of the run"""
    step: Known = ""
    """null for all steps"""
    group: Group | None = None


RATE = "rate"
COUNT = "count"
MEAN = "mean"
MEDIAN = "median"
ENDS = ("value", "low", "high")
ONLY = (RATE, COUNT, MEAN, MEDIAN)
"""The statistics that need no name, because a page shows only one of them for a metric."""


class Value(Estimate, Subject, kw_only=True):
    """A statistic of a metric, with its interval of 95 % over sessions. What is unknown is null."""

    metric: str
    statistic: str
    """such as p95, rate, within(2000), or mean"""
    value: Rounded
    low: Rounded = math.nan
    high: Rounded = math.nan
    count: Count | None = None
    """the events of a rate; null for other statistics"""
    n: Count
    """the turns, sessions or words from which it is computed"""
    unit: str = "turns"
    """the unit of n"""
    failed: Count = 0
    """turns that failed: of a latency, they are infinite"""
    not_started: Count = 0
    """planned turns that did not start"""
    sessions: Count
    effective_sessions: Rounded = math.nan
    """Kish's effective number of sessions"""
    deff: Rounded = math.nan
    """design effect"""
    by_length: bool = False
    """long sessions differ from short ones"""
    successes: Rounded = math.nan
    """the same quantile of successful turns alone"""
    reason: Reason | None = None
    """of a quantile: why it, or an end of its interval, is missing"""

    @property
    def name(self) -> str:
        """The metric, with the statistic unless it is the only one of its metrics, such as
        `cut_off` or `ttfa p95`.
        """
        return self.metric if self.statistic in ONLY else f"{self.metric} {self.statistic}"

    @property
    def events(self) -> int:
        """The number of events of a rate."""
        return self.count or 0

    @property
    def subject(self) -> Subject:
        return entry_from(Subject, self)


ValuesOfSubject = dict[str, Value]
"""The values of one subject, by name."""


def by_subject(values: Iterable[Value]) -> dict[Subject, ValuesOfSubject]:
    """Return the values of each subject."""
    table: dict[Subject, ValuesOfSubject] = {}
    for value in values:
        table.setdefault(value.subject, {})[value.name] = value
    return table


Sign = Literal["<", "<=", ">", ">="]
Scale = Literal["ratio", "points", "slope"]


class FindingTexts(ClosedJsonEntry):
    """A finding as the texts that pages show. `distance` is from the value to the limit."""

    baseline: Known = ""
    value: str = ""
    interval: str = ""
    limit: str = ""
    distance: Known = ""
    verdict: str = ""
    reason: Known = ""


class Finding(JsonEntry, kw_only=True):
    """A value against a limit, or against the same value of a baseline. What is unknown is left
    out.
    """

    threshold: Known = ""
    title: Known = ""
    value: Value
    against: Value | None = None
    """the value of the baseline; null if there is a limit"""
    operator: Sign | None = None
    limit: float | None = None
    unit: Known = ""
    """the unit of both values, and of the limit"""
    scale: Scale | None = None
    """ratio: value / against − 1; points: value − against, of shares"""
    difference: Rounded = math.nan
    """on the scale: 0.2 is +20 %, or 20 points"""
    low: Rounded = math.nan
    """one-sided bound of the difference; null if it is unbounded"""
    high: Rounded = math.nan
    confidence: Rounded = math.nan
    """of each one-sided bound"""
    margin: dict[str, float] = field(default_factory=dict)
    """the largest accepted difference"""
    primary: bool = False
    result: Result = "not_evaluated"
    """not_evaluated also for a rate without a margin"""
    verdict: VerdictName | None = None
    reason: Reason | None = None
    """why it is inconclusive or not evaluated"""
    provisional: bool = False
    """variation was assumed, or the latency of one target drifted"""
    direction: Literal["worse", "better"] | None = None
    """of the difference; null if its interval contains 0"""
    bound: Rounded = math.nan
    """the one-sided bound that decided a limit, type I error 5 %"""
    shortfall: Reason | None = None
    """the samples that the value lacks to be printed"""
    more_sessions: int | None = None
    """further sessions per target, or pairs, for a verdict"""
    completed_shares: list[Rounded] = field(default_factory=list)
    """of the planned turns, those with a value: the baseline's, then the target's"""
    se: Rounded = math.nan
    """standard error; of a ratio, that of its logarithm"""
    df: Rounded = math.nan
    worse_low: Rounded = math.nan
    """lower bound of the excess over the margin (of a ratio, its logarithm): worse if above 0"""
    worse_high: Rounded = math.nan
    p_worse: Rounded = math.nan
    better_low: Rounded = math.nan
    p_better: Rounded = math.nan
    analysis: int | None = None
    """the interim analysis that decided, from 1"""
    corrected: Rounded = math.nan
    """the difference, corrected for the early stop"""
    sentence: Known = ""
    note: Known = ""
    """what the values do not show"""
    texts: FindingTexts | None = None
    """the finding as pages show it"""
