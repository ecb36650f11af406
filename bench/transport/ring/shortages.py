"""Shortages of a hub's ring: moments at which it could not receive, so that arrivals were merged,
and sockets for which it could not be opened.
"""

from bench.transport.loop_monitor import LoopMonitor


class Shortages:
    """The shortages of this hub's ring since they were last reported."""

    def __init__(self) -> None:
        self._shortages = self._overflowed = self._without_ring = 0

    def new(self) -> str:
        """Return a text about the new shortages; "" if there are none, or if no ring is needed."""
        monitor = LoopMonitor.of_hub()
        without_ring = monitor.without_ring - self._without_ring
        self._without_ring = monitor.without_ring
        parts = []
        if monitor.ring is not None:
            shortages = monitor.ring.buffer_shortages - self._shortages
            overflowed = monitor.ring.overflowed - self._overflowed
            self._shortages = monitor.ring.buffer_shortages
            self._overflowed = monitor.ring.overflowed
            # A merged arrival has the timestamp of the last byte, so it is uncertain and not wrong.
            # The user learns of it, since more buffers or fewer sessions in a process prevent it.
            merged = [
                *([f"no buffer was free {shortages} times"] if shortages else []),
                *([f"the queue of completions was full {overflowed} times"] if overflowed else []),
            ]
            if merged:
                parts.append(f"{', and '.join(merged)}: arrivals were merged")
        if without_ring:
            parts.append(
                f"a ring could not be opened ({monitor.ring_error}): epoll reads"
                f" {without_ring} connections"
            )
        return f"io_uring: {'; '.join(parts)}" if parts else ""
