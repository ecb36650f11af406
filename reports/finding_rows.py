"""A metric comparison in words: its values, its difference with the interval, its margin, and its verdict. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.metrics import CATALOGUE, REGULAR, SLOPE
from reports.formatting import NBSP, NONE, count, excerpt, format_number, ms
from reports.metric_comparison import MetricComparison
from reports.metric_spec import MetricSpec, better_direction
from reports.rate_metrics import RATES
from reports.render.blocks import MARKS
from reports.statistics.differences import MAX_SESSIONS_RATIO, Difference, Scale
from reports.statistics.quantiles import Shortfall
from reports.statistics.verdicts import NOT_AFTER_HOLM, VerdictName
from reports.wording import verdicts
from reports.wording.cells import INFINITE
from reports.wording.verdicts import NOT_SHOWN, as_share, interval_of, share

UNITS: dict[Scale, str] = {"ratio": "%", "points": "points", "slope": SLOPE}
ONE_IN = {0.5: "half of the", 0.75: "one in four", 0.9: "one in ten", 0.95: "one in twenty", 0.99: "one in a hundred"}


def which_turns(question: MetricSpec) -> tuple[str, bool]:
    """Return the turns that a quantile is about, such as `one turn in twenty`, and True if that text is plural."""
    noun = CATALOGUE[question.metric].scope
    words = ONE_IN[question.p or 0.5]
    return (f"{words} {noun}s", True) if words.endswith("the") else (words.replace("one", f"one {noun}", 1), False)


BETWEEN_PEERS: dict[str, tuple[str, str]] = {
    "regressed": ("slower", "worse"),
    "improved": ("faster", "better"),
    "not_regressed": ("not slower", "not worse"),
}
"""The names of verdicts if two services are compared. Each pair is the name for a latency and for any other metric."""


def displayed_verdict(name: str, metric: str, *, peers: bool) -> str:
    """Return the displayed name of a verdict, such as `slower` or `not regressed`.

    `peers`: True if neither of the two targets is the baseline, as in `MetricComparison`.
    """
    if not peers or name not in BETWEEN_PEERS:
        return name.replace("_", " ")
    return BETWEEN_PEERS[name][0 if verdicts.is_latency(metric) else 1]


def size(d: float, finding: MetricComparison, *, longer: bool = False) -> str:
    """Return the size of a difference d: `65 % more`, `4 % less`. `longer`: True to write `65 % longer` for times."""
    more, less = ("longer", "shorter") if longer and is_time(finding.question) else ("more", "less")
    word = more if d >= 0 else less
    if finding.question.scale != "ratio":
        return f"{_amount(d, finding)}{NBSP}{UNITS[finding.question.scale]} {word}"
    return f"{_amount(d, finding)}{NBSP}% {word}" if math.isfinite(d) else f"infinitely {word}"


def range_of(finding: MetricComparison, *, longer: bool = True) -> str:
    """Return the range of a difference, such as `5 to 19 % longer` or `from 3 % shorter to 19 % longer`.

    An unbounded range is `anything`. `longer`: True to write longer and shorter for times, instead of more and less.
    """
    found, question = finding.difference, finding.question
    assert found is not None, "there is a difference"
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return f"anything ({interval_of(found)})"
    more, less = ("longer", "shorter") if longer and is_time(question) else ("more", "less")
    low, high = (_amount(end, finding) for end in (found.low, found.high))
    unit = f"{NBSP}{UNITS[question.scale]}"
    if found.low >= 0:
        return f"{low} to {high}{unit} {more}"
    if found.high <= 0:
        return f"{high} to {low}{unit} {less}"
    return f"from {low}{unit} {less} to {high}{unit} {more}"


def _amount(end: float, finding: MetricComparison) -> str:
    scale = finding.question.scale
    if scale == "slope":
        return format_number(abs(end))
    return share(abs(end)) if scale == "points" else count(abs(round(100 * (math.exp(end) - 1))))


def value_text(value: float, question: MetricSpec) -> str:
    return ms(value) if question.unit == "ms" and math.isfinite(value) else in_unit(question, value)


def in_unit(question: MetricSpec, value: float) -> str:
    """Return a value in its unit for a table, such as `640 ms`, `1.20 %`, or `1.31 ×`."""
    if math.isinf(value):
        return INFINITE
    if question.scale == "points":
        return f"{share(value)}{NBSP}%"
    return format_number(value) if question.unit == "n" else f"{format_number(value)}{NBSP}{question.unit}"


def is_time(question: MetricSpec) -> bool:
    """Return whether the metric is a time and less is better."""
    return question.unit == "ms" and is_lower(question)


def is_lower(question: MetricSpec) -> bool:
    return better_direction(question) == "lower"


ROOM = 33
"""The maximum length of the text below the name of a metric."""
NO_VERDICT = "not evaluated"
NOT_JUDGED = f"– {NO_VERDICT}"
"""The text that is displayed instead of a verdict if the values must not be used."""


@dataclass(frozen=True)
class FindingRow:
    """A comparison as a row of texts and axis positions.

    `d`, `low`, `high` and `margin` are axis positions: logs of a ratio, or percentage points.

    - `d`: the difference; NaN if there is none
    - `reason`: why a verdict is inconclusive
    - `is_doubted`: True if the verdict is provisional because one target drifted
    - `within`: ` (slower, within 20 %)` if a reader could understand "equivalent" alone as no change
    - `known`: the direction that is known even without a verdict: slower, or worse
    """

    name: str
    turns_text: str
    colour: int
    values: tuple[str, str]
    unit: str
    change: str
    interval: str
    margin_text: str
    d: float
    low: float
    high: float
    margin: float
    verdict_name: VerdictName
    outcome: str
    within: str
    reason: str
    known: str
    after_holm: bool
    is_doubted: bool
    finding: MetricComparison

    @property
    def note(self) -> str:
        """The text below the name if there is little room, such as `from end of speech, not gated`."""
        text = ", ".join(filter(None, (self.turns_text, "" if self.finding.question.primary else "secondary")))
        return text if len(text) <= ROOM else excerpt(self.turns_text, ROOM)

    @property
    def change_text(self) -> str:
        """The difference with its interval, such as `+65 % (+47 to +87 %)`."""
        return f"{self.change} ({self.interval})" if self.interval else self.change

    @property
    def verdict(self) -> str:
        """The verdict with its sign, such as `? inconclusive (Holm)` or `≈ equivalent (provisional)`."""
        return f"{self.signed}{' (provisional)' if self.is_doubted else ''}"

    @property
    def signed(self) -> str:
        """The verdict with its sign, such as `? inconclusive (Holm)`. The word `provisional` is left out."""
        return NOT_JUDGED if self.outcome == NO_VERDICT else f"{MARKS[self.verdict_name].marker} {self.outcome}"

    @property
    def verdict_text(self) -> str:
        """The verdict in words with its margin, such as `✓ not regressed` or `≈ equivalent (within 40 %)`."""
        return self.verdict + self.within

    @property
    def short(self) -> str:
        """The difference with its interval, as it is written next to an axis that already shows the unit."""
        return self.change_text.replace(f"{NBSP}points", "").replace(f"{NBSP}{SLOPE}", "")

    @property
    def measured(self) -> str:
        """The values, such as `1,600 → 2,640 ms`; "" if there is no difference."""
        base, candidate = self.values
        return "" if {base, candidate} <= {NONE, NOT_SHOWN} else f"{base} → {with_unit(candidate, self.unit)}"


def row(finding: MetricComparison, colour: int, *, usable: bool = True) -> FindingRow:
    """Return a comparison as a row of texts.

    `colour`: the candidate's number among the targets. `usable`: False if the values must not be used, so that the row
    has no verdict.
    """
    question, difference, few = finding.question, finding.published, finding.shortfall
    scale = 100.0 if question.scale == "points" else 1.0
    d, low, high = (difference.d, difference.low, difference.high) if difference else (math.nan,) * 3
    found, verdict = finding.difference, finding.verdict
    values = NONE, NONE
    if found is not None:
        base_few, own_few = finding.shortfalls
        values = _value(found.baseline, base_few, question), _value(found.candidate, own_few, question)
    # the interval is beyond the margin, but the verdict is inconclusive after Holm's correction
    holm = usable and found is not None and found.worse.low > 0 and verdict.reason == NOT_AFTER_HOLM
    name = verdict.name if usable else "inconclusive"
    value = as_share(found.d, found.scale) if found else None
    accepted = verdicts.margin(question.margin, question.metric)
    known = verdicts.direction_text(finding.direction, question.metric)
    outcome = displayed_verdict(name, question.metric, peers=finding.peers) + (" (Holm)" if holm else "")
    values = NONE, NONE
    if found is not None:
        base_few, own_few = finding.shortfalls
        values = _value(found.baseline, base_few, question), _value(found.candidate, own_few, question)
    # drift of one target makes this metric doubtful; a difference between two runs is noted once, for all metrics
    doubted = usable and verdict.provisional and found is not None and found.order is not None
    return FindingRow(
        name=question.name,
        turns_text="" if question.stratum is None else question.stratum.measured_from_text or REGULAR,
        colour=colour,
        values=values,
        unit=question.shown_unit if found else "",
        change=verdicts.difference(difference),
        interval=f"needs {count(few.needs)}{NBSP}{few.of}" if few else verdicts.interval_of(difference),
        margin_text=accepted,
        d=d * scale,
        low=low * scale,
        high=high * scale,
        margin=_margin_position(question, difference),
        verdict_name=name,
        outcome=outcome if usable else NO_VERDICT,
        within=verdicts.within(name, value, question.scale, accepted, known),
        reason=_reason(finding) if usable else "",
        known=known if usable else "",
        after_holm=holm,
        is_doubted=doubted,
        finding=finding,
    )


def shares_of(found: Difference) -> list[float | None]:
    """Return a difference and its interval's ends as numbers for documents: 0.2 is +20 %, None is unbounded."""
    return [as_share(d, found.scale, found.candidate) for d in (found.d, found.low, found.high)]


