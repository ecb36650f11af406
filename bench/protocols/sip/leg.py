"""One leg of a call: a dialog with its audio and its session timer, for the caller and for the
called party. Pure.

A leg sends requests in the dialog (ACK, BYE, INVITE, UPDATE), repeats them with credentials or
after glare, and accepts their responses. `leg_requests` answers the requests of the peer.
"""

# At most one offer is open in a dialog (RFC 3264 §4), whichever side has made it: `pending` is an
# INVITE or UPDATE of this side, and `offered_in_2xx` is an offer in a 2xx, to which ACK has the
# answer. If both sides offer at the same time, each refuses the offer of the other with 491, and
# tries again after a random time (RFC 3261 §14.1). An offer that is refused leaves the audio and
# the session as they were. Only 408, 481, and silence end the dialog (§12.2.1.2).
#
# The session timer (RFC 4028) detects a peer that has vanished. The refresher sends UPDATE, or
# INVITE if the peer does not allow UPDATE, after half of the interval; either side sends BYE
# shortly before the interval ends.
#
# ACK of a 2xx belongs to no transaction (RFC 3261 §17): the leg stores it, and sends it again for
# each repetition of the 2xx. The last two are stored, because a repeated 2xx of the first INVITE
# may arrive after the answer to a re-INVITE.

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from bench.base.units import NEVER_NS, NS_PER_MS
from bench.catalogue.causes import Cause, Code
from bench.protocols.sdp.offer_answer import AgreedMedia, LocalMedia, accepted_answer, write_offer
from bench.protocols.sdp.sdp import Direction, parse_description
from bench.protocols.sip.bodies import description_of
from bench.protocols.sip.dialog import (
    Dialog,
    LocalParty,
    RandomTokens,
    SessionTimer,
    interval_of,
    new_branch,
    routed,
    timer_headers,
)
from bench.protocols.sip.digest import DigestClient
from bench.protocols.sip.messages import Outgoing, SipMessage, SipRequest, SipResponse
from bench.protocols.sip.transactions import OutgoingRequest, Transactions
from bench.wire.addresses import HostPort, whole_number

LegState = Literal["early", "confirmed", "ending", "ended"]
MAX_CHALLENGED = 3
"""The maximum number of times that a request in the dialog is repeated with new credentials."""
MAX_GLARES = 8
"""The maximum number of times that INVITE or UPDATE is repeated after 491."""
MAX_ADDRESSES = 16
"""The maximum number of addresses to which the audio and the reports of a call go: for eight
changes of both. A peer may name any hosts. Without a limit, the call would send packets to all of
them."""
BUSY_NS = 100 * NS_PER_MS
"""The time after which INVITE or UPDATE is tried again, if another one has no final response."""
AUTHORIZATION = ("Authorization", "Proxy-Authorization")


class LegListener(Protocol):
    """The call that a leg belongs to."""

    def leg_ended(self, leg: CallLeg, cause: str, message: SipMessage | None, now_ns: int) -> None:
        """Receive the end of a leg. `cause` is peer, or the reason why this side ended it; "" if
        the user did.
        """

    def leg_ending(self, leg: CallLeg) -> None:
        """Receive that this side has sent BYE."""

    def media_changed(self, leg: CallLeg) -> None:
        """Receive a change of the audio."""


@dataclass(slots=True)
class LegContext:
    """What all legs of a call share."""

    party: LocalParty
    transactions: Transactions
    tokens: RandomTokens
    media: LocalMedia
    listener: LegListener
    digest: DigestClient
    is_caller: bool
    session_interval_s: int | None = None
    """The session interval that this side wants."""
    refer: Callable[[CallLeg, SipRequest], int] | None = None
    """The function that returns the status of a REFER; None if this side is not transferred."""


@dataclass(slots=True)
class _PendingOffer:
    """An INVITE or UPDATE of this side that has no final response."""

    method: str
    direction: Direction | None
    """The direction that is offered. None if the request contains no offer."""
    glares: int = 0


