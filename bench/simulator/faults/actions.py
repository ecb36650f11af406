"""Lists what a fault does to a connection, or to a single event: actions, which `injection.py` decides on. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec
from msgspec import structs

from bench.simulator.faults.kinds import Fault
from bench.simulator.wire import GA, PREVIEW, Json, Outgoing, error_fields, event_bytes, text_frame
from bench.units import NS_PER_MS, NS_PER_S


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


FaultAction = (
    HandOver | HandOverPart | HoldStill | Freeze | ResetConnection | FailTls | HangUp | ExpireSession | EndResponse
)


def to_connection(fault: Fault) -> Iterator[FaultAction]:
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


DRIP_MS = 10
FINAL, TEXT, BINARY, PING = 0x80, 0x01, 0x02, 0x09
MIB = 1 << 20
SPELLINGS = {
    f'"type":"{one}.'.encode(): f'"type":"{other}.'.encode()
    for names, others in ((PREVIEW, GA), (GA, PREVIEW))
    for one, other in zip(names[:3], others[:3], strict=True)
}


def ahead(fault: Fault, event: Outgoing) -> HandOver | None:
    """The event that comes ahead of another one because of a fault; None: none does."""
    if fault.kind == "error":
        fields = error_fields(str(fault.code), f"The simulator was asked for the error {fault.code}.")
        fields["error"]["type"] = "server_error" if fault.code == "server_error" else "invalid_request_error"
        return _another("error", fields, event)
    if fault.kind == "unknown":
        return _another("response.nobody_knows", {"response_id": event.response_id}, event)
    return None


def _another(event_type: str, fields: Json, event: Outgoing) -> HandOver:
    """Another event at the same instant, from which its id is made."""
    body = event_bytes(event_type, f"event_fault_{event.due_ns}", fields)
    return HandOver(Outgoing(event.due_ns, event_type, body, event.response_id))


def garbled(fault: Fault, actions: Iterable[FaultAction]) -> Iterator[FaultAction]:
    """What becomes of what was to be handed over by a fault that garbles events; of all else nothing."""
    for action in actions:
        if isinstance(action, HandOver):
            yield from _garbled_event(fault, action)
        else:
            yield action


def _garbled_event(fault: Fault, given: HandOver) -> Iterator[FaultAction]:
    body = given.event.body
    match fault.kind:
        case "missing":
            return
        case "doubled":
            yield from (given, given)
        case "bad_json":
            yield _with_body(given, body[: len(body) // 2])
        case "bad_base64":
            yield _with_body(given, body.replace(b'"delta":"', b'"delta":"!', 1))
        case "other_dialect":
            yield _with_body(given, next((body.replace(a, b, 1) for a, b in SPELLINGS.items() if a in body), body))
        case "huge":
            padded = body[:-1] + b',"padding":"'
            yield _with_body(given, padded + b"x" * (round((fault.mib or 0) * MIB) - len(padded) - 2) + b'"}')
        case "binary":
            yield HandOver(given.event, _frame(FINAL | BINARY, body))
        case "fragmented":
            third, ping = len(body) // 3, _frame(FINAL | PING, b"between")
            first, second, rest = body[:third], body[third : 2 * third], body[2 * third :]
            frames = (_frame(TEXT, first), ping, _frame(0, second), ping, _frame(FINAL, rest))
            yield HandOver(given.event, b"".join(frames))
        case "drip":
            frame = given.frame or text_frame(body)
            size = max(1, round((fault.bytes_per_s or 0) * DRIP_MS / 1000))
            last = (len(frame) - 1) // size * size
            for begin in range(0, last, size):
                yield HandOverPart(frame[begin : begin + size])
                yield HoldStill(DRIP_MS * NS_PER_MS)
            yield HandOver(given.event, frame[last:])
        case _:
            yield given


def without_audio_tokens(event: Outgoing) -> Outgoing:
    """A response.done that bills no audio."""
    fields = msgspec.json.decode(event.body)
    usage = fields["response"]["usage"]
    audio = usage["output_token_details"]["audio_tokens"]
    usage["output_token_details"]["audio_tokens"] = 0
    usage["output_tokens"] -= audio
    usage["total_tokens"] -= audio
    return structs.replace(event, body=msgspec.json.encode(fields))


def _with_body(given: HandOver, body: bytes) -> HandOver:
    return HandOver(structs.replace(given.event, body=body))


def _frame(head: int, body: bytes) -> bytes:
    """An unmasked frame with this first byte."""
    return bytes([head]) + text_frame(body)[1:]
