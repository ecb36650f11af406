"""The texts and axis positions of a metric comparison: its values, difference, interval, margin,
and verdict. Pure.
"""

import math
from typing import NamedTuple

from bench.catalogue.metrics import REGULAR, SLOPE
from reports.engine.judge import Judged
from reports.formatting import NBSP, NONE, count, excerpt, format_number, join_present, ms
from reports.metrics.metric_spec import MetricSpec, better_direction
from reports.render.blocks import MARKS
from reports.results.value import Reason, Scale, VerdictName, as_share
from reports.statistics.differences import MAX_SESSIONS_RATIO
from reports.statistics.verdicts import NOT_AFTER_HOLM
from reports.text import reasons, verdicts
from reports.text.phrases import INFINITE
from reports.text.verdicts import NOT_SHOWN, in_unit, interval_of, share

UNITS: dict[Scale, str] = {"ratio": "%", "points": "points", "slope": SLOPE}
ONE_IN = {
    0.5: "half of the {}s",
    0.75: "one {} in four",
    0.9: "one {} in ten",
    0.95: "one {} in twenty",
    0.99: "one {} in a hundred",
}
"""The turns beyond each quantile, as a text. `{}` is the noun for a turn."""
BETWEEN_PEERS = {
    "regressed": ("slower", "worse"),
    "improved": ("faster", "better"),
    "not_regressed": ("not slower", "not worse"),
}
"""The names of verdicts if two services are compared, with no baseline: for a latency, and for
any other metric."""
MEANINGS: dict[VerdictName, tuple[str, str]] = {
    "regressed": ("A fail", "the whole interval is worse than the margin"),
    "improved": ("A pass", "the whole interval is better than the margin"),
    "not_regressed": ("A pass", "the worse end of the interval is within the margin"),
    "equivalent": ("A pass", "both ends of the interval are within the margin"),
    "inconclusive": (
        "Neither a pass nor a fail",
        "the interval contains the margin, or there are too few turns",
    ),
}
"""What each verdict means for a decision, and its condition."""


def displayed_verdict(name: str, spec: MetricSpec, *, peers: bool) -> str:
    """Return the displayed name of a verdict, such as `slower` or `not regressed`.

    `peers` is True if neither of the two targets is the baseline, as in `Judged`.
    """
    if not peers or name not in BETWEEN_PEERS:
        return name.replace("_", " ")
    return BETWEEN_PEERS[name][0 if verdicts.is_latency(spec) else 1]


def size(d: float, comparison: Judged, *, longer: bool = False) -> str:
    """Return the size of a difference `d`, such as `65 % more` or `4 % less`. That of a time itself
    is also in its unit: `165 ms (42 %) more`.

    If `longer`, differences of times are written as `65 % longer` or `4 % shorter`.
    """
    more, less = (
        ("longer", "shorter")
        if longer and verdicts.is_latency(comparison.spec)
        else ("more", "less")
    )
    word = more if d >= 0 else less
    if comparison.spec.scale != "ratio":
        return f"{_amount(d, comparison)}{NBSP}{UNITS[comparison.spec.scale]} {word}"
    if not math.isfinite(d):
        return f"infinitely {word}"
    shown = f"{_amount(d, comparison)}{NBSP}%"
    change_ms = _change_ms(comparison)
    is_whole = comparison.difference is not None and d == comparison.difference.d
    return f"{ms(abs(change_ms))} ({shown}) {word}" if is_whole and change_ms else f"{shown} {word}"


def _change_ms(comparison: Judged) -> float:
    """Return the difference of a time; 0 if there is none. Its interval is only known in %."""
    difference = comparison.difference
    if difference is None or comparison.spec.unit != "ms" or comparison.spec.scale != "ratio":
        return 0.0
    change_ms = difference.candidate - difference.baseline
    return change_ms if math.isfinite(change_ms) else 0.0


def range_of(comparison: Judged, *, longer: bool = True) -> str:
    """Return the range of a difference, such as `5 to 19 % longer` or `from 3 % shorter to 19 %
    longer`.

    An unbounded range is written as `anything`. If `longer`, differences of times are written with
    longer and shorter, otherwise with more and less.
    """
    difference = comparison.difference
    spec = comparison.spec
    assert difference is not None, "there is a difference"
    if not (math.isfinite(difference.low) and math.isfinite(difference.high)):
        return f"anything ({interval_of(difference)})"
    more, less = ("longer", "shorter") if longer and verdicts.is_latency(spec) else ("more", "less")
    low, high = (_amount(end, comparison) for end in (difference.low, difference.high))
    unit = f"{NBSP}{UNITS[spec.scale]}"
    if difference.low >= 0:
        return f"{low} to {high}{unit} {more}"
    if difference.high <= 0:
        return f"{high} to {low}{unit} {less}"
    return f"from {low}{unit} {less} to {high}{unit} {more}"


