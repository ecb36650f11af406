"""The calls of the simulator over WebRTC: the requests of offers and of ephemeral keys, on the
server's port.

Calls to agents have no events. Their offers and answers are JSON.
"""

from __future__ import annotations

import json
import math
import re
import secrets
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from bench.base.clock import utc_ns
from bench.base.units import NS_PER_S
from bench.services.agents import SIMULATED_PATH
from bench.wire.addresses import HostPort
from bench.wire.dialect import NOT_JSON
from rtbench_simulator import refusals
from rtbench_simulator.faults.kinds import IN_SESSION, KINDS, OVER_WEBRTC, Fault, kinds_of_calls
from rtbench_simulator.refusals import RefusedUpgrade
from rtbench_simulator.server_events import RejectedError
from rtbench_simulator.services.agents import TITLE
from rtbench_simulator.services.gpt_live.behaviour import PATHS as LIVE_PATHS
from rtbench_simulator.serving.credentials import check_credentials
from rtbench_simulator.serving.service import (
    ServerAddress,
    ServerState,
    SimulatedService,
    UpgradeRequest,
    local_host,
)
from rtbench_simulator.serving.stream import ServerStream

if TYPE_CHECKING:
    from rtbench_simulator.faults.injection import FaultInjector
    from rtbench_simulator.services.webrtc.call import SimulatedCall

AGENT = f"{SIMULATED_PATH}webrtc"
"""The path of agents."""
OFFER_REQUEST = re.compile(
    rb"POST (?:(?:/openai)?/v1/realtime/(?:calls|client_secrets)|%s)[? ]"
    % "|".join((*LIVE_PATHS, AGENT)).encode()
)
"""The start of a connection that carries an offer, or the request of an ephemeral key."""
KEY_LIFE_S = 600
"""The life of an ephemeral key (OpenAI's default), unless the access tokens of the simulator
live shorter."""
MAX_REQUEST_BYTES = 65_536
KEY_PREFIX = "ek_"
OWN_FAULTS = kinds_of_calls(OVER_WEBRTC)
_BOUNDARY = re.compile(r'boundary="?([^";,]{1,70})')
_NAME = re.compile(rb'\bname="(sdp|session)"')
_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]{1,100})"')


OF_UPGRADES = ("reset", "hang", "freeze")
OF_FRAMES = ("drip", "fragmented")
"""The kinds of faults that no call has: at the place `upgrade`, and anywhere."""


class IssuedKey(NamedTuple):
    """An ephemeral key: the model of its sessions, and the second since 1970 UTC before which it
    is valid.
    """

    model: str
    expires_s: int


