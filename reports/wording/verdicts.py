"""Texts for values, differences, and margins, and for the reasons why results are inconclusive. Pure.

The commands compare and check and the interim analyses share these texts. A difference is relative to the baseline:
0.65 is +65 %. For rates it is a difference of shares: 0.01 is one percentage point. For slopes it is in the unit of the
slope. If a bound is None, the interval is open on this side.
"""

from __future__ import annotations

import math
from functools import partial

from bench.catalogue.metrics import CATALOGUE, SLOPE
from reports.formatting import NBSP, NONE, change, count, format_number, join_words, plural
from reports.metric_spec import MetricSpec
from reports.statistics.baselines import RATE_RUN_SD, RUN_SD
from reports.statistics.differences import Difference, Scale
from reports.statistics.verdicts import LATE, ORDERS, InconclusiveReason, unequal_reason
from reports.wording.cells import INFINITE, UNBOUNDED, interval

NOT_SHOWN = "n/a"
"""The text for a value that may not be shown."""
ZERO_BASELINE = f"{NOT_SHOWN} (baseline is 0)"
"""The text for a ratio to a baseline of 0."""
NEAR = 0.05
"""The limit for the distance of a ratio from 1. If an equivalent result is farther from 1, its margin is shown."""


def metric_text(spec: MetricSpec) -> str:
    """Return the name of a metric, such as `ttfa p95 from end of speech, with function calls` or `failure_rate`."""
    if spec.stratum is None:
        return spec.name
    since = spec.stratum.measured_from_text
    if not since:
        return f"{spec.name} of {spec.stratum.turns}"
    start = CATALOGUE[spec.metric].begin if spec.metric in CATALOGUE else ""
    return f"{spec.name} {'' if start == 'measured_from' else 'of turns '}{since}"


def as_share(d: float, scale: Scale, candidate: float = math.nan) -> float | None:
    """Return a difference in the form in which texts show it: as a share of the baseline, or in points.

    `d` is the log of a ratio if `scale` is "ratio". If `candidate` is 0, the share is −1. Return None if `d` is not
    finite.
    """
    if d == -math.inf and candidate == 0 and scale == "ratio":
        return -1.0
    if not math.isfinite(d):
        return None
    return math.expm1(min(d, 300.0)) if scale == "ratio" else d


RUN_TO_RUN = f"{100 * RUN_SD:g}{NBSP}% for latencies and {100 * RATE_RUN_SD:g}{NBSP}% for rates"
"""The run-to-run variation that is assumed for an unchanged service, as a text."""


def share(value: float) -> str:
    """Return a rate in percent without the unit, such as 0.55, 1.10, or 12.3."""
    if math.isnan(value):
        return NONE
    return "0" if not value else f"{100 * value:.{2 if value < 0.0995 else 1}f}"


def points(value: float | None) -> str:
    """Return a difference of rates in percentage points without the unit, such as +0.05, −1.15, or 0."""
    if value is None or not math.isfinite(value):
        return UNBOUNDED
    text = f"{100 * value:+.{2 if abs(value) < 0.0995 else 1}f}"
    return "0" if float(text) == 0 else text.replace("-", "−")


def signed(value: float | None, scale: Scale) -> str:
    """Return a difference with its unit, such as `+65 %` or `−0.55 points`."""
    if value is None:
        return UNBOUNDED
    if scale == "slope":
        return f"{'+' if value > 0 else ''}{format_number(value)}{NBSP}{SLOPE}"
    return f"{points(value)}{NBSP}points" if scale == "points" else change(1 + value)


def difference(result: Difference | None) -> str:
    """Return the difference of candidate and baseline, such as `+65 %` or `−0.55 points`.

    The text is `∞` if only the candidate's value lies among failed turns, `was ∞` if only the baseline's does,
    `n/a (baseline is 0)` if this makes the ratio infinite, and `n/a` if there is no difference.
    """
    if result is None or math.isnan(result.d):
        return NOT_SHOWN
    if has_zero_baseline(result):
        return ZERO_BASELINE
    value = as_share(result.d, result.scale, result.candidate)
    if value is None:
        return INFINITE if result.d > 0 else f"was {INFINITE}"
    return signed(value, result.scale)


