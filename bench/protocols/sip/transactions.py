"""The transactions of SIP (RFC 3261 §17, RFC 6026): retransmissions and timeouts of requests and
responses. Pure.

A reliable transport (TCP, TLS) needs no retransmissions. Only a response 2xx to INVITE is
retransmitted over any transport, because it goes from end to end (§13.3.1.4).
"""

# A transaction is a request with its responses on one hop (RFC 3261 §17). Its timers are named by
# letters in the RFC, and at the lines that start them here:
#
# client, INVITE       A repeats (T1, doubled), B gives up (64*T1), D absorbs repeated responses
# client, others       E repeats (doubled up to T2), F gives up, K absorbs
# server, INVITE       G repeats (doubled up to T2), H waits for ACK, I and L absorb
# server, others       J absorbs repeated requests
#
# D, I, J, and K are zero over a reliable transport. RFC 6026 adds L and M: they keep an INVITE
# transaction for 64*T1 after a 2xx, so that a repeated 2xx and a repeated INVITE find it.
#
# Who acknowledges differs. The ACK of a refusal belongs to the transaction and is made here
# (§17.1.1.3). The ACK of a 2xx is a request of the dialog, which the leg makes (§13.2.2.4).
#
# A repeated final response or request never reaches the call, except a 2xx, for which the call
# repeats its ACK. `expire` acts on all that is due, so an owner that calls it late skips
# repetitions, and none comes twice.

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bench.base.units import NEVER_NS, NS_PER_MS
from bench.protocols.sip.messages import Outgoing, SipRequest, SipResponse, write_message
from bench.wire.addresses import HostPort

# The estimate of a round trip, the longest interval of repetitions, and the longest life of a
# message in the network: the defaults of RFC 3261 §17.1.1.1 and table 4. Other values would send
# more or fewer repetitions than other programs under the same loss.
T1_NS = 500 * NS_PER_MS
T2_NS = 4_000 * NS_PER_MS
T4_NS = 5_000 * NS_PER_MS
TIMEOUT_NS = 64 * T1_NS
"""The timers B, F, H, J, M, and D over UDP."""
MAX_TRANSACTIONS = 64
"""The maximum number of transactions of a call in each direction at the same time."""
# With this start, the branch alone names a transaction (RFC 3261 §8.1.1.7).
MAGIC_COOKIE = "z9hG4bK"

ResponseHandler = Callable[[SipResponse | None, int], None]
"""A function that receives (response, instant). None means that the request timed out."""


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """A request to send. `headers` starts with Via."""

    method: str
    uri: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)
    to: HostPort
    transport: str

    def encode(self) -> Outgoing:
        data = write_message(f"{self.method} {self.uri} SIP/2.0", self.headers, self.body)
        return Outgoing(data, self.to, self.transport)

    def header(self, name: str) -> str:
        return next(value for key, value in self.headers if key == name)

    def hop_request(self, method: str, to: str) -> OutgoingRequest:
        """Return CANCEL, or the ACK of a response other than 2xx (§9.1, §17.1.1.3). Both stay in
        the transaction.
        """
        number = self.header("CSeq").partition(" ")[0]
        kept = ("Via", "Max-Forwards", "From", "Call-ID", "Route")
        headers = [(name, value) for name, value in self.headers if name in kept]
        headers += [("To", to), ("CSeq", f"{number} {method}")]
        return replace(self, method=method, headers=tuple(headers), body=b"")


class _Transaction:
    """What the transactions of requests in both directions have in common: their timers."""

    def __init__(self, method: str, transport: str, now_ns: int) -> None:
        self.is_reliable = transport != "UDP"
        self.is_invite = method == "INVITE"
        self._interval_ns = T1_NS
        self.resend_ns = NEVER_NS
        self.end_ns = now_ns + TIMEOUT_NS  # B, F

    @property
    def next_ns(self) -> int:
        return min(self.resend_ns, self.end_ns)