def _amount(end: float, comparison: Judged) -> str:
    scale = comparison.spec.scale
    if scale == "slope":
        return format_number(abs(end))
    return share(abs(end)) if scale == "points" else count(abs(round(100 * (math.exp(end) - 1))))


def value_text(value: float, spec: MetricSpec) -> str:
    return ms(value) if spec.unit == "ms" and math.isfinite(value) else in_unit(spec.unit, value)


def is_lower(spec: MetricSpec) -> bool:
    return better_direction(spec) == "lower"


ROOM = 33
"""The maximum number of characters in the text below the name of a metric."""
NO_VERDICT = "not evaluated"
NOT_JUDGED = f"– {NO_VERDICT}"
"""The text that replaces the verdict if the values must not be used."""


class ComparisonRow(NamedTuple):
    """A comparison as a row of texts and axis positions, which are logs of a ratio, or percentage
    points.

    `usable` is False if the values must not be used: the row then has no verdict.
    """

    comparison: Judged
    usable: bool = True

    @property
    def turns_text(self) -> str:
        stratum = self.comparison.spec.stratum
        return "" if stratum is None else stratum.measured_from_text or REGULAR

    @property
    def ends(self) -> tuple[float, float, float]:
        """The positions of the difference and of both ends of its interval; NaN if there is
        none.
        """
        published = self.comparison.published
        scale = 100.0 if self.comparison.spec.scale == "points" else 1.0
        if not published:
            return (math.nan,) * 3
        return published.d * scale, published.low * scale, published.high * scale

    @property
    def margin(self) -> float:
        """The axis position of the margin.

        A margin `plus` in ms is first converted to a share of the baseline's value. If the margin
        also has a ratio, the larger one is the position, because a regression must exceed both.
        """
        scale = self.comparison.spec.scale
        margin = self.comparison.spec.margin
        difference = self.comparison.published
        if scale != "ratio":
            return 100 * margin.points if scale == "points" else margin.plus
        plus = (
            margin.plus / difference.baseline
            if difference and 0 < difference.baseline < math.inf
            else 0.0
        )
        return math.log1p(max(margin.ratio, plus))

    @property
    def verdict_name(self) -> VerdictName:
        return self.comparison.verdict.name if self.usable else "inconclusive"

    @property
    def outcome(self) -> str:
        displayed = displayed_verdict(
            self.verdict_name, self.comparison.spec, peers=self.comparison.peers
        )
        return f"{displayed}{' (Holm)' if self.after_holm else ''}" if self.usable else NO_VERDICT

    @property
    def within(self) -> str:
        """The margin of a verdict that a reader could understand as "no change", such as `
        (slower, within 20 %)`.
        """
        return within(self.comparison) if self.usable else ""

    @property
    def reason(self) -> str:
        """The direction of an inconclusive metric and the sessions that would decide it; "" for
        other verdicts.

        Example: `slower; needs about 370 pairs`.
        """
        one = self.comparison
        needed = self.comparison.required_sessions
        if one.verdict.name != "inconclusive" or not self.usable:
            return ""
        text = reasons.reason_text(one.reason)
        if not one.reason and not math.isnan(needed):
            more_than = f"more than {count(MAX_SESSIONS_RATIO * max(one.each('sessions')))}"
            number_text = f"about {count(needed)}" if math.isfinite(needed) else more_than
            units = "pairs" if one.cluster == "pair" else "sessions per target"
            needs = f"needs {number_text} {units}"
            text = "two runs differ by chance" if one.runs_differ else needs
        return join_present("; ", direction_of(one), text)

    @property
    def after_holm(self) -> bool:
        """True if the interval is beyond the margin, but the verdict is inconclusive after
        Holm's correction.
        """
        difference = self.comparison.difference
        return (
            self.usable
            and difference is not None
            and difference.worse.low > 0
            and self.comparison.reason == NOT_AFTER_HOLM
        )

    @property
    def is_doubted(self) -> bool:
        """True if the verdict is provisional because one target drifted. A difference between two
        runs is noted once, for all metrics.
        """
        difference = self.comparison.difference
        drifted = difference is not None and difference.order is not None
        return self.usable and self.comparison.verdict.provisional and drifted

    @property
    def name(self) -> str:
        return self.comparison.spec.name

    @property
    def margin_text(self) -> str:
        return self.comparison.spec.margin_text()

    @property
    def note(self) -> str:
        """The text below the name if the row has little room, such as `from end of speech,
        secondary`.
        """
        text = join_present(
            ", ", self.turns_text, "" if self.comparison.spec.primary else "secondary"
        )
        return text if len(text) <= ROOM else excerpt(self.turns_text, ROOM)

    @property
    def change_text(self) -> str:
        return change_text(self.comparison)

    @property
    def signed(self) -> str:
        """The verdict with its sign but without the word `provisional`, such as `? inconclusive
        (Holm)`.
        """
        return (
            NOT_JUDGED
            if self.outcome == NO_VERDICT
            else f"{MARKS[self.verdict_name].marker} {self.outcome}"
        )

    @property
    def verdict(self) -> str:
        """The verdict with its sign, such as `? inconclusive (Holm)` or `≈ equivalent
        (provisional)`.
        """
        return f"{self.signed}{' (provisional)' if self.is_doubted else ''}"

    @property
    def verdict_text(self) -> str:
        """The verdict with its sign and, if it is needed, its margin, such as `≈ equivalent
        (within 40 %)`.
        """
        return self.verdict + self.within

    @property
    def short(self) -> str:
        """The difference with its interval, without the unit, which the axis next to it shows."""
        return self.change_text.replace(f"{NBSP}points", "").replace(f"{NBSP}{SLOPE}", "")

    @property
    def measured(self) -> str:
        """The value of the baseline and of the candidate, such as `1,600 → 2,640 ms`; "" if
        neither is displayed.
        """
        base, candidate = values_of(self.comparison)
        unit = f"{NBSP}{self.comparison.spec.shown_unit}"
        # once, if both have it
        base = base.removesuffix(unit) if candidate.endswith(unit) else base
        return "" if {base, candidate} <= {NONE, NOT_SHOWN} else f"{base} → {candidate}"


