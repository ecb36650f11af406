"""Reads when a session speaks fillers while its caller waits, as Azure Voice Live does by `interim_response`.

How fillers come is told nowhere: that one for a late answer is an item of its own ahead of it, and one for a function
call a response of its own, is an assumption.
"""

from __future__ import annotations

from typing import NamedTuple

from bench.simulator.wire import Json
from bench.units import NS_PER_MS

AFTER_CALL_NS = 200 * NS_PER_MS
"""So long after its calls were made a response is followed by a filler, if nothing was answered (an assumption)."""


class Fillers(NamedTuple):
    """Says when fillers are spoken: where an answer takes longer, None: never for that; and while functions run."""

    latency_ns: int | None = None
    during_calls: bool = False


def fillers_of(settings: Json) -> Fillers:
    """When a session or response with these settings speaks fillers."""
    setting = settings.get("interim_response")
    if setting is None:
        return Fillers()
    late_ns = setting["latency_threshold_ms"] * NS_PER_MS
    return Fillers(late_ns if "latency" in setting["triggers"] else None, "tool" in setting["triggers"])
