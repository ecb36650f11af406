"""Shortages of a hub's ring: moments at which it could not receive, so that arrivals were
merged.
"""

from bench.transport.loop_monitor import LoopMonitor


class Shortages:
    """The shortages of this hub's ring since they were last reported."""

    def __init__(self) -> None:
        self._dry = self._overflowed = 0

    def new(self) -> str:
        """Return a text about the new shortages; "" if there are none, or if no ring receives."""
        ring = LoopMonitor.of_hub().ring
        if ring is None:
            return ""
        dry = ring.dry - self._dry
        overflowed = ring.overflowed - self._overflowed
        self._dry = ring.dry
        self._overflowed = ring.overflowed
        # A merged arrival has the timestamp of the last byte, so it is uncertain and not wrong. The
        # user learns of it, since more buffers or fewer sessions in a process prevent it.
        parts = [
            *([f"no buffer was free {dry} times"] if dry else []),
            *([f"the queue of completions was full {overflowed} times"] if overflowed else []),
        ]
        return f"io_uring: {', and '.join(parts)}: arrivals were merged" if parts else ""
