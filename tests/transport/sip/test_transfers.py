"""A call whose peer transfers it (REFER): the call continues with the target, or with the peer if
the target may not be called or refuses.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_MS, NS_PER_S
from bench.protocols.sip.messages import SipRequest
from bench.transport.interface import ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.sip.telephone import TelephoneCall, open_call
from bench.wire.connection import ReceivedMessage
from bench.wire.dialect import BinaryMessage
from tests.simulator_process import GUARD_S
from tests.transport.sip.hostile_check import ENOUGH, SENT
from tests.transport.sip.hostile_line import LOOPBACK, HostileLine, HostilePeer, hostile_line

OLD, NEW = b"\x2a" * 160, b"\x15" * 160
"""The audio of the peer, and that of the target."""


class Transferor:
    """A peer that transfers its calls to a target, and the reports that it gets."""

    def __init__(self, target: str = "sip:next@{host}:{port}", *, replaces: str = "") -> None:
        self._target, self._replaces = target, replaces
        self.status = 0
        self.reports: list[str] = []
        self.has_ended = False

    def __call__(self, peer: HostilePeer) -> None:
        peer.answer()
        for _ in range(30):
            peer.frame(OLD)
        uri = self._target.format(host=LOOPBACK, port=peer.line.port) + self._replaces
        data = peer.request("REFER", ("Refer-To", f"<{uri}>"))
        peer.send(data)
        while True:
            peer.frame(OLD)
            message = peer.poll(0.01)
            if isinstance(message, SipRequest):
                if message.method == "NOTIFY":
                    self.reports.append(message.body.decode().strip())
                self.has_ended |= message.method == "BYE"
                if message.method != "ACK":
                    peer.send(peer.response(200, to=message))
            elif message is not None:
                self.status = self.status or message.code


def answers(peer: HostilePeer) -> None:
    peer.answer()
    while peer.poll(0.01) is None:
        peer.frame(NEW, ssrc=9)


def refuses(peer: HostilePeer) -> None:
    peer.refuse(486)


def heard(
    transferor: Transferor,
    target: Callable[[HostilePeer], None],
    until: Callable[[set[bytes]], bool],
    inspect: Callable[[HostileLine], None] = lambda line: None,
) -> TelephoneCall:
    """Call a peer that transfers the call, and listen until the frames satisfy a condition."""
    frames = set[bytes]()

    def on_message(message: ReceivedMessage) -> bool:
        assert isinstance(message.data, BinaryMessage)
        frames.add(bytes(message.data))
        return until(frames)

    with hostile_line(transferor, target) as line:
        call = open_call(
            ConnectRequest(line.url, (), None, ENOUGH, ConnectTimings(), NetworkPath())
        )
        until_ns = monotonic_ns() + GUARD_S * NS_PER_S
        try:
            while not until(frames) and monotonic_ns() < until_ns:
                assert call.closed is None
                call.send(SENT)
                call.receive_until(monotonic_ns() + 20 * NS_PER_MS, on_message)
        finally:
            call.close()
        inspect(line)
    return call


@pytest.mark.parametrize("replaces", ["", "?Replaces=a%40b%3Bto-tag%3D1%3Bfrom-tag%3D2"])
def test_the_call_continues_with_the_target(replaces: str) -> None:
    transferor = Transferor(replaces=replaces)
    invites: list[bytes] = []

    def inspect(line: HostileLine) -> None:
        invites.extend(each for each in line.heard if each.startswith(b"INVITE"))

    call = heard(transferor, answers, lambda frames: NEW in frames, inspect)
    network = call.network()

    assert transferor.status == 202
    assert transferor.reports == ["SIP/2.0 100 Trying", "SIP/2.0 200 OK"]
    assert transferor.has_ended
    assert b"INVITE sip:next@" in invites[-1]
    assert (b"Replaces: a@b;to-tag=1;from-tag=2" in invites[-1]) is bool(replaces)
    assert network is not None
    assert network.transfers == 1


def test_the_call_continues_with_the_peer_if_the_target_refuses() -> None:
    transferor = Transferor()
    heard(transferor, refuses, lambda frames: len(transferor.reports) == 2)

    assert transferor.reports == ["SIP/2.0 100 Trying", "SIP/2.0 486 Busy Here"]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("sip:next@other.example", 603),  # no host that the user permits
        ("sip:next@{host}:9", 603),
        ("tel:+15550100", 400),
        ("sip:next@{host}:{port};method=BYE", 400),
        ("sip:", 400),
    ],
)
def test_other_targets_are_not_called(target: str, status: int) -> None:
    transferor = Transferor(target)
    heard(transferor, answers, lambda frames: transferor.status > 0)

    assert transferor.status == status
    assert transferor.reports == []
