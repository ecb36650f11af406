"""The calls of the simulator over WebRTC: offers on the server's port, and the WebSocket of the events of each call."""

from __future__ import annotations

import json
import math
import re
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from http import HTTPStatus
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from bench.base.clock import utc_ns
from bench.base.units import NS_PER_S
from bench.simulator import refusals
from bench.simulator.faults.kinds import BY_WEBRTC
from bench.simulator.refusals import RefusedUpgrade
from bench.simulator.serving.credentials import check_credentials
from bench.simulator.serving.service import AcceptedUpgrade, ServerState, SimulatedService, UpgradeRequest
from bench.simulator.serving.stream import ServerStream
from bench.transport.interface import HostPort
from bench.wire.dialect import SIMULATOR_HEADER

if TYPE_CHECKING:
    from bench.simulator.services.webrtc.call import SimulatedCall

PATHS = ("/v1/realtime", "/openai/v1/realtime")
"""The paths of OpenAI and of Azure. The calls have the path below it, `/calls`."""
OFFER_REQUEST = re.compile(rb"POST (?:/openai)?/v1/realtime/(?:calls|client_secrets)[? ]")
"""The start of a connection that carries an offer, or the request of an ephemeral key."""
KEY_LIFE_S = 600
"""The life of an ephemeral key (OpenAI's default), unless the access tokens of the simulator live shorter."""
MAX_REQUEST_BYTES = 65_536
KEY_PREFIX = "ek_"
ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_BOUNDARY = re.compile(r'boundary="?([^";,]{1,70})')
_NAME = re.compile(rb'\bname="(sdp|session)"')
_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]{1,100})"')


class IssuedKey(NamedTuple):
    """An ephemeral key: the model of its sessions, and the second since 1970 UTC before which it is valid."""

    model: str
    expires_s: int


CALLS: dict[str, SimulatedCall] = {}
"""The calls of this process, by their ids, which are random. The WebSocket of a call has another connection."""


class WebRtcLine:
    """The calls of one server. With several workers there are none, because a call has several sockets."""

    def __init__(self, shared: ServerState, address: tuple[str, int], workers: int) -> None:
        self._shared = shared
        self._host = ANY.get(address[0], address[0])
        self._is_open = workers == 1 and find_spec("OpenSSL") is not None
        self._calls = set[str]()
        self._keys: dict[str, IssuedKey] = {}
        self._dropped = Counter[str]()

    @property
    def dropped_packets(self) -> int:
        return self._dropped.total()

    def connect(self, first: bytes, caller: HostPort, stream: ServerStream) -> OfferConnection | None:
        """Return a new connection for an offer. Return None if `first` is not the start of one."""
        return OfferConnection(self, stream) if self._is_open and OFFER_REQUEST.match(first) else None

    def answer(self, request: UpgradeRequest, body: bytes, at_ns: int) -> tuple[HTTPStatus, bytes, Mapping[str, str]]:
        """Return (status, body, headers) of the response to an offer, or to the request of an ephemeral key."""
        if request.path.endswith("/client_secrets"):
            return self._issued_key(request, body, at_ns)
        injector = self._shared.injector()
        refusal = injector.refusal("http", at_ns) if injector is not None else None
        key = None
        if not isinstance(refusal, RefusedUpgrade):
            refusal, key = self._checked(request)
        if refusal is not None:
            return self._refused(refusal, at_ns)
        offer, model = self._offered(request, body)
        if key is not None:
            model = key.model
        faults = injector.faults("upgrade", at_ns, BY_WEBRTC, None) if injector is not None else ()
        from bench.simulator.services.webrtc.call import SimulatedCall  # its package is optional

        try:
            call = SimulatedCall(
                self._shared, self._host, offer, model, {fault.kind for fault in faults}, self._dropped
            )
        except ValueError as error:
            return self._refused(RefusedUpgrade(400, "invalid_offer", f"The offer was not accepted: {error}."), at_ns)
        except OSError as error:
            refusal = RefusedUpgrade(503, "no_socket", f"The simulator has no socket for the call: {error.strerror}.")
            return self._refused(refusal, at_ns)
        call_id = f"rtc_{secrets.token_hex(16)}"
        CALLS[call_id] = call
        self._calls.add(call_id)
        call.on_close = partial(self._forget, call_id)
        return HTTPStatus.CREATED, call.description, {"Location": f"/v1/realtime/calls/{call_id}"}

    def _refused(self, refusal: RefusedUpgrade, at_ns: int) -> tuple[HTTPStatus, bytes, Mapping[str, str]]:
        self._shared.refused(refusal, at_ns)
        return HTTPStatus(refusal.status), refusal.body.encode(), refusal.headers

    def _checked(self, request: UpgradeRequest) -> tuple[RefusedUpgrade | None, IssuedKey | None]:
        """Return the refusal of an offer's credentials (None if they are valid), and its ephemeral key, if it has one.

        An expired ephemeral key is refused even if the simulator accepts all clients.
        """
        now_s, sent = utc_ns() / NS_PER_S, request.headers.get("authorization", "").partition(" ")[2]
        if sent.startswith(KEY_PREFIX):
            key = self._keys.get(sent)
            return (None, key) if key is not None and now_s < key.expires_s else (refusals.DEAD_TOKEN, None)
        return check_credentials(self._shared.config.authenticator, request.headers, request.query, now_s)[0], None

    def _issued_key(
        self, request: UpgradeRequest, body: bytes, at_ns: int
    ) -> tuple[HTTPStatus, bytes, Mapping[str, str]]:
        authenticator, now_s = self._shared.config.authenticator, utc_ns() / NS_PER_S
        refusal, _ = check_credentials(authenticator, request.headers, request.query, now_s)
        if refusal is not None:
            return self._refused(refusal, at_ns)
        model, tokens = _model_of(body) or request.model, authenticator.tokens
        life_s = KEY_LIFE_S if tokens is None else min(KEY_LIFE_S, tokens.life_s)
        self._keys = {each: issued for each, issued in self._keys.items() if now_s < issued.expires_s}
        secret = f"{KEY_PREFIX}{secrets.token_urlsafe(24)}"
        key = self._keys[secret] = IssuedKey(model, math.ceil(now_s + life_s))
        session = {"type": "realtime", "model": model}
        response = {"value": secret, "expires_at": key.expires_s, "session": session}
        return HTTPStatus.OK, json.dumps(response).encode(), {}

    def _offered(self, request: UpgradeRequest, body: bytes) -> tuple[bytes, str]:
        """Return (the offer, the model): the parts of a form, or a body that is the offer."""
        kind = request.headers.get("content-type", "")
        if not kind.startswith("multipart/form-data"):
            return body, request.model
        boundary = _BOUNDARY.search(kind)
        parts = dict(_named_parts(body, boundary[1].encode())) if boundary else {}
        return parts.get(b"sdp", b""), _model_of(parts.get(b"session", b"")) or request.model

    def _forget(self, call_id: str) -> None:
        CALLS.pop(call_id, None)
        self._calls.discard(call_id)

    def close(self) -> None:
        for call_id in list(self._calls):
            CALLS[call_id].close()


