"""A caller whose address or description may be forged: what the simulator sends, how much of it,
and to which hosts.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench.base.units import NS_PER_S
from bench.protocols.sip.answer_plan import AnswerPlan, LoginDemand, PlannedRequest
from bench.protocols.sip.called_party import ACK_WAIT_NS, CalledParty
from bench.protocols.sip.dialog import LocalParty
from bench.protocols.sip.digest import DigestLogin
from bench.protocols.sip.exchange import TelephoneExchange
from bench.protocols.sip.messages import Outgoing, SipResponse, parse_message, write_message
from bench.wire.addresses import HostPort
from rtbench_simulator.services.telephone import line as line_module
from rtbench_simulator.services.telephone.line import (
    MAX_UNREAD_BYTES,
    CallerConnection,
    TelephoneLine,
)
from rtbench_simulator.serving.datagram_socket import DatagramSocket
from rtbench_simulator.serving.stream import ServerStream
from tests.simulator.telephone.virtual_network import CALLED, CALLER, plan
from tests.transport.sip.scripted_peer import tokens

OTHER = "203.0.113.9"
"""A host that the caller names, but that is not its own."""
MAX_FACTOR = 10
"""The maximum number of bytes to a source that may be forged, for each byte that it sent."""


def exchange_of(planned: AnswerPlan, **options: Any) -> TelephoneExchange:
    party = LocalParty(CALLED, "UDP", f"sip:simulator@{CALLED}", "simulator")
    return TelephoneExchange(lambda _: planned, party, tokens("simulator"), **options)


def invite(call_id: str = "c", audio: str = OTHER, transport: str = "UDP") -> bytes:
    body = (
        f"v=0\r\no=- 1 1 IN IP4 {audio}\r\ns=-\r\nc=IN IP4 {audio}\r\nt=0 0\r\nm=audio 7000 RTP/AVP"
        " 0\r\n"
    )
    headers = [
        ("Via", f"SIP/2.0/{transport} {OTHER}:7001;branch=z9hG4bK{call_id}"),
        ("From", "<sip:a@b>;tag=1"),
        ("To", "<sip:b@c>"),
        ("Call-ID", call_id),
        ("CSeq", "1 INVITE"),
        ("Contact", f"<sip:a@{OTHER};maddr={OTHER}>"),
        ("Record-Route", f"<sip:{OTHER};lr>"),
        ("Content-Type", "application/sdp"),
    ]
    return write_message("INVITE sip:agent@simulator SIP/2.0", headers, body.encode())


def acknowledge(exchange: TelephoneExchange, answer: Outgoing, now_ns: int) -> None:
    response = parse_message(answer.data)
    headers = [("Via", f"SIP/2.0/UDP {OTHER}:7001;branch=z9hG4bKack"), ("From", "<sip:a@b>;tag=1")]
    headers += [("To", response.first("To")), ("Call-ID", response.call_id), ("CSeq", "1 ACK")]
    exchange.received(write_message("ACK sip:agent@simulator SIP/2.0", headers), now_ns, CALLER)


def run(exchange: TelephoneExchange, until_ns: int) -> list[Outgoing]:
    sent = exchange.pop_messages()
    while exchange.next_ns <= until_ns:
        exchange.expire(exchange.next_ns)
        sent += exchange.pop_messages()
    return sent


@pytest.mark.parametrize(
    "planned",
    [
        plan(trying_ns=None, ringing_ns=0),
        plan(trying_ns=None, early_media_ns=0, final_ns=NS_PER_S),
        plan(trying_ns=None, code=486),
        plan(trying_ns=None, demand=LoginDemand(DigestLogin("agent", "key"))),
        plan(trying_ns=None, ringing_ns=0, requests=(PlannedRequest(0, "BYE"),)),
        plan(trying_ns=None, ringing_ns=0, session_interval_s=90),
    ],
)
def test_a_forged_invite_gets_a_few_times_its_bytes_and_nothing_goes_to_another_host(
    planned: AnswerPlan,
) -> None:
    exchange, data = exchange_of(planned), invite()
    exchange.received(data, 0, CALLER)
    sent = run(exchange, 200 * NS_PER_S)

    assert sum(len(message.data) for message in sent) < MAX_FACTOR * len(data)
    assert {message.hop.host for message in sent} == {CALLER.host}
    assert exchange.calls == {}


def test_the_shortest_forged_invite_which_has_no_offer_gets_a_few_times_its_bytes() -> None:
    lines = (
        "INVITE sip:a SIP/2.0",
        f"v:SIP/2.0/UDP {OTHER};branch=z9hG4bKs",
        "f:<sip:a>;tag=1",
        "t:<sip:b>",
        "i:s",
    )
    data = "\r\n".join((*lines, "CSeq:1 INVITE", "m:<sip:a>", "", "")).encode()
    exchange = exchange_of(plan(trying_ns=None, ringing_ns=0))
    exchange.received(data, 0, CALLER)
    sent = run(exchange, 200 * NS_PER_S)

    assert [message.data[8:11] for message in sent] == [b"180", b"200"]
    assert sum(len(message.data) for message in sent) < MAX_FACTOR * len(data)
    assert exchange.calls == {}


def test_requests_of_the_simulator_go_to_the_address_that_invite_came_from() -> None:
    requests = (PlannedRequest(0, "INVITE", "sendonly"), PlannedRequest(NS_PER_S, "BYE"))
    exchange = exchange_of(plan(trying_ns=None, requests=requests))
    exchange.received(invite(), 0, CALLER)
    exchange.expire(0)
    acknowledge(exchange, exchange.pop_messages()[0], 1)
    sent = run(exchange, 200 * NS_PER_S)

    assert {message.data[:3] for message in sent} == {b"INV", b"BYE"}
    assert {(message.hop, message.transport) for message in sent} == {(CALLER, "UDP")}


@pytest.mark.parametrize(
    ("caller", "named", "used"),
    [
        ("192.0.2.1", "192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "192.0.2.2", "192.0.2.1"),
        ("192.0.2.1", "10.0.0.7", "192.0.2.1"),
        ("192.0.2.1", "127.0.0.1", "192.0.2.1"),
        ("127.0.0.1", "192.0.2.1", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.2", "127.0.0.2"),
        ("2001:db8::1", "2001:db8::2", "2001:db8::1"),
        ("::1", "2001:db8::2", "::1"),
    ],
)
def test_audio_goes_to_the_host_of_the_caller_with_the_port_that_it_names(
    caller: str, named: str, used: str
) -> None:
    assert party_of(caller).audio_address(HostPort(named, 7000)) == HostPort(used, 7000)


def party_of(caller: str, transport: str = "UDP") -> CalledParty:
    exchange = exchange_of(plan())
    exchange.received(invite(audio=CALLED.host, transport=transport), 0, HostPort(caller, 5060))
    return exchange.calls["c"]


@pytest.mark.parametrize(
    ("caller", "transport", "is_reachable"),
    [
        ("192.0.2.1", "UDP", False),
        ("192.0.2.1", "TCP", True),
        ("192.0.2.1", "TLS", True),
        ("127.0.0.1", "UDP", True),
        ("::1", "UDP", True),
        ("2001:db8::1", "UDP", False),
    ],
)
def test_only_the_source_of_a_datagram_may_be_forged(
    caller: str, transport: str, is_reachable: bool
) -> None:
    assert party_of(caller, transport).is_reachable is is_reachable


def test_only_calls_that_have_not_ended_count_to_the_limit() -> None:
    refused: list[int] = []
    exchange = exchange_of(plan(trying_ns=None), max_calls=1)
    exchange.refused = refused.append

    def code_of(call_id: str, at_ns: int) -> int:
        exchange.received(invite(call_id), at_ns, CALLER)
        exchange.expire(at_ns)
        response = parse_message(exchange.pop_messages()[-1].data)
        assert isinstance(response, SipResponse)
        return response.code

    assert [code_of("one", 0), code_of("two", 1)] == [200, 503]
    run(exchange, ACK_WAIT_NS)
    assert code_of("three", ACK_WAIT_NS + 1) == 200
    assert refused == [1]


class Line:
    """A line that handles one message at a time."""

    def __init__(self) -> None:
        self.handled: list[bytes] = []

    def receive(self, messages: deque[bytes], caller: HostPort, at_ns: int) -> None:
        self.handled.append(messages.popleft())

    def disconnected(self, caller: HostPort) -> None:
        pass


class Stream:
    is_paused = False
    max_backlog = 0

    def pause(self) -> None:
        self.is_paused = True

    def resume(self) -> None:
        self.is_paused = False


class Loop:
    def __init__(self) -> None:
        self.later: list[Callable[[], None]] = []

    def call_soon(self, work: Callable[[int], None], at_ns: int) -> None:
        self.later.append(lambda: work(at_ns))


def test_a_connection_is_not_read_while_its_messages_wait() -> None:
    line, stream, loop = Line(), Stream(), Loop()
    connection = CallerConnection(
        cast(TelephoneLine, line), CALLER, cast(ServerStream, stream), cast(Any, loop)
    )
    assert connection.received(invite("one") + invite("two") + invite("three")[:-1], 0)

    assert (len(line.handled), stream.is_paused, stream.max_backlog) == (1, True, MAX_UNREAD_BYTES)
    loop.later.pop()()
    assert (len(line.handled), stream.is_paused, loop.later) == (2, False, [])


def test_messages_that_the_line_has_no_time_for_stay_in_its_socket(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(line_module, "MAX_WORK_NS", -1)
    accepted: list[bytes] = []
    line = TelephoneLine.__new__(TelephoneLine)
    line._sock = DatagramSocket("127.0.0.1")
    line._exchange = cast(
        Any, SimpleNamespace(received=lambda data, at_ns, source: accepted.append(data))
    )
    monkeypatch.setattr(line, "_advance", lambda now_ns: None)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as caller:
        for number in range(3):
            caller.sendto(b"%d" % number, line._sock.address)
    for handled in (1, 2, 3, 3):
        line._read()
        assert len(accepted) == handled
    line._sock.close()

    assert accepted == [b"0", b"1", b"2"]
