"""Resources that all sessions of a server share: quotas per minute, and servers for responses.
Pure.

A quota is a bucket with the capacity of one minute, which is refilled at a constant rate. The state
of the bucket is one instant: the time when the bucket will be full again (GCRA, ITU-T I.371).
"""

import heapq
from dataclasses import dataclass
from typing import Any

from bench.base.units import NS_PER_MS, NS_PER_S
from bench.wire.audio import Samples

MINUTE_NS = 60_000_000_000
UNITS = {"requests": "requests per min (RPM)", "tokens": "tokens per min (TPM)"}


@dataclass(frozen=True)
class QuotaLimits:
    """The limits of a server per minute; None if unlimited."""

    connections_per_minute: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


UNLIMITED = QuotaLimits()


class MinuteQuota:
    """A quota of `limit` units per minute.

    All instants are on CLOCK_MONOTONIC. An instant may be slightly earlier than the previous one,
    because connections are not synchronized.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._full_at_ns = 0

    # A full bucket holds a minute of units. So `units` are there if the time until it is full,
    # together with their own, is at most a minute.
    def wait_ns(self, units: int, at_ns: int) -> int:
        """Return the time until `units` are available. More units than the limit are available
        when it is full.
        """
        return max(0, self.reset_ns(at_ns) + self._cost_ns(min(units, self.limit)) - MINUTE_NS)

    def spend(self, units: int, at_ns: int) -> None:
        """Take units, even if they are not available. The bucket may then have a deficit, which
        is refilled first.
        """
        self._full_at_ns = max(self._full_at_ns, at_ns) + self._cost_ns(units)

    def reset_ns(self, at_ns: int) -> int:
        """Return the time until the bucket is full."""
        return max(0, self._full_at_ns - at_ns)

    def used(self, at_ns: int) -> int:
        """Return the used units that are not refilled yet, rounded up. They exceed the limit if
        there is a deficit.
        """
        return -(-self.reset_ns(at_ns) * self.limit // MINUTE_NS)

    def remaining(self, at_ns: int) -> int:
        return max(0, self.limit - self.used(at_ns))

    def _cost_ns(self, units: int) -> int:
        return units * MINUTE_NS // self.limit


class ServiceQuota:
    """The quotas of one server."""

    def __init__(self, limits: QuotaLimits) -> None:
        limit_by_name = {
            name.removesuffix("_per_minute"): limit for name, limit in vars(limits).items()
        }
        self._of_responses = {
            name: MinuteQuota(limit) for name, limit in limit_by_name.items() if limit is not None
        }
        self._connections = self._of_responses.pop("connections", None)

    def connect(self, at_ns: int) -> int:
        """Take one connection, and return 0. If none is available, return the time until one is."""
        if self._connections is None:
            return 0
        wait_ns = self._connections.wait_ns(1, at_ns)
        if not wait_ns:
            self._connections.spend(1, at_ns)
        return wait_ns

    def respond(self, input_tokens: int, model: str, at_ns: int) -> dict[str, str] | None:
        """Take one request and its input tokens. If they are not available, take nothing and
        return the error.
        """
        requested = {"requests": 1, "tokens": input_tokens}
        # All quotas are asked before one of them is used, so that a refusal costs nothing.
        for name, allowance in self._of_responses.items():
            wait_ns = allowance.wait_ns(requested[name], at_ns)
            if wait_ns:
                message = (
                    f"Rate limit reached for {model} on {UNITS[name]}: Limit {allowance.limit}, "
                    f"Used {allowance.used(at_ns)}, Requested {requested[name]}. "
                    f"Please try again in {duration(wait_ns)}."
                )
                return {"type": name, "code": "rate_limit_exceeded", "message": message}
        for name, allowance in self._of_responses.items():
            allowance.spend(requested[name], at_ns)
        return None

    def spend(self, output_tokens: int, at_ns: int) -> None:
        """Take the output tokens of a response. They are known only at its end, so the quota may
        be overdrawn.
        """
        if "tokens" in self._of_responses:
            self._of_responses["tokens"].spend(output_tokens, at_ns)

    def entries(self, at_ns: int) -> list[dict[str, Any]]:
        """Return the entries of rate_limits.updated, one for each limited quantity."""
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
        """Return the rate-limit headers of an upgrade. Those of `requests` are of connections if
        these are limited.
        """
        quotas = (
            {} if self._connections is None else {"requests": self._connections}
        ) | self._of_responses
        return {
            f"x-ratelimit-{header}-{name}": value
            for name, allowance in quotas.items()
            for header, value in {
                "limit": str(allowance.limit),
                "remaining": str(allowance.remaining(at_ns)),
                "reset": duration(allowance.reset_ns(at_ns)),
            }.items()
        }


def duration(span_ns: int) -> str:
    """Return a duration in the format of the service, rounded up to whole milliseconds: 250ms,
    6.232s, 1m26.4s.
    """
    span_ms = -(-span_ns // NS_PER_MS)
    if span_ms < 1000:
        return f"{span_ms}ms"
    minutes, remainder_ms = divmod(span_ms, 60_000)
    seconds = f"{remainder_ms / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{seconds}s" if minutes else f"{seconds}s"


class ResponseSlots:
    """A number of servers (`count`) that generate responses in order of request. `count`: None if
    unlimited.

    A response waits until a server is free. The response occupies the server until its planned end,
    even if it is cancelled earlier. If arrivals are random, this is the queue M/G/c. If callers
    wait for their replies, it is the machine repair model. Instants are on CLOCK_MONOTONIC.
    `sessions`: the number of sessions that share the servers now. `responses`: the number of
    responses that the servers generated, with or without a wait. `dropped`: the number of requests
    whose connections are closed, because they are above the capacity
    (`rtbench_simulator.overload`). `said`: the last words of the caller of each session whose agent
    repeats them.
    """

    def __init__(self, count: int | None = None) -> None:
        self._free_ns = [0] * (count or 0)
        self.sessions = self.responses = self.dropped = 0
        self.said: dict[str, Samples] = {}

    def begin_ns(self, at_ns: int) -> int:
        """Return the instant when a response can start that is requested at `at_ns`."""
        return max(at_ns, self._free_ns[0]) if self._free_ns else at_ns

    def slowness(self, at_ns: int) -> float:
        """Return the factor on delays because of an overload."""
        return 1.0

    def refusal_ns(self, at_ns: int) -> int:
        """Return the time that a refused connection should wait; 0 if it is accepted."""
        return 0

    def end(self) -> None:
        """Report what is not yet reported."""

    def occupy(self, until_ns: int) -> None:
        """Occupy the server that becomes free first, until `until_ns`."""
        self.responses += 1
        if self._free_ns:
            heapq.heapreplace(self._free_ns, until_ns)