def _named_parts(body: bytes, boundary: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of the parts of a form (RFC 7578) that a call has."""
    for part in body.split(b"--" + boundary):
        head, _, content = part.partition(b"\r\n\r\n")
        if name := _NAME.search(head):
            yield name[1], content.removesuffix(b"\r\n")


def _model_of(session: bytes) -> str:
    found = _MODEL.search(session)
    return found[1].decode("utf-8", "replace") if found else ""


class OfferConnection:
    """A TCP or TLS connection with one request, which has an offer or asks for an ephemeral key."""

    def __init__(self, line: WebRtcLine, stream: ServerStream) -> None:
        self._line, self._stream, self._data = line, stream, b""
        self.has_received = False

    def received(self, data: bytes, at_ns: int) -> bool:
        """Accept bytes. Return False after the response, or if the request is too long."""
        self._data += data
        head, separator, body = self._data.partition(b"\r\n\r\n")
        if not separator:
            return len(self._data) <= MAX_REQUEST_BYTES
        request_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length", "")
        size = int(length) if length.isascii() and length.isdigit() and len(length) < 10 else MAX_REQUEST_BYTES + 1
        if size > MAX_REQUEST_BYTES:
            self._respond(HTTPStatus.LENGTH_REQUIRED, b"", {})
            return False
        if len(body) < size:
            return True
        self.has_received = True
        request = UpgradeRequest.of(request_line.split(" ")[1], headers)
        self._respond(*self._line.answer(request, body[:size], at_ns))
        return False

    def _respond(self, status: HTTPStatus, body: bytes, headers: Mapping[str, str]) -> None:
        kind = "application/sdp" if status is HTTPStatus.CREATED else "application/json"
        every = {"Content-Type": kind, "Content-Length": str(len(body)), SIMULATOR_HEADER: "1", "Connection": "close"}
        lines = [
            f"HTTP/1.1 {int(status)} {status.phrase}",
            *(f"{name}: {value}" for name, value in (every | {**headers}).items()),
        ]
        self._stream.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def ended(self) -> None:
        self._data = b""


def _answer(request: UpgradeRequest) -> AcceptedUpgrade | RefusedUpgrade | None:
    """Return the session of a call, whose events the client wants; None if it does not name a call."""
    if request.path not in PATHS or "call_id" not in request.query:
        return None
    call = CALLS.get(request.query["call_id"])
    if call is None or call.is_attached:
        return refusals.NO_SUCH_PATH
    return AcceptedUpgrade(call.attach, call.model)


SERVICE = SimulatedService(_answer, listen=WebRtcLine)
