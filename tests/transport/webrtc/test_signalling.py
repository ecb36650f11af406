"""The offer of a call as an HTTP request, its response, and the addresses to which the audio of
a call may go.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest

from bench.base.clock import SendTime
from bench.base.units import NEVER_NS
from bench.catalogue.causes import ConnectError, in_words
from bench.catalogue.outcomes import remedy_of
from bench.catalogue.timeouts import Timeouts
from bench.doctor.diagnosis import doctor_remedy
from bench.protocols.ice.ice import Candidate
from bench.services.agents import OFFERED, REMEDIES_OF_OFFERS
from bench.services.names import OfferForm
from bench.services.openai import track
from bench.transport.interface import ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.parser import service_message
from bench.transport.webrtc.call import PermittedHosts
from bench.transport.webrtc.signalling import (
    call_agent,
    call_request,
    key_request,
    place_call,
    place_session,
)
from bench.wire.addresses import HostPort
from tests.transport.fake_stream import FakeStream, read

OPENAI = "wss://api.openai.com/v1/realtime?model=gpt-realtime"
AZURE = "wss://r.openai.azure.com:444/prefix/openai/v1/realtime/?deployment=d&x=1"


@pytest.mark.parametrize(
    ("url", "request_line", "host"),
    [
        (OPENAI, "POST /v1/realtime/calls HTTP/1.1", "api.openai.com"),
        (AZURE, "POST /prefix/openai/v1/realtime/calls?x=1 HTTP/1.1", "r.openai.azure.com:444"),
    ],
)
def test_the_address_of_a_call_follows_from_that_of_the_target(
    url: str, request_line: str, host: str
) -> None:
    lines = call_request(url, [], b"v=0", "b").decode().split("\r\n")

    assert lines[0] == request_line
    assert f"Host: {host}" in lines


def test_the_request_has_the_offer_and_the_model() -> None:
    head, _, body = call_request(
        OPENAI, [("Authorization", "Bearer k")], b"v=0\r\n", "b"
    ).partition(b"\r\n\r\n")

    assert b"\r\nAuthorization: Bearer k\r\n" in head
    assert f"\r\nContent-Length: {len(body)}\r\n".encode() in head
    assert re.findall(
        rb'name="(\w+)"\r\nContent-Type: (\S+)\r\n\r\n(.*?)\r\n--b', body, re.DOTALL
    ) == [
        (b"sdp", b"application/sdp", b"v=0\r\n"),
        (b"session", b"application/json", b'{"type":"realtime","model":"gpt-realtime"}'),
    ]


@pytest.mark.parametrize(("form", "query"), [("sdp", "?deployment=d&x=1"), ("ephemeral", "?x=1")])
def test_an_offer_without_a_form_is_the_body(form: OfferForm, query: str) -> None:
    """An ephemeral key has the model of its sessions (Azure's page "Realtime API via WebRTC")."""
    head, _, body = call_request(AZURE, [], b"v=0\r\n", "b", form).partition(b"\r\n\r\n")

    assert head.startswith(f"POST /prefix/openai/v1/realtime/calls{query} HTTP/1.1".encode())
    assert b"\r\nContent-Type: application/sdp\r\n" in head
    assert body == b"v=0\r\n"


def test_an_ephemeral_key_is_requested_for_the_model_of_the_target() -> None:
    head, _, body = key_request(AZURE, [("api-key", "k")]).partition(b"\r\n\r\n")

    assert head.startswith(b"POST /prefix/openai/v1/realtime/client_secrets?x=1 HTTP/1.1\r\n")
    assert b"\r\napi-key: k\r\n" in head
    assert json.loads(body) == {"session": {"type": "realtime", "model": "d"}}


CREATED = (
    b"HTTP/1.1 201 Created\r\nLocation: /v1/realtime/calls/rtc_1\r\nContent-Length: 3\r\n\r\nv=0"
)


class Service(FakeStream):
    """A stream that returns these pieces in place of the answer to an upgrade."""

    def __init__(self, *pieces: bytes) -> None:
        super().__init__()
        self.reads += (read(piece) for piece in pieces)

    def write(self, data: bytes, *, stamped: bool = False, until_ns: int = NEVER_NS) -> SendTime:
        return SendTime(0)


def request_of(url: str = OPENAI, **fields: Any) -> ConnectRequest:
    limits = Timeouts(upgrade=0.2)
    return ConnectRequest(url, [("X-Own", "1")], None, limits, ConnectTimings())._replace(**fields)


def answered(*pieces: bytes) -> bytes:
    return place_call(Service(*pieces), request_of(), b"v=0").description


@pytest.mark.parametrize("cuts", [(), (5,), (60, 90), (len(CREATED) - 1,)])
def test_a_response_is_read_in_any_pieces(cuts: Sequence[int]) -> None:
    edges = [0, *cuts, len(CREATED)]

    assert answered(*(CREATED[a:b] for a, b in pairwise(edges))) == b"v=0"


@pytest.mark.parametrize(
    ("pieces", "outcome"),
    [
        ((b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",), "connect_failed:404"),
        ((b"HTTP/1.1 429 Slow\r\nContent-Length: 0\r\n\r\n",), "throttled:handshake"),
        ((b"SSH-2.0-OpenSSH_9.6\r\n",), "connect_failed:upgrade"),
        ((b"HTTP/1.1 201 Created\r\n", b""), "connect_failed:upgrade"),
        ((b"HTTP/1.1 201 Created\r\nX: " + b"x" * 70_000,), "connect_failed:upgrade"),
        ((b"HTTP/1.1 201 Created\r\n",), "timeout:upgrade"),
    ],
)
def test_what_is_no_answer_to_an_offer_has_an_outcome(
    pieces: Sequence[bytes], outcome: str
) -> None:
    with pytest.raises(ConnectError) as caught:
        answered(*pieces)

    assert caught.value.outcome == outcome


SDP = b"v=0\r\n" + b"a=x:0\r\n" * 40
SIZED = b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n" % len(SDP)
CHUNKED = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n"
UNSIZED = b"HTTP/1.1 201 Created\r\n\r\n"
CHUNK = b"%x\r\n%b\r\n" % (len(SDP), SDP)
UNUSABLE = {
    # (the pieces that arrive; the outcome; the detail)
    "its body is cut": (
        (SIZED + SDP[:100], b""),
        "connect_failed:upgrade",
        f"the answer to the offer ended after 100 of {len(SDP)} bytes",
    ),
    "a chunked body is cut at a line": (
        (CHUNKED, CHUNK, b""),
        "connect_failed:upgrade",
        f"the answer to the offer ended after {len(CHUNK)} bytes",
    ),
    "its body does not end": (
        (SIZED, SDP[:100]),
        "timeout:upgrade",
        f"the answer to the offer did not end within 0.2 s: 100 of {len(SDP)} bytes arrived",
    ),
    "a body without a length does not end": (
        (UNSIZED, SDP),
        "timeout:upgrade",
        "the answer to the offer did not end within 0.2 s: 285 bytes arrived",
    ),
    "it is too large": (
        (b"HTTP/1.1 201 Created\r\nContent-Length: 262145\r\n\r\n",),
        "connect_failed:upgrade",
        "the answer to the offer is larger than 256 KiB",
    ),
    "it is too large, of unknown length": (
        (UNSIZED, b"v" * 262_145),
        "connect_failed:upgrade",
        "the answer to the offer is larger than 256 KiB",
    ),
    "it is empty": (
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",),
        "connect_failed:upgrade",
        "the answer to the offer has no session description",
    ),
    "it is a page": (
        (UNSIZED + b"<html>Welcome</html>", b""),
        "connect_failed:upgrade",
        "the answer to the offer has no session description",
    ),
    "its head is cut": (
        (b"HTTP/1.1 201 Created\r\nContent-", b""),
        "connect_failed:upgrade",
        "the answer to the offer ended after 30 bytes",
    ),
    "its first line is cut": (
        (b"HTTP/1.1 20", b""),
        "connect_failed:upgrade",
        "the answer to the offer ended after 11 bytes",
    ),
    "it is not HTTP": (
        (b"+OK ready", b""),
        "connect_failed:upgrade",
        "the offer was not answered: the answer to the offer is not HTTP",
    ),
    "there is none": (
        (b"",),
        "connect_failed:upgrade",
        "the offer was not answered: the service closed the connection without an answer",
    ),
}


@pytest.mark.parametrize(("pieces", "outcome", "detail"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_answer_that_cannot_be_used_has_its_cause(
    pieces: Sequence[bytes], outcome: str, detail: str
) -> None:
    with pytest.raises(ConnectError) as caught:
        answered(*pieces)

    assert (caught.value.outcome, caught.value.detail) == (outcome, detail)


@pytest.mark.parametrize(
    "pieces",
    [
        (SIZED, SDP[:7], SDP[7:]),
        (SIZED + SDP + b"beyond",),
        (CHUNKED + CHUNK, b"0\r\n", b"\r\n"),
        (UNSIZED, SDP, b""),
    ],
    ids=["a length", "more than its length", "chunks", "the end of the connection"],
)
def test_an_answer_is_used_when_all_of_it_has_arrived(pieces: Sequence[bytes]) -> None:
    assert answered(*pieces) == SDP


def test_a_broken_connection_is_the_cause_of_a_cut_answer() -> None:
    service = Service(SIZED + SDP[:9], b"")
    service.failure = 104
    with pytest.raises(ConnectError, match=rf"ended after 9 of {len(SDP)} bytes: ") as caught:
        place_call(service, request_of(), b"v=0")

    assert caught.value.outcome == "connect_failed:upgrade"


@pytest.mark.parametrize("before", [b"", b"HTTP/1.1 201"])
def test_a_reset_before_the_answer_has_the_remedies_of_a_server_that_ends_connections(
    before: bytes,
) -> None:
    """A server resets a connection that it closes before it has read the whole request."""
    service = Service(before, b"")
    service.failure = errno.ECONNRESET
    with pytest.raises(ConnectError) as caught:
        place_call(service, request_of(), b"v=0")

    assert caught.value.detail == (
        "the offer was not answered: the connection broke: Connection reset by peer"
    )
    for own, words in (
        (track.REMEDIES, "connections early"),
        (REMEDIES_OF_OFFERS, "ends the conn"),
    ):
        assert words in remedy_of(caught.value.outcome, [in_words(caught.value.detail)], own)


def test_the_offer_is_answered_when_the_last_byte_of_the_answer_has_arrived() -> None:
    service, phases = Service(), ConnectTimings()
    service.reads += [read(SIZED, 3), read(SDP[:7], 5), read(SDP[7:], 8)]
    place_call(service, request_of(phases=phases), b"v=0")

    assert phases.instants["offer_answered"] == read(b"", 8).timestamp_ns


class Agent(Service):
    """A service that stores the request."""

    request = b""

    def write(self, data: bytes, *, stamped: bool = False, until_ns: int = NEVER_NS) -> SendTime:
        self.request += data
        return SendTime(0)


def answer_of(
    agent: Agent, url: str = "http://localhost:7860/api/offer?model=m", members: bytes = b"{}"
) -> bytes:
    path = NetworkPath(offer_members=members)
    return call_agent(agent, request_of(url, path=path), b"v=0\r\n").description


def http(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://localhost:7860/api/offer?model=m", "/api/offer?model=m"),
        ("http://localhost:7860", "/"),
    ],
)
def test_an_agent_gets_the_offer_in_json_at_its_own_address(url: str, target: str) -> None:
    agent = Agent(http(b'{"sdp": "v=0\\r\\n", "type": "answer", "pc_id": "7"}'))

    assert answer_of(agent, url) == b"v=0\r\n"
    head, _, body = agent.request.partition(b"\r\n\r\n")
    assert head.startswith(
        f"POST {target} HTTP/1.1\r\nHost: localhost:7860\r\nX-Own: 1\r\n".encode()
    )
    assert json.loads(body) == {"sdp": "v=0\r\n", "type": "offer"}


def test_an_offer_in_json_has_the_further_members_of_the_script() -> None:
    agent = Agent(http(b'{"sdp": "v=0\\r\\n"}'))
    answer_of(agent, members=b'{"webrtc_id": "7", "config": {"voice": ["a"]}}')

    body = json.loads(agent.request.partition(b"\r\n\r\n")[2])
    assert body == {"webrtc_id": "7", "config": {"voice": ["a"]}, "sdp": "v=0\r\n", "type": "offer"}


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        (
            b'{"status": "failed", "meta": {"error": "concurrency_limit_reached", "limit": 1}}',
            "throttled:handshake",
        ),
        (b'{"error": "server busy"}', "throttled:handshake"),
        (b'{"message": "Too many sessions"}', "throttled:handshake"),
        (b'{"sdp": null, "detail": "at capacity"}', "throttled:handshake"),
        (b'{"error": {"code": "bad_codec", "message": "no opus"}}', "connect_failed:refused"),
        (b'{"status": "rejected"}', "connect_failed:refused"),
        (b'{"id": 7}', "connect_failed:upgrade"),
    ],
)
def test_an_agent_that_refuses_in_json_with_the_status_200_is_quoted(
    body: bytes, outcome: str
) -> None:
    with pytest.raises(ConnectError) as caught:
        answer_of(Agent(http(body)))

    assert caught.value.outcome == outcome
    assert service_message(body) in caught.value.detail
    remedy = remedy_of(outcome, [in_words(caught.value.detail)], REMEDIES_OF_OFFERS)
    assert "agent" in remedy or "offer" in remedy


OF_OFFERS = (
    *(
        (f"connect_failed:{what}", "")
        for what in (400, 401, 403, 404, 405, 422, "dtls", "host", "ice", "media", "tcp")
    ),
    *((f"connect_failed:{what}", "") for what in ("refused", "upgrade", "tls")),
    *(
        ("connect_failed:upgrade", detail)
        for _, outcome, detail in UNUSABLE.values()
        if "connect" in outcome
    ),
    ("connect_failed:upgrade", "the connection broke: Connection reset by peer"),
    *(
        (f"timeout:{what}", "")
        for what in ("ice", "dtls", "media", "sound", "tcp", "tls", "upgrade")
    ),
    ("throttled:handshake", ""),
)


@pytest.mark.parametrize(("outcome", "detail"), OF_OFFERS)
def test_no_remedy_of_an_offer_speaks_of_websockets(outcome: str, detail: str) -> None:
    """Neither that of a run nor that of the doctor."""
    for remedy in (
        remedy_of(outcome, [in_words(detail)], REMEDIES_OF_OFFERS),
        doctor_remedy(OFFERED, outcome, [in_words(detail)]),
    ):
        assert "WebSocket" not in remedy
        assert "Twilio" not in remedy


def session_of(agent: Agent) -> bytes:
    """Return the answer to an offer that has the settings of a session."""
    url = "wss://r.openai.azure.com/openai/v1/live/sessions?x=1"
    set_up = (
        b'{"type":"session.start","event_id":"session-update","session":{"model":"gpt-live-1"}}'
    )
    return place_session(agent, request_of(url), set_up, b"v=0\r\n").answer.description


def test_the_offer_of_a_session_has_the_settings_of_its_set_up() -> None:
    agent = Agent(
        http(b'{"session": {"id": "live_1"}, "transport": {"type": "webrtc", "sdp": "v=0\\r\\n"}}')
    )

    assert session_of(agent) == b"v=0\r\n"
    head, _, body = agent.request.partition(b"\r\n\r\n")
    assert head.startswith(
        b"POST /openai/v1/live/sessions?x=1 HTTP/1.1\r\nHost: r.openai.azure.com\r\nX-Own: 1\r\n"
    )
    assert json.loads(body) == {
        "session": {"model": "gpt-live-1"},
        "transport": {"type": "webrtc", "sdp": "v=0\r\n"},
    }


NO_DESCRIPTIONS = (
    b"",
    b"v=0",
    b"null",
    b"[]",
    b"{}",
    b'{"sdp": 1}',
    b'{"sdp": "\xff"}',
    b"[" * 5_000,
)


@pytest.mark.parametrize(
    ("place", "body"),
    [
        *((answer_of, body) for body in NO_DESCRIPTIONS),
        *(
            (session_of, body if body[:1] != b"{" else b'{"transport": %b}' % body)
            for body in NO_DESCRIPTIONS
        ),
        (session_of, b'{"session": {"id": "live_1"}, "sdp": "v=0"}'),
    ],
)
def test_an_answer_in_json_without_a_description_is_refused(
    place: Callable[[Agent], bytes], body: bytes
) -> None:
    with pytest.raises(
        ConnectError, match="the answer to the offer has no session description"
    ) as caught:
        place(Agent(http(body)))

    assert caught.value.outcome == "connect_failed:upgrade"


def reached(service: str, *hosts: str, path: NetworkPath = NetworkPath()) -> list[str]:  # noqa: B008
    candidates = [Candidate(HostPort(host, 9), 1) for host in hosts]
    return [each.address.host for each in PermittedHosts(service, path).candidates(candidates)]


PERMITTED = NetworkPath(call_hosts=(HostPort("10.0.0.9"),))


@pytest.mark.parametrize(
    ("service", "hosts", "path", "permitted"),
    [
        ("127.0.0.1", ["127.0.0.1", "8.8.8.8", "10.0.0.9"], NetworkPath(), ["127.0.0.1"]),
        ("127.0.0.1", ["8.8.8.8"], NetworkPath(), []),
        ("127.0.0.1", ["8.8.8.8", "10.0.0.9"], NetworkPath(may_leave=True), ["8.8.8.8"]),
        ("127.0.0.1", ["8.8.8.8", "10.0.0.9"], PERMITTED, ["10.0.0.9"]),
        (
            "8.8.4.4",
            ["8.8.8.8", "127.0.0.1", "10.0.0.9", "169.254.169.254"],
            NetworkPath(),
            ["8.8.8.8"],
        ),
        ("10.0.0.4", ["10.0.0.4", "10.0.0.9", "192.168.1.1"], NetworkPath(), ["10.0.0.4"]),
        ("10.0.0.4", ["10.0.0.4", "10.0.0.9"], PERMITTED, ["10.0.0.4", "10.0.0.9"]),
        ("8.8.4.4", ["2001:4860:4860::8888"], NetworkPath(), []),
    ],
)
def test_packets_go_only_to_addresses_that_belong_to_the_target(
    service: str, hosts: list[str], path: NetworkPath, permitted: list[str]
) -> None:
    assert reached(service, *hosts, path=path) == permitted
