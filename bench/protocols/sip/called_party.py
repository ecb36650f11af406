"""A telephone call that is received (RFC 3261, user agent server), as a state machine. Pure."""

# The call is a user agent server with a plan (`AnswerPlan`), whose steps are due after the INVITE:
#
# INVITE ─▶ 100, 180, 183 as planned ─▶ 2xx ─▶ ACK ─▶ planned requests ─▶ BYE of either side
#              └─▶ CANCEL: 487      └─▶ refusal, ACK
#
# Before the ACK, the caller's address gets only what SIP requires, because only a caller that
# really receives the answer knows its tag (README.md, "Callers whose address may be forged").
# Therefore `acknowledged_ns` starts the planned requests and the agent, and a call without an ACK
# ends silently.
#
# A caller that was challenged or refused may send INVITE again with the same Call-ID, so the state
# before the answer is made again by each INVITE that begins the call.

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from bench.base.units import NEVER_NS, NS_PER_S
from bench.catalogue.causes import Cause, Code
from bench.protocols.sdp.offer_answer import AgreedMedia, answer_to, write_offer
from bench.protocols.sdp.sdp import parse_description
from bench.protocols.sip.answer_plan import AnswerPlan, LoginCheck, PlannedRequest
from bench.protocols.sip.bodies import description_of
from bench.protocols.sip.call_record import CallEnding, EndedBy, ending_of
from bench.protocols.sip.dialog import (
    CAPABILITIES,
    Dialog,
    LocalParty,
    RandomTokens,
    contact_of,
    routes_of,
)
from bench.protocols.sip.digest import DigestClient
from bench.protocols.sip.leg import BUSY_NS, CallLeg, LegContext
from bench.protocols.sip.leg_requests import answer_outside, answer_within, refusal_of, respond
from bench.protocols.sip.messages import Outgoing, SipMessage, SipRequest
from bench.protocols.sip.transactions import ServerTransaction, Transactions
from bench.wire.addresses import HostPort, is_loopback

ACK_WAIT_NS = 3 * NS_PER_S
"""The time in which a final response to INVITE is repeated (twice), and after which a call without
an ACK has ended.

RFC 3261 repeats it ten times in 32 s, and then sends BYE. The source of an INVITE over UDP may be
forged, and this side must not send such a source many times the bytes that it received.
"""


@dataclass(slots=True)
class _Step:
    at_ns: int
    run: Callable[[int], None]