def difference_interval(low: float | None, high: float | None, scale: Scale) -> str:
    """Return an interval, such as `+47 to +87 %`, `up to +12 %`, or `unbounded`.

    Points have no unit: `−1.15 to +0.05`.

    """
    return interval(low, high, points if scale == "points" else partial(signed, scale=scale))


def interval_of(result: Difference | None) -> str:
    """Return the interval of a difference as a text; "" if there is no difference."""
    if result is None or math.isnan(result.d):
        return ""
    return difference_interval(as_share(result.low, result.scale), as_share(result.high, result.scale), result.scale)


def has_zero_baseline(result: Difference) -> bool:
    """Return whether a ratio is infinite because the baseline is 0, not because turns of the candidate failed."""
    return result.scale == "ratio" and result.d == math.inf and result.baseline == 0 and math.isfinite(result.candidate)


def margin(spec: MetricSpec, *, sign: bool = False) -> str:
    """Return the margin of a metric spec as a text, such as `20 %`, `30 ms`, `20 % and 30 ms`, or `1 point`.

    `sign` adds the sign that a threshold has. If more is better, the margin limits a decrease: 10 % is a ratio of
    1/0.9.
    """
    accepted = spec.margin
    if spec.scale == "points":
        size, more = 100 * accepted.points, "−" if spec.better == "higher" else "+"
        return f"{more if sign else ''}{format_number(size)}{NBSP}point{'' if round(size, 9) == 1 else 's'}"
    if spec.better == "higher":
        return f"{'−' if sign else ''}{format_number(100 * (1 - 1 / (1 + accepted.ratio)))}{NBSP}%"
    parts = [f"{format_number(100 * accepted.ratio)}{NBSP}%"] if accepted.ratio or not accepted.plus else []
    parts += [f"{format_number(accepted.plus)}{NBSP}{spec.unit}"] if accepted.plus else []
    return " and ".join(f"{'+' if sign else ''}{text}" for text in parts)


def direction_text(known: str, spec: MetricSpec) -> str:
    """Return the direction of a difference. For a latency, "worse" becomes "slower", and "better" becomes "faster"."""
    return {"worse": "slower", "better": "faster"}.get(known, known) if is_latency(spec) else known


def is_latency(spec: MetricSpec) -> bool:
    """Return whether the value is a time of which less is better."""
    return (spec.unit, spec.better) == ("ms", "lower")


def within(word: str, value: float | None, scale: Scale, accepted: str, known: str = "") -> str:
    """Return a text with the margin for a verdict that needs it; otherwise "".

    It is ` (slower, within 20 %)` if a metric passes although it is worse, and ` (within 40 %)` if an equivalent ratio
    is far from 1. `word` is the verdict, and `known` is the direction of the whole interval.
    """
    if word in ("equivalent", "not_regressed") and known in ("slower", "worse"):
        return f" ({known}, within {accepted})"
    if word != "equivalent" or scale != "ratio" or value is None or abs(value) <= NEAR:
        return ""
    return f" (within {accepted})"


NOUNS = {
    "failure_rate": "failure", "throttle_rate": "throttled turn", "stall_rate": "stalled reply",
    "cut_off_rate": "turn cut off", "false_yield_rate": "false yield", "false_reply_rate": "false response",
    "input_wer": "word error", "reply_wer": "word error", **{name: name for name in LATE.values()},
}  # fmt: skip


def verdict_text(reason: InconclusiveReason | None) -> str:
    """Return the reason for an inconclusive result as a text; "" if the interval shows the reason.

    Example: `too few turns to decide: p95 needs 400 per target, 96 on new`.
    """
    return ": ".join(filter(None, parts(reason)))


def beyond_limit(reason: InconclusiveReason, side: str) -> str:
    """Return why a limit is not decided by too few units, although the whole interval is on one side of the limit.

    `side` is "above" or "below". Example: `the interval is above the limit, but a verdict on p95 needs 400 turns (about
    100 sessions); this run has 200`.
    """
    on = "" if reason.p is None else f" on p{reason.p * 100:g}"
    about = f" (about {plural(reason.about_sessions, 'session')})" if reason.about_sessions else ""
    needs = f"needs {plural(reason.needed, reason.unit)}{about}"
    return f"the interval is {side} the limit, but a verdict{on} {needs}; this run has {count(reason.there[0])}"


