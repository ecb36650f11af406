"""What a service does above its capacity, and how it recovers. Pure.

The capacity is `max_concurrent_responses`. A request that finds all of these responses in progress
is above it: it waits, its connection is dropped, or it only makes the service slower; and while the
service is full, new connections may be refused. The overload ends when the last such request is
served, or when no more responses than the capacity are in progress. From then on, a recovery of a
known length begins, in which delays are still longer.
"""

# `_ends_ns` has the planned ends of all responses in progress, so whether the service is full
# follows from the instant alone, without timers. `_over_ns` is the end of the last overload, or of
# the current one as far as it is known: each further request above the capacity moves it later.
# Delays are longer until it, and then recover.
#
# A period of overload is reported late, because it is only certain that it has ended when the
# recovery is over and a new overload begins, or when the simulator stops.

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from bench.base.units import NS_PER_S
from bench.files.validation import Choice, InvalidCombinationError, Number, field_key
from rtbench_simulator.quota import ResponseSlots

Above = Literal["queue", "refuse", "drop", "degrade"]
RECOVERED = 0.1
"""The increase of delays at the end of an exponential recovery. It equals the default margin of
`rtbench overload`."""


@dataclass(frozen=True)
class OverloadRules:
    """The key `overload` of a profile."""

    above: Above = field_key(
        Choice(("queue", "refuse", "drop", "degrade")),
        "What happens above max_concurrent_responses: responses queue; new connections are refused"
        " (HTTP 429); the connection is closed (1013); or replies are only slower.",
        "queue",
    )
    retry_after_s: float = field_key(
        Number(0.001, 3_600), "The delay that a refusal requests (Retry-After).", 2.0
    )
    slower: float = field_key(
        Number(0, 100), "Increase of delays in overload, and until recovered; 1 is 100 %.", 1.0
    )
    recovery_s: float = field_key(
        Number(0, 86_400), "Time from the end of the overload until delays are as before.", 0.0
    )
    recovery: Literal["step", "exponential"] = field_key(
        Choice(("step", "exponential")),
        "Whether the increase ends at once, or falls to 10 % at the end of recovery_s.",
        "step",
    )

    def __post_init__(self) -> None:
        if self.recovery == "exponential" and self.slower <= RECOVERED:
            raise InvalidCombinationError("recovery", f"needs `slower` above {RECOVERED:g}")

    def increase(self, since_ns: int) -> float:
        """Return the increase of delays, `since_ns` after the end of the overload."""
        if since_ns <= 0:
            return self.slower
        passed = since_ns / (self.recovery_s * NS_PER_S) if self.recovery_s else math.inf
        if self.recovery == "exponential":
            return self.slower * math.pow(RECOVERED / self.slower, passed)
        return self.slower if passed < 1 else 0.0


class OverloadPeriod(msgspec.Struct, frozen=True):
    """An overload, as a line of the ground-truth log. `requests` were above the capacity."""

    direction: Literal["overload"]
    began_ns: int
    ended_ns: int
    recovered_ns: int
    requests: int


class OverloadedSlots(ResponseSlots):
    """Servers for responses with `rules` above their number. Each period of overload is reported
    when the next one begins, or at the end.
    """

    def __init__(
        self, count: int, rules: OverloadRules, report: Callable[[OverloadPeriod], None]
    ) -> None:
        super().__init__(count)
        self._count = count
        self._rules = rules
        self._report = report
        self._ends_ns: list[int] = []  # a heap of the planned ends
        self._is_dropping = False
        self._began_ns = self._over_ns = -1
        self._requests = 0

    def begin_ns(self, at_ns: int) -> int:
        if not self._is_full(at_ns):
            return at_ns
        begin_ns = super().begin_ns(at_ns) if self._rules.above == "queue" else at_ns
        self._note(at_ns, begin_ns)
        self._is_dropping = self._rules.above == "drop"
        self.dropped += self._is_dropping
        return begin_ns

    def occupy(self, until_ns: int) -> None:
        if self._is_dropping:
            self._is_dropping = False
            return
        super().occupy(until_ns)
        heapq.heappush(self._ends_ns, until_ns)
        # Without a queue, responses above the capacity run at the same time. The overload is over
        # when as many have ended as there are too many.
        excess = len(self._ends_ns) - self._count
        if excess > 0 and self._rules.above != "queue":
            self._over_ns = max(self._over_ns, heapq.nsmallest(excess, self._ends_ns)[-1])

    def slowness(self, at_ns: int) -> float:
        return 1.0 if self._over_ns < 0 else 1 + self._rules.increase(at_ns - self._over_ns)

    def refusal_ns(self, at_ns: int) -> int:
        if self._rules.above != "refuse" or not self._is_full(at_ns):
            return 0
        self._note(at_ns, at_ns)
        return round(self._rules.retry_after_s * NS_PER_S)

    def end(self) -> None:
        if self._requests:
            recovered_ns = self._over_ns + round(self._rules.recovery_s * NS_PER_S)
            self._report(
                OverloadPeriod(
                    "overload", self._began_ns, self._over_ns, recovered_ns, self._requests
                )
            )
            self._requests = 0

    def _is_full(self, at_ns: int) -> bool:
        while self._ends_ns and self._ends_ns[0] <= at_ns:
            heapq.heappop(self._ends_ns)
        return len(self._ends_ns) >= self._count

    def _note(self, at_ns: int, until_ns: int) -> None:
        """Count a request above the capacity, which is served at `until_ns`."""
        recovered_ns = self._over_ns + round(self._rules.recovery_s * NS_PER_S)
        if self._over_ns < 0 or at_ns > recovered_ns:
            self.end()
            self._began_ns = at_ns
        self._requests += 1
        self._over_ns = max(self._over_ns, until_ns)
