"""Holds what ties a worker to its master: whether that lives, how their clocks differ, and what was recorded shipped.

A master holds a lock on the run's folder, which the kernel releases when the process ends, however it does. On another
host its silence tells.

Clocks are compared by messages there and back, with four timestamps of UTC: sent here, received there, answered there,
received here. The other clock is ahead by the mean of the two differences, which is wrong by half of the time on the
way at most. So the quickest of several exchanges says most (NTP, RFC 5905, section 8).

What a worker records is shipped over Locust's messages. One chunk is on its way at a time, and again when no receipt
comes. What the master has not got stays on the worker's disk, where `rtbench merge` can read it.
"""

from __future__ import annotations

import ctypes
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import msgspec
from gevent.event import AsyncResult

from bench.clock import monotonic_ns
from bench.run import lock
from bench.run.replica import CHUNK_BYTES, ChunkAck, PartChunk, PartSource
from bench.units import NS_PER_S

PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that a process gets when its parent ends."""


def tie_forks() -> None:
    """Have the kernel end whatever this process forks together with it, until it says `outlive_parent`; on Linux."""
    parents: list[int] = []

    def end_with_parent() -> None:
        _on_end_of_parent(signal.SIGKILL)
        if sys.platform == "linux" and ctypes.CDLL(None).getppid() != parents[-1]:
            os._exit(1)  # it had ended before the kernel was asked

    os.register_at_fork(before=lambda: parents.append(os.getpid()), after_in_child=end_with_parent)


def outlive_parent() -> None:
    """Go on when the process ends that forked this one."""
    _on_end_of_parent(0)


def _on_end_of_parent(number: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)


class MasterLiveness:
    """Tells whether a master lives: by its lock where it shares a disk, and by how long it has been silent."""

    def __init__(self) -> None:
        self.patience_s = math.inf
        self._silent_s = 0
        self._locked: int | None = None

    def tie(self, folder: Path | None) -> None:
        """Go by the lock on the folder of a run; None: of a master on another host nothing but its silence tells."""
        if self._locked is not None:
            os.close(self._locked)
        self._locked = None if folder is None else os.open(folder, os.O_RDONLY)

    def heard(self) -> None:
        self._silent_s = 0

    def is_cut(self) -> bool:
        """Whether the master is lost; asked once a second, so that a process that stood still blames nobody for it."""
        self._silent_s += 1
        is_let_go = self._locked is not None and lock.is_taken(self._locked) is False  # None of a file system without
        return self._silent_s > self.patience_s or is_let_go


EXCHANGES = 8


class ClockOffset(NamedTuple):
    """How far a clock is ahead of the master's, and how wrong that can be."""

    ahead_ns: int
    error_ns: int


def offset_of(sent_ns: int, received_ns: int, answered_ns: int, returned_ns: int) -> ClockOffset:
    on_the_way_ns = (returned_ns - sent_ns) - (answered_ns - received_ns)
    return ClockOffset(((received_ns - sent_ns) + (answered_ns - returned_ns)) // 2, max(0, on_the_way_ns) // 2 + 1)


def best(offsets: Iterable[ClockOffset]) -> ClockOffset | None:
    """The one that can be least wrong; None of none."""
    return min(offsets, key=lambda offset: offset.error_ns, default=None)


EVERY_S = 1.0
AGAIN_S = 5.0
"""Seconds that a receipt is waited for before the chunk is sent again."""
LEAST_BYTES = 4 << 10
"""Least size of a chunk, on a slow link: what else is said comes behind it."""


class PartSender:
    """Ships the files of one part. `send` hands a chunk to Locust; receipts come by `receipt`."""

    def __init__(self, source: PartSource, send: Callable[[dict[str, Any]], None]) -> None:
        self._source, self._send = source, send
        self._awaited: tuple[PartChunk, AsyncResult] | None = None
        self._given_up = False
        self._shipping = gevent.spawn(self._ship_on)

    def receipt(self, data: dict[str, Any]) -> None:
        """Take the master's word on how much it has of a file."""
        receipt = msgspec.convert(data, ChunkAck)
        if self._awaited is not None:
            chunk, result = self._awaited
            if (receipt.name, receipt.version) == (chunk.name, chunk.version):
                result.set(receipt)

    def finish(self, longest_s: float) -> bool:
        """Ship the rest, once nothing more is written; False where the master did not get all of it in so long."""
        self._shipping.kill()
        return self._ship(monotonic_ns() + int(longest_s * NS_PER_S))

    def give_up(self) -> None:
        """Wait for no receipt any more: nobody is there to give one."""
        self._given_up = True
        if self._awaited is not None:
            self._awaited[1].set(None)

    def _ship_on(self) -> None:
        while True:
            self._ship(None)
            gevent.sleep(EVERY_S)

    def _ship(self, until_ns: int | None) -> bool:
        """Ship what is there now; whether all of it arrived before an instant."""
        for chunk in self._source.chunks():
            left_s = AGAIN_S if until_ns is None else min(AGAIN_S, (until_ns - monotonic_ns()) / NS_PER_S)
            if self._given_up or left_s <= 0:
                return False
            receipt = self._sent(chunk, left_s)
            if receipt is None:
                self._source.chunk_bytes = max(LEAST_BYTES, self._source.chunk_bytes // 4)  # it may be on its way still
            else:
                self._source.chunk_bytes = min(CHUNK_BYTES, 2 * self._source.chunk_bytes)
                self._source.note(receipt)
        return True

    def _sent(self, chunk: PartChunk, longest_s: float) -> ChunkAck | None:
        """Send a chunk; its receipt, None where none came in so long."""
        result = AsyncResult()
        self._awaited = chunk, result
        self._send(msgspec.to_builtins(chunk, builtin_types=(bytes,)))
        try:
            receipt: ChunkAck | None = result.get(timeout=longest_s)
        except gevent.Timeout:
            return None
        finally:
            self._awaited = None
        return receipt
