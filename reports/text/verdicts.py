"""Texts for values, differences, and margins. Pure.

The commands compare and check and the interim analyses share these texts. A difference is relative to the baseline:
0.65 is +65 %. For rates it is a difference of shares: 0.01 is one percentage point. For slopes it is in the unit of the
slope. If a bound is None, the interval is open on this side.
"""

from __future__ import annotations

import math
from functools import partial

from bench.catalogue.metrics import CATALOGUE, SLOPE
from reports.formatting import NBSP, NONE, change, format_number
from reports.metrics.metric_spec import MetricSpec
from reports.statistics.baselines import RATE_RUN_SD, RUN_SD
from reports.statistics.differences import Difference, Scale
from reports.text.cells import INFINITE, UNBOUNDED, interval

NOT_SHOWN = "n/a"
"""The text for a value that may not be shown."""
ZERO_BASELINE = f"{NOT_SHOWN} (baseline is 0)"
"""The text for a ratio to a baseline of 0."""
NEAR = 0.05
"""The limit for the distance of a ratio from 1. If an equivalent result is farther from 1, its margin is shown."""

OWN_DRIFT = "the type I error is up to 15 %, not 5 %"
OWN_DRIFT_INTERIM = "the type I error is up to 20 %, not 5 %"
"""The maximum type I error of a comparison with interim analyses, if a target drifts. The true value is then assumed to
be exactly on the margin.

`make benchmark-statistics` measures this error (own_drift).
"""


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
    """Return a difference in the form in which texts show it: as a share of the baseline, or in points. `d` is the log
    of a ratio if `scale` is "ratio". If `candidate` is 0, the share is −1. Return None if `d` is not finite.
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
    """Return the margin of a metric spec as a text, such as `20 %`, `30 ms`, `20 % and 30 ms`, or `1 point`. `sign`
    adds the sign that a threshold has. If more is better, the margin limits a decrease: 10 % is a ratio of 1/0.9.
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


def in_unit(unit: str, value: float) -> str:
    """Return a value in its unit for a table, such as `640 ms`, `1.20 %`, or `1.31 ×`."""
    if not math.isfinite(value):
        return NONE if math.isnan(value) else INFINITE
    if unit == "share":
        return f"{share(value)}{NBSP}%"
    return format_number(value) if unit == "n" else f"{format_number(value)}{NBSP}{unit}"
