"""The tasks of one turn that the service delegates. Pure.

A turn with such tasks waits for the results of all of them, and then for the answer: the first sound that begins after
the service has the last result. Sound before it is a filler ("let me check that"; `spoken_answer.py`).

A task is for the client, which returns its result, or for a backend of the service, which may call the client's
functions in one or several responses. The backend owes a result while a response of it is in progress or must still
start.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.wire.events import EventKind, ServerEvent

DELEGATION_KINDS = frozenset(
    {EventKind.DELEGATED, EventKind.BACKEND_STARTED, EventKind.RESULT_ACCEPTED, EventKind.BACKEND_DONE}
)
NO_FUNCTIONS = "the service delegated a task to the client, and the script has no functions (`tools`) that could do it"
DELEGATED_OUTSIDE = "the service delegated a task to the client while no turn was open, so nothing can do it"
NOT_DONE = "the backend did not complete the delegated task"
NOT_SPOKEN = "nothing was said after the result of the delegated task"


@dataclass(slots=True, eq=False)
class Delegations:
    """The delegated tasks of one turn. `count` is their number."""

    are_possible: bool = False
    """True if the service may delegate tasks. Then a request is for the backend."""
    count: int = 0
    handed_ns: int = 0
    """The instant at which the backend last received work, or started a response. The limit on the backend counts from
    it."""
    result_ns: int = 0
    """The instant at which the last open task got its result; 0 while a task is open."""
    _to_start: int = 0
    """The number of backend responses that must still start."""
    _started: set[str] = field(default_factory=set)
    _running: set[str] = field(default_factory=set)

    @property
    def awaits_backend(self) -> bool:
        """True if a response of the backend is in progress or must still start."""
        return bool(self._to_start or self._running)

    def on_delegated(self, event: ServerEvent, at_ns: int) -> None:
        self.count += 1
        if not event.calls and event.backend_response_id not in self._started:
            self.hand_over(at_ns)
        self.result_ns = 0

    def hand_over(self, at_ns: int) -> None:
        """Record that the backend received work, so that it owes a response."""
        self._to_start, self.handed_ns = self._to_start + 1, at_ns

    def on_started(self, response_id: str, at_ns: int) -> None:
        """Record the start of a backend's response. A repeated report changes nothing."""
        if response_id not in self._started:
            self._started.add(response_id)
            self._running.add(response_id)
            self._to_start, self.handed_ns = max(0, self._to_start - 1), at_ns
            self.result_ns = 0

    def on_done(self, response_id: str, at_ns: int) -> None:
        """Record the end of a backend's response, whose start may not have been reported."""
        self.on_started(response_id, at_ns)
        self._running.discard(response_id)
