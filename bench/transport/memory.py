"""A transport without a network: a scripted peer and a virtual clock, for tests of whatever drives a session.

A peer is a function from one client message to what the service answers: pairs of (delay in ns, message). Time stands
still while the session computes and jumps when it waits, so a test takes no time and every instant is known exactly.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

from bench.clock import Arrival, Handed
from bench.transport.base import Closed, Handshake, Received, Sent
from bench.transport.websocket import frame_bytes

MASK_BYTES = 4
Answer = tuple[int, bytes | Closed]
Peer = Callable[[bytes], Iterable[Answer]]


class VirtualClock:
    """A clock that moves only when someone waits."""

    def __init__(self, now_ns: int = 1_000_000_000_000) -> None:
        self.now_ns = now_ns


class MemoryTransport:
    """A `bench.transport.base.Transport` whose peer is a function. `greeting` is what it says unasked."""

    def __init__(self, peer: Peer, greeting: Iterable[Answer] = (), clock: VirtualClock | None = None) -> None:
        self._peer = peer
        self.clock = clock or VirtualClock()
        now = self.clock.now_ns
        self.handshake = Handshake({"connect_start": now, "dns_done": now, "tcp_done": now, "upgrade_done": now}, {})
        self.closed: Closed | None = None
        self.sent: list[tuple[int, bytes]] = []
        self._due: list[tuple[int, int, bytes | Closed]] = []
        self._number = 0
        self._schedule(greeting)

    def _schedule(self, answers: Iterable[Answer]) -> None:
        for delay_ns, answer in answers:
            self._number += 1
            heapq.heappush(self._due, (self.clock.now_ns + delay_ns, self._number, answer))

    def now_ns(self) -> int:
        return self.clock.now_ns

    def send(self, message: bytes) -> Sent | None:
        if self.closed is not None:
            return None
        self.sent.append((self.clock.now_ns, message))
        self._schedule(self._peer(message))
        return Sent(Handed(self.clock.now_ns), frame_bytes(len(message)) + MASK_BYTES)

    def receive(self, until_ns: int) -> list[Received]:
        if self.closed is not None:
            return []
        if not self._due or self._due[0][0] > until_ns:
            self.clock.now_ns = max(self.clock.now_ns, until_ns)
            return []
        at_ns, _, answer = heapq.heappop(self._due)
        self.clock.now_ns = max(self.clock.now_ns, at_ns)
        if isinstance(answer, Closed):
            self.closed = answer._replace(at_ns=at_ns)
            return []
        return [Received(answer, Arrival(at_ns), frame_bytes(len(answer)))]

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if self.closed is None:
            self.closed = Closed(1000, "", self.clock.now_ns)