@dataclass(slots=True)
class CallLeg:
    """A leg. `media` is the audio of the call, or None if none was agreed."""

    context: LegContext
    dialog: Dialog
    described: bytes = field(repr=False)
    """The last description of this side."""
    state: LegState = "early"
    media: AgreedMedia | None = None
    timer: SessionTimer = field(default_factory=SessionTimer)
    direction: Direction = "sendrecv"
    """The direction that this side wants."""
    peer_allows_update: bool = False
    requests_received: int = 0
    pending: _PendingOffer | None = None
    offered_in_2xx: int | None = None
    """The CSeq of the peer's INVITE without an offer. This side offered in the 2xx, and the ACK
    contains the answer."""
    _addresses: set[HostPort] = field(default_factory=set)
    """The addresses to which audio and reports were to go."""
    _version: int = 1
    _acks: dict[int, Outgoing] = field(default_factory=dict)
    _last_rseq: int = 0
    """The number of the last reliable provisional response; 0 if there is none."""
    _retry: _PendingOffer | None = None
    _retry_ns: int = NEVER_NS
    end_cause: str = ""
    """Why this side sent BYE; "" if it did not, or if its user ended the call."""

    @property
    def is_acknowledged(self) -> bool:
        """Whether this side has acknowledged an answer of the peer."""
        return bool(self._acks)

    @property
    def next_ns(self) -> int:
        return min(self.timer.next_ns, self._retry_ns) if self.state == "confirmed" else NEVER_NS

    def expire(self, now_ns: int) -> None:
        """Refresh the session, end it, or repeat a request after glare, if it is due."""
        if self.state != "confirmed":
            return
        if self.timer.expiry_ns <= now_ns:
            self.bye(Cause(Code.NOT_REFRESHED).text, now_ns)
            return
        if self.timer.refresh_ns <= now_ns:
            is_sent = (
                self.send_update(now_ns) if self.peer_allows_update else self.send_invite(now_ns)
            )
            self.timer.refresh_ns = NEVER_NS if is_sent else now_ns + BUSY_NS
        if self._retry is not None and self._retry_ns <= now_ns:
            is_sent = self._offer(self._retry, now_ns)
            self._retry = None if is_sent else self._retry
            self._retry_ns = NEVER_NS if is_sent else now_ns + BUSY_NS

    def note_peer(self, message: SipMessage) -> None:
        if allowed := message.tokens("Allow"):
            self.peer_allows_update = "update" in allowed

    def acknowledge(self, response: SipResponse, invite: OutgoingRequest) -> None:
        """Send the ACK of a 2xx. Send the same ACK again if the 2xx is repeated (RFC 3261
        §13.2.2.4).
        """
        ack = self._acks.get(response.cseq)
        if ack is None:
            self.dialog.refresh_target(response)
            # ACK cannot be challenged, so it has the credentials of its INVITE (RFC 3261 §13.2.2.4,
            # §22.1).
            answers = [(name, value) for name, value in invite.headers if name in AUTHORIZATION]
            branch = new_branch(self.context.tokens)
            ack = self.dialog.request(
                "ACK", self.context.party, branch, response.cseq, secrets=answers
            ).encode()
            self._acks = {**dict(list(self._acks.items())[-1:]), response.cseq: ack}
        self.context.transactions.send(ack)

    @property
    def has_agreed_early(self) -> bool:
        """Whether the audio is agreed before the call is answered, so that the peer may change
        it (RFC 3262 §5).
        """
        return self._last_rseq > 0 and self.media is not None

    def acknowledge_provisional(self, response: SipResponse, now_ns: int) -> bool:
        """Acknowledge a reliable provisional response by PRACK (RFC 3262 §4). Return False if it
        must be ignored.

        A repetition is ignored, and so is a response before which another one is missing.
        """
        # The first RSeq is any number, and each next one is higher by one (RFC 3262 §3, §4). A
        # response after a gap gets no PRACK, so that the peer repeats what was lost.
        number = whole_number(response.first("RSeq").strip(), 10)
        if number is None or (self._last_rseq and number != self._last_rseq + 1):
            return False
        self._last_rseq = number
        rack = ("RAck", f"{number} {response.cseq} {response.cseq_method}")
        self.request("PRACK", lambda answer, request, at_ns: None, now_ns, [rack])
        return True

    def confirm(self, response: SipResponse, invite: OutgoingRequest, now_ns: int) -> None:
        """Accept the 2xx of the caller's first INVITE."""
        self.state = "confirmed"
        self.note_peer(response)
        self.timer.accept(response, now_ns)
        self.acknowledge(response, invite)

    def request(
        self,
        method: str,
        heard: Callable[[SipResponse | None, OutgoingRequest, int], None],
        now_ns: int,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> None:
        """Send a request in the dialog. If the peer demands credentials, send it again with
        them.
        """
        kept = tuple(headers)
        remaining = MAX_CHALLENGED

        def send(now_ns: int) -> None:
            branch = new_branch(self.context.tokens)
            party = self.context.party
            uri = routed(self.dialog.target, self.dialog.routes)[0]
            answers = self.context.digest.headers(method, uri, self.context.tokens())
            request = self.dialog.request(method, party, branch, None, kept, body, secrets=answers)

            def receive(response: SipResponse | None, now_ns: int) -> None:
                nonlocal remaining
                # A challenge from a hop that only the peer named is no reason to compute a digest
                # for it.
                is_named = party.reach.is_named(request.to, request.transport)
                if response is not None and response.code in (401, 407) and remaining and is_named:
                    remaining -= 1
                    if self.context.digest.renewed(response):
                        send(now_ns)
                        return
                heard(response, request, now_ns)

            self.context.transactions.request(request, branch, receive, now_ns)

        send(now_ns)

    def bye(self, cause: str, now_ns: int, headers: Iterable[tuple[str, str]] = ()) -> None:
        """End the call from this side. `cause` is the reason."""
        if self.state in ("ending", "ended"):
            return
        self.state = "ending"
        self.end_cause = cause
        self.context.listener.leg_ending(self)

        def heard(response: SipResponse | None, request: OutgoingRequest, now_ns: int) -> None:
            if response is None or response.code >= 200:
                self.end(self.end_cause, response, now_ns)

        self.request("BYE", heard, now_ns, headers)

    def end(self, cause: str, message: SipMessage | None, now_ns: int) -> None:
        if self.state == "ended":
            return
        self.state = "ended"
        self.timer.stop()
        self.context.listener.leg_ended(self, cause, message, now_ns)

    def describe(self, write: Callable[[int], bytes]) -> bytes:
        """Return a description of this side. Its version increases if the description differs
        from the last one.
        """
        body = write(self._version)
        if body != self.described:
            self._version += 1
            body = write(self._version)
        self.described = body
        return body

    def offer(self, direction: Direction) -> bytes:
        return self.describe(lambda version: write_offer(self.context.media, version, direction))

    def send_invite(self, now_ns: int, direction: Direction | None = None) -> bool:
        """Send INVITE in the dialog, with an offer. Return whether it was sent."""
        return self._offer(_PendingOffer("INVITE", direction or self.direction), now_ns)

    def send_update(self, now_ns: int, direction: Direction | None = None) -> bool:
        """Send UPDATE. Without a direction, it only refreshes the session. Return whether it was
        sent.
        """
        return self._offer(_PendingOffer("UPDATE", direction), now_ns)

    # INVITE and UPDATE differ only in the ACK. All that follows a response (glare, a longer
    # interval, the new audio) is in `_offer_answered`, for both.
    def _offer(self, pending: _PendingOffer, now_ns: int) -> bool:
        if self.state != "confirmed" or self.pending is not None or self.offered_in_2xx is not None:
            return False
        self.pending = pending
        body = b"" if pending.direction is None else self.offer(pending.direction)
        self.request(
            pending.method,
            self._offer_answered,
            now_ns,
            timer_headers(self.context.session_interval_s),
            body,
        )
        return True

    def _offer_answered(
        self, response: SipResponse | None, request: OutgoingRequest, now_ns: int
    ) -> None:
        pending = self.pending
        if response is not None and response.code < 200:
            return
        if response is not None and response.code < 300:
            if request.method == "INVITE":
                is_repeated = response.cseq in self._acks
                self.acknowledge(response, request)
                # The 2xx was accepted before, and only its ACK was lost.
                if is_repeated:
                    return
            self.pending = None
            if self.state == "confirmed" and pending is not None:
                self._accept(response, pending, now_ns)
            return
        self.pending = None
        if self.state != "confirmed" or pending is None:
            return
        if response is None or response.code in (408, 481):
            self.bye(Cause(Code.UNANSWERED if response is None else Code.FORGOTTEN).text, now_ns)
        elif response.code == 491 and pending.glares < MAX_GLARES:
            # The limit is for a peer that answers 491 to each attempt.
            pending.glares += 1
            self._retry, self._retry_ns = pending, now_ns + self._glare_ns()
        elif (
            response.code == 422
            and (minimum := interval_of(response, "Min-SE"))
            and pending.glares < MAX_GLARES
        ):
            pending.glares += 1
            self.context.session_interval_s = max(minimum[0], self.context.session_interval_s or 0)
            self._offer(pending, now_ns)

    def _glare_ns(self) -> int:
        """Return the random time to wait after 491 (RFC 3261 §14.1). The side that made the
        Call-ID waits longer.
        """
        drawn = int(self.context.tokens()[:8], 16)
        first_ms, last_ms = (2_100, 4_000) if self.context.is_caller else (0, 2_000)
        return (first_ms + drawn % ((last_ms - first_ms) // 10 + 1) * 10) * NS_PER_MS

    def _accept(self, response: SipResponse, pending: _PendingOffer, now_ns: int) -> None:
        self.dialog.refresh_target(response)
        self.note_peer(response)
        self.timer.accept(response, now_ns)
        if pending.direction is None or not (description := description_of(response)):
            return  # without an answer to an offer, the audio remains as it was
        try:
            answer = parse_description(description)
            media = self.admit(accepted_answer(self.context.media, answer, pending.direction))
        except ValueError as error:
            self.bye(str(error), now_ns)
            return
        self.direction = pending.direction
        self.set_media(media)

    def admit(self, media: AgreedMedia) -> AgreedMedia:
        """Return agreed audio. Raise ValueError if the peer has named too many addresses for it."""
        if len(addresses := self._addresses | {media.peer, media.peer_rtcp}) > MAX_ADDRESSES:
            raise ValueError(f"the peer names more than {MAX_ADDRESSES} addresses for its audio")
        self._addresses = addresses
        return media

    def set_media(self, media: AgreedMedia) -> None:
        if media != self.media:
            self.media = media
            self.context.listener.media_changed(self)