class CalledParty:
    """A call. `answered_ns` and `ended_ns` are None until the call is answered or has ended."""

    def __init__(
        self,
        plan_of: Callable[[SipRequest], AnswerPlan],
        party: LocalParty,
        check: LoginCheck,
        tokens: RandomTokens,
        dropped: Counter[str],
        is_own: Callable[[str], bool] = is_loopback,
    ) -> None:
        self._plan_of = plan_of
        self._is_own = is_own
        self._party = party
        self._check = check
        self._tokens = tokens
        self.transactions = Transactions(dropped, ACK_WAIT_NS)
        self._tag = tokens()
        self._plan: AnswerPlan | None = None
        self._invite: ServerTransaction | None = None
        self._answer = b""
        self._steps: list[_Step] = []
        self._requests: list[PlannedRequest] = []
        self._requests_start_ns: int | None = None
        self._busy_until_ns = 0
        self.leg: CallLeg | None = None
        self.code: int | None = None
        """The status code of the final response to INVITE, other than a challenge."""
        self.invited_ns: int | None = None
        self.answered_ns: int | None = None
        self.acknowledged_ns: int | None = None
        self.ended_ns: int | None = None
        self.ending: CallEnding | None = None
        """Why an answered call has ended; None until then."""
        self.media_changes = 0

    @property
    def media(self) -> AgreedMedia | None:
        return self.leg.media if self.leg is not None else None

    @property
    def caller(self) -> HostPort | None:
        """The address that INVITE came from, to which everything of the call is sent. None if it
        is unknown.
        """
        return self._invite.source if self._invite is not None else None

    @property
    def caller_uri(self) -> str:
        """The URI in From; "" before the INVITE."""
        return self._invite.request.caller.uri if self._invite is not None else ""

    @property
    def is_playing(self) -> bool:
        """Whether the call has begun, and has not ended."""
        return self.invited_ns is not None and self.ended_ns is None

    @property
    def is_reachable(self) -> bool:
        """Whether INVITE certainly came from the address of the caller: over a connection, or
        from this machine.
        """
        is_local = self.caller is not None and is_loopback(self.caller.host)
        return is_local or self._party.transport != "UDP"

    def addressed(self, message: Outgoing) -> Outgoing:
        """Return a message with its destination. Contact and Record-Route may name any host, as
        the body may.
        """
        if self.caller is None or message.is_response:
            return message
        return message._replace(to=self.caller, transport=self._party.transport)

    def audio_address(self, named: HostPort) -> HostPort:
        """Return the address to which RTP or RTCP is sent: the port that the caller names, on the
        caller's host.

        All addresses of this machine are of one host.
        """
        if self.caller is None or (self._is_own(self.caller.host) and self._is_own(named.host)):
            return named
        return HostPort(self.caller.host, named.port)

    @property
    def next_ns(self) -> int:
        """The instant at which `expire` is due. NEVER_NS if nothing is due."""
        due = min((step.at_ns for step in self._steps), default=NEVER_NS)
        return min(
            due,
            self._requests_due_ns,
            self.leg.next_ns if self.leg is not None else NEVER_NS,
            self.transactions.next_ns,
        )

    @property
    def _requests_due_ns(self) -> int:
        if not self._requests or self._requests_start_ns is None:
            return NEVER_NS
        return max(self._requests_start_ns + self._requests[0].after_ns, self._busy_until_ns)

    @property
    def is_finished(self) -> bool:
        """Whether the call is over, or never began, and no message of it needs an answer any
        more.
        """
        is_over = self.ended_ns is not None or self.invited_ns is None
        return is_over and self.transactions.next_ns == NEVER_NS

    def received(self, request: SipRequest, source: HostPort | None, now_ns: int) -> None:
        """Accept a request of the caller."""
        transaction = self.transactions.request_received(request, source, now_ns)
        if transaction is None:
            return
        if request.method == "CANCEL":
            self._cancelled(transaction, now_ns)
        elif self.leg is not None and self.leg.dialog.matches(request):
            answer_within(self.leg, transaction, now_ns)
            is_acknowledged = self._invite is not None and self._invite.is_acknowledged
            if self.answered_ns is not None and self.acknowledged_ns is None and is_acknowledged:
                self.acknowledged_ns = self._requests_start_ns = now_ns
        elif request.method == "INVITE" and not request.callee.tag and self._may_begin(request):
            self._invited(transaction, now_ns)
        else:
            answer_outside(self.transactions, self._party, transaction, self._tag, now_ns)

    def expire(self, now_ns: int) -> None:
        """Do what is due."""
        for step in sorted(
            (step for step in self._steps if step.at_ns <= now_ns), key=lambda step: step.at_ns
        ):
            if step in self._steps:
                self._steps.remove(step)
                step.run(now_ns)
        self.transactions.expire(now_ns)
        while self._requests_due_ns <= now_ns:
            if self._send_planned(self._requests[0], now_ns):
                del self._requests[:1]
            else:
                self._busy_until_ns = now_ns + BUSY_NS
        if self.leg is not None:
            self.leg.expire(now_ns)

    def request(self, now_ns: int, *requests: PlannedRequest) -> None:
        """Plan further requests. Their `after_ns` starts now, or at the ACK if there was none
        yet.
        """
        since_ns = 0 if self._requests_start_ns is None else now_ns - self._requests_start_ns
        self._requests += (replace(each, after_ns=each.after_ns + since_ns) for each in requests)
        self._requests.sort(key=lambda planned: planned.after_ns)

    def move_media(self, port: int) -> None:
        """Name another port of RTP from the next offer or answer on."""
        assert self.leg is not None, "the call is answered"
        self.leg.context.media = replace(self.leg.context.media, port=port)

    def hang_up(self, now_ns: int, reason: str = "") -> None:
        """End the call: with BYE if it is answered, otherwise with 480. BYE waits for the ACK
        (RFC 3261 §15).
        """
        if self.invited_ns is None or self.ended_ns is not None:
            return
        if self.answered_ns is None:
            self._finish(480, now_ns)
        elif self.acknowledged_ns is None:
            self._requests = [PlannedRequest(0, "BYE", reason=reason)]
        elif self.leg is not None:
            self.leg.bye("", now_ns, [("Reason", reason)] if reason else [])

    # INVITE

    def _may_begin(self, request: SipRequest) -> bool:
        """Return whether an INVITE begins the call. After a refusal or redirection, the caller
        may call again.
        """
        if self._invite is None:
            return True
        is_refused = self.ended_ns is not None and self.answered_ns is None
        return is_refused and request.cseq > self._invite.request.cseq

    def _invited(self, transaction: ServerTransaction, now_ns: int) -> None:
        request = transaction.request
        if refusal := refusal_of(request):
            self._respond(transaction, refusal[0], now_ns, refusal[1])
            return
        contact = contact_of(request)
        if contact is None:
            self._respond(transaction, 400, now_ns)
            return
        plan = self._plan_of(request)
        if plan.demand is not None and (challenge := self._check.challenge(plan.demand, request)):
            self._respond(transaction, plan.demand.code, now_ns, [challenge])
            return
        self._plan = plan
        self._invite = transaction
        self.invited_ns = now_ns
        self._party = replace(self._party, transport=request.via.transport)
        self.code = self.ended_ns = None
        self._requests = sorted(plan.requests, key=lambda planned: planned.after_ns)
        to = f"{request.first('To')};tag={self._tag}"
        dialog = Dialog(
            request.call_id,
            to,
            self._tag,
            request.first("From"),
            request.caller.tag,
            0,
            request.cseq,
            routes_of(request),
            contact,
        )
        context = LegContext(
            self._party,
            self.transactions,
            self._tokens,
            plan.media,
            self,
            DigestClient(None),
            False,
            plan.session_interval_s,
        )
        self.leg = CallLeg(context, dialog, b"")
        self.leg.note_peer(request)
        try:
            self._describe(self.leg, request)
        except ValueError:
            self._finish(488, now_ns)
            return
        self._schedule(plan, now_ns)

    def _describe(self, leg: CallLeg, request: SipRequest) -> None:
        """Make the answer to the offer of INVITE. Without an offer, make an offer.

        The audio of the call is encrypted if the offer has a key. This does not change during the
        call.
        """
        context = leg.context
        description = description_of(request)
        offer = parse_description(description) if description else None
        if offer is None or offer.sdes_audio is None:
            context.media = replace(context.media, keys=())
        if offer is not None:
            self._answer, leg.media = answer_to(context.media, offer, 1)
            self._fix_codec(leg.media)
        else:
            self._answer = write_offer(context.media, 1)
        leg.described = self._answer

    def _schedule(self, plan: AnswerPlan, now_ns: int) -> None:
        body = self._answer if self.media is not None else b""
        # A ring tone of the caller's own device follows 180, and audio of this side 183 with a
        # description (RFC 3960 §3.2).
        provisional = (
            (plan.trying_ns, 100, b""),
            (plan.ringing_ns, 180, b""),
            (plan.early_media_ns, 183, body),
        )
        for after_ns, code, text in provisional:
            if after_ns is not None:
                self._steps.append(_Step(now_ns + after_ns, self._provisional(code, text)))
        if plan.final_ns is not None:
            final = (
                self._accept
                if 200 <= plan.code < 300
                else lambda at_ns: self._finish(plan.code, at_ns)
            )
            self._steps.append(_Step(now_ns + plan.final_ns, final))
        else:
            self._steps.append(
                _Step(now_ns + plan.max_ring_ns, lambda at_ns: self._finish(480, at_ns))
            )

    def _provisional(self, code: int, body: bytes) -> Callable[[int], None]:
        def send(now_ns: int) -> None:
            assert self._invite is not None
            headers = [] if code == 100 else [("Contact", f"<{self._party.contact}>")]
            self._respond(self._invite, code, now_ns, headers, body)

        return send

    def _accept(self, now_ns: int) -> None:
        assert self._plan is not None
        assert self._invite is not None
        assert self.leg is not None
        self._steps.clear()
        invite = self._invite
        leg = self.leg
        self.code = self._plan.code
        self.answered_ns = now_ns
        leg.state = "confirmed"
        # The INVITE had no offer: this side offers in the 2xx, and the ACK has the answer (RFC 3261
        # §13.2.1).
        if leg.media is None:
            leg.offered_in_2xx = invite.request.cseq
        timer = leg.timer.answer(invite.request, self._plan.session_interval_s, now_ns)
        invite.unacknowledged = lambda at_ns: leg.end(
            Cause(Code.NO_ACK).text, None, at_ns
        )  # without BYE, as to a forged source
        headers = [
            ("Contact", f"<{self._party.contact}>"),
            *CAPABILITIES,
            *timer,
            *self._plan.headers,
        ]
        self._respond(invite, self._plan.code, now_ns, headers, self._answer, self._plan.phrase)
        if leg.media is None and not self.is_reachable:
            invite.resend_ns = NEVER_NS  # the offer is many times as long as an INVITE without one
        end_ns = now_ns + self._plan.max_duration_ns
        self._steps.append(
            _Step(end_ns, lambda at_ns: leg.bye("the call has lasted too long", at_ns))
        )

    def _finish(self, code: int, now_ns: int) -> None:
        """Refuse the call."""
        assert self._invite is not None
        self._steps.clear()
        self._requests.clear()
        self.code = code
        self.ended_ns = now_ns
        headers = []
        phrase = ""
        if self._plan is not None and code == self._plan.code:
            phrase = self._plan.phrase
            headers = list(self._plan.headers)
            if self._plan.retry_after_s is not None:
                headers.append(("Retry-After", str(self._plan.retry_after_s)))
        self._respond(self._invite, code, now_ns, headers, phrase=phrase)
        if self.leg is not None:
            self.leg.state = "ended"

    def _cancelled(self, transaction: ServerTransaction, now_ns: int) -> None:
        invite = self.transactions.invite_of(transaction.request)
        self._respond(transaction, 481 if invite is None else 200, now_ns)
        # A CANCEL that comes after the final response changes nothing (RFC 3261 §9.2).
        if invite is not None and invite is self._invite and invite.code < 200:
            self._finish(487, now_ns)

    def _respond(
        self,
        transaction: ServerTransaction,
        code: int,
        now_ns: int,
        headers: list[tuple[str, str]] | tuple[()] = (),
        body: bytes = b"",
        phrase: str = "",
    ) -> None:
        respond(
            self.transactions,
            self._party,
            transaction,
            code,
            self._tag,
            now_ns,
            headers,
            body,
            phrase,
        )

    # The dialog

    def _send_planned(self, planned: PlannedRequest, now_ns: int) -> bool:
        """Send a planned request. Return False if another one has no final response yet."""
        assert self.leg is not None
        if planned.method == "BYE":
            self.leg.bye("", now_ns, [("Reason", planned.reason)] if planned.reason else [])
            return True
        send = self.leg.send_invite if planned.method == "INVITE" else self.leg.send_update
        return send(now_ns, planned.direction)

    def leg_ending(self, leg: CallLeg) -> None:
        self._steps.clear()
        self._requests.clear()

    def leg_ended(self, leg: CallLeg, cause: str, message: SipMessage | None, now_ns: int) -> None:
        if self.answered_ns is None and self._invite is not None and self._invite.code < 200:
            self._finish(487, now_ns)  # BYE in an early dialog
        self._steps.clear()
        self._requests.clear()
        self.ended_ns = now_ns
        by: EndedBy = "peer" if cause == "peer" else "caller"
        self.ending = ending_of(by, message, "" if by == "peer" else cause)

    def media_changed(self, leg: CallLeg) -> None:
        self.media_changes += 1
        if leg.media is not None:
            self._fix_codec(leg.media)

    def _fix_codec(self, media: AgreedMedia) -> None:
        """Accept and offer only the codec of the agreement in the rest of the call, because the
        agent has one codec.
        """
        assert self.leg is not None, "an offer was received"
        self.leg.context.media = replace(self.leg.context.media, codecs=(media.codec,))
