"""Two data channels in memory, with a network between them that loses, delays and repeats
packets. Time is virtual.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.protocols.sctp.data_channel import ChannelMessage, DataChannel
from bench.protocols.sctp.sctp import Association

LIMIT_BYTES = 1 << 20


class NetworkPath(NamedTuple):
    """A network. Each share is that of the packets that it affects."""

    loss: float = 0.0
    duplication: float = 0.0
    jitter_ms: int = 0
    delay_ms: int = 10
    ends_ns: int = NEVER_NS
    """The instant after which nothing is lost."""


CLEAN = NetworkPath()


class ChannelPair:
    """A client, which opens the channel, and a service. `packets` are all packets that were
    sent.
    """

    def __init__(
        self, random: Random, path: NetworkPath = CLEAN, *, limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self._random, self._path, self.now_ns = random, path, 0
        self.associations = [Association(random.randbytes, limit_bytes) for _ in range(2)]
        self.client, self.service = self.ends = (
            DataChannel(self.associations[0], 1),
            DataChannel(self.associations[1], None),
        )
        self.came: tuple[list[ChannelMessage], list[ChannelMessage]] = [], []
        self.packets: list[bytes] = []
        self._on_way: list[tuple[int, int, int, bytes]] = []

    def start(self) -> None:
        for each in self.ends:
            each.start(self.now_ns)

    def open(self) -> None:
        self.start()
        self.run(lambda: self.client.is_open and self.service.is_open)

    def run(self, done: Callable[[], bool] = lambda: False, limit_ns: int = 600 * NS_PER_S) -> None:
        """Let both sides work until something holds, or nothing is due."""
        until_ns = self.now_ns + limit_ns
        while True:
            for number, end in enumerate(self.ends):
                for packet in end.pop_packets():
                    self._send(number, packet)
            if done():
                return
            due_ns = min(
                self._on_way[0][0] if self._on_way else NEVER_NS,
                *(end.next_ns for end in self.ends),
            )
            if due_ns > until_ns:
                return
            self.now_ns = max(self.now_ns, due_ns)
            while self._on_way and self._on_way[0][0] <= self.now_ns:
                _, _, number, packet = heapq.heappop(self._on_way)
                self.ends[number].received(packet, self.now_ns)
                self.came[number].extend(self.ends[number].pop_messages())
            for end in self.ends:
                if end.next_ns <= self.now_ns:
                    end.expire(self.now_ns)

    def _send(self, number: int, packet: bytes) -> None:
        path, random = self._path, self._random
        self.packets.append(packet)
        is_bad = self.now_ns < path.ends_ns
        copies = 1 + (is_bad and random.random() < path.duplication)
        for _ in range(copies):
            if is_bad and random.random() < path.loss:
                continue
            delay_ns = (
                path.delay_ms + (random.uniform(0, path.jitter_ms) if is_bad else 0)
            ) * NS_PER_MS
            heapq.heappush(
                self._on_way, (self.now_ns + int(delay_ns), len(self.packets), 1 - number, packet)
            )
