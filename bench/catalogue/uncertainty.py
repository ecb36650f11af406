"""The uncertainty of the time between two instants: the one rule for a turn and for a table. Pure.

An arrival may really have been earlier than its timestamp, and a send may really have been later.
So the real time is longer if the start was really earlier and the end really later, and shorter in
the opposite case. The uncertainty is the larger of the two possible errors. It is NaN if it is
unknown.
"""

from typing import Any

from bench.catalogue.columns import SESSION_ARRIVALS, SESSION_SENDS, TURN_ARRIVALS, TURN_SENDS
from bench.catalogue.metrics import ORIGIN, Metric, MetricRows, Numbers

# A row stores the uncertainty of each instant, and not that of each metric. Instants that come from
# the own clock have none. From a send to an arrival, both errors make the time shorter, so they add
# up. Between two arrivals they have opposite directions, so only the larger one counts.
ARRIVALS = {"turn": frozenset(TURN_ARRIVALS), "session": frozenset(SESSION_ARRIVALS)}
SENDS = {"turn": frozenset({*TURN_SENDS, ORIGIN}), "session": frozenset(SESSION_SENDS)}


def uncertainty_ns(metric: Metric, rows: MetricRows[Numbers]) -> Numbers:
    """Return the uncertainty of a difference of two instants in each row."""
    arrivals = ARRIVALS[metric.scope]
    end_earlier = rows.earlier(metric.end) if metric.end in arrivals else 0
    start_earlier = rows.earlier(metric.begin) if metric.begin in arrivals else 0
    return rows.larger(end_earlier + _start_later(metric, rows), start_earlier)


def uncertainty_of_start_ns(metric: Metric, rows: MetricRows[Numbers]) -> Numbers:
    """Return the part of `uncertainty_ns` that comes from the start."""
    start_earlier = rows.earlier(metric.begin) if metric.begin in ARRIVALS[metric.scope] else 0
    return rows.larger(_start_later(metric, rows), start_earlier)


def _start_later(metric: Metric, rows: MetricRows[Numbers]) -> Any:
    return rows.later(metric.begin) if metric.begin in SENDS[metric.scope] else 0
