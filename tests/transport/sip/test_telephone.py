"""A call on real sockets, to a called party that runs in its own thread: answers, refusals,
media and endings.
"""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import replace
from typing import Any

import gevent
import pytest

from bench.base.clock import Arrival, monotonic_ns
from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.catalogue.causes import ConnectError, in_words
from bench.catalogue.outcomes import HANG_UP, remedy_of
from bench.catalogue.timeouts import Timeouts
from bench.protocols.call_media import parse_event
from bench.protocols.rtp.rtp import parse_packet
from bench.protocols.sip.answer_plan import LoginDemand, PlannedRequest
from bench.protocols.sip.digest import DigestLogin
from bench.protocols.sip.messages import SipRequest, parse_message
from bench.services.telephone import REMEDIES
from bench.transport.interface import ConnectRequest, ConnectTimings, NetworkPath
from bench.transport.rtp_track import READ_PERIOD_NS, RtpTrack
from bench.transport.sip.telephone import TelephoneCall, open_call
from bench.wire.connection import ReceivedMessage, SocketAddress
from tests.simulator_process import GUARD_S, LONGER_S
from tests.transport.sip.hostile_line import HostilePeer, hostile_line
from tests.transport.sip.phone_line import (
    ENOUGH,
    FRAME,
    LOOPBACK,
    dial,
    ended,
    line,
    receive,
    refused,
)


def test_a_call_rings_is_answered_carries_audio_and_is_ended_with_bye() -> None:
    with line(ringing_ns=0, final_ns=20 * NS_PER_MS, headers=(("Server", "test line"),)) as called:
        call, timings = dial(called)
        instants = timings.instants
        assert (
            instants["connect_start"]
            <= instants["dns_done"]
            <= instants["ringing"]
            <= instants["opened"]
        )
        assert call.handshake.headers["server"] == "test line"
        assert call.closed is None

        sent = [call.send(FRAME), call.try_send(FRAME), call.send(FRAME)]
        messages = receive(call, lambda found: len(found) == 3)
        assert [message.data for message in messages] == [FRAME] * 3
        assert all(receipt is not None and receipt.wire_bytes == 172 for receipt in sent)
        assert messages[0].wire_bytes == 172
        for receipt, message in zip(sent, messages, strict=True):
            assert receipt is not None
            assert receipt.handed.at_ns <= message.arrival.at_ns <= monotonic_ns()

        call.close()
        called.wait_for_request(b"BYE")


def test_a_redirection_that_is_not_followed_has_its_cause() -> None:
    with line(code=302, phrase="Moved") as called:
        error = refused(called)

        assert error.outcome == "connect_failed:302"
        assert error.detail == "SIP 302 Moved (the redirection has no valid Contact)"


def test_a_refusal_for_load_has_the_time_after_which_to_call_again() -> None:
    with line(code=503, phrase="Service Unavailable", retry_after_s=7) as called:
        error = refused(called)

        assert (error.outcome, error.headers["retry-after"]) == ("throttled:handshake", "7")
        assert (error.headers["server"], len(error.headers["x-request-id"])) == ("test", 16)


def test_the_header_from_names_the_caller() -> None:
    caller = '"Support" <sip:+15550123@example.com>'
    with line() as called:
        dial(called, headers=(("From", caller), ("P-Asserted-Identity", caller)))[0].close()
        dial(called)[0].close()
        invites = [parse_message(each) for each in called.requests if each.startswith(b"INVITE")]

    assert [each.first("P-Asserted-Identity") for each in invites] == [caller, ""]
    assert [each.first("From").partition(";tag=")[0] for each in invites] == [
        caller,
        f"<sip:rtbench@{LOOPBACK}>",
    ]


def test_a_call_that_only_rings_is_canceled_at_its_limit() -> None:
    for limit_s in LONGER_S:
        with line(ringing_ns=0, final_ns=None) as called:
            error = refused(called, Timeouts(tcp=GUARD_S, upgrade=limit_s))

            assert error.outcome == "timeout:upgrade"
            assert f"within {limit_s:g} s" in error.detail
            if "it only rang" in error.detail:
                called.wait_for_request(b"CANCEL")
                return
    raise AssertionError(error.detail)