def parts(reason: InconclusiveReason | None) -> tuple[str, str]:
    """Return the reason for an inconclusive result as two texts: the reason, and its numbers.

    Example: `too few turns to decide` and `p95 needs 400 per target, 96 measured`.
    """
    if reason is None:
        return "", ""
    if reason.text:
        return "", f"no turn succeeded; {reason.text}" if reason.kind == "nothing_succeeded" else reason.text
    match reason.kind:
        case "too_few":
            lead = f"too few {reason.unit}s to decide"
            if reason.unit == "pair":
                return lead, f"{reason.needed} needed, {min(reason.there):,} measured"
            needs = f"needs {reason.needed:,}" if reason.p is None else f"p{reason.p * 100:g} needs {reason.needed:,}"
            if len(reason.there) == 1:  # the number of one target, compared with a limit
                about = f" (about {reason.about_sessions:,} sessions)" if reason.about_sessions else ""
                return lead, f"{needs}{about}, this run has {reason.there[0]:,}"
            if reason.p is None:
                return lead, f"{reason.needed} needed per target, {_shortfall(reason)}"
            return lead, f"{needs} per target, {_shortfall(reason)}"
        case "unequal":
            return unequal_reason(reason.there[0], reason.effective_sessions, reason.unit), f"{reason.needed} needed"
        case "none_seen" | "no_event":
            # with no failure in 100 sessions the rate may still be up to 2.95 %: about 299 sessions are needed
            noun = NOUNS.get(reason.metric, f"{reason.metric} turn")
            observed = f"with no {noun} in {plural(reason.there[0], 'session')}"
            is_limit, end = reason.kind == "no_event", reason.upper
            may_be = "the upper bound is" if is_limit else "the rate may still be up to"
            if reason.metric in LATE.values():  # the rate is that of the other turns
                may_be, end = "the lower bound is" if is_limit else "the rate may still be as low as", 1 - end
            bound = f"{observed} {may_be} {share(end)}{NBSP}%"
            return (bound, f"about {plural(reason.needed, 'session')} are needed") if reason.needed else ("", bound)
        case "few_baseline":
            lead = f"worse than the margin, but the baseline has only {plural(reason.there[0], 'session')}"
            return lead, f"it needs about {count(reason.needed)}"
        case "no_turns":
            return "", f"no {reason.metric} on {join_words(list(reason.targets))}"
        case "no_analysis":
            return "no interim analysis", f"{count(reason.there[0])} of {plural(reason.needed, 'pair')} ended"
        case "would_stay_inconclusive":
            return "", f"would stay inconclusive at {reason.needed} pairs"
    texts: dict[str, str] = {
        "no_value": "not measured on both targets",
        "no_value_here": "the run or its baseline has no such value",
        "nothing_measured": "nothing was measured",
        "within_bounds": "the limit lies within the interval",
        "no_ratio": "the value of the stored runs is 0, so there is no ratio",
        "in_failures": "the quantile is infinite: too many turns failed",
        "failure_rate_decides": "the quantile is infinite because too many turns failed: failure_rate decides",
        "after_holm": "worse than the margin by itself, but not after Holm’s correction",
        "drift": ORDERS["drift"],
        "bursts": ORDERS["bursts"],
        "not_positive": "a mean is not positive",
    }
    return "", texts[reason.kind]


def _shortfall(reason: InconclusiveReason) -> str:
    """Return the existing numbers that are too small, such as `96 on new` or `96 on old and 120 on new`.

    Return `96 measured` if all targets have the same number, or if the targets are unknown.
    """
    if not reason.targets or len(set(reason.there)) == 1:
        return f"{min(reason.there):,} measured"
    both = zip(reason.there, reason.targets, strict=True)
    return " and ".join(f"{n:,} on {target}" for n, target in both if n < reason.needed)
