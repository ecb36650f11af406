"""Strata of turns: the turns that have one turn type, and whose latency is measured from one
instant. Pure.

Turns of different strata are never pooled. A turn has a type if it called functions, followed an
interruption or a truncation, woke the service up, or belongs to a session with fillers. Other
turns are regular.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, NamedTuple

from msgspec import Meta

from bench.catalogue import metrics
from bench.catalogue.metrics import REGULAR
from reports.formatting import join_present
from reports.results.json_entries import JsonEntry, Known

MEASURED_FROM_TEXTS = {"request_sent": "request sent", "speech_end": "end of speech"}
"""The instants from which latency is measured, each with its displayed name, in the order of
reports."""
STARTED_BY = {"request_sent": "turns with response.create", "speech_end": "VAD turns"}
"""For each of these instants, the name of its turns by the event that started their responses.
Metrics that are always measured from the end of speech use these names."""
TURN_TYPES = {
    "function_calls": "with function calls",
    "after_interruption": "after an interruption",
    "after_truncation": "after a truncation",
    "wake_up": "after standby",
    "filler": "with fillers",
}
"""The texts for turn types (`bench.catalogue.metrics.TURN_TYPES`). The turns of one step may
have different types."""
MEASURED_FROM_PHRASES = {
    measured_from: f"from {instant}" for measured_from, instant in MEASURED_FROM_TEXTS.items()
}


Traits = Annotated[Known, Meta(description="the type of the turns; null for regular turns")]


class Stratum(NamedTuple):
    """The turns that may be in one sample.

    `measured_from` is "" for any instant. `turn_type` is "" for regular turns.
    """

    measured_from: str = ""
    turn_type: str = ""

    @property
    def key(self) -> str:
        """The name of the stratum in documents, such as `request_sent+function_calls`."""
        return join_present("+", *self)

    @property
    def labels(self) -> dict[str, str | None]:
        """The values that the rows of these turns have in the columns with these names; None for
        any instant.
        """
        return {"measured_from": self.measured_from or None, "turn_type": self.turn_type or REGULAR}

    @property
    def measured_from_text(self) -> str:
        """The text for the turns of a latency, such as `from request sent, with function calls`."""
        return join_present(
            ", ", MEASURED_FROM_PHRASES.get(self.measured_from, ""), self.turn_type_text
        )

    @property
    def turns(self) -> str:
        """The text for the turns of any metric, such as `VAD turns with function calls`."""
        started = STARTED_BY.get(
            self.measured_from, "turns" if self.turn_type else f"{REGULAR} turns"
        )
        return started + (
            f"{',' if ' with ' in started else ''} {self.turn_type_text}" if self.turn_type else ""
        )

    def turns_text(self, others: Collection[Stratum]) -> str:
        """Return the text `turns`, without the event that started the response if this is the
        same in all `others`.
        """
        started = self.measured_from if len({other.measured_from for other in others}) > 1 else ""
        return self._replace(measured_from=started).turns

    @property
    def turn_type_text(self) -> str:
        return turn_type_text(self.turn_type)

    def covers(self, other: Stratum) -> bool:
        """Return whether the turns of the stratum `other` also belong to this stratum."""
        return self.measured_from in ("", other.measured_from) and self.turn_type == other.turn_type

    def filtered_by(self, others: Collection[Stratum], origins: Mapping[str, str]) -> str:
        """Return how the stratum differs from `others`, such as `from request sent, regular`; "" if
        all are the same.

        `origins` is the text for each value of `measured_from`.
        """
        origin = (
            origins.get(self.measured_from, "")
            if len({other.measured_from for other in others}) > 1
            else ""
        )
        turn_type = (
            (self.turn_type_text or REGULAR)
            if len({other.turn_type for other in others}) > 1
            else ""
        )
        return join_present(", ", origin, turn_type)


def turn_type_text(turn_type: str) -> str:
    """Return a turn type as text, such as `with function calls, after an interruption`; "" for
    regular turns.
    """
    return ", ".join(TURN_TYPES.get(name, name) for name in turn_type.split("+"))


NO_STRATUM = Stratum()
"""The stratum of a value for which all turns count alike."""
NO_LABELS: dict[str, str | None] = dict.fromkeys(Stratum._fields)
"""The labels of a value that belongs to no stratum."""


def in_order(turn_type: Collection[str]) -> tuple[str, ...]:
    """Sort turn types in the order of reports. Regular turns are first."""
    ranks = {name: index for index, name in enumerate(("", *metrics.TURN_TYPES))}
    type_ranks = {
        several: [ranks.get(name, len(ranks)) for name in several.split("+")]
        for several in turn_type
    }
    return tuple(sorted(turn_type, key=lambda several: (type_ranks[several], several)))


class MainMetric(JsonEntry):
    """The main metric of one stratum and target."""

    metric: str
    measured_from: Known
    turn_type: Traits
    target: str

    @property
    def stratum(self) -> Stratum:
        return Stratum(self.measured_from, self.turn_type)
