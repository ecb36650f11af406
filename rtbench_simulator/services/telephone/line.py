"""The telephone line of the simulator: SIP on the server's port, over UDP, TCP and TLS, and RTP for
each call.

Each answered call has an agent. Its frames are sent as RTP packets when they are due.
"""

from __future__ import annotations

import asyncio
import errno
import re
import secrets
from collections import Counter, deque
from dataclasses import replace
from functools import partial
from http import HTTPStatus

import numpy as np

from bench.base.clock import monotonic_ns
from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.protocols.rtp.rtp import CODECS
from bench.protocols.rtp.srtp import new_keys
from bench.protocols.sdp.offer_answer import LocalMedia
from bench.protocols.sip.answer_plan import AnswerPlan, LoginDemand, PlannedRequest
from bench.protocols.sip.called_party import CalledParty
from bench.protocols.sip.dialog import LocalParty
from bench.protocols.sip.digest import DigestLogin
from bench.protocols.sip.exchange import TelephoneExchange
from bench.protocols.sip.framing import StreamFramer
from bench.protocols.sip.messages import Outgoing, SipRequest
from bench.wire.addresses import HostPort, bracketed
from bench.wire.dialect import SIMULATOR_HEADER
from rtbench_simulator.faults.injection import FaultInjector
from rtbench_simulator.refusals import TOO_MANY_CALLS, RefusedUpgrade
from rtbench_simulator.services.telephone.agent import (
    RTP_PORTS,
    EarlyAudio,
    TelephoneAgent,
    UnansweredCall,
)
from rtbench_simulator.services.telephone.call_faults import CallFaults
from rtbench_simulator.services.telephone.outbound import OutboundCalls
from rtbench_simulator.serving.datagram_socket import DatagramSocket, is_this_machine
from rtbench_simulator.serving.service import (
    ServerState,
    local_host,
)
from rtbench_simulator.serving.stream import ServerStream

SIP_REQUEST = re.compile(rb"(\r\n)*[A-Z]+ sips?:", re.IGNORECASE)
"""The start of a connection that carries SIP messages instead of HTTP."""
USER = "agent"
"""The user of the digest authentication. The password is the key of the simulator."""
LINE_STREAM = 1 << 40
"""The number of the line's random generator, which no session has."""
MAX_WORK_NS = 5 * NS_PER_MS
"""The time after which a flood of messages lets the audio of calls and the WebSockets go on."""
MAX_UNREAD_BYTES = 1 << 20
"""The maximum number of bytes that wait for a caller over TCP that does not read."""


