"""The ring of io_uring that receives for the sockets of a hub, in the hub's event loop.

The loop waits for the ring's descriptor: one wake-up serves all sockets. The loop also looks at
the ring before and after each poll, and every 0.2 ms while it works. So it is known at which
instants all sockets were empty, although nothing was received for a long time.

A completion also interrupts the wait of the loop, because the kernel receives in task work of this
thread. Listeners that wait are called in the same iteration of the loop. Those that are polled are
called by the poller, in its next pass.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import gevent

from bench.transport.event_loop import READABLE, CallbackScheduler, Poller
from bench.transport.loop_monitor import HubLocal, LoopMonitor

if TYPE_CHECKING:
    from bench.transport.ring._ring import Ring


_RINGS: WeakSet[HubRing] = WeakSet()


def _do_nothing() -> None:
    """Do nothing: the ring only ends the poll."""


def _leave_to_parent() -> None:
    """Leave the rings to the parent. The memory of a ring is not copied by a fork."""
    for hub_ring in list(_RINGS):
        hub_ring.close()


os.register_at_fork(after_in_child=_leave_to_parent)


class HubRing(HubLocal):
    """The ring of a hub. It is created when the first socket needs it, so after a fork."""

    def __init__(self) -> None:
        from bench.transport.ring._ring import Ring  # not without a compiler

        super().__init__()
        self._loop = gevent.get_hub().loop
        self._scheduler = CallbackScheduler.of_hub()
        self._is_woken = False
        self.ring: Ring = Ring(self._wake, self._scheduler.send_due)
        self._monitor = monitor = LoopMonitor.of_hub()
        monitor.ring = self.ring
        monitor.on_polled = self._on_polled
        self._watcher: Any = self._loop.io(self.ring.fileno(), READABLE, ref=False)
        self._watcher.priority = self._loop.MAXPRI
        self._watcher.start(_do_nothing)  # `_on_polled` follows each poll

        _RINGS.add(self)

    def close(self) -> None:
        """Release what a child has from its parent after a fork. The parent's ring remains."""
        _RINGS.discard(self)
        self._watcher.stop()
        self._monitor.ring = self._monitor.on_polled = None
        self.ring.abandon()

    def _on_polled(self) -> None:
        """Call the listeners that wait before the loop runs timers, which may end their waits."""
        self.ring.sync()
        self.ring.deliver(False)

    @property
    def poller(self) -> Poller:
        """The poller of the hub, which also passes on what the ring has received."""
        poller = Poller.of_hub()
        poller.deliver = self._deliver_polled
        return poller

    def _wake(self) -> None:
        """Call the listeners that wait before the loop polls again."""
        if not self._is_woken:
            self._is_woken = True
            self._loop.run_callback(self._deliver)

    def _deliver(self) -> None:
        self._is_woken = False
        self.ring.deliver(False)

    def _deliver_polled(self) -> None:
        self.ring.sync()
        self.ring.deliver(True)
