"""Hostile callers of this tool, as agents that dial: each call has a stated result, and nothing
else happens.

They are the peers of calls that this tool makes, with the same behaviours from the other side: what
a called peer does in its answer, a caller does in its INVITE. A caller that sends what must be
ignored calls afterwards, and that call is the result.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from itertools import count
from unittest.mock import patch

from bench.base.units import NS_PER_MS
from bench.catalogue.causes import ConnectError
from bench.catalogue.timeouts import Timeouts
from bench.protocols.sip.messages import SipRequest, SipResponse, parse_message, write_message
from bench.transport.interface import DIRECT
from bench.transport.sip import answering
from bench.wire.addresses import HostPort
from tests.attack.cases import (
    HostileCase,
    assert_outcome,
    assert_safe,
    by_name,
    hostile_cases,
    plain,
    serving,
)
from tests.simulator_process import GUARD_S
from tests.transport.sip import hostile_answers as answers
from tests.transport.sip import hostile_media as media
from tests.transport.sip import hostile_requests as requests
from tests.transport.sip.hostile_check import TABLE, used
from tests.transport.sip.hostile_line import (
    LOOPBACK,
    SDP_TYPE,
    Behaviour,
    Header,
    HostileLine,
    HostilePeer,
    described_audio,
)
from tests.transport.sip.waiting_line import ANSWERED, answered, free_port, result

CALLEE = f"<sip:callee@{LOOPBACK}>"
RING_NS = 20 * NS_PER_MS
LONG_NS = 10**12


class HostileCaller(HostilePeer):
    """The caller of a line. `ok` is its INVITE."""

    def __init__(self, line: HostileLine, port: int) -> None:
        self._numbers = count(1)
        self._number = next(self._numbers)
        self._to = CALLEE
        super().__init__(line)
        self.source = LOOPBACK, port

    def first_invite(self) -> SipRequest:
        invite = parse_message(self.ok())
        assert isinstance(invite, SipRequest)
        return invite

    @property
    def names(self) -> tuple[str, str]:
        return f"<{self.contact}>", self._to

    def ok(
        self,
        *headers: Header,
        tag: str = "bad",
        body: bytes | None = None,
        contact: str | None = None,
    ) -> bytes:
        sdp = self.sdp() if body is None else body
        own = f"{LOOPBACK}:{self.line.port}"
        lines = [
            ("Via", f"SIP/2.0/UDP {own};branch=z9hG4bKinvite{self._number}"),
            ("Max-Forwards", "70"),
            ("From", f"<{self.contact}>;tag={tag}"),
            ("To", CALLEE),
            ("Call-ID", f"{self._number}@{own}"),
            ("CSeq", "1 INVITE"),
            ("Contact", contact or f"<{self.contact}>"),
            *headers,
            *([SDP_TYPE] if sdp else []),
        ]
        return write_message(f"INVITE sip:callee@{LOOPBACK} SIP/2.0", lines, sdp)

    def settle(self, data: bytes) -> None:
        """Send an INVITE, and acknowledge its answer."""
        self.hear(200, data)
        self.send(self.request("ACK", cseq=1))

    def hear(self, code: int, data: bytes) -> None:
        """Send an INVITE, and wait for a response with this code."""
        self.send(data)
        response = self.wait_for(code, lambda: self.send(data))
        self._to = response.first("To")
        if code == 200:
            self.caller_rtp = described_audio(response.body)

    def refuse(self, code: int = 0, *headers: Header, phrase: str = "") -> None:
        """Call as usual, after messages that must be ignored."""
        self._number = next(self._numbers)
        self.invite = self.first_invite()
        self.settle(self.ok())

    def poll(self, wait_s: float) -> SipRequest | SipResponse | None:
        message = super().poll(wait_s)
        is_own = message is not None and message.call_id == self.invite.call_id
        return message if is_own else None


class CallingLine(HostileLine):
    """A UDP port with one caller of a port of this machine."""

    def __init__(self, behaviour: Behaviour, port: int) -> None:
        super().__init__([behaviour])
        self._caller = HostileCaller(self, port)
        self.add("", self._caller)

    def received(self, message: SipRequest | SipResponse, source: tuple[str, int]) -> None:
        self._caller.inbox.put((message, source))


def calling(behaviour: Behaviour, port: int) -> AbstractContextManager[CallingLine]:
    """Let a caller call a port, whose lines are open from now on."""
    answering._lines_at(HostPort(LOOPBACK, port))
    return serving(CallingLine(behaviour, port))


def check(case: HostileCase, codecs: tuple[str, ...] = DIRECT.codecs) -> None:
    """Let a hostile caller call, and check the outcome. Then a usual call is answered."""
    port = free_port()

    def call(limit_s: float) -> tuple[str, str]:
        limits = Timeouts(tcp=GUARD_S, upgrade=limit_s)
        ring_ns = LONG_NS if "487" in case.outcome else RING_NS
        with (
            calling(case.steps[0], port),
            patch.object(answering, "GOODBYE_NS", 200 * NS_PER_MS),
        ):
            try:
                call = answered(port, limits, codecs=codecs, ring_ns=ring_ns)
            except ConnectError as error:
                assert_safe(*error.headers.values())
                return error.outcome, error.detail
            return used(call, waits_for_end=case.outcome.startswith("ends"))

    assert_outcome(case, call)
    lines = answering._lines_at(HostPort(LOOPBACK, port))
    lines._read(lines._socket)  # an INVITE that the caller repeated until now would be answered
    with calling(HostilePeer.answer, port):
        assert result(port) == ANSWERED
    assert (len(lines.waiting), lines._calls) == (0, {})


def invites(peer: HostilePeer) -> HostileCaller:
    assert isinstance(peer, HostileCaller)
    return peer


def cancels(peer: HostilePeer) -> None:
    caller = invites(peer)
    cancel = caller.request("CANCEL", cseq=1, branch=caller.invite.via.branch)
    caller.hear(180, caller.ok())
    caller.send(cancel)
    caller.wait_for(487, lambda: caller.send(cancel))


def hangs_up_before_it_acknowledges(peer: HostilePeer) -> None:
    caller = invites(peer)
    caller.hear(200, caller.ok())
    caller.ask(200, "BYE")


def hangs_up_with_its_acknowledgement(peer: HostilePeer) -> None:
    caller = invites(peer)
    caller.hear(200, caller.ok())
    caller.send(caller.request("ACK", cseq=1))
    caller.ask(200, "BYE")


def repeats_all(peer: HostilePeer) -> None:
    caller = invites(peer)
    for _ in range(5):
        caller.send(caller.ok())
    caller.settle(caller.ok())
    for _ in range(5):
        caller.send(caller.request("ACK", cseq=1))


def offers_in_its_acknowledgement(peer: HostilePeer) -> None:
    caller = invites(peer)
    caller.hear(200, caller.ok(body=b""))
    caller.send(caller.request("ACK", cseq=1, body=caller.sdp()))


def never_acknowledges(peer: HostilePeer) -> None:
    caller = invites(peer)
    caller.hear(200, caller.ok())


def sends_requests_that_begin_no_call(peer: HostilePeer) -> None:
    for method in ("BYE", "CANCEL", "ACK", "PRACK", "REGISTER", "OPTIONS", "BREW"):
        peer.send(peer.request(method))
    peer.refuse()


def calls_again_after(code: int, *lines: str) -> Behaviour:
    """Return the behaviour that calls as usual after a refusal of its INVITE with this code."""

    def behave(peer: HostilePeer) -> None:
        caller = invites(peer)
        added = "".join(f"\r\n{line}" for line in lines).encode("latin-1")
        caller.hear(code, caller.ok().replace(b"\r\nCSeq: ", added + b"\r\nCSeq: ", 1))
        caller.refuse()

    return behave


VERBS = by_name(
    answers.ignored,
    answers.changed,
    answers.with_headers,
    answers.answers_with,
    answers.answers,
    answers.each_byte,
    calls_again_after,
    requests.asks,
) | plain(
    answers.truncated,
    cancels,
    hangs_up_before_it_acknowledges,
    hangs_up_with_its_acknowledgement,
    repeats_all,
    offers_in_its_acknowledgement,
    never_acknowledges,
    sends_requests_that_begin_no_call,
)
OF_CALLED_PEERS = ("a transfer", "an answer without a description", "contact")
"""The words in the names of cases that only a peer that is called can play: a caller's are among
its INVITEs."""
REFUSED = {"connect_failed:media": ("connect_failed:488", "offers no audio that this tool can use")}
"""The outcomes of descriptions in INVITE, where they are not those of descriptions in an answer."""
CASES = {
    name: HostileCase(case.steps, *REFUSED.get(case.outcome, case[1:]))
    for name, case in (answers.DESCRIPTIONS | requests.CASES).items()
    if not any(words in name for words in OF_CALLED_PEERS)
} | hostile_cases(TABLE, "invites", VERBS)
MEDIA = {
    name: behave
    for name, behave in media.CASES.items()
    if behave is not media.frames_before_the_answer
}
