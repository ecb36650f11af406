"""How far one figure of two arms lies apart, with its interval, and how surely that is beyond a margin; pure.

Quantiles and means are compared by the log of their ratio, rates by their difference. Sessions are the sampling unit,
or pairs of sessions where they began together: then both arms are resampled by the same draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LEVEL = 0.05
"""One-sided; the interval shown is the two-sided one of 90 %, whose ends are the bounds that decide."""

Scale = Literal["ratio", "points"]


@dataclass(frozen=True)
class Margin:
    """How much worse is still accepted. `ratio`: 0.1 is 10 %, for quantiles and means. `points`: 0.01 is one percentage
    point, for rates. `plus`: in the unit of the measure; where both are given, both must be exceeded.
    """

    ratio: float = 0.0
    points: float = 0.0
    plus: float = 0.0


@dataclass(frozen=True)
class Difference:
    """Candidate against baseline. `d`, `low`, `high`: log of the ratio, or the difference of rates; ±inf where open.

    `worse_low`, `worse_high`: the same bounds of how far the candidate is beyond the margin, on the bad side: above 0
    it is. `better_low`: the lower bound of how far it is beyond the margin on the good side. `p_worse`, `p_better`:
    p-values of "not beyond the margin", on either side.
    """

    scale: Scale
    baseline: float
    candidate: float
    d: float
    low: float
    high: float
    se: float
    df: float
    worse_low: float
    worse_high: float
    better_low: float
    p_worse: float
    p_better: float
    level: float = LEVEL
    more_sessions: int | None = None
    """about so many more in each arm would settle it; None where it is settled, or where no number would"""
