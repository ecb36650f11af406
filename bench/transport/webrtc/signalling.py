"""The signalling of a call at the Realtime API: `POST …/realtime/calls` with an offer, and the URL of its events.

The response has the answer, and the id of the call in its header Location. A WebSocket with this id has the events of
the call (OpenAI's guide "Webhooks and server-side controls"; Azure's "Realtime API via WebRTC").
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import msgspec

from bench.base.clock import monotonic_ns
from bench.base.errors import ConnectError
from bench.base.units import NS_PER_S
from bench.catalogue.timeouts import Timeouts
from bench.transport.connect import BODY_NS, receive_body
from bench.transport.interface import ConnectTimings
from bench.transport.parser import MAX_HEAD_BYTES, HttpResponse, may_be_response, read_response, refusal
from bench.transport.tcp import ByteStream

MODEL_NAMES = ("model", "deployment")
ACCEPTED = (200, 201)
_CALL_ID = re.compile(r"[A-Za-z0-9._~-]{1,200}", re.ASCII)


class CallPlace(NamedTuple):
    """The parts of a target's URL that its calls need. `query` is without the model."""

    authority: str
    path: str
    query: str
    model: str

    @classmethod
    def of(cls, url: str) -> CallPlace:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        model = next((value for name, value in pairs if name in MODEL_NAMES), "")
        query = urlencode([pair for pair in pairs if pair[0] not in MODEL_NAMES])
        return cls(parts.netloc, parts.path.rstrip("/"), query, model)


def events_url(url: str, call_id: str) -> str:
    """Return the URL of the events of a call, from the URL of the target."""
    place, scheme = CallPlace.of(url), urlsplit(url).scheme
    named = f"{place.query}&" if place.query else ""
    return f"{scheme}://{place.authority}{place.path}?{named}call_id={quote(call_id, safe='')}"


def call_request(url: str, headers: Iterable[tuple[str, str]], offer: bytes, boundary: str) -> bytes:
    """Return the request of a call, with the offer and the session's model in the parts of a form (RFC 7578)."""
    place = CallPlace.of(url)
    session = {"type": "realtime"} | ({"model": place.model} if place.model else {})
    parts = (("sdp", b"application/sdp", offer), ("session", b"application/json", msgspec.json.encode(session)))
    body = b"".join(
        b'--%s\r\nContent-Disposition: form-data; name="%s"\r\nContent-Type: %s\r\n\r\n%s\r\n'
        % (boundary.encode(), name.encode(), kind, content)
        for name, kind, content in parts
    )
    body += b"--%s--\r\n" % boundary.encode()
    target = f"{place.path}/calls" + (f"?{place.query}" if place.query else "")
    lines = [
        f"POST {target} HTTP/1.1",
        f"Host: {place.authority}",
        *(f"{name}: {value}" for name, value in headers),
        f"Content-Type: multipart/form-data; boundary={boundary}",
        f"Content-Length: {len(body)}",
        "Accept: application/sdp",
        "Connection: close",
    ]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


def call_id_of(headers: Mapping[str, str]) -> str:
    """Return the id of the call in the header Location; "" if there is none."""
    last = urlsplit(headers.get("location", "")).path.rstrip("/").rpartition("/")[2]
    return last if _CALL_ID.fullmatch(last) else ""


class AnsweredCall(NamedTuple):
    """The answer to an offer. `headers` are those of the response."""

    description: bytes
    call_id: str
    headers: Mapping[str, str]


def place_call(
    stream: ByteStream,
    url: str,
    headers: Iterable[tuple[str, str]],
    offer: bytes,
    limits: Timeouts,
    phases: ConnectTimings,
) -> AnsweredCall:
    """Send an offer over an open connection, and wait for the answer.

    Raise ConnectError: `connect_failed:<status>`, `connect_failed:upgrade`, `throttled:handshake`, `timeout:upgrade`.
    """
    until_ns = monotonic_ns() + int(limits.upgrade * NS_PER_S)
    data = b""
    response: HttpResponse | None = None
    try:
        stream.write(call_request(url, headers, offer, f"rtbench-{secrets.token_hex(8)}"), until_ns=until_ns)
        while True:
            read = stream.read(until_ns)
            if read is None:
                raise ConnectError("timeout:upgrade", f"no answer to the offer within {limits.upgrade:g} s")
            data += read.data
            response = read_response(data)
            if response is not None or not read.data or len(data) > MAX_HEAD_BYTES or not may_be_response(data):
                break
    except OSError as error:
        raise ConnectError("connect_failed:upgrade", f"the connection broke: {error.strerror or error}") from None
    if response is None:
        broken = stream.error_text or "the answer to the offer is not HTTP"
        raise ConnectError("connect_failed:upgrade", f"the call was not answered: {broken}")
    phases.set_arrival("offer_answered", read.timestamp_ns, read.timestamp_ns - read.empty_ns)
    response = receive_body(stream, response, min(until_ns, monotonic_ns() + BODY_NS))
    if response.status not in ACCEPTED:
        raise refusal(response)
    call_id = call_id_of(response.headers)
    if not call_id:
        problem = "the answer to the offer has no header Location with the id of the call"
        raise ConnectError("connect_failed:upgrade", problem, response.headers)
    return AnsweredCall(response.content, call_id, response.headers)
