"""The ring of io_uring that receives for the sockets of a hub, in the hub's event loop.

The loop looks at the ring before and after each poll, and every 0.2 ms while it works. So it is
known at which instants all sockets were empty, although nothing was received for a long time.

An arrival wakes the loop at once, unless others came shortly before. Then the loop sleeps until a
pass of the schedule, `LOOK_NS` after them: a wake-up takes longer than handling a delta, and the
sleeping thread receives what arrives meanwhile, each segment with its own timestamp.

Listeners that wait are called in the same iteration of the loop. Those that are polled are called
by the poller, in its next pass.
"""

from __future__ import annotations

import os
from typing import Any
from weakref import WeakSet

import gevent

from bench.transport.event_loop import (
    MIN_PASS_INTERVAL_NS,
    READABLE,
    CallbackScheduler,
    Poller,
)
from bench.transport.loop_monitor import HubLocal, LoopMonitor
from bench.transport.ring._ring import Ring

LOOK_NS = MIN_PASS_INTERVAL_NS
"""The time for which the loop does not look at the ring if it has nothing else to do, and arrivals
are frequent."""
_RINGS: WeakSet[HubRing] = WeakSet()


def _leave_to_parent() -> None:
    """Leave the rings to the parent. The memory of a ring is not copied by a fork."""
    for hub_ring in list(_RINGS):
        hub_ring.close()


# Locust forks its processes after the import of the scenario. A child that touched the ring of its
# parent would steal the parent's completions.
os.register_at_fork(after_in_child=_leave_to_parent)


class HubRing(HubLocal):
    """The ring of a hub. It is created when the first socket needs it, so after a fork."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = gevent.get_hub().loop
        self._scheduler = CallbackScheduler.of_hub()
        self._is_woken = False
        self.ring = Ring(self._wake, self._scheduler.send_due)
        self._monitor = monitor = LoopMonitor.of_hub()
        monitor.ring = self.ring
        monitor.before_poll = self._before_poll
        monitor.on_polled = self._on_polled
        self._found_ns = 0
        """The last look at the ring before a poll by which something had been received."""
        self._watcher: Any = self._loop.io(self.ring.fileno(), READABLE, ref=False)
        self._watcher.priority = self._loop.MAXPRI
        self._watcher.start(self.ring.wake_up)  # `_on_polled` follows each poll
        _RINGS.add(self)

    def close(self) -> None:
        """Release what a child has from its parent after a fork. The parent's ring remains."""
        _RINGS.discard(self)
        self._watcher.stop()
        self._monitor.ring = self._monitor.before_poll = self._monitor.on_polled = None
        self.ring.abandon()

    def _before_poll(self) -> bool:
        """Let the next arrival end the poll. If arrivals are frequent, let the next pass end it."""
        look_ns = 0  # at once
        if self.ring.has_received_since_asked():
            before_ns = self._found_ns
            self._found_ns = self.ring.synced_ns
            if self._found_ns - before_ns < 2 * LOOK_NS:
                look_ns = self._found_ns + LOOK_NS
        if not look_ns and self.ring.arm_wakeup():
            return True
        self._scheduler.pass_by(look_ns)
        return False

    def _on_polled(self) -> None:
        """Call the listeners that wait before the loop runs timers, which may end their waits."""
        self.ring.sync()
        self.ring.pass_on(False)

    @property
    def poller(self) -> Poller:
        """The poller of the hub, which also passes on what the ring has received."""
        poller = Poller.of_hub()
        poller.pass_on_polled = self._pass_on_polled
        return poller

    def _wake(self) -> None:
        """Call the listeners that wait before the loop polls again."""
        if not self._is_woken:
            self._is_woken = True
            self._loop.run_callback(self._pass_on)

    def _pass_on(self) -> None:
        self._is_woken = False
        self.ring.pass_on(False)

    def _pass_on_polled(self) -> None:
        self.ring.sync()
        self.ring.pass_on(True)