class ClientTransaction(_Transaction):
    """A request, until its final response was received and may no longer be repeated."""

    def __init__(
        self, request: OutgoingRequest, branch: str, heard: ResponseHandler, now_ns: int
    ) -> None:
        super().__init__(request.method, request.transport, now_ns)
        self.request = request
        self.branch = branch
        self.heard = heard
        self.is_final = self.is_provisional = False
        if not self.is_reliable:
            self.resend_ns = now_ns + T1_NS  # A, E
        self._ack: Outgoing | None = None

    def received(self, response: SipResponse, now_ns: int) -> tuple[bool, Outgoing | None]:
        """Return whether the call must see the response, and the ACK to send."""
        if response.code < 200:
            if self.is_final:
                return False, None
            self.is_provisional = True
            # INVITE is not repeated after a 1xx, and has no timeout, because a person may let it
            # ring (§17.1.1.2). Any other request is still repeated, every T2 (§17.1.2.2).
            if self.is_invite:
                self.resend_ns = self.end_ns = NEVER_NS
            elif not self.is_reliable:
                self._interval_ns = T2_NS
            return True, None
        if self.is_final:
            return (
                self.is_invite and response.code < 300,
                None if response.code < 300 else self._ack,
            )
        self.is_final = True
        self.resend_ns = NEVER_NS
        if self.is_invite and response.code < 300:
            self.end_ns = now_ns + TIMEOUT_NS  # M
        elif self.is_invite:
            self.end_ns = now_ns + (0 if self.is_reliable else TIMEOUT_NS)  # D
            self._ack = self.request.hop_request("ACK", response.first("To")).encode()
        else:
            self.end_ns = now_ns + (0 if self.is_reliable else T4_NS)  # K
        return True, self._ack

    def expire(self, now_ns: int) -> Outgoing | None:
        """Return the request if it is due again."""
        if self.resend_ns > now_ns:
            return None
        if not self.is_provisional:
            self._interval_ns *= 2
            if not self.is_invite:
                self._interval_ns = min(self._interval_ns, T2_NS)
        self.resend_ns = now_ns + self._interval_ns
        return self.request.encode()


class ServerTransaction(_Transaction):
    """A received request and its last response, until the request may no longer be repeated."""

    def __init__(
        self,
        request: SipRequest,
        source: HostPort | None,
        now_ns: int,
        ack_wait_ns: int = TIMEOUT_NS,
    ) -> None:
        super().__init__(request.method, request.via.transport, now_ns)
        self.request = request
        self.source = source
        self._ack_wait_ns = ack_wait_ns
        self.last: Outgoing | None = None
        self.code = 0
        self.is_acknowledged = False
        self.unacknowledged: Callable[[int], None] | None = None
        """The function to call if no ACK of the final response is received."""

    @property
    def awaits_ack(self) -> bool:
        return self.is_invite and self.code >= 200 and not self.is_acknowledged

    def respond(self, code: int, response: Outgoing, now_ns: int) -> Outgoing:
        self.code = code
        self.last = response
        if code < 200:
            self.end_ns = NEVER_NS
        elif self.is_invite:
            self.end_ns = now_ns + self._ack_wait_ns  # H
            if code < 300 or not self.is_reliable:
                self.resend_ns = now_ns + T1_NS  # G
        else:
            self.end_ns = now_ns + (0 if self.is_reliable else TIMEOUT_NS)  # J
        return response

    def acknowledge(self, now_ns: int) -> None:
        if self.awaits_ack:
            self.is_acknowledged = True
            self.resend_ns = NEVER_NS
            if self.code < 300:
                # L: until then, its INVITE may be repeated (RFC 6026 §7.1)
                self.end_ns = now_ns + TIMEOUT_NS
            else:
                self.end_ns = now_ns + (0 if self.is_reliable else T4_NS)  # I

    def expire(self, now_ns: int) -> Outgoing | None:
        """Return the response if it is due again."""
        if self.resend_ns > now_ns:
            return None
        self._interval_ns = min(self._interval_ns * 2, T2_NS)
        self.resend_ns = now_ns + self._interval_ns
        return self.last


