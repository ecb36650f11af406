"""Calls what is due, in passes of the event loop: to the microsecond while there is little, all together else.

The loop's own timers are late by up to a millisecond, for it waits in whole ones; a timer that is a file (`timerfd`) is
not. Every pass costs the wake-up of the process, which takes longer than sending a chunk of audio.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable
from typing import Any

import gevent

from bench.clock import monotonic_ns
from bench.transport.compiled import make_alarm, set_alarm
from bench.units import NS_PER_S

APART_NS = 600_000
"""From the beginning of a pass to that of the next one: so late may a call be."""
IDLE_NS = 60_000_000_000
NEVER_NS = 1 << 62
READABLE = 1


class Tick:
    """A call that is due."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Call it no more."""
        self.call = None


class Ticker:
    """The calls of one hub: `Ticker.of_hub()`. They may not wait."""

    def __init__(self, hub: Any) -> None:
        self._process = os.getpid()
        self._ticks: list[tuple[int, int, Tick]] = []
        self._count = 0
        self._armed_ns = NEVER_NS
        self._earliest_ns = 0
        self._loop = hub.loop
        self._watcher: Any = None
        """Of the alarm; a timer of the loop's where the platform has no alarms."""
        try:
            self._alarm: int | None = make_alarm()
        except OSError:
            self._alarm = None
        else:
            self._watcher = hub.loop.io(self._alarm, READABLE, ref=False)
            self._watcher.start(self._pass)

    @staticmethod
    def of_hub() -> Ticker:
        """The ticker of this process's hub, made at first use: after a fork the alarm would be both processes'."""
        hub = gevent.get_hub()
        ticker = getattr(hub, "rtbench_ticker", None)
        if isinstance(ticker, Ticker) and ticker._process == os.getpid():
            return ticker
        if isinstance(ticker, Ticker):
            ticker.close()
        hub.rtbench_ticker = made = Ticker(hub)
        return made

    def close(self) -> None:
        """Call nothing any more."""
        self._ticks.clear()
        if self._watcher is not None:
            self._watcher.close()
        if self._alarm is not None:
            os.close(self._alarm)

    def at(self, due_ns: int, call: Callable[[], None]) -> Tick:
        """Have the loop call this at an instant, or soon after it."""
        tick = Tick(call)
        self._count += 1
        heapq.heappush(self._ticks, (due_ns, self._count, tick))
        if max(due_ns, self._earliest_ns) < self._armed_ns:
            self._arm(due_ns)
        return tick

    def _arm(self, due_ns: int) -> None:
        self._armed_ns = at_ns = max(due_ns, self._earliest_ns)
        if self._alarm is not None:
            set_alarm(self._alarm, at_ns)
            return
        if self._watcher is not None:
            self._watcher.close()
        self._watcher = self._loop.timer(max(0, at_ns - monotonic_ns()) / NS_PER_S, ref=False)
        self._watcher.start(self._pass, update=True)

    def _pass(self) -> None:
        now_ns, self._armed_ns = monotonic_ns(), 0  # nothing is armed before all was called
        self._earliest_ns = now_ns + APART_NS
        ticks = self._ticks
        while ticks and ticks[0][0] <= now_ns:
            _, _, tick = heapq.heappop(ticks)
            if tick.call is not None:
                tick.call()
        while ticks and ticks[0][2].call is None:
            heapq.heappop(ticks)
        self._arm(ticks[0][0] if ticks else now_ns + IDLE_NS)
