"""Dials a target and tells its session's timeline how that went, whatever happens: the one way to connect."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from greenlet import GreenletExit

from bench.clock import monotonic_ns
from bench.errors import ConnectError
from bench.limits import Limits
from bench.observe.inputs import Connected, Failed
from bench.observe.timeline import Timeline
from bench.target.dial import Dialer
from bench.transport.base import Phases, Transport

HARNESS_FAULT = "failed:harness"


def connected(
    dialer: Dialer, limits: Limits, timeline: Timeline, told: Callable[[Mapping[str, str]], None]
) -> Transport | None:
    """Open a connection; None where it was refused, which the timeline knows then.

    `told` gets the headers of the service's answer, where it gave one. What ends the greenlet, and a fault of ours, is
    raised again once the timeline has its outcome: it is seen as a failure, and never a missing sample.
    """
    phases = Phases()
    try:
        transport = dialer.open(limits, phases)
    except ConnectError as error:
        told(error.headers)
        _failed(timeline, phases, error.outcome, error.detail, error.headers)
        return None
    except GreenletExit:
        _failed(timeline, phases, "abandoned", "the run ended")
        raise
    except Exception as error:
        _failed(timeline, phases, HARNESS_FAULT, f"{type(error).__name__}: {error}")
        raise
    instants, headers, errors_ns = transport.handshake
    told(headers)
    timeline.tell(Connected(instants, headers, phases.token_wait_ns, errors_ns))
    return transport


def _failed(
    timeline: Timeline, phases: Phases, outcome: str, detail: str, headers: Mapping[str, str] | None = None
) -> None:
    timeline.tell(Connected(phases.instants, headers or {}, phases.token_wait_ns, phases.errors_ns))
    timeline.tell(Failed(outcome, monotonic_ns(), detail))
