"""A telephone call from the caller's side (RFC 3261, user agent client), as a state machine. Pure.

The owner passes each datagram or framed message to `received`, calls `expire` when `next_ns` is
due, and sends what `pop_messages` returns. Instants and random tokens come from the owner.
"""

# The states follow the INVITE (RFC 3261 §13.2, §9.1, §15):
#
# NEW ──INVITE──▶ CALLING ──1xx──▶ PROCEEDING ──2xx, ACK──▶ ANSWERED ──BYE──▶ ENDING ──▶ ENDED
#                    └─────────────────┴──CANCEL──────────────────────────────▶ ENDING
#
# A 4xx, 5xx, or 6xx ends the call. Credentials (401, 407), a redirection (3xx), and a longer
# session interval (422) send a new INVITE instead, as a transaction of its own with the same
# Call-ID and the next CSeq, and the state is CALLING again.
#
# A proxy may fork the INVITE, so several peers may answer it. Each tag of To is a leg with its own
# dialog (§12.1, §13.2.2.4). The first 2xx has the call. A 2xx of another peer gets its ACK and then
# BYE, also after the end of the call: otherwise this peer repeats its 2xx for 32 s and holds a
# line.
#
# CANCEL and 2xx may cross (§9.1). A 2xx after CANCEL is acknowledged, and BYE follows. A call
# counts as ended if 64*T1 after CANCEL no final response has come, because a peer of RFC 2543 sends
# none.
#
# `SipCall` has neither sockets nor timers nor a clock. A message that was lost is repeated by
# `Transactions`, and the legs have the requests in a dialog.

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial

from bench.base.units import NEVER_NS
from bench.catalogue.causes import Cause, Code
from bench.files.sanitize import CONTROL
from bench.protocols.rtp.srtp import SrtpKey, without_keys
from bench.protocols.sdp.offer_answer import AgreedMedia, LocalMedia, accepted_answer, write_offer
from bench.protocols.sip.bodies import described_in, description_of
from bench.protocols.sip.call_record import CallEnding, CallSettings, CallState, EndedBy, ending_of
from bench.protocols.sip.dialog import (
    RELIABLE,
    Dialog,
    LocalParty,
    RandomTokens,
    contact_of,
    interval_of,
    new_branch,
    routed,
    routes_of,
    timer_headers,
)
from bench.protocols.sip.digest import DigestClient
from bench.protocols.sip.header_values import parse_address
from bench.protocols.sip.hops import ForeignHostError, Reach, Redirection, hop_of
from bench.protocols.sip.leg import CallLeg, LegContext
from bench.protocols.sip.leg_requests import answer_outside, answer_within, respond
from bench.protocols.sip.messages import (
    ALLOWED,
    SipMessage,
    SipRequest,
    SipResponse,
    accept_message,
)
from bench.protocols.sip.transactions import TIMEOUT_NS, ClientTransaction, Transactions
from bench.protocols.sip.transfer import Referral, notification, referral_of
from bench.wire.addresses import HostPort

MAX_LEGS = 10
"""The maximum number of peers (tags of To) that may answer one INVITE."""
MAX_INVITES = 12
"""The maximum number of INVITE to begin a call: after credentials, redirections and other
session intervals."""