class Transactions:
    """The transactions of one call, and the messages that it has to send.

    Final responses to INVITE are repeated for `ack_wait_ns` if no ACK is received.
    """

    def __init__(self, dropped: Counter[str], ack_wait_ns: int = TIMEOUT_NS) -> None:
        self._ack_wait_ns = ack_wait_ns
        self._clients: dict[tuple[str, str], ClientTransaction] = {}
        self._servers: dict[tuple[str, HostPort, str, int], ServerTransaction] = {}
        self._messages: list[Outgoing] = []
        self.dropped = dropped
        """The number of messages that were ignored, by their kind."""

    def pop_messages(self) -> list[Outgoing]:
        messages = self._messages
        self._messages = []
        return messages

    @property
    def next_ns(self) -> int:
        clients = min((each.next_ns for each in self._clients.values()), default=NEVER_NS)
        return min(
            clients, min((each.next_ns for each in self._servers.values()), default=NEVER_NS)
        )

    @property
    def are_final(self) -> bool:
        """Whether each request has its final response, except CANCEL, and INVITE after a
        provisional response.

        Such an INVITE has no timeout.
        """
        waiting = (
            each for each in self._clients.values() if not each.is_final and each.next_ns < NEVER_NS
        )
        return all(each.request.method == "CANCEL" for each in waiting)

    def send(self, message: Outgoing) -> None:
        """Send a message without a transaction, such as the ACK of a 2xx."""
        self._messages.append(message)

    def request(
        self, request: OutgoingRequest, branch: str, heard: ResponseHandler, now_ns: int
    ) -> ClientTransaction:
        """Send a request. `heard` receives its responses."""
        if len(self._clients) >= MAX_TRANSACTIONS:
            oldest = next(
                (key for key, each in self._clients.items() if each.is_final),
                next(iter(self._clients)),
            )
            del self._clients[oldest]
            self.dropped["transactions"] += 1
        transaction = ClientTransaction(request, branch, heard, now_ns)
        self._clients[branch, request.method] = transaction
        self.send(request.encode())
        return transaction

    def response_received(self, response: SipResponse, now_ns: int) -> None:
        # §17.1.3. The method distinguishes CANCEL, which has the branch of its INVITE. A second Via
        # would mean that the response belongs to another client behind this one (§8.1.3.3).
        transaction = self._clients.get((response.via.branch, response.cseq_method))
        number = (
            transaction.request.header("CSeq").partition(" ")[0] if transaction is not None else ""
        )
        if transaction is None or len(response.vias) != 1 or str(response.cseq) != number:
            self.dropped["unmatched responses"] += 1
            return
        heard, ack = transaction.received(response, now_ns)
        if ack is not None:
            self.send(ack)
        if heard:
            transaction.heard(response, now_ns)

    def request_received(
        self, request: SipRequest, source: HostPort | None, now_ns: int
    ) -> ServerTransaction | None:
        """Return the transaction of a new request. Return None if the request is a repeated one,
        or an ACK of it.
        """
        method = "INVITE" if request.method == "ACK" else request.method
        # §17.2.3: an ACK of a refusal matches its INVITE. `sent_by` separates clients that chose
        # the same branch, and CSeq those of RFC 2543, whose branches are not unique.
        key = (request.via.branch, request.via.sent_by, method, request.cseq)
        known = self._servers.get(key)
        if request.method == "ACK":
            if known is not None and known.code >= 300:
                known.acknowledge(now_ns)
                return None
        elif known is not None:
            if known.last is not None and not (known.is_invite and known.is_acknowledged):
                self.send(known.last)
            return None
        transaction = ServerTransaction(request, source, now_ns, self._ack_wait_ns)
        if request.method != "ACK":
            if len(self._servers) >= MAX_TRANSACTIONS:
                answered = (
                    key for key, each in self._servers.items() if each.code and not each.awaits_ack
                )
                del self._servers[next(answered, next(iter(self._servers)))]
                self.dropped["transactions"] += 1
            self._servers[key] = transaction
        return transaction

    def invite_of(self, cancel: SipRequest) -> ServerTransaction | None:
        """Return the transaction of the INVITE that a CANCEL belongs to (§9.2)."""
        return self._servers.get((cancel.via.branch, cancel.via.sent_by, "INVITE", cancel.cseq))

    def unacknowledged_2xx(self) -> list[ServerTransaction]:
        return [each for each in self._servers.values() if each.awaits_ack and each.code < 300]

    def stop(self) -> None:
        """Forget everything. No message can be sent or received any more."""
        self._clients.clear()
        self._servers.clear()
        self._messages.clear()

    def expire(self, now_ns: int) -> None:
        """Repeat what is due, and end what timed out."""
        for key, client in list(self._clients.items()):
            if client.end_ns <= now_ns:
                self._clients.pop(key, None)
                if not client.is_final:
                    client.heard(None, now_ns)
            elif (message := client.expire(now_ns)) is not None:
                self.send(message)
        for server_key, server in list(self._servers.items()):
            if server.end_ns <= now_ns:
                self._servers.pop(server_key, None)
                if server.awaits_ack and server.unacknowledged is not None:
                    server.unacknowledged(now_ns)
            elif (message := server.expire(now_ns)) is not None:
                self.send(message)
