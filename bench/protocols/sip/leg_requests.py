"""The answers of a leg to the requests that the peer sends in the dialog (RFC 3261 §12.2.2,
§14.2, §15.1.2). Pure.
"""

# Every request of the peer gets exactly one final response, at once, except ACK. The order of the
# checks is that of RFC 3261 §8.2 and §12.2.2: the sequence number, then BYE, which always succeeds,
# then limits and the state of the leg, then method, extensions and body (`refusal_of`), and then
# the offer. A refused request changes neither the audio nor the session.
#
# `Transactions` has removed repetitions before, so a repeated request with side effects does not
# come here. The caller and the simulated called party use the same code.

from collections.abc import Sequence

from bench.catalogue.causes import Cause, Code
from bench.protocols.sdp.offer_answer import accepted_answer, answer_to
from bench.protocols.sdp.sdp import parse_description
from bench.protocols.sip.bodies import SDP, described_in, description_of, has_unknown_body
from bench.protocols.sip.dialog import (
    CAPABILITIES,
    EXTENSIONS,
    MIN_INTERVAL_S,
    LocalParty,
    is_too_small,
)
from bench.protocols.sip.leg import CallLeg
from bench.protocols.sip.messages import KNOWN_METHODS, SipRequest, write_response
from bench.protocols.sip.transactions import ServerTransaction, Transactions

MAX_REQUESTS = 1_000
"""The maximum number of requests that a call answers. It answers BYE even then."""
ACCEPTED = f"{SDP}, multipart/mixed"


def respond(
    transactions: Transactions,
    party: LocalParty,
    transaction: ServerTransaction,
    code: int,
    tag: str,
    now_ns: int,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    phrase: str = "",
) -> None:
    added = [*headers, *party.headers, ("Server", party.product)]
    if body:
        added.append(("Content-Type", SDP))
    response = write_response(
        transaction.request, code, tag, transaction.source, added, body, phrase
    )
    # the peer's Via must not lead a description with keys to another transport
    if party.transport == "TLS":
        response = response._replace(transport="TLS")
    transactions.send(transaction.respond(code, response, now_ns))


# RFC 3261 §8.2.1 (405 with Allow), §8.2.2.3 (420 with Unsupported), §8.2.3 (415 with Accept),
# §21.5.2 (501); RFC 6086 §4.2.2 (469 with Recv-Info); RFC 4028 §6 (422 with Min-SE).
def refusal_of(request: SipRequest) -> tuple[int, list[tuple[str, str]]] | None:
    """Return the response to a request that cannot be processed (RFC 3261 §8.2). Return None if
    it can.
    """
    if request.method not in KNOWN_METHODS:
        return 501, []
    if request.method in ("MESSAGE", "PRACK", "PUBLISH", "REFER", "REGISTER", "SUBSCRIBE"):
        return 405, [CAPABILITIES[0]]
    if request.method == "NOTIFY":
        return 481, []  # no subscription exists (RFC 6665 §4.1.3)
    required = [name for name in request.tokens("Require") if name not in EXTENSIONS]
    # No side answers ACK, and a CANCEL that is refused would leave a call (RFC 3261 §8.2.2.3).
    if required and request.method not in ("ACK", "CANCEL"):
        return 420, [("Unsupported", ", ".join(required))]
    if request.method == "INFO" and request.headers.get("Info-Package") is not None:
        return 469, [("Recv-Info", "")]
    is_unknown = (
        has_unknown_body(request)
        if request.method in ("INVITE", "UPDATE")
        else request.method == "INFO"
    )
    if request.body and is_unknown:
        return 415, [("Accept", ACCEPTED), ("Accept-Encoding", "identity")]
    if request.method in ("INVITE", "UPDATE") and is_too_small(request):
        return 422, [("Min-SE", str(MIN_INTERVAL_S))]
    return None


def answer_within(leg: CallLeg, transaction: ServerTransaction, now_ns: int) -> None:
    """Answer a request of the peer that belongs to the dialog."""
    request = transaction.request
    if request.method == "ACK":
        _acknowledged(leg, request, now_ns)
        return
    if leg.dialog.remote_cseq is not None and request.cseq < leg.dialog.remote_cseq:
        # The request is older than one that was answered, and was overtaken on the way (RFC 3261
        # §12.2.2).
        _respond(leg, transaction, 500, now_ns)
        return
    leg.dialog.remote_cseq = request.cseq
    leg.requests_received += 1
    if request.method == "BYE":
        _respond(leg, transaction, 200, now_ns)
        # the peer received them, although an ACK was lost
        for each in leg.context.transactions.unacknowledged_2xx():
            each.acknowledge(now_ns)
        if leg.state != "ending":
            leg.end("peer", request, now_ns)
    elif leg.requests_received > MAX_REQUESTS:
        leg.context.transactions.dropped["requests"] += 1
        _respond(leg, transaction, 503, now_ns)
    elif leg.state in ("ending", "ended"):
        _respond(leg, transaction, 481, now_ns)
    elif request.method == "REFER" and leg.context.refer is not None:
        contact = ("Contact", f"<{leg.context.party.contact}>")
        _respond(leg, transaction, leg.context.refer(leg, request), now_ns, [contact])
    elif refusal := refusal_of(request):
        _respond(leg, transaction, refusal[0], now_ns, refusal[1])
    elif request.method in ("INVITE", "UPDATE"):
        _offered(leg, transaction, now_ns)
    else:
        _respond(leg, transaction, 200, now_ns, CAPABILITIES if request.method == "OPTIONS" else ())