@pytest.mark.parametrize("code", [401, 407])
def test_a_basic_login_answers_a_digest_challenge_and_is_never_sent(code: Any) -> None:
    demand = LoginDemand(DigestLogin("alice", "correct horse"), code=code)
    basic = base64.b64encode(b"alice:correct horse").decode()
    with line(demand=demand) as called:
        call, _ = dial(called, headers=(("Authorization", f"Basic {basic}"), ("X-Team", "voice")))
        call.close()
        sent = b"".join(called.requests)

        assert b"correct horse" not in sent
        assert basic.encode() not in sent
        assert b"X-Team: voice" in sent


def test_a_wrong_password_is_refused() -> None:
    with line(demand=LoginDemand(DigestLogin("alice", "correct horse"))) as called:
        basic = base64.b64encode(b"alice:wrong").decode()
        with pytest.raises(ConnectError) as caught:
            dial(called, headers=(("Authorization", f"Basic {basic}"),))

        assert caught.value.outcome == "connect_failed:401"


def test_a_peer_that_hangs_up_ends_the_call_with_its_reason() -> None:
    hang_up = PlannedRequest(10 * NS_PER_MS, "BYE", reason="Q.850;cause=16")
    with line(requests=(hang_up,)) as called:
        call, _ = dial(called)
        closed = ended(call)

        assert (closed.code, closed.ours) == (1000, False)
        assert "cause=16" in closed.reason
        assert call.send(FRAME) is None
        call.close()


def test_a_pressed_key_replaces_the_audio_of_its_frames() -> None:
    with line(echoes=False) as called:
        call, _ = dial(called)
        assert call.send(json.dumps({"type": "dtmf", "digit": "5"}).encode()) is not None
        for _ in range(9):
            call.send(FRAME)
        until_ns = monotonic_ns() + GUARD_S * NS_PER_S
        while len(called.heard) < 9 and monotonic_ns() < until_ns:
            call.receive_until(monotonic_ns() + NS_PER_MS, lambda _: False)
        call.close()

        packets = [parse_packet(data) for data in called.heard]
        events = [parse_event(packet.payload) for packet in packets[:8]]
        assert [event and event.code for event in events] == [5] * 8
        assert [event and event.is_end for event in events] == [False] * 5 + [True] * 3
        assert packets[8].payload == FRAME


@pytest.mark.parametrize(
    ("change", "reason", "remedy"),
    [
        ({"send_event_payload_type": None}, "the peer accepts no telephone events", "rfc4733"),
        ({"direction": "recvonly"}, "the agent held the call", "a=sendonly"),
    ],
)
def test_a_key_that_cannot_be_sent_ends_the_call(
    change: dict[str, Any], reason: str, remedy: str
) -> None:
    with line() as called:
        call, _ = dial(called)
        assert call.track.media is not None
        call.track.media.agreed = replace(call.track.media.agreed, **change)

        assert call.send(json.dumps({"type": "dtmf", "digit": "5"}).encode()) is None
        closed = call.closed
        assert closed is not None
        assert (closed.ours, closed.reason) == (
            True,
            f"this tool hung up: {reason}, so the key 5 was not sent",
        )
        assert remedy in remedy_of(HANG_UP, [in_words(closed.reason)], REMEDIES)
        called.wait_for_request(b"BYE")
        call.close()


def test_a_listener_with_a_past_limit_reads_what_has_arrived() -> None:
    with line() as called:
        call, _ = dial(called)
        call.send(FRAME)
        found: list[ReceivedMessage] = []
        until_ns = monotonic_ns() + GUARD_S * NS_PER_S

        def on_message(message: ReceivedMessage) -> bool:
            found.append(message)
            return False

        while not found and monotonic_ns() < until_ns:
            call.receive_until(0, on_message)

        assert [message.data for message in found] == [FRAME]
        assert call.watermark_ns <= monotonic_ns()
        call.close()


def test_audio_that_is_read_before_the_answer_is_not_lost() -> None:
    """A busy process finds the answer and the first audio in its sockets at the same time."""
    is_blocked, is_sent = threading.Event(), threading.Event()

    def answer_with_audio(peer: HostilePeer) -> None:
        assert is_blocked.wait(GUARD_S)
        data = peer.ok()
        peer.send(data)
        for _ in range(3):
            peer.frame(FRAME)
        is_sent.set()
        peer.wait_for("ACK", lambda: peer.send(data))

    def block() -> None:
        is_blocked.set()
        assert is_sent.wait(GUARD_S)

    found: list[bytes] = []

    def on_message(message: ReceivedMessage) -> bool:
        found.append(message.data)
        return len(found) == 3

    with hostile_line(answer_with_audio) as called:
        gevent.spawn(block)
        call = open_call(
            ConnectRequest(called.url, (), None, ENOUGH, ConnectTimings(), NetworkPath())
        )
        call.receive_until(monotonic_ns() + GUARD_S * NS_PER_S, on_message)
        call.abort()

    assert found == [FRAME] * 3