# A call passes three owners: the exchange has its SIP from the first INVITE to the last repetition,
# `_planned` its sockets and faults until the ACK, and `_calls` its agent until the end. `_advance`
# moves it from one to the next, after each message and each timer.
#
# The line shares the loop with thousands of WebSockets. So it works for at most `MAX_WORK_NS` at a
# time; what is not read stays in the kernel, where its timestamp is already taken.
class TelephoneLine:
    """The calls of one server. With several workers there is no telephone line, because a call
    has several sockets.
    """

    def __init__(self, shared: ServerState, address: tuple[str, int], workers: int) -> None:
        self._shared = shared
        self._host = local_host(address[0])
        key = shared.config.authenticator.key
        self._demand = None if key is None else LoginDemand(DigestLogin(USER, key))
        self._rng = np.random.default_rng([shared.config.seed, LINE_STREAM])
        self._calls: dict[str, TelephoneAgent] = {}
        self.rtp_dropped = Counter[str]()
        """The numbers of RTP packets that the paths of all calls dropped, by their direction."""
        self._planned: dict[str, UnansweredCall] = {}
        """The calls that are not answered yet, by the Call-ID."""
        self._sock: DatagramSocket | None = None
        self._connections: dict[HostPort, CallerConnection] = {}
        """The TCP and TLS connections, by the address of the caller."""
        self._outbound: OutboundCalls | None = None
        if workers > 1:
            return
        try:
            self._sock = DatagramSocket(*address)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return
        sent_by = HostPort(bracketed(self._host), address[1])
        marks = ((SIMULATOR_HEADER, "1"),)
        party = LocalParty(sent_by, "UDP", f"sip:agent@{sent_by}", "rtbench-simulate", marks)
        self._exchange = TelephoneExchange(
            self._plan_of, party, lambda: secrets.token_hex(8), is_own=is_this_machine
        )
        self._exchange.refused = partial(shared.refused, TOO_MANY_CALLS)
        shared.loop.add_reader(self._sock, self._read)
        config = shared.config
        if config.dial:
            self._outbound = OutboundCalls(shared, self._host, config.dial, config.lines)

    def _plan_of(self, request: SipRequest) -> AnswerPlan:
        """Plan a call. A caller that signs in sends INVITE twice. The first has no ports."""
        demand = self._demand
        if demand is not None and request.headers.get("Authorization") is None:
            return AnswerPlan(LocalMedia(self._host, 0, 0), demand=demand)
        if request.call_id not in self._planned:
            try:
                rtp, rtcp = DatagramSocket.pair(self._host, RTP_PORTS)
            except OSError:  # no ports are free
                self._shared.refused(TOO_MANY_CALLS, monotonic_ns())
                return AnswerPlan(
                    LocalMedia(self._host, 0, 0), demand=demand, code=503, retry_after_s=1
                )
            media = LocalMedia(
                self._host,
                rtp.address[1],
                secrets.randbits(31),
                tuple(CODECS),
                keys=new_keys(secrets.token_bytes),
            )
            injector = self._shared.injector()
            faults = CallFaults(injector)
            set_up = self._shared.config.profile.rtp.set_up_ms
            set_up_ns = 0 if set_up is None else set_up.draw_ns(self._rng)
            plan = AnswerPlan(
                media, trying_ns=None, ringing_ns=0, final_ns=set_up_ns, demand=demand
            )
            plan = self._with_faults(plan, injector, faults)
            self._planned[request.call_id] = UnansweredCall(plan, faults, rtp, rtcp)
        return self._planned[request.call_id].plan

    def _with_faults(
        self, plan: AnswerPlan, injector: FaultInjector | None, faults: CallFaults
    ) -> AnswerPlan:
        """Return the plan with the faults at the place `upgrade`."""
        if injector is None:
            return plan
        now_ns = monotonic_ns()
        plan = faults.applied_to(plan, now_ns)
        refusal = injector.refusal("sip", now_ns)
        if not isinstance(refusal, RefusedUpgrade):
            return plan
        self._shared.refused(refusal, now_ns)
        code = (
            HTTPStatus.SERVICE_UNAVAILABLE
            if refusal.status == HTTPStatus.TOO_MANY_REQUESTS
            else refusal.status
        )
        return replace(plan, code=int(code), retry_after_s=-(-refusal.wait_ns // NS_PER_S) or None)

    def _read(self) -> None:
        assert self._sock is not None, "the line is open"
        until_ns = monotonic_ns() + MAX_WORK_NS
        # those that are not handled in time stay in the socket
        while datagrams := self._sock.receive(most=1):
            ((data, source, arrival),) = datagrams
            self._exchange.received(data, arrival.at_ns, HostPort(*source[:2]))
            self._advance(now_ns := monotonic_ns())
            if now_ns > until_ns:
                break

    @property
    def has_calls(self) -> bool:
        return bool(self._calls) or (self._outbound is not None and bool(self._outbound.calls))

    @property
    def dropped_packets(self) -> int:
        return self.rtp_dropped.total()

    def connect(
        self, first: bytes, caller: HostPort, stream: ServerStream
    ) -> CallerConnection | None:
        """Return a new connection for SIP messages. Return None if there is no line, or if
        `first` is not SIP.
        """
        if self._sock is None or not SIP_REQUEST.match(first):
            return None
        connection = self._connections[caller] = CallerConnection(
            self, caller, stream, self._shared.loop
        )
        return connection

    def disconnected(self, caller: HostPort) -> None:
        self._connections.pop(caller, None)

    def receive(self, messages: deque[bytes], caller: HostPort, at_ns: int) -> None:
        """Remove messages of a connection, and accept them, for at most MAX_WORK_NS."""
        until_ns = monotonic_ns() + MAX_WORK_NS
        while messages and monotonic_ns() < until_ns:
            self._exchange.received(messages.popleft(), at_ns, caller)
            self._advance(monotonic_ns())

    def _send(self, message: Outgoing) -> None:
        assert self._sock is not None, "the line is open"
        data = message.data
        hop = message.hop
        if message.transport == "UDP":
            # if the kernel does not accept a message, the timers of SIP send it again
            self._sock.send(data, hop)
            return
        # A caller may name the port at which it accepts connections. Its own connection leads to it
        # as well.
        of_host = (each for address, each in self._connections.items() if address.host == hop.host)
        if connection := self._connections.get(hop) or next(of_host, None):
            connection.stream.write(data)

    def send_due(self, now_ns: int) -> None:
        self._exchange.expire(now_ns)
        self._advance(now_ns)

    def _advance(self, now_ns: int) -> None:
        """Send the messages, and start and end the agents of calls that were answered or have
        ended.
        """
        for message in self._exchange.pop_messages():
            self._send(message)
        for call_id in self._exchange.pop_changed():
            party = self._exchange.calls.get(call_id)
            has_ended = party is None or party.ended_ns is not None
            if (planned := self._planned.get(call_id)) is not None:
                self._advance_planned(call_id, planned, None if has_ended else party)
            elif (agent := self._calls.get(call_id)) is not None:
                if has_ended:
                    self._calls.pop(call_id).close()
                else:
                    agent.follow_media()
        due_ns = self._exchange.next_ns
        self._shared.plan(self, None if due_ns == NEVER_NS else due_ns)

    def _advance_planned(
        self, call_id: str, planned: UnansweredCall, party: CalledParty | None
    ) -> None:
        """Start the agent of a call, or its early audio. Without a party, the call has ended.

        The agent starts at the ACK: a forged source receives the answer, but cannot acknowledge it.
        Early audio, which precedes the ACK, is sent to no caller whose address may be forged.
        """
        if party is None:
            del self._planned[call_id]
            planned.close()
        elif party.acknowledged_ns is not None and party.media is not None:
            del self._planned[call_id]
            self._start_agent(call_id, party, planned)
        elif (
            planned.faults.early_audio is not None
            and planned.early is None
            and party.media is not None
            and (self._demand is not None or party.is_reachable)
        ):
            planned.early = EarlyAudio(
                self._shared, party.media, party.audio_address(party.media.peer), planned
            )

    def _start_agent(self, call_id: str, party: CalledParty, planned: UnansweredCall) -> None:
        agent = TelephoneAgent(self._shared, self, call_id, party, planned, self.rtp_dropped)
        self._calls[call_id] = agent
        if truth := self._shared.config.truth:
            truth.opened(agent.session_id, None, party.answered_ns or 0, call_id, party.caller_uri)
        agent.answered(monotonic_ns())

    # The requests of the agents

    def hang_up(self, call_id: str, reason: str) -> None:
        self._exchange.hang_up(call_id, monotonic_ns(), reason)
        self._shared.plan(self, monotonic_ns())

    def request(self, call_id: str, *requests: PlannedRequest) -> None:
        self._exchange.request(call_id, monotonic_ns(), *requests)
        self._shared.plan(self, monotonic_ns())

    def vanish(self, call_id: str) -> None:
        self._exchange.vanish(call_id)
        self._calls.pop(call_id).close(goodbye=False)

    def close(self) -> None:
        if self._sock is None:
            return
        if self._outbound is not None:
            self._outbound.close()
        for call_id in list(self._calls):
            self._exchange.hang_up(call_id, monotonic_ns())
        self._advance(monotonic_ns())
        for call in self._calls.values():
            call.close()
        for planned in self._planned.values():
            planned.close()
        self._shared.loop.remove_reader(self._sock)
        self._sock.close()
        self._shared.plan(self, None)


class CallerConnection:
    """A TCP or TLS connection with SIP messages.

    While messages wait, no further bytes are read. If the caller does not read its responses, the
    connection is ended.
    """

    def __init__(
        self,
        line: TelephoneLine,
        caller: HostPort,
        stream: ServerStream,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._line = line
        self._caller = caller
        self.stream = stream
        self._loop = loop
        self._framer = StreamFramer()
        self._messages = deque[bytes]()
        self.has_received = False
        stream.max_backlog = MAX_UNREAD_BYTES

    def received(self, data: bytes, at_ns: int) -> bool:
        """Accept bytes. Return False if they are not SIP, and the connection must be closed."""
        self._messages += self._framer.received(data)
        self.has_received |= bool(self._messages)
        self._work(at_ns)
        if pongs := self._framer.pop_pongs():
            self.stream.write(pongs)
        return not self._framer.broken

    def _work(self, at_ns: int) -> None:
        self._line.receive(self._messages, self._caller, at_ns)
        if self._messages:
            self.stream.pause()
            self._loop.call_soon(self._work, at_ns)
        else:
            self.stream.resume()

    def ended(self) -> None:
        self._messages.clear()
        self._line.disconnected(self._caller)
