"""What a history needs of one target of one run: its figures, what it was measured under, whether it may be used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from reports.numbers import NBSP
from reports.strata import Stratum

SHOWN = (0.5, 0.9, 0.95, 0.99)
"""The quantiles that are in a run's summary and in a stored baseline."""


class Of(NamedTuple):
    """Whose quantiles: a measure and the turns that it is of."""

    measure: str
    stratum: Stratum


@dataclass(frozen=True)
class Told:
    """A figure of one run, in its unit; +inf among failed turns, NaN with `lacks`, which says why there is none.

    `low`, `high`: its 95 % interval, NaN where none is told. `variance`: of its log (of a rate: of the share) from the
    sessions of the run, as far as it is told. `n`: its turns.
    """

    value: float
    low: float = math.nan
    high: float = math.nan
    variance: float = 0.0
    n: int = 0
    lacks: str = ""


def missing(why: str, n: int = 0) -> Told:
    """A figure that a run does not tell."""
    return Told(math.nan, n=n, lacks=why)


@dataclass(frozen=True)
class Entry:
    """One target of one run. `unfit`: why its figures are shown and not compared; empty where they are."""

    run_id: str
    name: str
    """the run's folder, or its id where there is none"""
    began_utc_ns: int
    scenario: str
    target: str
    word: Literal["VALID", "INVALID", "NOT JUDGED"]
    unfit: str
    labels: Mapping[str, str]
    conditions: Mapping[str, str]
    quantiles: Mapping[Of, Mapping[float, Told]]
    rates: Mapping[str, Told]
    report: Path | None = None

    @property
    def simulated(self) -> bool:
        return self.conditions["simulated"] == "yes"

    @property
    def mark(self) -> str:
        """✓ VALID, ✕ INVALID, ? NOT JUDGED, ? THROTTLED: whether its figures may be used."""
        if self.word == "VALID" and self.unfit:
            return f"?{NBSP}THROTTLED"
        return f"{ {'VALID': '✓', 'INVALID': '✕', 'NOT JUDGED': '?'}[self.word] }{NBSP}{self.word}"
