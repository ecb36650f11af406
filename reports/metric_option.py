"""The option --metric as users write it: ttfa:p95, voice_to_voice:med, failure_rate."""

from __future__ import annotations

import re

from bench.errors import UsageError
from reports.question import Statistic
from reports.thresholds import STATISTICS, Gated, primary, quoted


def metric_option(text: str, default: str) -> tuple[Gated, Statistic]:
    """Parse a metric and its statistic, or the quantile `default`. Raises UsageError that says what is allowed."""
    name, _, aggregate = text.partition(":")
    metric = primary(name.strip())
    for statistic in STATISTICS:
        if names := statistic.aggregates(metric.unit):
            written = aggregate.strip() or (default if "p(N)" in names else names[0])
            if (found := statistic.read(re.sub(r"^p(\d.*)$", r"p(\1)", written))) is not None:
                return metric, found
    if metric.unit == "share":
        raise UsageError(f"{metric.name} is a rate: write --metric {metric.name}")
    raise UsageError(f"{quoted(aggregate)} is no quantile: write --metric {metric.name}:{default}")
