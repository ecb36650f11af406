"""Callers and the simulator on one virtual clock, with a channel that loses, repeats, delays and
reorders messages.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.protocols.sdp.offer_answer import LocalMedia
from bench.protocols.sip.answer_plan import AnswerPlan
from bench.protocols.sip.call import SipCall
from bench.protocols.sip.called_party import CalledParty
from bench.protocols.sip.dialog import LocalParty
from bench.protocols.sip.exchange import TelephoneExchange
from bench.protocols.sip.messages import SipRequest
from bench.wire.addresses import HostPort
from tests.transport.sip.scripted_peer import call_settings, tokens

CALLER, CALLED = HostPort("192.0.2.1", 5060), HostPort("198.51.100.7", 5060)
SIMULATOR_MEDIA = LocalMedia("198.51.100.7", 42_000, 77)
Fates = Callable[[], tuple[int, ...]]
"""A function that returns the delays after which the next message arrives. Without one, the
message is lost."""


def plan(**changes: Any) -> AnswerPlan:
    return replace(AnswerPlan(SIMULATOR_MEDIA), **changes)


class VirtualNetwork:
    """The network. It runs until nothing is due, or until an instant."""

    def __init__(
        self,
        plan_of: Callable[[SipRequest], AnswerPlan],
        fates: Fates = lambda: (NS_PER_MS,),
        transport: str = "UDP",
        calls: int = 1,
        **changes: Any,
    ) -> None:
        token = tokens("callers")
        settings = call_settings(transport=transport, **changes)
        self.calls = [SipCall(settings, token) for _ in range(calls)]
        party = LocalParty(CALLED, transport, f"sip:simulator@{CALLED}", "simulator")
        self.parties: list[CalledParty] = []
        self.exchange = TelephoneExchange(plan_of, party, tokens("simulator"))
        self.now_ns = 0
        self.messages = 0
        self.log: list[str] = []
        self._fates = fates
        self._due: list[tuple[int, int, bool, bytes]] = []
        self._actions: list[tuple[int, int, Callable[[int], object]]] = []
        for call in self.calls:
            call.start(0)
        self._collect()

    def at_s(self, seconds: float, action: Callable[[int], object]) -> None:
        heapq.heappush(self._actions, (int(seconds * NS_PER_S), len(self._actions), action))

    def _collect(self) -> None:
        outgoing = [(message, True) for call in self.calls for message in call.pop_messages()]
        outgoing += [(message, False) for message in self.exchange.pop_messages()]
        for message, to_simulator in outgoing:
            self.log.append(
                f"{'>' if to_simulator else '<'}"
                f" {message.data.partition(b' SIP/2.0')[0].decode()[:20]}"
            )
            for delay_ns in self._fates():
                self.messages += 1
                heapq.heappush(
                    self._due, (self.now_ns + delay_ns, self.messages, to_simulator, message.data)
                )
        self.parties += [each for each in self.exchange.calls.values() if each not in self.parties]

    def run(self, until_ns: int = NEVER_NS - 1) -> None:
        while True:
            due = self._due[0][0] if self._due else NEVER_NS
            action = self._actions[0][0] if self._actions else NEVER_NS
            next_ns = min(
                due, action, self.exchange.next_ns, *(call.next_ns for call in self.calls)
            )
            if next_ns > until_ns:
                return
            assert next_ns >= 0
            self.now_ns = max(self.now_ns, next_ns)
            if action <= self.now_ns:
                heapq.heappop(self._actions)[2](self.now_ns)
            elif due <= self.now_ns:
                _, _, to_simulator, data = heapq.heappop(self._due)
                self._deliver(to_simulator, data)
            for call in self.calls:
                if call.next_ns <= self.now_ns:
                    call.expire(self.now_ns)
            if self.exchange.next_ns <= self.now_ns:
                self.exchange.expire(self.now_ns)
            self._collect()

    def _deliver(self, to_simulator: bool, data: bytes) -> None:
        if to_simulator:
            self.exchange.received(data, self.now_ns, CALLER)
        else:
            for call in self.calls:
                if call.call_id.encode() in data:
                    call.received(data, self.now_ns, CALLED)
