"""Holds what one session is going to send: series of steps, merged by the instants at which they are due.

A series keeps its own order, and of two series with steps in one instant the one that was added first comes first, with
all that it has then. The next step of a series is asked for only when the one before it was taken. Client events are
answered in their order.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np

from bench.simulator.delay import Delay
from bench.simulator.wire import (
    Ids,
    Json,
    Outgoing,
    RejectedError,
    error_fields,
    event_bytes,
    item_and_call,
    obfuscation,
)

Render = Callable[[int], Outgoing | None]  # given the due instant; None where there turns out to be nothing to say
OutboxStep = tuple[int, Render]


class Series:
    """A series of steps that was planned; `drop` takes what is left of it out."""

    dropped = False

    def __init__(self, number: int, steps: Iterable[OutboxStep]) -> None:
        self.number = number
        self._steps = iter(steps)

    def next(self) -> OutboxStep | None:
        return next(self._steps, None)

    def drop(self) -> None:
        self._steps = iter(())
        self.dropped = True


class Outbox:
    """`obfuscated`: whether deltas of text are padded."""

    def __init__(self, ids: Ids, rng: np.random.Generator, *, obfuscated: bool) -> None:
        self._ids, self._rng, self._obfuscated = ids, rng, obfuscated
        self._heap: list[tuple[int, int, Render, Series]] = []
        self._planned = 0
        self.answered_ns = 0  # due instant of the last answer to a client event

    def next_due_ns(self) -> int | None:
        return self._heap[0][0] if self._heap else None

    def due(self, now_ns: int) -> Iterator[Outgoing]:
        """The events that are due, rendered one by one; what a step changes shows in the steps that follow.

        Who takes them may stop in between, and take the others another time.
        """
        while self._heap and self._heap[0][0] <= now_ns:
            due_ns, _, render, series = heapq.heappop(self._heap)
            if series.dropped:
                continue
            try:
                event = render(due_ns)
                if event is not None:
                    yield event
            finally:  # also where whoever takes them stops here: the rest is due another time
                self._plan_next(series)

    def plan(self, steps: Iterable[OutboxStep]) -> Series:
        self._planned += 1
        series = Series(self._planned, steps)
        self._plan_next(series)
        return series

    def _plan_next(self, series: Series) -> None:
        following = series.next()
        if following is not None:
            heapq.heappush(self._heap, (following[0], series.number, following[1], series))

    def after(self, at_ns: int, delay: Delay) -> int:
        """`at_ns` and a drawn delay."""
        return at_ns + delay.draw_ns(self._rng)

    def answer_due(self, at_ns: int, delay: Delay) -> int:
        """When something that came `at_ns` is answered: not before the answers to what came earlier."""
        self.answered_ns = max(self.answered_ns, self.after(at_ns, delay))
        return self.answered_ns

    def answer(self, at_ns: int, delay: Delay, *events: tuple[str, Json]) -> int:
        """Plan events that answer one client event, due together. Returns when."""
        due_ns = self.answer_due(at_ns, delay)
        self.plan([(due_ns, partial(self.event, event_type, fields)) for event_type, fields in events])
        return due_ns

    def event(self, event_type: str, fields: Json, due_ns: int, *, facts: Json | None = None) -> Outgoing:
        body = event_bytes(event_type, self._ids.event(), fields)
        item_id, call_id = item_and_call(fields)
        return Outgoing(due_ns, event_type, body, item_id=item_id, call_id=call_id, facts=facts)

    def obfuscation(self) -> str | None:
        """The letters that pad one delta of text; None where deltas are not padded."""
        return obfuscation(self._rng) if self._obfuscated else None

    def error(self, rejected: RejectedError, event_id: str | None, due_ns: int) -> Outgoing:
        fields = error_fields(rejected.code, rejected.message, rejected.param, event_id)
        return self.event("error", fields, due_ns)
