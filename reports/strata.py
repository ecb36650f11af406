"""Strata: turns that may be pooled, by the instant that latency counts from and by the type of the turn; pure.

Strata are never pooled. A turn has a type if it called functions, or followed an interruption; others are regular.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, NamedTuple

from bench import metrics
from bench.metrics import REGULAR
from reports.json_entries import JsonEntry, Known, about

ORIGINS = {"request_sent": "request sent", "speech_end": "end of speech"}
"""What latency is measured from, in the order in which reports show it, and its words."""
STARTED_BY = {"request_sent": "turns with response.create", "speech_end": "VAD turns"}
"""What started the response, in words: for metrics that count from the end of speech whatever the origin."""
TURN_TYPES = {
    "function_calls": "with function calls",
    "after_interruption": "after an interruption",
    "after_truncation": "after a truncation",
    "filler": "with fillers on",
}
"""What sets turns of one step apart (`bench.metrics.TURN_TYPES`), and its words."""
SINCE = {measured_from: f"from {instant}" for measured_from, instant in ORIGINS.items()}


Traits = Annotated[Known, about("the type of the turns; null of regular ones")]


class Stratum(NamedTuple):
    """Turns that may be pooled. An empty `measured_from`: of any origin; an empty `turn_type`: regular."""

    measured_from: str = ""
    turn_type: str = ""

    @property
    def key(self) -> str:
        """The name in documents: requested, request_sent+function_calls."""
        return "+".join(filter(None, self))

    @property
    def since(self) -> str:
        """From request sent, with function calls: which turns of a metric that is measured from their origin."""
        return _joined(SINCE.get(self.measured_from, ""), self.turn_type_words)

    @property
    def turns(self) -> str:
        """VAD turns with function calls: which turns, whatever is measured of them."""
        started = STARTED_BY.get(self.measured_from, "turns" if self.turn_type else f"{REGULAR} turns")
        return started + (f"{',' if ' with ' in started else ''} {self.turn_type_words}" if self.turn_type else "")

    def turns_among(self, others: Collection[Stratum]) -> str:
        """Return which turns, without what started the response if that is the same in all of them."""
        started = self.measured_from if len({other.measured_from for other in others}) > 1 else ""
        return self._replace(measured_from=started).turns

    @property
    def turn_type_words(self) -> str:
        """With function calls, after an interruption; empty for plain turns."""
        return turn_type_words(self.turn_type)

    def covers(self, other: Stratum) -> bool:
        """Whether turns of the other stratum are of this one."""
        return self.measured_from in ("", other.measured_from) and self.turn_type == other.turn_type

    def among(self, others: Collection[Stratum], origins: Mapping[str, str]) -> str:
        """What tells it from the others: from request sent, plain. `origins`: the words of each; empty if alone."""
        origin = origins.get(self.measured_from, "") if len({other.measured_from for other in others}) > 1 else ""
        turn_type = (self.turn_type_words or REGULAR) if len({other.turn_type for other in others}) > 1 else ""
        return _joined(origin, turn_type)


def turn_type_words(turn_type: str) -> str:
    """With function calls, after an interruption; empty for plain turns."""
    return ", ".join(TURN_TYPES.get(name, name) for name in turn_type.split("+"))


NO_STRATUM = Stratum()
"""Of figures that tell nothing apart."""


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def in_order(turn_type: Collection[str]) -> tuple[str, ...]:
    """Traits in the order in which reports show them, plain turns first."""
    place = {name: at for at, name in enumerate(("", *metrics.TURN_TYPES))}
    places = {several: [place.get(name, len(place)) for name in several.split("+")] for several in turn_type}
    return tuple(sorted(turn_type, key=lambda several: (places[several], several)))


class MainMetric(JsonEntry, frozen=True):
    """The main metric of one stratum and target."""

    metric: str
    measured_from: Known
    turn_type: Traits
    target: str

    @property
    def stratum(self) -> Stratum:
        return Stratum(self.measured_from, self.turn_type)
