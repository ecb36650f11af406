"""A peer of a call in tests: it reads what the call sends, and answers as the test says."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.protocols.sdp.offer_answer import LocalMedia
from bench.protocols.sip.call import SipCall
from bench.protocols.sip.call_record import CallSettings
from bench.protocols.sip.messages import (
    Outgoing,
    SipRequest,
    SipResponse,
    parse_message,
    write_message,
    write_response,
)
from bench.wire.addresses import HostPort

SOURCE = HostPort("192.0.2.4", 5060)
MEDIA = LocalMedia("192.0.2.1", 40_000, 11)
PEER_CONTACT = "sip:bob@192.0.2.4"
ANSWER = b"""v=0
o=bob 1 1 IN IP4 192.0.2.4
s=-
c=IN IP4 192.0.2.4
t=0 0
m=audio 50000 RTP/AVP 0 101
a=rtpmap:0 PCMU/8000
a=rtpmap:101 telephone-event/8000
"""
SDP_TYPE = ("Content-Type", "application/sdp")


def tokens(seed: str = "") -> Callable[[], str]:
    """Return a source of tokens that repeats itself in each test."""
    count = 0

    def token() -> str:
        nonlocal count
        count += 1
        return hashlib.sha256(f"{seed} {count}".encode()).hexdigest()[:24]

    return token


def call_settings(**changes: Any) -> CallSettings:
    settings = CallSettings(
        "sip:bob@biloxi.example", "<sip:alice@atlanta.example>", HostPort("192.0.2.1", 5060), MEDIA
    )
    return replace(settings, **changes)


class ScriptedPeer:
    """A peer of one call, with the clock of both. `outgoing` contains all messages of the call."""

    def __init__(self, **changes: Any) -> None:
        self.call = SipCall(call_settings(**changes), tokens())
        self.now_ns = 0
        self.parsed: list[SipRequest | SipResponse] = []
        self._taken = 0
        self.outgoing: list[Outgoing] = []
        self._cseq = 100
        self.call.start(0)
        self._collect()

    def _collect(self) -> None:
        for message in self.call.pop_messages():
            self.outgoing.append(message)
            self.parsed.append(parse_message(message.data))

    def take(self) -> list[str]:
        """Return what the call sent since the last time, in short: methods and status codes."""
        new = self.parsed[self._taken :]
        self._taken = len(self.parsed)
        return [each.method if isinstance(each, SipRequest) else str(each.code) for each in new]

    @property
    def last_response(self) -> SipResponse:
        message = self.parsed[-1]
        assert isinstance(message, SipResponse)
        return message

    def last(self, method: str) -> SipRequest:
        """Return the last request with this method that the call has sent."""
        return next(
            each
            for each in reversed(self.parsed)
            if isinstance(each, SipRequest) and each.method == method
        )

    def wait(self, until_ns: int) -> None:
        """Advance the clock to an instant, and do what is due before."""
        while self.call.next_ns <= until_ns and self.call.next_ns != NEVER_NS:
            self.now_ns = max(self.now_ns, self.call.next_ns)
            self.call.expire(self.now_ns)
            self._collect()
        self.now_ns = until_ns

    def wait_s(self, seconds: float) -> None:
        self.wait(self.now_ns + int(seconds * NS_PER_S))

    def deliver(self, data: bytes) -> None:
        self.now_ns += NS_PER_MS
        self.call.received(data, self.now_ns, SOURCE)
        self._collect()

    def respond(
        self,
        code: int,
        *headers: tuple[str, str],
        to: SipRequest | None = None,
        tag: str = "bob",
        body: bytes = b"",
        phrase: str = "",
    ) -> None:
        """Answer a request of the call, by default its last INVITE."""
        request = to or self.last("INVITE")
        added: Sequence[tuple[str, str]] = (
            [*headers, ("Contact", f"<{PEER_CONTACT}>")] if code < 300 else headers
        )
        added = [*added, SDP_TYPE] if body else added
        self.deliver(write_response(request, code, tag, None, added, body, phrase).data)

    def answer(self, *headers: tuple[str, str], tag: str = "bob", body: bytes = ANSWER) -> None:
        self.respond(200, *headers, tag=tag, body=body)

    def hang_up(self) -> None:
        self.now_ns += NS_PER_MS
        self.call.hang_up(self.now_ns)
        self._collect()

    def request(
        self,
        method: str,
        *headers: tuple[str, str],
        body: bytes = b"",
        tag: str = "bob",
        cseq: int | None = None,
        branch: str = "",
    ) -> None:
        """Send a request in the dialog."""
        invite = self.parsed[0]
        if cseq is None:
            self._cseq += 1
            cseq = self._cseq
        lines = [
            ("Via", f"SIP/2.0/UDP 192.0.2.4:5060;branch=z9hG4bK{branch or f'peer{cseq}{method}'}"),
            ("Max-Forwards", "70"),
            ("From", f"{invite.first('To')};tag={tag}"),
            ("To", invite.first("From")),
            ("Call-ID", invite.call_id),
            ("CSeq", f"{cseq} {method}"),
            ("Contact", f"<{PEER_CONTACT}>"),
            *headers,
        ]
        lines += (
            [SDP_TYPE] if body and not any(name == "Content-Type" for name, _ in headers) else []
        )
        self.deliver(
            write_message(f"{method} {self.call._context.party.contact} SIP/2.0", lines, body)
        )

    def answered(self, *headers: tuple[str, str]) -> ScriptedPeer:
        """Answer the call, and forget the messages so far."""
        self.respond(180)
        self.answer(*headers)
        self.take()
        return self
