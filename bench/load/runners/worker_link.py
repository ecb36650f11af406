"""The link of a worker to its master: whether the master is alive, the clock offset, and the
sending of recorded data.

A master holds a lock on the run's folder. When the master's process ends, for whatever reason, the
kernel releases the lock. On another host, a worker concludes from the master's silence that the
master has ended.

The clocks of a worker and its master are compared by exchanges of messages, each with four UTC
timestamps: sent here, received there, answered there, received here. The offset of the other clock
is the mean of the two differences. Its uncertainty is at most half of the time on the network.
Therefore the fastest of several exchanges is used (NTP, RFC 5905, section 8).

Recorded data is sent in Locust's messages, one chunk at a time. If no receipt comes, the chunk is
sent again. Data that does not reach the master stays on the worker's disk, where `rtbench runs
merge` can read it.
"""

import ctypes
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

import gevent
import msgspec
from gevent.event import AsyncResult

from bench.base.clock import monotonic_ns
from bench.base.stop_signals import stop_signals
from bench.base.units import NS_PER_S
from bench.record import presence
from bench.record.replica import CHUNK_BYTES, ChunkAck, PartChunk, PartSource

PR_SET_PDEATHSIG = 1
"""An option of prctl(2). It sets the signal that a process receives when its parent ends."""


class HeldSignals:
    """The signals to a forked worker before it has a run. Its master gets them as well, and
    decides.

    Without this, a worker ends at Ctrl-C while its master starts the run, and counts as missing.
    """

    def __init__(self) -> None:
        self.is_forked = False
        self.is_held = False
        self.on_signal: Callable[[], None] = lambda: None

    def hold(self) -> None:
        """Hold signals from now on. Call this in the main thread."""
        self.is_forked = True
        for number in stop_signals():
            signal.signal(number, self._on_signal)

    def _on_signal(self, *_: object) -> None:
        self.is_held = True
        self.on_signal()


HELD = HeldSignals()


def tie_forks() -> None:
    """Make Linux end every forked child when this process ends, unless the child has called
    `outlive_parent`.
    """
    parents: list[int] = []

    def end_with_parent() -> None:
        HELD.hold()
        _on_end_of_parent(signal.SIGKILL)
        if sys.platform == "linux" and os.getppid() != parents[-1]:
            os._exit(1)  # the parent had ended before the request to the kernel

    os.register_at_fork(before=lambda: parents.append(os.getpid()), after_in_child=end_with_parent)


def outlive_parent() -> None:
    """Let this process continue when its parent, which forked it, ends."""
    _on_end_of_parent(0)


def _on_end_of_parent(number: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


class MasterLiveness:
    """A check whether the master is alive: by the time since its last message, and its lock if
    both share a disk.
    """

    def __init__(self) -> None:
        self.patience_s = math.inf
        self._silent_s = 0
        self._locked: int | None = None

    def tie(self, folder: Path | None) -> None:
        """Watch the lock that the master holds on a run's folder; None if the master is on
        another host.
        """
        if self._locked is not None:
            os.close(self._locked)
        self._locked = None if folder is None else os.open(folder, os.O_RDONLY)

    def on_message(self) -> None:
        self._silent_s = 0

    def is_lost(self) -> bool:
        """Return whether the master is missing. Call this once a second.

        Silence is measured in calls of this method, and not by a clock. So a process that was
        suspended does not conclude that its master is missing.
        """
        self._silent_s += 1
        # None: the file system has no locks
        is_let_go = self._locked is not None and presence.is_taken(self._locked) is False
        return self._silent_s > self.patience_s or is_let_go


EXCHANGES = 8


class ClockOffset(NamedTuple):
    """The time by which a worker's clock is ahead of its master's clock, and the uncertainty of
    this time.
    """

    ahead_ns: int
    uncertainty_ns: int


def offset_of(sent_ns: int, received_ns: int, answered_ns: int, returned_ns: int) -> ClockOffset:
    network_ns = (returned_ns - sent_ns) - (answered_ns - received_ns)
    return ClockOffset(
        ((received_ns - sent_ns) + (answered_ns - returned_ns)) // 2, max(0, network_ns) // 2 + 1
    )


def best(offsets: Iterable[ClockOffset]) -> ClockOffset | None:
    """Return the offset that has the smallest uncertainty; None if there are no offsets."""
    return min(offsets, key=lambda offset: offset.uncertainty_ns, default=None)


EVERY_S = 1.0
AGAIN_S = 5.0
"""The seconds for which a sender waits for a receipt. After that, it sends the chunk again."""
MIN_BYTES = 4 << 10
"""The minimum size of a chunk. On a slow link, chunks are small, because other messages wait
until a chunk is sent."""


# One chunk is on its way at any time. A sender that waits for a receipt uses little of the
# connection, on which heartbeats and progress must get through. The size of chunks follows the
# link: it doubles with each receipt, and is a quarter after each timeout.
class PartSender:
    """A sender of a worker's recorded data. `send` passes a chunk to Locust. Call `receipt` with
    each receipt.
    """

    def __init__(self, source: PartSource, send: Callable[[dict[str, Any]], None]) -> None:
        self._source = source
        self._send = send
        self._unacknowledged: tuple[PartChunk, AsyncResult] | None = None
        self._given_up = False
        self._greenlet = gevent.spawn(self._send_next)

    def receipt(self, data: dict[str, Any]) -> None:
        """Process a receipt. It states how much of a file the master has received."""
        receipt = msgspec.convert(data, ChunkAck)
        if self._unacknowledged is not None:
            chunk, result = self._unacknowledged
            if (receipt.name, receipt.version) == (chunk.name, chunk.version):
                result.set(receipt)

    def finish(self, longest_s: float) -> bool:
        """Send the remaining data, after the last write. Return False if not all of it arrives
        within `longest_s`.
        """
        self._greenlet.kill()
        return self._send_chunk(monotonic_ns() + int(longest_s * NS_PER_S))

    def give_up(self) -> None:
        """Stop waiting for receipts, because the master is missing."""
        self._given_up = True
        if self._unacknowledged is not None:
            self._unacknowledged[1].set(None)

    def _send_next(self) -> None:
        while True:
            self._send_chunk(None)
            gevent.sleep(EVERY_S)

    def _send_chunk(self, until_ns: int | None) -> bool:
        """Send the data that is recorded now. Return whether all of it arrived before
        `until_ns`, if given.
        """
        for chunk in self._source.chunks():
            left_s = (
                AGAIN_S
                if until_ns is None
                else min(AGAIN_S, (until_ns - monotonic_ns()) / NS_PER_S)
            )
            if self._given_up or left_s <= 0:
                return False
            receipt = self._sent(chunk, left_s)
            if receipt is None:
                # the chunk may still be on its way
                self._source.chunk_bytes = max(MIN_BYTES, self._source.chunk_bytes // 4)
            else:
                self._source.chunk_bytes = min(CHUNK_BYTES, 2 * self._source.chunk_bytes)
                self._source.add(receipt)
        return True

    def _sent(self, chunk: PartChunk, longest_s: float) -> ChunkAck | None:
        """Send a chunk. Return its receipt; None if no receipt comes within `longest_s`."""
        result = AsyncResult()
        self._unacknowledged = chunk, result
        self._send(msgspec.to_builtins(chunk, builtin_types=(bytes,)))
        try:
            return cast("ChunkAck | None", result.get(timeout=longest_s))
        except gevent.Timeout:
            return None
        finally:
            self._unacknowledged = None
