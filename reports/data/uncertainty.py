"""The uncertain metrics of a run.

They are read from the run's validity or, before it has one, computed from its rows.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from bench.catalogue.metrics import CATALOGUE
from bench.record import document
from bench.record import folder as files
from reports.results.value import Reason

GOES_WITH = {"stall_rate": "stall_duration", "stall_count": "stall_duration"}
"""The rates and counts that have the uncertainty of another metric. The value is the name of
that metric."""


class UncertainMetric(document.UncertainMetric, frozen=True, omit_defaults=False):
    """A metric that is uncertain in this run.

    `value` is the p99 of its uncertainty, which is above the limit; null if it is unbounded. If
    `reason` is `early_replies`, `value` is the share of replies that started before their question
    ended, in percent. A `reason` of null means that timestamps are too uncertain, and a `host` of
    null means all hosts.
    """

    @property
    def is_early(self) -> bool:
        """True if replies began so early that values may belong to another question."""
        from bench.record.validity import EARLY_REPLIES

        return self.reason == EARLY_REPLIES

    @property
    def numbers(self) -> dict[str, Any]:
        """The numbers of the metric in a reason."""
        known = {"value": self.value, "limit": self.limit, "unit": self.unit}
        return known | {key: text for key in ("host", "reason") if (text := getattr(self, key))}


def uncertain_metrics_of(folder: Path, metadata: Mapping[str, Any]) -> tuple[UncertainMetric, ...]:
    """Return the uncertain metrics of a run from its document; if it has no validity yet, from
    its rows.
    """
    entries: object = (metadata.get("validity") or {}).get("uncertain_metrics") or []
    if metadata.get("validity") is None:
        from bench.record.validity import uncertain_metrics
        from bench.record.validity_data import early_replies, metric_uncertainties

        rows = files.row_reader(folder)
        entries = uncertain_metrics(metric_uncertainties(rows), early_replies(rows, metadata))
    metrics = msgspec.convert(entries, list[UncertainMetric], from_attributes=True)
    return tuple(metric for metric in metrics if metric.metric in CATALOGUE)


def uncertain_reason(metrics: Iterable[UncertainMetric], target: str, metric: str) -> Reason | None:
    """Return why a metric or rate of a target is too uncertain for a decision; None if it is
    certain enough.
    """
    named = GOES_WITH.get(metric, metric)
    found = (each for each in metrics if (each.target, each.metric) == (target, named))
    return next((Reason("uncertain", {"metrics": [each.numbers]}) for each in found), None)


def joint_reason(reasons: Iterable[tuple[Reason | None, str]]) -> Reason | None:
    """Return why a metric of several targets is uncertain, or unscored in some turns; None if it is
    neither on any of them. Each item is the reason of one target, and the name of the target, which
    is "" if it is not needed. All reasons have the same code.
    """
    known = [(reason, label) for reason, label in reasons if reason]
    metrics = [
        each | ({"on": label} if label else {})
        for reason, label in known
        for each in reason.numbers["metrics"]
    ]
    return Reason(known[0][0].code, {"metrics": metrics}) if known else None
