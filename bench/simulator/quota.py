"""Keeps what all sessions of a server share and may run out of: quotas of a minute, servers for responses. Pure.

An allowance is a bucket: a whole minute's worth at once, regained evenly. What was taken is kept as one instant, that
at which all will have been regained (GCRA, ITU-T I.371).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

from bench.units import NS_PER_MS, NS_PER_S

MINUTE_NS = 60_000_000_000
UNITS = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}


@dataclass(frozen=True)
class QuotaLimits:
    """What a server allows in a minute; None: as much as one likes."""

    connections_per_minute: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


UNLIMITED = QuotaLimits()


class MinuteQuota:
    """`limit` units a minute. Instants of CLOCK_MONOTONIC, which may run back a little: connections are not in step."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._whole_ns = 0

    def wait_ns(self, units: int, at_ns: int) -> int:
        """How long until so many may be taken; 0: now. What is above the limit needs the whole of it."""
        return max(0, self.reset_ns(at_ns) + self._cost_ns(min(units, self.limit)) - MINUTE_NS)

    def take(self, units: int, at_ns: int) -> None:
        """Take them, whether they are there or not: what is not must be regained first."""
        self._whole_ns = max(self._whole_ns, at_ns) + self._cost_ns(units)

    def reset_ns(self, at_ns: int) -> int:
        """How long until all is regained."""
        return max(0, self._whole_ns - at_ns)

    def used(self, at_ns: int) -> int:
        """Units that are not regained yet, counted whole; more than the limit where it was overdrawn."""
        return -(-self.reset_ns(at_ns) * self.limit // MINUTE_NS)

    def remaining(self, at_ns: int) -> int:
        return max(0, self.limit - self.used(at_ns))

    def _cost_ns(self, units: int) -> int:
        return units * MINUTE_NS // self.limit


class ServiceQuota:
    """The allowances of one server."""

    def __init__(self, limits: QuotaLimits) -> None:
        given = {name.removesuffix("_per_minute"): limit for name, limit in vars(limits).items()}
        self._of_responses = {name: MinuteQuota(limit) for name, limit in given.items() if limit is not None}
        self._connections = self._of_responses.pop("connections", None)

    def connect(self, at_ns: int) -> int:
        """Take a connection; where there is none, how long to wait for it (and nothing is taken)."""
        if self._connections is None:
            return 0
        wait_ns = self._connections.wait_ns(1, at_ns)
        if not wait_ns:
            self._connections.take(1, at_ns)
        return wait_ns

    def respond(self, input_tokens: int, model: str, at_ns: int) -> dict[str, str] | None:
        """Take a request and its input; where either does not fit, the error that says so (and nothing is taken)."""
        asked = {"requests": 1, "tokens": input_tokens}
        for name, allowance in self._of_responses.items():
            wait_ns = allowance.wait_ns(asked[name], at_ns)
            if wait_ns:
                message = (
                    f"Rate limit reached for {model} on {UNITS[name]}: Limit {allowance.limit}, "
                    f"Used {allowance.used(at_ns)}, Requested {asked[name]}. "
                    f"Please try again in {duration(wait_ns)}."
                )
                return {"type": name, "code": "rate_limit_exceeded", "message": message}
        for name, allowance in self._of_responses.items():
            allowance.take(asked[name], at_ns)
        return None

    def spend(self, output_tokens: int, at_ns: int) -> None:
        """Take what a response has said; known only when it is done, so it may overdraw."""
        if "tokens" in self._of_responses:
            self._of_responses["tokens"].take(output_tokens, at_ns)

    def entries(self, at_ns: int) -> list[dict[str, Any]]:
        """As rate_limits.updated shows them: of what is limited."""
        return [
            {
                "name": name,
                "limit": allowance.limit,
                "remaining": allowance.remaining(at_ns),
                "reset_seconds": round(allowance.reset_ns(at_ns) / NS_PER_S, 3),
            }
            for name, allowance in self._of_responses.items()
        ]

    def headers(self, at_ns: int) -> dict[str, str]:
        """As an upgrade's response shows them. `requests` are connections where only those are limited."""
        shown = ({} if self._connections is None else {"requests": self._connections}) | self._of_responses
        return {
            f"x-ratelimit-{what}-{name}": value
            for name, allowance in shown.items()
            for what, value in {
                "limit": str(allowance.limit),
                "remaining": str(allowance.remaining(at_ns)),
                "reset": duration(allowance.reset_ns(at_ns)),
            }.items()
        }


def duration(span_ns: int) -> str:
    """In the service's words, rounded up to whole milliseconds: 250ms, 6.232s, 1m26.4s."""
    span_ms = -(-span_ns // NS_PER_MS)
    if span_ms < 1000:
        return f"{span_ms}ms"
    minutes, rest_ms = divmod(span_ms, 60_000)
    seconds = f"{rest_ms / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


class ResponseSlots:
    """`count` servers that make responses; None: as many as one likes. Who comes first is served first.

    A response waits until one of them is free, and keeps it until it is done, also where it is cancelled before that.
    Where requests arrive at random this is the queue M/G/c; with callers who wait for their replies, the machine repair
    model. Instants of CLOCK_MONOTONIC. `sessions`: how many share them now; `responses`: how many were made by them,
    whether or not they had to wait.
    """

    def __init__(self, count: int | None = None) -> None:
        self._free_ns = [0] * (count or 0)
        self.sessions = self.responses = 0

    def begin_ns(self, at_ns: int) -> int:
        """When a response is begun that is asked for `at_ns`."""
        return max(at_ns, self._free_ns[0]) if self._free_ns else at_ns

    def occupy(self, until_ns: int) -> None:
        """Keep the server that is free first."""
        self.responses += 1
        if self._free_ns:
            heapq.heapreplace(self._free_ns, until_ns)
