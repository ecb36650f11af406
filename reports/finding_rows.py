"""A finding in words: its values, its difference with the interval, its margin and its verdict; pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from bench.metrics import CATALOGUE, REGULAR, SLOPE
from reports.formatting import NBSP, NONE, count, format_number, ms, shortened
from reports.metric_comparison import MetricComparison
from reports.metric_spec import MetricSpec, better_of
from reports.rate_metrics import RATES
from reports.render.blocks import MARKS
from reports.statistics.differences import FAR, Difference, Scale
from reports.statistics.quantiles import Shortfall
from reports.statistics.verdicts import NOT_AFTER_HOLM, VerdictName
from reports.wording import verdicts
from reports.wording.cells import INFINITE
from reports.wording.verdicts import NOTHING, as_share, interval_of, share

UNITS: dict[Scale, str] = {"ratio": "%", "points": "points", "slope": SLOPE}
ONE_IN = {0.5: "half of the", 0.75: "one in four", 0.9: "one in ten", 0.95: "one in twenty", 0.99: "one in a hundred"}


def which_turns(question: MetricSpec) -> tuple[str, bool]:
    """one turn in twenty; half of the sessions: and whether that is several."""
    noun = CATALOGUE[question.metric].scope
    words = ONE_IN[question.p or 0.5]
    return (f"{words} {noun}s", True) if words.endswith("the") else (words.replace("one", f"one {noun}", 1), False)


BETWEEN_PEERS: dict[str, tuple[str, str]] = {
    "regressed": ("slower", "worse"),
    "improved": ("faster", "better"),
    "not_regressed": ("not slower", "not worse"),
}
"""What a verdict is called between two services: of a latency, of every other metric."""


def shown_verdict(name: str, metric: str, *, peers: bool) -> str:
    """Return a verdict as screens show it: slower, not regressed. `peers`: as of `MetricComparison`."""
    if not peers or name not in BETWEEN_PEERS:
        return name.replace("_", " ")
    return BETWEEN_PEERS[name][0 if verdicts.is_latency(metric) else 1]


def size(d: float, finding: MetricComparison, *, longer: bool = False) -> str:
    """65 % more, 4 % less, 2.7 points more: how far a difference of this d is. `longer`: of waits, 65 % longer."""
    more, less = ("longer", "shorter") if longer and is_time(finding.question) else ("more", "less")
    word = more if d >= 0 else less
    if finding.question.scale != "ratio":
        return f"{_amount(d, finding)}{NBSP}{UNITS[finding.question.scale]} {word}"
    return f"{_amount(d, finding)}{NBSP}% {word}" if math.isfinite(d) else f"infinitely {word}"


def range_of(finding: MetricComparison, *, longer: bool = True) -> str:
    """5 to 19 % longer; from 3 % shorter to 19 % longer; an open end is said as such. `longer`: of waits, not more."""
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


def figure_value(value: float, question: MetricSpec) -> str:
    return ms(value) if question.unit == "ms" and math.isfinite(value) else in_unit(question, value)


def in_unit(question: MetricSpec, value: float) -> str:
    """Return a value of a table in its unit: 640 ms, 1.20 %, 1.31 ×."""
    if math.isinf(value):
        return INFINITE
    if question.scale == "points":
        return f"{share(value)}{NBSP}%"
    return format_number(value) if question.unit == "n" else f"{format_number(value)}{NBSP}{question.unit}"


def is_time(question: MetricSpec) -> bool:
    """Whether it is a time of which less is better."""
    return question.unit == "ms" and is_lower(question)


def is_lower(question: MetricSpec) -> bool:
    return better_of(question) == "lower"


ROOM = 33
"""Letters that fit below the name of a figure."""
UNJUDGED = "not evaluated"
NOT_JUDGED = f"– {UNJUDGED}"
"""In the place of a verdict, where figures may not be used."""


@dataclass(frozen=True)
class FindingRow:
    """One finding. `d`, `low`, `high` and `margin` are places on the axis: logs of a ratio, or percentage points.

    `d` is NaN if there is no difference. `why`: why a verdict is inconclusive. `doubted`: provisional, because one
    target drifts.
    `within`: ` (slower, within 20 %)`, where "equivalent" alone would be read as no change. `known`: slower, or worse.
    """

    name: str
    which: str
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
    why: str
    known: str
    after_holm: bool
    doubted: bool
    finding: MetricComparison

    @property
    def beside(self) -> str:
        """from the end of speech, not gated: what stands below the name where there is little room."""
        beside = ", ".join(filter(None, (self.which, "" if self.finding.question.primary else "not gated")))
        return beside if len(beside) <= ROOM else shortened(self.which, ROOM)

    @property
    def told(self) -> str:
        """+65 % (+47 to +87 %)."""
        return f"{self.change} ({self.interval})" if self.interval else self.change

    @property
    def verdict(self) -> str:
        """? inconclusive (Holm): the outcome with its sign; ≈ equivalent (provisional)."""
        return f"{self.signed}{' (provisional)' if self.doubted else ''}"

    @property
    def signed(self) -> str:
        """? inconclusive (Holm): the outcome with its sign, and not whether it is provisional."""
        return NOT_JUDGED if self.outcome == UNJUDGED else f"{MARKS[self.verdict_name].glyph} {self.outcome}"

    @property
    def judged(self) -> str:
        """✓ not regressed; ≈ equivalent (within 40 %)."""
        return self.verdict + self.within

    @property
    def short(self) -> str:
        """The same beside an axis that says the unit of points, or of slopes."""
        return self.told.replace(f"{NBSP}points", "").replace(f"{NBSP}{SLOPE}", "")

    @property
    def measured(self) -> str:
        """1,600 → 2,640 ms; empty where there is no difference."""
        base, candidate = self.values
        return "" if {base, candidate} <= {NONE, NOTHING} else f"{base} → {with_unit(candidate, self.unit)}"


def row(finding: MetricComparison, colour: int, *, usable: bool = True) -> FindingRow:
    """A finding in words. `colour`: the candidate's place among the sides; one that is not `usable` has no verdict."""
    question, difference, few = finding.question, finding.published, finding.shortfall
    scale = 100.0 if question.scale == "points" else 1.0
    d, low, high = (difference.d, difference.low, difference.high) if difference else (math.nan,) * 3
    found, verdict = finding.difference, finding.verdict
    values = NONE, NONE
    if found is not None:
        base_few, own_few = finding.shortfalls
        values = _value(found.baseline, base_few, question), _value(found.candidate, own_few, question)
    # the bar lies beyond the margin, and the verdict is inconclusive all the same
    holm = usable and found is not None and found.worse.low > 0 and verdict.reason == NOT_AFTER_HOLM
    name = verdict.name if usable else "inconclusive"
    value = as_share(found.d, found.scale) if found else None
    accepted = verdicts.margin(question.margin, question.metric)
    known = verdicts.direction_text(finding.known, question.metric)
    outcome = shown_verdict(name, question.metric, peers=finding.peers) + (" (Holm)" if holm else "")
    values = NONE, NONE
    if found is not None:
        base_few, own_few = finding.shortfalls
        values = _value(found.baseline, base_few, question), _value(found.candidate, own_few, question)
    # an arm drifts by itself in this figure; that two runs differ is said of all figures together
    doubted = usable and verdict.provisional and found is not None and found.order is not None
    return FindingRow(
        name=question.name,
        which="" if question.stratum is None else question.stratum.since or REGULAR,
        colour=colour,
        values=values,
        unit=question.shown_unit if found else "",
        change=verdicts.difference(difference),
        interval=f"needs {count(few.needs)}{NBSP}{few.of}" if few else verdicts.interval_of(difference),
        margin_text=accepted,
        d=d * scale,
        low=low * scale,
        high=high * scale,
        margin=_place(question, difference),
        verdict_name=name,
        outcome=outcome if usable else UNJUDGED,
        within=verdicts.within(name, value, question.scale, accepted, known),
        why=_why(finding) if usable else "",
        known=known if usable else "",
        after_holm=holm,
        doubted=doubted,
        finding=finding,
    )


