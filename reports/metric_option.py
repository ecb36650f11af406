"""The option --metric as users write it: ttfa:p95, voice_to_voice:med, failure_rate."""

from __future__ import annotations

import re

from bench.errors import UsageError
from reports.question import Statistic
from reports.statistic_types.quantile import Quantile
from reports.statistic_types.rate import Rate
from reports.thresholds import Gated, primary, quoted


def metric_option(text: str, default: str) -> tuple[Gated, Statistic]:
    """Parse a metric with a quantile, `default` if it names none, or a rate. Raises UsageError."""
    name, _, aggregate = text.partition(":")
    metric, aggregate = primary(name.strip()), aggregate.strip()
    if metric.unit == "share":
        if aggregate not in ("", "rate"):
            raise UsageError(f"{metric.name} is a rate: write --metric {metric.name}")
        return metric, Rate()
    quantile = Quantile.read(re.sub(r"p([\d.]+)", r"p(\1)", aggregate or default))
    if quantile is None:
        raise UsageError(f"{quoted(aggregate)} is no quantile: write --metric {metric.name}:{default}")
    return metric, quantile