# One HTTP request is one call. After the answer, the connection is closed, and the call lives by
# its UDP socket alone, until it ends or the server stops. Ephemeral keys are stored in this process
# only.
#
# The path decides about the kind of call: an agent (JSON), GPT-Live (its request creates the
# session), or the Realtime API (an offer, alone or in a form with the session).
class WebRtcLine:
    """The calls of one server. With several workers there are none, because a call has several
    sockets.
    """

    def __init__(self, shared: ServerState, address: tuple[str, int], workers: int) -> None:
        self._shared = shared
        self._host = local_host(address[0])
        self._is_open = workers == 1
        self._calls: dict[str, SimulatedCall] = {}
        """The calls by their ids, which are random."""
        self._keys: dict[str, IssuedKey] = {}
        self._dropped = Counter[str]()

    @property
    def has_calls(self) -> bool:
        return bool(self._calls)

    @property
    def dropped_packets(self) -> int:
        return self._dropped.total()

    def connect(
        self, first: bytes, caller: HostPort, stream: ServerStream
    ) -> OfferConnection | None:
        """Return a new connection for an offer. Return None if `first` is not the start of one."""
        return (
            OfferConnection(self, stream) if self._is_open and OFFER_REQUEST.match(first) else None
        )

    def answer(
        self, request: UpgradeRequest, body: bytes, at_ns: int
    ) -> tuple[HTTPStatus, bytes, Mapping[str, str]]:
        """Return (status, body, headers) of the response to an offer, or to the request of an
        ephemeral key.
        """
        if request.path.endswith("/client_secrets"):
            return self._issued_key(request, body, at_ns)
        injector = self._shared.injector()
        is_agent = request.path == AGENT
        lacks = _agent_lacks if is_agent else _lacks
        refusal = injector.refusal("http", at_ns, lacks) if injector is not None else None
        key = None
        token = None
        if not isinstance(refusal, RefusedUpgrade):
            refusal, key, token = self._checked(request)
        if refusal is None:
            refusal = self._shared.limit(at_ns)
        if refusal is not None:
            return self._refused(refusal, at_ns)
        faults = injector.faults("upgrade", at_ns, OWN_FAULTS, None) if injector is not None else ()
        kinds = {fault.kind for fault in faults}
        try:
            call = self._new_call(request, body, kinds, injector, key, token)
        except RejectedError as error:
            return self._refused(
                RefusedUpgrade(400, error.code or "invalid_value", error.message), at_ns
            )
        except (ValueError, *NOT_JSON) as error:
            return self._refused(
                RefusedUpgrade(400, "invalid_offer", f"The offer was not accepted: {error}."), at_ns
            )
        except ImportError:
            refusal = RefusedUpgrade(
                501, "not_installed", "Install rtbench[calls], and restart the simulator."
            )
            return self._refused(refusal, at_ns)
        except OSError as error:
            refusal = RefusedUpgrade(
                503, "no_socket", f"The simulator has no socket for the call: {error.strerror}."
            )
            return self._refused(refusal, at_ns)
        call_id = f"rtc_{secrets.token_hex(16)}"
        self._calls[call_id] = call
        call.on_close = partial(self._forget, call_id)
        status, answer, headers = call.response(call_id)
        return (
            status,
            answer,
            headers if is_agent else {**headers, **self._shared.quota.headers(at_ns)},
        )

    def _new_call(
        self,
        request: UpgradeRequest,
        body: bytes,
        kinds: Collection[str],
        injector: FaultInjector | None,
        key: IssuedKey | None,
        token: int | None,
    ) -> SimulatedCall:
        """Return the call of an offer. Its modules need the extra `calls`."""
        from rtbench_simulator.services.webrtc.call import CallRequest

        called = CallRequest(self._shared, self._host, body, kinds, self._dropped, injector, token)
        if request.path == AGENT:
            from rtbench_simulator.services.webrtc.agent import SimulatedAgentCall

            offer = msgspec.json.decode(body, type=_JsonOffer).sdp.encode()
            return SimulatedAgentCall(called._replace(offer=offer))
        if request.path in LIVE_PATHS:
            from rtbench_simulator.services.webrtc.live_call import LiveCall

            return LiveCall(called)
        from rtbench_simulator.services.webrtc.service_call import ServiceCall

        offer, model = self._offered(request, body)
        return ServiceCall(called._replace(offer=offer), model if key is None else key.model)

    def _refused(
        self, refusal: RefusedUpgrade, at_ns: int
    ) -> tuple[HTTPStatus, bytes, Mapping[str, str]]:
        self._shared.refused(refusal, at_ns)
        return HTTPStatus(refusal.status), refusal.body.encode(), refusal.headers

    def _checked(
        self, request: UpgradeRequest
    ) -> tuple[RefusedUpgrade | None, IssuedKey | None, int | None]:
        """Return the refusal of an offer's credentials (None if they are valid), its ephemeral key,
        and its token.

        An expired ephemeral key is refused even if the simulator accepts all clients.
        """
        now_s = utc_ns() / NS_PER_S
        sent = request.headers.get("authorization", "").partition(" ")[2]
        if sent.startswith(KEY_PREFIX):
            key = self._keys.get(sent)
            is_valid = key is not None and now_s < key.expires_s
            return (None, key, None) if is_valid else (refusals.DEAD_TOKEN, None, None)
        refusal, token = check_credentials(
            self._shared.config.authenticator, request.headers, request.keys(), now_s
        )
        return refusal, None, token

    def _issued_key(
        self, request: UpgradeRequest, body: bytes, at_ns: int
    ) -> tuple[HTTPStatus, bytes, Mapping[str, str]]:
        authenticator = self._shared.config.authenticator
        now_s = utc_ns() / NS_PER_S
        refusal, _ = check_credentials(authenticator, request.headers, request.keys(), now_s)
        if refusal is not None:
            return self._refused(refusal, at_ns)
        model = _model_of(body) or request.model
        tokens = authenticator.tokens
        life_s = KEY_LIFE_S if tokens is None else min(KEY_LIFE_S, tokens.life_s)
        self._keys = {
            each: issued for each, issued in self._keys.items() if now_s < issued.expires_s
        }
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
        del self._calls[call_id]

    def response_headers(self) -> Mapping[str, str]:
        """Return the headers that each response has."""
        ids = {"x-ms-region": "simulated", "x-request-id": str(uuid.uuid4())}
        return self._shared.lateness.headers | ids

    def close(self) -> None:
        for call in list(self._calls.values()):
            call.close()