def test_audio_that_arrived_before_the_hang_up_is_not_lost() -> None:
    """A busy process finds the last audio and BYE in its sockets at the same time."""
    is_blocked, is_sent = threading.Event(), threading.Event()

    def talk_and_hang_up(peer: HostilePeer) -> None:
        peer.answer()
        assert is_blocked.wait(GUARD_S)
        for _ in range(3):
            peer.frame(FRAME)
        peer.send(peer.request("BYE"))
        is_sent.set()

    found: list[bytes] = []

    with hostile_line(talk_and_hang_up) as called:
        call = open_call(
            ConnectRequest(called.url, (), None, ENOUGH, ConnectTimings(), NetworkPath())
        )
        is_blocked.set()
        assert is_sent.wait(GUARD_S)
        until_ns = monotonic_ns() + GUARD_S * NS_PER_S
        while call.closed is None and monotonic_ns() < until_ns:
            call.receive_until(until_ns, lambda message: bool(found.append(message.data)))
        call.abort()

    assert found[:3] == [FRAME] * 3


def test_the_wait_of_the_jitter_buffer_is_no_delay_of_the_load_generator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The packet after a missing one arrives at once, and waits until 60 ms after the instant of
    the missing frame.

    The peer may be stopped between its packets, so both have the arrival of the first one.
    """
    arrivals: list[Arrival] = []
    accept = RtpTrack.accept

    def accept_at_once(
        track: RtpTrack, data: bytes, source: SocketAddress, arrival: Arrival, due_ns: int = 0
    ) -> None:
        arrivals.append(arrival)
        accept(track, data, source, arrivals[0], due_ns)

    monkeypatch.setattr(RtpTrack, "accept", accept_at_once)

    def skip_a_packet(peer: HostilePeer) -> None:
        peer.answer()
        peer.frame(FRAME)
        peer.sequence += 1
        peer.timestamp += len(FRAME)
        peer.frame(FRAME)
        bye = peer.wait_for("BYE")
        assert isinstance(bye, SipRequest)
        peer.send(peer.response(200, to=bye))

    held_ns: list[int] = []
    with hostile_line(skip_a_packet) as called:
        call = open_call(
            ConnectRequest(called.url, (), None, ENOUGH, ConnectTimings(), NetworkPath())
        )
        assert call.track.media is not None
        call.track.media.report_ns = NEVER_NS  # so that only the frame can wake the session

        def on_message(message: ReceivedMessage) -> bool:
            held_ns.append(call.track.held_ns)
            return len(held_ns) == 3

        call.receive_until(monotonic_ns() + GUARD_S * NS_PER_S, on_message)
        call.close()

    assert 0 <= held_ns[0] <= READ_PERIOD_NS + NS_PER_MS  # it waits only for the next read
    # the packet after the missing one is ahead of its clock: the missing one is due 20 ms after the
    # arrival, plus 60 ms
    assert [round(each / NS_PER_MS) for each in held_ns[1:]] == [80, 80]
    assert call.handled_ns() <= monotonic_ns() - held_ns[-1]


def test_a_paced_sender_sends_while_the_session_listens() -> None:
    class Pacer:
        plain = None

        def __init__(self, call: TelephoneCall) -> None:
            self._call, self.due_ns = call, monotonic_ns()

        def send_due(self) -> bool:
            self._call.try_send(FRAME)
            self.due_ns += 5 * NS_PER_MS
            return False

    with line() as called:
        call, _ = dial(called)
        found: list[ReceivedMessage] = []

        def on_message(message: ReceivedMessage) -> bool:
            found.append(message)
            return len(found) == 5

        call.receive_until(monotonic_ns() + GUARD_S * NS_PER_S, on_message, sender=Pacer(call))

        assert len(found) == 5
        call.close()


def test_an_address_that_no_packet_may_be_sent_to_is_an_error_of_the_call() -> None:
    with pytest.raises(ConnectError) as caught:
        open_call(
            ConnectRequest(
                "sip:agent@255.255.255.255:5060", (), None, ENOUGH, ConnectTimings(), NetworkPath()
            )
        )

    assert (caught.value.outcome, caught.value.detail) == (
        "connect_failed:sip",
        "255.255.255.255:5060: Permission denied",
    )
