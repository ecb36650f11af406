"""The two forms of a result: a value of some turns, and a finding, which is a value against another one.

All documents and pages are made of these. A value names its turns (`Subject`), its metric and its statistic.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated

from msgspec import field

from reports.results.estimate import Estimate
from reports.results.json_entries import Count, JsonEntry, Known, Rounded, described, entry_from
from reports.results.reason import Reason


class Group(JsonEntry, frozen=True, kw_only=True):
    """Turns that have one value of a key, or values from one to another, inclusive."""

    by: Annotated[str, described("the key, such as pause")]
    name: str
    start: Annotated[Rounded, described("null if the key is not a number")] = field(name="from", default=math.nan)
    end: Rounded = field(name="to", default=math.nan)


class Subject(JsonEntry, frozen=True, kw_only=True):
    """The turns, or the sessions, that a value describes: those of one target, or some of them."""

    target: str
    measured_from: Annotated[Known, described("the instant that latency is measured from; null for any")] = ""
    turn_type: Annotated[Known, described("the type of the turns; null for regular turns, and for all")] = ""
    title: Annotated[Known, described("the target, with what distinguishes these turns from others of the run")] = ""
    step: Annotated[Known, described("null for all steps")] = ""
    group: Group | None = None


RATE, COUNT, MEAN, MEDIAN = "rate", "count", "mean", "median"
ONLY = (RATE, COUNT, MEAN, MEDIAN)
"""The statistics that need no name, because a page shows only one of them for a metric."""


class Value(Estimate, Subject, frozen=True, kw_only=True):
    """A statistic of a metric, with its interval of 95 % over sessions. What is unknown is null."""

    metric: str
    statistic: Annotated[str, described("such as p95, rate, within(2000), or mean")]
    value: Rounded
    low: Rounded = math.nan
    high: Rounded = math.nan
    count: Annotated[Count | None, described("the events of a rate; null for other statistics")] = None
    n: Annotated[Count, described("the turns, sessions or words from which it is computed")]
    unit: Annotated[str, described("the unit of n")] = "turns"
    failed: Annotated[Count, described("turns that failed: of a latency, they are infinite")] = 0
    not_started: Annotated[Count, described("planned turns that did not start")] = 0
    sessions: Count
    effective_sessions: Annotated[Rounded, described("Kish's effective number of sessions")] = math.nan
    deff: Annotated[Rounded, described("design effect")] = math.nan
    by_length: Annotated[bool, described("long sessions differ from short ones")] = False
    successes: Annotated[Rounded, described("the same quantile of successful turns alone")] = math.nan
    reason: Annotated[Reason | None, described("of a quantile: why it, or an end of its interval, is missing")] = None

    @property
    def name(self) -> str:
        """The metric, with the statistic unless it is the only one of its metrics, such as `cut_off` or `ttfa p95`."""
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


class Finding(JsonEntry, frozen=True, kw_only=True):
    """A value of a candidate against the same value of the baseline."""

    value: Value
    against: Value
    difference: Annotated[Rounded, described("value − against; of shares, 0.2 is 20 points; null if one has too few")]
    low: Annotated[Rounded, described("one-sided bound of the difference; null if it is unbounded")]
    high: Rounded
