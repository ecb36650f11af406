"""Which figures a threshold may name, and which of their aggregates; pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

from bench.errors import UsageError
from bench.measures import CATALOGUE, SLOPE, Better
from bench.plain import shortened
from reports.question import RATES

Unit = Literal["ms", "×", "n", "%", "ms/1k tokens", "B/s", "share"]
OTHERS = {
    "max": "one turn alone makes it, and it grows with the number of turns: gate a quantile such as p(99)",
    "min": "one turn alone makes it: gate a quantile such as p(5)",
    "count": "it grows with the length of the run: gate a rate, such as failures: rate<0.01",
}
"""Aggregates that k6 has, and why they are no gate here."""


@dataclass(frozen=True)
class Gated:
    """A figure's name with what a limit on it is: its unit, the better direction, and whether it is of sessions."""

    name: str
    unit: Unit
    better: Better
    of_sessions: bool = False

    @property
    def aggregates(self) -> tuple[str, ...]:
        """What a threshold may ask of it."""
        if self.unit == "share":
            return ("rate",)
        return ("p(N)", "med") if self.unit in ("ms", SLOPE) else ("p(N)", "med", "avg")


def _all() -> Iterable[Gated]:
    for measure in CATALOGUE.values():
        if measure.scope in ("turn", "session"):
            yield Gated(measure.name, cast(Unit, measure.unit), measure.better, measure.scope == "session")
    for rate in RATES.values():
        yield Gated(rate.name, "share", rate.better)


GATED = {gated.name: gated for gated in _all()}


def gated(name: str) -> Gated:
    """The figure of this name. Raises UsageError that says which there are, or why this one is no gate."""
    if name in GATED:
        return GATED[name]
    if name in CATALOGUE:
        raise UsageError(
            f"{name} cannot be gated: it is counted over events, and nothing tells how far sessions differ in it"
        )
    raise UsageError(f"there is no measure {quoted(name)}{near(name, GATED)} allowed: {', '.join(GATED)}")


def quoted(text: str) -> str:
    """On one line, and cut where it is long."""
    return f'"{shortened(text, 60)}"'


def near(name: str, known: Iterable[str]) -> str:
    """A name that was perhaps meant, as the middle of an error."""
    closest = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {closest[0]}?" if closest else ";"
