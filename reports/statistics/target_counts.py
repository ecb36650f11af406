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

    - `turns` are those that count for the metric, and `failed` those that failed
    - `sessions` are those (or pairs) with at least one of these turns; `effective_sessions` is
      Kish's effective number
    - `completed_share` is the share of the planned turns that have a value; NaN for rates
    - `sessions_if_all_longest` is the turns divided by those of the longest session
    """

    turns: int
    sessions: int
    failed: int
    completed_share: float
    effective_sessions: float
    sessions_if_all_longest: float


def of_equal_sessions(turns: int, sessions: int, failed: int) -> TargetCounts:
    """Return the counts of sessions that are assumed to be equally long."""
    return TargetCounts(turns, sessions, failed, math.nan, float(sessions), float(sessions))


NO_TURNS = of_equal_sessions(0, 0, 0)


def of_turns(
    turns: Integers | Floats, failed: int, completed_share: float = math.nan
) -> TargetCounts:
    """Return the counts from the number of turns of each session."""
    n = int(turns.sum())
    sessions = int(np.count_nonzero(turns))
    longest = n / float(turns.max()) if n else 0.0
    return TargetCounts(n, sessions, failed, completed_share, effective_size(turns), longest)


def of_sample(sample: Sample) -> TargetCounts:
    """Return the counts of a sample from which a quantile is computed."""
    return of_turns(np.bincount(sample.sessions), sample.failed, sample.completed_share)
