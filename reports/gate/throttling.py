"""Targets whose rate the service limited: what they measured is the limit, not the service, and decides nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from reports.gate.items import Item
from reports.sides.fairness import throttled_cause, throttled_share
from reports.sides.side import Side
from reports.summary.arms import FAIR

THROTTLED = "throttled"


def too_throttled(sides: Sequence[Side], items: Collection[Item]) -> Iterable[str]:
    """Why a run says nothing: of its targets that are judged, those of which more than 1 % was throttled.

    Where a threshold is about `throttled` itself, that one decides.
    """
    judged = {item.target for item in items}
    decided = {item.target for item in items if not item.relative and item.threshold.startswith(THROTTLED)}
    for side in sides:
        if side.name in judged - decided and throttled_share(side) > FAIR:
            yield throttled_cause(side).line