def shares_of(found: Difference) -> list[float | None]:
    """Return a difference and the ends of its interval as documents have them: 0.2 is +20 %; None if it has no end."""
    return [as_share(d, found.scale, found.candidate) for d in (found.d, found.low, found.high)]


def definition(metric: str) -> str:
    """What a figure is, in the words of the catalogue; empty for an unknown one."""
    known = CATALOGUE.get(metric) or RATES.get(metric)
    return known.sentence if known else ""


def _value(value: float, few: Shortfall | None, question: MetricSpec) -> str:
    if question.scale == "points":  # of too few turns 3 of 4
        return f"{round(value * few.there)} of {few.there}" if few else share(value)
    return NOTHING if few else INFINITE if value == math.inf else format_number(value)


def with_unit(value: str, unit: str) -> str:
    """A figure with its unit, which `∞` and `n/a` have not."""
    return value if value in (INFINITE, NOTHING) else f"{value}{NBSP}{unit}".rstrip()


def _place(question: MetricSpec, difference: Difference | None) -> float:
    """How far the margin lies from "same". With `plus`, which counts at this baseline: both must be exceeded."""
    margin = question.margin
    if question.scale == "points":
        return 100 * margin.points
    if question.scale == "slope":
        return margin.plus
    plus = margin.plus / difference.baseline if difference and 0 < difference.baseline < math.inf else 0.0
    return math.log1p(max(margin.ratio, plus))


def _why(finding: MetricComparison) -> str:
    """slower; it takes about 370 pairs: what is known of an inconclusive figure, and what would settle it."""
    verdict, needed = finding.verdict, finding.needed
    if verdict.name != "inconclusive":
        return ""
    takes = verdicts.said(verdict.reason)
    if not verdict.reason and not math.isnan(needed):
        more_than = f"more than {count(FAR * max(finding.sessions))}"
        many = f"about {count(int(needed))}" if math.isfinite(needed) else more_than
        takes = f"it takes {many} {'pairs' if finding.unit == 'pair' else 'sessions per target'}"
    return "; ".join(filter(None, (verdicts.direction_text(finding.known, finding.question.metric), takes)))
