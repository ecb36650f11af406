"""The addresses of the hosts of a call over UDP: each is tried, and an ICMP error counts at
once.
"""

from __future__ import annotations

import socket

import pytest

from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.protocols.sip.messages import Outgoing
from bench.transport.connect import Lookup
from bench.transport.datagrams import DatagramSocket, family_of, own_host, udp_socket
from bench.transport.interface import DIRECT, ConnectRequest, ConnectTimings
from bench.transport.sip import signalling
from bench.transport.sip.signalling import Signalling
from bench.transport.sip.telephone import TelephoneCall, open_call
from bench.wire.addresses import HostPort, bracketed
from tests.simulator_process import LONGER_S
from tests.transport.sip.phone_line import ENOUGH, FRAME, GUARD_S, LOOPBACK, line
from tests.transport.sip.scripted_peer import ScriptedPeer

OTHER, LOOPBACK_6 = "127.0.0.2", "::1"


def call_at(
    monkeypatch: pytest.MonkeyPatch, port: int, *hosts: str, limits: Timeouts = ENOUGH
) -> TelephoneCall:
    """Call a name that has these addresses."""

    def look_up(host: str, port: int, limit_s: float, family: int = 0) -> Lookup:
        named = hosts if host == "agent.example" else (host,)
        found = [(family_of(each), socket.SOCK_STREAM, 0, "", (each, port)) for each in named]
        return Lookup([each for each in found if family in (0, each[0])], 1, 2)

    monkeypatch.setattr(signalling, "look_up", look_up)
    return open_call(
        ConnectRequest(
            f"sip:agent@agent.example:{port}", (), None, limits, ConnectTimings(), DIRECT
        )
    )


@pytest.mark.parametrize(
    ("refusing", "host"), [(LOOPBACK_6, LOOPBACK), (LOOPBACK, LOOPBACK_6), (OTHER, LOOPBACK)]
)
def test_a_call_goes_to_the_next_address_if_the_first_one_refuses_it(
    monkeypatch: pytest.MonkeyPatch, refusing: str, host: str
) -> None:
    with line(host=host) as called:
        call = call_at(monkeypatch, called.port, refusing, host)
        call.send(FRAME)
        assert call.closed is None
        call.close()
        invite, ack, bye = (each.decode() for each in called.requests)

    own = bracketed(host)
    assert f"\r\nVia: SIP/2.0/UDP {own}:" in invite
    assert f"\r\nContact: <sip:rtbench@{own}:" in invite
    assert f"\r\nc=IN IP{6 if ':' in host else 4} {host}\r\n" in invite
    assert (ack.split()[0], bye.split()[0]) == ("ACK", "BYE")


def test_an_address_that_was_heard_keeps_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    for limit_s in LONGER_S:
        with line(ringing_ns=0, final_ns=None) as called, pytest.raises(ConnectError) as caught:
            call_at(monkeypatch, called.port, LOOPBACK, OTHER, limits=Timeouts(upgrade=limit_s))
        received = caught.value.detail.partition(": ")[2]
        if received == "it only rang":
            break

    assert (caught.value.outcome, received) == ("timeout:upgrade", "it only rang")


def test_an_address_without_a_way_to_it_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_way(family: int, peer: tuple[str, int]) -> str:
        if peer[0] == LOOPBACK_6:
            raise OSError(101, "Network is unreachable")
        return own_host(family, peer)

    monkeypatch.setattr(signalling, "own_host", without_way)
    with line() as called:
        call_at(monkeypatch, called.port, LOOPBACK_6, LOOPBACK).close()
    with pytest.raises(ConnectError) as caught:
        call_at(monkeypatch, 9, LOOPBACK_6)

    assert caught.value.detail == "agent.example:9: Network is unreachable"


def test_a_refusal_counts_only_until_the_invite_has_a_response() -> None:
    first, elsewhere = HostPort("biloxi.example", 5060), HostPort("c.example", 5060)
    peer = ScriptedPeer(call_hosts=(HostPort("c.example"),))
    assert (peer.call.awaits(first), peer.call.awaits(elsewhere)) == (True, False)

    peer.respond(180)
    assert not peer.call.awaits(first)
    peer.respond(302, ("Contact", "<sip:bob@c.example>"))
    assert (peer.call.awaits(first), peer.call.awaits(elsewhere)) == (False, True)
    peer.answer()
    assert not peer.call.awaits(elsewhere)


def test_a_later_hop_gets_its_next_message_at_its_next_address() -> None:
    opened = DatagramSocket(udp_socket(LOOPBACK), notes_refusals=True)
    hop, sent = (
        HostPort("proxy.example", 5060),
        Outgoing(b"message", HostPort("proxy.example"), "UDP"),
    )
    way = Signalling("UDP", lambda *_: pytest.fail("UDP has no connection"), GUARD_S)
    with udp_socket(LOOPBACK) as listening:
        listening.settimeout(GUARD_S)
        way.use_socket(opened, hop, (OTHER, listening.getsockname()[1]))
        way._addresses[hop].append(listening.getsockname())
        way.send(sent)
        assert list(opened.receive()) == []
        assert way.pop_refusals() == []
        way.send(sent)
        assert listening.recv(100) == b"message"
        listening_port = listening.getsockname()[1]
    way.send(sent)
    way.send(sent)  # reports the error of the message before, and is sent nevertheless
    assert way.pop_refusals() == [(hop, f"{LOOPBACK}:{listening_port}: Connection refused")]
    assert opened.unsent == 0
    way.close()
