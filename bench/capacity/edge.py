"""Says of what kind an edge is, by the shares of the level that broke; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bench.capacity.document import Edge, EdgeKind, LevelOutcome, SloShare
from reports.numbers import NBSP, percent, plural


def edge_of(level: LevelOutcome) -> Edge:
    """The edge by the lowest level that breaks: the cause of most turns that missed the objective that broke most."""
    worst = max(_broken(level.shares), key=lambda share: share.low / share.allowed)
    kind = _kind(worst)
    return Edge(kind, worst.slo, _words(kind, worst, level.limits_left))


def _broken(shares: Iterable[SloShare]) -> list[SloShare]:
    """The objectives that were shown to be missed; of a level that broke at an early look alone, those most missed."""
    known = list(shares)
    return [share for share in known if share.low > share.allowed] or known


def _kind(share: SloShare) -> EdgeKind:
    if share.slow > share.failed:
        return "latency"
    return "quota" if 2 * share.throttled >= share.failed else "failures"


def _words(kind: EdgeKind, share: SloShare, limits_left: Mapping[str, float]) -> str:
    """240 of 812 turns were too slow, 3 failed; of a quota what was left of it, too."""
    turns = plural(share.turns, "turn").replace(NBSP, " ")
    counts = f"{share.slow:,} of {turns} were too slow, {share.failed:,} failed"
    if kind != "quota":
        return counts
    left = ", ".join(f"{percent(part, 1)} of its {name}" for name, part in limits_left.items())
    remaining = f"; at the least {left} a minute were left" if left else "; the service reported no limits"
    return f"{counts}, of which the service throttled {share.throttled:,}{remaining}".replace(NBSP, " ")
