"""The signalling of a call at the Realtime API: `POST …/realtime/calls` with an offer, whose
response has the answer.

With a key of the project, the offer is a part of a form. With an ephemeral key of `POST
…/realtime/client_secrets`, it is the body (OpenAI's guide "Realtime API with WebRTC"; Azure's
"Realtime API via WebRTC").
"""

# Each of the four requests is one HTTP exchange over a connection that ends with it (`Connection:
# close`): the offer of a service, the offer of an agent, the offer with the settings of a session,
# and the request of an ephemeral key. They differ in the body and in where the answer has the
# description, and share `_post` and `_exchanged`.
#
# The exchange is done by hand, and not by a client of HTTP, because the instant of the answer is a
# measured phase: it is the kernel's timestamp of the last segment of the body, with the uncertainty
# of that read.
#
# No redirect is followed. The request has a credential, and another host must not get it.

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from bench.base.clock import SendTime, monotonic_ns
from bench.base.units import NS_PER_S
from bench.catalogue.causes import Cause, Code, ConnectError, in_words
from bench.catalogue.outcomes import PERMANENT, service_code
from bench.catalogue.refusals import HANDSHAKE
from bench.catalogue.timeouts import Timeouts
from bench.protocols.turn.servers import TurnServer, servers_in_json, servers_in_links
from bench.services.names import OfferForm
from bench.transport.connect import BODY_NS, connect, receive_body
from bench.transport.interface import CallKey, ConnectRequest, ConnectTimings, Headers
from bench.transport.parser import (
    MAX_HEAD_BYTES,
    HttpResponse,
    SocketRead,
    complete_chunks,
    may_be_response,
    read_response,
    refusal,
    service_message,
)
from bench.transport.tcp import ByteStream
from bench.wire.connection import SendReceipt
from bench.wire.dialect import NOT_JSON

MODEL_NAMES = ("model", "deployment")
ACCEPTED = (200, 201)
SDP = "application/sdp"
JSON = "application/json"
LINK = "link"
MAX_ANSWER_BYTES = 1 << 18
"""The maximum size of an answer. It may have the instructions of its session."""
NO_DESCRIPTION = "the answer to the offer has no session description"
# An agent that refuses with the status 200 uses words of its own choice. These are broad, since
# they are searched only in an answer without a description, which is a failure in any case; they
# only decide its name.
_LIMITS = re.compile(
    rb"limit|concurren|capacity|overload|busy|too.?many|throttl|quota|exhausted", re.IGNORECASE
)
_REFUSES = re.compile(
    rb"fail|error|refus|reject|denied|forbid|unauthori[sz]ed|" + _LIMITS.pattern, re.IGNORECASE
)
"""The words of an answer that is a refusal. No standard defines such answers."""


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

    @property
    def session(self) -> dict[str, str]:
        """The session that a call requests."""
        return {"type": "realtime"} | ({"model": self.model} if self.model else {})


def call_request(
    url: str,
    headers: Iterable[tuple[str, str]],
    offer: bytes,
    boundary: str,
    form: OfferForm = "form",
) -> bytes:
    """Return the request of a call. A form (RFC 7578) has the offer and the session's model.

    Without a form, the body is the offer. Then the query has the model, except with an ephemeral
    key, which has it.
    """
    place = CallPlace.of(url)
    if form != "form":
        query = place.query if form == "ephemeral" else urlsplit(url).query
        return _post(place, "/calls", query, headers, SDP, offer)
    parts = (("sdp", SDP, offer), ("session", JSON, msgspec.json.encode(place.session)))
    body = b"".join(
        b'--%s\r\nContent-Disposition: form-data; name="%s"\r\nContent-Type: %s\r\n\r\n%s\r\n'
        % (boundary.encode(), name.encode(), kind.encode(), content)
        for name, kind, content in parts
    )
    body += b"--%s--\r\n" % boundary.encode()
    return _post(
        place, "/calls", place.query, headers, f"multipart/form-data; boundary={boundary}", body
    )