def definition(metric: str) -> str:
    """Return the definition of a metric from the catalogue; "" for an unknown metric."""
    known = CATALOGUE.get(metric) or RATES.get(metric)
    return known.sentence if known else ""


def _value(value: float, few: Shortfall | None, question: MetricSpec) -> str:
    if question.scale == "points":  # if there are too few turns, this is the two counts, such as 3 of 4
        return f"{round(value * few.there)} of {few.there}" if few else share(value)
    return NOT_SHOWN if few else INFINITE if value == math.inf else format_number(value)


def with_unit(value: str, unit: str) -> str:
    """Return a value with its unit. The values `∞` and `n/a` get no unit."""
    return value if value in (INFINITE, NOT_SHOWN) else f"{value}{NBSP}{unit}".rstrip()


def _margin_position(question: MetricSpec, difference: Difference | None) -> float:
    """Return the axis position of the margin.

    `plus` is converted with the value of this baseline. If the margin also has a ratio, both must be exceeded.
    """
    margin = question.margin
    if question.scale == "points":
        return 100 * margin.points
    if question.scale == "slope":
        return margin.plus
    plus = margin.plus / difference.baseline if difference and 0 < difference.baseline < math.inf else 0.0
    return math.log1p(max(margin.ratio, plus))


def _reason(finding: MetricComparison) -> str:
    """Return what is known of an inconclusive metric, and what would decide it: `slower; it takes about 370 pairs`."""
    verdict, needed = finding.verdict, finding.required_sessions
    if verdict.name != "inconclusive":
        return ""
    takes = verdicts.verdict_text(verdict.reason)
    if not verdict.reason and not math.isnan(needed):
        more_than = f"more than {count(MAX_SESSIONS_RATIO * max(finding.sessions))}"
        many = f"about {count(int(needed))}" if math.isfinite(needed) else more_than
        takes = f"needs {many} {'pairs' if finding.unit == 'pair' else 'sessions per target'}"
    return "; ".join(filter(None, (verdicts.direction_text(finding.direction, finding.question.metric), takes)))
