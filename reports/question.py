"""A question to a baseline and a candidate: which figure, which margin, whether it decides; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bench.errors import UsageError
from bench.measures import CATALOGUE
from reports.statistics.differences import Better, Margin

Kind = Literal["quantile", "mean", "rate", "centre"]
"""`centre`: the typical change over all steps (`reports.statistics.centre`), of arms in pairs."""

RATES = {
    "failures": "Failed and lost turns, of the turns wanted; those that the end of the run cut are left out.",
    "throttled": "Turns that the service throttled, of the turns that ended.",
    "stalled": "Replies in which the simulated player ran dry, of the turns that succeeded with audio.",
}
"""Shares of turns, by name; the other names are those of `bench.measures`."""

MARGINS = {0.5: 0.10, 0.9: 0.15, 0.95: 0.20, 0.99: 0.30}
"""Accepted by default, by quantile; another quantile takes that of the next higher one here."""
POINTS = 0.01


@dataclass(frozen=True)
class Question:
    """A figure of both arms. `p`: of a quantile. `origin`: where a run has turns of several; empty for all there is.

    `step`: of one step alone; empty for all.
    """

    measure: str
    kind: Kind
    margin: Margin
    p: float | None = None
    gated: bool = False
    origin: str = ""
    step: str = ""

    @property
    def name(self) -> str:
        """ttfa p95, failure rate, stalled rate, audio_speed mean."""
        shown = f"{self.measure} {self.step}".rstrip()
        if self.kind == "rate":
            return f"{shown} rate" if self.measure != "failures" else f"failure rate {self.step}".rstrip()
        if self.kind == "centre":
            return f"{shown}_centre"
        return f"{shown} mean" if self.p is None else f"{shown} p{self.p * 100:g}"


def margin_of(p: float) -> Margin:
    """The default margin of a quantile."""
    return Margin(ratio=next((ratio for known, ratio in MARGINS.items() if p <= known), MARGINS[0.99]))


def better_of(question: Question) -> Better:
    """Which way is better. Raises UsageError for a measure of which neither more nor less is."""
    better = "lower" if question.kind == "rate" else CATALOGUE[question.measure].better
    if better == "neither":
        raise UsageError(f"{question.measure} cannot be compared: neither more nor less of it is better")
    return better
