"""The models of a caller's line to the service: one carries packets, the other a stream of
messages.

Both are pure: instants are arguments, and `random` returns numbers from 0 to 1. So the same seed
gives the same losses, delays and stalls.

Packet loss follows Gilbert's model: a line is in a state in which it drops every packet, or in one
in which it drops none. The share of losses and their mean length determine the probabilities of a
change. Independent losses are the case in which the mean length is 1 ÷ (1 − share).

A stream keeps its order, as TCP does: a message waits for all earlier ones. It leaves when its last
bit is sent. Stalls have a fixed duration, and come after random times with an exponential
distribution.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.transport.impairment.profiles import NetworkProfile

BITS = 8
NS_PER_KBIT_S = NS_PER_MS
"""The number of ns that a bit takes at 1 kbit/s."""


@dataclass(slots=True)
class NetworkCounts:
    """What happened to the messages of a call: those dropped, those delayed, and the stalls that
    delayed any.

    None: the network of this transport has no such event, or there is no network yet.
    """

    dropped: int | None = None
    delayed: int | None = None
    stalls: int | None = None


class PacketLine:
    """A line that drops packets, and delays them. Packets may overtake each other."""

    def __init__(
        self, network: NetworkProfile, random: Callable[[], float], counts: NetworkCounts
    ) -> None:
        loss = network.loss or 0.0
        burst = network.burst or 1 / (1 - loss)
        self._begins = loss / (burst * (1 - loss))
        self._continues = 1 - 1 / burst
        """The probabilities that a packet is dropped: after one that was not, and after one that
        was."""
        self._jitter_ns = (network.jitter_ms or 0) * NS_PER_MS
        self._random = random
        self._counts = counts
        counts.dropped = counts.delayed = 0
        self._is_dropping = random() < loss

    def delay_ns(self) -> int | None:
        """Return by how much the next packet is delayed; None if it is dropped."""
        counts = self._counts
        # The state is that of the line before this packet. A first packet is dropped with the
        # probability `loss`, which is the share of time that the chain spends in the bad state.
        is_dropped = self._is_dropping
        # always both, so that one setting does not change the other
        change = self._random()
        delay = self._random()
        self._is_dropping = change < (self._continues if is_dropped else self._begins)
        if is_dropped:
            counts.dropped = (counts.dropped or 0) + 1
            return None
        delay_ns = int(delay * self._jitter_ns)
        counts.delayed = (counts.delayed or 0) + (delay_ns > 0)
        return delay_ns


class StreamLine:
    """A line that carries messages in their order, with stalls and a limited rate. It starts at
    `start_ns`.
    """

    def __init__(
        self,
        network: NetworkProfile,
        random: Callable[[], float],
        counts: NetworkCounts,
        start_ns: int,
    ) -> None:
        self._bit_ns = 0.0 if network.rate_kbit is None else NS_PER_KBIT_S / network.rate_kbit
        self._stall_ns = (network.stall_ms or 0) * NS_PER_MS
        self._every_ns = (network.stall_every_s or 0) * NS_PER_S
        self._random = random
        self._counts = counts
        counts.delayed = counts.stalls = 0
        self._free_ns = start_ns
        """The instant at which the last message has left."""
        self._stall_start_ns = self._stall_end_ns = start_ns
        self._is_stall_counted = True
        self._plan_stall()

    def _plan_stall(self) -> None:
        if not self._stall_ns:
            self._stall_start_ns = self._stall_end_ns = NEVER_NS
            return
        # The inverse of the exponential distribution; `random` never returns 1, so the logarithm
        # exists.
        self._stall_start_ns = self._stall_end_ns + round(
            -self._every_ns * math.log(1 - self._random())
        )
        self._stall_end_ns = self._stall_start_ns + round(self._stall_ns)
        self._is_stall_counted = False

    def departure_ns(self, now_ns: int, size: int) -> int:
        """Return when a message of so many bytes leaves that is handed over now. `now_ns` must
        not decrease.
        """
        begin_ns = max(now_ns, self._free_ns)
        left_ns = math.ceil(size * BITS * self._bit_ns)
        while True:
            # A stall stops the bits and not the messages: what is half sent waits, and goes on
            # after it. Several stalls may fall into one long message.
            while self._stall_end_ns <= begin_ns:
                self._plan_stall()
            if begin_ns + left_ns <= self._stall_start_ns:
                break
            left_ns -= max(0, self._stall_start_ns - begin_ns)
            begin_ns = self._stall_end_ns
            if not self._is_stall_counted:
                self._counts.stalls = (self._counts.stalls or 0) + 1
                self._is_stall_counted = True
        self._free_ns = begin_ns + left_ns
        self._counts.delayed = (self._counts.delayed or 0) + (self._free_ns > now_ns)
        return self._free_ns
