"""The types of a result. It has two forms: a value of some turns, and a finding, which is a value
against another one.

All documents and pages are made of these. A value names its turns (`Subject`), its metric and its
statistic. A `Reason`, a code with its numbers, states why a result has no value, no verdict, or may
not be used. An `Estimate` tells what the reason of a quantile states: whether it has an interval,
and what it lacks. A `Conclusion` is the verdict of a document. Whether a run is valid is a
`ValidityStatus` (`bench.record.document`).

The columns of tables, the plots, and the frames of the Python API are made from LEVELS, the levels
of the quantiles of a run. To add a level, add it there, and a field of this name to the types of
`reports.analysis.summary.metrics`.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, TypeVar

from msgspec import field

from bench.base.errors import FAIL_STATUS, INCONCLUSIVE_STATUS, INVALID_STATUS, PASS_STATUS
from bench.record.document import ValidityStatus
from reports.results.json_entries import (
    ClosedJsonEntry,
    Count,
    JsonEntry,
    Known,
    Rounded,
    narrowed,
)

LEVELS = (0.5, 0.9, 0.95, 0.99)
MAIN_LEVELS = (0.5, *(p for p in LEVELS if p >= 0.95))
"""The levels of the first table of a report: the median and the tail."""
TYPICAL_LEVELS = (0.5, 0.95)
"""The levels that are shown if there is room for two. Their keys are fields of groups and of
turns with tools."""
LEVEL_NAMES = {p: f"p{p * 100:g}" for p in LEVELS}
"""The name of each level for people, such as `p95` or `p99.9`."""
LEVEL_KEYS = {p: name.replace(".", "") for p, name in LEVEL_NAMES.items()}
"""The key of each level in a JSON document, such as `p95`, or `p999` for 0.999."""


def by_level(values: Iterable[Any]) -> dict[str, Any]:
    """Return the fields of such a struct. `values` has the value of each level."""
    return dict(zip(LEVEL_KEYS.values(), values, strict=True))


Counted = Literal["session", "pair", "turn", "word"]
T = TypeVar("T")


class Reason(ClosedJsonEntry):
    """A reason. Programs read its code and its numbers, people read its text.
    `reports.text.reasons` has all codes, and writes the texts. Only documents contain a text.
    """

    code: str
    numbers: dict[str, Any] = field(default_factory=dict)
    """the numbers and names of the reason, by name"""
    text: Known = ""
    """the reason as a sentence"""

    @property
    def needed(self) -> int:
        """The required number of units; 0 if the reason requires none."""
        needed: int = self.numbers.get("needed") or 0
        return needed

    @property
    def there(self) -> int:
        """The existing number of units. If there are several targets, it is the smallest one."""
        there: int = min(self.numbers["there"])
        return there

    @property
    def unit(self) -> Counted:
        """The unit of `needed` and `there`."""
        unit: Counted = self.numbers.get("unit", "session")
        return unit


Reasons = tuple[Reason, ...]
IN_FAILURES = Reason("in_failures")


def too_few(
    unit: Counted,
    needed: int,
    there: Sequence[int],
    targets: Sequence[str] = (),
    p: float | None = None,
) -> Reason:
    """Return the reason for a result that is based on too few of a unit. Each target needs
    `needed`. `there` is the existing number in each target; at least one of them is too small. `p`
    is the level of a quantile.
    """
    named = {"targets": list(targets)} if targets else {}
    level = {} if p is None else {"p": p}
    return Reason("too_few", {"unit": unit, "needed": needed, "there": list(there)} | named | level)


def too_few_to_print(unit: Counted, needed: int, there: int) -> Reason:
    """Return the reason why a value may not be printed. A verdict on it needs more of the unit
    than printing it.
    """
    return Reason("too_few_to_print", {"unit": unit, "needed": needed, "there": [there]})


def unique(reasons: Iterable[T]) -> list[T]:
    """Return each reason once, in the order of its first occurrence."""
    known = list[T]()
    for reason in reasons:
        known += [reason] if reason not in known else []
    return known


Status = Literal["reported", "in_failures", "too_few_turns", "too_few_sessions", "unbounded"]


class Estimate:
    """A quantile with its interval, and the reason why it has none, or only one end."""

    __slots__ = ()
    value: float
    low: float
    high: float
    reason: Reason | None

    @property
    def status(self) -> Status:
        """The code of the reason with the unit that is too small; "reported" without a reason."""
        if self.reason is None:
            return "reported"
        if self.reason.code == "too_few_to_print":
            return "too_few_turns" if self.reason.unit == "turn" else "too_few_sessions"
        return "unbounded" if self.reason.code == "unbounded" else "in_failures"

    @property
    def required(self) -> int:
        """The required number of turns or sessions; 0 if no number is required."""
        return self.reason.needed if self.reason else 0

    @property
    def has_interval(self) -> bool:
        """True if the estimate has an interval. One end of the interval may be open."""
        return self.status in ("reported", "unbounded")

    @property
    def has_too_few(self) -> bool:
        """True if there are too few turns or sessions to report the quantile."""
        return self.status in ("too_few_turns", "too_few_sessions")

    @property
    def reported_value(self) -> float:
        """The quantile; if one end of its interval is open, the other end instead."""
        return (
            self.value
            if self.status != "unbounded"
            else self.low
            if math.isfinite(self.low)
            else self.high
        )


Result = Literal["pass", "fail", "inconclusive", "not_evaluated"]
"""Whether a threshold, a check, or a comparison passes."""
VerdictName = Literal[
    "regressed",
    "improved",
    "equivalent",
    "not_regressed",
    "inconclusive",
    "pass",
    "fail",
    "not_evaluated",
]
"""Whether a metric of two targets differs, or whether a value meets its limit."""
RESULTS: dict[VerdictName, Result] = {
    "improved": "pass",
    "equivalent": "pass",
    "not_regressed": "pass",
    "regressed": "fail",
    "inconclusive": "inconclusive",
    "pass": "pass",
    "fail": "fail",
    "not_evaluated": "not_evaluated",
}
"""The result of a threshold for each verdict on its metric."""
VerdictStatus = Literal[0, 1, 3, 4]
RESULT_OF_STATUS: dict[VerdictStatus, Result] = {
    PASS_STATUS: "pass",
    FAIL_STATUS: "fail",
    INCONCLUSIVE_STATUS: "inconclusive",
    INVALID_STATUS: "not_evaluated",
}
"""For each exit status of a verdict, the result that it means."""


def some_unscored(metric: str, unscored: int, of: int, unit: str) -> Reason:
    """Return the reason why a value is known only within bounds: `unscored` of its turns, sessions
    or words could not be scored.
    """
    numbers = {"metric": metric, "unscored": unscored, "of": of, "unit": unit}
    return Reason("unscored", {"metrics": [numbers]})


class ValidityEntry(JsonEntry):
    """Whether the values of a check or comparison may be used: the reasons if not, and these as
    lines with remedies.
    """

    status: ValidityStatus
    reasons: list[Reason]
    messages: list[str]


def validity_entry(status: ValidityStatus, reasons: Sequence[Reason]) -> ValidityEntry:
    """Return the validity, still without messages. `status` is that of the run. If there are
    `reasons` and the run is valid, the entry is invalid.
    """
    return ValidityEntry(
        "invalid" if reasons and status == "valid" else status, unique(reasons), []
    )


class Conclusion(JsonEntry, kw_only=True):
    """The verdict of a document, in the same form in each of them."""

    result: Result
    """not_evaluated: the values may not be used, or there are none"""
    exit_status: VerdictStatus
    """0 pass, 1 fail, 3 inconclusive, 4 not evaluated"""
    headline: str
    """the verdict as a sentence"""


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

    @property
    def part(self) -> str:
        """The name of the group; "" for all turns."""
        return self.group.name if self.group else ""


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
    unscored: Count = 0
    """turns, sessions or words that should count, and could not be scored; not in n. The interval
    of a rate holds whatever their score would be"""
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
        return narrowed(Subject, self)


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


def as_share(d: float, scale: Scale, candidate: float = math.nan) -> float | None:
    """Return a difference as a share of the baseline, or in points.

    `d` is the log of a ratio if `scale` is "ratio". If `candidate` is 0, the share is −1. Return
    None if `d` is not finite.
    """
    if d == -math.inf and candidate == 0 and scale == "ratio":
        return -1.0
    if not math.isfinite(d):
        return None
    return math.expm1(min(d, 300.0)) if scale == "ratio" else d


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
    """A value against a limit, or against the same value of a baseline or of stored runs. What is
    unknown is left out.
    """

    threshold: Known = ""
    title: Known = ""
    value: Value
    unit: Known = ""
    """the unit of both values, or of the value and its limit"""
    primary: bool = False
    result: Result = "not_evaluated"
    """not_evaluated also for a rate without a margin"""
    verdict: VerdictName | None = None
    reason: Reason | None = None
    """why it is inconclusive or not evaluated"""
    provisional: bool = False
    """variation was assumed, or the latency of one target drifted"""
    shortfall: Reason | None = None
    """the samples that the value lacks to be printed"""
    more_sessions: int | None = None
    """further sessions per target, or pairs, for a verdict"""
    completed_shares: list[Rounded] = field(default_factory=list)
    """of the planned turns, those with a value: the baseline's, then the target's"""
    sentence: Known = ""
    note: Known = ""
    """what the values do not show"""
    texts: FindingTexts | None = None
    """the finding as pages show it"""


class LimitFinding(Finding, kw_only=True, tag_field="kind", tag="limit"):
    """A value against a limit."""

    operator: Sign
    limit: float
    bound: Rounded = math.nan
    """the one-sided bound that decided, type I error 5 %"""


class BaselineFinding(Finding, kw_only=True, tag_field="kind", tag="baseline"):
    """A value against the same value of a baseline."""

    against: Value
    """the value of the baseline"""
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
    direction: Literal["worse", "better"] | None = None
    """of the difference; null if its interval contains 0"""
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


class StoredFinding(BaselineFinding, kw_only=True, tag_field="kind", tag="stored"):
    """A value against those of stored runs."""


AnyFinding = LimitFinding | BaselineFinding | StoredFinding
