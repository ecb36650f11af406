"""What happened beside the measuring, such as a token that could not be refreshed, by the run's document; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.units import NS_PER_S
from reports.numbers import listed
from reports.schemas.document import Count, Record


class Incident(Record, frozen=True):
    """What happened beside the measuring, in the words of whoever met it; `at_s` after the run began."""

    at_s: float
    worker: Count
    kind: str
    text: str

    @property
    def what(self) -> str:
        """token refresh."""
        return self.kind.replace("_", " ")


@dataclass(frozen=True)
class Incidents:
    """Those whose words were kept, in the order in which they happened, and how many there were of each kind."""

    kept: tuple[Incident, ...]
    counts: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    @property
    def kinds(self) -> str:
        """token refresh × 3 and clock step × 1."""
        return listed([f"{kind.replace('_', ' ')} × {n:,}" for kind, n in Counter(self.counts).most_common()])


def incidents_of(document: Mapping[str, Any], began_utc_ns: int) -> Incidents:
    """A worker keeps the words of its first hundred, and counts them all; what is no incident is passed over."""
    kept = tuple(sorted(_read(document, began_utc_ns), key=lambda one: one.at_s))
    told = (document.get("totals") or {}).get("incident_counts") or {}
    counted = Counter(one.kind for one in kept) | Counter({str(kind): int(n) for kind, n in told.items()})
    return Incidents(kept, dict(counted))


def _read(document: Mapping[str, Any], began_utc_ns: int) -> Iterable[Incident]:
    for entry in document.get("incidents") or []:
        if isinstance(entry, dict):
            at_s = (int(entry.get("at_utc_ns") or began_utc_ns) - began_utc_ns) / NS_PER_S
            yield Incident(
                at_s, int(entry.get("worker") or 0), str(entry.get("kind") or ""), str(entry.get("text") or "")
            )
