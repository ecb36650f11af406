"""The calls that the simulated agent makes, and how it tells a person from a mailbox.

The agent listens until the first words of its callee have ended. Short words are those of a person,
with whom it talks. After long ones, which are the greeting of a mailbox with its beep, it hangs up
at once or leaves a message. The faults of `VERDICTS` make it wrong.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable

from bench.base.clock import monotonic_ns
from bench.base.units import NEVER_NS, NS_PER_MS, NS_PER_S
from bench.protocols.sdp.offer_answer import AgreedMedia, LocalMedia
from bench.protocols.sip.answer_plan import AnswerPlan, PlannedRequest
from bench.protocols.sip.call import SipCall
from bench.protocols.sip.call_record import CallSettings, CallState
from bench.wire.addresses import HostPort, bracketed
from bench.wire.dialect import SIMULATOR_HEADER
from rtbench_simulator.faults.kinds import EARLY_MESSAGE, MAILBOX_AS_PERSON, PERSON_AS_MAILBOX
from rtbench_simulator.server_events import Json, OutgoingEvent
from rtbench_simulator.services.agents import FRAME_MS, AgentBehaviour
from rtbench_simulator.services.telephone.agent import RTP_PORTS, TelephoneAgent, UnansweredCall
from rtbench_simulator.services.telephone.call_faults import CallFaults
from rtbench_simulator.serving.datagram_socket import DatagramSocket
from rtbench_simulator.serving.service import ServerState
from rtbench_simulator.turn_taking import CallerSpeech

LONG_MS = 2_500
"""The duration of first words from which they are the greeting of a mailbox."""
PATIENCE_NS = 6 * NS_PER_S
"""The silence after which an agent that talks with a person hangs up."""
END_NS = 200 * NS_PER_MS
"""The time between the end of a message and BYE."""
UNHEARD_NS = 2 * NS_PER_S
NEXT_S = 0.5
"""The time after which an INVITE without a response is given up, and the time between two calls."""


class OutboundBehaviour(AgentBehaviour):
    """The behaviour of an agent that dials."""

    is_wrong: Callable[[str], bool] = staticmethod(lambda kind: False)
    """A function that returns whether a fault of this kind happens now."""
    hang_up: Callable[[], None] = staticmethod(lambda: None)
    _talks_with_person: bool | None = None
    """Whether the agent takes its callee for a person; None while it listens."""
    _heard = 0
    """The number of starts and ends of the callee's speech."""

    def _start_call(self, at_ns: int) -> None:
        self._opened = True

    def _on_speech(self, speech: CallerSpeech, at_ns: int) -> None:
        self._heard += 1
        if self._talks_with_person:
            super()._on_speech(speech, at_ns)
        elif self._talks_with_person is None and speech.edge.began:
            edges = self._heard
            self._outbox.plan_step(
                at_ns + LONG_MS * NS_PER_MS, lambda due_ns: self._speak_early(edges, due_ns)
            )
        elif self._talks_with_person is None:
            self._decide(speech, at_ns)

    def _decide(self, speech: CallerSpeech, at_ns: int) -> None:
        is_person = speech.edge.end_ms - speech.edge.begin_ms < LONG_MS
        error = PERSON_AS_MAILBOX if is_person else MAILBOX_AS_PERSON
        self._talks_with_person = is_person is not self.is_wrong(error)
        if self._talks_with_person:
            super()._on_speech(speech, at_ns)
        elif self._rng.random() < 0.5:
            self._plan_end(at_ns + END_NS)
        else:
            self._plan_speech(at_ns, {"utterance": "message"})

    def _speak_early(self, edges: int, due_ns: int) -> OutgoingEvent | None:
        """Leave a message in the greeting, if it lasts and the fault happens."""
        lasts = self._heard == edges and self._talks_with_person is None
        if lasts and self.is_wrong(EARLY_MESSAGE):
            self._talks_with_person = False
            self._plan_speech(due_ns, {"utterance": "message"})
        return None

    def _start_reply(self, facts: Json, max_ms: int | None, due_ns: int) -> OutgoingEvent | None:
        event = super()._start_reply(facts, max_ms, due_ns)
        end_ns = due_ns + len(self._frames) * FRAME_MS * NS_PER_MS
        self._plan_end(end_ns + (PATIENCE_NS if self._talks_with_person else END_NS))
        return event

    def _plan_end(self, at_ns: int) -> None:
        edges = self._heard

        def end(due_ns: int) -> OutgoingEvent | None:
            if self._heard == edges or not self._talks_with_person:
                self.hang_up()
            return None

        self._outbox.plan_step(at_ns, end)


