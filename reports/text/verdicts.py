"""Texts for values, differences, and margins. Pure.

The commands compare and check and the interim analyses share these texts. A difference is relative
to the baseline: 0.65 is +65 %. For rates it is a difference of shares: 0.01 is one percentage
point. For slopes it is in the unit of the slope. If a bound is None, the interval is open on this
side.
"""

import math
from functools import partial

from bench.catalogue.metrics import SLOPE
from reports.formatting import NBSP, NONE, change, format_number
from reports.metrics.metric_spec import MetricSpec
from reports.results.value import Scale, as_share
from reports.statistics.differences import Difference
from reports.text.phrases import INFINITE, UNBOUNDED, interval

NOT_SHOWN = "n/a"
"""The text for a value that may not be shown."""
ZERO_BASELINE = f"{NOT_SHOWN} (baseline is 0)"
"""The text for a ratio to a baseline of 0."""

OWN_DRIFT = "the type I error is up to 15 %, not 5 %"
OWN_DRIFT_INTERIM = "the type I error is up to 20 %, not 5 %"
"""The maximum type I error of a comparison with interim analyses, if a target drifts. The true
value is then assumed to be exactly on the margin.

`make benchmark-statistics` measures this error (own_drift).
"""


def share(value: float) -> str:
    """Return a rate in percent without the unit, such as 0.55, 1.10, or 12.3."""
    if math.isnan(value):
        return NONE
    return "0" if not value else f"{100 * value:.{2 if value < 0.0995 else 1}f}"


def points(value: float | None) -> str:
    """Return a difference of rates in percentage points without the unit, such as +0.05, −1.15,
    or 0.
    """
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

    The text is `∞` if only the candidate's value lies among failed turns, `was ∞` if only the
    baseline's does, `n/a (baseline is 0)` if this makes the ratio infinite, and `n/a` if there is
    no difference.
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
    return difference_interval(
        as_share(result.low, result.scale), as_share(result.high, result.scale), result.scale
    )


def has_zero_baseline(result: Difference) -> bool:
    """Return whether a ratio is infinite because the baseline is 0, not because turns of the
    candidate failed.
    """
    return (
        result.scale == "ratio"
        and result.d == math.inf
        and result.baseline == 0
        and math.isfinite(result.candidate)
    )


def is_latency(spec: MetricSpec) -> bool:
    """Return whether the value is a time of which less is better."""
    return (spec.unit, spec.better) == ("ms", "lower")


def in_unit(unit: str, value: float) -> str:
    """Return a value in its unit for a table, such as `640 ms`, `1.20 %`, or `1.31 ×`."""
    if not math.isfinite(value):
        return NONE if math.isnan(value) else INFINITE
    if unit == "share":
        return f"{share(value)}{NBSP}%"
    return format_number(value) if unit == "n" else f"{format_number(value)}{NBSP}{unit}"


def limit_in_unit(spec: MetricSpec, limit: float) -> str:
    """Return a limit in the unit of its value, as written: `800 ms`, or `10 %` of a share."""
    if spec.scale == "points" and limit:
        return f"{format_number(100 * limit)}{NBSP}%"
    return in_unit(spec.unit, limit)
