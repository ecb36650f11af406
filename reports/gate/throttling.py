"""Targets whose rate the service limited: what they measured is the limit, not the service, and decides nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from reports.compare.clusters import ABSENT
from reports.compare.sides import Side
from reports.gate.items import Item
from reports.summary.arms import FAIR
from reports.wording.numbers import NBSP, percent

THROTTLED = "throttled"
REMEDY = f"lower the load until at most 1{NBSP}% is throttled, or raise the quota, and run it again"


def throttled_share(side: Side) -> float:
    """Of its turns, or of its sessions where that is more."""
    return side.outcomes.throttled(side.target) if side.target != ABSENT else 0.0


def too_throttled(sides: Sequence[Side], items: Collection[Item]) -> Iterable[str]:
    """Why a run says nothing: of its targets that are judged, those of which more than 1 % was throttled.

    Where a threshold is about `throttled` itself, that one decides.
    """
    judged = {item.target for item in items}
    decided = {item.target for item in items if not item.relative and item.threshold.startswith(THROTTLED)}
    for side in sides:
        if side.name in judged - decided and throttled_share(side) > FAIR:
            yield told(side)


def told(side: Side) -> str:
    """sim: 3.1 % was throttled, the limit is 1 %. Lower the load…"""
    share = percent(throttled_share(side), 1)
    return f"{side.name}: {share} was throttled, the limit is 1{NBSP}%. {REMEDY[:1].upper()}{REMEDY[1:]}"
