"""A call whose end the peer has not confirmed: its signalling goes on in the background, on real
sockets.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from unittest.mock import patch

import gevent
import pytest

from bench.base.clock import monotonic_ns
from bench.base.units import NS_PER_S
from bench.catalogue.causes import ConnectError
from bench.protocols.sip.messages import SipRequest
from bench.transport.interface import ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.sip import signalling, telephone
from bench.transport.sip.telephone import TelephoneCall, open_call
from tests.simulator_process import GUARD_S
from tests.transport.sip.hostile_check import ENOUGH, SOON
from tests.transport.sip.hostile_line import HostileLine, HostilePeer, hostile_line


@pytest.fixture(autouse=True)
def no_wait() -> Iterator[None]:
    with patch.object(telephone, "GOODBYE_NS", 0), patch.object(signalling, "_lingering", set()):
        yield
        assert not signalling._lingering


def wait_until(is_done: Callable[[], object]) -> None:
    until_ns = monotonic_ns() + GUARD_S * NS_PER_S
    while not is_done():
        assert monotonic_ns() < until_ns
        gevent.sleep(0.001)


def call(line: HostileLine) -> TelephoneCall:
    return open_call(ConnectRequest(line.url, (), None, ENOUGH, ConnectTimings(), NetworkPath()))


def test_an_unanswered_invite_is_cancelled_after_its_first_late_response() -> None:
    has_failed, cancelled = threading.Event(), threading.Event()

    def ring_late(peer: HostilePeer) -> None:
        assert has_failed.wait(GUARD_S)
        cancel = peer.wait_for("CANCEL", lambda: peer.respond(180))
        assert isinstance(cancel, SipRequest)
        peer.send(peer.response(200, to=cancel))
        cancelled.set()
        peer.refuse(487)

    with hostile_line(ring_late) as line:
        with pytest.raises(ConnectError, match="not answered within"):
            open_call(ConnectRequest(line.url, (), None, SOON, ConnectTimings(), NetworkPath()))
        has_failed.set()
        wait_until(lambda: not signalling._lingering)
        assert cancelled.is_set()


def test_bye_is_repeated_until_it_is_answered() -> None:
    byes = list[SipRequest]()

    def ignore_the_first_bye(peer: HostilePeer) -> None:
        peer.answer()
        while len(byes) < 2:
            bye = peer.wait_for("BYE")
            assert isinstance(bye, SipRequest)
            byes.append(bye)
        peer.send(peer.response(200, to=byes[1]))

    with hostile_line(ignore_the_first_bye) as line:
        call(line).close()
        wait_until(lambda: not signalling._lingering)
        assert len(byes) == 2


def test_no_more_calls_linger_than_the_limit() -> None:
    def confirm_late(peer: HostilePeer) -> None:
        peer.answer()
        bye = peer.wait_for("BYE")
        assert isinstance(bye, SipRequest)
        assert all_ended.wait(GUARD_S)
        peer.send(peer.response(200, to=bye))

    all_ended = threading.Event()
    with hostile_line(confirm_late) as line, patch.object(signalling, "MAX_LINGERING", 2):
        for _ in range(4):
            call(line).close()
        assert len(signalling._lingering) == 2
        all_ended.set()
        wait_until(lambda: not signalling._lingering)