def _respond(
    leg: CallLeg,
    transaction: ServerTransaction,
    code: int,
    now_ns: int,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
) -> None:
    context = leg.context
    respond(
        context.transactions,
        context.party,
        transaction,
        code,
        leg.dialog.local_tag,
        now_ns,
        headers,
        body,
    )


def _offered(leg: CallLeg, transaction: ServerTransaction, now_ns: int) -> None:
    """Answer INVITE or UPDATE in the dialog. Refuse a second offer while one is open (RFC 3261
    §14.2, RFC 3311).
    """
    request = transaction.request
    is_unsettled = leg.state == "early" and not (
        leg.has_agreed_early and request.method == "UPDATE"
    )
    # An UPDATE without a description only refreshes the session, which no open offer prevents.
    is_open = leg.pending is not None or leg.offered_in_2xx is not None or is_unsettled
    description = description_of(request)
    if is_open and (request.method == "INVITE" or description):
        _respond(leg, transaction, 491, now_ns)
        return
    body = b""
    media = leg.media
    try:
        if description:
            offer = parse_description(description)
            media = leg.admit(answer_to(leg.context.media, offer, 0, leg.direction)[1])
            body = leg.describe(
                lambda version: answer_to(leg.context.media, offer, version, leg.direction)[0]
            )
        elif request.method == "INVITE":
            body = leg.offer(leg.direction)
            leg.offered_in_2xx = request.cseq
    except ValueError:
        _respond(leg, transaction, 488, now_ns)
        return
    leg.dialog.refresh_target(request)
    leg.note_peer(request)
    headers = leg.timer.answer(request, leg.context.session_interval_s, now_ns)
    if request.method == "INVITE":
        # RFC 3261 §13.3.1.4
        # Without an ACK for 64*T1, the session ends with BYE.
        transaction.unacknowledged = lambda at_ns: leg.bye(Cause(Code.NO_ACK).text, at_ns)
    _respond(
        leg,
        transaction,
        200,
        now_ns,
        [("Contact", f"<{leg.context.party.contact}>"), *CAPABILITIES, *headers],
        body,
    )
    if media is not None:
        leg.set_media(media)


# An ACK may come twice, or for an INVITE whose 2xx had the answer. Only the first ACK of an INVITE
# without an offer brings a session description that counts (RFC 3261 §13.2.1).
def _acknowledged(leg: CallLeg, request: SipRequest, now_ns: int) -> None:
    waiting = [
        each
        for each in leg.context.transactions.unacknowledged_2xx()
        if each.request.cseq == request.cseq
    ]
    for each in waiting:
        each.acknowledge(now_ns)
    if not waiting or leg.offered_in_2xx != request.cseq:
        return
    leg.offered_in_2xx = None
    if leg.state != "confirmed" or (leg.media is not None and not description_of(request)):
        return  # without an answer to the offer, the audio remains as it was
    try:
        media = leg.admit(accepted_answer(leg.context.media, described_in(request), leg.direction))
    except ValueError as error:
        leg.bye(str(error), now_ns)
        return
    leg.set_media(media)


def answer_outside(
    transactions: Transactions,
    party: LocalParty,
    transaction: ServerTransaction,
    tag: str,
    now_ns: int,
) -> None:
    """Answer a request that belongs to no dialog, and that starts none."""
    request = transaction.request
    if request.method == "ACK":
        transactions.dropped["unmatched ACKs"] += 1
    elif request.callee.tag or request.method in ("BYE", "CANCEL"):
        respond(transactions, party, transaction, 481, tag, now_ns)
    elif refusal := refusal_of(request):
        respond(transactions, party, transaction, refusal[0], tag, now_ns, refusal[1])
    elif request.method == "OPTIONS":
        respond(
            transactions,
            party,
            transaction,
            200,
            tag,
            now_ns,
            [*CAPABILITIES, ("Accept", ACCEPTED)],
        )
    else:
        respond(
            transactions,
            party,
            transaction,
            # An INVITE with this Call-ID that no dialog has is a copy of the call's own INVITE,
            # which a proxy has sent back (RFC 3261 §8.2.2.2).
            482 if request.method == "INVITE" else 481,
            tag,
            now_ns,
        )
