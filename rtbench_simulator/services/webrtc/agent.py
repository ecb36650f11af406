"""The simulated agent of one call over WebRTC. It listens to the caller, and sends packets only
while it speaks.
"""

from collections.abc import Mapping
from http import HTTPStatus

import msgspec

from bench.base.units import NEVER_NS
from rtbench_simulator.server_events import ArrivalSpan
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
        if agent is None:
            return
        if not self._is_answered:
            self._is_answered = True
            agent.open(now_ns)
        for event in agent.due(now_ns):
            self._audio.add(*self._audio.encoded(event), now_ns)

    @property
    def _next_ns(self) -> int:
        agent_ns = None if self._agent is None else self._agent.next_due_ns()
        return min(super()._next_ns, NEVER_NS if agent_ns is None else agent_ns)

    def _end_session(self) -> None:
        if self._agent is not None:
            self._agent.end()
            self._agent = None
