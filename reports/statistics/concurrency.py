"""How many calls are in progress, at instants and over time, and whether the load changed meanwhile; pure.

A call is in progress from its start up to its end. Instants and lengths are whole nanoseconds, ns since 1970.

**The load changed** where there were, for long enough, clearly more calls than the run kept up. With c(t) the calls in
progress, b the c that was not exceeded for 40 % of the time, and E the excess over it in the time that calls took,

    E² = ∫ c · max(0, c − b)² dt / ∫ c dt        E > b/4   and   E > 1.7·√(b + 1)

A run of constant load climbs as it begins and thins out as it ends: it has fewer calls for a while, and never more than
it kept up, so E is next to nothing. Calls that come at random at a constant rate make an E of 0.9 to 1.3·√(b + 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Nanoseconds = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]

KEPT_UP = 0.4
"""The share of the time that had no more calls than those which the run kept up."""
APART, BY_CHANCE = 0.25, 1.7
"""The excess that tells of a change: as a share of these calls, and in √(these calls + 1)."""


@dataclass(frozen=True)
class Course:
    """How many calls were in progress from each instant on, up to the next; instants ascend and may repeat."""

    at_ns: Nanoseconds
    counts: Counts

    def at(self, instants_ns: Nanoseconds) -> Counts:
        """How many are in progress: those that begin at the instant too, those that end there no more."""
        counts: Counts = np.append(self.counts, 0)[np.searchsorted(self.at_ns, instants_ns, side="right") - 1]
        return counts

    def between(self, begin_ns: int, end_ns: int) -> Course:
        """The part from one instant up to another, at which it ends."""
        first, last = np.searchsorted(self.at_ns, (begin_ns, end_ns), side="right")
        ends = np.array([begin_ns, end_ns])
        at_ns = np.concatenate([ends[:1], self.at_ns[first:last], ends[1:]])
        return Course(at_ns, np.concatenate([self.at(ends[:1]), self.counts[first:last], self.at(ends[1:])]))


def course_of(starts_ns: Nanoseconds, ends_ns: Nanoseconds) -> Course:
    """The course of calls from their starts and their ends, each in any order."""
    edges_ns = np.concatenate([starts_ns, ends_ns])
    order = np.argsort(edges_ns)
    steps = np.where(order < starts_ns.size, 1, -1).astype(np.int32)
    return Course(edges_ns[order], np.cumsum(steps, dtype=np.int32))


def load_changed(course: Course) -> bool:
    """Whether the load changed from the begin of a course to its end, by the rule above."""
    counts, lengths_ns = course.counts[:-1], np.diff(course.at_ns).astype(np.float64)
    calls_ns = counts * lengths_ns
    if not calls_ns.any():
        return False
    order = np.argsort(counts, kind="stable")
    passed_ns = np.cumsum(lengths_ns[order])
    kept_up = int(counts[order][np.searchsorted(passed_ns, KEPT_UP * passed_ns[-1])])
    above = np.maximum(counts - kept_up, 0).astype(np.float64)
    excess = math.sqrt(float((calls_ns * above**2).sum() / calls_ns.sum()))
    return excess > max(APART * kept_up, BY_CHANCE * math.sqrt(kept_up + 1))
