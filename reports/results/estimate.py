"""What the reason of a quantile states: whether it has an interval, and what it lacks. Pure."""

from __future__ import annotations

import math
from typing import Literal

from reports.results.reason import Reason

Status = Literal["reported", "in_failures", "too_few_turns", "too_few_sessions", "unbounded"]


class Estimate:
    """A quantile with its interval, and the reason why it has none, or only one end."""

    __slots__ = ()
    value: float
    low: float
    high: float
    reason: Reason | None

    @property
    def status(self) -> Status:
        """The code of the reason with the unit that is too small; "reported" without a reason."""
        if self.reason is None:
            return "reported"
        if self.reason.code == "too_few_to_print":
            return "too_few_turns" if self.reason.unit == "turn" else "too_few_sessions"
        return "unbounded" if self.reason.code == "unbounded" else "in_failures"

    @property
    def required(self) -> int:
        """The required number of turns or sessions; 0 if no number is required."""
        return self.reason.needed if self.reason else 0

    @property
    def has_interval(self) -> bool:
        """True if the estimate has an interval. One end of the interval may be open."""
        return self.status in ("reported", "unbounded")

    @property
    def has_too_few(self) -> bool:
        """True if there are too few turns or sessions to report the quantile."""
        return self.status in ("too_few_turns", "too_few_sessions")

    @property
    def reported_value(self) -> float:
        """The quantile; if one end of its interval is open, the other end instead."""
        return (
            self.value
            if self.status != "unbounded"
            else self.low
            if math.isfinite(self.low)
            else self.high
        )
