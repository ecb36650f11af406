"""The uncertain metrics of a run.

They are read from the run's validity or, before it has one, computed from its rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from bench.catalogue.metrics import CATALOGUE
from bench.record import folder as files
from bench.record.validity import EARLY_REPLIES, uncertain_metrics
from bench.record.validity_data import early_replies, metric_uncertainties
from reports.formatting import NBSP, format_number
from reports.json_entries import JsonEntry, Known, about, entries_of

GOES_WITH = {"stall_rate": "stall_duration", "stall_count": "stall_duration"}
"""The rates and counts that have the uncertainty of another metric. The value is the name of that metric."""


class UncertainMetric(JsonEntry, frozen=True):
    """A metric whose uncertainty in this run has a p99 above the limit; the p99 is null if it is unbounded."""

    target: str
    metric: str
    value: Annotated[
        float | None, about("p99 of its uncertainty; for early_replies, their share of the replies, in percent")
    ]
    limit: float
    unit: str
    host: Annotated[Known, about("the host; null: all hosts")] = ""
    reason: Annotated[
        Known, about("early_replies: replies started before their question ended; null: timestamps are too uncertain")
    ] = ""

    @property
    def is_early(self) -> bool:
        """True if replies began so early that values may belong to another question."""
        return self.reason == EARLY_REPLIES

    @property
    def reason_text(self) -> str:
        """The reason as text, such as `uncertain in this run: it may be off by 31 ms (p99; limit 20 ms)`."""
        return f"uncertain in this run: {self.early if self.is_early else f'it may be off {self.uncertainty_text}'}"

    @property
    def early(self) -> str:
        """The text `12 % of the replies started before their question had ended (limit 1 %)`, with its numbers."""
        share, limit = (f"{format_number(value)}{NBSP}%" for value in (self.value or 0.0, self.limit))
        return f"{share} of the replies started before their question had ended (limit {limit})"

    @property
    def uncertainty_text(self) -> str:
        """The uncertainty as text, such as `by 31 ms (p99; limit 20 ms)`."""
        amount = "by an unknown amount" if self.value is None else f"by {format_number(self.value)}{NBSP}{self.unit}"
        host = f" on {self.host}" if self.host else ""
        return f"{amount} (p99; limit {format_number(self.limit)}{NBSP}{self.unit}){host}"


def uncertain_metrics_of(folder: Path, document: Mapping[str, Any]) -> tuple[UncertainMetric, ...]:
    """Return the uncertain metrics of a run from its document; if it has no validity yet, from its rows."""
    validity = document.get("validity")
    if validity is None:
        rows = files.row_reader(folder)
        entries = uncertain_metrics(metric_uncertainties(rows), early_replies(rows, document))
    else:
        entries = validity.get("uncertain_metrics") or []
    return tuple(metric for metric in entries_of(entries, UncertainMetric) if metric.metric in CATALOGUE)


def reason_text(metrics: Iterable[UncertainMetric], target: str, metric: str) -> str:
    """Return why a metric or rate of a target is too uncertain for a decision; "" if it is certain enough."""
    named = GOES_WITH.get(metric, metric)
    return next(
        (uncertain.reason_text for uncertain in metrics if (uncertain.target, uncertain.metric) == (target, named)), ""
    )
