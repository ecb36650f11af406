"""The numbers of turns and sessions of a target from which a value is computed. Pure."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

from reports.results.json_entries import ClosedJsonEntry, Count, Rounded, described
from reports.statistics.counting import Floats, Integers
from reports.statistics.quantiles import Sample, effective_size


class SampleCounts(ClosedJsonEntry, frozen=True):
    """The numbers of turns and sessions of one target from which the value of a metric is computed."""

    turns: Annotated[Count, described("turns that count for the metric")]
    sessions: Annotated[Count, described("sessions (or pairs) with at least one of these turns")]
    failed: Annotated[Count, described("failed turns")]
    completed_share: Annotated[Rounded, described("share of the planned turns that have a value; null for rates")]
    effective_sessions: Annotated[
        Rounded, described("Kish's effective number of sessions, if they are of unequal length")
    ]


class TargetCounts(SampleCounts, frozen=True):
    """The counts of one target. `sessions_if_all_longest` is the turns divided by those of the longest session."""

    sessions_if_all_longest: float


def of_equal_sessions(turns: int, sessions: int, failed: int) -> TargetCounts:
    """Return the counts of sessions that are assumed to be equally long."""
    return TargetCounts(turns, sessions, failed, math.nan, float(sessions), float(sessions))


NO_TURNS = of_equal_sessions(0, 0, 0)


def of_turns(turns: Integers | Floats, failed: int, completed_share: float = math.nan) -> TargetCounts:
    """Return the counts from the number of turns of each session."""
    n, sessions = int(turns.sum()), int(np.count_nonzero(turns))
    longest = n / float(turns.max()) if n else 0.0
    return TargetCounts(n, sessions, failed, completed_share, effective_size(turns), longest)


def of_sample(sample: Sample) -> TargetCounts:
    """Return the counts of a sample from which a quantile is computed."""
    return of_turns(np.bincount(sample.sessions), sample.failed, sample.completed_share)