def values_of(comparison: Judged) -> tuple[str, str]:
    """Return the value of the baseline and of the candidate, each with its unit."""
    difference = comparison.difference
    base, candidate = comparison.shortfalls
    if difference is None:
        return NONE, NONE
    return _value(difference.baseline, base, comparison.spec), _value(
        difference.candidate, candidate, comparison.spec
    )


def interval_text(comparison: Judged) -> str:
    """Return the interval of the difference, or why it is not shown."""
    published = comparison.published
    shortfall = comparison.shortfall
    if shortfall:
        return reasons.reason_text(shortfall)
    if comparison.unfit:
        return "uncertain in this run"
    return (
        ""
        if published and verdicts.has_zero_baseline(published)
        else verdicts.interval_of(published)
    )


def change_of(comparison: Judged) -> str:
    """Return the difference without its interval, such as `+65 %`."""
    return verdicts.difference(comparison.published)


def change_in_words(comparison: Judged) -> str:
    """Return the difference without its interval, that of a time also in its unit, such as
    `+165 ms (+42 %)`.
    """
    change_ms = _change_ms(comparison)
    shown = change_of(comparison)
    return f"{'+' if change_ms > 0 else '−'}{ms(abs(change_ms))} ({shown})" if change_ms else shown


def change_text(comparison: Judged) -> str:
    """Return the difference with its interval, such as `+65 % (+47 to +87 %)`."""
    change = change_of(comparison)
    interval = interval_text(comparison)
    return f"{change} ({interval})" if interval else change


def direction_of(comparison: Judged) -> str:
    """Return the direction that is known even if there is no verdict: slower, or worse; "" if it
    is unknown.
    """
    is_latency = verdicts.is_latency(comparison.spec)
    return (
        {"worse": "slower", "better": "faster"}.get(comparison.direction, "")
        if is_latency
        else comparison.direction
    )


NEAR = 0.05
"""The limit for the distance of a ratio from 1. If an equivalent result is farther from 1, its
margin is shown."""


def within(comparison: Judged) -> str:
    """Return a text with the margin for a verdict that a reader could understand as "no change";
    otherwise "".

    It is ` (slower, within 20 %)` if a metric passes although it is worse, and ` (within 40 %)` if
    an equivalent ratio is far from 1.
    """
    verdict = comparison.verdict.name
    difference = comparison.difference
    accepted = comparison.spec.margin_text()
    if verdict in ("equivalent", "not_regressed") and comparison.direction == "worse":
        return f" ({direction_of(comparison)}, within {accepted})"
    if verdict != "equivalent" or difference is None or difference.scale != "ratio":
        return ""
    change = as_share(difference.d, difference.scale)
    return "" if change is None or abs(change) <= NEAR else f" (within {accepted})"


def _value(value: float, shortfall: Reason | None, spec: MetricSpec) -> str:
    """Return a value with its unit. If there are too few turns for a rate, return the two
    counts, such as `3 of 4`.
    """
    if math.isnan(value):
        return NOT_SHOWN
    if spec.scale == "points":
        return (
            f"{round(value * shortfall.there)} of {shortfall.there}"
            if shortfall
            else f"{share(value)}{NBSP}%"
        )
    if shortfall or value == math.inf:
        return NOT_SHOWN if shortfall else INFINITE
    return f"{format_number(value)}{NBSP}{spec.shown_unit}".rstrip()
