"""How late the simulator was: handed − due of every event it sent, counted in steps of 0.1 ms."""

from __future__ import annotations

STEP_NS = 100_000
STEPS = 10_000  # the last step holds everything from 1 s on
LATE_P99_MS = 5.0


class Lateness:
    def __init__(self) -> None:
        self._counts = [0] * (STEPS + 1)
        self.count = 0
        self.max_ns = 0

    def add(self, late_ns: int) -> None:
        self._counts[min(late_ns // STEP_NS, STEPS)] += 1
        self.count += 1
        if late_ns > self.max_ns:
            self.max_ns = late_ns

    def quantile_ms(self, share: float) -> float:
        """The smallest bound under which at least `share` of the events lie; 0 without events."""
        wanted, seen = share * self.count, 0
        for step, count in enumerate(self._counts):
            seen += count
            if count and seen >= wanted:
                return (step + 1) * STEP_NS / 1e6
        return 0.0

    def summary(self) -> str:
        p50, p99 = self.quantile_ms(0.5), self.quantile_ms(0.99)
        figures = f"handed − due: p50 ≤ {p50:.1f} ms, p99 ≤ {p99:.1f} ms, max {self.max_ns / 1e6:.1f} ms"
        return figures if p99 <= LATE_P99_MS else f"WARN: the simulator was late, do not trust its delays: {figures}"