class OutboundCalls:
    """The calls to one SIP URI: `lines` at the same time, each with a next one after its end."""

    def __init__(self, shared: ServerState, host: str, uri: str, lines: int) -> None:
        self._shared = shared
        self._host = host
        self._uri = uri
        self.calls: set[OutboundCall] = set()
        self._is_open = True
        for _ in range(lines):
            self._dial()

    def _dial(self) -> None:
        if self._is_open:
            self.calls.add(OutboundCall(self._shared, self._host, self._uri, self._ended))

    def _ended(self, call: OutboundCall) -> None:
        self.calls.discard(call)
        self._shared.loop.call_later(NEXT_S, self._dial)

    def close(self) -> None:
        self._is_open = False
        for call in list(self.calls):
            call.close()


class OutboundCall:
    """A call that the agent makes, from its INVITE to the confirmation of its end."""

    def __init__(
        self,
        shared: ServerState,
        host: str,
        uri: str,
        on_end: Callable[[OutboundCall], None],
    ) -> None:
        self._shared = shared
        self._on_end = on_end
        self._sock = DatagramSocket(host)
        rtp, rtcp = DatagramSocket.pair(host, RTP_PORTS)
        own = HostPort(bracketed(host), self._sock.address[1])
        media = LocalMedia(host, rtp.address[1], secrets.randbits(31))
        self._planned = UnansweredCall(AnswerPlan(media), CallFaults(shared.injector()), rtp, rtcp)
        self._agent: OutboundAgent | None = None
        self._has_ended = False
        settings = CallSettings(
            request_uri=uri,
            caller=f"<sip:agent@{own}>",
            sent_by=own,
            media=media,
            product="rtbench-simulate",
            headers=((SIMULATOR_HEADER, "1"),),
        )
        self._call = SipCall(settings, lambda: secrets.token_hex(8))
        now_ns = monotonic_ns()
        self._unheard_ns = now_ns + UNHEARD_NS
        shared.loop.add_reader(self._sock, self._read)
        self._call.start(now_ns)
        self._advance(now_ns)

    @property
    def media(self) -> AgreedMedia | None:
        return self._call.media

    def audio_address(self, named: HostPort) -> HostPort:
        """Return the address to which RTP or RTCP is sent: that which the callee names."""
        return named

    def move_media(self, port: int) -> None:
        """Do nothing: no re-INVITE follows."""

    # The requests of the agent

    def hang_up(self, call_id: str, reason: str) -> None:
        self._call.hang_up(monotonic_ns())
        self._shared.plan(self, monotonic_ns())

    def vanish(self, call_id: str) -> None:
        self.close()

    def request(self, call_id: str, *requests: PlannedRequest) -> None:
        """Do nothing: the agent changes no call that it makes."""

    # Messages

    def _read(self) -> None:
        for data, source, arrival in self._sock.receive():
            self._call.received(data, arrival.at_ns, HostPort(*source[:2]))
        self._advance(monotonic_ns())

    def send_due(self, now_ns: int) -> None:
        self._call.expire(now_ns)
        if self._call.state is CallState.CALLING and now_ns >= self._unheard_ns:
            self._call.transport_failed(now_ns, "no response")
        self._advance(now_ns)

    def _advance(self, now_ns: int) -> None:
        call = self._call
        for message in call.pop_messages():
            self._sock.send(message.data, message.hop)
        if call.state is CallState.ANSWERED and self._agent is None and call.media is not None:
            self._agent = OutboundAgent(self._shared, self, call.call_id, self, self._planned)
            if truth := self._shared.config.truth:
                answered_ns = call.answered_ns or 0
                truth.opened(self._agent.session_id, None, answered_ns, call.call_id, "")
            self._agent.answered(now_ns)
        if call.ending is not None and not self._has_ended:
            self._has_ended = True
            self._end_agent()
        if call.ending is not None and call.is_confirmed:
            self.close()
            return
        due_ns = self._unheard_ns if call.state is CallState.CALLING else NEVER_NS
        due_ns = min(due_ns, call.next_ns)
        self._shared.plan(self, None if due_ns == NEVER_NS else due_ns)

    def _end_agent(self) -> None:
        if self._agent is None:
            self._planned.close()
        else:
            self._agent.close()

    def close(self) -> None:
        if self._sock.fileno() < 0:
            return
        if not self._has_ended:
            self._call.hang_up(monotonic_ns())
            for message in self._call.pop_messages():
                self._sock.send(message.data, message.hop)
            self._end_agent()
        self._shared.plan(self, None)
        self._shared.loop.remove_reader(self._sock)
        self._sock.close()
        self._on_end(self)


class OutboundAgent(TelephoneAgent):
    """The agent of a call that it has made."""

    def __init__(
        self,
        shared: ServerState,
        line: OutboundCall,
        call_id: str,
        party: OutboundCall,
        planned: UnansweredCall,
    ) -> None:
        super().__init__(shared, line, call_id, party, planned, Counter(), OutboundBehaviour)
        behaviour = self._behaviour
        assert isinstance(behaviour, OutboundBehaviour), "it was made of this class"
        behaviour.is_wrong = lambda kind: planned.faults.happens(kind, monotonic_ns())
        behaviour.hang_up = lambda: line.hang_up(call_id, "")
