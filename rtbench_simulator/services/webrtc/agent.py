"""The simulated agent of one call over WebRTC. It listens to the caller, and sends packets only
while it speaks.
"""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec
from msgspec import structs

from bench.base.units import NEVER_NS, NS_PER_S
from rtbench_simulator.server_events import ArrivalSpan, OutgoingEvent
from rtbench_simulator.services.agents import AgentBehaviour, PcmWire
from rtbench_simulator.services.webrtc.call import CallRequest, SimulatedCall


# Unlike a service, which plays silence, an agent sends nothing between two utterances. It begins
# when the keys are known, which is when a caller could hear it.
class SimulatedAgentCall(SimulatedCall):
    """A call to an agent, from its offer to its end. The agent speaks when the audio is
    encrypted.
    """

    def __init__(self, request: CallRequest) -> None:
        super().__init__(request)
        self._is_answered = False
        self._carried_byte: int | None = None
        """The offset of the first audible sample in the next frame, if the codec moves it into
        that one."""
        self._agent: AgentBehaviour | None = AgentBehaviour(
            PcmWire(self._codec.audio.name), self._shared.next_session()
        )
        self._audio.begin(self._agent.ids.session, self._agent.further_rngs(2), self._dropped)

    def response(self, call_id: str) -> tuple[HTTPStatus, bytes, Mapping[str, str]]:
        answer = {"sdp": self.description.decode(), "type": "answer", "pc_id": call_id}
        return HTTPStatus.OK, msgspec.json.encode(answer), {"x-request-id": self._audio.session_id}

    def _accept(self, audio: bytes, span: ArrivalSpan) -> None:
        if self._agent is not None and self._is_answered:
            received = self._agent.receive_binary(audio, span.at_ns)
            if truth := self._shared.config.truth:
                truth.received(self._agent.ids.session, received, span)

    def _send_frames(self, now_ns: int) -> None:
        agent = self._agent
        codec = self._codec
        if agent is None:
            return
        if not self._is_answered:
            self._is_answered = True
            agent.open(now_ns)
        for event in agent.due(now_ns):
            payload = event.body if codec.encode is None else codec.encode(event.body)
            event = structs.replace(event, audible_byte=self._audible_byte(event))
            self._audio.add(event, payload, now_ns)

    def _audible_byte(self, event: OutgoingEvent) -> int | None:
        """Return the offset of the first audible sample of a frame after the codec, which delays
        it.
        """
        audio = self._codec.audio
        carried = self._carried_byte
        delay_bytes = self._codec.delay_ns * audio.rate_hz // NS_PER_S * audio.sample_bytes
        at = None if event.audible_byte is None else event.audible_byte + delay_bytes
        is_next = at is not None and at >= len(event.body)
        self._carried_byte = at - len(event.body) if at is not None and is_next else None
        return carried if carried is not None or is_next else at

    @property
    def _next_ns(self) -> int:
        agent_ns = None if self._agent is None else self._agent.next_due_ns()
        return min(super()._next_ns, NEVER_NS if agent_ns is None else agent_ns)

    def _end_session(self) -> None:
        if self._agent is not None:
            self._agent.end()
            self._agent = None