def _lacks(fault: Fault) -> str:
    if fault.kind in OF_FRAMES:
        return "a data channel has no frames"
    if fault.at == "next_delta":
        return "its audio is in packets; use the place first_delta"
    return "a call has no upgrade" if fault.at == "upgrade" and fault.kind in OF_UPGRADES else ""


def _agent_lacks(fault: Fault) -> str:
    if fault.at in IN_SESSION and not KINDS[fault.kind].calls:
        return "an agent over WebRTC has no events"
    return "a call has no upgrade" if fault.at == "upgrade" and fault.kind in OF_UPGRADES else ""


def _named_parts(body: bytes, boundary: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name and the content of the parts of a form (RFC 7578) that a call has."""
    for part in body.split(b"--" + boundary):
        head, _, content = part.partition(b"\r\n\r\n")
        if name := _NAME.search(head):
            yield name[1], content.removesuffix(b"\r\n")


def _model_of(session: bytes) -> str:
    found = _MODEL.search(session)
    return found[1].decode("utf-8", "replace") if found else ""


class _JsonOffer(msgspec.Struct):
    sdp: str


class OfferConnection:
    """A TCP or TLS connection with one request, which has an offer or asks for an ephemeral key."""

    def __init__(self, line: WebRtcLine, stream: ServerStream) -> None:
        self._line = line
        self._stream = stream
        self._data = b""
        self.has_received = False

    def received(self, data: bytes, at_ns: int) -> bool:
        """Accept bytes. Return False after the response, or if the request is too long."""
        self._data += data
        head, separator, body = self._data.partition(b"\r\n\r\n")
        if not separator:
            return len(self._data) <= MAX_REQUEST_BYTES
        request_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }
        length = headers.get("content-length", "")
        size = (
            int(length)
            if length.isascii() and length.isdigit() and len(length) < 10
            else MAX_REQUEST_BYTES + 1
        )
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
        own = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"}
        every = {**own, **self._line.response_headers(), **headers}
        lines = [f"HTTP/1.1 {int(status)} {status.phrase}"]
        lines += (f"{name}: {value}" for name, value in every.items())
        self._stream.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)

    def ended(self) -> None:
        self._data = b""


def _agent_urls(address: ServerAddress) -> Mapping[str, str]:
    scheme = "https" if address.has_tls else "http"
    return {} if address.workers > 1 else {"agent_webrtc": f"{scheme}://{address.authority}{AGENT}"}


SERVICE = SimulatedService(listen=WebRtcLine)
AGENT_SERVICE = SimulatedService(urls=_agent_urls, titles={"agent_webrtc": TITLE})
"""The agents, whose offers `SERVICE` answers."""
