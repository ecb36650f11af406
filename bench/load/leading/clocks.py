"""Compares the clock of a worker's host with that of its master's, by messages there and back. Pure.

Four stamps of UTC: sent here, received there, answered there, received here. If both ways take equally long, the other
clock is ahead by the mean of the two differences; where they do not, that is wrong by half of the time on the way at
most. So the quickest of several exchanges says most (NTP, RFC 5905, section 8).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

EXCHANGES = 8


class ClockOffset(NamedTuple):
    """By how much a clock is ahead of the master's, and how wrong that can be."""

    ahead_ns: int
    error_ns: int


def offset_of(sent_ns: int, received_ns: int, answered_ns: int, returned_ns: int) -> ClockOffset:
    """The offset by one exchange."""
    on_the_way_ns = (returned_ns - sent_ns) - (answered_ns - received_ns)
    return ClockOffset(((received_ns - sent_ns) + (answered_ns - returned_ns)) // 2, max(0, on_the_way_ns) // 2 + 1)


def best(offsets: Iterable[ClockOffset]) -> ClockOffset | None:
    """The one that can be least wrong; None of none."""
    return min(offsets, key=lambda offset: offset.error_ns, default=None)
