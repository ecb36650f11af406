"""Calls that this tool answers: usual and hostile callers, each with one stated result."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bench.base.units import NS_PER_MS
from bench.catalogue.timeouts import Timeouts
from bench.transport.sip import answering
from bench.wire.addresses import HostPort
from tests.simulator_process import GUARD_S
from tests.transport.sip.phone_line import LOOPBACK
from tests.transport.sip.waiting_line import ANSWERED, answered, free_port, result

SDP = (
    "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
    "m=audio {port} RTP/AVP {formats}\r\na=rtpmap:0 PCMU/8000\r\n"
)
SILENCE = bytes([255]) * 160


class Caller:
    """A caller with sockets for SIP and RTP."""

    def __init__(self, port: int) -> None:
        self.sip, self.rtp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for sock in (self.sip, self.rtp):
            sock.bind((LOOPBACK, 0))
            sock.settimeout(GUARD_S)
        self._callee = (LOOPBACK, port)
        self.answer = ""
        self.branch = "z9hG4bK1"

    def send(self, method: str, cseq: int = 1, body: str = "", more: str = "") -> None:
        own = f"{LOOPBACK}:{self.sip.getsockname()[1]}"
        tag = re.search(r"(?m)^To:.*(;tag=\S+)", self.answer)
        kind = "Content-Type: application/sdp\r\n" if body else ""
        text = (
            f"{method} sip:callee@127.0.0.1 SIP/2.0\r\n"
            f"Via: SIP/2.0/UDP {own};branch={self.branch}\r\n"
            f"From: <sip:a@{own}>;tag=a\r\nTo: <sip:callee@127.0.0.1>{tag[1] if tag else ''}\r\n"
            f"Call-ID: {own}\r\nCSeq: {cseq} {method}\r\nContact: <sip:a@{own}>\r\n{more}{kind}"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        )
        self.sip.sendto(text.encode(), self._callee)

    def invite(self, body: str | None = None, more: str = "") -> None:
        self.send("INVITE", body=self.sdp() if body is None else body, more=more)

    def sdp(self, host: str = LOOPBACK, formats: str = "0") -> str:
        return SDP.format(host=host, port=self.rtp.getsockname()[1], formats=formats)

    def hear(self, status: str) -> None:
        """Wait for a response to INVITE with a status."""
        while True:
            text = self.sip.recv(65_535).decode()
            if text.startswith(f"SIP/2.0 {status}") and re.search("CSeq:.*INVITE", text):
                self.answer = text
                return

    def ack(self, body: str = "") -> None:
        self.branch = "z9hG4bK2"
        self.send("ACK", body=body)

    def call(self) -> None:
        self.invite()
        self.hear("200")
        self.ack()

    def close(self) -> None:
        self.sip.close()
        self.rtp.close()


Behave = Callable[[Caller], None]


def _cancel(caller: Caller) -> None:
    caller.invite()
    caller.hear("180")
    caller.send("CANCEL")
    caller.hear("487")
    caller.send("ACK")


def _bye_before_ack(caller: Caller) -> None:
    caller.invite()
    caller.hear("200")
    caller.branch = "z9hG4bK3"
    caller.send("BYE", 2)


def _repeated(caller: Caller) -> None:
    for _ in range(5):
        caller.invite()
    caller.hear("200")
    for _ in range(5):
        caller.ack()


def _without_offer(caller: Caller) -> None:
    caller.invite("")
    caller.hear("200")
    caller.ack(caller.sdp())


def _never_described(caller: Caller) -> None:
    caller.invite("")
    caller.hear("200")
    caller.ack()


def _unacknowledged(caller: Caller) -> None:
    caller.invite()
    caller.hear("200")


def _noise_first(caller: Caller) -> None:
    for data in (b"", b"\r\n\r\n", b"\0" * 2_000, b"INVITE", b"INVITE sip:x SIP/2.0\r\n\r\n"):
        caller.sip.sendto(data, caller._callee)
    for method in ("BYE", "CANCEL", "ACK", "PRACK", "REGISTER", "OPTIONS", "BREW"):
        caller.branch = f"z9hG4bK{method}"
        caller.send(method)
    caller.branch = "z9hG4bK9"
    caller.call()


def _refused_extension(caller: Caller) -> None:
    caller.invite(more="Require: precondition\r\n")
    caller.hear("420")
    caller.send("ACK")
    caller.answer = ""
    caller.branch = "z9hG4bK8"
    caller.call()


CASES: dict[str, tuple[Behave, str]] = {
    "an INVITE with an offer": (Caller.call, ANSWERED),
    "an INVITE without an offer": (_without_offer, ANSWERED),
    "INVITE and ACK that are repeated": (_repeated, ANSWERED),
    "datagrams and requests that begin no call": (_noise_first, ANSWERED),
    "an INVITE that requires an unknown extension, and a second one": (
        _refused_extension,
        ANSWERED,
    ),
    "CANCEL while it rings": (_cancel, "connect_failed:487"),
    "BYE before ACK": (_bye_before_ack, "connect_failed:sip"),
    "no ACK": (_unacknowledged, "connect_failed:sip"),
    "no description in INVITE and ACK": (_never_described, "connect_failed:media"),
    "no common codec": (
        lambda caller: caller.invite(caller.sdp(formats="3")),
        "connect_failed:488",
    ),
    "a description without audio": (
        lambda caller: caller.invite("v=0\r\no=- 1 1 IN IP4 1.2.3.4\r\ns=-\r\nt=0 0\r\n"),
        "connect_failed:488",
    ),
    "a description that is none": (
        lambda caller: caller.invite("v=0\r\nm=\0"),
        "connect_failed:488",
    ),
}


@contextmanager
def calling(behave: Behave, port: int) -> Iterator[Caller]:
    answering._lines_at(HostPort(LOOPBACK, port))  # an INVITE before this would be lost
    caller = Caller(port)
    thread = threading.Thread(target=behave, args=(caller,), daemon=True)
    thread.start()
    try:
        yield caller
        thread.join(GUARD_S)
    finally:
        caller.close()


@pytest.mark.parametrize("name", CASES)
def test_a_caller_has_one_stated_result_and_the_next_call_is_answered(name: str) -> None:
    behave, outcome = CASES[name]
    port = free_port()
    ring_ns = 10**12 if "CANCEL" in name else 20 * NS_PER_MS

    with calling(behave, port):
        assert result(port, ring_ns=ring_ns) == outcome
    with calling(Caller.call, port):
        assert result(port) == ANSWERED
    (lines,) = (each for own, each in answering._lines.items() if own.port == port)
    assert (len(lines.waiting), lines._calls) == (0, {})


def test_a_call_without_a_free_line_is_refused_as_busy_and_so_is_one_of_a_busy_line() -> None:
    port = free_port()
    with calling(Caller.call, port):
        assert result(port) == ANSWERED
    with calling(lambda caller: (caller.invite(), caller.hear("486")), port) as caller:  # type: ignore[arg-type, func-returns-value]
        assert result(port, is_busy=True) == "busy"
    assert caller.answer.startswith("SIP/2.0 486")


def test_a_line_without_a_call_ends_in_time() -> None:
    assert result(free_port(), Timeouts(upgrade=0.05)) == "timeout:upgrade"


def test_audio_of_a_stranger_goes_to_no_session_and_the_agent_gets_that_of_the_line() -> None:
    port = free_port()
    with calling(Caller.call, port) as caller:
        call = answered(port)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.sendto(b"\x80\0", call.track.rtp.address)
            stranger.sendto(b"not rtp", call.track.rtp.address)
            call._read_all()
        packets = call.network()
        assert packets is not None
        assert packets.expected == 0
        call.close()
        assert call.closed is None or call.closed.ours
    assert caller.answer
