"""The network path of the RTP packets of one call: which packets are dropped, delayed, reordered and duplicated. Pure.

A packet is delayed after its due instant by a uniform random time from 0 to `jitter_ms`. Packets keep their order,
except reordered ones: these are delayed by `jitter_ms` and `REORDER_NS`. So each of them arrives after the packet that
follows it by one frame. The random numbers of a packet do not depend on the settings, nor on time.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from bench.base.units import NEVER_NS, NS_PER_MS
from bench.simulator.profile import PacketPathSettings
from bench.simulator.server_events import Json, OutgoingEvent
from bench.simulator.services.agents import FRAME_MS

REORDER_NS = FRAME_MS * NS_PER_MS * 3 // 2
"""The additional delay of a reordered packet: one and a half frames."""


class PathPacket(NamedTuple):
    """A packet on the path, and the event whose audio it contains. `copies` is 0 if the packet is dropped."""

    departure_ns: int
    event: OutgoingEvent
    data: bytes
    copies: int

    @property
    def delay_ns(self) -> int:
        return self.departure_ns - self.event.due_ns

    @property
    def facts(self) -> Json:
        """What happened to the packet, for the ground-truth log."""
        facts: Json = {"delay_ns": self.delay_ns} if self.delay_ns else {}
        if not self.copies:
            facts["dropped"] = True
        elif self.copies > 1:
            facts["duplicated"] = True
        return facts


class PacketPath:
    """The path of one call in both directions. `dropped` counts the dropped packets, by `sent` and `received`.

    The packets that are received are only dropped. They were delayed by the real network.
    """

    def __init__(
        self,
        settings: PacketPathSettings,
        sent_rng: np.random.Generator,
        received_rng: np.random.Generator,
        dropped: Counter[str],
    ) -> None:
        self._settings, self._sent_rng, self._received_rng, self._dropped = settings, sent_rng, received_rng, dropped
        self._jitter_ns = settings.jitter_ms * NS_PER_MS
        self._waiting: list[tuple[int, int, PathPacket]] = []
        self._number = self._last_departure_ns = 0

    @property
    def next_ns(self) -> int:
        """The instant at which the next packet leaves. NEVER_NS if there is none."""
        return self._waiting[0][0] if self._waiting else NEVER_NS

    def add(self, event: OutgoingEvent, data: bytes, faults: Collection[str] = ()) -> PathPacket:
        """Send a packet on the path. A dropped one never leaves it.

        `faults` contains `drop`, `duplicate` or `reorder` if this certainly happens to the packet.
        """
        settings, due_ns = self._settings, event.due_ns
        is_dropped, is_reordered, is_duplicated, delay = self._sent_rng.random(4).tolist()
        if is_dropped < settings.loss or "drop" in faults:
            self._dropped["sent"] += 1
            return PathPacket(due_ns, event, data, 0)
        if is_reordered < settings.reorder or "reorder" in faults:
            departure_ns = due_ns + round(self._jitter_ns) + REORDER_NS
        else:
            departure_ns = max(due_ns + int(delay * self._jitter_ns), self._last_departure_ns)
            self._last_departure_ns = departure_ns
        copies = 2 if is_duplicated < settings.duplicate or "duplicate" in faults else 1
        packet = PathPacket(departure_ns, event, data, copies)
        self._number += 1
        heapq.heappush(self._waiting, (departure_ns, self._number, packet))
        return packet

    def pop(self, now_ns: int) -> Iterator[PathPacket]:
        """Yield the packets that leave now, in their order."""
        while self._waiting and self._waiting[0][0] <= now_ns:
            yield heapq.heappop(self._waiting)[2]

    def drops_received(self) -> bool:
        """Return whether the packet that was received is dropped."""
        is_dropped = bool(self._received_rng.random() < self._settings.loss)
        self._dropped["received"] += is_dropped
        return is_dropped
