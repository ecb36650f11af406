"""Holds what one session is going to send: steps with their due instants, client events answered in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np

from bench.simulator.agenda import Agenda, Series
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


class Outbox:
    """`obfuscated`: whether deltas of text are padded."""

    def __init__(self, ids: Ids, rng: np.random.Generator, *, obfuscated: bool) -> None:
        self._ids, self._rng, self._obfuscated = ids, rng, obfuscated
        self._agenda: Agenda[Render] = Agenda()
        self.answered_ns = 0  # due instant of the last answer to a client event

    def next_due_ns(self) -> int | None:
        return self._agenda.next_due_ns()

    def due(self, now_ns: int) -> Iterator[Outgoing]:
        for due_ns, render in self._agenda.take(now_ns):
            event = render(due_ns)
            if event is not None:
                yield event

    def plan(self, steps: Iterable[OutboxStep]) -> Series[Render]:
        return self._agenda.add(steps)

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