class SipCall:
    """A call. It starts with `start`, and `ending` is set when it has ended.

    After the end, messages still go on until `is_confirmed`. A call with an address that is not
    valid raises ValueError.
    """

    names_foreign_host = False
    """True if the peer's answer names a host to which nothing may be sent."""

    def __init__(self, settings: CallSettings, tokens: RandomTokens) -> None:
        self.settings = settings
        self.state = CallState.NEW
        self.ringing_ns: int | None = None
        """The instant of the first 180 to the last INVITE; None if there was none."""
        self.answered_ns: int | None = None
        self.ended_ns: int | None = None
        self.ending: CallEnding | None = None
        self.early_media: AgreedMedia | None = None
        """The audio of a provisional response, before the call is answered."""
        self.media_problem = ""
        """Why the audio of the answer cannot be used; "" if it can."""
        self.response: SipResponse | None = None
        """The last response to INVITE until the call was answered."""
        self.call_id = tokens()
        self._tokens = tokens
        self.dropped: Counter[str] = Counter()
        """The numbers of messages that were ignored, by their kind."""
        self.invites = 0
        """The number of INVITE that began the call. Retransmissions do not count."""
        self._transactions = Transactions(self.dropped)
        self.pop_messages = self._transactions.pop_messages
        self.digest = DigestClient(settings.login)
        proxy = settings.outbound_proxy
        self.reach = Reach(
            hop_of(proxy or settings.request_uri, settings.transport),
            settings.address,
            settings.call_hosts,
            settings.is_own,
        )
        self._media = replace(
            settings.media, check_host=partial(self.reach.check, purpose="its audio")
        )
        self.redirection = Redirection(settings.request_uri, settings.transport, self.reach)
        self._local_tag = tokens()
        self._local = f"{settings.caller};tag={self._local_tag}"
        self._offer = write_offer(self._media, 1)
        self._outside = Dialog(
            self.call_id,
            self._local,
            self._local_tag,
            f"<{settings.request_uri}>",
            "",
            0,
            None,
            (f"<{proxy}>",) if proxy else (),
            settings.request_uri,
        )
        """The call before a peer has answered."""
        self._invite: ClientTransaction | None = None
        self._legs: dict[str, CallLeg] = {}
        self._answered: CallLeg | None = None
        self._is_cancelled = False
        self._is_cancel_sent = False
        self._ended_by: EndedBy = "caller"
        self.referral: Referral | None = None
        """The target to which the peer transfers the call, until `report_transfer` is final."""
        self._ring_end_ns = NEVER_NS
        party = self._party()
        caller = parse_address(settings.caller).uri
        for uri in (settings.request_uri, caller, party.contact, proxy or settings.request_uri):
            hop_of(uri, settings.transport)
        texts = (
            settings.product,
            settings.caller,
            *(text for header in settings.headers for text in header),
        )
        if any(CONTROL.search(text) for text in texts):
            raise ValueError("a header is not valid: it contains a control character")
        self._context = LegContext(
            party,
            self._transactions,
            tokens,
            self._media,
            self,
            self.digest,
            True,
            settings.session_interval_s,
            self._referred,
        )

    def _party(self) -> LocalParty:
        settings = self.settings
        parameters = (
            "" if settings.transport == "UDP" else f";transport={settings.transport.lower()}"
        )
        scheme = "sips" if settings.request_uri.lower().startswith("sips:") else "sip"
        contact = f"{scheme}:rtbench@{settings.sent_by}{parameters}"
        return LocalParty(
            settings.sent_by, settings.transport, contact, settings.product, reach=self.reach
        )

    @property
    def media(self) -> AgreedMedia | None:
        """The audio of the answered call. None if no audio was agreed."""
        return self._answered.media if self._answered is not None else None

    @property
    def hang_up_cause(self) -> str:
        """Why this side ends the answered call; "" if it does not, or if its user does."""
        cause = self._answered.end_cause if self._answered is not None else ""
        return without_keys(cause, self.keys) if cause else ""

    @property
    def keys(self) -> tuple[SrtpKey, ...]:
        """The SRTP keys of the call. No text may contain them."""
        received = (leg.media.receive_key for leg in self._legs.values() if leg.media is not None)
        return (*self._media.keys, *(key for key in received if key is not None))

    @property
    def next_ns(self) -> int:
        """The instant at which `expire` is due. NEVER_NS if nothing is due."""
        legs = min((leg.next_ns for leg in self._legs.values()), default=NEVER_NS)
        return min(legs, self._ring_end_ns, self._transactions.next_ns)

    @property
    def is_confirmed(self) -> bool:
        """Whether the call has ended, and this side needs no further response of the peer."""
        return self.state is CallState.ENDED and self._transactions.are_final

    def awaits(self, hop: HostPort) -> bool:
        """Return whether the last INVITE went to this hop, and has no response."""
        invite = self._invite
        return (
            invite is not None
            and not (invite.is_provisional or invite.is_final)
            and invite.request.encode().hop == hop
        )

    def start(self, now_ns: int) -> None:
        """Send INVITE."""
        self.state = CallState.CALLING
        self._ring_end_ns = now_ns + self.settings.ring_timeout_ns
        self._send_invite(now_ns)

    def received(self, data: bytes, now_ns: int, source: HostPort | None = None) -> None:
        """Accept a message of the peer. A malformed message is counted and ignored."""
        message = accept_message(data, self.dropped)
        if message is None:
            return
        if message.call_id != self.call_id:
            self.dropped["other calls"] += 1
        elif isinstance(message, SipResponse):
            self._transactions.response_received(message, now_ns)
        else:
            self._request_received(message, source, now_ns)

    def expire(self, now_ns: int) -> None:
        """Do what is due: repeat messages, refresh the session, and end what timed out."""
        self._transactions.expire(now_ns)
        for leg in list(self._legs.values()):
            leg.expire(now_ns)
        if self._ring_end_ns <= now_ns:
            self._ring_end_ns = NEVER_NS
            # the response to the cancelled INVITE is missing (RFC 3261 §9.1)
            if self._is_cancelled:
                self._end(self._ended_by, None, now_ns)
            elif self.state in (CallState.CALLING, CallState.PROCEEDING):
                self._cancel("timeout", now_ns)

    def hang_up(self, now_ns: int) -> None:
        """End the call: with BYE if it is answered, otherwise with CANCEL."""
        if self.state is CallState.ANSWERED and self._answered is not None:
            self._answered.bye("", now_ns)
        elif self.state is CallState.NEW:
            self._end("caller", None, now_ns)
        elif self.state in (CallState.CALLING, CallState.PROCEEDING):
            self._cancel("caller", now_ns)

    def transport_failed(self, now_ns: int, reason: str) -> None:
        """End the call, because its messages can no longer be sent or received."""
        if self.state is not CallState.ENDED:
            cause = self.hang_up_cause
            self._end("caller" if cause else "transport", None, now_ns, cause or reason)
        self._transactions.stop()

    # INVITE and its responses

    # Each attempt is a new request. The legs of the last one are forgotten, because a final
    # response other than 2xx ends all its early dialogs (RFC 3261 §12.3), and `ringing_ns` is that
    # of the attempt that succeeds.
    def _send_invite(self, now_ns: int) -> None:
        self.invites += 1
        self.ringing_ns = None
        headers = [
            ("Allow", ", ".join((*ALLOWED, "REFER"))),
            ("Supported", f"timer, {RELIABLE}"),
            *timer_headers(self._context.session_interval_s),
        ]
        secrets: Sequence[tuple[str, str]] = ()
        if not self.redirection.is_elsewhere:
            uri = routed(self._outside.target, self._outside.routes)[0]
            secrets = (*self.settings.headers, *self.digest.headers("INVITE", uri, self._tokens()))
        branch = new_branch(self._tokens)
        request = self._outside.request(
            "INVITE", self._context.party, branch, None, headers, self._offer, secrets
        )
        self._legs.clear()
        self._invite = self._transactions.request(request, branch, self._invite_heard, now_ns)

    def _invite_heard(self, response: SipResponse | None, now_ns: int) -> None:
        if response is not None and self._answered is None:
            self.response = response
        if response is not None and 200 <= response.code < 300:
            self._accepted(response, now_ns)
        elif self.state is CallState.ENDED:
            return
        elif response is None:
            self._end(self._ended_by if self._is_cancelled else "timeout", None, now_ns)
        elif response.code < 200:
            self._provisional(response, now_ns)
        else:
            self._refused(response, now_ns)

    def _provisional(self, response: SipResponse, now_ns: int) -> None:
        if response.code == 180 and self.ringing_ns is None:
            self.ringing_ns = now_ns
        if self.state is CallState.CALLING:
            self.state = CallState.PROCEEDING
        if self._is_cancelled:
            self._send_cancel(now_ns)
        tag = response.callee.tag
        if response.code == 100 or not tag:
            return
        leg = self._legs.get(tag)
        if leg is None and len(self._legs) < MAX_LEGS:
            leg = self._legs[tag] = CallLeg(self._context, self._dialog_of(response), self._offer)
        # A provisional response that arrives after the 2xx of its peer changes nothing.
        if leg is None or leg.state != "early":
            return
        if RELIABLE in response.tokens("Require") and not leg.acknowledge_provisional(
            response, now_ns
        ):
            return
        if response.body:
            with suppress(ValueError):  # the 2xx decides
                leg.media = self.early_media = accepted_answer(self._media, described_in(response))

    def _dialog_of(self, response: SipResponse) -> Dialog:
        """Return the dialog that a response to INVITE makes. Its route set is reversed (RFC 3261
        §12.1.2).
        """
        return Dialog(
            self.call_id,
            self._local,
            self._local_tag,
            response.first("To"),
            response.callee.tag,
            self._outside.local_cseq,
            None,
            routes_of(response)[::-1],
            contact_of(response) or self._outside.target,
        )

    def _accepted(self, response: SipResponse, now_ns: int) -> None:
        """Acknowledge a 2xx. The first peer that accepts has the call, and each further one is
        hung up.
        """
        assert self._invite is not None
        invite = self._invite.request
        tag = response.callee.tag
        leg = self._legs.get(tag)
        if leg is not None and leg.is_acknowledged:
            leg.acknowledge(response, invite)
            return
        dialog = self._dialog_of(response)
        if leg is not None:  # the 2xx decides on target and route (RFC 3261 §13.2.2.4)
            dialog.local_cseq = leg.dialog.local_cseq
            dialog.remote_cseq = leg.dialog.remote_cseq
            leg.dialog = dialog
        else:
            if len(self._legs) >= MAX_LEGS:
                early = next(
                    (key for key, each in self._legs.items() if each.state == "early"), None
                )
                if early is None:
                    self.dropped["forks"] += 1
                    return
                del self._legs[early]
            leg = self._legs[tag] = CallLeg(self._context, dialog, self._offer)
        leg.confirm(response, invite, now_ns)
        if self._answered is not None or self.state is CallState.ENDED:
            leg.bye("fork", now_ns)
            return
        # The call is answered from here on, even if its audio cannot be used: the peer has accepted
        # it, and only BYE releases it.
        self._answered = leg
        self._ring_end_ns = NEVER_NS
        self.answered_ns = now_ns
        if self._is_cancelled:
            leg.bye("", now_ns)
            return
        self.state = CallState.ANSWERED
        try:
            self.reach.check(leg.dialog.peer_hop(self._context.party)[0].host, "its requests")
            if leg.media is None or description_of(response):
                leg.media = leg.admit(accepted_answer(self._media, described_in(response)))
        except ValueError as error:
            self.media_problem = without_keys(str(error), self.keys)
            self.names_foreign_host = isinstance(error, ForeignHostError)
            leg.bye(self.media_problem, now_ns)

    def _refused(self, response: SipResponse, now_ns: int) -> None:
        """Send INVITE again if the response asks for it and allows it. Otherwise the call has
        ended.
        """
        if self._is_cancelled:
            self._end(self._ended_by, response, now_ns)
            return
        cause = ""
        may_repeat = False
        if response.code in (401, 407):
            if self.redirection.is_elsewhere:
                redirected = Cause(Code.REDIRECTED, {"host": self.redirection.last}).text
                cause = f"{redirected}, which gets no headers and no credentials"
            else:
                may_repeat = self.digest.challenged(response)
                cause = "" if may_repeat else self.digest.refusal
        elif response.code < 400:
            target, cause = self.redirection.next(response)
            if target is not None:
                self._outside.target = target
                may_repeat = True
                self.digest.forget(None if self.redirection.is_elsewhere else self.settings.login)
        elif response.code == 422 and (minimum := interval_of(response, "Min-SE")):
            # The retry must ask for at least the interval that the peer requires (RFC 4028 §7.3). A
            # peer that asks for no more than it got would refuse each retry.
            may_repeat = minimum[0] > (self._context.session_interval_s or 0)
            self._context.session_interval_s = minimum[0]
        if may_repeat and self.invites < MAX_INVITES:
            self.state = CallState.CALLING
            self._send_invite(now_ns)
        else:
            self._end("peer", response, now_ns, cause)

    # The end

    def _cancel(self, by: EndedBy, now_ns: int) -> None:
        """Cancel the call. CANCEL may be sent only after a provisional response (RFC 3261 §9.1)."""
        is_proceeding = self.state is CallState.PROCEEDING
        self._is_cancelled = True
        self._ended_by = by
        self.state = CallState.ENDING
        self._ring_end_ns = NEVER_NS
        if is_proceeding:
            self._send_cancel(now_ns)

    def _send_cancel(self, now_ns: int) -> None:
        if self._invite is None or self._is_cancel_sent:
            return
        self._is_cancel_sent = True
        invite = self._invite.request
        cancel = invite.hop_request("CANCEL", invite.header("To"))
        self._transactions.request(
            cancel, self._invite.branch, lambda response, at_ns: None, now_ns
        )
        self._ring_end_ns = now_ns + TIMEOUT_NS

    def leg_ending(self, leg: CallLeg) -> None:
        if leg is self._answered and self.state is not CallState.ENDED:
            self.state = CallState.ENDING

    def leg_ended(self, leg: CallLeg, cause: str, message: SipMessage | None, now_ns: int) -> None:
        if leg is not self._answered or self.state is CallState.ENDED:
            return
        if cause == "peer":
            self._end("peer", message, now_ns)
        else:
            self._end(self._ended_by, None, now_ns, cause)

    def media_changed(self, leg: CallLeg) -> None:
        """Do nothing: the owner compares `media`."""

    def _end(self, by: EndedBy, message: SipMessage | None, now_ns: int, cause: str = "") -> None:
        self.state = CallState.ENDED
        self.ended_ns = now_ns
        self._ring_end_ns = NEVER_NS
        self.ending = ending_of(by, message, cause, self.keys)
        # A leg with a 2xx remains, because the peer may repeat the 2xx, or send BYE itself.
        self._legs = {tag: leg for tag, leg in self._legs.items() if leg.state != "early"}
        if self._invite is not None and not self._invite.is_final:
            self._invite.end_ns = now_ns + TIMEOUT_NS  # a late 2xx still needs ACK and BYE

    # Transfers

    def _referred(self, leg: CallLeg, request: SipRequest) -> int:
        """Return the status of a REFER: 202 if the call is transferred."""
        if leg is not self._answered or self.referral is not None:
            return 603
        try:
            referral = referral_of(request)
            called = hop_of(self.settings.request_uri, self.settings.transport)[0]
            hop = hop_of(referral.uri, self.settings.transport)
        except ValueError:
            return 400
        if not self.reach.may_redirect(*hop, called):
            return 603
        self.referral = referral
        return 202

    def transferred(self, media: LocalMedia, tokens: RandomTokens) -> SipCall:
        """Return the call to the target of the transfer. Without an outbound proxy, it gets no
        credentials and no headers, because only the peer has named it.
        """
        settings, referral = self.settings, self.referral
        assert referral is not None, "the call is transferred"
        headers = settings.headers if settings.outbound_proxy else ()
        if referral.replaces:
            headers += (("Require", "replaces"), ("Replaces", referral.replaces))
        login = settings.login if settings.outbound_proxy else None
        address = settings.address if settings.outbound_proxy else ""
        return SipCall(
            replace(
                settings,
                request_uri=referral.uri,
                media=media,
                headers=headers,
                login=login,
                address=address,
            ),
            tokens,
        )

    def report_transfer(self, status: str, now_ns: int, *, is_final: bool = True) -> None:
        """Report to the peer what became of the transfer."""
        if self._answered is not None and self._answered.state == "confirmed":
            party = self._context.party
            parts = notification(status, is_final=is_final, contact=party.contact)
            self._answered.request("NOTIFY", lambda response, request, at_ns: None, now_ns, *parts)
        if is_final:
            self.referral = None

    # Requests of the peer

    def _request_received(self, request: SipRequest, source: HostPort | None, now_ns: int) -> None:
        transaction = self._transactions.request_received(request, source, now_ns)
        if transaction is None:
            return
        leg = next((each for each in self._legs.values() if each.dialog.matches(request)), None)
        if request.method == "CANCEL" and self._transactions.invite_of(request) is not None:
            # An INVITE in the dialog is answered at once, so the CANCEL has no effect (RFC 3261
            # §9.2).
            respond(
                self._transactions, self._context.party, transaction, 200, self._local_tag, now_ns
            )
        elif leg is not None and request.method != "CANCEL":
            answer_within(leg, transaction, now_ns)
        else:
            answer_outside(
                self._transactions, self._context.party, transaction, self._local_tag, now_ns
            )
