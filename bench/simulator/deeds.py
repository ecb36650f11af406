"""Lists what a connection does to its client because of a fault: deeds, which are decided in `trouble.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.simulator.faults import Fault
from bench.simulator.wire import Json, Outgoing
from bench.units import NS_PER_S


@dataclass(frozen=True)
class HandOver:
    """Send an event; `frame`: its bytes on the wire, where they are not the usual ones."""

    event: Outgoing
    frame: bytes | None = None


@dataclass(frozen=True)
class HandOverPart:
    """Send bytes of a frame that is not complete yet."""

    data: bytes


@dataclass(frozen=True)
class HoldStill:
    """Read and write nothing; `for_ns` None: ever again."""

    for_ns: int | None


@dataclass(frozen=True)
class Freeze:
    """Let the whole process stand still."""

    for_s: float


@dataclass(frozen=True)
class ResetConnection:
    """Let TCP reset the connection."""


@dataclass(frozen=True)
class FailTls:
    """Answer with the alert that the handshake failed."""


@dataclass(frozen=True)
class HangUp:
    """Close with this code; 1006: without a close frame."""

    code: int


@dataclass(frozen=True)
class ExpireSession:
    """End the session as one that is too old."""


@dataclass(frozen=True)
class EndResponse:
    """Let the response be done now, with this status."""

    response_id: str
    status: str
    details: Json


Deed = HandOver | HandOverPart | HoldStill | Freeze | ResetConnection | FailTls | HangUp | ExpireSession | EndResponse


def to_connection(fault: Fault) -> Iterator[Deed]:
    """What a fault does to a connection, whatever is sent on it; nothing where it strikes events alone."""
    match fault.kind:
        case "silence":
            yield HoldStill(None if fault.for_s is None else round(fault.for_s * NS_PER_S))
        case "freeze":
            yield Freeze(fault.for_s or 0)
        case "reset":
            yield ResetConnection()
        case "tls_alert":
            yield FailTls()
        case "close":
            yield HangUp(int(fault.code or 0))
        case "session_expired":
            yield ExpireSession()
