"""Merges several series of steps by the instants at which they are due.

A series keeps its own order, and of two series with steps in one instant the one that was added first comes first, with
all that it has then. The next step of a series is asked for only when the one before it was taken.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

SeriesStep = TypeVar("SeriesStep")


class Series(Generic[SeriesStep]):
    """A series of (due_ns, step) on the agenda; `drop` takes what is left of it off."""

    def __init__(self, number: int, steps: Iterable[tuple[int, SeriesStep]]) -> None:
        self.number = number
        self._steps = iter(steps)

    def next(self) -> tuple[int, SeriesStep] | None:
        return next(self._steps, None)

    def drop(self) -> None:
        self._steps = iter(())
        self.dropped = True

    dropped = False


class Agenda(Generic[SeriesStep]):
    def __init__(self) -> None:
        self._heap: list[tuple[int, int, SeriesStep, Series[SeriesStep]]] = []
        self._added = 0

    def add(self, steps: Iterable[tuple[int, SeriesStep]]) -> Series[SeriesStep]:
        self._added += 1
        series = Series(self._added, steps)
        self._plan(series)
        return series

    def next_due_ns(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    def take(self, now_ns: int) -> Iterator[tuple[int, SeriesStep]]:
        """The steps that are due, one by one; what a step's taker changes shows in the steps that follow.

        A taker may stop in between, and take the others another time.
        """
        while self._heap and self._heap[0][0] <= now_ns:
            due_ns, _, step, series = heapq.heappop(self._heap)
            if not series.dropped:
                try:
                    yield due_ns, step
                finally:
                    self._plan(series)

    def _plan(self, series: Series[SeriesStep]) -> None:
        following = series.next()
        if following is not None:
            heapq.heappush(self._heap, (following[0], series.number, following[1], series))