def key_request(url: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return the request of an ephemeral key, which is only for sessions with the model of the
    target.
    """
    place = CallPlace.of(url)
    body = msgspec.json.encode({"session": place.session})
    return _post(place, "/client_secrets", place.query, headers, JSON, body)


def _post(
    place: CallPlace,
    part: str,
    query: str,
    headers: Iterable[tuple[str, str]],
    content_type: str,
    body: bytes,
) -> bytes:
    target = f"{place.path}{part}" + (f"?{query}" if query else "")
    # `authority` is that of the URL, also if the connection goes to another address or through a
    # proxy.
    lines = [f"POST {target} HTTP/1.1", f"Host: {place.authority}"]
    lines += (f"{name}: {value}" for name, value in headers)
    lines += [
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        f"Accept: {JSON if content_type == JSON else SDP}",
        "Connection: close",
    ]
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


class AnsweredCall(NamedTuple):
    """The answer to an offer. `headers` are those of the response. `servers` are the TURN
    servers that it names.
    """

    description: bytes
    headers: Mapping[str, str]
    servers: tuple[TurnServer, ...] = ()


def connect_to_host(request: ConnectRequest) -> ByteStream:
    """Connect to the host of a URL, for the offer. Raise ConnectError as `connect`."""
    parts = urlsplit(request.url)
    port = parts.port or (80 if request.context is None else 443)
    return connect(parts.hostname or "", port, request)


def place_call(stream: ByteStream, request: ConnectRequest, offer: bytes) -> AnsweredCall:
    """Send an offer over an open connection, and wait for the answer.

    Raise ConnectError: `connect_failed:<status>`, `connect_failed:upgrade`, `throttled:handshake`,
    `timeout:upgrade`.
    """
    boundary = f"rtbench-{secrets.token_hex(8)}"
    sent = call_request(request.url, request.headers, offer, boundary, request.path.offer)
    exchange = _offered(stream, sent, request)
    response = exchange.response
    if not response.content.lstrip().startswith(b"v="):
        raise ConnectError("connect_failed:upgrade", NO_DESCRIPTION, response.headers)
    return exchange.answer(response.content, None)


class _Exchange(NamedTuple):
    """The response to a request, the last read of it, and the instant at which the request was
    sent.

    The response is without its Link headers (`links`): they may have the credentials of TURN
    servers, and the other headers are stored.
    """

    response: HttpResponse
    links: str
    read: SocketRead
    sent: SendTime

    def set_answered(self, phases: ConnectTimings) -> None:
        """Record when the answer to an offer was complete."""
        at_ns = self.read.timestamp_ns
        phases.set_arrival("offer_answered", at_ns, at_ns - self.read.empty_ns)

    def answer(self, description: bytes, document: object) -> AnsweredCall:
        """Return an answer, with the TURN servers of its Link headers, and of its document in
        JSON.
        """
        servers = (*servers_in_links(self.links), *servers_in_json(document))
        return AnsweredCall(description, self.response.headers, servers)


class _JsonAnswer(msgspec.Struct):
    """The answer to an offer in JSON. `type` and an id of the call (`pc_id`) are of no use here."""

    sdp: str


def call_agent(stream: ByteStream, request: ConnectRequest, offer: bytes) -> AnsweredCall:
    """Send an offer in JSON over an open connection, and wait for the answer. Raise as
    `place_call`.

    pipecat's `SmallWebRTCRequestHandler` and aiortc's examples have this form (`{"sdp": …, "type":
    "offer"}`). Other agents need more: the offer has the members of the path's `offer_members`,
    too. The offer and the answer contain all candidates, so that no `PATCH` follows. An agent may
    refuse an offer with the status 200, in JSON.
    """
    members = msgspec.json.decode(request.path.offer_members)
    body = {**members, "sdp": offer.decode(), "type": "offer"}
    exchange = _offered(stream, _post_to(request.url, request.headers, body), request)
    response = exchange.response
    if (refused := _refused_in_json(response)) is not None:
        raise refused
    description = _in_json(response, _JsonAnswer).sdp.encode("utf-8", "replace")
    return exchange.answer(description, msgspec.json.decode(response.content))


def _refused_in_json(response: HttpResponse) -> ConnectError | None:
    """Return the refusal that a response without a description states; None if it states none."""
    try:
        found = msgspec.json.decode(response.content, type=dict[str, msgspec.Raw])
    except NOT_JSON:
        return None
    if (
        not found
        or bytes(found.get("sdp", b"")).startswith(b'"')
        or not _REFUSES.search(response.content)
    ):
        return None
    message = service_message(response.content)
    if (code := service_code(message)) in PERMANENT:
        outcome = f"connect_failed:{code}"
    else:
        is_limit = _LIMITS.search(response.content)
        outcome = HANDSHAKE if is_limit else "connect_failed:refused"
    return ConnectError(outcome, f"the offer was refused: {message}", response.headers)


class _SetUp(msgspec.Struct):
    """The message that starts a session over a WebSocket. Its `session` has the settings."""

    session: msgspec.Raw


class _JsonSession(msgspec.Struct):
    """The answer to an offer with the settings of a session. The id of the session is also in
    its first event.
    """

    transport: _JsonAnswer


def session_request(
    url: str, headers: Iterable[tuple[str, str]], set_up: bytes, offer: bytes
) -> bytes:
    """Return the request of a session (OpenAI's reference, "Create session" of the Live API)."""
    transport = {"type": "webrtc", "sdp": offer.decode()}
    session = msgspec.json.decode(set_up, type=_SetUp).session
    return _post_to(url, headers, {"session": session, "transport": transport})


def _post_to(url: str, headers: Headers, body: Mapping[str, Any]) -> bytes:
    """Return a request to the URL itself, in JSON."""
    parts = urlsplit(url)
    place = CallPlace(parts.netloc, parts.path or "/", parts.query, "")
    return _post(place, "", place.query, headers, JSON, msgspec.json.encode(body))


class PlacedSession(NamedTuple):
    """The answer to an offer with the settings of a session. `receipt` is that of the request."""

    answer: AnsweredCall
    receipt: SendReceipt


def place_session(
    stream: ByteStream, request: ConnectRequest, set_up: bytes, offer: bytes
) -> PlacedSession:
    """Send an offer with the settings of a set-up message, and wait for the answer. Raise as
    `place_call`.
    """
    sent = session_request(request.url, request.headers, set_up, offer)
    exchange = _offered(stream, sent, request)
    description = _in_json(exchange.response, _JsonSession).transport.sdp.encode("utf-8", "replace")
    return PlacedSession(exchange.answer(description, None), SendReceipt(exchange.sent, len(sent)))


_Answer = TypeVar("_Answer")


def _in_json(response: HttpResponse, form: type[_Answer]) -> _Answer:
    try:
        return msgspec.json.decode(response.content, type=form)
    except NOT_JSON as error:
        quoted = service_message(response.content)
        problem = f"{NO_DESCRIPTION}: {error}" + (f": {quoted}" if quoted else "")
        raise ConnectError("connect_failed:upgrade", problem, response.headers) from None


class _ClientSecret(msgspec.Struct):
    """The response of a service to the request of an ephemeral key. `expires_at` is in seconds
    since 1970 UTC.
    """

    value: str
    expires_at: int | float | None = None


def request_key(request: ConnectRequest) -> CallKey:
    """Request an ephemeral key. Raise ConnectError, as `place_call` and `connect` do."""
    what = "the request of an ephemeral key"
    with closing(connect_to_host(request)) as stream:
        sent = key_request(request.url, request.headers)
        response = _exchanged(stream, sent, what, request.limits).response
    try:
        found = msgspec.json.decode(response.content, type=_ClientSecret)
    except NOT_JSON as error:
        problem = f"the response to {what} has no key: {error}"
        raise ConnectError("connect_failed:upgrade", problem) from None
    return CallKey(found.value, found.expires_at)


def _offered(stream: ByteStream, sent: bytes, request: ConnectRequest) -> _Exchange:
    """Send an offer, and wait for the whole response. Raise as `place_call`."""
    exchange = _exchanged(stream, sent, "the offer", request.limits)
    exchange.set_answered(request.phases)
    return exchange


def _exchanged(stream: ByteStream, request: bytes, what: str, limits: Timeouts) -> _Exchange:
    """Send a request, and wait for the whole response. Raise as `place_call`."""
    until_ns = monotonic_ns() + int(limits.upgrade * NS_PER_S)
    data = b""
    response = None
    try:
        sent = stream.write(request, until_ns=until_ns)
        while True:
            read = stream.read(until_ns)
            if read is None:
                raise ConnectError(
                    "timeout:upgrade", f"no answer to {what} within {limits.upgrade:g} s"
                )
            data += read.data
            response = read_response(data)
            if (
                response is not None
                or not read.data
                or len(data) > MAX_HEAD_BYTES
                or not may_be_response(data)
            ):
                break
    except OSError as error:
        raise _unanswered(what, _broken(error.strerror or str(error))) from None
    if response is None:
        if stream.error_text:
            raise _unanswered(what, _broken(stream.error_text))
        if not data:
            raise _unanswered(what, Cause(Code.CLOSED_WITHOUT_ANSWER))
        if not read.data and data.startswith(b"HTTP/"):
            raise ConnectError("connect_failed:upgrade", _cut(what, f"{len(data):,} bytes"))
        raise _unanswered(what, Cause(Code.NOT_HTTP, {"request": what}))
    headers = dict(response.headers)
    links = headers.pop(LINK, "")
    response = response._replace(headers=headers)
    if response.status not in ACCEPTED:
        raise refusal(receive_body(stream, response, min(until_ns, monotonic_ns() + BODY_NS)))
    response, read = _with_whole_body(stream, response, read, what, limits, until_ns)
    return _Exchange(response, links, read, sent)


def _unanswered(what: str, cause: Cause) -> ConnectError:
    unanswered = Cause(Code.REQUEST_UNANSWERED, {"request": what})
    return ConnectError("connect_failed:upgrade", unanswered.because(cause))


def _broken(text: str) -> Cause:
    return Cause(Code.CONNECTION_BROKE).because(in_words(text))


def _cut(what: str, arrived: str) -> Cause:
    return Cause(Code.CUT_ANSWER, {"request": what, "arrived": arrived})


def _with_whole_body(
    stream: ByteStream,
    response: HttpResponse,
    read: SocketRead,
    what: str,
    limits: Timeouts,
    until_ns: int,
) -> tuple[HttpResponse, SocketRead]:
    """Wait for the body of an answer. Return (the answer with its body, its last read).

    `read` is the read with the end of its head. Raise ConnectError `connect_failed:upgrade`, or
    `timeout:upgrade`.
    """
    body = bytearray(response.body)
    length = response.length
    chunks_end = 0
    while True:
        if response.is_chunked:
            chunks_end, is_whole = complete_chunks(body, chunks_end)
        else:
            is_whole = length is not None and len(body) >= length
        if is_whole:
            break
        if max(len(body), length or 0) > MAX_ANSWER_BYTES:
            problem = f"the answer to {what} is larger than {MAX_ANSWER_BYTES >> 10} KiB"
            raise ConnectError("connect_failed:upgrade", problem, response.headers)
        arrived = f"{len(body):,} bytes" if length is None else f"{len(body):,} of {length:,} bytes"
        came = stream.read(until_ns)
        if came is None:
            late = f"did not end within {limits.upgrade:g} s: {arrived} arrived"
            problem = f"the answer to {what} {late}"
            raise ConnectError("timeout:upgrade", problem, response.headers)
        if came.data:
            read = came
            body += came.data
        elif stream.error_text or response.is_chunked or length is not None:
            broken = f": {stream.error_text}" if stream.error_text else ""
            cut = _cut(what, f"{arrived}{broken}")
            raise ConnectError("connect_failed:upgrade", cut, response.headers)
        else:  # only the end of the stream ends the body (RFC 9112 §6.3)
            break
    return response._replace(body=bytes(body[:length])), read
