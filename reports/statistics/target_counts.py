"""The numbers of turns and sessions of a target from which a value is computed. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from reports.statistics.counting import Floats, Integers
from reports.statistics.quantiles import Sample, effective_size


@dataclass(frozen=True)
class TargetCounts:
    """The numbers of turns and sessions of one target from which the value of a metric is computed.

    - `turns` is the number of turns that count for the metric.
    - `sessions` is the number of sessions (or pairs) with at least one of these turns.
    - `failed` is the number of failed turns.
    - `completed_share` is the share of the planned turns that have a value, for a quantile or mean; NaN for a rate.
    - `effective_sessions` is Kish's effective number of sessions.
    - `sessions_if_all_longest` is the number of turns divided by that of the longest session.

    If `effective_sessions` is not given, sessions are assumed to be equally long.
    """

    turns: int
    sessions: int
    failed: int
    completed_share: float = math.nan
    effective_sessions: float = math.nan
    sessions_if_all_longest: float = math.nan

    def __post_init__(self) -> None:
        if math.isnan(self.effective_sessions):
            equal = float(self.sessions)
            vars(self).update(effective_sessions=equal, sessions_if_all_longest=equal)


NO_TURNS = TargetCounts(0, 0, 0)


def of_turns(turns: Integers | Floats, failed: int, completed_share: float = math.nan) -> TargetCounts:
    """Return the counts from the number of turns of each session."""
    n, sessions = int(turns.sum()), int(np.count_nonzero(turns))
    longest = n / float(turns.max()) if n else 0.0
    return TargetCounts(n, sessions, failed, completed_share, effective_size(turns), longest)


def of_sample(sample: Sample) -> TargetCounts:
    """Return the counts of a sample from which a quantile is computed."""
    return of_turns(np.bincount(sample.sessions), sample.failed, sample.completed_share)
