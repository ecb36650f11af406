"""The telephone calls that one side receives, by their Call-ID, and the requests that belong to
none. Pure.
"""

# `_due` is a heap with lazy deletion: a call whose next instant becomes earlier gets a further
# entry, and `_scheduled` has the valid one. After every contact with a call, `_touched` collects
# its messages, its next instant, and whether it is over.
#
# Requests without a call get a response without state (RFC 3261 §8.2.7), so strangers cannot fill
# the memory. A finished call is kept until its last transaction has absorbed repetitions.

import heapq
from collections import Counter
from collections.abc import Callable

from bench.base.units import NEVER_NS
from bench.protocols.sip.answer_plan import AnswerPlan, LoginCheck, PlannedRequest
from bench.protocols.sip.called_party import CalledParty
from bench.protocols.sip.dialog import LocalParty, RandomTokens
from bench.protocols.sip.leg_requests import answer_outside, respond
from bench.protocols.sip.messages import Outgoing, SipRequest, SipResponse, accept_message
from bench.protocols.sip.transactions import ServerTransaction, Transactions
from bench.wire.addresses import HostPort, is_loopback

MAX_CALLS = 250
"""The maximum number of calls at the same time: as many as one process plays on a slow core."""
MAX_STATES = 10_000
"""The maximum number of calls whose messages may still be repeated, also of calls that have
ended."""


class TelephoneExchange:
    """The calls. `plan_of` returns the plan of the call that an INVITE begins, and `is_own` whether
    a host is this machine.
    """

    def __init__(
        self,
        plan_of: Callable[[SipRequest], AnswerPlan],
        party: LocalParty,
        tokens: RandomTokens,
        max_calls: int = MAX_CALLS,
        is_own: Callable[[str], bool] = is_loopback,
    ) -> None:
        self._is_own = is_own
        self._playing = set[str]()
        self.refused: Callable[[int], None] = lambda now_ns: None
        """The function that is called when a call is refused because there are too many, with
        the instant."""
        self._plan_of = plan_of
        self._party = party
        self._tokens = tokens
        self._max_calls = max_calls
        self._check = LoginCheck(tokens)
        self._tag = tokens()
        self._messages: list[Outgoing] = []
        self._due: list[tuple[int, str]] = []
        self._scheduled: dict[str, int] = {}
        self.calls: dict[str, CalledParty] = {}
        self._vanished: dict[str, None] = {}
        """The Call-IDs whose messages are ignored, in the order of their ends."""
        self._changed: dict[str, None] = {}
        self.dropped: Counter[str] = Counter()
        """The number of messages that were ignored, by their kind."""

    @property
    def next_ns(self) -> int:
        """The instant at which `expire` is due. It may be too early. NEVER_NS if nothing is due."""
        return self._due[0][0] if self._due else NEVER_NS

    def pop_messages(self) -> list[Outgoing]:
        messages = self._messages
        self._messages = []
        return messages

    def pop_changed(self) -> list[str]:
        """Return the Call-IDs of the calls that may have changed since the last time. Some may
        have ended.
        """
        changed = list(self._changed)
        self._changed = {}
        return changed

    def received(self, data: bytes, now_ns: int, source: HostPort | None = None) -> None:
        """Accept a message. A malformed message is counted and ignored."""
        message = accept_message(data, self.dropped)
        if message is None or message.call_id in self._vanished:
            return
        if isinstance(message, SipRequest):
            self._request_received(message, source, now_ns)
        else:
            self._response_received(message, now_ns)
        if (call := self.calls.get(message.call_id)) is not None:
            self._touched(message.call_id, call)

    def expire(self, now_ns: int) -> None:
        """Do what is due in all calls."""
        while self._due and self._due[0][0] <= now_ns:
            due_ns, call_id = heapq.heappop(self._due)
            if (
                self._scheduled.get(call_id) == due_ns
                and (call := self.calls.get(call_id)) is not None
            ):
                del self._scheduled[call_id]
                call.expire(now_ns)
                self._touched(call_id, call)

    def hang_up(self, call_id: str, now_ns: int, reason: str = "") -> None:
        """End a call. `reason` is the header Reason of BYE."""
        call = self.calls[call_id]
        call.hang_up(now_ns, reason)
        self._touched(call_id, call)

    def request(self, call_id: str, now_ns: int, *requests: PlannedRequest) -> None:
        """Send further requests in a call."""
        call = self.calls[call_id]
        call.request(now_ns, *requests)
        self._touched(call_id, call)

    def vanish(self, call_id: str) -> None:
        """End a call without a message. Its further messages are ignored."""
        self.calls.pop(call_id)
        self._scheduled.pop(call_id, None)
        self._vanished[call_id] = None
        self._playing.discard(call_id)
        if len(self._vanished) > MAX_STATES:
            del self._vanished[next(iter(self._vanished))]

    def _touched(self, call_id: str, call: CalledParty) -> None:
        self._messages += map(call.addressed, call.transactions.pop_messages())
        self._changed[call_id] = None
        (self._playing.add if call.is_playing else self._playing.discard)(call_id)
        if call.is_finished:
            self.calls.pop(call_id, None)
            self._scheduled.pop(call_id, None)
        elif (due_ns := call.next_ns) < self._scheduled.get(call_id, NEVER_NS):
            self._scheduled[call_id] = due_ns
            heapq.heappush(self._due, (due_ns, call_id))

    def _response_received(self, response: SipResponse, now_ns: int) -> None:
        call = self.calls.get(response.call_id)
        if call is None:
            self.dropped["unmatched responses"] += 1
        else:
            call.transactions.response_received(response, now_ns)

    def _request_received(self, request: SipRequest, source: HostPort | None, now_ns: int) -> None:
        call = self.calls.get(request.call_id)
        begins = request.method == "INVITE" and not request.callee.tag
        is_full = len(self._playing) >= self._max_calls or len(self.calls) >= MAX_STATES
        if call is None and begins and not is_full:
            call = CalledParty(
                self._plan_of, self._party, self._check, self._tokens, self.dropped, self._is_own
            )
            self.calls[request.call_id] = call
        if call is not None:
            call.received(request, source, now_ns)
            return
        # The response has no state: a repeated request gets the same response again.
        stateless = Transactions(self.dropped)
        transaction = ServerTransaction(request, source, now_ns)
        if begins:
            self.refused(now_ns)
            respond(
                stateless, self._party, transaction, 503, self._tag, now_ns, [("Retry-After", "1")]
            )
        else:
            answer_outside(stateless, self._party, transaction, self._tag, now_ns)
        self._messages += stateless.pop_messages()
