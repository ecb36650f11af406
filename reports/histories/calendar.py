"""Ticks of an axis of weeks: round instants of UTC between two of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

MINUTES = (1, 5, 15, 30, 60, 180, 360, 720)
DAYS = (1, 2, 7, 14)
MONTHS = (1, 2, 3, 6, 12, 24, 60, 120)
MONDAY = datetime(2018, 1, 1, tzinfo=UTC)
"""Weeks count from one."""


def ticks(low_s: float, high_s: float, most: int) -> list[tuple[float, str]]:
    """At most so many instants (seconds, UTC) with their words: 14:05, 12 Nov, Nov 2026, 2026."""
    for step, words in _steps():
        found = list(_between(low_s, high_s, step, most))
        if len(found) <= most:
            return [(at.timestamp(), words(at)) for at in found]
    return []


Step = Callable[[datetime, int], datetime]
"""The round instant at or before one, or so many of its steps later."""


def _steps() -> Iterator[tuple[Step, Callable[[datetime], str]]]:
    for minutes in MINUTES:
        yield _even(timedelta(minutes=minutes)), _clock
    for days in DAYS:
        yield _even(timedelta(days=days)), _day
    for months in MONTHS:
        yield _monthly(months), (_month if months < 12 else _year)


def _between(low_s: float, high_s: float, step: Step, most: int) -> Iterator[datetime]:
    low, number = datetime.fromtimestamp(low_s, UTC), 0
    while (at := step(low, number)).timestamp() <= high_s and number <= most + 1:
        if at.timestamp() >= low_s:
            yield at
        number += 1


def _even(length: timedelta) -> Step:
    def at(instant: datetime, steps: int) -> datetime:
        return instant - (instant - MONDAY) % length + steps * length

    return at


def _monthly(months: int) -> Step:
    def at(instant: datetime, steps: int) -> datetime:
        number = (instant.year * 12 + instant.month - 1) // months * months + steps * months
        return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)

    return at


def _clock(at: datetime) -> str:
    return f"{at:%H:%M}" if at.hour or at.minute else _day(at)


def _day(at: datetime) -> str:
    return f"{at.day} {at:%b}"


def _month(at: datetime) -> str:
    return f"{at:%b %Y}"


def _year(at: datetime) -> str:
    return str(at.year)
