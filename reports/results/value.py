"""The two forms of a result: a value of some turns, and a finding, which is a value against another
one.

All documents and pages are made of these. A value names its turns (`Subject`), its metric and its
statistic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Literal

from msgspec import field

from reports.results.estimate import Estimate
from reports.results.json_entries import (
    ClosedJsonEntry,
    Count,
    JsonEntry,
    Known,
    Rounded,
    described,
    entry_from,
)
from reports.results.reason import Reason
from reports.results.verdict import Result, VerdictName


class Group(JsonEntry, frozen=True, kw_only=True):
    """Turns that have one value of a key, or values from one to another, inclusive."""

    by: Annotated[str, described("the key, such as pause")]
    name: str
    start: Annotated[Rounded, described("null if the key is not a number")] = field(
        name="from", default=math.nan
    )
    end: Rounded = field(name="to", default=math.nan)


class Subject(JsonEntry, frozen=True, kw_only=True):
    """The turns, or the sessions, that a value describes: those of one target, or some of them."""

    target: str
    measured_from: Annotated[
        Known, described("the instant that latency is measured from; null for any")
    ] = ""
    turn_type: Annotated[
        Known, described("the type of the turns; null for regular turns, and for all")
    ] = ""
    title: Annotated[
        Known, described("the target, with what distinguishes these turns from others of the run")
    ] = ""
    step: Annotated[Known, described("null for all steps")] = ""
    group: Group | None = None


RATE = "rate"
COUNT = "count"
MEAN = "mean"
MEDIAN = "median"
ENDS = ("value", "low", "high")
ONLY = (RATE, COUNT, MEAN, MEDIAN)
"""The statistics that need no name, because a page shows only one of them for a metric."""


class Value(Estimate, Subject, frozen=True, kw_only=True):
    """A statistic of a metric, with its interval of 95 % over sessions. What is unknown is null."""

    metric: str
    statistic: Annotated[str, described("such as p95, rate, within(2000), or mean")]
    value: Rounded
    low: Rounded = math.nan
    high: Rounded = math.nan
    count: Annotated[Count | None, described("the events of a rate; null for other statistics")] = (
        None
    )
    n: Annotated[Count, described("the turns, sessions or words from which it is computed")]
    unit: Annotated[str, described("the unit of n")] = "turns"
    failed: Annotated[Count, described("turns that failed: of a latency, they are infinite")] = 0
    not_started: Annotated[Count, described("planned turns that did not start")] = 0
    sessions: Count
    effective_sessions: Annotated[Rounded, described("Kish's effective number of sessions")] = (
        math.nan
    )
    deff: Annotated[Rounded, described("design effect")] = math.nan
    by_length: Annotated[bool, described("long sessions differ from short ones")] = False
    successes: Annotated[Rounded, described("the same quantile of successful turns alone")] = (
        math.nan
    )
    reason: Annotated[
        Reason | None, described("of a quantile: why it, or an end of its interval, is missing")
    ] = None

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


class FindingTexts(ClosedJsonEntry, frozen=True):
    """A finding as the texts that pages show. `distance` is from the value to the limit."""

    baseline: Known = ""
    value: str = ""
    interval: str = ""
    limit: str = ""
    distance: Known = ""
    verdict: str = ""
    reason: Known = ""


class Finding(JsonEntry, frozen=True, kw_only=True):
    """A value against a limit, or against the same value of a baseline. What is unknown is left
    out.
    """

    threshold: Known = ""
    title: Known = ""
    value: Value
    against: Annotated[
        Value | None, described("the value of the baseline; null if there is a limit")
    ] = None
    operator: Sign | None = None
    limit: float | None = None
    unit: Annotated[Known, described("the unit of both values, and of the limit")] = ""
    scale: Annotated[
        Scale | None, described("ratio: value / against − 1; points: value − against, of shares")
    ] = None
    difference: Annotated[Rounded, described("on the scale: 0.2 is +20 %, or 20 points")] = math.nan
    low: Annotated[
        Rounded, described("one-sided bound of the difference; null if it is unbounded")
    ] = math.nan
    high: Rounded = math.nan
    confidence: Annotated[Rounded, described("of each one-sided bound")] = math.nan
    margin: Annotated[dict[str, float], described("the largest accepted difference")] = field(
        default_factory=dict
    )
    primary: bool = False
    result: Annotated[Result, described("not_evaluated also for a rate without a margin")] = (
        "not_evaluated"
    )
    verdict: VerdictName | None = None
    reason: Annotated[Reason | None, described("why it is inconclusive or not evaluated")] = None
    provisional: Annotated[
        bool, described("variation was assumed, or the latency of one target drifted")
    ] = False
    direction: Annotated[
        Literal["worse", "better"] | None,
        described("of the difference; null if its interval contains 0"),
    ] = None
    bound: Annotated[
        Rounded, described("the one-sided bound that decided a limit, type I error 5 %")
    ] = math.nan
    shortfall: Annotated[
        Reason | None, described("the samples that the value lacks to be printed")
    ] = None
    more_sessions: Annotated[
        int | None, described("further sessions per target, or pairs, for a verdict")
    ] = None
    completed_shares: Annotated[
        list[Rounded],
        described("of the planned turns, those with a value: the baseline's, then the target's"),
    ] = field(default_factory=list)
    se: Annotated[Rounded, described("standard error; of a ratio, that of its logarithm")] = (
        math.nan
    )
    df: Rounded = math.nan
    worse_low: Annotated[
        Rounded,
        described(
            "lower bound of the excess over the margin (of a ratio, its logarithm): worse if"
            " above 0"
        ),
    ] = math.nan
    worse_high: Rounded = math.nan
    p_worse: Rounded = math.nan
    better_low: Rounded = math.nan
    p_better: Rounded = math.nan
    analysis: Annotated[int | None, described("the interim analysis that decided, from 1")] = None
    corrected: Annotated[Rounded, described("the difference, corrected for the early stop")] = (
        math.nan
    )
    sentence: Known = ""
    note: Annotated[Known, described("what the values do not show")] = ""
    texts: Annotated[FindingTexts | None, described("the finding as pages show it")] = None
