"""The strata of turns: what sets those apart that are never pooled, and the words for it; pure.

Latency counts from an instant, the turn's origin, and a turn may have traits: it called functions, or followed an
interruption. Turns without any are plain.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, NamedTuple

from bench import measures
from reports.records import Known, Record, about

ORIGINS = {"requested": "response.create", "speech_end": "the end of speech"}
"""What latency counts from, in the order in which reports show it, and its words."""
STARTED_BY = {"requested": "turns with response.create", "speech_end": "VAD turns"}
"""What started the response, in words: for measures that count from the end of speech whatever the origin."""
TRAITS = {
    "calls": "with function calls",
    "after_interruption": "after an interruption",
    "after_truncation": "after a truncation",
    "filler": "with fillers on",
}
"""What sets turns of one step apart (`bench.measures.TRAITS`), and its words."""
PLAIN = "plain"
SINCE = {origin: f"from {instant}" for origin, instant in ORIGINS.items()}


Traits = Annotated[Known, about("what sets the turns apart from others of their step; null of plain ones")]


class Stratum(NamedTuple):
    """Turns that may be pooled: their latency counts from one instant, and they have the same traits.

    `origin` is empty where origins are not told apart, `traits` is for plain turns.
    """

    origin: str = ""
    traits: str = ""

    @property
    def key(self) -> str:
        """The name in documents: requested, requested+calls."""
        return "+".join(filter(None, self))

    @property
    def since(self) -> str:
        """From response.create, with function calls: which turns of a measure that counts from their origin."""
        return _joined(SINCE.get(self.origin, ""), self.traits_words)

    @property
    def turns(self) -> str:
        """VAD turns with function calls: which turns, whatever is measured of them."""
        started = STARTED_BY.get(self.origin, "turns" if self.traits else f"{PLAIN} turns")
        return started + (f"{',' if ' with ' in started else ''} {self.traits_words}" if self.traits else "")

    @property
    def traits_words(self) -> str:
        """With function calls, after an interruption; empty for plain turns."""
        return traits_words(self.traits)

    def covers(self, other: Stratum) -> bool:
        """Whether turns of the other stratum are of this one."""
        return self.origin in ("", other.origin) and self.traits == other.traits

    def among(self, others: Collection[Stratum], origins: Mapping[str, str]) -> str:
        """What tells it from the others: from response.create, plain. `origins`: the words of each; empty if alone."""
        return _joined(
            origins.get(self.origin, "") if len({other.origin for other in others}) > 1 else "",
            (self.traits_words or PLAIN) if len({other.traits for other in others}) > 1 else "",
        )


def traits_words(traits: str) -> str:
    """With function calls, after an interruption; empty for plain turns."""
    return ", ".join(TRAITS.get(name, name) for name in traits.split("+"))


NO_STRATUM = Stratum()
"""Of figures that tell nothing apart."""


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def in_order(traits: Collection[str]) -> tuple[str, ...]:
    """Traits in the order in which reports show them, plain turns first."""
    place = {name: at for at, name in enumerate(("", *measures.TRAITS))}
    last = len(place)
    return tuple(sorted(traits, key=lambda several: ([place.get(name, last) for name in several.split("+")], several)))


class Wait(Record, frozen=True):
    """The main measure of one stratum and target."""

    measure: str
    origin: Known
    traits: Traits
    target: str

    @property
    def stratum(self) -> Stratum:
        return Stratum(self.origin, self.traits)
